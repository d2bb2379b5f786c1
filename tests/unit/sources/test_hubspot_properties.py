"""Installing in HubSpot: what is missing is made, what is there stays, and a portal's refusal has a way around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from connector.errors import MissingPermission, RecordConflict, RecordRejected
from connector.model import FieldSpec, InstallStep, Step
from connector.sources import hubspot_properties as properties

Json = dict[str, Any]

SCORE = FieldSpec("contacts", "connector_score", "Score", "number")
GRADE = FieldSpec("contacts", "connector_grade", "Grade", "picklist", options=("A", "B", "C"))
KEY = FieldSpec("tasks", properties.TASK_KEY, "Task Key", "text", length=64, is_unique=True)


class Portal:
    """The properties and groups of a portal; `refuses_unique` answers a unique property of tasks."""

    def __init__(self, refuses_unique: Exception | None = None) -> None:
        self.held: dict[str, dict[str, Json]] = {"contacts": {}, "tasks": {}}
        self.groups: dict[str, list[str]] = {"contacts": [], "tasks": ["task_information"]}
        self.refuses_unique = refuses_unique
        self.writes = 0

    def properties(self, object_type: str) -> list[Json]:
        if object_type not in self.held:
            raise MissingPermission("missing scopes", hint="give the scopes")
        return list(self.held[object_type].values())

    def property_groups(self, object_type: str) -> list[Json]:
        return [{"name": name} for name in self.groups[object_type]]

    def create_group(self, object_type: str, body: Json) -> None:
        self.writes += 1
        self.groups[object_type].append(body["name"])

    def create_properties(self, object_type: str, bodies: Sequence[Json]) -> Json:
        self.writes += 1
        good = [body for body in bodies if body["groupName"] in self.groups[object_type] and body["label"]]
        self.held[object_type] |= {body["name"]: body for body in good}
        bad = [{"message": f"{body['name']} has no label"} for body in bodies if body not in good]
        return {"results": good, "errors": bad}

    def create_property(self, object_type: str, body: Json) -> None:
        self.writes += 1
        if body.get("hasUniqueValue") and self.refuses_unique is not None:
            raise self.refuses_unique
        self.held[object_type][body["name"]] = body

    def update_property(self, object_type: str, name: str, body: Json) -> None:
        self.writes += 1
        self.held[object_type][name] |= body


def install(portal: Portal, *specs: FieldSpec, is_dry: bool = False) -> list[InstallStep]:
    return properties.install(portal, "hubspot", specs, is_dry=is_dry)  # type: ignore[arg-type]


def steps(portal: Portal, *specs: FieldSpec, is_dry: bool = False) -> list[tuple[Step, str]]:
    return [(step.step, step.what) for step in install(portal, *specs, is_dry=is_dry)]


def test_what_is_missing_is_made_in_a_group_of_ours_and_then_is_there() -> None:
    portal = Portal()
    expected = [
        (Step.CREATE, "contacts property group connector"),
        (Step.CREATE, "contacts.connector_score"),
        (Step.CREATE, "contacts.connector_grade"),
        (Step.CREATE, f"tasks.{properties.TASK_KEY}"),
    ]
    assert steps(portal, SCORE, GRADE, KEY, is_dry=True) == expected
    assert portal.writes == 0
    assert steps(portal, SCORE, GRADE, KEY) == expected
    assert {step for step, _ in steps(portal, SCORE, GRADE, KEY)} == {Step.EXISTS}
    assert portal.held["tasks"][properties.TASK_KEY]["hasUniqueValue"] is True
    assert portal.held["tasks"][properties.TASK_KEY]["groupName"] == "task_information"
    assert portal.held["contacts"]["connector_grade"]["options"][1] == {
        "label": "B",
        "value": "B",
        "displayOrder": 1,
        "hidden": False,
    }


@pytest.mark.parametrize("refusal", [RecordRejected("not supported"), MissingPermission("missing scopes")])
def test_a_portal_without_unique_properties_on_tasks_gets_a_plain_one(refusal: Exception) -> None:
    portal = Portal(refusal)
    [step] = install(portal, KEY)
    assert step.step is Step.CREATE
    assert step.detail == f"text, {properties.NOT_UNIQUE}"
    assert portal.held["tasks"][properties.TASK_KEY]["hasUniqueValue"] is False
    [again] = install(portal, KEY)
    assert (again.step, again.detail) == (Step.EXISTS, properties.NOT_UNIQUE)


def test_a_property_that_somebody_made_in_between_exists() -> None:
    assert steps(Portal(RecordConflict("exists")), KEY) == [(Step.EXISTS, f"tasks.{properties.TASK_KEY}")]


def test_options_that_are_missing_are_added_and_foreign_ones_stay() -> None:
    portal = Portal()
    install(portal, GRADE)
    portal.held["contacts"]["connector_grade"]["options"] = [{"label": "Zed", "value": "Z", "displayOrder": 0}]
    planned = install(portal, GRADE, is_dry=True)
    assert [(step.step, step.detail) for step in planned] == [(Step.CREATE, "options A, B, C")]
    install(portal, GRADE)
    assert [each["value"] for each in portal.held["contacts"]["connector_grade"]["options"]] == ["Z", "A", "B", "C"]


def test_a_property_of_another_type_is_left_alone_and_told() -> None:
    portal = Portal()
    portal.held["contacts"]["connector_score"] = {"name": "connector_score", "type": "string"}
    [step] = install(portal, SCORE)
    assert step.step is Step.DIFFERS
    assert portal.writes == 0


def test_what_could_not_be_made_says_why_and_the_others_are_made() -> None:
    portal = Portal()
    nameless = FieldSpec("contacts", "connector_stage", "", "text")
    invisible = FieldSpec("tickets", "connector_score", "Score", "number")
    told = {step.what: step for step in install(portal, SCORE, nameless, invisible)}
    assert told["contacts.connector_score"].step is Step.CREATE
    assert told["contacts.connector_stage"].step is Step.FAILED
    assert "no label" in told["contacts.connector_stage"].detail
    assert "give the scopes" in told["tickets.connector_score"].detail


@pytest.mark.parametrize(
    ("definition", "described"),
    [
        ({"type": "string", "fieldType": "text"}, "text"),
        ({"type": "string", "fieldType": "textarea"}, "long_text"),
        ({"type": "string", "fieldType": "phonenumber"}, "phone"),
        ({"type": "number", "fieldType": "number"}, "number"),
        ({"type": "enumeration", "fieldType": "select"}, "picklist"),
        ({"type": "enumeration", "fieldType": "checkbox"}, "multi_picklist"),
        ({"type": "enumeration", "fieldType": "booleancheckbox"}, "bool"),
        ({"type": "datetime", "fieldType": "date"}, "datetime"),
        ({"type": "json", "fieldType": "text"}, "other"),
    ],
)
def test_a_definition_is_described_in_our_types(definition: Json, described: str) -> None:
    assert properties.field_schema({"name": "x", **definition}).type == described


def test_calculated_and_read_only_properties_are_not_writable() -> None:
    assert properties.field_schema({"name": "x", "type": "string"}).is_writable
    assert not properties.field_schema({"name": "x", "type": "string", "calculated": True}).is_writable
    read_only = {"name": "x", "type": "string", "modificationMetadata": {"readOnlyValue": True}}
    assert not properties.field_schema(read_only).is_writable


def test_associations_that_are_read_as_fields_are_described() -> None:
    described = properties.describe(Portal(), ["tasks", "tickets"])  # type: ignore[arg-type]
    assert set(described) == {"tasks"}
    assert {"associations.contacts", "associations.companies", "associations.deals"} <= set(described["tasks"].fields)
