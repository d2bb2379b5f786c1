"""What a read of Salesforce does at its intervals: going back a day, formulas, what was deleted long ago, slow queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
import requests
import responses

from connector import clock
from connector.errors import TransientError
from connector.model import Page, Request, StreamFailure
from connector.sources import salesforce_rest
from connector.sources.salesforce import STREAMS
from tests.unit.sources.salesforce_double import (
    PREFIX,
    URL,
    Org,
    Part,
    Reply,
    described,
    path_of,
    records,
    refused,
    row,
)

BY_NAME = {stream.name: stream for stream in STREAMS}
ACCOUNTS, LEADS, ROLES = BY_NAME["accounts"], BY_NAME["leads"], BY_NAME["contact_roles"]
STANDARD = ("Id", "CreatedDate", "SystemModstamp", "IsDeleted", "MasterRecordId", "ConvertedContactId", "Name")
NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)  # as the double's Date header


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clock, "sleep", lambda seconds: None)
    monkeypatch.setattr(clock, "monotonic_s", lambda: 0.0)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    salesforce_rest._SEEN.clear()
    yield
    salesforce_rest._SEEN.clear()


def pages(org: Org, *requests: Request, **options: Any) -> list[Page]:
    read = list(org.connect(**options).source.pages(requests))
    assert all(isinstance(one, Page) for one in read), read
    return [one for one in read if isinstance(one, Page)]


def last(read: list[Page]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(read[-1].cursor or "")
    return found


def cursor(**said: Any) -> str:
    return orjson.dumps({"low": "2026-11-24T13:00:00Z", "reconciled": "2026-11-24T13:00:00Z"} | said).decode()


def holding(*ids: str) -> Callable[[], pa.Array[Any]]:
    return lambda: pa.array(ids, pa.string())


def answering(**replies: Reply) -> Callable[[Part], Reply]:
    """By what a part asks: `deleted`, `describe`, `sweep` (of ids), `query`."""

    def answer(part: Part) -> Reply:
        path = path_of(part)
        for kind, mark in (("deleted", "/deleted/"), ("describe", "/describe"), ("sweep", "SELECT Id FROM")):
            if mark in path:
                return replies.get(kind, refused("NOT_TOLD", status=500))
        return replies.get("query", records())

    return answer


# --------------------------------------------------------------------------------------------------- once a day


@responses.activate
def test_once_a_day_a_read_goes_back_to_the_last_time_it_did_and_asks_in_the_same_call_what_was_deleted_since() -> None:
    gone = {"id": "001gone", "deletedDate": "2026-11-23T20:00:00.000+0000"}
    told = 200, {"deletedRecords": [gone], "latestDateCovered": "2026-11-24T13:58:00.000+0000"}
    org = Org(answering(deleted=told, describe=described(*STANDARD), query=records(row("001here"))))
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor(reconciled="2026-11-23T13:30:00Z")))
    (asked,) = org.asked()
    assert "SystemModstamp >= 2026-11-23T13:20:00Z" in asked[0]  # ten minutes before
    assert asked[1].startswith("sobjects/Account/deleted/?start=2026-11-23T13:30:00Z")
    rows = {one["native_id"]: one["is_deleted"] for one in read[0].rows.to_pylist()}
    assert rows == {"001here": False, "001gone": True}
    assert (last(read)["reconciled"], last(read)["deleted_low"]) == ("2026-11-24T14:00:00Z", "2026-11-24T13:50:00Z")


@responses.activate
def test_the_next_daily_read_asks_for_deletions_from_where_the_last_answer_was_complete() -> None:
    told = 200, {"deletedRecords": [], "latestDateCovered": "2026-11-24T09:00:00.000+0000"}  # a long transaction
    org = Org(answering(deleted=told, describe=described(*STANDARD)))
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor(reconciled="2026-11-23T13:30:00Z")))
    assert last(read)["deleted_low"] == "2026-11-24T09:00:00Z"


# --------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize(("refreshed", "is_whole"), [("2026-11-23T13:59:00Z", True), ("2026-11-23T14:01:00Z", False)])
@responses.activate
def test_a_stream_with_a_formula_is_read_whole_on_a_schedule_of_its_own(refreshed: str, is_whole: bool) -> None:
    org = Org(answering(describe=described(*STANDARD)))
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor(formulas=True, refreshed=refreshed)))
    assert ("WHERE" not in org.asked()[0][0]) == is_whole
    assert last(read)["refreshed"] == ("2026-11-24T14:00:00Z" if is_whole else refreshed)


@responses.activate
def test_whether_a_formula_is_read_is_learnt_from_the_description_that_comes_with_a_whole_read() -> None:
    fields = [{"name": name, "type": "string"} for name in STANDARD]
    formula = {"name": "Tier__c", "type": "string", "calculated": True}
    org = Org(answering(describe=(200, {"fields": [*fields, formula]})))
    assert last(pages(org, Request(ACCOUNTS, ("Tier__c",))))["formulas"] is True
    assert last(pages(org, Request(ACCOUNTS, ("Name",))))["formulas"] is False


# --------------------------------------------------------------------------------------------------- descriptions


@responses.activate
def test_a_description_that_did_not_change_is_asked_for_by_its_date_and_answered_without_a_body() -> None:
    seen = "Mon, 23 Nov 2026 10:00:00 GMT"

    class Dated(Org):
        def _composite(self, request: Any) -> Any:
            status, headers, body = super()._composite(request)
            said = orjson.loads(body)
            for part in said["compositeResponse"]:
                part["httpHeaders"] = {"Last-Modified": seen}
            return status, headers, orjson.dumps(said)

    def answer(part: Part) -> Reply:
        if "/describe" not in path_of(part):
            return records()
        return (304, None) if part.get("httpHeaders") else described(*STANDARD)

    org = Dated(answer)
    pages(org, Request(LEADS, ("Name", "Gone"), cursor()))
    read = pages(org, Request(LEADS, ("Name", "Gone"), cursor()))
    asked = [part for call in org.calls for part in call if "/describe" in path_of(part)]
    assert [part.get("httpHeaders") for part in asked] == [None, {"If-Modified-Since": seen}]
    system = org.connect()
    assert system.source.describe(["Lead"])["Lead"].fields["Name"].type == "text"
    assert read[-1].done


# --------------------------------------------------------------------------------------------------- the id sweep


OLD = {"low": "2026-11-09T13:00:00Z", "reconciled": "2026-11-09T13:00:00Z"}


@responses.activate
def test_after_more_than_fifteen_days_the_ids_alive_are_compared_with_those_that_we_hold() -> None:
    org = Org(answering(sweep=records({"Id": "001a"}, {"Id": "001b"}), describe=described(*STANDARD)))
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor(**OLD), holding("001a", "001b", "001lost")))
    assert [one.done for one in read] == [False, True]
    assert orjson.loads(read[0].cursor or "")["sweep"] is True
    assert [(one["native_id"], one["is_deleted"]) for one in read[1].rows.to_pylist()] == [("001lost", True)]
    assert org.asked()[-1] == ["SELECT Id FROM Account WHERE IsDeleted = false"]
    assert "sweep" not in last(read)


@pytest.mark.parametrize("name", ["contact_roles", "campaign_members"])
@responses.activate
def test_where_there_is_no_recycle_bin_it_is_deletions_that_were_not_told_for_so_long_that_count(name: str) -> None:
    org = Org(answering(sweep=records({"Id": "a"})))
    at = cursor(deleted_low="2026-11-09T13:59:00Z")
    read = pages(org, Request(BY_NAME[name], (), at, holding("a", "b")))
    assert read[-1].rows["native_id"].to_pylist() == ["b"]
    assert last(read)["deleted_low"] == last(read)["low"]


@responses.activate
def test_a_read_that_was_killed_before_the_ids_were_compared_compares_them_the_next_time() -> None:
    org = Org(answering(sweep=records({"Id": "001a"}), describe=described(*STANDARD)))
    request = Request(ACCOUNTS, ("Name",), cursor(**OLD), holding("001a", "001lost"))
    first = next(iter(org.connect().source.pages([request])))
    assert isinstance(first, Page)
    read = pages(org, Request(ACCOUNTS, ("Name",), first.cursor, holding("001a", "001lost")))
    assert "WHERE SystemModstamp >= 2026-11-24T13:50:00Z" in org.asked()[1][0]
    assert read[-1].rows["native_id"].to_pylist() == ["001lost"]


@responses.activate
def test_a_full_pull_compares_and_a_first_one_has_nothing_to_compare() -> None:
    org = Org(answering(sweep=records({"Id": "001a"}), query=records(row("001a")), describe=described(*STANDARD)))
    again = pages(org, Request(ACCOUNTS, ("Name",), None, holding("001a", "001lost")))
    assert again[-1].rows["native_id"].to_pylist() == ["001lost"]
    assert len(pages(org, Request(ACCOUNTS, ("Name",), None, holding()))) == 1


@responses.activate
def test_an_org_that_shows_no_record_at_all_is_not_believed() -> None:
    org = Org(answering(sweep=records(), describe=described(*STANDARD)))
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor(**OLD), holding("001a", "001b")))
    assert sum(one.rows.num_rows for one in read) == 0


@responses.activate
def test_more_deletions_than_the_system_tells_are_found_by_comparing() -> None:
    org = Org(answering(deleted=refused("EXCEEDED_ID_LIMIT"), sweep=records({"Id": "a"})))
    read = pages(org, Request(ROLES, (), cursor(deleted_low="2026-11-24T11:00:00Z"), holding("a", "b")))
    assert read[-1].rows["native_id"].to_pylist() == ["b"]
    assert last(read)["deleted_low"] == last(read)["low"]


# --------------------------------------------------------------------------------------------------- slow queries


def bulk_job(*ids: str, state: str = "JobComplete") -> None:
    """A bulk query that is done, with one page of results."""
    csv = '"Id","CreatedDate","SystemModstamp","IsDeleted"\n' + "".join(f'"{one}","","","false"\n' for one in ids)
    responses.post(f"{URL}{PREFIX}jobs/query", json={"id": "750job"}, headers={"Date": "Tue, 24 Nov 2026 14:00:00 GMT"})
    responses.get(f"{URL}{PREFIX}jobs/query/750job", json={"state": state, "numberRecordsProcessed": len(ids)})
    pages_of = {"resultPages": [{"resultUrl": f"{PREFIX}jobs/query/750job/results?locator=x"}], "done": True}
    responses.get(f"{URL}{PREFIX}jobs/query/750job/resultPages", json=pages_of)
    headers = {"Sforce-NumberOfRecords": str(len(ids)), "Sforce-Locator": "null"}
    responses.get(f"{URL}{PREFIX}jobs/query/750job/results", body=csv, headers=headers, content_type="text/csv")


@responses.activate
def test_a_query_that_the_org_cannot_answer_in_time_becomes_a_bulk_query() -> None:
    org = Org(answering(query=refused("QUERY_TIMEOUT"), describe=described(*STANDARD)))
    bulk_job("001a", "001b")
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor()))
    assert [one["native_id"] for page in read for one in page.rows.to_pylist()] == ["001a", "001b"]
    assert read[-1].done
    job = next(call.request for call in responses.calls if str(call.request.url).endswith("jobs/query"))
    assert "SystemModstamp >= 2026-11-24T13:00:00Z" in orjson.loads(job.body or b"")["query"]


@responses.activate
def test_ids_of_a_large_object_are_swept_in_bulk() -> None:
    org = Org(answering(sweep=records({"Id": "x"}, total=30), describe=described(*STANDARD)))
    bulk_job("001a", "001b")
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor(**OLD), holding("001a", "001b", "001lost")), bulk_from=20)
    assert [one["native_id"] for page in read for one in page.rows.to_pylist()] == ["001lost"]
    assert read[-1].done


@responses.activate
def test_a_bulk_query_that_fails_is_read_by_pages() -> None:
    org = Org(answering(query=records(row("001a"), total=30), describe=described(*STANDARD)))
    bulk_job(state="Failed")
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor()), bulk_from=20)
    assert [one["native_id"] for page in read for one in page.rows.to_pylist()] == ["001a"]


@responses.activate
def test_a_timeout_that_lasts_fails_the_stream_by_name() -> None:
    org = Org(answering(query=refused("QUERY_TIMEOUT"), describe=described(*STANDARD)))
    responses.post(f"{URL}{PREFIX}jobs/query", json=[{"errorCode": "INVALIDENTITY", "message": "no"}], status=400)
    (failure,) = org.connect().source.pages([Request(ACCOUNTS, ("Name",), cursor())])
    assert isinstance(failure, StreamFailure)
    assert isinstance(failure.error, TransientError)


@responses.activate
def test_a_result_page_whose_connection_breaks_is_fetched_again_and_every_row_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    org = Org(answering(query=records(row("x"), total=30), describe=described(*STANDARD)))
    bulk_job("001a", "001b")
    whole, breaks = requests.Response.iter_content, iter([2, 1])

    def broken(response: requests.Response, size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        pieces = list(whole(response, 40, decode_unicode))
        if "/results?" in str(response.url) and (kept := next(breaks, None)):
            yield from pieces[:kept]
            raise requests.exceptions.ChunkedEncodingError("cut")
        yield from pieces

    monkeypatch.setattr(requests.Response, "iter_content", broken)
    read = pages(org, Request(ACCOUNTS, ("Name",), cursor()), bulk_from=20)
    assert [one["native_id"] for page in read for one in page.rows.to_pylist()] == ["001a", "001b"]
    assert next(breaks, None) is None, "no connection broke"
