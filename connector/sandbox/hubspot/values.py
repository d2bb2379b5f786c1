"""What a property accepts, and the form in which HubSpot keeps it: always text.

The codes INVALID_EMAIL, INVALID_OPTION, INVALID_INTEGER, INVALID_LONG and INVALID_DATE are HubSpot's, from recorded
answers; READ_ONLY_VALUE and VALUE_TOO_LONG are the likeliest ones, not confirmed by a public source.
"""

from __future__ import annotations

import re
from typing import Any

from connector.sandbox.hubspot.answers import ValueProblem
from connector.sandbox.hubspot.catalog import Definition
from connector.sandbox.hubspot.instants import iso, parse_date, parse_ms

MAX_LENGTH = 65_536
"""Characters of a text property, https://knowledge.hubspot.com/properties/property-field-types-in-hubspot."""

_EMAIL = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\.[^@\s,;<>\".]{2,}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def as_text(value: Any) -> str:
    """A JSON value as text: `true`, `3`, `2.5`; null is the empty text, which clears."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def normalised(definition: Definition, value: Any, current: str | None = None) -> str | ValueProblem:
    """The text to store ("" clears the property), or what is wrong with the value.

    Args:
        definition: The property, not read-only.
        value: The JSON value that was sent.
        current: The stored text; a multiple-checkbox value with a leading `;` is added to it.
    """
    text = as_text(value)
    if text == "":
        return ""
    if definition.name == "email":
        text = text.strip().lower()
        if not _EMAIL.fullmatch(text):
            return ValueProblem("email", "INVALID_EMAIL", f"Email address {text} is invalid")
        return text
    check = _CHECKS.get(definition.type, _string)
    return check(definition, text, current)


def _string(definition: Definition, text: str, _: str | None) -> str | ValueProblem:
    if len(text) > MAX_LENGTH:
        return ValueProblem(definition.name, "VALUE_TOO_LONG", f"The value is longer than {MAX_LENGTH} characters.")
    return text


def _number(definition: Definition, text: str, _: str | None) -> str | ValueProblem:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return ValueProblem(definition.name, "INVALID_INTEGER", f"{text[:100]} was not a valid number.")
    return text


def _datetime(definition: Definition, text: str, _: str | None) -> str | ValueProblem:
    ms = parse_ms(text)
    if ms is None:
        return ValueProblem(definition.name, "INVALID_LONG", f"{text[:100]} was not a valid long.")
    return iso(ms)


def _date(definition: Definition, text: str, _: str | None) -> str | ValueProblem:
    day = parse_date(text)
    if day is None:
        return ValueProblem(definition.name, "INVALID_DATE", f"{text[:100]} is not a date or not at midnight UTC!")
    return day


def _bool(definition: Definition, text: str, _: str | None) -> str | ValueProblem:
    text = text.lower()
    return text if text in ("true", "false") else _not_an_option(definition, text)


def _enumeration(definition: Definition, text: str, current: str | None) -> str | ValueProblem:
    if definition.has_external_options:
        return text
    if not definition.takes_many:
        return text if text in definition.options else _not_an_option(definition, text)
    chosen = [part for part in text.split(";") if part]
    if text.startswith(";"):
        chosen = [*(current or "").split(";"), *chosen]
    chosen = [part for part in dict.fromkeys(chosen) if part]
    wrong = next((part for part in chosen if part not in definition.options), None)
    return ";".join(chosen) if wrong is None else _not_an_option(definition, wrong)


def _not_an_option(definition: Definition, text: str) -> ValueProblem:
    allowed = ", ".join(definition.options[:20])
    return ValueProblem(
        definition.name, "INVALID_OPTION", f"{text[:100]} was not one of the allowed options: [{allowed}]"
    )


_CHECKS = {
    "number": _number,
    "datetime": _datetime,
    "date": _date,
    "bool": _bool,
    "enumeration": _enumeration,
}
