"""Reading Salesforce: what is asked, in how many calls, and where a read goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pytest
import responses

from connector import clock, tables
from connector.errors import AuthError, MissingPermission, ProtocolError, QuotaExhausted, RecordRejected, TransientError
from connector.model import Page, Request, StreamFailure
from connector.sources.salesforce import STREAMS
from connector.sources.salesforce_reading import soql_of
from connector.sources.salesforce_rows import rows_of as rows_of_text
from tests.unit.sources.salesforce_double import (
    Org,
    Part,
    Reply,
    described,
    page,
    pages,
    path_of,
    records,
    refused,
    row,
)

BY_NAME = {stream.name: stream for stream in STREAMS}
LEADS, TASKS, USERS = BY_NAME["leads"], BY_NAME["tasks"], BY_NAME["users"]


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(clock, "sleep", waits.append)
    monkeypatch.setattr(clock, "monotonic_s", lambda: 0.0)
    return waits


# --------------------------------------------------------------------------------------------------- calls


@responses.activate
def test_later_pages_share_calls_and_the_longest_stream_is_not_kept_waiting() -> None:
    lengths = {stream.object_type: 2 for stream in STREAMS} | {"User": 6}

    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("sobjects/"):
            return refused("NOT_TOLD", status=500)
        is_first = " FROM " in path
        name = path.split(" FROM ")[1].split()[0] if is_first else path.split("/")[1]
        at = 1 if is_first else int(path.split("/")[2])
        following = f"query/{name}/{at + 1}" if at < lengths[name] else None
        return records(row(f"{name}{at}"), following=following, total=lengths[name])

    org = Org(answer)
    read = pages(org, *[Request(stream, ()) for stream in STREAMS])
    assert len(read) == sum(lengths.values()) == 32
    assert len(org.calls) == 8  # users come in the third call, their six pages take five more
    for stream in STREAMS:
        own = [page for page in read if isinstance(page, Page) and page.stream == stream]
        assert [page.rows["native_id"][0].as_py() for page in own] == [
            f"{stream.object_type}{at}" for at in range(1, lengths[stream.object_type] + 1)
        ]
        assert [page.done for page in own] == [False] * (len(own) - 1) + [True]


@responses.activate
def test_the_next_page_of_a_stream_that_is_read_alone_is_asked_for_while_one_is_worked_on() -> None:
    is_asked = threading.Event()

    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path == "query/Account/2":
            is_asked.set()
        if path.startswith("query/"):
            return records(row("two"), total=2)
        return records(row("one"), following="query/Account/2", total=2)

    org = Org(answer)
    stream = next(stream for stream in STREAMS if stream.object_type == "Account")
    read = org.connect().source.pages([Request(stream, ())])
    first = next(read)
    assert isinstance(first, Page)
    assert is_asked.wait(30), "nobody has asked for more than the first page yet"
    assert [page.rows["native_id"].to_pylist() for page in read if isinstance(page, Page)] == [["two"]]
    assert len(org.calls) == 2, "and it is asked for once"


# --------------------------------------------------------------------------------------------------- what is asked


def test_the_query_asks_for_the_fields_and_for_what_tells_identity_change_and_deletion() -> None:
    assert soql_of(LEADS, ("Email", "Id", "Gone", "Campaign.Name"), "2026-11-24T13:50:00Z", ["Gone"]) == (
        "SELECT Id, CreatedDate, SystemModstamp, IsDeleted, MasterRecordId, ConvertedContactId, Email, Campaign.Name"
        " FROM Lead WHERE SystemModstamp >= 2026-11-24T13:50:00Z ORDER BY SystemModstamp, Id"
    )
    assert soql_of(USERS, ("Name",), None) == (
        "SELECT Id, CreatedDate, SystemModstamp, Name FROM User ORDER BY SystemModstamp, Id"
    )


@pytest.mark.parametrize("name", ["a b", "Name FROM User--", "x'", "", "A..B", "1x"])
def test_a_name_that_cannot_be_a_field_never_reaches_the_query(name: str) -> None:
    assert soql_of(USERS, (name,), None) == soql_of(USERS, (), None)


@responses.activate
def test_a_hidden_field_is_left_out_after_one_look_at_the_descriptions_of_all_objects() -> None:
    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("sobjects/"):
            known = ("Id", "CreatedDate", "SystemModstamp", "IsDeleted", "MasterRecordId", "ConvertedContactId", "Name")
            return described(*known, WhoId="reference")
        return refused("INVALID_FIELD", "No such column") if "Hidden" in path else records(row("1"))

    org = Org(answer)
    read = pages(org, Request(LEADS, ("Name", "Hidden__c")), Request(TASKS, ("Hidden__c", "Who.Type", "Name")))
    assert all(isinstance(page, Page) and page.done for page in read)
    assert len(org.calls) == 2  # the descriptions came with the queries that failed
    assert "Who.Type" in org.asked()[1][1]
    assert "Hidden__c" not in "".join(org.asked()[1])
    assert {one.stream: one.hidden for one in read if isinstance(one, Page)} == {
        LEADS: ("Hidden__c",),
        TASKS: ("Hidden__c",),
    }


@responses.activate
def test_a_hidden_field_costs_the_next_reads_no_call_and_the_read_that_finds_it_shown_reads_everything_with_it() -> (
    None
):
    standard = ("Id", "CreatedDate", "SystemModstamp", "IsDeleted", "MasterRecordId", "ConvertedContactId")
    shown: list[str] = []

    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("sobjects/"):
            return described(*standard, *shown)
        return refused("INVALID_FIELD") if "Hidden" in path and not shown else records(row("1"))

    org = Org(answer)
    request = Request(LEADS, ("Hidden", "Hidden__c"))
    first = page(org, request)
    assert (len(org.calls), first.hidden) == (2, ("Hidden", "Hidden__c"))
    again = page(org, replace(request, cursor=first.cursor))
    assert (len(org.calls), again.hidden) == (3, first.hidden)
    shown += ["Hidden", "Hidden__c"]
    whole = page(org, replace(request, cursor=again.cursor))
    assert (len(org.calls), whole.hidden) == (5, ())
    assert "WHERE" not in org.asked()[-1][0]
    assert "Hidden, Hidden__c" in org.asked()[-1][0]
    page(org, replace(request, cursor=whole.cursor))
    assert len(org.calls) == 6
    assert "WHERE" in org.asked()[-1][0], "and that is that"


@responses.activate
def test_a_hidden_field_that_nobody_asks_for_any_more_is_not_missed() -> None:
    standard = ("Id", "CreatedDate", "SystemModstamp", "IsDeleted", "MasterRecordId", "ConvertedContactId")

    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("sobjects/"):
            return described(*standard)
        return refused("INVALID_FIELD") if "Gone__c" in path or "Other__c" in path else records(row("1"))

    org = Org(answer)
    first = page(org, Request(LEADS, ("Gone__c", "Other__c")))
    assert first.hidden == ("Gone__c", "Other__c")
    fewer = page(org, Request(LEADS, ("Other__c",), first.cursor))
    assert fewer.hidden == ("Other__c",)
    assert page(org, Request(LEADS, (), fewer.cursor)).hidden == ()


@responses.activate
def test_an_object_that_is_not_visible_fails_its_own_stream_only() -> None:
    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("sobjects/"):
            return refused("NOT_FOUND", status=404)
        return refused("INVALID_TYPE", "sObject type 'Lead' is not supported.") if " FROM Lead" in path else records()

    failure, fine = sorted(
        pages(Org(answer), Request(LEADS, ()), Request(TASKS, ())), key=lambda read: isinstance(read, Page)
    )
    assert isinstance(failure, StreamFailure)
    assert failure.stream == LEADS
    assert isinstance(failure.error, RecordRejected)
    assert isinstance(fine, Page)
    assert fine.done


# --------------------------------------------------------------------------------------------------- cursors


@responses.activate
def test_the_next_read_starts_ten_minutes_before_the_servers_clock_at_the_first_page() -> None:
    org = Org(lambda part: records(row("1")))
    cursor = orjson.loads(page(org, Request(LEADS, ())).cursor or "")
    assert cursor["low"] == "2026-11-24T13:50:00Z"


@responses.activate
def test_the_time_that_a_call_took_is_taken_off_because_the_server_stamps_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([100.0, 107.2])
    monkeypatch.setattr(clock, "monotonic_s", lambda: next(times, 107.2))
    org = Org(lambda part: records(row("1")))
    cursor = orjson.loads(page(org, Request(LEADS, ())).cursor or "")
    low = datetime.fromisoformat(cursor["low"])
    assert low <= datetime(2026, 11, 24, 13, 49, 53, tzinfo=UTC)


@responses.activate
def test_a_read_goes_on_at_the_saved_bound_and_includes_it() -> None:
    org = Org(lambda part: records())
    page(org, Request(LEADS, (), '{"low":"2026-11-24T12:00:00Z"}'))
    assert "WHERE SystemModstamp >= 2026-11-24T12:00:00Z" in org.asked()[0][0]


def three_pages(part: Part) -> Reply:
    path = path_of(part)
    at = int(path.split("-")[1]) if path.startswith("query/") else 0
    return records(row(f"{at}"), following=f"query/01g-{at + 1}" if at < 2 else None, total=3)


@responses.activate
def test_a_read_that_was_killed_in_the_middle_goes_on_there_and_keeps_its_first_instant() -> None:
    org = Org(three_pages)
    read = org.connect().source.pages([Request(LEADS, (), '{"low":"2026-11-24T12:00:00Z"}')])
    first = next(read)
    assert isinstance(first, Page)
    org.headers["Date"] = "Tue, 24 Nov 2026 15:00:00 GMT"
    rest = list(org.connect().source.pages([Request(LEADS, (), first.cursor)]))
    assert [one.rows["native_id"][0].as_py() for one in rest if isinstance(one, Page)] == ["1", "2"]
    assert isinstance(rest[-1], Page)
    assert orjson.loads(rest[-1].cursor or "")["low"] == "2026-11-24T13:50:00Z"


@responses.activate
def test_a_page_link_that_expired_starts_the_read_again_from_its_bound() -> None:
    org = Org(three_pages)
    first = next(iter(org.connect().source.pages([Request(LEADS, (), '{"low":"2026-11-24T12:00:00Z"}')])))
    assert isinstance(first, Page)
    org.answer = lambda part: (
        refused("INVALID_QUERY_LOCATOR") if path_of(part).startswith("query/") else records(row("all"))
    )
    (again,) = org.connect().source.pages([Request(LEADS, (), first.cursor)])
    assert isinstance(again, Page)
    assert again.done
    assert "WHERE SystemModstamp >= 2026-11-24T12:00:00Z" in org.asked()[-1][0]


@responses.activate
def test_a_half_done_read_of_other_fields_is_not_gone_on_with() -> None:
    org = Org(three_pages)
    first = next(iter(org.connect().source.pages([Request(LEADS, ("Name",))])))
    assert isinstance(first, Page)
    again = next(iter(org.connect().source.pages([Request(LEADS, ("Name", "Email"), first.cursor)])))
    assert isinstance(again, Page)
    assert again.rows["native_id"][0].as_py() == "0"


# --------------------------------------------------------------------------------------------------- deletions

ROLES = BY_NAME["contact_roles"]


def deletions(**changes: Any) -> Reply:
    told = {"id": "00K1", "deletedDate": "2026-11-24T13:55:00.000+0000"}
    return 200, {"deletedRecords": [told], "latestDateCovered": "2026-11-24T13:59:00.000+0000"} | changes


@responses.activate
def test_deletions_that_no_recycle_bin_shows_come_with_the_first_page_in_the_same_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 24, 14, tzinfo=UTC))
    org = Org(lambda part: deletions() if "/deleted/" in path_of(part) else records(row("00K2")))
    got = page(org, Request(ROLES, (), '{"low":"2026-11-24T12:00:00Z","deleted_low":"2026-11-24T11:00:00Z"}'))
    assert org.asked()[0][1] == (
        "sobjects/OpportunityContactRole/deleted/?start=2026-11-24T11:00:00Z&end=2026-11-24T14:00:00Z"
    )
    assert len(org.calls) == 1
    rows = {one["native_id"]: one for one in got.rows.to_pylist()}
    assert (rows["00K1"]["is_deleted"], rows["00K2"]["is_deleted"]) == (True, False)
    assert rows["00K1"]["modified_at"] == datetime(2026, 11, 24, 13, 55, tzinfo=UTC)
    cursor = orjson.loads(got.cursor or "")
    assert (cursor["low"], cursor["deleted_low"]) == ("2026-11-24T13:50:00Z", "2026-11-24T13:50:00Z")


@pytest.mark.parametrize(
    ("reply", "following"),
    [
        (deletions(latestDateCovered="2026-11-24T12:30:00.000+0000"), "2026-11-24T12:30:00Z"),
        (refused("EXCEEDED_ID_LIMIT"), "2026-11-24T11:00:00Z"),
    ],
)
@responses.activate
def test_deletions_that_were_not_told_are_asked_for_again(reply: Reply, following: str) -> None:
    org = Org(lambda part: reply if "/deleted/" in path_of(part) else records())
    got = page(org, Request(ROLES, (), '{"low":"2026-11-24T12:00:00Z","deleted_low":"2026-11-24T11:00:00Z"}'))
    assert orjson.loads(got.cursor or "")["deleted_low"] == following


@responses.activate
def test_the_first_read_asks_for_no_deletions_and_the_second_for_those_since() -> None:
    org = Org(lambda part: deletions() if "/deleted/" in path_of(part) else records())
    first = page(org, Request(ROLES, ()))
    assert "/deleted/" not in "".join(org.asked()[0])
    page(org, Request(ROLES, (), first.cursor))
    assert "start=2026-11-24T13:50:00Z" in org.asked()[1][1]


# --------------------------------------------------------------------------------------------------- failures


@responses.activate
def test_a_query_that_times_out_is_asked_again_and_then_fails_its_stream_only(slept: list[float]) -> None:
    org = Org(lambda part: refused("QUERY_TIMEOUT") if " FROM Lead" in path_of(part) else records())
    read = pages(org, Request(LEADS, ()), Request(TASKS, ()))
    assert slept[:3] == [1.0, 2.0, 4.0]
    failures = [one for one in read if isinstance(one, StreamFailure)]
    assert [failure.stream for failure in failures] == [LEADS]
    assert isinstance(failures[0].error, TransientError)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refused("REQUEST_LIMIT_EXCEEDED", status=403), QuotaExhausted),
        (refused("API_DISABLED_FOR_ORG", status=403), AuthError),
    ],
)
@responses.activate
def test_what_stops_the_whole_system_is_raised(reply: Reply, error: type[Exception]) -> None:
    with pytest.raises(error):
        pages(Org(lambda part: reply), Request(LEADS, ()))


@responses.activate
def test_a_permission_that_lacks_is_the_streams_failure() -> None:
    (failure,) = pages(Org(lambda part: refused("INSUFFICIENT_ACCESS", status=403)), Request(LEADS, ()))
    assert isinstance(failure, StreamFailure)
    assert isinstance(failure.error, MissingPermission)


@responses.activate
@pytest.mark.parametrize("body", [None, [], {"records": None}, "text"])
def test_an_answer_without_records_is_a_protocol_error_of_its_stream(body: Any) -> None:
    (failure,) = pages(Org(lambda part: (200, body)), Request(LEADS, ()))
    assert isinstance(failure, StreamFailure)
    assert isinstance(failure.error, ProtocolError)


# --------------------------------------------------------------------------------------------------- rows


def rows_of(object_type: str, fields: Sequence[str], sent: Sequence[Any]) -> tuple[pa.Table, tuple[str, ...]]:
    return rows_of_text(object_type, fields, orjson.dumps(sent))


def test_rows_are_flat_and_keep_every_value_as_it_was_sent() -> None:
    sent = row("00T1", Subject="é", Who={"attributes": {}, "Type": "Lead"}, What=None, Amount=1.50, Flag=None)
    table, malformed = rows_of("Task", ("Subject", "Who.Type", "What.Name", "What.Parent.Name"), [sent])
    assert table.schema == tables.PAGE
    (got,) = table.to_pylist()
    assert orjson.loads(got["native"]) == {
        "Id": "00T1",
        "IsDeleted": False,
        "CreatedDate": "2026-01-01T00:00:00.000+0000",
        "SystemModstamp": "2026-11-01T10:00:00.000+0000",
        "Subject": "é",
        "Amount": 1.5,
        "Flag": None,
        "Who.Type": "Lead",
        "What.Name": None,
        "What.Parent.Name": None,
    }
    assert got["created_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert got["modified_at"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert (got["native_id"], got["object_type"], malformed) == ("00T1", "Task", ())


def test_a_merged_loser_names_its_survivor_and_a_mere_deletion_does_not() -> None:
    rows = [row("1", IsDeleted=True, MasterRecordId="2"), row("3", IsDeleted=True, MasterRecordId=None), row("2")]
    table, _ = rows_of("Lead", (), rows)
    assert table["is_deleted"].to_pylist() == [True, True, False]
    assert table["merged_into"].to_pylist() == ["2", None, None]


def test_a_record_without_an_id_is_told_and_the_others_are_kept() -> None:
    table, malformed = rows_of("Lead", (), [{"Name": "x"}, "text", row("1"), {"Id": 7}])
    assert table["native_id"].to_pylist() == ["1"]
    assert len(malformed) == 3


@pytest.mark.parametrize(
    "stamp",
    [None, "soon", "2026-11-01", "2026-13-01T00:00:00.000+0000", "2026-02-31T00:00:00Z", "2026-11-01T00:00:00+0200"],
)
def test_an_instant_of_another_form_is_unknown(stamp: str | None) -> None:
    table, _ = rows_of("Lead", (), [row("1", SystemModstamp=stamp), row("2")])
    assert table["modified_at"].to_pylist() == [None, datetime(2026, 11, 1, 10, tzinfo=UTC)]


def test_every_day_of_the_year_is_an_instant() -> None:
    days = [datetime(2024, 1, 1, 23, 59, 59, tzinfo=UTC) + timedelta(days=number) for number in range(366)]
    sent = [row(str(n), SystemModstamp=day.strftime("%Y-%m-%dT%H:%M:%S.000+0000")) for n, day in enumerate(days)]
    table, _ = rows_of("Lead", (), sent)
    assert table["modified_at"].to_pylist() == days


def test_no_rows_are_an_empty_page_of_the_same_shape() -> None:
    table, malformed = rows_of("Lead", ("Who.Type",), [])
    assert (table.schema, table.num_rows, malformed) == (tables.PAGE, 0, ())
