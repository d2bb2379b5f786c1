"""Values before they are sent: held against the property's definition, so that a wrong one costs no call and names its cause.

What HubSpot takes (documentation "Properties"; codes as its validation errors tell them): an enumeration one of its
options (several with semicolons for check boxes), a number a plain decimal, a date or instant ISO 8601 text or
milliseconds, a bool true or false, a text at most 65,536 characters, and no value where a property is calculated or
read-only. "" clears any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from connector import clock
from connector.model import Change, FieldSchema, Outcome, Result
from connector.sources.hubspot_client import Api, Json
from connector.sources.hubspot_search import instant_ms

LONGEST_TEXT = 65_536
DAY_LETTERS = 10  # of an instant as ISO 8601 text
UNKNOWN_PROPERTY = "PROPERTY_DOESNT_EXIST"
READ_ONLY = "READ_ONLY_VALUE"
LIFECYCLE = "lifecyclestage"


#: What a process remembers of a portal: object type -> (when it was asked, its properties by name).
Remembered = dict[str, tuple[float, dict[str, Json]]]
#: For more than one cycle of a service; a value is never refused by what an earlier connection was told (`is_old`).
REMEMBERED_FOR_S = 3_600.0


@lru_cache(maxsize=16)
def remembered_of(portal: Hashable) -> Remembered:
    """What this process knows of a portal's properties, from one connection with the same options to the next."""
    del portal
    return {}


class Definitions:
    """The property definitions of a portal, asked for once for each object type of a delivery, and not again for an
    hour in a process that stays (`remembered`)."""

    def __init__(self, api: Api, remembered: Remembered | None = None) -> None:
        self._api = api
        self._known: Remembered = {} if remembered is None else remembered
        self._asked: set[str] = set()

    def of(self, object_type: str) -> Mapping[str, Json]:
        """Every property of an object type by its name. Raises what asking for them raises."""
        known = self._known.get(object_type)
        if known is None or clock.monotonic_s() - known[0] > REMEMBERED_FOR_S:
            told = {str(each["name"]): each for each in self._api.properties(object_type)}
            known = self._known[object_type] = (clock.monotonic_s(), told)
            self._asked.add(object_type)
        return known[1]

    def is_old(self, object_type: str) -> bool:
        """Whether an earlier connection asked for them: too old to refuse a value by."""
        return object_type in self._known and object_type not in self._asked

    def forget(self) -> None:
        """Ask again: something was installed, or may have been changed."""
        self._known.clear()
        self._asked.clear()


def refusal(change: Change, sent: Mapping[str, str], fields: Mapping[str, FieldSchema]) -> Outcome | None:
    """Why HubSpot would not take the values that are to be `sent`, or None when nothing speaks against them."""
    unknown = sorted(sent.keys() - fields.keys())
    if unknown:
        message = f"{change.object_type} has no property {', '.join(unknown)}"
        mend = f"run `connector install {change.system}`, or correct the name in the configuration"
        return Outcome(
            change.key, Result.REJECTED, code=UNKNOWN_PROPERTY, message=message, hint=mend, fields=tuple(unknown)
        )
    for name, text in sent.items():
        code, cause = wrong(fields[name], text)
        if code:
            hint = "correct what is written there, or the property in HubSpot; it is released when either changes"
            return Outcome(change.key, Result.REJECTED, code=code, message=f"{name} {cause}", hint=hint, fields=(name,))
    return None


def wrong(field: FieldSchema, text: str) -> tuple[str, str]:
    """The code and the cause for which a property does not take a text; ("", "") when it does. No value is in the cause."""
    if not field.is_writable:
        return READ_ONLY, "is calculated or read-only"
    if not text:
        return "", ""
    if field.type == "picklist" and text not in field.options:
        return "INVALID_OPTION", f"takes none but {', '.join(field.options)}"
    if field.type == "multi_picklist" and not {part for part in text.split(";") if part} <= set(field.options):
        return "INVALID_OPTION", f"takes none but {', '.join(field.options)}"
    takes, code, cause = _CHECKS.get(field.type, _TEXT)
    return ("", "") if takes(text) else (code, cause)


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


_Check = tuple[Callable[[str], bool], str, str]
_INSTANT: _Check = (lambda text: instant_ms(text) is not None, "INVALID_DATE", "takes an ISO 8601 date or instant")
_TEXT: _Check = (lambda text: len(text) <= LONGEST_TEXT, "INVALID_LENGTH", f"takes at most {LONGEST_TEXT:,} characters")
_CHECKS: Mapping[str, _Check] = {
    "number": (_is_number, "INVALID_INTEGER", "takes a number"),
    "bool": (lambda text: text in ("true", "false"), "INVALID_OPTION", "takes none but true, false"),
    "date": _INSTANT,
    "datetime": _INSTANT,
}


def dated(change: Change, definitions: Mapping[str, Json]) -> Change:
    """The change with an instant's day where a property holds dates: such a property refuses a time other than midnight."""
    days = {
        name: value[:DAY_LETTERS]
        for name, value in change.fields.items()
        if isinstance(value, str) and definitions[name].get("type") == "date" and not value.isdigit()
    }
    return replace(change, fields={**change.fields, **days}) if days else change


def goes_back(change: Change, definitions: Mapping[str, Json]) -> bool:
    """Whether a change moves the lifecycle stage backward in the portal's own order, from what was observed."""
    before, after = change.before.get(LIFECYCLE), change.fields.get(LIFECYCLE)
    options = (definitions.get(LIFECYCLE) or {}).get("options") or ()
    order = [str(each["value"]) for each in sorted(options, key=lambda each: each.get("displayOrder") or 0)]
    return before in order and after in order and order.index(str(after)) < order.index(str(before))
