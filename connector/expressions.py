"""What expressions have in common: they name what a run gives them, its instant and its number, and are built once.

As they name both and hold neither, they are the same in every run, and so is their SQL. Whoever asks for rows says first what
they are (`Mart.tell`). Where an instant or a number is known it may be given itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

import ibis
import ibis.expr.types as ir
from pydantic import BaseModel

#: Of one function, for so many different arguments: a configuration has some models, tasks and systems.
_BUILT_KEPT = 256
_Given = ParamSpec("_Given")
_Built = TypeVar("_Built")

#: An instant, and the number of a run, as an expression takes them.
Instant: TypeAlias = datetime | ir.Value
Number: TypeAlias = int | ir.Value

NOW: ir.Value = ibis.param("timestamp('UTC')")
RUN: ir.Value = ibis.param("int64")
#: The last run that planned, and its instant.
SINCE: ir.Value = ibis.param("int64")
PLANNED_AT: ir.Value = ibis.param("timestamp('UTC')")
#: name -> what stands for it in an expression
GIVENS: Mapping[str, ir.Value] = {"now": NOW, "run": RUN, "since": SINCE, "planned_at": PLANNED_AT}


def instant_of(at: Instant) -> ir.Value:
    """An instant in an expression."""
    return ibis.literal(at, "timestamp('UTC')") if isinstance(at, datetime) else at


def earlier(at: Instant, length: timedelta) -> ir.Value:
    """An instant so long before another, in an expression."""
    return instant_of(at) - ibis.interval(seconds=int(length.total_seconds()))


def day_of(at: Instant) -> ir.Value:
    """The day (UTC) of an instant in an expression."""
    return instant_of(at).cast("timestamp").date()


def number_of(run: Number) -> ir.Value:
    """The number of a run in an expression."""
    return ibis.literal(run, "int64") if isinstance(run, int) else run


# ---------------------------------------------------------------------------------------------------------- built once


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a function is asked for: the same when its arguments say the same."""

    said: Any
    args: Any = field(compare=False)
    kwargs: Any = field(compare=False)


def built_once(build: Callable[_Given, _Built]) -> Callable[_Given, _Built]:
    """A function that makes an expression of tables, settings and words alone: asked for the same again, it gives the same again.

    To build an expression costs more than the engine needs to answer most of them. Raises TypeError for an argument of
    which nobody can tell whether it is the same.
    """

    @lru_cache(maxsize=_BUILT_KEPT)
    def built(asked: _Asked) -> _Built:
        return build(*asked.args, **asked.kwargs)

    @wraps(build)
    def ask(*args: _Given.args, **kwargs: _Given.kwargs) -> _Built:
        return built(_Asked(_said((args, kwargs)), args, kwargs))

    return ask


def _said(value: Any) -> Any:
    """All that an argument says, as a key: itself may change, or say the same as another."""
    if isinstance(value, ir.Expr):
        return value.op()
    if isinstance(value, str | int | float | datetime | timedelta | Enum | None):
        return type(value), value
    if isinstance(value, Mapping):
        return tuple((name, _said(each)) for name, each in value.items())
    if isinstance(value, tuple | list):
        return tuple(_said(each) for each in value)
    if isinstance(value, BaseModel):
        return type(value), _said(vars(value))
    if is_dataclass(value):
        return type(value), tuple(_said(getattr(value, each.name)) for each in fields(value))
    raise TypeError(f"{type(value).__name__} is no argument of what is built once")


# ------------------------------------------------------------------------------------------------------------ phrases


@built_once
def among(rows: ir.Table, column: str, others: ir.Table, other: str = "") -> ir.Table:
    """The rows whose `column` is among the values of `other` (a column of the same name, unless it is given)."""
    return rows.semi_join(others, rows[column] == others[other] if other else column)


@built_once
def missing(rows: ir.Table, column: str, others: ir.Table, other: str = "") -> ir.Table:
    """The rows that `among` leaves out."""
    return rows.anti_join(others, rows[column] == others[other] if other else column)


@built_once
def only(rows: ir.Table, **values: str) -> ir.Table:
    """The rows with these values, such as kind="person"."""
    return rows.filter([rows[column] == str(value) for column, value in values.items()])


@built_once
def together(*parts: ir.Table, distinct: bool = False) -> ir.Table:
    """All rows of tables with the same columns."""
    return ibis.union(*parts, distinct=distinct)
