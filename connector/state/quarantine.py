"""What is set aside, in the transactional store: looked at by cause, released when it is mended, queued again when it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, col, select

from connector.state import replans
from connector.state.models import Freeze, Outbox, Quarantine
from connector.state.outbox import UNDO
from connector.state.store import State

_MANY = 500
_SUCCESSORS = ("pending", "held", "in_flight", "unknown", "settled")


@dataclass
class Cause:
    """Everything that is set aside for one reason. `id` is the number of its first row, by which it is asked for."""

    id: int
    system: str
    kind: str
    code: str
    where: str  # stream or object type, and field
    reason: str
    hint: str
    first_at: datetime
    last_at: datetime
    count: int = 0
    attempts: int = 0
    records: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def causes(state: State, *, system: str = "", kind: str = "", code: str = "") -> list[Cause]:
    """What is open, by cause, in the order of their numbers: the oldest first."""
    found: dict[tuple[str, ...], Cause] = {}
    with state.session() as session:
        query = select(Quarantine).where(Quarantine.is_open).order_by(col(Quarantine.id))
        for column, wanted in ((Quarantine.system, system), (Quarantine.kind, kind), (Quarantine.code, code)):
            query = query.where(column == wanted) if wanted else query
        for row in session.exec(query):
            where = " ".join(part for part in (row.stream, row.field) if part)
            of = (row.system, row.kind, row.code, where, row.reason)
            cause = found.setdefault(of, Cause(row.id or 0, *of, row.hint, row.first_at, row.last_at))
            cause.count, cause.attempts = cause.count + 1, max(cause.attempts, row.attempts)
            cause.first_at, cause.last_at = min(cause.first_at, row.first_at), max(cause.last_at, row.last_at)
            cause.keys.append(row.key)
            if row.record:
                cause.records.append(row.record)
    return sorted(found.values(), key=lambda cause: cause.id)


def records_set_aside(state: State, system: str) -> Mapping[str, frozenset[str]]:
    """The records of which a value, or which themselves, are set aside, by stream."""
    by_stream: dict[str, set[str]] = {}
    with state.session() as session:
        query = select(Quarantine.stream, Quarantine.record).where(Quarantine.is_open, Quarantine.system == system)
        for stream, record in session.exec(query.where(Quarantine.kind != "change", Quarantine.record != "")):
            by_stream.setdefault(stream, set()).add(record)
    return {stream: frozenset(records) for stream, records in by_stream.items()}


def release_mended(state: State, records: Sequence[str], still: Collection[str]) -> int:
    """These records were mapped again: what was set aside of them is over, but for the keys that are `still` odd."""
    released = 0
    with state.session() as session:
        for start in range(0, len(records), _MANY):
            part = records[start : start + _MANY]
            query = select(Quarantine).where(Quarantine.is_open, col(Quarantine.record).in_(part))
            for row in session.exec(query.where(Quarantine.kind != "change")):
                if row.key not in still:
                    row.is_open = False
                    released += 1
    return released


def requeue(state: State, keys: Sequence[str], now: datetime) -> tuple[int, int]:
    """Let set-aside changes wait again, each with all its attempts. Returns how many, and how many a newer change replaced or are
    for a field that is frozen: the next plan compares its record without that."""
    queued = replaced = 0
    with state.session() as session:
        for key in keys:
            aside = session.exec(select(Quarantine).where(Quarantine.key == key)).one()
            change = key.removeprefix("change|")
            row = session.exec(select(Outbox).where(Outbox.key == change).order_by(col(Outbox.id).desc())).first()
            if row is None or row.status != "quarantined":
                aside.is_open, replaced = False, replaced + 1
                continue
            is_frozen = not row.task and _is_frozen(session, row, now)
            if is_frozen:
                replans.add(session, [f"{row.system}|{row.object_type}|{row.native_id}"], replans.FROZEN, now)
            if is_frozen or (not row.task and _is_replaced(session, row)):
                row.status, replaced = "superseded", replaced + 1
            else:
                row.status, row.attempt, row.not_before_at, queued = "pending", 0, None, queued + 1
            aside.is_open = False
    return queued, replaced


def _is_frozen(session: Session, row: Outbox, now: datetime) -> bool:
    """Whether a change would write a field that is frozen now; what takes a run back froze it itself."""
    if row.key.startswith(UNDO):
        return False
    record = f"{row.system}|{row.object_type}|{row.native_id}"
    query = select(Freeze.field).where(Freeze.record == record, Freeze.since_at <= now, Freeze.until_at > now)
    return bool(row.fields.keys() & set(session.exec(query)))


def _is_replaced(session: Session, row: Outbox) -> bool:
    """Whether a newer change that was sent, or will be, writes the record. What takes a run back is replaced by one of its own
    fields only: they are frozen, so that newer plans write the record's others beside it."""
    newer = select(Outbox.fields).where(
        Outbox.system == row.system, Outbox.object_type == row.object_type, Outbox.native_id == row.native_id,
        Outbox.lane == row.lane, col(Outbox.id) > row.id, col(Outbox.status).in_(_SUCCESSORS),
    )  # fmt: skip
    written = session.exec(newer).all()
    return any(not row.key.startswith(UNDO) or each.keys() & row.fields.keys() for each in written)
