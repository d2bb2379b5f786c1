"""How many live rows of each stream the mart holds: kept in the state, so that `status` can say it while a run is at work."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import orjson

from connector import tables
from connector.expressions import built_once
from connector.mart import Mart
from connector.state import holdings
from connector.steps.setup import Setup


def keep(setup: Setup, mart: Mart) -> None:
    """Count anew; to be called after a pull that brought something."""
    counts = _activities(mart) | _records(setup, mart)
    setup.state.set_note(holdings.NOTE, orjson.dumps(counts).decode())


def _activities(mart: Mart) -> dict[str, int]:
    return {"|".join(of): rows for of, rows in _live(mart, mart.table("activity"), "stream").items()}


def _live(mart: Mart, table: ir.Table, by: str) -> dict[tuple[str, str], int]:
    return {(row["system"], row[by]): row["rows"] for row in mart.arrow(_live_rows(table, by)).to_pylist()}


@built_once
def _live_rows(table: ir.Table, by: str) -> ir.Table:
    return table.filter(table.deleted_at.isnull()).group_by("system", by).agg(rows=ibis._.count())


def _records(setup: Setup, mart: Mart) -> dict[str, int]:
    """Streams of records; those that are one object type are one. Of a system that was taken out of the configuration: its types."""
    held: dict[tuple[str, str], int] = {}
    for kind in tables.FIELDS:
        held |= _live(mart, mart.table(tables.record_table(kind)), "object_type")
    left = {f"{name}|{object_type}": rows for (name, object_type), rows in held.items() if name not in setup.systems}
    return left | {
        f"{name}|{stream.name}": held.get((name, stream.object_type), 0)
        for name, connected in setup.systems.items()
        for stream in connected.streams()
        if stream.kind in tables.FIELDS
    }
