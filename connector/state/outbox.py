"""The outbox in the transactional store: what enters it, and what it holds. Each function is one transaction.

What it means is `writeback`'s; here are only rows. How they are sent is in `attempts`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, or_, update
from sqlalchemy import select as columns
from sqlmodel import Session, SQLModel, col, select

from connector.state.models import Delivery, Outbox, Quarantine, Replan, TaskMade
from connector.state.store import State

PLANNED_THROUGH = "planned_through"
PLANNED_WITH = "planned_with"  # the fingerprints of what decides what is written at the last plan
LONGEST_WAIT = timedelta(hours=1)  # of a change until it is tried again
OPEN = ("pending", "held")
IN_DOUBT = ("in_flight", "unknown")
REPLACEABLE = (*OPEN, *IN_DOUBT, "quarantined")
TASK_LANE = "task"
UNDO = "undo-"  # how the keys of changes begin that take a run back: no plan supersedes them
#: Why a change that is in doubt is not sent again, should it not be in the system.
OVER = "nothing wants it any more"
#: How the cause begins for which tasks are held until a system's own are read.
UNSEEN = "no task is made before"
_MANY = 500  # keys in one statement
#: The table itself, for what is done to many rows: sessions of objects cost several times as much.
_CHANGES = SQLModel.metadata.tables["outbox"]


def enqueue(state: State, rows: Sequence[Mapping[str, Any]], weighed_by: int = 0) -> int:
    """Add changes. Returns how many went in.

    weighed_by: the run that planned these, if it weighed anew what earlier ones had held: its verdict takes the place of theirs.

    A change that is open or set aside already, or a task that was ever made or tried, is left out; a field change of the same
    record from another run that still waits, or was set aside, is superseded, unless it is among these; one that is in doubt is not
    sent again. One that ended in a conflict keeps count of its attempts.
    """
    with state.session() as session:
        _forget_held(session, [row["key"] for row in rows], weighed_by)
        known = _known_keys(session, [row["key"] for row in rows])
        tried = _conflicts(session, rows)
        fresh = [{**row, "attempt": tried.get(row["key"], 0)} for row in rows if row["key"] not in known]
        _want_again(session, known)
        _supersede(session, fresh, {row["key"] for row in rows})
        for part in parts(fresh, 5_000):
            session.connection().execute(insert(_CHANGES), list(part))
    return len(fresh)


def _conflicts(session: Session, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How often these very changes found their record to be another than we thought."""
    doubted = set(session.exec(select(Replan.record).where(Replan.why == "conflict")))
    keys = [row["key"] for row in rows if f"{row['system']}|{row['object_type']}|{row['native_id']}" in doubted]
    counts: dict[str, int] = {}
    for part in parts(keys):
        query = select(Outbox.key, func.count()).join(Delivery, col(Delivery.outbox) == Outbox.id)
        query = query.where(col(Outbox.key).in_(part), Delivery.result == "conflict").group_by(Outbox.key)
        counts |= {key: int(count) for key, count in session.exec(query)}
    return counts


def known(state: State, keys: Sequence[str]) -> set[str]:
    """Which of these changes `enqueue` would leave out: they wait, are held, on their way or set aside, or were made."""
    with state.session() as session:
        return _known_keys(session, keys)


def written_since(state: State, run: int, keys: Sequence[str]) -> dict[str, int]:
    """Which of these changes entered the outbox after this run and were written, and by which run."""
    found: dict[str, int] = {}
    with state.session() as session:
        for part in parts(keys):
            query = select(Outbox.key, Delivery.run).join(Delivery, col(Delivery.outbox) == Outbox.id)
            query = query.where(
                col(Outbox.key).in_(part), Outbox.run > run, col(Delivery.result).in_(("accepted", "unchanged"))
            )
            found |= dict(session.exec(query).all())
    return found


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a change's wait is over; one that is longer than it can be is a wrong clock's, and is over, too."""
    at = col(Outbox.not_before_at)
    return or_(at.is_(None), at <= now, at > now + LONGEST_WAIT)


def pending(state: State, now: datetime) -> list[Outbox]:
    """All changes that go with the next delivery, in the order in which they came."""
    with state.session() as session:
        return list(
            session.exec(select(Outbox).where(Outbox.status == "pending", is_due(now)).order_by(col(Outbox.id))).all()
        )


def _known_keys(session: Session, keys: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for part in parts(keys):
        query = select(Outbox.key, Outbox.status, Outbox.lane).where(col(Outbox.key).in_(part))
        known |= {
            key
            for key, status, lane in session.exec(query)
            if (lane == TASK_LANE and status != "superseded") or status in (*OPEN, *IN_DOUBT, "quarantined")
        }
        known |= set(session.exec(select(TaskMade.key).where(col(TaskMade.key).in_(part))))
    return known


def _forget_held(session: Session, keys: Sequence[str], before: int) -> None:
    """What runs before that one held of these is planned anew."""
    for part in parts(keys) if before else ():
        held = update(Outbox).where(col(Outbox.key).in_(part), col(Outbox.status) == "held", col(Outbox.run) < before)
        session.execute(held.values(status="superseded"))


def _supersede(session: Session, fresh: Sequence[Mapping[str, Any]], wanted: Collection[str]) -> None:
    older = [row for row in _of_records(session, fresh) if row.status in REPLACEABLE and row.key not in wanted]
    _end(session, [row.id for row in older])
    for part in parts([f"change|{row.key}" for row in older if row.status == "quarantined"]):
        session.execute(update(Quarantine).where(col(Quarantine.key).in_(part)).values(is_open=False))


def _end(session: Session, ids: Sequence[int]) -> None:
    for part in parts(ids):
        mine = update(Outbox).where(col(Outbox.id).in_(part))
        session.execute(mine.where(col(Outbox.status).in_(IN_DOUBT)).values(held_because=OVER))
        session.execute(mine.where(col(Outbox.status).not_in(IN_DOUBT)).values(status="superseded"))


def _want_again(session: Session, keys: Collection[str]) -> None:
    """Changes that are in doubt are wanted after all; not tasks, which an undo alone lets go of."""
    for part in parts(sorted(keys)):
        over = update(Outbox).where(col(Outbox.key).in_(part), col(Outbox.held_because) == OVER)
        over = over.where(col(Outbox.lane) != TASK_LANE)
        session.execute(over.values(held_because=""))


def of_fields(state: State) -> list[tuple[int, str]]:
    """The changes of fields that wait or are in doubt, by number, each with its record; without those that take a run back."""
    change = _CHANGES.c
    query = columns(change.id, change.system + "|" + change.object_type + "|" + change.native_id)
    query = query.where(change.status.in_((*OPEN, *IN_DOUBT)), change.lane != TASK_LANE, ~change.key.startswith(UNDO))
    with state.engine.connect() as connection:
        return [(number, record) for number, record in connection.execute(query).all()]


def let_go(state: State, ids: Sequence[int]) -> None:
    """Nothing wants these any more: those that wait are superseded, those in doubt are not sent again."""
    if ids:
        with state.session() as session:
            _end(session, ids)


def _of_records(session: Session, fresh: Sequence[Mapping[str, Any]]) -> Iterator[Row[Any]]:
    """What the outbox ever had for the records of these field changes from other runs (a record's plan may fall into two
    portions), asked for by record alone: of a large plan everything waits."""
    native_ids: dict[tuple[str, str, int], list[str]] = {}
    for row in fresh:
        if not row["task"]:
            native_ids.setdefault((row["system"], row["object_type"], row["run"]), []).append(row["native_id"])
    change = _CHANGES.c
    query = columns(change.id, change.key, change.status).where(change.lane != TASK_LANE, ~change.key.startswith(UNDO))
    for (system, object_type, run), mine in native_ids.items():
        of_type = query.where(change.system == system, change.object_type == object_type, change.run != run)
        for part in parts(mine):
            yield from session.execute(of_type.where(change.native_id.in_(part)))


def lift(state: State, lanes: Collection[str]) -> int:
    """Let held changes of these lanes wait like others. Returns how many."""
    with state.session() as session:
        held = update(Outbox).where(col(Outbox.status) == "held", col(Outbox.lane).in_(lanes))
        return int(session.execute(held.values(status="pending", held_because="")).rowcount)  # type: ignore[attr-defined]


def weigh_anew(state: State, because: str = "") -> None:
    """What is held (for a cause that begins so) is planned anew: the brakes may be set otherwise."""
    with state.session() as session:
        held = update(Outbox).where(col(Outbox.status) == "held", col(Outbox.held_because).startswith(because))
        session.execute(held.values(status="superseded"))


def tasks_to_weigh(state: State, *, is_held_too: bool = False) -> list[str]:
    """The keys of tasks that were held, never sent, and are to be planned anew. is_held_too: those that are held now as well, as if
    they were weighed anew."""
    weighed = ("superseded", "held") if is_held_too else ("superseded",)
    with state.session() as session:
        entered = select(Outbox.key).where(Outbox.lane == TASK_LANE, col(Outbox.status).not_in(weighed))
        query = select(Outbox.key).where(Outbox.lane == TASK_LANE, col(Outbox.status).in_(weighed))
        return list(session.exec(query.where(col(Outbox.key).not_in(entered)).distinct()).all())


def tasks_given(state: State, since: datetime, until: datetime) -> dict[tuple[str, str | None], int]:
    """How many tasks went into the outbox between two instants and are not held, by (system, owner)."""
    counts: dict[tuple[str, str | None], int] = {}
    with state.session() as session:
        query = select(Outbox.system, Outbox.task).where(Outbox.lane == TASK_LANE)
        query = query.where(col(Outbox.created_at) > since, col(Outbox.created_at) <= until)
        for system, task in session.exec(query.where(col(Outbox.status).not_in(["held", "superseded", "withdrawn"]))):
            owner = (system, task.get("owner"))
            counts[owner] = counts.get(owner, 0) + 1
    return counts


def going(state: State) -> int:
    """How many changes wait to go, or are in doubt."""
    with state.session() as session:
        query = select(func.count()).where(col(Outbox.status).in_(("pending", *IN_DOUBT)))
        return int(session.exec(query).one())


def accepted(state: State, run: int) -> list[Outbox]:
    """The changes that a run brought into the systems, and those it wanted that a later one brought there (they waited, or it was
    killed before it knew), in the order of delivery."""
    with state.session() as session:
        query = select(Outbox).join(Delivery, col(Delivery.outbox) == Outbox.id)
        query = query.where(
            or_(col(Delivery.run) == run, col(Outbox.run) == run), col(Delivery.result).in_(("accepted", "unchanged"))
        )
        return list(session.exec(query.order_by(col(Delivery.id))).all())


def unwritten(state: State, run: int) -> list[Outbox]:
    """What a run wanted and did not bring into the systems yet: it waits, is held or set aside, or is in doubt."""
    with state.session() as session:
        query = select(Outbox).where(Outbox.run == run, col(Outbox.status).in_(REPLACEABLE))
        return list(session.exec(query.order_by(col(Outbox.id))).all())


def unmade(state: State) -> dict[int, str]:
    """The keys of the tasks that wait, are held or are set aside, and are not in doubt, by their numbers."""
    with state.session() as session:
        query = select(Outbox.id, Outbox.key).where(Outbox.lane == TASK_LANE)
        found = session.exec(query.where(col(Outbox.status).in_((*OPEN, "quarantined")))).all()
        return {number: key for number, key in found if number is not None}


def withdraw_tasks(state: State, ids: Sequence[int], why: str = "") -> None:
    """These tasks are never made; one that is in doubt is not sent again. (One that is superseded may be planned anew.)"""
    with state.session() as session:
        for part in parts(ids):
            for row in session.exec(select(Outbox).where(col(Outbox.id).in_(part))):
                if row.status in IN_DOUBT:
                    row.held_because = OVER
                    continue
                row.status, row.held_because = "withdrawn", why
                aside = update(Quarantine).where(col(Quarantine.key) == f"change|{row.key}")
                session.execute(aside.values(is_open=False))


def history(state: State, native_ids: Sequence[str]) -> list[tuple[Outbox, Delivery | None]]:
    """Everything that was to be written to records with these native ids, newest first, with its deliveries."""
    with state.session() as session:
        query = (
            select(Outbox, Delivery)
            .join(Delivery, col(Delivery.outbox) == Outbox.id, isouter=True)
            .where(col(Outbox.native_id).in_(native_ids))
            .order_by(col(Outbox.id).desc(), col(Delivery.id).desc())
        )
        return [(change, delivery) for change, delivery in session.exec(query).all()]


def braked(state: State) -> list[Outbox]:
    """The changes that are held."""
    with state.session() as session:
        return list(session.exec(select(Outbox).where(Outbox.status == "held").order_by(col(Outbox.id))).all())


def stopped(state: State, systems: Collection[str], but: Collection[int] = ()) -> dict[str, str]:
    """The lanes of fields of which a change to one of these systems is held, each with why it first was; `but`: numbers of changes
    that do not count."""
    change, passed = _CHANGES.c, set(but)
    query = columns(change.id, change.lane, change.held_because)
    query = query.where(change.status == "held", change.lane != TASK_LANE, change.system.in_(systems))
    with state.engine.connect() as connection:
        rows = connection.execute(query.order_by(change.id.desc())).all()
    return {lane: why for number, lane, why in rows if number not in passed}


def held(state: State) -> dict[str, int]:
    """How many changes are held, by why."""
    counts: dict[str, int] = {}
    with state.session() as session:
        for why in session.exec(select(Outbox.held_because).where(Outbox.status == "held")):
            counts[why] = counts.get(why, 0) + 1
    return counts


def parts(values: Sequence[Any], size: int = _MANY) -> Iterator[Sequence[Any]]:
    """The values in portions that one statement takes."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
