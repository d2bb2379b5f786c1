"""Records that the next plan compares again although nothing new is known of them, and what lets a refused change go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from connector.state.models import Delivery, Note, Outbox, Quarantine, Replan
from connector.state.outbox import PLANNED_THROUGH, TASK_LANE, UNDO, parts
from connector.state.store import State

#: Why a record is planned anew: it was not what we thought, what refused its change is gone, its field is no longer frozen, or a
#: field is frozen that a waiting change would have written.
CONFLICT, RELEASED, THAWED, FROZEN = "conflict", "released", "thawed", "frozen"
_PREFIX = "change|"
#: The statuses of a task that failed and is in no system.
_TO_BE_MADE = ("quarantined", "pending")


def waiting(state: State) -> list[str]:
    """The keys of the records that are to be compared again."""
    with state.session() as session:
        return list(session.exec(select(Replan.record)).all())


def reasons(state: State) -> dict[str, str]:
    """Why each record is to be compared again: conflict, released, thawed or frozen."""
    with state.session() as session:
        return {row.record: row.why for row in session.exec(select(Replan)).all()}


def conflicts(state: State) -> dict[str, datetime]:
    """The records that are to be compared again because a change did not find them as we thought, each with when that was."""
    with state.session() as session:
        return {row.record: row.at for row in session.exec(select(Replan).where(Replan.why == CONFLICT))}


def add(session: Session, records: Iterable[str], why: str, now: datetime) -> None:
    """Have these records compared by the next plan; within the caller's transaction."""
    for record in dict.fromkeys(records):
        session.merge(Replan(record=record, why=why, at=now))


def mark_planned(state: State, through: int, records: Sequence[str], notes: Mapping[str, str]) -> None:
    """All differences up to this revision, and those of `records`, are in the outbox; keep `notes` with it."""
    with state.session() as session:
        for part in parts(records):
            session.exec(delete(Replan).where(col(Replan.record).in_(part)))
        for key, value in {PLANNED_THROUGH: str(through), **notes}.items():
            session.merge(Note(key=key, value=value))


# ------------------------------------------------------------------------------------------------------------ quarantine


def refused(state: State, system: str = "") -> list[Quarantine]:
    """The changes that are set aside, oldest first."""
    with state.session() as session:
        query = select(Quarantine).where(Quarantine.is_open, Quarantine.kind == "change")
        if system:
            query = query.where(Quarantine.system == system)
        return list(session.exec(query.order_by(col(Quarantine.id))).all())


def note_access(state: State, accesses: Mapping[str, str]) -> None:
    """Keep with set-aside changes what the system says of their object: quarantine key -> its fingerprint."""
    with state.session() as session:
        for part in parts(list(accesses)):
            for row in session.exec(select(Quarantine).where(col(Quarantine.key).in_(part))):
                row.access = accesses[row.key]


def let_go(state: State, keys: Collection[str], now: datetime, *, is_over: bool = False) -> int:
    """Release set-aside changes (keys of the quarantine): tasks, and what takes a run back, are sent again, records of fields are
    planned anew. With `is_over` nothing wants what takes a run back any more.

    Returns how many.
    """
    with state.session() as session:
        count = 0
        for part in parts(list(keys)):
            for row in session.exec(select(Quarantine).where(col(Quarantine.key).in_(part), Quarantine.is_open)):
                row.is_open = False
                count += 1
            changes = [key.removeprefix(_PREFIX) for key in part if key.startswith(_PREFIX)]
            query = select(Outbox).where(col(Outbox.key).in_(changes), Outbox.status == "quarantined")
            for change in session.exec(query):
                if change.lane == TASK_LANE or (change.key.startswith(UNDO) and not is_over):
                    change.status, change.attempt, change.not_before_at = "pending", 0, None
                else:
                    change.status = "superseded"
                    add(session, [f"{change.system}|{change.object_type}|{change.native_id}"], RELEASED, now)
        return count


def failed_tasks(state: State, result: str, max_attempts: int) -> list[Outbox]:
    """Tasks that were not made because their record was gone (`conflict`) or they were refused (`rejected`), and may be tried
    otherwise: they are set aside, or wait to be sent as they are."""
    with state.session() as session:
        told = select(Delivery.outbox).where(Delivery.result == result)
        query = select(Outbox).where(
            Outbox.lane == TASK_LANE, col(Outbox.status).in_(_TO_BE_MADE), Outbox.held_because == ""
        )
        return list(session.exec(query.where(col(Outbox.id).in_(told), Outbox.attempt < max_attempts)).all())


class Failed(NamedTuple):
    """When a task last was not made."""

    run: int
    at: datetime


def last_failed(state: State, tasks: Sequence[Outbox], result: str) -> dict[str, Failed]:
    """When each of these tasks last had this result, by key."""
    keys = {row.id: row.key for row in tasks if row.id is not None}
    found: dict[str, Failed] = {}
    with state.session() as session:
        for part in parts(sorted(keys)):
            query = select(Delivery.outbox, func.max(Delivery.run), func.max(Delivery.at))
            query = query.where(col(Delivery.outbox).in_(part), Delivery.result == result)
            rows = session.exec(query.group_by(col(Delivery.outbox)))
            found |= {keys[number]: Failed(int(run), at) for number, run, at in rows}
    return found


def redirect(state: State, places: Mapping[str, Mapping[str, Any]]) -> None:
    """Send tasks that failed elsewhere: key of the task -> what is another now of system, object_type, native_id, person, task."""
    with state.session() as session:
        for part in parts(list(places)):
            for row in session.exec(
                select(Outbox).where(col(Outbox.key).in_(part), col(Outbox.status).in_(_TO_BE_MADE))
            ):
                for name, value in places[row.key].items():
                    setattr(row, name, value)
                row.status, row.not_before_at = "pending", None
            keys = [_PREFIX + key for key in part]
            for aside in session.exec(select(Quarantine).where(col(Quarantine.key).in_(keys))):
                aside.is_open = False
