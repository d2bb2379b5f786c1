"""Which streams of Salesforce are asked whether they have news at all, and what is queried then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import orjson
import pytest
import responses

from connector import clock
from connector.model import Page, Request
from connector.sources.salesforce import STREAMS
from connector.sources.salesforce_reading import TOLD_DELETED, WITHOUT_BIN
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
#: A cursor of a read that was not the first.
LATER = '{"low":"2026-11-24T12:00:00Z"}'
POLLED = [stream for stream in STREAMS if not stream.every]
QUERIED = ("leads", "contacts", "accounts", "tasks", "events")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda seconds: None)
    monkeypatch.setattr(clock, "monotonic_s", lambda: 0.0)


def told(*changed: str) -> Callable[[Part], Reply]:
    """An org where only these objects have news, and says so when it is asked."""

    def answer(part: Part) -> Reply:
        path = path_of(part)
        name = path.split("/")[1] if path.startswith("sobjects/") else path.split(" FROM ")[-1].split()[0]
        if "/updated/" in path:
            ids = ["new"] if name in changed else []
            return 200, {"ids": ids, "latestDateCovered": "2026-11-24T13:59:00.000+0000"}
        if "/deleted/" in path:
            return 200, {"deletedRecords": [], "latestDateCovered": "2026-11-24T13:59:00.000+0000"}
        return records(row(f"{name}1")) if name in changed else records()

    return answer


def asked_deletions(org: Org) -> set[str]:
    return {path.split("/")[1] for call in org.asked() for path in call if "/deleted/" in path}


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 24, 14, tzinfo=UTC))


@responses.activate
@pytest.mark.usefixtures("noon")
def test_a_quiet_cycle_over_all_streams_costs_one_call() -> None:
    org = Org(told())
    system = org.connect()
    read = list(system.source.pages([Request(stream, ("Name",), LATER) for stream in POLLED]))
    (call,) = org.calls
    assert (sum("queryAll" in part["url"] for part in call), len(call) <= 25, system.calls()) == (5, True, 1)
    assert sorted(page.stream.name for page in read) == sorted(stream.name for stream in POLLED)
    assert all(isinstance(page, Page) and page.done for page in read)
    assert {orjson.loads(page.cursor or "")["low"] for page in read if isinstance(page, Page)} == {
        "2026-11-24T13:50:00Z"
    }


@responses.activate
@pytest.mark.usefixtures("noon")
def test_only_streams_with_news_are_queried_and_five_of_them_take_one_call_more() -> None:
    changed = ("Lead", "Case", "Campaign", "Opportunity", "EmailMessageRelation", "CampaignMember")
    org = Org(told(*changed))
    read = pages(org, *[Request(stream, ("Name",), LATER) for stream in POLLED])
    assert [sum("queryAll" in part["url"] for part in call) for call in org.calls] == [5, 5]
    found = {page.rows["object_type"][0].as_py() for page in read if isinstance(page, Page) and page.rows.num_rows}
    assert found == set(changed)


@responses.activate
@pytest.mark.usefixtures("noon")
def test_who_takes_part_is_read_anew_when_the_activity_changes() -> None:
    org = Org(told("Task"))
    pages(org, *[Request(stream, ("RelationId",), LATER) for stream in POLLED])
    (query,) = [asked for asked in org.asked()[1] if "SELECT" in asked]
    assert " FROM TaskRelation WHERE SystemModstamp >= 2026-11-24T12:00:00Z OR Task.SystemModstamp >= " in query


@responses.activate
@pytest.mark.usefixtures("noon")
def test_whom_a_mail_names_is_read_anew_when_the_mail_changes_which_no_stream_reads_by_itself() -> None:
    org = Org(told("EmailMessage"))
    pages(org, *[Request(stream, ("RelationId",), LATER) for stream in POLLED])
    (query,) = [asked for asked in org.asked()[1] if "SELECT" in asked]
    assert " FROM EmailMessageRelation WHERE SystemModstamp >= " in query
    assert " OR EmailMessage.SystemModstamp >= 2026-11-24T12:00:00Z " in query


@pytest.mark.parametrize(
    "reply", [refused("EXCEEDED_ID_LIMIT"), refused("INVALID_REPLICATION_DATE"), (200, {}), (200, None)]
)
@responses.activate
@pytest.mark.usefixtures("noon")
def test_a_question_that_is_not_answered_leads_to_the_query(reply: Reply) -> None:
    org = Org(lambda part: reply if "/updated/" in path_of(part) else records())
    pages(org, *[Request(stream, ("Name",), LATER) for stream in POLLED])
    assert [sum("queryAll" in part["url"] for part in call) for call in org.calls] == [5, 5, 3]


@responses.activate
@pytest.mark.usefixtures("noon")
def test_what_a_long_transaction_holds_back_is_asked_for_again() -> None:
    held_back = 200, {"ids": [], "latestDateCovered": "2026-11-24T12:30:00.000+0000"}
    org = Org(lambda part: held_back if "/updated/" in path_of(part) else told()(part))
    read = pages(org, *[Request(stream, ("Name",), LATER) for stream in POLLED])
    lows = {page.stream.name: orjson.loads(page.cursor or "")["low"] for page in read if isinstance(page, Page)}
    assert (lows["leads"], lows["cases"]) == ("2026-11-24T13:50:00Z", "2026-11-24T12:30:00Z")


@pytest.mark.parametrize("name", ["EmailMessageRelation", "Opportunity", "Case", "Campaign"])
@responses.activate
@pytest.mark.usefixtures("noon")
def test_what_was_deleted_in_a_stream_without_other_news_comes_without_a_query(name: str) -> None:
    gone = {"id": "0CZ1", "deletedDate": "2026-11-24T13:55:00.000+0000"}
    deleted = 200, {"deletedRecords": [gone], "latestDateCovered": "2026-11-24T13:59:00.000+0000"}
    org = Org(lambda part: deleted if f"/{name}/deleted/" in path_of(part) else told()(part))
    at = '{"low":"2026-11-24T12:00:00Z","deleted_low":"2026-11-24T12:00:00Z"}'
    read = pages(org, *[Request(stream, ("Name",), at) for stream in POLLED])
    assert len(org.calls) == 1
    rows = [one for page in read if isinstance(page, Page) for one in page.rows.to_pylist()]
    assert [(one["native_id"], one["is_deleted"]) for one in rows] == [("0CZ1", True)]


@responses.activate
@pytest.mark.usefixtures("noon")
def test_where_a_call_has_no_room_for_all_deletions_those_asked_for_last_wait_for_the_next_read() -> None:
    """Those of the five that are queried go back a day, too, and what others hide is looked at."""
    org = Org(told())
    day = '{"low":"2026-11-24T12:00:00Z","reconciled":"2026-11-23T12:00:00Z"}'
    hidden = '{"low":"2026-11-24T12:00:00Z","deleted_low":"2026-11-24T11:00:00Z","hidden":["Name"]}'
    asked_last = hidden.replace("{", '{"deletions_asked":"2026-11-24T13:45:00Z",')
    last = {stream.name for stream in POLLED if stream.object_type in WITHOUT_BIN}
    cursors = {name: asked_last if name in last else hidden for name in BY_NAME} | dict.fromkeys(QUERIED, day)
    read = pages(org, *[Request(stream, ("Name",), cursors[stream.name]) for stream in POLLED])
    assert [len(call) for call in org.calls] == [25]
    assert {"Lead", "Contact", "Account", "Task", "Event", "Opportunity", "Campaign", "Case"} < asked_deletions(org)
    lows = {page.stream.name: orjson.loads(page.cursor or "")["deleted_low"] for page in read if isinstance(page, Page)}
    assert {low for name, low in lows.items() if name not in last} == {"2026-11-24T13:50:00Z"}
    assert "2026-11-24T11:00:00Z" in {lows[name] for name in last}, (
        "what was not asked is asked for from the same bound"
    )


@pytest.mark.parametrize("others", ["", "cases", "campaigns cases opportunities", "*"])
@pytest.mark.parametrize("reply", [None, refused("UNKNOWN_EXCEPTION")])
@responses.activate
def test_deletions_that_descriptions_leave_no_room_for_wait_for_one_read_and_never_the_same_ones_for_ever(
    others: str, reply: Reply | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether /deleted says up to when it is complete, always the same here, or nothing at all."""
    org = Org(lambda part: reply if reply and "/deleted/" in path_of(part) else told()(part))
    hide = {*QUERIED, *(BY_NAME if others == "*" else others.split())}
    cursors = {name: LATER[:-1] + (',"hidden":["Name"]}' if name in hide else "}") for name in BY_NAME}
    asked = []
    for quarter in range(6):
        at = datetime(2026, 11, 24, 14, tzinfo=UTC) + quarter * timedelta(minutes=15)
        monkeypatch.setattr(clock, "now", lambda at=at: at)
        org.headers["Date"] = format_datetime(at, usegmt=True)
        org.calls.clear()
        for each in pages(org, *[Request(stream, ("Name",), cursors[stream.name]) for stream in POLLED]):
            assert isinstance(each, Page)
            cursors[each.stream.name] = each.cursor or ""
        asked.append(asked_deletions(org))
        assert [len(call) for call in org.calls] == [25]
    assert [one | following for one, following in pairwise(asked)] == [{*TOLD_DELETED}] * 5


@responses.activate
@pytest.mark.usefixtures("noon")
def test_a_stream_without_news_is_read_whole_once_what_it_hid_is_shown() -> None:
    org = Org(
        lambda part: (
            described("Id", "CreatedDate", "SystemModstamp", "IsDeleted", "Name")
            if "/describe" in path_of(part)
            else told()(part)
        )
    )
    hidden = '{"low":"2026-11-24T12:00:00Z","hidden":["Name"]}'
    cursors = {stream.name: hidden if stream.name == "campaigns" else LATER for stream in POLLED}
    read = pages(org, *[Request(stream, ("Name",), cursors[stream.name]) for stream in POLLED])
    assert {page.hidden for page in read if isinstance(page, Page)} == {()}
    (query,) = [asked for asked in org.asked()[1] if asked.startswith("SELECT")]
    assert "Name FROM Campaign ORDER BY" in query


@responses.activate
def test_an_object_that_may_be_missing_ends_its_stream_quietly_and_is_looked_for_once_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 24, 14, tzinfo=UTC))
    org = Org(lambda part: refused("INVALID_TYPE") if " FROM TaskRelation" in path_of(part) else records())
    relations = BY_NAME["task_relations"]
    first = page(org, Request(relations, ("RelationId",)))
    assert (first.done, first.rows.num_rows, len(org.calls)) == (True, 0, 1)
    page(org, Request(relations, ("RelationId",), first.cursor))
    assert len(org.calls) == 1
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 25, 14, 1, tzinfo=UTC))
    page(org, Request(relations, ("RelationId",), first.cursor))
    assert len(org.calls) == 2


@responses.activate
def test_a_field_that_the_activity_itself_hides_is_left_out_of_who_takes_part() -> None:
    def answer(part: Part) -> Reply:
        path = path_of(part)
        if path.startswith("sobjects/Task/"):
            return described("Id", "CreatedDate", "SystemModstamp", "IsDeleted", "Subject")
        if path.startswith("sobjects/"):
            fields = [{"name": name, "type": "string"} for name in ("Id", "CreatedDate", "SystemModstamp", "IsDeleted")]
            task = {"name": "TaskId", "type": "reference", "relationshipName": "Task", "referenceTo": ["Task"]}
            return 200, {"fields": [*fields, task]}
        return refused("INVALID_FIELD") if "TaskSubtype" in path else records(row("0RT1"))

    names = ("Task.Subject", "Task.TaskSubtype")
    org = Org(answer)
    relations, tasks = Request(BY_NAME["task_relations"], names), Request(BY_NAME["tasks"], ("Subject", "TaskSubtype"))
    expected = {"task_relations": ("Task.TaskSubtype",), "tasks": ("TaskSubtype",)}
    first = [one for one in pages(org, relations, tasks) if isinstance(one, Page)]
    assert {one.stream.name: one.hidden for one in first} == expected
    calls, cursors = len(org.calls), {one.stream: one.cursor for one in first}
    later = [replace(each, cursor=cursors[each.stream]) for each in (relations, tasks)]
    again = [one for one in pages(org, *later) if isinstance(one, Page)]
    assert {one.stream.name: one.hidden for one in again} == expected
    assert len(org.calls) == calls + 1
    assert not any("whole" in orjson.loads(one.cursor or "") for one in again)
