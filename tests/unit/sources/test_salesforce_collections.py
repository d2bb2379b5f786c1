"""Writing Salesforce: one outcome for each change, whatever comes back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st

from connector import clock
from connector.errors import AuthError, MissingPermission, QuotaExhausted
from connector.model import Change, Found, Lane, Outcome, Result, Task, Value
from connector.sources.salesforce_outcomes import OUTCOMES, outcome_of
from connector.sources.salesforce_rest import is_idempotent
from connector.sources.salesforce_values import as_native
from tests.unit.sources.salesforce_double import PREFIX, URL, Org, Part, Reply, described, path_of, records, refused

DUE = datetime(2026, 11, 25, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _: None)


def change(key: str, native_id: str = "", object_type: str = "Lead", **fields: Value) -> Change:
    values = fields or {"Score__c": "66.5"}
    return Change(key, "salesforce", object_type, native_id or f"00Q{key}", Lane.SCORE, fields=values)


def task(key: str, object_type: str = "Lead", **changes: Any) -> Change:
    given: dict[str, Any] = {"subject": "Call", "body": "why", "due_at": DUE, "priority": "high", "owner": "005A"}
    made = Task(f"task-{key}", **given | changes)
    return Change(key, "salesforce", object_type, f"00Q{key}", Lane.TASK, task=made)


def accept(part: Part) -> Reply:
    """Everything succeeds."""
    if path_of(part).endswith("/describe"):
        return described("Grade__c", Score__c="double", Stage_Since__c="datetime")
    rows = part["body"]["records"]
    return 200, [{"id": row.get("Id", f"00T{n}"), "success": True, "errors": []} for n, row in enumerate(rows)]


def failing(code: str, message: str = "no", *fields: str) -> Any:
    def answer(part: Part) -> Reply:
        status, body = accept(part)
        if path_of(part).endswith("/describe"):
            return status, body
        error = {"statusCode": code, "message": message, "fields": list(fields)}
        return 200, [{"success": False, "errors": [error]} for _ in body]

    return answer


def write(org: Org, changes: Sequence[Change]) -> Sequence[Outcome]:
    target = org.connect().target
    assert target is not None
    return target.write(changes)


def writes(org: Org) -> list[list[Part]]:
    return [call for call in org.calls if "body" in call[0]]


# --------------------------------------------------------------------------------------------------- what is sent


@responses.activate
def test_a_thousand_changes_are_one_call_of_five_collections() -> None:
    org = Org(accept)
    outcomes = write(org, [change(str(n), object_type="Lead" if n % 2 else "Contact") for n in range(1000)])
    assert [outcome.key for outcome in outcomes] == [str(n) for n in range(1000)]
    assert {outcome.result for outcome in outcomes} == {Result.ACCEPTED}
    (call,) = writes(org)
    assert [len(part["body"]["records"]) for part in call] == [200] * 5
    types = [row["attributes"]["type"] for part in call for row in part["body"]["records"]]
    assert sum(one != other for one, other in itertools.pairwise(types)) == 1


@responses.activate
def test_every_write_forbids_assignment_rules_and_allows_duplicates_to_be_saved() -> None:
    org = Org(accept)
    write(org, [change("1"), task("2")])
    for part in writes(org)[0]:
        assert part["httpHeaders"]["Sforce-Auto-Assign"] == "FALSE"
        assert part["httpHeaders"]["Sforce-Duplicate-Rule-Header"].startswith("allowSave=true")
        assert part["body"]["allOrNone"] is False


@responses.activate
def test_one_record_is_never_twice_in_one_collection_and_its_changes_keep_their_order() -> None:
    org = Org(accept)
    changes = [change("a", "00Q1", Score__c="1"), change("b", "00Q2"), change("c", "00Q1", Score__c="2")]
    outcomes = write(org, changes)
    assert [outcome.key for outcome in outcomes] == ["a", "b", "c"]
    (call,) = writes(org)
    ids = [[row["Id"] for row in part["body"]["records"]] for part in call]
    assert ids == [["00Q1", "00Q2"], ["00Q1"]]
    assert [row["Score__c"] for part in call for row in part["body"]["records"] if row["Id"] == "00Q1"] == [1.0, 2.0]


@responses.activate
def test_values_are_sent_in_the_type_of_their_field() -> None:
    org = Org(accept)
    write(org, [change("1", Score__c="66.5", Grade__c="A", Stage_Since__c="2026-11-20T15:02:00+01:00")])
    (row,) = writes(org)[0][0]["body"]["records"]
    assert row == {
        "attributes": {"type": "Lead"},
        "Id": "00Q1",
        "Score__c": 66.5,
        "Grade__c": "A",
        "Stage_Since__c": "2026-11-20T14:02:00Z",
    }


@pytest.mark.parametrize(
    ("value", "kind", "sent"),
    [
        ("66", "number", 66.0),
        ("nan", "number", "nan"),
        ("x", "number", "x"),
        ("7", "integer", 7),
        ("66.6", "integer", 67),
        ("inf", "integer", "inf"),
        ("true", "bool", True),
        ("0", "bool", False),
        ("maybe", "bool", "maybe"),
        ("2026-11-20", "datetime", "2026-11-20T00:00:00Z"),
        ("2026-11-20T23:59:59.999Z", "datetime", "2026-11-20T23:59:59Z"),
        ("2026-11-20T10:00:00Z", "date", "2026-11-20"),
        ("soon", "date", "soon"),
        ("66", "text", "66"),
        (None, "number", None),
        (5, "text", 5),
    ],
)
def test_a_canonical_value_becomes_json_of_its_field(value: Value, kind: str, sent: Value) -> None:
    got = as_native(value, kind)
    assert (got, type(got)) == (sent, type(sent))


@given(st.text(), st.sampled_from(["number", "integer", "bool", "date", "datetime", "text"]))
def test_no_text_can_break_the_making_of_a_row(value: str, kind: str) -> None:
    made = as_native(value, kind)
    assert json.loads(json.dumps(made, allow_nan=False)) == made


@responses.activate
def test_a_field_that_we_cannot_see_is_rejected_here_and_does_not_take_the_others_with_it() -> None:
    org = Org(accept)
    hidden, fine = write(org, [change("1", Hidden__c="x"), change("2")])
    assert (hidden.result, hidden.code) == (Result.REJECTED, "INVALID_FIELD_FOR_INSERT_UPDATE")
    assert "connector install salesforce" in hidden.hint
    assert fine.result is Result.ACCEPTED
    assert [row["Id"] for row in writes(org)[0][0]["body"]["records"]] == ["00Q2"]


@responses.activate
def test_a_task_is_inserted_with_its_key_on_its_person_or_on_its_thing() -> None:
    org = Org(accept)
    first, second = write(
        org, [task("1", subject="S" * 300), task("2", "Opportunity", owner=None, priority="unheard of")]
    )
    assert (first.result, first.native_id) == (Result.ACCEPTED, "00T0")
    assert second.native_id == "00T1"
    (part,) = writes(org)[0]
    assert (part["method"], path_of(part)) == ("POST", "composite/sobjects")
    person, thing = part["body"]["records"]
    assert person == {
        "attributes": {"type": "Task"},
        "Subject": "S" * 255,
        "Description": "why",
        "ActivityDate": "2026-11-25",
        "Priority": "High",
        "WhoId": "00Q1",
        "Task_Key__c": "task-1",
        "OwnerId": "005A",
    }
    assert (thing["WhatId"], thing["Priority"]) == ("00Q2", "Normal")
    assert not {"WhoId", "OwnerId"} & set(thing)


# --------------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("code", sorted(OUTCOMES))
@responses.activate
def test_a_rows_error_becomes_the_outcome_of_its_class(code: str) -> None:
    (outcome,) = write(Org(failing(code, "about ann@acme.com")), [change("1")])
    assert (outcome.result, outcome.hint, outcome.code) == (*OUTCOMES[code], code)
    assert "ann@acme.com" not in outcome.message


@responses.activate
def test_the_fields_that_a_row_was_refused_for_are_told() -> None:
    org = Org(failing("FIELD_CUSTOM_VALIDATION_EXCEPTION", "no", "Score__c"))
    (outcome,) = write(org, [change("1")])
    assert outcome.fields == ("Score__c",)


@pytest.mark.parametrize(
    ("code", "message", "result"),
    [
        ("UNABLE_TO_LOCK_ROW", "", Result.RETRY),
        ("ENTITY_IS_DELETED", "", Result.CONFLICT),
        ("CANNOT_UPDATE_CONVERTED_LEAD", "", Result.CONFLICT),
        ("STRING_TOO_LONG", "", Result.REJECTED),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "", Result.REJECTED),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "UNABLE_TO_LOCK_ROW, unable to", Result.RETRY),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "null pointer", Result.REJECTED),
        ("A_CODE_OF_NEXT_YEAR", "", Result.REJECTED),
    ],
)
def test_what_happens_next_follows_the_code(code: str, message: str, result: Result) -> None:
    assert outcome_of(code, message)[0] is result


@responses.activate
def test_a_task_that_is_there_already_is_unchanged_and_told_by_its_id() -> None:
    message = "duplicate value found: Task_Key__c duplicates value on record with id: 00T5g00000ABCde"
    (outcome,) = write(Org(failing("DUPLICATE_VALUE", message)), [task("1")])
    assert (outcome.result, outcome.native_id) == (Result.UNCHANGED, "00T5g00000ABCdeEAH")


@responses.activate
def test_a_value_that_a_message_quotes_is_taken_out_of_it() -> None:
    message = "Subject: data value too large: Call Ann Meyer (max length=5)"
    (outcome,) = write(Org(failing("STRING_TOO_LONG", message)), [task("1", subject="Call Ann Meyer")])
    assert outcome.message == "Subject: data value too large: *** (max length=5)"


@pytest.mark.parametrize(
    "message",
    [
        "duplicate value found: Other__c duplicates value on record with id: 00T5g00000ABCde",
        "Duplicate external id specified: Task_Key__c",
    ],
)
@responses.activate
def test_another_fields_duplicate_is_no_sign_of_our_task(message: str) -> None:
    (outcome,) = write(Org(failing("DUPLICATE_VALUE", message)), [task("1")])
    assert outcome.result is Result.REJECTED


@responses.activate
def test_a_row_without_a_result_is_unknown_not_forgotten() -> None:
    def short(part: Part) -> Reply:
        status, body = accept(part)
        return status, body[:1] if isinstance(body, list) else body

    first, second = write(Org(short), [change("1"), change("2")])
    assert (first.result, second.result, second.code) == (Result.ACCEPTED, Result.UNKNOWN, "NO_RESULT")


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (refused("JSON_PARSER_ERROR"), Result.REJECTED),
        (refused("UNABLE_TO_LOCK_ROW"), Result.RETRY),
        (refused("REQUEST_LIMIT_EXCEEDED", status=403), Result.WAIT),
        (refused("UNKNOWN_EXCEPTION", status=500), Result.UNKNOWN),
        ((503, "<html>"), Result.UNKNOWN),
        ((200, {"surprise": True}), Result.UNKNOWN),
    ],
)
@responses.activate
def test_a_collection_that_failed_as_a_whole_gives_every_row_its_outcome(reply: Reply, result: Result) -> None:
    org = Org(lambda part: accept(part) if path_of(part).endswith("/describe") else reply)
    assert [outcome.result for outcome in write(org, [change("1"), change("2")])] == [result] * 2


def break_composite(org: Org, after: int, error: Exception | tuple[int, str]) -> None:
    """The composite call number `after` and all later ones fail."""
    answered = org._composite

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        if len(org.calls) < after:
            return answered(request)
        if isinstance(error, Exception):
            raise error
        return error[0], {}, error[1].encode()

    org._composite = answer  # type: ignore[method-assign]


@responses.activate
def test_a_lost_answer_leaves_tasks_unknown_and_sends_them_once() -> None:
    org = Org(accept)
    break_composite(org, 0, requests.exceptions.ReadTimeout("t"))
    system = org.connect()
    assert system.target is not None
    (outcome,) = system.target.write([task("1")])
    assert outcome.result is Result.UNKNOWN
    assert system.calls() == 1


@responses.activate
def test_a_lost_answer_to_field_updates_is_looked_up_and_never_asked_for_again() -> None:
    org = Org(accept)
    system = org.connect()
    assert system.target is not None
    system.target.write([change("0")])
    fails = iter([requests.exceptions.ReadTimeout("t")])
    answered = org._composite
    url = f"{URL}{PREFIX}composite"
    responses.remove("POST", url)

    def once(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        for error in fails:
            raise error
        return answered(request)

    responses.add_callback("POST", url, once)
    before = system.calls()
    (outcome,) = system.target.write([change("1")])
    assert outcome.result is Result.UNKNOWN
    assert system.calls() == before + 1


@responses.activate
def test_a_refused_connection_means_that_nothing_was_written() -> None:
    org = Org(accept)
    break_composite(org, 0, requests.exceptions.ConnectTimeout("t"))
    assert [outcome.result for outcome in write(org, [change("1"), task("2")])] == [Result.RETRY] * 2
    assert [outcome.result for outcome in write(org, [task("3"), task("4")])] == [Result.RETRY] * 2


@responses.activate
def test_an_answer_that_is_not_json_leaves_the_batch_unknown() -> None:
    org = Org(accept)
    break_composite(org, 0, (200, "<html>"))
    assert [outcome.result for outcome in write(org, [task("1")])] == [Result.UNKNOWN]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ('[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"m"}]', 403, QuotaExhausted),
        ('[{"errorCode":"INVALID_SESSION_ID","message":"m"}]', 401, AuthError),
        ('[{"errorCode":"FUNCTIONALITY_NOT_ENABLED","message":"m"}]', 403, AuthError),
    ],
)
@responses.activate
def test_a_system_that_refuses_us_before_anything_was_sent_raises(
    body: str, status: int, error: type[Exception]
) -> None:
    org = Org(accept)
    break_composite(org, 0, (status, body))
    with pytest.raises(error):
        write(org, [task("1")])


@responses.activate
def test_a_quota_that_ends_between_two_calls_leaves_the_rest_for_later() -> None:
    org = Org(accept)
    break_composite(org, 1, (403, '[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"m"}]'))
    outcomes = write(org, [task(str(n)) for n in range(1001)])
    assert sorted(outcome.result for outcome in outcomes) == [Result.ACCEPTED] * 1000 + [Result.WAIT]


@responses.activate
def test_a_task_for_a_lead_of_a_queue_is_refused_with_what_becomes_of_it() -> None:
    message = "Assigned To ID: id value of incorrect type: 00G000000000001AAA"
    org = Org(failing("FIELD_INTEGRITY_EXCEPTION", message))
    to_queue, to_person = write(org, [task("1", owner="00G000000000001AAA"), task("2")])
    assert (to_queue.result, "is a queue" in to_queue.hint) == (Result.REJECTED, True)
    assert "queue" not in to_person.hint


# --------------------------------------------------------------------------------------------------- finding


def find(org: Org, changes: Sequence[Change]) -> Sequence[Found]:
    target = org.connect().target
    assert target is not None
    return target.find(changes)


@responses.activate
def test_what_became_of_changes_is_read_in_one_call_and_told_in_order() -> None:
    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("queryAll"):
            return records({"Id": "00T9", "Task_Key__c": "task-b"})
        rows = {"00Q1": {"Id": "00Q1", "Score__c": 66.5}, "003C": {"Id": "003C", "Score__c": 1.0}}
        return 200, [rows.get(native_id) for native_id in part["body"]["ids"]]

    org = Org(answer)
    changes = [change("1"), task("b"), change("2"), task("x"), change("c", "003C", "Contact")]
    found = find(org, changes)
    assert found == [
        Found("1", values={"Score__c": 66.5}),
        Found("b", native_id="00T9"),
        Found("2"),
        Found("x"),
        Found("c", values={"Score__c": 1.0}),
    ]
    assert len(org.calls) == 1


@responses.activate
def test_a_key_with_a_quote_is_asked_for_as_itself() -> None:
    org = Org(lambda part: records())
    find(org, [task("o'neil")])
    assert "IN ('task-o\\'neil')" in org.asked()[0][0]


@responses.activate
def test_a_task_key_that_we_cannot_see_is_told_as_a_missing_permission() -> None:
    with pytest.raises(MissingPermission):
        find(Org(lambda part: refused("INVALID_FIELD")), [task("1")])


@responses.activate
def test_what_was_sent_to_a_field_that_is_gone_by_now_is_not_there_and_holds_up_nobody() -> None:
    def answer(part: Part) -> Reply:
        if "describe" in path_of(part):
            return described("Score__c")
        if "Former__c" in part["body"]["fields"]:
            return refused("INVALID_FIELD", "No such column 'Former__c' on entity 'Lead'")
        return 200, [{"Id": native_id, "Score__c": 66.0} for native_id in part["body"]["ids"]]

    found = find(Org(answer), [change("1"), change("2", Former__c=7)])
    assert found == [Found("1", values={"Score__c": 66.0}), Found("2", values={"Former__c": None})]


# --------------------------------------------------------------------------------------------------- idempotency


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "query?q=x", b"", True),
        ("PATCH", "composite/sobjects", b"", False),
        ("PATCH", "sobjects/Lead/1", b"{}", False),
        ("PATCH", "jobs/ingest/750", b"{}", True),
        ("PUT", "jobs/ingest/750/batches", b"", False),
        ("POST", "sobjects/Task", b"{}", False),
        ("POST", "metadata/deployRequest", b"", False),
        ("POST", "composite", b'{"compositeRequest":[{"method":"GET","url":"/services/data/v62.0/query"}]}', True),
        ("POST", "composite", b'{"compositeRequest":[{"method":"PATCH","url":"/x/composite/sobjects"}]}', False),
        ("POST", "composite", b'{"compositeRequest":[{"method":"POST","url":"/x/composite/sobjects/Lead"}]}', True),
        ("POST", "composite", b'{"compositeRequest":[{"method":"POST","url":"/x/composite/sobjects"}]}', False),
        ("POST", "composite", rb'{"a":"\"method\":\"POST\",\"url\":\"/x/composite/sobjects\""}', True),
    ],
)
def test_only_what_writes_no_record_is_repeated_when_its_answer_is_lost(
    method: str, path: str, body: bytes, expected: bool
) -> None:
    request = requests.Request(method, f"{URL}{PREFIX}{path}", data=body).prepare()
    assert is_idempotent(request) is expected
