"""Instants as HubSpot writes them: ISO 8601 with milliseconds and a Z; read as that or as epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000

_DIGITS = re.compile(r"-?\d{1,17}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def to_ms(at: datetime) -> int:
    """Epoch milliseconds of an aware instant."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def iso(ms: int) -> str:
    """`2025-11-04T03:44:52.657Z`."""
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")[:23] + "Z"


def parse_ms(text: str) -> int | None:
    """Epoch milliseconds of digits or of an ISO 8601 text (without offset: UTC); None where it is neither."""
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return to_ms(at if at.tzinfo else at.replace(tzinfo=UTC))


def parse_date(text: str) -> str | None:
    """`YYYY-MM-DD` of a date or of a midnight in UTC (ISO or epoch milliseconds); None where it is neither."""
    text = text.strip()
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            return None
    ms = parse_ms(text)
    if ms is None or ms % DAY_MS:
        return None
    return iso(ms)[:10]
