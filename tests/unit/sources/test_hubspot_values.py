"""Values are held against their properties before they are sent, and a refusal names its cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector import clock
from connector.errors import MissingPermission, RecordRejected, SystemUnavailable
from connector.model import Change, FieldSchema, Outcome, Result
from connector.sources import hubspot_batch as batch
from connector.sources.hubspot_properties import field_schema
from connector.sources.hubspot_values import Definitions, wrong
from tests.unit.sources.hubspot_scripted import STAGES, Json, Scripted, change, echo, updated


def of(kind: str, field_type: str = "text", **more: Any) -> FieldSchema:
    return field_schema({"name": "p", "type": kind, "fieldType": field_type, **more})


OPTIONS = {"options": [{"value": "A"}, {"value": "B"}]}


@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        (of("enumeration", "select", **OPTIONS), "A", ""),
        (of("enumeration", "select", **OPTIONS), "C", "INVALID_OPTION"),
        (of("enumeration", "select", **OPTIONS), "", ""),
        (of("enumeration", "checkbox", **OPTIONS), "A;B", ""),
        (of("enumeration", "checkbox", **OPTIONS), ";B", ""),
        (of("enumeration", "checkbox", **OPTIONS), "A;C", "INVALID_OPTION"),
        (of("number", "number"), "66.5", ""),
        (of("number", "number"), "1,000", "INVALID_INTEGER"),
        (of("number", "number"), "NaN", "INVALID_INTEGER"),
        (of("datetime", "date"), "2026-11-20T14:02:00Z", ""),
        (of("datetime", "date"), "1795183320000", ""),
        (of("date", "date"), "tomorrow", "INVALID_DATE"),
        (of("bool", "booleancheckbox"), "yes", "INVALID_OPTION"),
        (of("string"), "x" * 65_536, ""),
        (of("string"), "x" * 65_537, "INVALID_LENGTH"),
        (of("number", "calculation_equation", calculated=True), "1", "READ_ONLY_VALUE"),
        (of("string", modificationMetadata={"readOnlyValue": True}), "", "READ_ONLY_VALUE"),
    ],
)
def test_a_value_that_its_property_does_not_take_is_known_before_it_is_sent(
    field: FieldSchema, text: str, code: str
) -> None:
    told, cause = wrong(field, text)
    assert told == code
    assert not text or text not in cause


def test_a_wrong_value_costs_no_call_and_stops_nobody_else() -> None:
    api = Scripted(echo)
    told = updated(api, change("1", "a", lifecyclestage="buyer"), change("2", "b", lifecyclestage="lead"))
    assert (told["a"].result, told["a"].code) == (Result.REJECTED, "INVALID_OPTION")
    assert "customer" in told["a"].message
    assert told["a"].fields == ("lifecyclestage",)
    assert told["b"].result is Result.ACCEPTED
    assert [len(body["inputs"]) for _, _, body in api.calls] == [1]


def test_what_an_earlier_connection_knew_costs_no_call_and_refuses_no_value_by_itself() -> None:
    api, remembered, asked = Scripted(echo), {}, []  # type: ignore[var-annotated]
    told = api.properties

    def counting(object_type: str) -> list[Json]:
        asked.append(object_type)
        return told(object_type)

    api.properties = counting  # type: ignore[method-assign]

    def connected(one: Change) -> Outcome:
        [outcome] = batch.update(api, "contacts", [one], Definitions(api, remembered))  # type: ignore[arg-type]
        return outcome

    assert connected(change("1", lifecyclestage="lead")).result is Result.ACCEPTED
    assert connected(change("1", lifecyclestage="customer")).result is Result.ACCEPTED
    assert asked == ["contacts"]
    api.known = ["lifecyclestage"]  # takes any text from now on
    assert connected(change("1", lifecyclestage="fan")).result is Result.ACCEPTED
    assert asked == ["contacts"] * 2


def test_a_service_asks_for_definitions_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    api, remembered, passed_s, asked = Scripted(echo), {}, [0.0], []  # type: ignore[var-annotated]
    told = api.properties
    monkeypatch.setattr(clock, "monotonic_s", lambda: 1_000.0 + passed_s[0])
    monkeypatch.setattr(api, "properties", lambda name: asked.append(name) or told(name))
    for passed_s[0] in (0.0, 900.0, 1_800.0, 3_601.0):
        Definitions(api, remembered).of("contacts")  # type: ignore[arg-type]
    assert asked == ["contacts"] * 2


class Forward(Scripted):
    """A portal whose lifecycle stage only goes forward, or anywhere when it is empty."""

    def __init__(self, stage: str) -> None:
        super().__init__(self.on_batch)
        self.stage = stage

    def on_batch(self, object_type: str, verb: str, body: Json) -> Json:
        wanted = body["inputs"][0]["properties"]["lifecyclestage"]
        order = ["", *(each["value"] for each in STAGES)]
        if not wanted or order.index(wanted) > order.index(self.stage):
            self.stage = wanted
        return {"results": [{"id": "1", "properties": {"lifecyclestage": self.stage}}]}


@pytest.mark.parametrize(
    ("moves_back", "before", "result", "calls"),
    [
        (True, "customer", Result.ACCEPTED, 2),
        (False, "customer", Result.REJECTED, 1),
        (True, "subscriber", Result.ACCEPTED, 1),
    ],
)
def test_a_lifecycle_stage_goes_back_in_two_steps_and_only_where_that_is_configured(
    moves_back: bool, before: str, result: Result, calls: int
) -> None:
    portal = Forward(before)
    one = replace(change("1", lifecyclestage="lead"), before={"lifecyclestage": before})
    [told] = batch.update(portal, "contacts", [one], Definitions(portal), moves_back=moves_back)  # type: ignore[arg-type]
    assert told.result is result
    assert told.code == ("" if result is Result.ACCEPTED else batch.SILENT_NO_OP)
    assert len(portal.calls) == calls


def test_where_the_second_step_back_is_refused_the_stage_that_was_there_is_put_back() -> None:
    portal = Forward("customer")
    accept = portal.on_batch

    def refuse(object_type: str, verb: str, body: Json) -> Json:
        if body["inputs"][0]["properties"]["lifecyclestage"] == "lead":
            raise RecordRejected("a rule of the portal", code="MISSING_REQUIRED_PROPERTY")
        return accept(object_type, verb, body)

    portal.answer = refuse
    one = replace(change("1", lifecyclestage="lead"), before={"lifecyclestage": "customer"})
    [told] = batch.update(portal, "contacts", [one], Definitions(portal), moves_back=True)  # type: ignore[arg-type]
    assert (told.result, told.code) == (Result.REJECTED, "MISSING_REQUIRED_PROPERTY")
    assert portal.stage == "customer"


def test_a_value_that_another_record_has_names_that_record() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        context = {"objectWriteTraceId": ["1"], "existingId": ["900"]}
        return {"results": [], "errors": [{"category": "CONFLICT", "message": "exists", "context": context}]}

    told = updated(Scripted(answer), change("1", score=1))["k1"]
    assert (told.result, told.code) == (Result.REJECTED, "CONFLICT")
    assert "900" in told.hint


def test_an_error_that_names_no_row_is_the_cause_where_a_value_is_not_there() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        if verb == "read":
            return {"results": [{"id": "1", "properties": {"score": None}}]}
        return {"results": [], "errors": [{"category": "VALIDATION_ERROR", "message": "a rule of the portal"}]}

    told = updated(Scripted(answer), change("1", score=1))["k1"]
    assert (told.result, told.code, told.message) == (Result.REJECTED, "VALIDATION_ERROR", "a rule of the portal")


def test_properties_that_are_hidden_from_us_leave_the_judgement_to_hubspot_and_an_outage_sends_nothing() -> None:
    api = Scripted(echo)
    for error, result, calls in (
        (MissingPermission("scope"), Result.ACCEPTED, 1),
        (SystemUnavailable("timed out"), Result.RETRY, 0),
    ):

        def refuse(_: str, error: Exception = error) -> list[Json]:
            raise error

        api.calls.clear()
        api.properties = refuse  # type: ignore[method-assign]
        assert updated(api, change("1", score=1))["k1"].result is result
        assert len(api.calls) == calls
