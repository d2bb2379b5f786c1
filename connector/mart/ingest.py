"""Merging what a group of pages gave into the mart: records, identifiers, activities, roles, observed values, checkpoint.

One call is one transaction. Reading the same pages again changes nothing and makes nothing dirty; that is what makes a kill harmless.
Rows of records that the mart has not seen are appended (`fresh`); only the others are compared with what is there (`known`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from connector import tables
from connector.expressions import NOW, RUN, among, built_once, missing, only
from connector.mapping import Mapped
from connector.mapping.records import CONTACT_ROLE
from connector.mart import fresh, known, merges
from connector.mart.engine import Mart
from connector.model import Kind

#: Why an activity is filtered as it is read; copies are found later, when it is known whose they are.
_LEFT_OUT = pa.array([tables.OWN, tables.SCANNER], tables.TEXT)


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
    modified_by: str = ""  # the native field that names who changed a record last
    unsent: frozenset[str] = frozenset()  # native fields of the mapping that the system hides from us for now
    in_doubt: pa.Table | None = None  # values of ours (`key`, `value`) that may be there: who finds them finds no edit
    whole: tuple[str, ...] = ()  # fields of ours without decimals: they round what they are given


def ingest(mart: Mart, group: Group, *, run: int, now: datetime) -> Counts:
    """Merge a group by key, queue what changed as dirty, move the checkpoint; all of it or nothing. Returns the counts."""
    with mart.transaction():
        mart.tell(now=now, run=run)
        emitted = applied = filtered = 0
        if group.mapped:
            merge = _Merge(mart, group, run)
            emitted, applied = merge.records()
            traces, counting, left_out = merge.activities()
            if group.kind is Kind.ACTIVITY:
                emitted, applied, filtered = traces - left_out, counting, left_out
            merge.roles()
            merge.visitors()
            merge.identifiers()
            merge.observed()
        if group.cursor is not None:
            mart.merge("checkpoint", checkpoints({(group.system, group.stream): group.cursor}, run=run, now=now))
    filtered += sum(each.filtered for each in group.mapped)
    quarantined = group.malformed + sum(each.refused for each in group.mapped)
    unchanged = emitted - applied + sum(each.superseded for each in group.mapped)
    return Counts(group.pulled, applied, unchanged, filtered, quarantined)


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


class _Merge:
    """The merge of one group; each method writes one family of tables, records before what belongs to them."""

    def __init__(self, mart: Mart, group: Group, run: int) -> None:
        self.mart, self.group, self.run = mart, group, run
        self.seen_first: list[Any] = []  # keys of the records that this group brings for the first time
        self.is_new = False  # all its records are
        self.merged = pa.table(
            {"record": pa.array([], tables.TEXT)}
        )  # the persons' records that it says were merged away

    def _all(self, part: str) -> pa.Table:
        return pa.concat_tables([getattr(mapped, part) for mapped in self.group.mapped])

    def _there(self, column: str, values: Any, table: ir.Table) -> Any:
        """Which of these values of `column` the table has."""
        asked = self.mart.keep("asked", pa.table({column: values}))
        return self.mart.arrow(_only_column(among(table, column, asked), column))[column].unique()

    def _parted(self, rows: pa.Table, column: str, table: ir.Table) -> tuple[pa.Table, pa.Table]:
        """The rows whose `column` the table does not have, and the others."""
        return fresh.parted(rows, column, self._there(column, rows[column], table))

    def _parted_by_record(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The rows of records that this group brings for the first time, and the others."""
        if self.is_new:
            return rows, rows.slice(0, 0)
        firsts: Any = pa.chunked_array(self.seen_first, tables.TEXT)
        others, new = fresh.parted(rows, "record", firsts)
        return new, others

    # ------------------------------------------------------------------------------------------------------ records

    def records(self) -> tuple[int, int]:
        """Merge the stream's records; returns how many there are, and how many of them are new, changed, deleted or back."""
        rows = self._all("records")
        if not rows.num_rows:
            return 0, 0
        applied = self._merge_records(self.group.kind, rows)
        self.is_new = sum(map(len, self.seen_first)) == rows.num_rows
        if self.group.kind is Kind.PERSON:
            self._inherit(rows.filter(fresh.pc.is_valid(rows["merged_into"])))
        return rows.num_rows, applied

    def _inherit(self, merged: pa.Table) -> None:
        """What was done by records that were merged away is the survivors'."""
        if not merged.num_rows:
            return
        self.merged = merged.select(["key"]).rename_columns(["record"])
        old, new = merges.moved(self.mart, self.merged)
        self._dirty("event", old.select("record").union(new.select("record"), distinct=True))
        self.mart.merge("activity", old)
        self.mart.merge("activity", new)
        for kind in (Kind.CONTACT_ROLE, Kind.CASE):
            self.mart.merge(tables.record_table(kind), merges.taken_part(self.mart, kind, self.merged))

    def _merge_records(self, kind: str, rows: pa.Table) -> int:
        rows = fresh.one_for_each_key(rows, ("modified_at", "descending"))
        new, others = self._parted(rows, "key", self.mart.table(tables.record_table(kind)))
        applied = self._append_records(kind, new) if new.num_rows else 0
        if others.num_rows:
            applied += self._merge_known(kind, others)
        return applied

    def _append_records(self, kind: str, rows: pa.Table) -> int:
        """Add records that are seen for the first time, each with the next ingestion number."""
        pair = self.mart.arrow(self.mart.table("pair")).to_pylist()[0]
        start, count = int(pair["ingestion"]), rows.num_rows
        self.mart.merge("pair", pa.Table.from_pylist([pair | {"ingestion": start + count}], schema=tables.PAIR))
        self.mart.append(tables.record_table(kind), fresh.records(rows, kind, after=start, run=self.run))
        keys = rows["key"].combine_chunks()
        self.seen_first.append(keys)
        if kind in (Kind.PERSON, Kind.ACCOUNT):
            self.mart.append("dirty", fresh.dirty(kind, keys, self.run))
        else:
            self._dirty_people_of(kind, rows.select(["key"]))
        return count

    def _merge_known(self, kind: str, rows: pa.Table) -> int:
        name = tables.record_table(kind)
        fields = tables.FIELDS[kind].names
        incoming = self.mart.keep("incoming_records", fresh.of_run(rows, self.run))
        existing = self.mart.keep("existing_records", among(self.mart.table(name), "key", incoming))
        verdict = self.mart.keep("record_verdict", known.verdict(incoming, existing))
        changed = known.changed(verdict)
        applied = self.mart.count(changed)
        if applied:
            self.mart.merge("record_version", known.versions(incoming, existing, known.alive(verdict), fields))
        if self.mart.count(known.told(verdict)):
            self.mart.merge(name, known.written(incoming, existing, verdict, fields))
        if applied and kind in (Kind.PERSON, Kind.ACCOUNT):
            self._dirty(kind, changed.select(record=changed.key))
        elif applied:
            self._dirty_people_of(kind, self.mart.arrow(changed))
        return applied

    def visitors(self) -> None:
        """Add the records that stand for bare identifiers; of those that are there already, an earlier trace is when they began."""
        rows = self._all("visitors")
        if not rows.num_rows:
            return
        table = self.mart.table(tables.record_table(Kind.PERSON))
        new, others = self._parted(fresh.one_for_each_key(rows, ("created_at", "ascending")), "key", table)
        if new.num_rows:
            self._append_records(Kind.PERSON, new)
        if others.num_rows:
            incoming = self.mart.keep("incoming_visitors", others)
            earlier = self.mart.keep("earlier_visitors", known.earlier(incoming, table, RUN))
            self.mart.merge(tables.record_table(Kind.PERSON), earlier)
            self._dirty(Kind.PERSON, earlier.select(record="key"))

    def roles(self) -> None:
        """Replace the contact roles of the opportunities in this group (where a deal's associations are its roles)."""
        rows = self._all("roles")
        if self.group.kind is not Kind.OPPORTUNITY:
            return
        opportunities = self.mart.keep("roles_of", self._all("records").select(["key"])).distinct()
        table = self.mart.table(tables.record_table(Kind.CONTACT_ROLE))
        from_deals = table.filter((table.system == self.group.system) & (table.object_type == CONTACT_ROLE))
        gone = from_deals.semi_join(opportunities, from_deals.opportunity == opportunities.key).anti_join(
            self.mart.keep("roles_there", rows.select(["key"])), "key"
        )
        gone = self.mart.keep("roles_gone", gone.select("key", "person"))
        self._dirty("event", gone.filter(gone.person.notnull()).select(record="person"))
        self.mart.delete_keys(tables.record_table(Kind.CONTACT_ROLE), gone.select("key"))
        if rows.num_rows:
            self._merge_records(Kind.CONTACT_ROLE, rows)

    # ------------------------------------------------------------------------------------------------------ identifiers

    def identifiers(self) -> None:
        """Add identifiers, bring returned ones back, and withdraw those that their record no longer has."""
        rows = self._all("identifiers")
        if len(self.group.mapped) > 1:
            rows = fresh.one_for_each_key(
                fresh.identifiers(rows), ("last_seen_at", "descending"), ("raw", "ascending")
            ).drop(["key"])
        new, others = self._parted_by_record(rows)
        if new.num_rows:
            self.mart.append("identifier", new)
        if self.group.kind in (Kind.PERSON, Kind.ACCOUNT):
            named = self._parted_by_record(self._all("records").select(["key"]).rename_columns(["record"]))[1]
        else:
            named = others.select(["record"]).slice(0, 0)
        if others.num_rows or named.num_rows:
            self._merge_identifiers(others, named)

    def _merge_identifiers(self, rows: pa.Table, named: pa.Table) -> None:
        """Bring the identifiers of known records to `rows`; `named` are the records that tell all that they have."""
        incoming = self.mart.keep("incoming_identifiers", fresh.identifiers(rows))
        table = self.mart.table("identifier")
        live = known.not_withdrawn(table)
        news = self.mart.keep("new_identifiers", missing(incoming, "key", live))
        held = among(live, "record", self.mart.keep("named_records", named))
        lost = self.mart.keep("lost_identifiers", missing(held, "key", incoming))
        if not self.mart.count(news) + self.mart.count(lost):
            return
        self.mart.merge("identifier", known.returned(news, table))
        self.mart.merge("identifier", known.withdrawn(lost, NOW))
        self.mart.merge("dirty", known.dirty(known.records_of(news, lost), RUN))

    # ------------------------------------------------------------------------------------------------------ activities

    def activities(self) -> tuple[int, int, int]:
        """Merge the stream's activities; returns how many native records there are, how many of them gave something new that counts,
        and how many something new that does not: scanners' and our own."""
        rows = fresh.one_for_each_key(merges.redirected(self.mart, self._all("activities")))
        none = fresh.pc.unique(pa.chunked_array([mapped.no_activities for mapped in self.group.mapped], tables.TEXT))
        if not rows.num_rows and not len(none):
            return 0, 0, 0
        table = self.mart.table("activity")
        mine = only(table, system=self.group.system, stream=self.group.stream)
        there = self._there("native_id", pa.chunked_array([*rows["native_id"].chunks, none], tables.TEXT), mine)
        if not self.group.unsent and fresh.pc.any(fresh.pc.is_in(none, value_set=there)).as_py():
            self._withdraw_activities(none, mine)
        new, others = fresh.parted(rows, "native_id", there)
        applied = filtered = 0
        if new.num_rows:
            applied, filtered = self._append_activities(new)
        if self.group.unsent:  # known ones say more than what came
            others = others.filter(fresh.pc.is_valid(others["deleted_at"]))
        if others.num_rows:
            counting, left_out = self._merge_activities(others, mine)
            applied, filtered = applied + counting, filtered + left_out
        return len(rows["native_id"].unique()), applied, filtered

    def _withdraw_activities(self, native_ids: Any, mine: ir.Table) -> None:
        """What was an activity and is none any more: a task that was opened again, a mail that a task tells now."""
        asked = self.mart.keep("no_activities", pa.table({"native_id": native_ids}))
        gone = self.mart.keep("gone_activities", mine.filter(mine.deleted_at.isnull()).semi_join(asked, "native_id"))
        at, run = NOW.cast(known.INSTANT), RUN
        self.mart.merge("activity", gone.mutate(deleted_at=at, run=run))
        self._dirty("event", gone.filter(gone.record.notnull()).select("record"))

    def _append_activities(self, rows: pa.Table) -> tuple[int, int]:
        alive = rows.filter(fresh.pc.is_null(rows["deleted_at"]))
        self.mart.append("activity", fresh.of_run(alive, self.run))
        self.mart.merge("dirty", fresh.dirty("event", fresh.pc.drop_null(alive["record"].unique()), self.run))
        return _that_count(alive)

    def _merge_activities(self, rows: pa.Table, mine: ir.Table) -> tuple[int, int]:
        incoming = self.mart.keep("incoming_activities", rows)
        existing = self.mart.keep("existing_activities", among(mine, "native_id", incoming))
        written = self.mart.keep("written_activities", known.activities(incoming, existing, NOW, RUN))
        if not self.mart.count(written):
            return 0, 0
        self.mart.merge("activity", written)
        self._dirty("event", known.people_of(written, existing))
        return _that_count(self.mart.arrow(_told_with_cause(written)))

    # ------------------------------------------------------------------------------------------------------ observed

    def observed(self) -> None:
        """Note what the system holds in our output fields."""
        rows = self._all("observed")
        if len(self.group.mapped) > 1:
            rows = fresh.one_for_each_key(rows, ("observed_at", "descending"))
        new, others = self._parted_by_record(rows)
        if self.merged.num_rows:  # a new one may be the survivor of others
            new, others = rows.slice(0, 0), rows
        new = new.filter(fresh.pc.is_valid(new["value"]))
        if new.num_rows:
            self.mart.append("observed", fresh.observed(new, self.run))
        if others.num_rows:
            incoming = self.mart.keep("incoming_observed", others)
            found = known.observed(
                incoming, self.mart.table("observed"), self._in_doubt(incoming), RUN, self.group.whole
            )
            written = self.mart.keep("written_observed", found)
            if not self.mart.count(written):
                return
            if self.mart.count(known.edited(written)):
                natives = self.mart.keep("natives", self._all("records").select(["key", "native"]))
                edits = known.drift(written, natives, self.group.modified_by, NOW, RUN)
                self.mart.merge("drift", edits)
            self.mart.merge("observed", written.drop("edited_at_before"))

    def _in_doubt(self, incoming: ir.Table) -> ir.Table | None:
        """Values that may be ours: those on their way, and those that a record had which was merged away."""
        sent = self.group.in_doubt
        told = self.mart.keep("in_doubt", sent.select(["key", "value"])) if sent is not None and sent.num_rows else None
        if not self.merged.num_rows:
            return told
        given = self.mart.keep("given_before", merges.ours(self.mart, self.merged, incoming, self.group.whole))
        return given if told is None else told.union(given.anti_join(told, "key"))

    # ------------------------------------------------------------------------------------------------------ dirty

    def _dirty(self, kind: str, records: ir.Table) -> None:
        self.mart.merge("dirty", known.dirty(known.of_kind(records, kind), RUN))

    def _dirty_people_of(self, kind: str, changed: pa.Table) -> None:
        """Opportunities, roles and cases are facts of the people who take part in them."""
        if kind not in (Kind.OPPORTUNITY, Kind.CONTACT_ROLE, Kind.CASE):
            return
        keys = self.mart.keep("changed_keys", changed)
        role = self.mart.table(tables.record_table(Kind.CONTACT_ROLE))
        if kind == Kind.CONTACT_ROLE:
            people = role.semi_join(keys, "key").select(record="person")
        elif kind == Kind.OPPORTUNITY:
            people = role.semi_join(keys, role.opportunity == keys.key).select(record="person")
        else:
            case = self.mart.table(tables.record_table(Kind.CASE))
            people = case.semi_join(keys, "key").select(record="person")
        self._dirty("event", people.filter(people.record.notnull()))


def _that_count(activities: pa.Table) -> tuple[int, int]:
    """How many native records have an activity that counts, and how many have none."""
    is_left_out = fresh.pc.is_in(activities["filtered_because"], value_set=_LEFT_OUT)
    counting = len(activities.filter(fresh.pc.invert(is_left_out))["native_id"].unique())
    return counting, len(activities["native_id"].unique()) - counting


@built_once
def _told_with_cause(activities: ir.Table) -> ir.Table:
    return activities.select("native_id", "filtered_because").distinct()


@built_once
def _only_column(rows: ir.Table, name: str) -> ir.Table:
    return rows.select(name)
