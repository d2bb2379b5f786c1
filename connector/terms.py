"""What conditions are made of: types, fields, facts, and checked terms with their words.

`connector.predicate` walks the syntax tree and puts terms together; `connector.rules` is the door to both.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum

import ibis
import ibis.expr.types as ir
from sqlglot import exp

from connector.tables import POINT

DIALECT = "postgres"


class ConditionError(ValueError):
    """A condition that cannot be used: what is wrong and what to do about it, and the same of its other parts (`told`)."""

    def __init__(self, what: str, mend: str = "", *others: tuple[str, str]) -> None:
        self.told = ((what, mend), *others)
        super().__init__("\n".join(f"{what}; {mend}" if mend else what for what, mend in self.told))


class Type(StrEnum):
    """What a value is, as far as comparisons go. A property is a plain value of an activity: it adapts."""

    TEXT = "text"
    NUMBER = "a number"
    BOOL = "a yes or no"
    DATE = "a date"
    INSTANT = "an instant"
    PROPERTY = "a property"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Field:
    """A name that conditions may use, and the column it is read from.

    `is_points`: the column holds billionths of a point. `is_fading`: time alone changes it. `key`: the key in the column's JSON
    object, for properties.
    """

    name: str
    type: Type
    column: str
    is_points: bool = False
    is_fading: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """How often or how long ago something was done. `days` is the window of count_of (0: ever), None for days_since."""

    kind: str
    days: int | None

    @property
    def column(self) -> str:
        """The column of the facts table that carries it."""
        return f"days_since_{self.kind}" if self.days is None else f"count_of_{self.kind}_{self.days}"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a condition may name: fields, prefixes of keys of an activity's properties, and kinds of activities."""

    fields: Mapping[str, Field]
    properties: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A checked part of a condition: its type, how to build it on a table, and how a person says it."""

    type: Type
    build: Callable[[ir.Table], ir.Value]
    words: str
    literal: str | int | float | bool | date | None = None
    name: str = ""  # of the field, when the term is nothing else


# ------------------------------------------------------------------------------------------------------ parts of terms


def each(make: Callable[[exp.Expression], Term], *nodes: exp.Expression) -> list[Term]:
    """The terms of several parts. Raises one ConditionError, with what is wrong in any of them."""
    terms: list[Term] = []
    wrong: list[tuple[str, str]] = []
    for node in nodes:
        try:
            terms.append(make(node))
        except ConditionError as error:
            wrong += error.told
    if wrong:
        (what, mend), *others = dict.fromkeys(wrong)
        raise ConditionError(what, mend, *others)
    return terms


def sql(node: exp.Expression) -> str:
    """A part of a condition as it was written, shortened."""
    text: str = node.sql(dialect=DIALECT, comments=False)
    return text if len(text) <= 60 else text[:57] + "…"


def did_you_mean(name: str, names: Sequence[str], suffix: str = "") -> str:
    """The nearest valid name, or all of them when they are few."""
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f'did you mean "{near[0]}{suffix}"?'
    return f"there are {', '.join(names)}" if len(names) <= 24 else ""


def constant(kind: Type, value: str | int | float | bool, words: str) -> Term:
    """A value written in the condition."""
    return Term(kind, lambda _: ibis.literal(value), words, literal=value)


def moment(text: str, kind: Type) -> Term:
    """A date or an instant (UTC unless it says otherwise) written in ISO 8601. Raises ConditionError."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ConditionError(f"'{text}' is not {kind}", "write it as '2026-01-31'") from None
    if kind is Type.DATE:
        return Term(kind, lambda _: ibis.literal(value.date()), f"{value.day} {value:%b %Y}", literal=value.date())
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return Term(
        kind, lambda _: ibis.literal(aware, type="timestamp('UTC')"), f"{aware.day} {aware:%b %Y}", literal=aware
    )


def made_like(term: Term, wanted: Type) -> Term | None:
    """The term as the wanted type, where that is meant without saying: properties, and dates written as text."""
    if term.type is Type.PROPERTY and wanted is Type.TEXT:
        return replace(term, type=wanted)
    if term.type is Type.PROPERTY and wanted is Type.NUMBER:
        return replace(term, type=wanted, build=lambda table: term.build(table).try_cast("float64"))
    if term.type is Type.PROPERTY and wanted is Type.BOOL:
        return replace(term, type=wanted, build=lambda table: term.build(table) == "true")
    if term.type is Type.TEXT and isinstance(term.literal, str) and wanted in (Type.DATE, Type.INSTANT):
        return moment(term.literal, wanted)
    if term.type is Type.DATE and isinstance(term.literal, date) and wanted is Type.INSTANT:
        return moment(term.literal.isoformat(), wanted)
    return None


def read(field: Field, table: ir.Table) -> ir.Value:
    """The value of a field on the rows of a table that has its column."""
    column = table[field.column]
    if field.is_points:
        return column / POINT
    if not field.key:
        return column
    value = column.cast("json")[field.key]
    return ibis.coalesce(value.unwrap_as("string"), value.cast("string")).nullif("null")


# -------------------------------------------------------------------------------------------------------------- words


def negated(term: Term) -> Term:
    """What is true where the term is false; unknown stays unknown."""
    words = f"not ({term.words})" if " " in term.words else f"not {term.words}"
    return Term(Type.BOOL, lambda table: ~term.build(table), words)


def field_words(name: str) -> str:
    """A field as a person says it: `person.job_title` is "job title", `form.name` is "form name"."""
    prefix, _, rest = name.rpartition(".")
    words = rest.replace("_", " ")
    return words if prefix in ("", "person", "account", "activity", "record") else f"{prefix} {words}"


def flag_words(name: str) -> str:
    """A yes-or-no field that stands alone: `person.email_is_free` is "email is free"."""
    words = name.rpartition(".")[2].replace("_", " ")
    return words.removeprefix("is ")


def search_words(kind: type[exp.Expression], text: str) -> str:
    """What a search looks for."""
    bare = text.strip("%")
    if kind is exp.Contains or (text.startswith("%") and text.endswith("%")):
        return f"contains {bare}"
    if kind is exp.StartsWith or text.endswith("%"):
        return f"starts with {bare}"
    return f"ends with {bare}" if text.startswith("%") else f"is {text}"


def fact_words(fact: Fact) -> str:
    """What is counted, or how long ago."""
    kind = fact.kind.replace("_", " ")
    if fact.days is None:
        return f"days since {kind}"
    return f"number of {kind}" + (f" in {fact.days} days" if fact.days else "")
