"""What every configuration section has in common: it is frozen, refuses unknown keys, and hides its secrets."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SecretStr

_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_DURATION = re.compile(r"^\s*(?:every\s+)?(\d+(?:\.\d+)?)?\s*(second|minute|hour|day|week)s?\s*$")


class Section(BaseModel):
    """The base of every section's model. Options that are not declared are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False, hide_input_in_errors=True)


def duration(value: Any) -> timedelta:
    """`"5 minutes"`, `"every hour"`, a number of seconds or a timedelta, as a timedelta.

    Raises ValueError with the forms that are accepted.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'must be a duration such as "5 minutes", "1 hour" or "2 days", is {value!r}')
    return float(match.group(1) or 1) * _UNITS[match.group(2)]


def in_words(value: timedelta) -> str:
    """A duration as people write it: the largest unit that divides it."""
    for name, unit in reversed(_UNITS.items()):
        if value >= unit and not value % unit:
            count = value // unit
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{value.total_seconds():g} seconds"


Duration = Annotated[timedelta, BeforeValidator(duration), PlainSerializer(in_words, return_type=str)]
Secret = SecretStr
