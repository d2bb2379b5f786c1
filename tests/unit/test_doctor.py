"""What `check` says of the fields that we read and write: each thing once, with the mend that helps."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from connector import doctor, mapping
from connector.model import Check, FieldSchema, FieldSpec, Finding, ObjectSchema, Request
from connector.sources.salesforce import SALESFORCE
from connector.steps.setup import Connected

SCORE = FieldSpec("Lead", "Score__c", "Score", "number")
GRADE = FieldSpec("Lead", "Grade__c", "Grade", "picklist", options=("A", "Hot"))
SINCE = FieldSpec("Lead", "Since__c", "Since", "datetime")
REASONS = FieldSpec("Lead", "Why__c", "Reasons", "text")


@pytest.mark.parametrize(
    ("spec", "found", "told"),
    [
        (SCORE, FieldSchema("x", "number", precision=3, scale=0), ""),
        (SCORE, FieldSchema("x", "integer"), ""),
        (SCORE, FieldSchema("x", "text", length=255), ""),
        (SCORE, FieldSchema("x", "long_text", length=32_000), "is of type long text, and cannot hold the score"),
        (GRADE, FieldSchema("x", "number"), "is of type number, and cannot hold the grade"),
        (GRADE, FieldSchema("x", "picklist", options=("A",)), ""),
        (GRADE, FieldSchema("x", "picklist", options=("A",), is_restricted=True), "lacks the values Hot"),
        (GRADE, FieldSchema("x", "text", length=2), "holds 2 characters, should hold 3"),
        (GRADE, FieldSchema("x", "text", length=3), ""),
        (SINCE, FieldSchema("x", "datetime"), ""),
        (SINCE, FieldSchema("x", "date"), ""),
        (SINCE, FieldSchema("x", "number"), "is of type number"),
        (REASONS, FieldSchema("x", "long_text", length=32_000), ""),
        (REASONS, FieldSchema("x", "text", length=80), "holds 80 characters, should hold 255"),
        (REASONS, FieldSchema("x", "picklist"), "is of type picklist"),
        (REASONS, FieldSchema("x", "other"), ""),
    ],
)
def test_the_type_of_a_field_that_is_there_is_held_against_what_we_write(
    spec: FieldSpec, found: FieldSchema, told: str
) -> None:
    said = doctor.misfit(spec, found)
    assert told in said
    assert bool(said) == bool(told)


class _Shown:
    """A system that shows these leads, and says of every other field that it is hidden."""

    def __init__(self, *fields: FieldSchema) -> None:
        self.fields = {each.name: each for each in fields}

    def check(self, requests: Sequence[Request]) -> Check:
        hidden = [name for each in requests for name in each.fields if name not in self.fields]
        return Check("crm", "us", None, None, 0.0, tuple(Finding("error", name, "hidden") for name in hidden))

    def describe(self, object_types: Sequence[str]) -> dict[str, ObjectSchema]:
        return {each: ObjectSchema(each, self.fields) for each in object_types if each == "Lead"}


def checked(source: _Shown, *, outputs: dict[str, str], **fields: str) -> list[Finding]:
    section = mapping.MappingSection.model_validate({"fields": fields})
    leads = mapping.load("salesforce", {"leads": section})["leads"]
    connected = Connected("crm", SALESFORCE, SALESFORCE.capabilities, lambda: None, {"leads": leads}, {"Lead": outputs})  # type: ignore[arg-type]
    section_of = SimpleNamespace(systems=(), model="default")
    setup: Any = SimpleNamespace(models={}, writeback=section_of, lifecycle=SimpleNamespace(stage_names=("Known",)))
    system: Any = SimpleNamespace(source=source, governor=None)
    return list(doctor.check(setup, connected, system).findings)


def test_a_wrong_name_in_the_mapping_is_one_problem_and_a_hidden_field_of_the_preset_is_another() -> None:
    natives = mapping.load("salesforce", {})["leads"].native_fields
    source = _Shown(*(FieldSchema(name, "text") for name in (*natives, "LastModifiedById") if name != "Phone"))
    found = checked(source, outputs={}, title="Titel", city="Mobile__c")
    assert {each.what: each.mend.partition("?")[0] for each in found} == {
        "Phone": "hidden",
        "mapping.crm.leads.fields.title: Lead.Titel does not exist or is not visible to us": 'did you mean "Title"',
        "mapping.crm.leads.fields.city: Lead.Mobile__c does not exist or is not visible to us": 'did you mean "MobilePhone"',
    }


def test_an_output_on_a_field_of_another_type_is_a_problem_with_the_option_to_change() -> None:
    natives = mapping.load("salesforce", {})["leads"].native_fields
    shown = [FieldSchema(name, "text") for name in (*natives, "LastModifiedById")]
    found = checked(
        _Shown(*shown, FieldSchema("Budget", "number")), outputs={"stage_since": "Budget", "score": "Budget"}
    )
    (finding,) = found
    assert finding.what == "Lead.Budget is of type number, and cannot hold the lifecycle stage since (datetime)"
    assert "writeback.fields.crm.Lead.stage_since" in finding.mend


def test_a_renamed_stage_is_added_by_install_as_the_mend_of_a_field_that_lacks_it_says() -> None:
    natives = mapping.load("salesforce", {})["leads"].native_fields
    shown = [FieldSchema(name, "text") for name in (*natives, "LastModifiedById")]
    stage = FieldSchema("Stage__c", "picklist", options=("Former",), is_restricted=True)
    (finding,) = checked(_Shown(*shown, stage), outputs={"stage": "Stage__c"})
    assert finding.what == "Lead.Stage__c lacks the values Known"
    assert finding.mend.startswith("run `connector install crm`; ")
    assert "writeback.fields.crm.Lead.stage" in finding.mend


def test_an_output_that_is_nearly_a_field_that_takes_it_may_mean_that_field() -> None:
    natives = mapping.load("salesforce", {})["leads"].native_fields
    shown = [FieldSchema(name, "text") for name in (*natives, "LastModifiedById", "Grade__c", "Stages__c")]
    locked = FieldSchema("Stage_Sinc__c", "datetime", is_writable=False)
    source = _Shown(*shown, FieldSchema("Score__c", "number"), FieldSchema("Reason__c", "number"), locked)
    outputs = {"score": "Scoore__c", "grade": "Grade__c", "stage_since": "Stage_Since__c", "reasons": "Reasons__c"}
    (finding,) = checked(source, outputs=outputs)
    assert finding.what == "Lead: no Scoore__c, Stage_Since__c, Reasons__c to write to"
    assert finding.mend == 'did you mean "Score__c" by Scoore__c? Else run `connector install crm`'
    (finding,) = checked(source, outputs={"score": "Warmth__c"})
    assert finding.mend == "run `connector install crm`"
