"""What somebody did counts for the record that is left of them: activities of a record that was merged away are its survivor's.

Not every system tells such activities again once it has merged their records; and one may be told with a record that is gone by then.
"""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute

from connector import tables
from connector.mart.engine import Mart
from connector.mart.known import INSTANT
from connector.model import Kind

#: A record that is merged into one that is merged into another, and so on; a ring ends, too.
_MOST_MERGES = 20
pc: Any = pyarrow.compute


def redirected(mart: Mart, rows: pa.Table) -> pa.Table:
    """ACTIVITY rows with the survivor in place of each record that was merged away."""
    named = pc.drop_null(rows["record"].unique())
    pairs = mart.arrow(_survivors(mart, pa.table({"record": named}))) if len(named) else None
    if not pairs:
        return rows
    at = pc.index_in(rows["record"], value_set=pairs["record"].combine_chunks())
    records = pc.coalesce(pairs["survivor"].combine_chunks().take(at.combine_chunks()), rows["record"].combine_chunks())
    parts = [rows[name].combine_chunks() for name in ("system", "stream", "native_id")]
    keys = pc.binary_join_element_wise(*parts, pc.fill_null(records, ""), "|")
    for name, column in (("record", records), ("key", keys)):
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


def moved(mart: Mart, merged: pa.Table, now: Any, run: int) -> tuple[ir.Table, ir.Table]:
    """ACTIVITY rows to merge: the living ones of the records (`record`) that were merged away, ended, and as the survivors'."""
    pairs = _survivors(mart, merged)
    activity = mart.table("activity")
    living = activity.filter(activity.deleted_at.isnull())
    at = {"run": ibis.literal(run, "int64")}
    old = mart.keep("merged_activities", living.semi_join(pairs, "record"))
    theirs = old.inner_join(pairs, "record").mutate(record=ibis._.survivor).drop("survivor")
    new = theirs.mutate(key=theirs.system + "|" + theirs.stream + "|" + theirs.native_id + "|" + theirs.record, **at)
    new = new.distinct(on="key").anti_join(living, "key").select(*tables.ACTIVITY.names)
    return old.mutate(deleted_at=ibis.literal(now, INSTANT), **at), mart.keep("inherited_activities", new)


def _survivors(mart: Mart, records: pa.Table) -> ir.Table:
    """Those of the records (`record`) that were merged away, each with the record that is left of it (`survivor`)."""
    person = mart.table(tables.record_table(Kind.PERSON))
    merged = person.filter(person.merged_into.notnull()).select(former="key", into="merged_into")
    asked = mart.keep("asked_survivors", records)
    pairs = mart.keep(
        "survivors", asked.inner_join(merged, asked.record == merged.former).select("record", survivor="into")
    )
    for _ in range(_MOST_MERGES):
        further = mart.keep("further_merges", pairs.inner_join(merged, pairs.survivor == merged.former).drop("former"))
        if not mart.count(further):
            break
        joined = pairs.left_join(further.select("record", "into"), "record")
        pairs = mart.keep("survivors", joined.select("record", survivor=ibis.coalesce(joined.into, joined.survivor)))
    return pairs
