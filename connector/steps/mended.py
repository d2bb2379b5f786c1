"""What was set aside is released by itself: a record that is mapped without the problem that it had, or is mapped again on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from connector import mapping, tables
from connector.mapping.columns import joined, nulls, pc
from connector.mart import Mart
from connector.mart.ingest import Group, ingest
from connector.model import Stream
from connector.state import State, quarantine
from connector.state.models import Quarantine
from connector.steps import asides, purge, suppress
from connector.steps.setup import Connected, Moment, Setup


def seen_again(rows: pa.Table, system: str, stream: Stream, known: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Records of these rows (`tables.PAGE`) of which something was set aside before (`known`, by stream)."""
    waiting = known.get(stream.name)
    if not waiting:
        return ()
    keys = joined(system, pc.fill_null(rows["object_type"], stream.object_type), rows["native_id"])
    return tuple(keys.filter(pc.is_in(keys, value_set=pa.array(waiting, tables.TEXT))).unique().drop_null().to_pylist())


def keep(state: State, odd: Sequence[Quarantine], seen: Sequence[str]) -> set[str]:
    """Set aside what is odd, and release what was set aside of the records seen again that are not odd any more. Returns the keys of
    what was not set aside before."""
    news = state.quarantine(odd) if odd else set()
    if seen:
        quarantine.release_mended(state, seen, {row.key for row in odd})
    return news


def map_again(setup: Setup, mart: Mart, system: str, records: Sequence[str], moment: Moment) -> int:
    """Map the stored native fields of these records anew and merge what that gives. Returns how many were found.

    Activities keep no native fields: theirs come again only from the system.
    """
    connected = setup.systems.get(system)
    if connected is None:
        return 0
    wanted = mart.keep("wanted_records", pa.table({"key": pa.array(sorted(set(records)), tables.TEXT)}))
    found = 0
    for stream in connected.streams():
        if stream.kind.value not in tables.FIELDS:
            continue
        table = mart.table(tables.record_table(stream.kind))
        chosen = table.filter((table.object_type == stream.object_type) & table.deleted_at.isnull())
        stored = [name for name in tables.PAGE.names if name not in ("is_deleted", "merged_into")]
        rows = mart.arrow(chosen.semi_join(wanted, "key").select(*stored))
        if rows.num_rows:
            _merge(setup, mart, connected, stream, rows, moment)
            found += rows.num_rows
    return found


def _merge(setup: Setup, mart: Mart, connected: Connected, stream: Stream, stored: pa.Table, moment: Moment) -> None:
    size = stored.num_rows
    added = {"is_deleted": pa.repeat(pa.scalar(False), size), "merged_into": nulls(size)}
    columns = [added[name] if name in added else stored[name] for name in tables.PAGE.names]
    rows = pa.table(columns, schema=tables.PAGE).combine_chunks()
    mapped = mapping.apply(
        rows, connected.mappings[stream.name], system=connected.name, region=setup.region, outputs=(), now=moment.now
    )
    mapped = suppress.load(setup.state).without(mapped, stream.kind)
    if mapped.kept_out:
        purge.forget(setup.state, mart, mapped.kept_out)
    group = Group(connected.name, stream.name, stream.kind, (mapped,), size, 0, None)
    ingest(mart, group, run=moment.run, now=moment.now)
    odd = asides.found(connected.name, stream, (), (mapped,), moment.now)
    keep(setup.state, odd, joined(connected.name, rows["object_type"], rows["native_id"]).to_pylist())
