"""Fields of records that we leave alone for a time, because somebody else keeps changing what we write there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import col, select

from connector.state import replans
from connector.state.models import Freeze, Outbox, Run
from connector.state.outbox import IN_DOUBT, OPEN, OVER, TASK_LANE, parts
from connector.state.outbox import UNDO as UNDO_KEY
from connector.state.store import State

UNDO = "connector undo"  # the writer of what is frozen because a run was taken back
DRIFT = "drift"  # the note that holds what others made of our fields, as JSON, for `status`


def add(state: State, rows: Sequence[Freeze]) -> None:
    """Freeze these fields; one that was frozen before is frozen anew. A change that would write one of them is replaced where
    it waits, and not sent again where it is in doubt and turns out not to be there: the next plan compares its record."""
    fields: dict[str, set[str]] = {}
    for row in rows:
        fields.setdefault(row.record, set()).add(row.field)
    with state.session() as session:
        for row in rows:
            session.merge(row)
        for part in parts(sorted(record.rsplit("|", 1)[1] for record in fields)):
            query = select(Outbox).where(col(Outbox.native_id).in_(part), col(Outbox.status).in_((*OPEN, *IN_DOUBT)))
            query = query.where(Outbox.lane != TASK_LANE, ~col(Outbox.key).startswith(UNDO_KEY))
            for change in session.exec(query).all():
                record = f"{change.system}|{change.object_type}|{change.native_id}"
                if fields.get(record, set()) & change.fields.keys():
                    if change.status in IN_DOUBT:
                        change.held_because = OVER
                    else:
                        change.status = "superseded"
                    replans.add(session, [record], replans.FROZEN, rows[0].since_at)


def active(state: State, now: datetime) -> list[Freeze]:
    """The fields that are frozen now, the newest first; not those that a wrong clock froze in a time to come."""
    with state.session() as session:
        query = select(Freeze).where(col(Freeze.until_at) > now, col(Freeze.since_at) <= now)
        return list(session.exec(query.order_by(col(Freeze.since_at).desc(), col(Freeze.key))).all())


def thawed_since(state: State, after: datetime, now: datetime) -> list[str]:
    """The records of which a field's time ran out between the two instants, or begins in a time to come, by a wrong clock."""
    with state.session() as session:
        is_over = (col(Freeze.until_at) > after) & (col(Freeze.until_at) <= now)
        query = select(Freeze.record).where(is_over | (col(Freeze.since_at) > now))
        return list(session.exec(query.distinct()).all())


def known(state: State, records: Sequence[str]) -> list[Freeze]:
    """Everything that is or was frozen of these records."""
    with state.session() as session:
        found: list[Freeze] = []
        for part in parts(records):
            found += session.exec(select(Freeze).where(col(Freeze.record).in_(part))).all()
        return found


def named(state: State, asked: str, now: datetime) -> list[str]:
    """The frozen records that have this key, also as `explain` shows it, or this native id (of Salesforce in 15 characters, too)."""
    with state.session() as session:
        frozen = session.exec(select(Freeze.record).where(col(Freeze.until_at) > now).distinct()).all()
    key = asked if "|" in asked else "|".join(asked.split())
    ids = {record: record.rsplit("|", 1)[1] for record in frozen}
    return [
        record
        for record, native_id in ids.items()
        if record == key or native_id == asked or (len(asked) == 15 and native_id.startswith(asked))
    ]


def of_undo(state: State, run: int) -> list[str]:
    """The keys of what a run froze because it took another one back, also of what is not frozen any more."""
    with state.session() as session:
        query = select(Freeze.key).join(Run, col(Run.started_at) == Freeze.since_at)
        query = query.where(Run.id == run, Freeze.writer == UNDO)
        return list(session.exec(query.order_by(col(Freeze.key))).all())


def thaw(state: State, keys: Sequence[str], now: datetime) -> None:
    """Release these fields where they are frozen; the next plan compares their records."""
    with state.session() as session:
        for part in parts(keys):
            for row in session.exec(select(Freeze).where(col(Freeze.key).in_(part), Freeze.until_at > now)).all():
                row.until_at = now
                replans.add(session, [row.record], replans.THAWED, now)


def end(state: State, records: Sequence[str] | None, now: datetime) -> int:
    """Release the frozen fields of these records (None: all); the next plan compares them. Returns how many fields."""
    with state.session() as session:
        rows = [
            row
            for row in session.exec(select(Freeze).where(col(Freeze.until_at) > now))
            if records is None or row.record in records
        ]
        for row in rows:
            row.until_at = now
        replans.add(session, [row.record for row in rows], replans.THAWED, now)
        return len(rows)
