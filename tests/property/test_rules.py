"""Conditions agree with three-valued logic worked out by hand, for any condition and any row."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ibis
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import rules
from connector.tables import BOOL, INT, TEXT

SCHEMA = pa.schema({"title": TEXT, "size": INT, "is_new": BOOL})
SCOPE = rules.scope({"it": SCHEMA})
BACKEND = ibis.duckdb.connect()

Row = dict[str, Any]
texts = st.sampled_from(["", "a", "b", "ab", "A", "it's"])
numbers = st.integers(-2, 3)
rows = st.fixed_dictionaries(
    {"title": st.none() | texts, "size": st.none() | numbers, "is_new": st.none() | st.booleans()}
)


@dataclass(frozen=True)
class Said:
    """A condition as SQL, and what it says of a row: True, False or None for unknown."""

    sql: str
    of: Callable[[Row], bool | None]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def comparison(column: str, sign: str, value: Any, text: str) -> Said:
    compare = {
        "=": operator.eq,
        "<>": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }[sign]
    return Said(f"it.{column} {sign} {text}", lambda row: None if row[column] is None else compare(row[column], value))


signs = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
about_numbers = st.builds(lambda sign, value: comparison("size", sign, value, str(value)), signs, numbers)
about_texts = st.builds(lambda sign, value: comparison("title", sign, value, quoted(value)), signs, texts)
among = st.builds(
    lambda values: Said(
        f"it.title in ({', '.join(map(quoted, values))})",
        lambda row: None if row["title"] is None else row["title"] in values,
    ),
    st.lists(texts, min_size=1, max_size=3),
)
between = st.builds(
    lambda low, high: Said(
        f"it.size between {low} and {high}", lambda row: None if row["size"] is None else low <= row["size"] <= high
    ),
    numbers,
    numbers,
)
unknown = st.builds(
    lambda column, negated: Said(
        f"it.{column} is {'not ' * negated}null", lambda row: (row[column] is None) is not negated
    ),
    st.sampled_from(SCHEMA.names),
    st.booleans(),
)
flags = st.just(Said("it.is_new", lambda row: row["is_new"]))


def both(left: Said, right: Said) -> Said:
    def of(row: Row) -> bool | None:
        answers = left.of(row), right.of(row)
        return False if False in answers else None if None in answers else True

    return Said(f"({left.sql}) and ({right.sql})", of)


def either(left: Said, right: Said) -> Said:
    def of(row: Row) -> bool | None:
        answers = left.of(row), right.of(row)
        return True if True in answers else None if None in answers else False

    return Said(f"({left.sql}) or ({right.sql})", of)


def opposite(inner: Said) -> Said:
    def of(row: Row) -> bool | None:
        answer = inner.of(row)
        return None if answer is None else not answer

    return Said(f"not ({inner.sql})", of)


conditions = st.recursive(
    about_numbers | about_texts | among | between | unknown | flags,
    lambda inner: st.builds(both, inner, inner) | st.builds(either, inner, inner) | st.builds(opposite, inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(conditions, st.lists(rows, min_size=1, max_size=8))
def test_a_condition_says_what_three_valued_logic_says(said: Said, given_rows: list[Row]) -> None:
    columns = pa.Table.from_pylist(given_rows, schema=SCHEMA).rename_columns([f"it_{name}" for name in SCHEMA.names])
    table = ibis.memtable(columns)
    expression = rules.compile_condition(said.sql, SCOPE).expr(table)
    answers = BACKEND.to_pyarrow(table.select(answer=expression))["answer"].to_pylist()
    assert answers == [said.of(row) is True for row in given_rows]


@settings(max_examples=200, deadline=None)
@given(st.text("abis.=<>()'\"0123,;*-+ \n\\%", max_size=30) | st.text(max_size=20))
def test_any_text_is_compiled_or_refused_by_name(text: str) -> None:
    with contextlib.suppress(rules.ConditionError):
        assert rules.compile_condition(text, SCOPE).fields is not None
