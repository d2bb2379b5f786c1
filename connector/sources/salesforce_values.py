"""Our values as Salesforce fields take them, checked against their description before anything is sent.

What a field would refuse (SOAP API Developer Guide, "StatusCode") is told here with the vendor's own code, the field and what
to do; sent, it would cost a call and the answer would name no mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

from connector.model import Change, FieldSchema, Outcome, Result, Value

_TEXTS = ("text", "long_text", "email", "phone", "url")
_PICKLISTS = ("picklist", "multi_picklist")


def misfit(change: Change, fields: Mapping[str, FieldSchema]) -> Outcome | None:
    """Why a change of fields cannot be written, by the first field that does not take it; None when it can."""
    for name, value in change.fields.items():
        schema = fields.get(name)
        if schema is None or not schema.is_writable:
            code, what = "INVALID_FIELD_FOR_INSERT_UPDATE", "does not exist for this user or cannot be written"
            mend = f"run `connector install {change.system}`, or correct the name in the configuration"
        elif found := _reason(schema, as_native(value, schema.type)):
            code, what, mend = found
        else:
            continue
        message = f"{change.object_type}.{name} {what}"
        return Outcome(change.key, Result.REJECTED, code=code, message=message, hint=mend, fields=(name,))
    return None


def _reason(schema: FieldSchema, value: Value) -> tuple[str, str, str] | None:
    """The vendor's code, what is wrong (never the value itself), and what to do."""
    if value is None:
        return None
    kind = schema.type
    if kind in _TEXTS:
        if schema.length and len(str(value)) > schema.length:
            what = f"holds {schema.length} characters, the value has {len(str(value))}"
            return "STRING_TOO_LONG", what, "make the field longer, or map something shorter to it"
    elif kind in _PICKLISTS:
        chosen = str(value).split(";") if kind == "multi_picklist" else [str(value)]
        if schema.is_restricted and [one for one in chosen if one not in schema.options]:
            what = "is restricted to its values, of which this is none"
            return "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", what, "add the value to the picklist in Setup"
    elif kind in _CASTS and not _is_of(kind, value):
        what = f"takes a {kind}, and the value is none"
        return "INVALID_TYPE_ON_FIELD_IN_RECORD", what, "map another output to it, or give it another type"
    elif kind == "number" and schema.precision is not None and isinstance(value, int | float):
        digits = schema.precision - (schema.scale or 0)
        if abs(value) >= 10**digits:
            what = f"takes {digits} digits before the point, the value has more"
            return "NUMBER_OUTSIDE_VALID_RANGE", what, "make the field longer, or lower the points of the model"
    return None


def _is_of(kind: str, value: Value) -> bool:
    """Whether a value that was cast has become what a field of this kind takes."""
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("number", "integer"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return isinstance(value, str) and bool(_CASTS[kind](value))
    except ValueError:
        return False


def field_row(change: Change, fields: Mapping[str, FieldSchema]) -> dict[str, Any]:
    """A change of fields as a row of a collection."""
    sent = {name: as_native(value, fields[name].type) for name, value in change.fields.items()}
    return {"attributes": {"type": change.object_type}, "Id": change.native_id, **sent}


def as_native(value: Value, kind: str) -> Value:
    """A canonical value as JSON for a field of this kind. What does not fit stays as it is."""
    if not isinstance(value, str) or kind not in _CASTS:
        return value
    try:
        return _CASTS[kind](value)
    except ValueError:
        return value


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


def _bool(text: str) -> bool:
    return text.lower() == "true" if text.lower() in ("true", "false") else bool(int(text))


@lru_cache(maxsize=10_000)  # an instant is checked, then written, and many records share it
def _instant(text: str) -> str:
    value = datetime.fromisoformat(text)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_CASTS: Mapping[str, Callable[[str], Value]] = {
    "number": _number,
    "integer": lambda text: round(_number(text)),
    "bool": _bool,
    "date": lambda text: date.fromisoformat(text[:10]).isoformat(),
    "datetime": _instant,
}
