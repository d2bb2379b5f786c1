"""The mart's tables as expressions, each made once. Their schemas are known: asking the engine for one would cost more than most of
our queries."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa

from connector import tables

#: There are some 25, and some 80 scratch tables.
_KEPT = 256
_SCRATCH = ops.Namespace(database="main", catalog="temp")


@lru_cache(maxsize=_KEPT)
def table(backend: Any, name: str) -> ir.Table:
    """A table of the mart, with its key."""
    stored = _bound(backend, name, as_stored(ibis.Schema.from_pyarrow(tables.stored(name))), ops.Namespace())
    if name not in tables.DERIVED_KEYS:
        return stored
    parts = [stored[column] for column in tables.DERIVED_KEYS[name]]
    return stored.mutate(key=ibis.literal("|").join(parts)).select(*tables.TABLES[name].names)


@lru_cache(maxsize=_KEPT)
def scratch(backend: Any, name: str, schema: ibis.Schema) -> ir.Table:
    """A scratch table of a session."""
    return _bound(backend, name, schema, _SCRATCH)


def is_scratch(at: ops.Relation) -> bool:
    """Whether an expression is a scratch table and nothing else."""
    return isinstance(at, ops.DatabaseTable) and at.namespace == _SCRATCH


def _bound(backend: Any, name: str, schema: ibis.Schema, place: ops.Namespace) -> ir.Table:
    return ops.DatabaseTable(name, schema=schema, source=backend, namespace=place).to_expr()


@lru_cache(maxsize=_KEPT)
def of_rows(schema: pa.Schema) -> ibis.Schema:
    """The schema of a scratch table that holds such rows."""
    return as_stored(ibis.Schema.from_pyarrow(schema))


@lru_cache(maxsize=_KEPT)
def as_stored(schema: ibis.Schema) -> ibis.Schema:
    """The schema as the engine tells it of its tables: instants in microseconds."""
    instant = ibis.dtype("timestamp('UTC', 6)")
    return ibis.schema({name: instant if kind.is_timestamp() else kind for name, kind in schema.items()})
