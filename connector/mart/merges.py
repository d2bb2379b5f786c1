"""What is said of a record that was merged away is said of its survivor: activities, roles and cases of a person, employees and
children of an account.

Not every system tells again, once it has merged records, what hung on them; and something may be told with a record that is gone by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute

from connector import tables
from connector.expressions import NOW, RUN, among, built_once, missing, together
from connector.mart.engine import Mart
from connector.mart.known import INSTANT
from connector.model import Kind
from connector.ownership import is_held_as

#: A record that is merged into one that is merged into another, and so on; a ring ends, too.
_MOST_MERGES = 20
pc: Any = pyarrow.compute


def redirected(mart: Mart, rows: pa.Table) -> pa.Table:
    """ACTIVITY rows with the survivor in place of each record that was merged away."""
    named = pc.drop_null(rows["record"].unique())
    pairs = mart.arrow(survivors(mart, Kind.PERSON, pa.table({"record": named}))) if len(named) else None
    if not pairs:
        return rows
    at = pc.index_in(rows["record"], value_set=pairs["record"].combine_chunks())
    records = pc.coalesce(pairs["survivor"].combine_chunks().take(at.combine_chunks()), rows["record"].combine_chunks())
    parts = [rows[name].combine_chunks() for name in ("system", "stream", "native_id")]
    keys = pc.binary_join_element_wise(*parts, pc.fill_null(records, ""), "|")
    for name, column in (("record", records), ("key", keys)):
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


def moved(mart: Mart, merged: pa.Table) -> tuple[ir.Table, ir.Table]:
    """ACTIVITY rows to merge: the living ones of the records (`record`) that were merged away, ended, and as the survivors'."""
    pairs = survivors(mart, Kind.PERSON, merged)
    living = _living(mart.table("activity"))
    old = mart.keep("merged_activities", among(living, "record", pairs))
    return _ended(old), mart.keep("inherited_activities", _inherited(old, pairs, living))


def taken_part(mart: Mart, kind: Kind, merged: pa.Table) -> ir.Table:
    """`key` and survivor (`person`) of the records of this kind, roles or cases, whose person was merged away (`record`)."""
    return _taken_part(mart.table(tables.record_table(kind)), survivors(mart, Kind.PERSON, merged))


@built_once
def _taken_part(known: ir.Table, pairs: ir.Table) -> ir.Table:
    theirs = known.inner_join(pairs, known.person == pairs.record)
    return theirs.select("key", person="survivor").mutate(run=RUN)


def ours(mart: Mart, merged: pa.Table, incoming: ir.Table, whole: Sequence[str]) -> ir.Table:
    """Which `incoming` values of survivors are ours, since a record (`record`) that was merged into them had got it from us: the key of
    each, with the `value` as we wrote it. whole: the fields that have no decimals."""
    return _given_before(survivors(mart, Kind.PERSON, merged), incoming, mart.table("observed"), whole)


@built_once
def _given_before(pairs: ir.Table, incoming: ir.Table, observed: ir.Table, whole: Sequence[str]) -> ir.Table:
    before = observed.filter(observed.ours.notnull()).select("record", "field", "ours")
    theirs = before.inner_join(pairs, "record").select("field", "ours", record="survivor")
    joined = incoming.select("key", "record", "field", "value").inner_join(theirs, ["record", "field"])
    given = joined.filter(is_held_as(joined.value, joined.ours, joined.field.isin(whole)))
    return given.group_by("key").agg(value=given.ours.min())


@built_once
def _living(activity: ir.Table) -> ir.Table:
    return activity.filter(activity.deleted_at.isnull())


@built_once
def _ended(old: ir.Table) -> ir.Table:
    return old.mutate(deleted_at=NOW.cast(INSTANT), run=RUN)


@built_once
def _inherited(old: ir.Table, pairs: ir.Table, living: ir.Table) -> ir.Table:
    theirs = old.inner_join(pairs, "record").mutate(record=ibis._.survivor).drop("survivor")
    key = theirs.system + "|" + theirs.stream + "|" + theirs.native_id + "|" + theirs.record
    new = theirs.mutate(key=key, run=RUN)
    return new.distinct(on="key").anti_join(living, "key").select(*tables.ACTIVITY.names)


def survivors(mart: Mart, kind: Kind, records: ir.Table | pa.Table) -> ir.Table:
    """Those of the records (`record`) that were merged away, each with the record that is left of it (`survivor`)."""
    known = mart.table(tables.record_table(kind))
    pairs = mart.keep("survivors", _first(mart.keep("asked_survivors", records), known))
    for _ in range(_MOST_MERGES):
        further = mart.keep("further_merges", _further(pairs, known))
        if not mart.count(further):
            break
        pairs = mart.keep("survivors", _followed(pairs, further))
    return pairs


def absorbed(mart: Mart, kind: Kind, records: ir.Table) -> ir.Table:
    """The records (`key`) that were merged into these (`key`), directly or by way of others."""
    known = mart.table(tables.record_table(kind))
    newest = found = mart.keep("absorbed", _absorbed(records, known))
    while mart.count(newest):
        newest = mart.keep("newly_absorbed", missing(_absorbed(newest, known), "key", found))
        found = mart.keep("absorbed", together(found, newest))
    return found


@built_once
def _absorbed(survivors: ir.Table, known: ir.Table) -> ir.Table:
    return among(known, "merged_into", survivors, "key").select("key")


def _merged(known: ir.Table) -> ir.Table:
    return known.filter(known.merged_into.notnull()).select(former="key", into="merged_into")


@built_once
def _first(asked: ir.Table, known: ir.Table) -> ir.Table:
    merged = _merged(known)
    return asked.inner_join(merged, asked.record == merged.former).select("record", survivor="into")


@built_once
def _further(pairs: ir.Table, known: ir.Table) -> ir.Table:
    merged = _merged(known)
    return pairs.inner_join(merged, pairs.survivor == merged.former).drop("former")


@built_once
def _followed(pairs: ir.Table, further: ir.Table) -> ir.Table:
    joined = pairs.left_join(further.select("record", "into"), "record")
    return joined.select("record", survivor=ibis.coalesce(joined.into, joined.survivor))
