"""The day on which the worlds live: always the same one, so that no test depends on the date. The time of day is the real one."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

_DAY = datetime(2026, 11, 24, tzinfo=UTC)
_MOVED = _DAY - datetime.combine(datetime.now(UTC).date(), time(), UTC)


def now(later: timedelta = timedelta()) -> datetime:
    """The worlds' present, or so much later."""
    return datetime.now(UTC) + _MOVED + later
