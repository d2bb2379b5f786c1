"""Streams that are read for the first time: what they tell is long past, and makes no tasks, whenever that is.

A system may come into the configuration weeks after the others, or be out of reach in the first run. Its streams count as read for the
first time until they were read to their end and all of it is computed, however often that was killed.
"""

from __future__ import annotations

import ibis.expr.types as ir
import orjson
import pyarrow as pa

from connector import tables
from connector.expressions import among, built_once, only, together
from connector.mart import Mart
from connector.model import Kind
from connector.state import State
from connector.steps.setup import Setup

_NOTE = "first_reads"  # the streams (system|stream) of which the first read is computed, as JSON
_SCHEMA = (
    tables.CHECKPOINT.empty_table().select(["system", "stream"]).schema.append(pa.field("object_type", tables.TEXT))
)


def keep(state: State) -> None:
    """What was read so far is computed: streams that were read to their end have had their first read."""
    read = _read(state)
    if (now := state.polls().keys() - read) or not state.note(_NOTE):  # also that none has ended: a run has computed
        state.set_note(_NOTE, orjson.dumps(sorted(read | now)).decode())


def told_by(setup: Setup, mart: Mart) -> ir.Table | None:
    """Those of the persons just scored (scratch table `subjects`) of whom a first read tells something, as `subject`. None where
    nothing is read for the first time."""
    subjects, is_first_run = mart.kept("subjects"), not setup.state.is_computed_since(0)
    if is_first_run:
        return subjects.select("subject")
    read = _read(setup.state)
    streams = [
        {"system": name, "stream": stream.name, "object_type": stream.object_type}
        for name, connected in setup.systems.items()
        for stream in connected.streams()
        if f"{name}|{stream.name}" not in read
    ]
    if not (setup.state.note(_NOTE) and streams):  # a house of an older version has computed all that it had read
        return None
    kept = mart.keep("first_reads", pa.Table.from_pylist(streams, schema=_SCHEMA))
    kinds = (Kind.PERSON, Kind.ACCOUNT, Kind.OPPORTUNITY, Kind.CONTACT_ROLE, Kind.CASE)
    records = [mart.table(tables.record_table(kind)) for kind in kinds]
    known = [mart.table(name) for name in ("activity", "membership", "person")]
    return mart.keep("late", _told_by(subjects, kept, *records, *known))


def _read(state: State) -> set[str]:
    return set(orjson.loads(state.note(_NOTE) or "[]"))


@built_once
def _told_by(
    subjects: ir.Table,
    streams: ir.Table,
    person_record: ir.Table,
    account_record: ir.Table,
    opportunity: ir.Table,
    role: ir.Table,
    case: ir.Table,
    activity: ir.Table,
    membership: ir.Table,
    person: ir.Table,
) -> ir.Table:
    def told(rows: ir.Table) -> ir.Table:
        return rows.semi_join(streams, ["system", "object_type"])

    records = together(
        told(person_record).select(record="key"),
        activity.semi_join(streams, ["system", "stream"]).select("record"),
        told(role).select(record="person"),
        among(role, "opportunity", told(opportunity), "key").select(record="person"),
        told(case).select(record="person"),
    )
    members = among(only(membership, kind=Kind.PERSON), "owner_id", subjects, "subject")
    firms = among(only(membership, kind=Kind.ACCOUNT), "key", told(account_record))
    return together(
        among(members, "key", records, "record").select(subject="owner_id"),
        among(among(person, "key", subjects, "subject"), "account", firms, "owner_id").select(subject="key"),
        distinct=True,
    )
