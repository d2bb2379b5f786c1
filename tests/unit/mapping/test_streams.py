"""The mapping of a stream: preset, overrides field by field, and what the system does not have."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connector import mapping, tables
from connector.errors import ConfigError
from connector.mapping.section import KINDS, FieldRule
from connector.model import FieldSchema, ObjectSchema

SYSTEMS = ("salesforce", "hubspot", "memory")


def section(**values: Any) -> mapping.MappingSection:
    return mapping.MappingSection.model_validate(values)


def schema(object_type: str, *names: str) -> ObjectSchema:
    return ObjectSchema(object_type, {name: FieldSchema(name, "text") for name in names})


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_preset_names_canonical_fields_of_its_kind_only(system: str) -> None:
    for stream in mapping.load(system, {}).values():
        canonical = tables.FIELDS[stream.kind].names if stream.kind in tables.FIELDS else []
        assert set(stream.fields) <= set(canonical), stream.stream
        assert (stream.activity is not None) == (stream.kind == "activity")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_preset_asks_for_each_native_field_once(system: str) -> None:
    for stream in mapping.load(system, {}).values():
        assert stream.native_fields == tuple(sorted(set(stream.native_fields)))
        assert "" not in stream.native_fields


def test_the_memory_system_tells_every_kind_of_activity() -> None:
    activity = mapping.load("memory", {})["activities"].activity
    assert activity is not None
    assert {rule.kind for rule in activity.kinds} == set(KINDS)


def test_an_override_replaces_one_field_and_keeps_the_others() -> None:
    override = section(fields={"email": "Work_Email__c"})
    contacts = mapping.load("salesforce", {"contacts": override})["contacts"]
    preset = mapping.load("salesforce", {})["contacts"]
    assert contacts.fields["email"].from_ == ("Work_Email__c",)
    assert {name: rule for name, rule in contacts.fields.items() if name != "email"} == {
        name: rule for name, rule in preset.fields.items() if name != "email"
    }


def test_a_field_that_is_false_is_not_mapped() -> None:
    contacts = mapping.load("salesforce", {"contacts": section(fields={"street": False})})["contacts"]
    assert "MailingStreet" not in contacts.native_fields


def test_identifiers_are_added_to_the_presets_and_an_empty_list_removes_them() -> None:
    override = section(
        identifiers={
            "crm_id": [{"from": "HubSpot_Id__c", "of": "hubspot.contacts"}],
            "cookie": "Web_Cookie__c",
            "phone": [],
        }
    )
    leads = mapping.load("salesforce", {"leads": override})["leads"]
    assert [rule.from_ for rule in leads.identifiers["crm_id"]] == ["ConvertedContactId", "HubSpot_Id__c"]
    assert [rule.from_ for rule in leads.identifiers["cookie"]] == ["Web_Cookie__c"]
    assert leads.identifiers["phone"] == ()


def test_an_override_of_an_activity_replaces_only_what_it_says() -> None:
    override = section(activity={"task_key": "Our_Key__c", "properties": {"region": "Region__c"}})
    tasks = mapping.load("salesforce", {"tasks": override})["tasks"]
    preset = mapping.load("salesforce", {})["tasks"]
    assert tasks.activity is not None
    assert preset.activity is not None
    assert tasks.activity.task_key == "Our_Key__c"
    assert tasks.activity.kinds == preset.activity.kinds
    assert set(tasks.activity.properties) == {*preset.activity.properties, "region"}


def test_all_misplaced_names_are_told_at_once_with_the_nearest_valid_one() -> None:
    overrides = {"contacts": section(fields={"emial": "Email", "zzz": "X"}), "leeds": section()}
    with pytest.raises(ConfigError) as raised:
        mapping.load("salesforce", overrides, system="crm")
    problems = {problem.path: problem.mend for problem in raised.value.problems}
    assert problems == {
        "mapping.crm.contacts.fields.emial": 'did you mean "email"?',
        "mapping.crm.contacts.fields.zzz": "",
        "mapping.crm.leeds": 'did you mean "leads"?',
    }


@pytest.mark.parametrize(
    "values",
    [
        {"fields": {"email": {"from": "Email", "transform": "emial"}}},
        {"fields": {"email": {"form": "Email"}}},
        {"identifiers": {"e_mail": "Email"}},
        {"activity": {"kinds": [{"kind": "telepathy"}]}},
        {"activity": {"links": [{"from": "X", "identifier": "nose"}]}},
        {"traces": {"seen": "Last_Seen__c"}},
        {"feilds": {}},
    ],
)
def test_a_section_with_an_unknown_name_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section(**values)


def test_an_overridden_native_field_that_does_not_exist_is_an_error_with_the_nearest_name() -> None:
    contacts = mapping.load("salesforce", {"contacts": section(fields={"email": "Work_Emial__c"})})["contacts"]
    shown = schema("Contact", *mapping.load("salesforce", {})["contacts"].native_fields, "Work_Email__c")
    [problem] = mapping.validate("crm", contacts, shown)
    assert problem.path == "mapping.crm.contacts.fields.email"
    right = "if the name is right, create the field or give us read access to it"
    assert problem.mend == f'did you mean "Work_Email__c"? {right.capitalize()}'
    assert (
        mapping.validate("crm", contacts, schema("Contact"), of=("Work_Emial__c",))[0].mend == f"correct it, or {right}"
    )
    assert mapping.notes("crm", contacts, shown) == []


def test_a_preset_field_that_is_not_there_is_noted_and_left_out() -> None:
    tasks = mapping.load("salesforce", {})["tasks"]
    shown = schema("Task", *(set(tasks.native_fields) - {"Task_Key__c", "CallType"}))
    assert mapping.validate("crm", tasks, shown) == []
    assert {note.path.rpartition(".")[2] for note in mapping.notes("crm", tasks, shown)} == {"task_key", "call_type"}
    rest = mapping.available(tasks, shown)
    assert set(rest.native_fields) == set(tasks.native_fields) - {"Task_Key__c", "CallType"}


def test_a_kind_whose_condition_cannot_be_seen_is_left_out() -> None:
    events = mapping.load("salesforce", {})["events"]
    rest = mapping.available(events, schema("Event", "StartDateTime", "WhoId"))
    assert rest.activity is not None
    assert [rule.kind for rule in rest.activity.kinds] == ["meeting_held"]
    assert rest.native_fields == ("StartDateTime", "WhoId")


def test_fields_of_related_objects_are_not_judged() -> None:
    members = mapping.load("salesforce", {})["campaign_members"]
    rest = mapping.available(members, schema("CampaignMember"))
    assert rest.native_fields == ("Campaign.Name", "Campaign.Type")


@pytest.mark.parametrize(
    "more", [{"from": "X"}, {"map": {"a": "b"}}, {"transform": "trim"}, {"join": " "}, {"record": "Account"}]
)
def test_a_constant_goes_with_nothing_else(more: dict[str, Any]) -> None:
    FieldRule.model_validate({"constant": "partner"})
    with pytest.raises(ValidationError, match="a constant is the same in every record"):
        FieldRule.model_validate({"constant": "partner"} | more)
