"""Search filters as SQL conditions over the table of an object type.

Id and times are columns with an index; other properties are read out of the JSON text (e-mail and unique ones by index).
Texts are compared without case; instants and dates in their stored form, which sorts as they do.
Source: https://developers.hubspot.com/docs/api-reference/search/guide
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.sandbox.hubspot import records
from connector.sandbox.hubspot.answers import Refused
from connector.sandbox.hubspot.catalog import Catalog, Definition
from connector.sandbox.hubspot.instants import iso, parse_date, parse_ms
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.values import as_text

MOST_GROUPS = 5
MOST_FILTERS_IN_A_GROUP = 6
MOST_FILTERS = 18
MOST_VALUES = 100

COMPARISONS: Mapping[str, str] = {"EQ": "=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
NEGATIONS: Mapping[str, str] = {"NEQ": "EQ", "NOT_IN": "IN", "NOT_CONTAINS_TOKEN": "CONTAINS_TOKEN"}

LISTS = ("hs_additional_emails", "hs_additional_domains", "hs_merged_object_ids")
"""Text properties that hold several values with `;` between them; EQ and IN look for one of these."""

_WORDS = re.compile(r"[\w]+", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of SQL with its variables."""

    sql: str
    variables: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Operand:
    """A property in SQL, and how a value is brought into the form it is compared in."""

    sql: str
    kind: str
    takes_many: bool = False


def register_functions(database: sqlite3.Connection) -> None:
    """Give SQLite `hubspot_has_token(text, pattern)`."""
    database.create_function("hubspot_has_token", 2, has_token, deterministic=True)


def has_token(text: str | None, pattern: str) -> bool:
    """Whether the words of the pattern (`*` stands for any letters) are found among those of the text, in order."""
    if not text:
        return False
    parts = [".*".join(re.escape(part) for part in word.split("*")) for word in pattern.lower().split()]
    words = " ".join(_WORDS.findall(text.lower()))
    whole = r"\W+".join(parts)
    return any(re.search(rf"(?<!\w){whole}(?!\w)", each) for each in (text.lower(), words))


def operand(catalog: Catalog, kind: ObjectType, name: str) -> Operand:
    """The property that a filter or a sort names.

    Raises:
        Refused: 400, it does not exist.
    """
    if name == "hs_object_id":
        return Operand("id", "integer")
    if name == kind.modified_property:
        return Operand("modified_ms", "instant")
    if name == kind.created_property:
        return Operand("created_ms", "instant")
    definition = catalog.find(kind.name, name)
    if definition is None:
        raise Refused(400, f"Property '{name}' does not exist, or is not searchable.")
    text = f"json_extract(properties, '$.{definition.name}')"
    if definition.type == "number":
        return Operand(f"CAST({text} AS REAL)", "number")
    return Operand(text, _kind(definition), definition.takes_many or name in LISTS)


def _kind(definition: Definition) -> str:
    return definition.type if definition.type in ("datetime", "date") else "text"


def _value(operand: Operand, value: Any) -> Any:
    text = as_text(value)
    parsed: Any = text
    if operand.kind == "integer":
        parsed = records.as_id(text)
    elif operand.kind == "instant":
        parsed = parse_ms(text)
    elif operand.kind == "datetime":
        ms = parse_ms(text)
        parsed = None if ms is None else iso(ms)
    elif operand.kind == "date":
        ms = parse_ms(text)
        parsed = parse_date(text) or (None if ms is None else iso(ms)[:10])
    elif operand.kind == "number":
        parsed = _number(text)
    if parsed is None:
        raise Refused(400, f"There was a problem with the request: {text[:100]} is not a valid value.")
    if operand.kind in ("instant", "datetime") and parse_ms(text) == 0:
        raise Refused(500, "internal error", None)  # as the real search at the beginning of time
    return parsed


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def condition(catalog: Catalog, kind: ObjectType, body: Mapping[str, Any]) -> Condition:
    """The condition of a search request: groups joined by OR, their filters by AND.

    Raises:
        Refused: 400, too many filters, an unknown operator, a property or value that does not fit.
    """
    groups = [group.get("filters") or [] for group in body.get("filterGroups") or ()]
    if not groups and body.get("filters"):
        groups = [body["filters"]]
    total = sum(len(group) for group in groups)
    if len(groups) > MOST_GROUPS or total > MOST_FILTERS or any(len(g) > MOST_FILTERS_IN_A_GROUP for g in groups):
        limits = f"{MOST_GROUPS} filter groups, {MOST_FILTERS_IN_A_GROUP} filters in each, {MOST_FILTERS} in all"
        raise Refused(400, f"A search takes {limits}.")
    joined = [_joined([_filter(catalog, kind, each) for each in group], " AND ") for group in groups if group]
    return _joined(joined, " OR ") if joined else Condition("1")


def _joined(conditions: Sequence[Condition], word: str) -> Condition:
    if len(conditions) == 1:
        return conditions[0]
    sql = word.join(f"({each.sql})" for each in conditions)
    return Condition(sql, tuple(variable for each in conditions for variable in each.variables))


def _filter(catalog: Catalog, kind: ObjectType, given: Mapping[str, Any]) -> Condition:
    name, operator = str(given.get("propertyName", "")), str(given.get("operator", "")).upper()
    if name.startswith("associations."):
        return _linked(kind, catalog.types.get(name.removeprefix("associations.")), operator, given)
    subject = operand(catalog, kind, name)
    if operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
        return Condition(f"{subject.sql} IS {'NOT ' if operator == 'HAS_PROPERTY' else ''}NULL")
    if operator in NEGATIONS:
        positive = _compared(subject, NEGATIONS[operator], given)
        return Condition(f"({positive.sql}) IS NOT TRUE", positive.variables)
    return _compared(subject, operator, given)


def _compared(subject: Operand, operator: str, given: Mapping[str, Any]) -> Condition:
    collation = " COLLATE NOCASE" if subject.kind == "text" else ""
    if operator == "BETWEEN":
        low, high = _value(subject, given.get("value")), _value(subject, given.get("highValue"))
        return Condition(f"{subject.sql} BETWEEN ? AND ?", (low, high))
    if operator == "IN" or (operator == "EQ" and subject.takes_many):
        values = given.get("values") if operator == "IN" else [given.get("value")]
        return _among(subject, [_value(subject, each) for each in values or ()], collation)
    if operator == "CONTAINS_TOKEN":
        return Condition(f"hubspot_has_token({subject.sql}, ?)", (as_text(given.get("value")),))
    if operator not in COMPARISONS:
        raise Refused(400, f'Invalid input JSON: Cannot deserialize operator from String "{operator[:40]}"')
    return Condition(f"{subject.sql} {COMPARISONS[operator]} ?{collation}", (_value(subject, given.get("value")),))


def _among(subject: Operand, values: Sequence[Any], collation: str) -> Condition:
    if not 0 < len(values) <= MOST_VALUES:
        raise Refused(400, f"The IN operator needs a list of 1 to {MOST_VALUES} values.")
    if subject.takes_many:
        each = f"instr(';' || lower({subject.sql}) || ';', ';' || lower(?) || ';') > 0"
        return Condition(" OR ".join([each] * len(values)), tuple(values))
    if collation:
        return Condition(" OR ".join([f"{subject.sql} = ?{collation}"] * len(values)), tuple(values))
    return Condition(f"{subject.sql} IN ({','.join('?' * len(values))})", tuple(values))


def _linked(kind: ObjectType, other: ObjectType, operator: str, given: Mapping[str, Any]) -> Condition:
    values = given.get("values") if operator == "IN" else [given.get("value")]
    ids = [records.as_id(each) for each in values or ()]
    if operator not in ("EQ", "IN") or not ids or None in ids:
        raise Refused(400, "An association filter takes EQ or IN with record ids.")
    marks = ",".join("?" * len(ids))
    sql = f"SELECT to_id FROM hubspot_link WHERE from_type = ? AND from_id IN ({marks}) AND to_type = ?"
    return Condition(f"id IN ({sql})", (other.name, *ids, kind.name))


def text_condition(kind: ObjectType, query: str) -> Condition:
    """The condition of `query`: every word is part of one of the type's searchable properties."""
    columns = " || ' ' || ".join(f"coalesce(json_extract(properties, '$.{name}'), '')" for name in kind.searchable)
    words = query.split()
    sql = " AND ".join([f"instr(lower({columns}), ?) > 0"] * len(words))
    return Condition(sql or "1", tuple(word.lower() for word in words))
