"""Merging what a group of pages gave into the mart: records, identifiers, activities, roles, observed values, checkpoint.

One call is one transaction. Reading the same pages again changes nothing and makes nothing dirty; that is what makes a kill harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from connector import tables
from connector.mapping import Mapped
from connector.mart.engine import Mart
from connector.model import Kind


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records of a read: pulled = applied + unchanged + filtered + quarantined."""

    pulled: int = 0
    applied: int = 0
    unchanged: int = 0
    filtered: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.pulled + other.pulled,
            self.applied + other.applied,
            self.unchanged + other.unchanged,
            self.filtered + other.filtered,
            self.quarantined + other.quarantined,
        )

    @property
    def is_conserved(self) -> bool:
        """Nothing was dropped in silence."""
        return self.pulled == self.applied + self.unchanged + self.filtered + self.quarantined


@dataclass(frozen=True, slots=True)
class Group:
    """The mapped pages of one stream, gathered to be merged in one transaction."""

    system: str
    stream: str
    kind: Kind
    mapped: Sequence[Mapped]
    pulled: int
    malformed: int
    cursor: str | None


def ingest(mart: Mart, group: Group, *, run: int, now: datetime) -> Counts:
    """Merge a group by key, queue what changed as dirty, move the checkpoint; all of it or nothing. Returns the counts."""
    with mart.transaction():
        emitted = applied = 0
        if group.mapped:
            merge = _Merge(mart, group, run, now)
            emitted, applied = merge.records()
            traces, changed = merge.activities()
            if group.kind is Kind.ACTIVITY:
                emitted, applied = traces, changed
            merge.roles()
            merge.visitors()
            merge.identifiers()
            merge.observed()
        if group.cursor is not None:
            mart.merge("checkpoint", checkpoints({(group.system, group.stream): group.cursor}, run=run, now=now))
    filtered = sum(each.filtered for each in group.mapped)
    quarantined = group.malformed + sum(each.refused for each in group.mapped)
    return Counts(group.pulled, applied, emitted - applied, filtered, quarantined)


def checkpoints(cursors: Mapping[tuple[str, str], str], *, run: int, now: datetime) -> pa.Table:
    """CHECKPOINT rows for (system, stream) -> cursor."""
    rows = [
        {
            "key": f"{system}|{stream}",
            "system": system,
            "stream": stream,
            "cursor": cursor,
            "polled_at": now,
            "run": run,
        }
        for (system, stream), cursor in cursors.items()
    ]
    return pa.Table.from_pylist(rows, schema=tables.CHECKPOINT)


def _newest(rows: pa.Table) -> ir.Table:
    """One row for each key: the one that was modified last."""
    table = ibis.memtable(rows)
    order = [ibis.desc("modified_at")] if "modified_at" in table.columns else [ibis.asc("key")]
    ranked = table.mutate(_rank=ibis.row_number().over(group_by="key", order_by=order))
    return ranked.filter(ranked._rank == 0).drop("_rank")


class _Merge:
    """The merge of one group; each method writes one family of tables."""

    def __init__(self, mart: Mart, group: Group, run: int, now: datetime) -> None:
        self.mart, self.group, self.run, self.now = mart, group, run, now

    def _all(self, part: str) -> pa.Table:
        return pa.concat_tables([getattr(mapped, part) for mapped in self.group.mapped])

    # ------------------------------------------------------------------------------------------------------ records

    def records(self) -> tuple[int, int]:
        """Merge the stream's records; returns how many there are, and how many of them are new, changed, deleted or back."""
        rows = self._all("records")
        if not rows.num_rows:
            return 0, 0
        return rows.num_rows, self._merge_records(self.group.kind, rows)

    def _merge_records(self, kind: str, rows: pa.Table) -> int:
        name = tables.record_table(kind)
        fields = tables.FIELDS[kind].names
        incoming = self.mart.keep("incoming_records", _newest(rows))
        existing = self.mart.keep("existing_records", self._same_keys(name, incoming))
        verdict = self.mart.keep("record_verdict", _verdict(incoming, existing))
        changed = verdict.filter(verdict.is_new | verdict.is_changed)
        applied = self.mart.count(changed)
        if applied:
            self._number(verdict)
            self._keep_versions(name, fields, incoming, existing, verdict)
        written = _written(incoming, existing, self.mart.kept("record_verdict"), fields, self.run)
        self.mart.merge(name, written)
        if kind in (Kind.PERSON, Kind.ACCOUNT):
            self._dirty(kind, changed.select(record=changed.key))
        elif applied and kind in (Kind.OPPORTUNITY, Kind.CONTACT_ROLE, Kind.CASE):
            self._dirty_people_of(kind, changed)
        return applied

    def _same_keys(self, name: str, incoming: ir.Table) -> ir.Table:
        table = self.mart.table(name)
        return table.semi_join(incoming, "key")

    def _number(self, verdict: ir.Table) -> None:
        """Give ingestion numbers to the records that are seen for the first time, in the order of their creation and key."""
        new = verdict.filter(verdict.is_new)
        count = self.mart.count(new)
        if not count:
            return
        pair = self.mart.arrow(self.mart.table("pair")).to_pylist()[0]
        start = int(pair["ingestion"])
        order = ibis.row_number().over(order_by=[ibis.asc("created_at"), ibis.asc("key")])
        numbers = new.select("key", number=order + start + 1)
        joined = verdict.left_join(numbers, "key").select(
            *[verdict[column] for column in verdict.columns if column != "ingestion"],
            ingestion=ibis.coalesce(verdict.ingestion, numbers.number),
        )
        self.mart.keep("record_verdict", joined)
        self.mart.merge("pair", pa.Table.from_pylist([pair | {"ingestion": start + count}], schema=tables.PAIR))

    def _keep_versions(
        self, name: str, fields: Sequence[str], incoming: ir.Table, existing: ir.Table, verdict: ir.Table
    ) -> None:
        """Append which canonical fields of known records changed, to what, and when."""
        del name
        known = verdict.filter(verdict.is_changed & ~verdict.is_new & ~verdict.is_deletion).select("key")
        if not self.mart.count(known):
            return

        def long(table: ir.Table, value: str) -> ir.Table:
            texts = {field: table[field].cast("string") for field in fields}
            return (
                table.semi_join(known, "key")
                .select("key", "modified_at", **texts)
                .pivot_longer(list(fields), names_to="field", values_to=value)
            )

        after, before = long(incoming, "value"), long(existing, "former").select("key", "field", "former")
        both = after.inner_join(before, ["key", "field"])
        differing = both.filter(~both.value.identical_to(both.former))
        stamp = differing.modified_at.strftime("%Y%m%dT%H%M%S.%f")
        self.mart.merge(
            "record_version",
            differing.select(
                key=differing.key + "|" + differing.field + "|" + stamp,
                record=differing.key,
                field=differing.field,
                value=differing.value,
                changed_at=differing.modified_at,
                run=ibis.literal(self.run, "int64"),
            ),
        )

    def visitors(self) -> None:
        """Add the records that stand for bare identifiers; those that are there already stay as they are."""
        rows = self._all("visitors")
        if not rows.num_rows:
            return
        incoming = _newest(rows)
        new = self.mart.keep(
            "new_visitors", incoming.anti_join(self.mart.table(tables.record_table(Kind.PERSON)), "key")
        )
        if self.mart.count(new):
            self._merge_records(Kind.PERSON, self.mart.arrow(new))

    def roles(self) -> None:
        """Replace the contact roles of the opportunities in this group (where a deal's associations are its roles)."""
        rows = self._all("roles")
        if self.group.kind is not Kind.OPPORTUNITY:
            return
        opportunities = ibis.memtable(self._all("records").select(["key"])).distinct()
        table = self.mart.table(tables.record_table(Kind.CONTACT_ROLE))
        from_deals = table.filter((table.system == self.group.system) & (table.object_type == self._role_type(rows)))
        gone = from_deals.semi_join(opportunities, from_deals.opportunity == opportunities.key).anti_join(
            ibis.memtable(rows.select(["key"])), "key"
        )
        self.mart.delete_keys(tables.record_table(Kind.CONTACT_ROLE), gone.select("key"))
        if rows.num_rows:
            self._merge_records(Kind.CONTACT_ROLE, rows)

    def _role_type(self, rows: pa.Table) -> str:
        return str(rows.column("object_type")[0].as_py()) if rows.num_rows else self.group.stream

    # ------------------------------------------------------------------------------------------------------ identifiers

    def identifiers(self) -> None:
        """Add identifiers, bring returned ones back, and withdraw those that their record no longer has."""
        rows = self._all("identifiers")
        kind = self.group.kind
        named = (
            self._all("records").select(["key"])
            if kind in (Kind.PERSON, Kind.ACCOUNT)
            else rows.select(["record"]).slice(0, 0).rename_columns(["key"])
        )
        if not rows.num_rows and not named.num_rows:
            return
        ranked = ibis.memtable(rows)
        ranked = ranked.mutate(
            _rank=ibis.row_number().over(group_by="key", order_by=[ibis.desc("last_seen_at"), ibis.asc("raw")])
        )
        incoming = self.mart.keep("incoming_identifiers", ranked.filter(ranked._rank == 0).drop("_rank"))
        table = self.mart.table("identifier")
        live = table.filter(table.withdrawn_at.isnull())
        news = self.mart.keep("new_identifiers", incoming.anti_join(live, "key"))
        records = ibis.memtable(named).distinct()
        held = live.semi_join(records, live.record == records.key)
        lost = self.mart.keep("lost_identifiers", held.anti_join(incoming, "key"))
        self.mart.merge("identifier", _returned(news, table))
        self.mart.merge("identifier", lost.mutate(withdrawn_at=ibis.literal(self.now, "timestamp('UTC', 6)")))
        touched = news.select("record_kind", "record").union(lost.select("record_kind", "record"), distinct=True)
        self.mart.merge("dirty", _dirty_rows(touched, self.run))

    # ------------------------------------------------------------------------------------------------------ activities

    def activities(self) -> tuple[int, int]:
        """Merge the stream's activities; returns how many native records there are, and how many gave something new."""
        rows = self._all("activities")
        if not rows.num_rows:
            return 0, 0
        table = self.mart.table("activity")
        incoming = self.mart.keep("incoming_activities", _newest(rows))
        mine = table.filter((table.system == self.group.system) & (table.stream == self.group.stream))
        existing = self.mart.keep("existing_activities", mine.semi_join(incoming, "native_id"))
        dead = (
            incoming.filter(incoming.deleted_at.notnull())
            .select("native_id", gone_at="deleted_at")
            .distinct(on="native_id")
        )
        gone = existing.filter(existing.deleted_at.isnull()).anti_join(
            incoming.filter(incoming.deleted_at.isnull()), "key"
        )
        gone = (
            gone.left_join(dead, "native_id")
            .drop("native_id_right")
            .mutate(deleted_at=ibis.coalesce(ibis._.gone_at, ibis.literal(self.now, "timestamp('UTC', 6)")))
            .drop("gone_at")
        )
        alive = incoming.filter(incoming.deleted_at.isnull())
        fresh = alive.anti_join(existing.filter(existing.deleted_at.isnull()), "key")
        pairs = alive.inner_join(existing.filter(existing.deleted_at.isnull()), "key", rname="{name}_before")
        compared = [column for column in tables.ACTIVITY.names if column not in ("key", "run")]
        differs = reduce(or_, [~pairs[column].identical_to(pairs[f"{column}_before"]) for column in compared])
        changed = pairs.filter(differs).select(*tables.ACTIVITY.names)
        written = self.mart.keep(
            "written_activities",
            ibis.union(fresh.select(*tables.ACTIVITY.names), changed, gone.select(*tables.ACTIVITY.names)).mutate(
                run=self.run
            ),
        )
        self.mart.merge("activity", written)
        before = existing.semi_join(written, "key").select("record")
        people = written.select("record").union(before, distinct=True)
        self._dirty("event", people.filter(people.record.notnull()))
        return self.mart.count(incoming.select("native_id").distinct()), self.mart.count(
            written.select("native_id").distinct()
        )

    # ------------------------------------------------------------------------------------------------------ observed

    def observed(self) -> None:
        """Note what the system holds in our output fields. After a write of ours, only a version that is newer than the one
        we had seen before it counts: an index that lags tells that one again."""
        rows = self._all("observed")
        if not rows.num_rows:
            return
        ranked = ibis.memtable(rows)
        ranked = ranked.mutate(_rank=ibis.row_number().over(group_by="key", order_by=ibis.desc("observed_at")))
        incoming = ranked.filter(ranked._rank == 0).drop("_rank")
        table = self.mart.table("observed")
        joined = incoming.left_join(table, "key", rname="{name}_before")
        is_new = joined.key_before.isnull() & joined.value.notnull()
        is_newer = joined.settled_at_before.isnull() | (joined.observed_at > joined.observed_at_before)
        is_changed = joined.key_before.notnull() & ~joined.value.identical_to(joined.value_before) & is_newer
        written = joined.filter(is_new | is_changed).mutate(
            settled_at=joined.settled_at_before, revision=ibis.literal(self.run, "int64")
        )
        self.mart.merge("observed", written.select(*tables.OBSERVED.names))

    # ------------------------------------------------------------------------------------------------------ dirty

    def _dirty(self, kind: str, records: ir.Table) -> None:
        self.mart.merge("dirty", _dirty_rows(records.distinct().mutate(record_kind=ibis.literal(kind)), self.run))

    def _dirty_people_of(self, kind: str, changed: ir.Table) -> None:
        """Opportunities, roles and cases are facts of the people who take part in them."""
        role = self.mart.table(tables.record_table(Kind.CONTACT_ROLE))
        if kind == Kind.CONTACT_ROLE:
            people = role.semi_join(changed, "key").select(record="person")
        elif kind == Kind.OPPORTUNITY:
            people = role.semi_join(changed, role.opportunity == changed.key).select(record="person")
        else:
            case = self.mart.table(tables.record_table(Kind.CASE))
            people = case.semi_join(changed, "key").select(record="person")
        self._dirty("event", people.filter(people.record.notnull()))


def _verdict(incoming: ir.Table, existing: ir.Table) -> ir.Table:
    """For each incoming record: is it new, changed, a deletion, stale; with the ingestion number it has."""
    joined = incoming.left_join(existing, "key", rname="{name}_before")
    is_new = joined.key_before.isnull()
    is_stale = ~is_new & (joined.modified_at < joined.modified_at_before)
    was_deleted, is_deleted = joined.deleted_at_before.notnull(), joined.deleted_at.notnull()
    differs = ~joined.version.identical_to(joined.version_before) | ~joined.merged_into.identical_to(
        joined.merged_into_before
    )
    is_changed = ~is_new & ~is_stale & ((is_deleted != was_deleted) | (~is_deleted & differs))
    return joined.select(
        "key",
        "created_at",
        is_new=is_new.fill_null(True),
        is_changed=is_changed.fill_null(False),
        is_stale=is_stale.fill_null(False),
        is_deletion=is_deleted,
        ingestion=joined.ingestion_before,
    )


def _written(incoming: ir.Table, existing: ir.Table, verdict: ir.Table, fields: Sequence[str], run: int) -> ir.Table:
    """The rows to merge: everything that is not stale. A deletion keeps the values that were known."""
    joined = incoming.inner_join(verdict, "key", rname="{name}_verdict").left_join(
        existing, "key", rname="{name}_before"
    )
    joined = joined.filter(~joined.is_stale)
    kept: dict[str, Any] = {
        field: ibis.ifelse(joined.is_deletion, joined[f"{field}_before"], joined[field])
        for field in (*fields, "native", "version")
    }
    columns = ["key", "system", "object_type", "native_id", "modified_at", "deleted_at", "merged_into"]
    return joined.select(
        *columns,
        created_at=ibis.coalesce(joined.created_at, joined.created_at_before),
        ingestion=joined.ingestion_verdict,
        run=ibis.ifelse(joined.is_new | joined.is_changed, ibis.literal(run, "int64"), joined.run_before),
        **kept,
    )


def _returned(news: ir.Table, table: ir.Table) -> ir.Table:
    """New identifiers; one that was withdrawn once comes back with its first sighting and its component."""
    joined = news.left_join(table, "key", rname="{name}_before")
    columns = [
        column for column in tables.IDENTIFIER.names if column not in ("first_seen_at", "withdrawn_at", "component")
    ]
    return joined.select(
        *columns,
        first_seen_at=ibis.coalesce(joined.first_seen_at_before, joined.first_seen_at),
        withdrawn_at=ibis.null("timestamp('UTC', 6)"),
        component=joined.component_before,
    )


def _dirty_rows(records: ir.Table, run: int) -> ir.Table:
    return records.select(
        key=records.record_kind + "|" + records.record,
        kind=records.record_kind,
        record=records.record,
        run=ibis.literal(run, "int64"),
    )
