"""Writing to HubSpot: one outcome for each change whatever the answer looks like, and each task once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import MissingPermission, ProtocolError, QuotaExhausted, RecordRejected, SystemUnavailable
from connector.model import Change, Lane, Outcome, Result, Task, Value
from connector.plan import batches
from connector.sources import hubspot_batch as batch
from connector.sources import hubspot_tasks as tasks
from connector.sources.hubspot import HUBSPOT, HubSpotOptions, HubSpotTarget
from connector.sources.hubspot_client import Untold
from connector.sources.hubspot_properties import TASK_KEY
from connector.sources.hubspot_tasks import KeyMode
from tests.unit.sources.hubspot_scripted import KNOWN, Json, Scripted, change, echo, updated

# ------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (66, "66"),
        (66.0, "66"),
        (66.5, "66.5"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        ("B", "B"),
        ("2026-11-20T14:02:00Z", "2026-11-20T14:02:00Z"),
    ],
)
def test_a_value_is_sent_as_plain_text(value: Value, sent: str) -> None:
    assert batch.native_value(value) == sent


@pytest.mark.parametrize(
    ("sent", "held", "is_same"),
    [
        ("66", "66.0", True),
        ("66", "67", False),
        ("", None, True),
        ("", "x", False),
        ("x", None, False),
        ("B", "B ", True),
        ("2026-11-20T14:02:00Z", "2026-11-20T14:02:00.000Z", True),
        ("2026-11-20T14:02:00+00:00", "1795183320000", True),
        ("2026-11-20T14:02:00Z", "2026-11-20T14:03:00Z", False),
        ("lead", "subscriber", False),
    ],
)
def test_a_returned_value_is_recognised_in_any_notation(sent: str, held: str | None, is_same: bool) -> None:
    assert batch.is_same(sent, held) is is_same


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers()))
def test_a_number_is_a_plain_decimal_and_stays_itself(value: float) -> None:
    sent = batch.native_value(value)
    assert "e" not in sent.lower()
    assert float(sent) == float(value)
    assert batch.is_same(sent, str(value))


# ------------------------------------------------------------------------------------------------ fields


def test_changes_of_one_record_travel_as_one_input_and_each_has_its_outcome() -> None:
    api = Scripted(echo)
    told = updated(api, change("1", "a", score=66), change("1", "b", grade="B"), change("2", score=1))
    assert {each.result for each in told.values()} == {Result.ACCEPTED}
    [(_, _, body)] = api.calls
    assert body["inputs"] == [
        {"id": "1", "properties": {"score": "66", "grade": "B"}, "objectWriteTraceId": "1"},
        {"id": "2", "properties": {"score": "1"}, "objectWriteTraceId": "2"},
    ]


def test_an_answer_without_results_is_no_proof_the_values_are_read() -> None:
    held = {"1": "66", "2": "12"}

    def answer(object_type: str, verb: str, body: Json) -> Json:
        if verb == "update":
            return {"status": "COMPLETE", "results": []}
        rows = [each["id"] for each in body["inputs"] if each["id"] in held]
        return {"results": [{"id": each, "properties": {"score": held[each]}} for each in rows]}

    told = updated(Scripted(answer), change("1", score=66), change("2", score=66), change("3", score=66))
    assert told["k1"].result is Result.ACCEPTED
    assert (told["k2"].result, told["k2"].code) == (Result.REJECTED, batch.SILENT_NO_OP)
    assert told["k3"].result is Result.CONFLICT


def test_a_value_that_was_silently_kept_is_a_refusal() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        return {"results": [{"id": "1", "properties": {"lifecyclestage": "customer"}}]}

    told = updated(Scripted(answer), change("1", lifecyclestage="lead"))["k1"]
    assert (told.result, told.code) == (Result.REJECTED, batch.SILENT_NO_OP)
    assert "lifecyclestage" in told.message
    assert told.fields == ("lifecyclestage",)
    assert "`lifecycle_backward = true`" in told.hint


def test_a_record_whose_value_was_kept_is_not_written_again() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        return {"results": [{"id": "1", "properties": {"lifecyclestage": "customer", "score": "1"}}]}

    api = Scripted(answer)
    told = updated(api, change("1", "a", lifecyclestage="lead"), change("1", "b", score=1))
    assert (told["a"].code, told["b"].result) == (batch.SILENT_NO_OP, Result.ACCEPTED)
    assert len(api.calls) == 1


def test_a_row_that_became_another_record_is_a_conflict() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        return {"results": [{"id": "900", "properties": {"score": "66"}}]}

    assert updated(Scripted(answer), change("1", score=66))["k1"].result is Result.CONFLICT


@pytest.mark.parametrize(
    ("error", "result"),
    [
        ({"category": "OBJECT_NOT_FOUND", "context": {"ids": ["1", "2"]}}, Result.CONFLICT),
        ({"category": "VALIDATION_ERROR", "context": {"objectWriteTraceId": ["1"], "ids": ["2"]}}, Result.REJECTED),
        ({"category": "LOCKED", "context": {"ids": ["1", "2"]}}, Result.RETRY),
        ({"category": "INTERNAL_ERROR", "context": {"ids": ["1", "2"]}}, Result.UNKNOWN),
    ],
)
def test_the_errors_of_a_partial_failure_find_their_rows(error: Json, result: Result) -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        return {"results": [{"id": "3", "properties": {"score": "1"}}], "errors": [{"message": "m", **error}]}

    told = updated(Scripted(answer), *(change(each, score=1) for each in "123"))
    assert [told[key].result for key in ("k1", "k2", "k3")] == [result, result, Result.ACCEPTED]


def test_a_record_that_an_answer_does_not_tell_of_is_not_taken_to_be_gone() -> None:
    untold = {"category": "INTERNAL_ERROR", "message": "try later", "context": {"ids": ["1"]}}
    api = Scripted(lambda *_: {"results": [], "errors": [untold] if api.calls[-1][1] == "read" else []})
    assert updated(api, change("1", score=66))["k1"].result is Result.UNKNOWN


def test_an_unknown_property_refuses_only_the_change_that_names_it() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        if any("shoe" in each["properties"] for each in body["inputs"]):
            raise RecordRejected("no such property", code="PROPERTY_DOESNT_EXIST")
        return echo(object_type, verb, body)

    api = Scripted(answer)
    told = updated(api, change("1", "a", score=1), change("1", "b", shoe=42), change("2", score=1))
    assert [told[key].result for key in ("a", "b", "k2")] == [Result.ACCEPTED, Result.REJECTED, Result.ACCEPTED]
    assert "connector install" in told["b"].hint
    assert len(api.calls) == 1


def test_a_refusal_of_the_whole_is_narrowed_down_to_the_bad_record() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        if any(each["id"] == "77" for each in body["inputs"]):
            raise RecordRejected("no", code="INVALID_OPTION")
        return echo(object_type, verb, body)

    api = Scripted(answer)
    told = updated(api, *(change(str(number), score=1) for number in range(100)))
    assert {key for key, each in told.items() if each.result is not Result.ACCEPTED} == {"k77"}
    assert told["k77"].code == "INVALID_OPTION"
    assert len(api.calls) <= 15


def test_only_the_bad_change_of_a_record_is_refused() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        bad = [each["id"] for each in body["inputs"] if each["properties"].get("grade") == "Z"]
        good = [each for each in body["inputs"] if each["id"] not in bad]
        errors = [{"category": "VALIDATION_ERROR", "message": "m", "context": {"objectWriteTraceId": bad}}]
        return echo(object_type, verb, {"inputs": good}) | {"errors": errors if bad else []}

    told = updated(Scripted(answer), change("1", "a", score=1), change("1", "b", grade="Z"), change("2", score=1))
    assert [told[key].result for key in ("a", "b", "k2")] == [Result.ACCEPTED, Result.REJECTED, Result.ACCEPTED]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (SystemUnavailable("timed out", sent=True), Result.UNKNOWN),
        (SystemUnavailable("no connection", sent=False), Result.RETRY),
        (ProtocolError("html"), Result.UNKNOWN),
    ],
)
def test_a_lost_reply_is_unknown_and_a_connection_that_was_never_made_is_not(error: Exception, result: Result) -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        raise error

    assert updated(Scripted(answer), change("1", score=1))["k1"].result is result


def test_a_quota_that_ends_in_the_middle_leaves_the_rest_to_be_sent_later() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        if object_type == "companies":
            raise QuotaExhausted("used up")
        return echo(object_type, verb, body)

    target = HubSpotTarget("hubspot", HubSpotOptions(token="t"), Scripted(answer))  # type: ignore[arg-type]
    company = Change("c", "hubspot", "companies", "9", Lane.SCORE, fields={"score": 1})
    told = target.write([change("1", score=1), company])
    assert [outcome.result for outcome in told] == [Result.ACCEPTED, Result.WAIT]
    with pytest.raises(QuotaExhausted):
        target.write([company])


# ------------------------------------------------------------------------------------------------ tasks


def task(key: str, native_id: str = "501", owner: str | None = None) -> Change:
    due = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    made = Task(key, "Call Ann", "Because", due, "high", owner)
    return Change(f"change-{key}", "hubspot", "contacts", native_id, Lane.TASK, task=made)


class Tasks(Scripted):
    """A portal's tasks: key -> id; with `is_unique`, a second task of a key is refused as HubSpot does it."""

    def __init__(self, *, is_unique: bool) -> None:
        super().__init__(self.on_batch, known=[TASK_KEY])
        self.is_unique = is_unique
        self.made: dict[str, Json] = {}
        self.hidden: set[str] = set()

    def on_batch(self, object_type: str, verb: str, body: Json) -> Json:
        if verb == "read":
            return {"results": [each for each in map(self._read, body["inputs"]) if each], "errors": []}
        rows, errors = [], []
        for each in body["inputs"]:
            key, trace = each["properties"][TASK_KEY], each["objectWriteTraceId"]
            if self.is_unique and any(held["properties"][TASK_KEY] == key for held in self.made.values()):
                context = {"objectWriteTraceId": [trace]}
                errors.append({"category": "VALIDATION_ERROR", "message": "already has that value", "context": context})
                continue
            task_id = str(len(self.made) + 1)
            self.made[task_id] = {"id": task_id, "properties": each["properties"]}
            self.linked.setdefault(each["associations"][0]["to"]["id"], []).append(task_id)
            rows.append(self.made[task_id] | {"objectWriteTraceId": trace})
        return {"results": rows[::-1], "errors": errors}

    def _read(self, wanted: Json) -> Json | None:
        if not self.is_unique:
            return self.made.get(wanted["id"])
        keyed = {held["properties"][TASK_KEY]: held for held in self.made.values()}
        return None if wanted["id"] in self.hidden else keyed.get(wanted["id"])


MODES = pytest.mark.parametrize("mode", [KeyMode.UNIQUE, KeyMode.PLAIN])


def created(api: Tasks, mode: KeyMode, *changes: Change) -> list[Outcome]:
    return list(tasks.create(api, mode, changes))  # type: ignore[arg-type]


@MODES
def test_a_task_is_made_with_its_link_in_one_call(mode: KeyMode) -> None:
    api = Tasks(is_unique=mode is KeyMode.UNIQUE)
    [first, second] = sorted(created(api, mode, task("a", owner="64"), task("b")), key=lambda each: each.key)
    assert (first.result, second.result) == (Result.ACCEPTED, Result.ACCEPTED)
    creates = [body for _, verb, body in api.calls if verb == "create"]
    assert len(creates) == 1
    one = creates[0]["inputs"][0]
    assert one["properties"] == {
        "hs_timestamp": "2026-11-24T09:30:00.000Z",
        "hs_task_subject": "Call Ann",
        "hs_task_body": "Because",
        "hs_task_status": "NOT_STARTED",
        "hs_task_priority": "HIGH",
        "hs_task_type": "TODO",
        "hubspot_owner_id": "64",
        TASK_KEY: "a",
    }
    assert one["associations"] == [
        {
            "to": {"id": "501"},
            "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}],
        }
    ]


def test_a_task_s_body_reads_on_the_screen_as_it_was_written() -> None:
    written = 'Score 66 & grade A\n- <img src=x onerror="alert(1)"> filled in a form\r\n- R&amp;D'
    sent = tasks.properties(Task("a", "Call <b>", written, datetime(2026, 11, 24, tzinfo=UTC), "high", None))
    assert sent["hs_task_body"] == (
        "Score 66 &amp; grade A<br>- &lt;img src=x onerror=&quot;alert(1)&quot;&gt; filled in a form<br>- R&amp;amp;D"
    )
    assert sent["hs_task_subject"] == "Call <b>"  # is no HTML


@MODES
def test_a_replayed_task_is_unchanged_and_a_completed_one_stays_completed(mode: KeyMode) -> None:
    api = Tasks(is_unique=mode is KeyMode.UNIQUE)
    [first] = created(api, mode, task("a"))
    api.made["1"]["properties"]["hs_task_status"] = "COMPLETED"
    [again] = created(api, mode, task("a"))
    assert (again.result, again.native_id) == (Result.UNCHANGED, first.native_id)
    assert len(api.made) == 1
    assert api.made["1"]["properties"]["hs_task_status"] == "COMPLETED"


def test_a_key_that_another_writer_took_in_between_is_unchanged() -> None:
    api = Tasks(is_unique=True)
    created(api, KeyMode.UNIQUE, task("a"))
    api.hidden.add("a")
    refuse = api.on_batch

    def reveal(object_type: str, verb: str, body: Json) -> Json:
        answer = refuse(object_type, verb, body)
        if verb == "create":
            api.hidden.clear()
        return answer

    api.answer = reveal
    [again] = created(api, KeyMode.UNIQUE, task("a"))
    assert (again.result, again.native_id) == (Result.UNCHANGED, "1")


def test_a_task_without_our_property_is_not_made() -> None:
    api = Tasks(is_unique=False)
    [told] = created(api, KeyMode.ABSENT, task("a"))
    assert told.result is Result.REJECTED
    assert "connector install" in told.hint
    assert not api.made


def test_when_the_look_up_fails_nothing_is_sent() -> None:
    def answer(object_type: str, verb: str, body: Json) -> Json:
        raise SystemUnavailable("timed out", sent=True)

    api = Scripted(answer)
    api.linked["501"] = ["7"]
    [told] = created(api, KeyMode.PLAIN, task("a"))  # type: ignore[arg-type]
    assert told.result is Result.RETRY
    assert [verb for _, verb, _ in api.calls] == ["read"]


def test_a_look_up_that_is_refused_for_one_task_does_not_hold_up_the_others() -> None:
    api = Tasks(is_unique=False)

    def answer(object_type: str, verb: str, body: Json) -> Json:
        if verb == "read" and {"id": "99"} in body["inputs"]:
            raise RecordRejected("unable to infer", code="VALIDATION_ERROR")
        return api.on_batch(object_type, verb, body)

    api.answer = answer
    api.linked["13"] = ["99"]
    told = {each.key: each for each in created(api, KeyMode.PLAIN, task("a", "501"), task("b", "13"), task("c", "502"))}
    assert [told[f"change-{key}"].result for key in "abc"] == [Result.ACCEPTED, Result.REJECTED, Result.ACCEPTED]
    assert len(api.made) == 2


def test_a_task_that_the_look_up_does_not_tell_of_is_not_taken_to_be_missing() -> None:
    """The record has a task of ours, whose row fails: a second one would be made of it."""
    api = Tasks(is_unique=False)
    api.linked |= {"501": ["7"], "502": ["8"]}
    refused = {"category": "INTERNAL_ERROR", "message": "try later", "context": {"ids": ["7"]}}

    def answer(object_type: str, verb: str, body: Json) -> Json:
        is_untold = verb == "read" and {"id": "7"} in body["inputs"]
        return {"results": [], "errors": [refused]} if is_untold else api.on_batch(object_type, verb, body)

    api.answer = answer
    told = {each.key: each for each in created(api, KeyMode.PLAIN, task("a", "501"), task("b", "502"))}
    assert [(told[f"change-{key}"].result, told[f"change-{key}"].code) for key in "ab"] == [
        (Result.RETRY, "INTERNAL_ERROR"),
        (Result.ACCEPTED, ""),
    ]
    with pytest.raises(Untold, match="tasks were not told: try later"):
        tasks.lookup(api, KeyMode.PLAIN, [task("a", "501")])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "result"), [(MissingPermission("scope"), Result.REJECTED), (SystemUnavailable("timed out"), Result.RETRY)]
)
def test_where_the_properties_of_tasks_cannot_be_read_none_is_sent_and_fields_are(
    error: Exception, result: Result
) -> None:
    def refuse(object_type: str) -> list[Json]:
        if object_type == "tasks":
            raise error
        return [{"name": "score"}]

    api = Scripted(echo)
    api.properties = refuse  # type: ignore[method-assign]
    target = HubSpotTarget("hubspot", HubSpotOptions(token="t"), api)  # type: ignore[arg-type]
    told = target.write([task("a"), change("1", score=1)])
    assert [outcome.result for outcome in told] == [result, Result.ACCEPTED]
    assert [kind for kind, _, _ in api.calls] == ["contacts"]


def test_the_calls_of_a_plan_are_those_that_its_delivery_makes() -> None:
    api = Tasks(is_unique=True)
    api.known = [*KNOWN, {"name": TASK_KEY, "hasUniqueValue": True}]
    asked: list[str] = []
    properties = api.properties

    def counting(object_type: str) -> list[Json]:
        asked.append(object_type)
        return properties(object_type)

    api.properties = counting  # type: ignore[method-assign]
    made = api.answer
    api.answer = lambda kind, verb, body: echo(kind, verb, body) if kind == "contacts" else made(kind, verb, body)
    changes = [*(change(str(number), score=1) for number in range(250)), *(task(f"t{number}") for number in range(101))]
    lots = batches(changes, HUBSPOT.capabilities)
    target = HubSpotTarget("hubspot", HubSpotOptions(token="t"), api)  # type: ignore[arg-type]
    told = [outcome for lot in lots for outcome in target.write(lot)]
    assert {outcome.result for outcome in told} == {Result.ACCEPTED}
    assert len(api.calls) + len(asked) == HUBSPOT.capabilities.count_calls(lots) == 7
