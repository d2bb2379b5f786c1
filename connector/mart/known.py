"""Expressions that compare incoming rows with those of the same key that the mart holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import ibis
import ibis.expr.types as ir

from connector import tables
from connector.expressions import Instant, Number, built_once, instant_of, number_of
from connector.ownership import is_held_as

INSTANT = "timestamp('UTC', 6)"


@built_once
def verdict(incoming: ir.Table, existing: ir.Table) -> ir.Table:
    """For each incoming record, which is known: is it changed, a deletion, stale; is it all that is there already."""
    joined = incoming.inner_join(existing, "key", rname="{name}_before")
    is_stale = (joined.modified_at < joined.modified_at_before).fill_null(
        False
    )  # what is just not there tells no instant
    was_deleted, is_deleted = joined.deleted_at_before.notnull(), joined.deleted_at.notnull()
    differs = ~joined.version.identical_to(joined.version_before) | ~joined.merged_into.identical_to(
        joined.merged_into_before
    )
    is_merged = joined.merged_into.notnull() & ~joined.merged_into.identical_to(joined.merged_into_before)
    is_changed = ~is_stale & ((is_deleted != was_deleted) | (~is_deleted & differs) | is_merged)
    same = ("modified_at", "deleted_at", "merged_into", "version", "native")
    is_same = reduce(and_, [joined[name].identical_to(joined[f"{name}_before"]) for name in same])
    is_same &= joined.created_at.isnull() | joined.created_at.identical_to(joined.created_at_before)
    return joined.select(
        "key", is_changed=is_changed.fill_null(False), is_deletion=is_deleted, is_told=~is_stale & ~is_same
    )


@built_once
def changed(verdict: ir.Table) -> ir.Table:
    """The records (`key`) that changed."""
    return verdict.filter(verdict.is_changed).select("key")


@built_once
def told(verdict: ir.Table) -> ir.Table:
    """The records (`key`) of which anything is news: most of what is read twice is not."""
    return verdict.filter(verdict.is_told).select("key")


@built_once
def alive(verdict: ir.Table) -> ir.Table:
    """The records (`key`) that changed and were not deleted."""
    return verdict.filter(verdict.is_changed & ~verdict.is_deletion).select("key")


@built_once
def written(incoming: ir.Table, existing: ir.Table, verdict: ir.Table, fields: Sequence[str]) -> ir.Table:
    """The records to merge: everything that is news and not stale. A deletion keeps the values that were known, and the survivor of a merge
    where another source tells it again without: what tells what has left a recycle bin knows of none."""
    joined = incoming.inner_join(verdict, "key").inner_join(existing, "key", rname="{name}_before")
    joined = joined.filter(joined.is_told)
    kept: dict[str, Any] = {
        field: ibis.ifelse(joined.is_deletion, joined[f"{field}_before"], joined[field])
        for field in (*fields, "native", "version")
    }
    columns = ["key", "system", "object_type", "native_id", "modified_at", "deleted_at"]
    survivor = ibis.coalesce(joined.merged_into, joined.merged_into_before)
    return joined.select(
        *columns,
        merged_into=ibis.ifelse(joined.is_deletion, survivor, joined.merged_into),
        created_at=ibis.coalesce(joined.created_at, joined.created_at_before),
        ingestion=joined.ingestion_before,
        run=ibis.ifelse(joined.is_changed, joined.run, joined.run_before),
        **kept,
    )


@built_once
def earlier(incoming: ir.Table, table: ir.Table, run: Number) -> ir.Table:
    """The records of `table` that began before we thought so, with that instant: traces come in any order."""
    joined = table.inner_join(incoming.select("key", began_at="created_at"), "key")
    return (
        joined.filter(joined.began_at < joined.created_at)
        .mutate(created_at=ibis._.began_at, run=number_of(run))
        .drop("began_at")
    )


@built_once
def versions(incoming: ir.Table, existing: ir.Table, changed: ir.Table, fields: Sequence[str]) -> ir.Table:
    """RECORD_VERSION rows: which canonical fields of the changed records differ, what they are now, and since when."""

    def long(table: ir.Table, value: str) -> ir.Table:
        texts = {field: table[field].cast("string") for field in fields}
        return (
            table.semi_join(changed, "key")
            .select("key", "modified_at", "run", **texts)
            .pivot_longer(list(fields), names_to="field", values_to=value)
        )

    after, before = long(incoming, "value"), long(existing, "former").select("key", "field", "former")
    both = after.inner_join(before, ["key", "field"])
    differing = both.filter(~both.value.identical_to(both.former))
    stamp = differing.modified_at.strftime("%Y%m%dT%H%M%S.%f")
    return differing.select(
        key=differing.key + "|" + differing.field + "|" + stamp,
        record=differing.key,
        field=differing.field,
        value=differing.value,
        changed_at=differing.modified_at,
        run=differing.run,
    )


@built_once
def returned(news: ir.Table, table: ir.Table) -> ir.Table:
    """New identifiers; one that was withdrawn once comes back with its first sighting and its component."""
    joined = news.left_join(table, "key", rname="{name}_before")
    columns = [
        column for column in tables.IDENTIFIER.names if column not in ("first_seen_at", "withdrawn_at", "component")
    ]
    return joined.select(
        *columns,
        first_seen_at=ibis.coalesce(joined.first_seen_at_before, joined.first_seen_at),
        withdrawn_at=ibis.null(INSTANT),
        component=joined.component_before,
    )


@built_once
def not_withdrawn(identifiers: ir.Table) -> ir.Table:
    """Identifiers that their records have."""
    return identifiers.filter(identifiers.withdrawn_at.isnull())


@built_once
def withdrawn(lost: ir.Table, now: Instant) -> ir.Table:
    """Identifiers that their records have no longer."""
    return lost.mutate(withdrawn_at=instant_of(now).cast(INSTANT))


@built_once
def records_of(news: ir.Table, lost: ir.Table) -> ir.Table:
    """The records (`record_kind`, `record`) of identifiers that came or went."""
    return news.select("record_kind", "record").union(lost.select("record_kind", "record"), distinct=True)


@built_once
def activities(incoming: ir.Table, existing: ir.Table, now: Instant, run: Number) -> ir.Table:
    """ACTIVITY rows to merge, of native records that are known: new and changed ones, and those that are gone."""
    living = existing.filter(existing.deleted_at.isnull())
    alive = incoming.filter(incoming.deleted_at.isnull())
    dead = (
        incoming.filter(incoming.deleted_at.notnull())
        .select("native_id", gone_at="deleted_at")
        .distinct(on="native_id")
    )
    gone = (
        living.anti_join(alive, "key")
        .left_join(dead, "native_id")
        .drop("native_id_right")
        .mutate(deleted_at=ibis.coalesce(ibis._.gone_at, instant_of(now).cast(INSTANT)))
        .drop("gone_at")
    )
    new = alive.anti_join(living, "key")
    pairs = alive.inner_join(living, "key", rname="{name}_before")
    is_kept = pairs.task_key.isnull() & pairs.task_key_before.notnull()  # our own task, whose key is hidden from us now
    is_kept |= pairs.filtered_because.isnull() & (
        pairs.filtered_because_before == tables.COPY
    )  # who looks for copies tells
    pairs = pairs.mutate(
        task_key=pairs.task_key.fill_null(pairs.task_key_before),
        filtered_because=ibis.ifelse(is_kept, pairs.filtered_because_before, pairs.filtered_because),
    )
    compared = [column for column in tables.ACTIVITY.names if column not in ("key", "run")]
    differs = reduce(or_, [~pairs[column].identical_to(pairs[f"{column}_before"]) for column in compared])
    names = tables.ACTIVITY.names
    found = ibis.union(new.select(*names), pairs.filter(differs).select(*names), gone.select(*names))
    return found.mutate(run=number_of(run))


@built_once
def people_of(written: ir.Table, existing: ir.Table) -> ir.Table:
    """The records (`record`) of activities that are written, and of those that were there."""
    before = existing.semi_join(written, "key").select("record")
    people = written.select("record").union(before, distinct=True)
    return people.filter(people.record.notnull())


@built_once
def observed(
    incoming: ir.Table, table: ir.Table, in_doubt: ir.Table | None, run: Number, whole: Sequence[str] = ()
) -> ir.Table:
    """OBSERVED rows to merge, each with the `edited_at_before` of the row that it replaces.

    After a write of ours only a version that is newer than the one that we had seen before it counts: an index that lags
    tells that one again. A value that is neither the one that we wrote nor one that we may have written (`in_doubt`: `key`,
    `value`), nor what a field without decimals (`whole`) makes of it, is somebody's edit since its version.
    """
    joined = incoming.left_join(table, "key", rname="{name}_before")
    if in_doubt is None:
        joined = joined.mutate(sent=ibis.null("string"))
    else:
        joined = joined.left_join(in_doubt.select(key="key", sent="value"), "key", rname="{name}_sent")
    is_new = joined.key_before.isnull() & joined.value.notnull()
    is_newer = joined.settled_at_before.isnull() | (joined.observed_at > joined.observed_at_before)
    is_changed = joined.key_before.notnull() & ~joined.value.identical_to(joined.value_before) & is_newer
    may_round = joined.field.isin(whole)
    is_ours = joined.ours_before.notnull() & is_held_as(joined.value, joined.ours_before, may_round)
    is_ours |= joined.sent.notnull() & is_held_as(joined.value, joined.sent, may_round)
    is_empty = joined.ours_before.isnull() & joined.value.nullif("").isnull()
    written = joined.filter(is_new | is_changed).mutate(
        settled_at=joined.settled_at_before,
        revision=number_of(run),
        ours=joined.ours_before,
        edited_at=ibis.ifelse(is_ours | is_empty, ibis.null(INSTANT), joined.observed_at),
    )
    return written.select(*tables.OBSERVED.names, "edited_at_before")


@built_once
def edited(written: ir.Table) -> ir.Table:
    """Those of `written` (as from `observed`) where our value stood until somebody changed it."""
    return written.filter(written.ours.notnull() & written.edited_at.notnull() & written.edited_at_before.isnull())


@built_once
def drift(written: ir.Table, natives: ir.Table, modified_by: str, now: Instant, run: Number) -> ir.Table:
    """DRIFT rows of what was `edited`.

    natives: key and native JSON of the records; modified_by: the native field in it that names the editor, or "".
    """
    rows = edited(written)
    joined = rows.left_join(natives, rows.record == natives.key, rname="{name}_native")
    editor = joined.native.cast("json")[modified_by].unwrap_as("string") if modified_by else ibis.null("string")
    return joined.select(
        "system", "object_type", "record", "field", "ours", "edited_at",
        key=joined.key + "|" + joined.edited_at.strftime("%Y%m%dT%H%M%S.%f"),
        theirs=joined.value,
        seen_at=instant_of(now).cast(INSTANT),
        editor=editor,
        run=number_of(run),
    )  # fmt: skip


@built_once
def of_kind(records: ir.Table, kind: str) -> ir.Table:
    """Records (`record`), each once, with their kind (`record_kind`)."""
    return records.distinct().mutate(record_kind=ibis.literal(str(kind)))


@built_once
def dirty(records: ir.Table, run: Number) -> ir.Table:
    """DIRTY rows of records with their kind (`record_kind`, `record`)."""
    return records.select(
        key=records.record_kind + "|" + records.record,
        kind=records.record_kind,
        record=records.record,
        run=number_of(run),
    )
