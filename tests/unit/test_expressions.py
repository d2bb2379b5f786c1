"""An expression is built once for all that is the same, and anew for all that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import pytest

from connector import expressions, lifecycle
from connector.expressions import NOW, built_once

ROWS = ibis.table({"key": "string", "points": "int64", "at": "timestamp('UTC')"}, name="rows")


@dataclass(frozen=True)
class Parts:
    rows: ir.Table
    others: ir.Table


@pytest.fixture
def asked() -> tuple[Callable[..., ir.Table], list[Any]]:
    """A function that is built once, and what it was really asked for."""
    seen: list[Any] = []

    @built_once
    def build(rows: ir.Table, *given: Any, **named: Any) -> ir.Table:
        seen.append((given, named))
        return rows.mutate(said=ibis.literal(f"{given} {named}"))

    return build, seen


@pytest.mark.parametrize("make", [
    lambda: 5, lambda: "a", lambda: NOW, lambda: timedelta(days=2), lambda: ["a", {"b": 1}],
    lambda: lifecycle.LifecycleSection(dwell=timedelta(days=2)), lambda: Parts(ROWS, ROWS.filter(ROWS.points > 3)),
])  # fmt: skip
def test_what_says_the_same_is_built_once(
    asked: tuple[Callable[..., ir.Table], list[Any]], make: Callable[[], Any]
) -> None:
    build, seen = asked
    table = ibis.table(ROWS.schema(), name="rows")
    assert build(ROWS, make(), named=make()) is build(table, make(), named=make())
    assert len(seen) == 1


@pytest.mark.parametrize(("one", "other"), [
    (1, 1.0), (1, True), ("1", 1), (None, 0), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"a": 1}, {"a": 2}), ([1, 2], [2, 1]),
    (lifecycle.LifecycleSection(), lifecycle.LifecycleSection(dwell=timedelta(days=2))),
    (Parts(ROWS, ROWS), Parts(ROWS, ROWS.filter(ROWS.points > 3))),
    (ROWS.filter(ROWS.points > 3), ROWS.filter(ROWS.points > 4)),
])  # fmt: skip
def test_what_says_something_else_is_built_anew(
    asked: tuple[Callable[..., ir.Table], list[Any]], one: Any, other: Any
) -> None:
    build, seen = asked
    build(ROWS, one)
    build(ROWS, other)
    build(ROWS, named=one)
    assert len(seen) == 3


def test_an_argument_that_changes_afterwards_is_another(asked: tuple[Callable[..., ir.Table], list[Any]]) -> None:
    build, seen = asked
    given = {"level": 10}
    build(ROWS, given)
    given["level"] = 20
    build(ROWS, given)
    assert len(seen) == 2


def test_of_what_nobody_can_tell_whether_it_is_the_same_nothing_is_built(
    asked: tuple[Callable[..., ir.Table], list[Any]],
) -> None:
    with pytest.raises(TypeError, match="function"):
        asked[0](ROWS, lambda: 5)
    with pytest.raises(TypeError, match="object"):
        asked[0](ROWS, object())


@pytest.mark.parametrize("at", [datetime(2026, 3, 1, 23, 30, tzinfo=UTC), datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)])
def test_an_instant_that_is_given_and_one_that_is_named_mean_the_same(at: datetime) -> None:
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    day = connection.to_pyarrow(expressions.day_of(at).as_table()).to_pylist()
    assert [row.popitem()[1] for row in day] == [at.date()]
    before = connection.to_pyarrow(expressions.earlier(at, timedelta(days=1, seconds=30)).as_table()).to_pylist()
    assert [row.popitem()[1] for row in before] == [at - timedelta(days=1, seconds=30)]
    named = connection.to_pyarrow(expressions.day_of(NOW).as_table(), params={NOW: at}).to_pylist()
    assert [row.popitem()[1] for row in named] == [at.date()]
