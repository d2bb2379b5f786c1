"""Reading CRM objects loses nothing: not at the caps, not by an index that lags, not by changes during the read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import ProtocolError
from connector.sources.hubspot_client import Untold
from connector.sources.hubspot_records import Listing
from connector.sources.hubspot_refresh import MOST_ACTIVITIES, listed, younger
from connector.sources.hubspot_search import (
    QUERY_CHARACTERS,
    SEARCH_PAGE,
    Found,
    Horizons,
    Position,
    Wanted,
    instant_ms,
    position,
    read,
)
from tests.unit.sources.hubspot_portal import Json, Portal, page_of, record

WANTED = Wanted("contacts", ("email",), "lastmodifieddate")
HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
HORIZONS = Horizons(begun_ms=lambda: NOW_MS, overlap_ms=30_000, settled_after_ms=HOUR_MS, deletes_every_ms=24 * HOUR_MS)
#: Everything up to an hour ago is settled, everything up to a minute ago was read.
AT = Position(read_ms=NOW_MS - 60_000, settled_ms=NOW_MS - HOUR_MS - 60_000, deletes_ms=NOW_MS, refreshed_ms=NOW_MS)


def later(begun_ms: int) -> Horizons:
    return replace(HORIZONS, begun_ms=lambda: begun_ms)


def passed(portal: Portal, start: Position, horizons: Horizons = HORIZONS, wanted: Wanted = WANTED) -> list[Found]:
    if not start.read_ms:
        return list(listed(portal, wanted, start, horizons, None))  # type: ignore[arg-type]
    return list(read(portal, wanted, start, horizons))  # type: ignore[arg-type]


def ids(found: list[Found]) -> list[int]:
    return [int(row.id) for each in found for row in each.records]


def test_a_quiet_pass_is_one_search() -> None:
    portal = Portal({1: NOW_MS - HOUR_MS})
    assert ids(passed(portal, AT)) == []
    assert len(portal.searches) == 1
    assert portal.lists == 0


def test_the_back_fill_lists_every_record_once_and_the_first_search_begins_before_it() -> None:
    portal = Portal(dict.fromkeys(range(1, 251), NOW_MS - HOUR_MS))
    start = position(None)
    found = passed(portal, start)
    assert ids(found) == list(range(1, 251))
    assert {each.total for each in found} == {250}
    end = found[-1].position
    assert end.listing is None
    assert end.read_ms == NOW_MS
    portal.modified[7] = NOW_MS + 1
    assert 7 in ids(passed(portal, end, later(NOW_MS + 60_000)))


def test_a_back_fill_is_resumed_where_it_was_killed() -> None:
    portal = Portal(dict.fromkeys(range(1, 251), NOW_MS - HOUR_MS))
    first, *_ = passed(portal, position(None))
    resumed = passed(portal, position(str(first.position)))
    assert ids([first, *resumed]) == list(range(1, 251))
    assert resumed[-1].position.read_ms == NOW_MS


def test_a_list_of_properties_too_long_for_a_url_is_read_by_search() -> None:
    portal = Portal(dict.fromkeys(range(1, 251), NOW_MS - HOUR_MS))
    wide = replace(WANTED, properties=["p" * 100] * (QUERY_CHARACTERS // 100))
    assert sorted(set(ids(passed(portal, position(None), wanted=wide)))) == list(range(1, 251))
    assert portal.lists == 0


def test_more_than_ten_thousand_changes_are_read_without_an_offset() -> None:
    portal = Portal({number: NOW_MS - 50_000 + number for number in range(1, 12_001)})
    found = passed(portal, AT)
    assert sorted(ids(found)) == list(range(1, 12_001))
    assert not [body for body in portal.searches if "after" in body]


def test_twenty_five_thousand_records_of_one_millisecond_come_once_each_in_the_fewest_calls() -> None:
    portal = Portal(dict.fromkeys(range(1, 25_001), NOW_MS - 20_000))
    assert ids(passed(portal, AT)) == list(range(1, 25_001))
    assert len(portal.searches) == 25_000 // SEARCH_PAGE


def test_a_pass_that_was_killed_goes_on_after_its_last_row_and_ends_where_it_began() -> None:
    portal = Portal(dict.fromkeys(range(1, 1001), NOW_MS - 20_000))
    whole = passed(portal, AT)
    resumed = passed(portal, position(str(whole[1].position)), later(NOW_MS + HOUR_MS))
    assert ids(whole[:2] + resumed) == list(range(1, 1001))
    assert resumed[-1].position.read_ms == NOW_MS


def test_the_clock_of_the_server_is_asked_after_its_first_answer() -> None:
    """Ours is an hour ahead, which nobody knows before the server has told its time."""
    portal = Portal({1: NOW_MS})
    told: list[int] = []
    portal.on_call = lambda _: told.append(NOW_MS - HOUR_MS)
    horizons = replace(HORIZONS, begun_ms=lambda: told[-1] if told else NOW_MS)
    for start in (AT, position(None)):
        told.clear()
        assert passed(portal, start, horizons)[-1].position.read_ms == NOW_MS - HOUR_MS


def refreshing(portal: Portal, start: Position, held: list[int]) -> list[Found]:
    ours = lambda: pa.array([str(each) for each in held])  # noqa: E731
    return list(listed(portal, WANTED, start, HORIZONS, ours))  # type: ignore[arg-type]


def test_listing_anew_tells_every_record_and_which_of_ours_are_gone_or_live_on_in_another() -> None:
    portal = Portal(dict.fromkeys([*range(1, 100), *range(103, 251)], NOW_MS - HOUR_MS), absorbed={101: 250})
    found = refreshing(portal, AT, [*range(1, 103), 999])
    assert ids(found) == sorted(portal.modified)
    assert dict(each for page in found for each in page.vanished) == {
        "100": None,
        "101": "250",
        "102": None,
        "999": None,
    }
    assert portal.asked == ["100", "101", "102", "999"]
    assert found[-1].position == replace(AT, refreshed_ms=NOW_MS)


def test_a_record_that_the_list_left_out_and_that_is_there_is_not_taken_to_be_gone() -> None:
    portal = Portal(dict.fromkeys(range(1, 10), NOW_MS))
    rows = [record(each, NOW_MS) for each in range(1, 9)]
    portal.listed = lambda *_, **__: page_of({"results": rows})  # type: ignore[method-assign]
    assert [page.vanished for page in refreshing(portal, AT, [9])] == [()]


def test_a_record_that_the_list_left_out_and_that_is_not_told_is_not_taken_to_be_gone() -> None:
    portal = Portal(dict.fromkeys(range(1, 10), NOW_MS))
    untold = {"category": "INTERNAL_ERROR", "message": "try later", "context": {"ids": ["99"]}}
    portal.batch = lambda *_: {"results": [], "errors": [untold]}  # type: ignore[method-assign]
    with pytest.raises(Untold, match="contacts were not told: try later"):
        refreshing(portal, AT, [99])
    portal.batch = lambda *_: {"results": [], "errors": [{"category": "OBJECT_NOT_FOUND"}]}  # type: ignore[method-assign]
    assert [page.vanished for page in refreshing(portal, AT, [99])] == [(("99", None),)]


def test_listing_anew_goes_on_after_a_kill_and_does_not_touch_what_is_known_of_changes() -> None:
    portal = Portal(dict.fromkeys(range(1, 251), NOW_MS))
    first, *_ = refreshing(portal, AT, [50, 300])
    at = position(str(first.position))
    assert (at.read_ms, at.settled_ms) == (AT.read_ms, AT.settled_ms)
    resumed = refreshing(portal, at, [50, 300])
    assert ids([first, *resumed]) == list(range(1, 251))
    assert [each for page in resumed for each in page.vanished] == [("300", None)]


def test_a_back_fill_tells_which_of_ours_are_gone_and_goes_on_with_that_after_a_kill() -> None:
    """Whoever holds records and reads from the beginning has let go of the cursor that knew from when deletions are to be told."""
    portal = Portal(dict.fromkeys([*range(1, 50), *range(51, 251)], NOW_MS), archived={50: NOW_MS - HOUR_MS})
    first, *_ = refreshing(portal, position(None), [50, 300])
    assert first.vanished == (("50", None),)
    resumed = refreshing(portal, position(str(first.position)), [300])
    assert ids([first, *resumed]) == sorted(portal.modified)
    assert [each for page in resumed for each in page.vanished] == [("300", None)]
    assert resumed[-1].position == Position(NOW_MS, NOW_MS - HORIZONS.settled_after_ms, NOW_MS, NOW_MS)


def test_listing_anew_goes_on_where_places_in_the_list_are_no_ids() -> None:
    portal = Portal(dict.fromkeys([*range(1, 100), *range(101, 250), *range(251, 351)], NOW_MS))
    by_number = portal.listed

    def by_opaque_place(object_type: str, properties: Sequence[str], after: str | None, **more: bool) -> Listing:
        page = by_number(object_type, properties, None if after is None else after.removeprefix("NTI"), **more)
        return page if page.after is None else replace(page, after=f"NTI{page.after}")

    portal.listed = by_opaque_place  # type: ignore[method-assign]
    gone = [100, 250, 999]
    whole = refreshing(portal, AT, gone)
    assert [each for page in whole for each, _ in page.vanished] == ["100", "250", "999"]
    resumed = refreshing(portal, position(str(whole[0].position)), gone)
    assert ids([whole[0], *resumed]) == sorted(portal.modified)
    assert {each for page in [whole[0], *resumed] for each, _ in page.vanished} >= {"250", "999"}


CALLS = Wanted("calls", ("hs_call_title",), "hs_lastmodifieddate")


def test_of_activities_those_of_a_month_are_read_anew_and_the_reading_goes_on_after_a_kill() -> None:
    portal = Portal(dict.fromkeys(range(1, 451), NOW_MS - HOUR_MS) | {999: NOW_MS - 100 * HOUR_MS})
    horizons = replace(HORIZONS, refresh_activities_ms=24 * HOUR_MS)
    found = list(younger(portal, CALLS, AT, horizons))  # type: ignore[arg-type]
    assert ids(found) == list(range(1, 451))
    assert len(portal.searches) == 3
    assert {each["filterGroups"][0]["filters"][0]["propertyName"] for each in portal.searches} == {"hs_createdate"}
    assert found[-1].position == replace(AT, refreshed_ms=NOW_MS)
    resumed = list(younger(portal, CALLS, position(str(found[0].position)), later(NOW_MS + HOUR_MS)))  # type: ignore[arg-type]
    assert ids([found[0], *resumed]) == list(range(1, 451))


def test_of_too_many_activities_the_youngest_are_read_anew() -> None:
    class Busy(Portal):
        def search(self, object_type: str, body: Json) -> Listing:
            since_ms = int(body["filterGroups"][0]["filters"][0]["value"])
            self.searches.append(body)
            return page_of({"total": (NOW_MS - since_ms) // 1000, "results": [record(1, NOW_MS)]})

    portal = Busy()
    horizons = replace(HORIZONS, refresh_activities_ms=100_000_000)
    assert ids(list(younger(portal, CALLS, AT, horizons))) == [1]  # type: ignore[arg-type]
    told = [(NOW_MS - int(each["filterGroups"][0]["filters"][0]["value"])) // 1000 for each in portal.searches]
    assert told == [100_000, 50_000, 25_000, 12_500]
    assert told[-1] <= MOST_ACTIVITIES < told[-2]


def test_a_row_that_is_indexed_late_is_read_by_the_pass_that_settles() -> None:
    late_ms = NOW_MS - 50_000
    portal = Portal({1: late_ms}, hidden={1})
    end = passed(portal, AT)[-1].position
    portal.hidden.clear()
    soon = passed(portal, end, later(NOW_MS + 10 * 60_000))
    assert ids(soon) == []
    assert ids(passed(portal, soon[-1].position, later(NOW_MS + HOUR_MS + 60_000))) == [1]


def test_settling_costs_no_further_search() -> None:
    portal = Portal()
    passed(portal, replace(AT, settled_ms=NOW_MS - 3 * HOUR_MS))
    assert len(portal.searches) == 1
    assert portal.searches[0]["filterGroups"][0]["filters"][0]["value"] == str(NOW_MS - 3 * HOUR_MS)


def test_a_pass_that_settles_does_not_count_the_last_hour_as_settled() -> None:
    portal = Portal({1: NOW_MS - 50_000}, hidden={1})
    end = passed(portal, replace(AT, settled_ms=NOW_MS - 3 * HOUR_MS))[-1].position
    assert end.settled_ms == NOW_MS - HOUR_MS
    portal.hidden.clear()
    assert ids(passed(portal, end, later(NOW_MS + HOUR_MS))) == [1]


def test_the_archive_is_read_when_it_is_due_and_tells_only_what_is_new() -> None:
    portal = Portal(archived={1: NOW_MS - 2 * HOUR_MS, 2: NOW_MS - 1000})
    due = replace(AT, deletes_ms=NOW_MS - HOUR_MS)
    found = passed(portal, due, replace(HORIZONS, deletes_every_ms=HOUR_MS))
    assert [int(row.id) for each in found if each.is_archived for row in each.records] == [2]
    assert found[-1].position.deletes_ms == NOW_MS
    assert not [each for each in passed(portal, due) if each.is_archived]


def test_a_cursor_that_is_not_ours_is_refused_by_name() -> None:
    for foreign in ("17", '{"after": 3}', "not json", "[]"):
        with pytest.raises(ProtocolError, match="cursor"):
            position(foreign)


def test_a_search_by_id_that_does_not_go_on_is_an_error_and_not_an_endless_loop() -> None:
    class Stuck(Portal):
        def search(self, object_type: str, body: Json) -> Listing:
            same = {"id": "1", "properties": {"lastmodifieddate": str(NOW_MS - 90_000)}}
            return page_of({"results": [same], "paging": {"next": {"after": "1"}}})

    with pytest.raises(ProtocolError, match="does not go on"):
        passed(Stuck(), AT)


def test_malformed_rows_do_not_stop_the_reading() -> None:
    class Odd(Portal):
        def search(self, object_type: str, body: Json) -> Listing:
            return page_of(
                {
                    "results": [
                        None,
                        {"id": "1"},
                        {"properties": {}},
                        {"id": "2", "properties": {"lastmodifieddate": "x"}},
                    ]
                }
            )

    [found] = passed(Odd(), AT)
    assert (ids([found]), len(found.malformed)) == ([2], 3)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("1762229092657", 1762229092657),
        (1762229092657, 1762229092657),
        ("2025-11-04T04:04:52.657Z", 1762229092657),
        ("2025-11-04T04:04:52.657+00:00", 1762229092657),
        ("", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_an_instant_is_understood_in_both_notations(value: object, ms: int | None) -> None:
    assert instant_ms(value) == ms


@settings(deadline=None, max_examples=150)
@given(
    offsets=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    touched=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), max_size=12),
    page=st.integers(2, 7),
    kill_after=st.integers(1, 40),
)
def test_no_order_of_changes_and_kills_loses_the_last_state_of_a_record(
    offsets: list[int], touched: list[tuple[int, int]], page: int, kill_after: int
) -> None:
    """Few milliseconds, small pages, changes between calls, a kill after any page: the dense corner of the algorithm."""
    base_ms = NOW_MS - 25_000
    portal = Portal({number: base_ms + offset for number, offset in enumerate(offsets, start=1)}, page=page)
    calls = iter(range(10_000))
    plan = dict(touched)

    def touch(at: Portal) -> None:
        record_id = plan.get(next(calls))
        if record_id in at.modified:
            at.modified[record_id] = max(at.modified.values()) + 1

    portal.on_call = touch
    seen: dict[int, int] = {}

    def note(found: Found) -> None:
        for row in found.records:
            seen[int(row.id)] = int(orjson.loads(bytes(row.properties))["lastmodifieddate"])

    at = AT
    for count, found in enumerate(read(portal, WANTED, at, HORIZONS), start=1):  # type: ignore[arg-type]
        note(found)
        at = found.position
        if count == kill_after:
            break
    for found in read(portal, WANTED, position(str(at)), HORIZONS):  # type: ignore[arg-type]
        note(found)
        at = found.position
    portal.on_call = lambda _: None
    for found in read(portal, WANTED, at, later(NOW_MS + 1000)):  # type: ignore[arg-type]
        note(found)
    assert seen == portal.modified
