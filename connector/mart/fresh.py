"""Rows whose keys the mart has not seen: they need no join, so what a back-fill brings is appended as columns."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connector import tables

Order = tuple[str, Literal["ascending", "descending"]]

#: The stubs of the kernels know no column whose type is only known at run time.
pc: Any = pyarrow.compute


def one_for_each_key(rows: pa.Table, *order: Order) -> pa.Table:
    """One row for each `key`: the first in this order, nulls last."""
    if pc.count_distinct(rows["key"]).as_py() == rows.num_rows:
        return rows
    at = pc.sort_indices(rows, sort_keys=[("key", "ascending"), *order])
    keys = rows["key"].take(at).combine_chunks()
    is_other = pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1))
    is_first = pa.concat_arrays([pa.array([True]), is_other])
    return rows.take(at.filter(is_first))


def identifiers(rows: pa.Table) -> pa.Table:
    """IDENTIFIER rows of what the mapping tells, which is all of them but the key."""
    parts = [rows[name].combine_chunks() for name in tables.DERIVED_KEYS["identifier"]]
    return rows.add_column(0, "key", pc.binary_join_element_wise(*parts, "|"))


def parted(rows: pa.Table, column: str, known: Any) -> tuple[pa.Table, pa.Table]:
    """The rows whose `column` is not among the `known` values, and those where it is."""
    if not len(known) or not rows.num_rows:
        return rows, rows.slice(0, 0)
    is_known = pc.is_in(rows[column], value_set=known)
    return rows.filter(pc.invert(is_known)), rows.filter(is_known)


def records(rows: pa.Table, kind: str, *, after: int, run: int) -> pa.Table:
    """Records as they are stored when first seen, numbered after `after` in the order of their creation and key.

    Of one that comes as deleted nothing but the header is kept.
    """
    order = pc.sort_indices(rows, sort_keys=[("created_at", "ascending"), ("key", "ascending")]).to_numpy()
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(after + 1, after + 1 + len(order))
    given = {"ingestion": pa.array(numbers), "run": pa.repeat(pa.scalar(run, tables.INT), rows.num_rows)}
    is_deleted = pc.is_valid(rows["deleted_at"])
    if pc.any(is_deleted).as_py():
        for name in (*tables.FIELDS[kind].names, "native", "version"):
            given[name] = pc.if_else(is_deleted, pa.scalar(None, rows.schema.field(name).type), rows[name])
    return pa.table([given.get(name, rows[name]) for name in rows.schema.names], schema=rows.schema)


def of_run(rows: pa.Table, run: int) -> pa.Table:
    """The rows as this run's. The number stands in a column, not in statements, which are the same in each run and kept."""
    return rows.set_column(
        rows.schema.get_field_index("run"), "run", pa.repeat(pa.scalar(run, tables.INT), rows.num_rows)
    )


def observed(rows: pa.Table, run: int) -> pa.Table:
    """OBSERVED rows of records that are seen for the first time: whatever is there is somebody's edit, not ours."""
    given = {"revision": pa.repeat(pa.scalar(run, tables.INT), rows.num_rows), "edited_at": rows["observed_at"]}
    return pa.table([given.get(name, rows[name]) for name in rows.schema.names], schema=rows.schema)


def dirty(kind: str, records: Any, run: int) -> pa.Table:
    """DIRTY rows of these records."""
    size = len(records)
    return pa.table(
        [
            pc.binary_join_element_wise(kind, pc.cast(records, tables.TEXT), "|"),
            pa.repeat(pa.scalar(kind, tables.TEXT), size),
            records,
            pa.repeat(pa.scalar(run, tables.INT), size),
        ],
        schema=tables.DIRTY,
    )
