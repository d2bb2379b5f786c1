"""Ids keep their checksum, instants their instant, named dates their range."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.salesforce.ids import checksum, full_id, native_id
from connector.sandbox.salesforce.instants import instant_text, named_range, parse_instant, read_date, read_instant


def test_the_checksum_is_the_published_one() -> None:
    assert checksum("001A0000006Vm9r") == "IAC"


@given(st.integers(0, 62**9), st.integers(0, 62**9))
def test_ids_differ_by_number_and_sort_by_it(first: int, second: int) -> None:
    ids = native_id("00Q", first), native_id("00Q", second)
    assert (first < second) == (ids[0] < ids[1])
    assert (first == second) == (ids[0] == ids[1])
    assert full_id(ids[0][:15]) == full_id(ids[0]) == ids[0]


@pytest.mark.parametrize("text", ["", "x", "00Q5g0000000001EA", "00Q5g0000000001AAA", "00Q5g00000000-1", None, 5])
def test_what_is_no_id_is_none(text: object) -> None:
    assert full_id(text) is None


@given(st.integers(-2_000_000_000, 4_000_000_000), st.integers(-12 * 60, 14 * 60))
def test_an_instant_is_the_same_in_every_offset_and_spelling(seconds: int, minutes: int) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    local = at + timedelta(minutes=minutes)
    sign, hours, rest = "-" if minutes < 0 else "+", abs(minutes) // 60, abs(minutes) % 60
    text = local.strftime("%Y-%m-%dT%H:%M:%S")
    for spelled in (f"{text}{sign}{hours:02d}:{rest:02d}", f"{text}.000{sign}{hours:02d}{rest:02d}"):
        assert read_instant(spelled) == instant_text(at)
    assert parse_instant(instant_text(at)) == at


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00 00:00", "x"])
def test_what_is_no_instant_is_none(text: str) -> None:
    assert read_instant(text) is None


def test_a_literal_without_offset_is_no_instant_where_one_is_needed() -> None:
    assert read_instant("2026-01-01T00:00:00", needs_zone=True) is None
    assert read_date("2026-01-01T23:00:00Z") == "2026-01-01"
    assert read_date("2026-13-01") is None


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("TODAY", "2026-11-24", "2026-11-25"),
        ("YESTERDAY", "2026-11-23", "2026-11-24"),
        ("LAST_N_DAYS:7", "2026-11-17", "2026-11-25"),
        ("NEXT_N_DAYS:2", "2026-11-25", "2026-11-27"),
        ("N_DAYS_AGO:3", "2026-11-21", "2026-11-22"),
        ("THIS_WEEK", "2026-11-22", "2026-11-29"),
        ("LAST_MONTH", "2026-10-01", "2026-11-01"),
        ("THIS_QUARTER", "2026-10-01", "2027-01-01"),
        ("LAST_N_MONTHS:2", "2026-09-01", "2026-11-01"),
        ("next_year", "2027-01-01", "2028-01-01"),
    ],
)
def test_named_dates_are_the_ranges_of_the_soql_reference(name: str, start: str, end: str) -> None:
    assert named_range(name, date(2026, 11, 24)) == (date.fromisoformat(start), date.fromisoformat(end))


def test_an_unknown_name_is_no_range() -> None:
    assert named_range("SOMETIME", date(2026, 1, 1)) is None
    assert named_range("LAST_N_HOURS:3", date(2026, 1, 1)) is None
