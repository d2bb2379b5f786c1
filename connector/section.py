"""What every configuration section has in common: it is frozen, refuses unknown keys, and hides its secrets."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    field_validator,
)

_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_LONGEST = timedelta(days=36525)  # beyond a century there may be no instant that is so far away
_LARGEST = 2**63 - 1  # what the stores and the fingerprints keep a whole number in
_DURATION = re.compile(r"^\s*(?:every\s+)?(\d+(?:\.\d+)?)?\s*(second|minute|hour|day|week)s?\s*$")


class Wrong(ValueError):
    """What a section's own check finds wrong with an option: one thing or several, each with its mend, if there is one."""

    def __init__(self, *told: tuple[str, str]) -> None:
        super().__init__("; ".join(part for each in told for part in each if part))
        self.told = told


class Section(BaseModel):
    """The base of every section's model. Options that are not declared are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_type(cls, value: Any, place: ValidationInfo) -> Any:
        """A text is no number and a number no truth value: `points = "20"` is an error, not twenty."""
        wanted = cls.model_fields[place.field_name or ""].annotation
        kinds = _scalars(wanted)
        for name, each in _named(value, wanted):
            if isinstance(each, str | bool | int | float) and kinds and not any(_fits(each, kind) for kind in kinds):
                raise ValueError(f"{name}must be {_WORDS[next(iter(kinds))]}, is {_WORDS[type(each)]}")
            if isinstance(each, int) and abs(each) > _LARGEST:
                raise ValueError(f"{name}is too large a number")
            if isinstance(each, str) and "\0" in each:
                raise ValueError(f"{name}must be without NUL characters")
        return value


_WORDS: Mapping[type, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _named(value: Any, wanted: Any) -> Iterable[tuple[str, Any]]:
    """The plain values in what stands for an option, each with how to name it; none where a list or table was wanted."""
    if isinstance(value, dict):
        return ((f'"{name}" ', each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return ((f"item {number} ", each) for number, each in enumerate(value, 1))
    return () if typing.get_origin(wanted) in (dict, Mapping, tuple) else (("", value),)


def _scalars(annotation: Any) -> tuple[type, ...]:
    """The plain types that an option, or a list or table of it, is made of; none when it takes anything else, too."""
    if annotation in _WORDS:
        return (annotation,)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _scalars(parts[0])
    if origin in (dict, Mapping):
        return _scalars(parts[1])
    if origin is tuple:
        return _scalars(parts[0])
    if origin in (typing.Union, types.UnionType):
        found = [_scalars(part) for part in parts if part is not type(None)]
        return tuple(kind for each in found for kind in each) if all(found) else ()
    return ()


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    return isinstance(value, kind)


def duration(value: Any) -> timedelta:
    """`"5 minutes"`, `"every hour"`, a number of seconds or a timedelta, as a timedelta.

    Raises ValueError with the forms that are accepted.
    """
    if isinstance(value, timedelta):
        return value
    try:
        length = _length(value)
    except OverflowError:
        length = None
    if length is None or length > _LONGEST:
        raise ValueError(f"must be at most 100 years, is {value!r}")
    return length


def _length(value: Any) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
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


def _is_one_word(token: SecretStr) -> SecretStr:
    """What goes into a header: with anything else the libraries fail, and their messages repeat it."""
    if re.fullmatch(r"[!-~]*", token.get_secret_value()) is None:
        raise ValueError("must be one line without spaces, of plain characters; see what the reference leads to")
    return token


Token = Annotated[SecretStr, AfterValidator(_is_one_word)]


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
    """What an option says of itself, first of all."""
    *way, last = [part for part in location if isinstance(part, str) and not is_tag(part)]
    for part in way:
        model = _section_in(model.model_fields[part].annotation)
    return str(model.model_fields[last].description or "of another form").split(";")[0]


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part)) is not None), None)
