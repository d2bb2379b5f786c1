"""The condition language: an SQL predicate, checked against the fields that exist, compiled to an Ibis expression.

    person.seniority in ('vp', 'c_level') and account.employees between 200 and 5000

A field `person.title` is read from the column `person_title` of the table that the condition is applied to, and `score`
from `score`. As in SQL, a comparison with null is neither true nor false; a condition that is not true counts as false.
docs/rules.md lists what is allowed; anything else is an error that says so, before any data is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import ibis.expr.types as ir
import pyarrow as pa
import sqlglot
from sqlglot import exp

from connector import tables
from connector.predicate import Compiler
from connector.section import Wrong
from connector.terms import DIALECT, ConditionError, Fact, Field, Scope, Type, did_you_mean

__all__ = [
    "Condition",
    "ConditionError",
    "Fact",
    "Field",
    "Scope",
    "Trigger",
    "Type",
    "checked",
    "compile_condition",
    "compile_trigger",
    "did_you_mean",
    "scope",
    "undefined",
]

MAX_LENGTH = 4_000

#: The points that time alone changes: a condition compares them with numbers, and so tells when they matter.
FADING = ("score", "engagement")
#: What people and we do, in the words of every system: what rules, count_of and days_since accept.
ACTIVITY_KINDS = (
    "email_sent", "email_delivered", "email_opened", "email_clicked", "email_bounced", "email_replied",
    "email_received", "unsubscribed", "form_submitted", "meeting_booked", "meeting_held", "call_made", "page_viewed",
    "logged_in", "campaign_sent", "campaign_responded", "purchased", "sms_sent", "sms_received", "note_added",
    "task_done", "case_opened", "social_message",
)  # fmt: skip
#: Prefixes of names that are keys of an activity's properties: `form.name`, `page.url`, `properties.plan`.
PROPERTIES = ("form", "email", "page", "meeting", "call", "campaign", "product", "properties")
#: Names of their own for keys of an activity's properties.
KEYS: Mapping[str, str] = {"activity.currency": "currency"}


def _without(schema: pa.Schema, *names: str) -> pa.Schema:
    return pa.schema([column for column in schema if column.name not in names])


#: The golden columns that conditions may name.
GOLDEN: Mapping[str, pa.Schema] = {
    "person": _without(tables.PERSON, "key", "provenance", "version"),
    "account": _without(tables.ACCOUNT, "key", "provenance", "version"),
}
#: An activity and the record that it belongs to: what conditions of engagement rules may name.
HAPPENED: Mapping[str, pa.Schema] = {
    "activity": _without(
        tables.ACTIVITY, "key", "native_id", "record", "properties", "task_key", "filtered_because", "deleted_at", "run"
    ),
    "record": pa.schema(
        [tables.RECORD_HEADER.field("system"), tables.RECORD_HEADER.field("object_type"), *tables.PERSON_FIELDS]
    ),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition. `fields` are the names it uses, `facts` what it asks of a person's activities, `numbers` the
    numbers written in it (any level that time can reach is among them), `compared` the fields that must be, or not be, a
    text, each with that text, `words` how a person says it."""

    text: str
    fields: tuple[Field, ...]
    facts: tuple[Fact, ...]
    numbers: tuple[float, ...]
    compared: tuple[tuple[str, str], ...]
    words: str
    build: Callable[[ir.Table], ir.Value]

    def expr(self, table: ir.Table) -> ir.BooleanValue:
        """The condition on the rows of `table`, which has the columns `columns`; null counts as false."""
        return self.build(table).fill_null(False)

    def describe(self) -> str:
        """The condition in words, such as "seniority is vp or c_level"."""
        return self.words

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `expr` reads, each once, in order of appearance."""
        return tuple(dict.fromkeys([*(field.column for field in self.fields), *(fact.column for fact in self.facts)]))


@dataclass(frozen=True, slots=True)
class Trigger:
    """What fires a task: a condition that becomes true. `score crosses 60` sets `field` and `level`,
    `stage becomes 'Engage'` sets `field` and `value`."""

    when: Condition
    field: str = ""
    level: float | None = None
    value: str | None = None


_CROSSES = re.compile(r"^\s*(\w+)\s+crosses\s+(-?\d+(?:\.\d+)?)\s*$", re.IGNORECASE)
_BECOMES = re.compile(r"^\s*([\w.]+)\s+becomes\s+('(?:[^']|'')*')\s*$", re.IGNORECASE)
_MEANT = re.compile(r"^\s*[\w.]+\s+(crosses|becomes)\b", re.IGNORECASE)


def scope(
    schemas: Mapping[str, pa.Schema],
    *,
    points: Sequence[str] = (),
    properties: Sequence[str] = (),
    keys: Mapping[str, str] = {},
    kinds: Sequence[str] = (),
) -> Scope:
    """The scope of these tables: prefix -> schema ("" for bare names).

    `points` are bare names whose columns hold billionths of a point; `properties` are prefixes of names that
    are keys of the JSON object in `activity_properties`, `keys` names that stand for the text under one of them; `kinds` are what
    count_of and days_since accept.
    """
    fields = {name: Field(name, Type.NUMBER, name, is_points=True, is_fading=name in FADING) for name in points}
    for prefix, schema in schemas.items():
        for column in schema:
            name = f"{prefix}.{column.name}" if prefix else column.name
            fields[name] = Field(name, _type_of(column.type), name.replace(".", "_"))
    fields |= {name: Field(name, Type.TEXT, "activity_properties", key=key) for name, key in keys.items()}
    return Scope(fields, tuple(properties), tuple(kinds))


def _type_of(kind: pa.DataType) -> Type:
    if pa.types.is_boolean(kind):
        return Type.BOOL
    if pa.types.is_date(kind):
        return Type.DATE
    if pa.types.is_timestamp(kind):
        return Type.INSTANT
    return Type.TEXT if pa.types.is_string(kind) else Type.NUMBER


def compile_condition(text: str, known: Scope) -> Condition:
    """Check `text` against `known` and compile it. Raises ConditionError, with the nearest valid name."""
    if not text.strip():
        raise ConditionError("the condition is empty", "write a condition, or leave the option out")
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"the condition is longer than {MAX_LENGTH:,} characters")
    compiler = Compiler(known)
    try:
        tree = sqlglot.parse_one(text, dialect=DIALECT)
        term = compiler.condition(_unwrapped(tree))
    except sqlglot.errors.SqlglotError as error:
        raise ConditionError("is not an SQL condition", _near(error, text)) from None
    except RecursionError:
        raise ConditionError("the condition is nested too deeply") from None
    return Condition(
        text.strip(),
        tuple(compiler.fields),
        tuple(compiler.facts),
        tuple(compiler.numbers),
        tuple(compiler.compared),
        term.words,
        term.build,
    )


def checked(text: str, known: Scope) -> str:
    """A section's text that must be a condition over these names. Raises Wrong."""
    try:
        compile_condition(text, known)
    except ConditionError as error:
        raise Wrong(*error.told) from None
    return text


def undefined(condition: Condition, names: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """What a condition compares a field with that is none of its names, each with its mend. A field without names may be anything."""
    for field, text in condition.compared:
        if field in names and text not in names[field]:
            yield f'there is no {field} "{text}"', did_you_mean(text, list(dict.fromkeys(names[field])))


def _unwrapped(tree: exp.Expression) -> exp.Expression:
    return tree.this if isinstance(tree, exp.Paren) else tree


def _near(error: sqlglot.errors.SqlglotError, text: str) -> str:
    column = (getattr(error, "errors", None) or [{}])[0].get("col")
    return f'look near "{text[:column][-16:].strip()}"' if isinstance(column, int) else "see docs/rules.md"


def compile_trigger(text: str, known: Scope) -> Trigger:
    """A trigger: `score crosses 60`, `stage becomes 'Engage'`, or any condition. Raises ConditionError."""
    if crosses := _CROSSES.match(text):
        return Trigger(compile_condition(f"{crosses[1]} >= {crosses[2]}", known), crosses[1].lower(), float(crosses[2]))
    if becomes := _BECOMES.match(text):
        when = compile_condition(f"{becomes[1]} = {becomes[2]}", known)
        return Trigger(when, becomes[1].lower(), value=becomes[2][1:-1].replace("''", "'"))
    if meant := _MEANT.match(text):
        form, mend = (
            ("a number and nothing else", "such as score crosses 60; with a condition beside it: score >= 60 and …")
            if meant[1].lower() == "crosses"
            else ("a text in quotes", "such as stage becomes 'Engage'")
        )
        given = text[meant.end() :].strip()
        raise ConditionError(f"`{meant[1]}` needs {form}, and is given {f'`{given}`' if given else 'nothing'}", mend)
    return Trigger(compile_condition(text, known))
