"""What every configuration section has in common: it is frozen, refuses unknown keys, and hides its secrets."""

from __future__ import annotations

import re
import typing
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


def is_tag(part: Any) -> bool:
    """Parts of pydantic's paths that name a choice of types, not a place in the file."""
    return isinstance(part, str) and (part[:1].isupper() or "[" in part or part.startswith("function-"))


def mentions(annotation: Any, wanted: type) -> bool:
    """Whether a type is, or is made of, the wanted one."""
    return annotation is wanted or any(mentions(part, wanted) for part in typing.get_args(annotation))


def options_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The options that are known at a place inside a section."""
    for part in location:
        if isinstance(part, int) or is_tag(part):
            continue
        declared = getattr(model, "model_fields", {}).get(part)
        model = _section_in(declared.annotation) if declared is not None else model
    return list(getattr(model, "model_fields", {}))


def description_at(model: Any, location: tuple[int | str, ...]) -> str:
    """What an option says of itself."""
    *way, last = [part for part in location if isinstance(part, str) and not is_tag(part)]
    for part in way:
        model = _section_in(model.model_fields[part].annotation)
    return str(model.model_fields[last].description or "of another form")


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part)) is not None), None)
