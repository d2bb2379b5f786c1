"""Dates and times as the REST API writes and reads them, and the named ranges of SOQL."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_NAMED = re.compile(r"^(LAST|NEXT)_N_(DAYS|WEEKS|MONTHS|QUARTERS|YEARS):(\d+)$")
_AGO = re.compile(r"^N_(DAYS|WEEKS|MONTHS|QUARTERS|YEARS)_AGO:(\d+)$")
_INPUT = re.compile(
    r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?$",
)
_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")


def instant_text(at: datetime) -> str:
    """`2026-09-01T00:00:00.000+0000`: how the REST API writes an instant; seconds are kept, fractions are not."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def read_instant(text: str, *, needs_zone: bool = False) -> str | None:
    """A datetime in any spelling the API takes, as `instant_text` writes it but with its milliseconds; None if it is none.

    Without an offset it is UTC, unless `needs_zone`.
    """
    match = _INPUT.match(text)
    if match is None or (needs_zone and match.group(4) is None):
        return None
    zone = match.group(4) or "Z"
    offset = "+00:00" if zone == "Z" else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        at = datetime.fromisoformat(f"{match.group(1)}T{match.group(2)}{offset}").astimezone(UTC)
    except ValueError:
        return None
    milliseconds = (match.group(3) or ".0")[1:4].ljust(3, "0")
    return at.strftime(f"%Y-%m-%dT%H:%M:%S.{milliseconds}+0000")


def read_date(text: str) -> str | None:
    """A date `YYYY-MM-DD`, or the date of a datetime; None if it is none."""
    day = text[:10]
    if not _DATE.match(day) or (len(text) > 10 and read_instant(text) is None):
        return None
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        return None


def parse_instant(text: str) -> datetime:
    """The instant that `instant_text` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")


def named_range(name: str, today: date) -> tuple[date, date] | None:
    """Start and end (exclusive) of a named date literal such as `TODAY` or `LAST_N_DAYS:7`; None if there is no such name."""
    name = name.upper()
    if name in _DAYS:
        first, last = _DAYS[name]
        return today + timedelta(days=first), today + timedelta(days=last)
    match = _AGO.match(name)
    if match:
        unit, count = match.group(1)[:-1], int(match.group(2))
        return _unit(unit, today, -count, 1)
    match = _NAMED.match(name)
    if match:
        unit, count = match.group(2)[:-1], int(match.group(3))
        if unit == "DAY":
            return _last_or_next_days(match.group(1), count, today)
        return _unit(unit, today, -count if match.group(1) == "LAST" else 1, count)
    which, _, unit = name.partition("_")
    if which in _OFFSETS and unit in ("WEEK", "MONTH", "QUARTER", "YEAR"):
        return _unit(unit, today, _OFFSETS[which], 1)
    return None


_DAYS = {"YESTERDAY": (-1, 0), "TODAY": (0, 1), "TOMORROW": (1, 2), "LAST_90_DAYS": (-90, 1), "NEXT_90_DAYS": (1, 91)}
_OFFSETS = {"THIS": 0, "LAST": -1, "NEXT": 1}


def _last_or_next_days(which: str, count: int, today: date) -> tuple[date, date]:
    """LAST_N_DAYS goes from n days ago to the end of today, NEXT_N_DAYS starts tomorrow."""
    if which == "LAST":
        return today - timedelta(days=count), today + timedelta(days=1)
    return today + timedelta(days=1), today + timedelta(days=count + 1)


def _unit(unit: str, today: date, first: int, count: int) -> tuple[date, date]:
    """`count` whole units, beginning `first` units from the one that holds today; weeks begin on Sunday."""
    if unit == "DAY":
        start = today + timedelta(days=first)
        return start, start + timedelta(days=count)
    if unit == "WEEK":
        sunday = today - timedelta(days=(today.weekday() + 1) % 7) + timedelta(weeks=first)
        return sunday, sunday + timedelta(weeks=count)
    months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[unit]
    this = (today.year * 12 + today.month - 1) // months
    return _month((this + first) * months), _month((this + first + count) * months)


def _month(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)
