"""Expressions as SQL of the engine, kept: to turn one into the other costs more than most statements cost the engine, and each
run of a service asks the most of them again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ibis
import ibis.expr.operations as ops

from connector.expressions import GIVENS

#: A run of everything asks some 150.
_STATEMENTS_KEPT = 512
#: More values than this are keys of records, not words of a rule.
_VALUES_KEPT = 1_000


class OnceOnly(Exception):
    """An expression holds rows or many values that come from outside: the next one holds others, and nobody may keep these."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL, and the names of the variables that it asks for: what a run gives (`connector.expressions`)."""

    sql: str
    variables: frozenset[str] = frozenset()


@lru_cache(maxsize=_STATEMENTS_KEPT)
def kept(backend: Any, operation: ops.Relation) -> Statement:
    """An expression as SQL. Raises OnceOnly."""
    for each in operation.find((ops.InMemoryTable, ops.InValues)):
        if isinstance(each, ops.InMemoryTable) or len(each.options) > _VALUES_KEPT:
            raise OnceOnly
    return made(backend, operation)


def made(backend: Any, operation: ops.Relation) -> Statement:
    """An expression as SQL, which nobody keeps."""
    asked = operation.find(ops.ScalarParameter)
    names = frozenset(name for name, given in GIVENS.items() if given.op() in asked)
    bound = operation.replace(_VARIABLES) if names else operation
    return Statement(str(backend.compile(bound.to_expr())), names)


def _variable(name: str) -> ops.Value:
    """A variable of the engine's session, of which a statement is planned with the value."""
    of_type = ibis.udf.scalar.builtin(_named, name="getvariable", signature=(("string",), GIVENS[name].type()))
    return of_type(name).op()


def _named(name: str) -> None: ...


_VARIABLES = {given.op(): _variable(name) for name, given in GIVENS.items()}
