"""What every configuration section has in common: it is frozen, refuses unknown keys, and hides its secrets."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

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
    """What a section's own check finds wrong with an option: one thing or several, each with its mend, if there is one.

    of: the options of the section that a check between options has looked at.
    """

    def __init__(self, *told: tuple[str, str], of: tuple[str, ...] = ()) -> None:
        super().__init__("; ".join(part for each in told for part in each if part))
        self.told = told
        self.of = of


class Section(BaseModel):
    """The base of every section's model. Options that are not declared are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_type(cls, value: Any, place: ValidationInfo) -> Any:
        """A text is no number and a number no truth value: `points = "20"` is an error, not twenty."""
        wanted = cls.model_fields[place.field_name or ""].annotation
        kinds = _scalars(wanted)
        wrong = [(at, why) for at, each in _plain_values(value, wanted) if (why := _why_not(each, kinds))]
        if wrong:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [InitErrorDetails(type=_another_type(why), loc=at, input=value) for at, why in wrong],
            )
        return value


def _another_type(why: str) -> PydanticCustomError:
    return PydanticCustomError("another_type", "{why}", {"why": why})


def _why_not(value: Any, kinds: tuple[type, ...]) -> str:
    """What is wrong with a plain value that should be of one of these kinds; "" when nothing is."""
    if isinstance(value, str | bool | int | float) and kinds and not any(_fits(value, kind) for kind in kinds):
        return f"must be {_WORDS[next(iter(kinds))]}, is {_WORDS[type(value)]}"
    if kinds and isinstance(value, float) and not isfinite(value):
        return f"must be a number, is {value}"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "is too large a number"
    return "must be without NUL characters" if isinstance(value, str) and "\0" in value else ""


_WORDS: Mapping[type, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _plain_values(value: Any, wanted: Any) -> Iterable[tuple[tuple[int | str, ...], Any]]:
    """The values in what stands for an option, each with its place in it; none where a list or table was wanted."""
    if isinstance(value, dict):
        return (((name,), each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return (((at,), each) for at, each in enumerate(value))
    return () if typing.get_origin(wanted) in (dict, Mapping, tuple) else (((), value),)


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


def one_of(names: Collection[str], noun: str) -> AfterValidator:
    """A text that must be one of these names. What is told of another one ends with the nearest, or with all of them."""

    def checked(name: str) -> str:
        if name not in names:
            near = get_close_matches(name, names, 1)
            mend = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(names)}"
            raise Wrong((f'unknown {noun} "{name}"', mend))
        return name

    return AfterValidator(checked)


def mentions(annotation: Any, wanted: type) -> bool:
    """Whether a type is, or is made of, the wanted one."""
    return annotation is wanted or any(mentions(part, wanted) for part in typing.get_args(annotation))


def options_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The options that are known at a place inside a section."""
    for part in location:
        declared = _options(model).get(part)
        model = _section_in(declared.annotation) if declared is not None else model
    return list(_options(model))


def description_at(model: Any, location: tuple[int | str, ...]) -> str:
    """What an option says of itself, first of all."""
    declared = None
    for part in location:
        declared = _options(model).get(part, declared)
        model = (declared and _section_in(declared.annotation)) or model
    return str((declared and declared.description) or "of another form").split(";")[0]


def _options(model: Any) -> dict[Any, FieldInfo]:
    """The options of a section as they are written in the file."""
    fields: dict[str, FieldInfo] = getattr(model, "model_fields", {})
    return {declared.alias or name: declared for name, declared in fields.items()}


@cache
def relaxed(model: type[Section]) -> type[Section]:
    """The same section with nothing in it needed: what is left of one without its wrong options is still looked at."""
    loose: dict[str, Any] = {}
    for name, declared in model.model_fields.items():
        changed = copy(declared)
        changed.annotation = _relaxed(declared.annotation)
        if changed.is_required():
            changed.default = None
        loose[name] = (changed.annotation, changed)
    made: type[Section] = create_model(model.__name__, __base__=model, **loose)
    return made


def _relaxed(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return relaxed(annotation)
    if _section_in(annotation) is None:
        return annotation
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return Annotated[(_relaxed(parts[0]), *parts[1:])]
    loose = tuple(part if part is Ellipsis else _relaxed(part) for part in parts)
    return typing.Union[loose] if origin in (typing.Union, types.UnionType) else origin[loose]  # noqa: UP007


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part)) is not None), None)
