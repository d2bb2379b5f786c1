"""`apply`: a group of native rows to records, identifiers, activities and notes, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from connector import tables
from connector.mapping import activities, identities, records
from connector.mapping.columns import Column, hashed, joined, nulls, pc, read, repeated, told
from connector.mapping.rules import QUARANTINED, Group, value
from connector.mapping.streams import StreamMapping
from connector.tables import OBSERVED

_NO_ID = "a record without an id"
_NOT_JSON = "its native fields are not a JSON object"


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a group of rows says.

    rows given = rows mapped + `filtered` (no activity) + `superseded` (the group has a newer row of the same record, or the same once
    more) + `refused` (no record at all: the rows of `quarantined` whose field is "").
    `no_activities` are the native ids of rows that are no activity, be it that they were one before.
    The keys of `records` are distinct, and so are those of `identifiers`, which are not among their columns. `records` and `visitors`
    have `ingestion` and `run` null; `identifiers` have `component` null and hold those of visitors too; `observed` have
    `revision` null.
    """

    records: pa.Table
    identifiers: pa.Table
    activities: pa.Table
    roles: pa.Table
    visitors: pa.Table
    observed: pa.Table
    quarantined: pa.Table
    filtered: int
    refused: int
    no_activities: Column  # native ids of an activity stream's rows that are none
    kept_out: Sequence[str] = ()  # the records' keys of people who were purged, left out of all the above
    superseded: int = 0


def apply(
    rows: pa.Table,
    mapping: StreamMapping,
    *,
    system: str,
    region: str,
    outputs: tuple[str, ...],
    now: datetime,
    is_first: bool = False,
) -> Mapped:
    """Map a group of rows (`tables.PAGE` at least, at best some 20,000) of one stream, or stored native rows anew.

    `region` (ISO 3166 alpha-2, or "") reads national phone numbers of records without a country; `outputs` are the
    native fields that we write (their values become `observed`); `now` stands for instants that the system did not tell;
    `is_first`: nothing is known of any record yet.
    """
    group, superseded, refused = _group(rows, mapping, (system, region, now), outputs)
    person = tables.record_schema("person").empty_table()
    if mapping.kind == "activity":
        found = activities.of_stream(group, mapping)
        return Mapped(
            records=person,
            identifiers=identities.distinct(found.identifiers),
            activities=found.activities,
            roles=tables.record_schema(records.CONTACT_ROLE).empty_table(),
            visitors=identities.first_of_each(found.visitors.sort_by("created_at"), "key"),
            observed=OBSERVED.empty_table(),
            quarantined=_noted(group),
            filtered=len(found.none),
            refused=refused,
            no_activities=found.none,
            superseded=superseded,
        )
    group = _located(group, mapping, region)
    canonical = records.canonical(group, mapping)
    has_identifiers = mapping.kind in ("person", "account")
    return Mapped(
        records=canonical,
        identifiers=identities.of_records(group, mapping) if has_identifiers else identities.TOLD.empty_table(),
        activities=activities.of_traces(group, mapping, _persons(group, canonical)),
        roles=records.roles(group, mapping),
        visitors=person,
        observed=records.observed(group, outputs, is_first=is_first),
        quarantined=_noted(group),
        filtered=0,
        refused=refused,
        no_activities=nulls(0),
        superseded=superseded,
    )


def _located(group: Group, mapping: StreamMapping, region: str) -> Group:
    """The group with the country of each record as the region of its phone numbers."""
    if "country" not in mapping.fields:
        return group
    countries = value(group, mapping.fields["country"], "country", pa.string())
    return replace(group, region=pc.fill_null(countries, region))


def _persons(group: Group, canonical: pa.Table) -> Column:
    """Whom a record's traces belong to: the person of a case, else the record itself."""
    return canonical["person"].combine_chunks() if "person" in canonical.column_names else group.keys


def _noted(group: Group) -> pa.Table:
    """The notes; a value that several fields use is noted once, under the first of them."""
    notes = pa.concat_tables([QUARANTINED.empty_table(), *group.notes])
    parts = [pc.fill_null(notes[name].combine_chunks(), "") for name in ("record", "reason", "value_hash")]
    is_value = pc.not_equal(notes["field"].combine_chunks(), "")
    numbers = pc.cast(pa.array(range(len(notes)), pa.int64()), pa.string())
    once = pc.if_else(is_value, joined(*parts), numbers)
    return identities.first_of_each(notes.append_column("once", once), "once").drop(["once"])


def _group(
    rows: pa.Table, mapping: StreamMapping, context: tuple[str, str, datetime], outputs: Sequence[str]
) -> tuple[Group, int, int]:
    """The rows that are records, parsed; how many a newer row supersedes; how many are no records."""
    system, region, now = context
    rows = _completed(rows.combine_chunks(), mapping)
    has_id = pc.fill_null(pc.not_equal(rows["native_id"].combine_chunks(), ""), False)
    names = (*mapping.native_fields, *outputs)
    found, is_object = (
        told(rows, names) if rows.num_columns > len(tables.PAGE) else read(rows["native"].combine_chunks(), names)
    )
    is_record = pc.and_(is_object, has_id)
    notes = [_refused(rows, mapping, system, is_object, has_id)]
    at = _newest(rows, pc.indices_nonzero(is_record))
    refused = rows.num_rows - pc.sum(pc.cast(is_record, pa.int64()), min_count=0).as_py()
    superseded = rows.num_rows - refused - len(at)
    if len(at) < rows.num_rows:
        rows, found = rows.take(at).combine_chunks(), found.take(at)
    keys = joined(system, rows["object_type"].combine_chunks(), rows["native_id"].combine_chunks())
    return Group(system, mapping.stream, region, now, found, keys, rows, notes), superseded, refused


def _completed(rows: pa.Table, mapping: StreamMapping) -> pa.Table:
    """The rows with the defaults of what a system may leave out."""
    for name, default in (("object_type", mapping.object_type), ("is_deleted", False)):
        at = rows.schema.get_field_index(name)
        if rows[name].null_count:
            rows = rows.set_column(at, rows.schema.field(at), pc.fill_null(rows[name], default))
    return rows.combine_chunks()


def _refused(rows: pa.Table, mapping: StreamMapping, system: str, is_object: Column, has_id: Column) -> pa.Table:
    reasons = pc.if_else(has_id, pc.if_else(is_object, pa.scalar(None, pa.string()), _NOT_JSON), _NO_ID)
    is_odd = pc.is_valid(reasons)
    odd = rows.filter(is_odd)
    size = odd.num_rows
    ids = pc.fill_null(odd["native_id"].combine_chunks(), "")
    keys = joined(system, odd["object_type"].combine_chunks(), ids) if size else nulls(0)
    columns = [keys, repeated(mapping.stream, size), repeated("", size), reasons.filter(is_odd)]
    return pa.table([*columns, hashed(odd["native"].combine_chunks()) if size else nulls(0)], schema=QUARANTINED)


def _newest(rows: pa.Table, at: Column) -> Column:
    """Of several rows of one record the one that was changed last, in the order of the rows."""
    ids = rows["native_id"].combine_chunks().take(at)
    if len(ids.unique()) == len(ids):
        return at
    modified_at = pc.fill_null(rows["modified_at"].combine_chunks().take(at), datetime.fromtimestamp(0, UTC))
    numbered = pa.table({"id": ids, "modified_at": modified_at, "at": at})
    order = pc.sort_indices(numbered, sort_keys=[("modified_at", "descending"), ("at", "descending")])
    newest = identities.first_of_each(numbered.take(order), "id")["at"].combine_chunks()
    return newest.sort()
