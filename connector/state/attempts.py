"""Attempts in the transactional store: what is taken to be sent, is in flight, what became of it, and what the mart knows of that.

Each function is one transaction. What it means is `dispatch`'s and `settlement`'s; here are only rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    Update,
    bindparam,
    case,
    false,
    func,
    insert,
    literal,
    or_,
    tuple_,
    update,
)
from sqlalchemy import select as columns
from sqlmodel import Session, SQLModel, col, select

from connector.state.models import Outbox, Quarantine, Replan, TaskMade
from connector.state.outbox import IN_DOUBT, LONGEST_WAIT, OVER, REPLACEABLE, TASK_LANE, is_due, parts
from connector.state.store import State, set_aside

_STILL = ("held", "settled", "superseded", "withdrawn", "quarantined")  # not on their way
#: The tables themselves, for what is done to many rows: sessions of objects cost several times as much.
_CHANGES, _DELIVERIES = SQLModel.metadata.tables["outbox"], SQLModel.metadata.tables["delivery"]


class Entry(NamedTuple):
    """As much of a row of the outbox as makes a change and tells where it stands."""

    id: int
    key: str
    system: str
    object_type: str
    native_id: str
    person: str | None
    lane: str
    fields: dict[str, Any]
    before: dict[str, Any]
    task: dict[str, Any]
    reason: str
    parent: str
    receipt: str
    expected_version: str | None
    attempt: int
    not_before_at: datetime | None
    held_because: str


class Parted(NamedTuple):
    """A change of which some fields are refused: it gives way to two, each with its key, its lane, its fields and what was before."""

    entry: Entry
    refused: tuple[str, str, Mapping[str, Any], Mapping[str, Any]]
    rest: tuple[str, str, Mapping[str, Any], Mapping[str, Any]]


class Applied(NamedTuple):
    """An accepted delivery with the fields of its change."""

    delivery: int
    at: datetime
    system: str
    object_type: str
    native_id: str
    fields: dict[str, Any]


_ENTRY = [_CHANGES.c[name] for name in Entry._fields]
#: Rows by their first and last number, as a batch mostly has them: one statement for all batches, and no list of numbers to read.
_FIRST: BindParameter[int] = bindparam("first")
_LAST: BindParameter[int] = bindparam("last")
_IS_GOING = [
    _CHANGES.c.status != each for each in _STILL
]  # with IN, SQLite would look for these among all that are on their way
#: Deliveries of changes that were accepted and of which there is nothing else to say, made where the changes are.
_ACCEPTED = {
    "outbox": _CHANGES.c.id, "run": bindparam("run", type_=_DELIVERIES.c.run.type), "attempt": _CHANGES.c.attempt,
    "result": literal("accepted"), "code": literal(""), "message": literal(""), "hint": literal(""), "request_id": literal(""),
    "at": bindparam("at", type_=_DELIVERIES.c.at.type), "is_applied": false(),
}  # fmt: skip
_ACCEPT = insert(_DELIVERIES).from_select(
    list(_ACCEPTED), columns(*_ACCEPTED.values()).where(_CHANGES.c.id.between(_FIRST, _LAST)).order_by(_CHANGES.c.id)
)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one attempt came to, ready to be kept: the change's new status, and its delivery."""

    attempt: int
    status: str
    result: str
    native_id: str | None = None
    code: str = ""
    message: str = ""
    hint: str = ""
    request_id: str = ""
    not_before_at: datetime | None = None
    made_task: bool = False
    costs_attempt: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to say but that the change was accepted."""
        said = (self.result, self.native_id, self.code, self.message, self.hint, self.request_id)
        return said == ("accepted", None, "", "", "", "")


class Silence(NamedTuple):
    """How often a change got no answer, and how often of these it was alone and others got one."""

    times: int
    alone: int


def unanswered(state: State, ids: Sequence[int], alone: str) -> dict[int, Silence]:
    """Those of these changes, by number, that ever got no answer; `alone` is the code of those that got none alone."""
    told, found = _DELIVERIES.c, dict[int, Silence]()
    times_alone = func.sum(case((told.code == alone, 1), else_=0))
    query = columns(told.outbox, func.count(), times_alone).where(told.result == "unknown").group_by(told.outbox)
    with state.engine.connect() as connection:
        for part in parts(ids):
            rows = connection.execute(query.where(told.outbox.in_(part)))
            found |= {number: Silence(times, int(times_alone)) for number, times, times_alone in rows}
    return found


def waiting(
    state: State, system: str, now: datetime, lanes: Sequence[str], *, limit: int, unread: Set[str] = frozenset()
) -> list[Entry]:
    """The next pending changes of a system whose time has come: in the order of the lanes, then oldest first.

    A record that an earlier change may still be written to has to wait until that is known, and one of a type that was not read; a
    task does not.
    """
    rows: list[Row[Any]] = []
    with state.session() as session:
        query = columns(*_ENTRY).where(_CHANGES.c.system == system, _CHANGES.c.status == "pending", is_due(now))
        doubted = (Outbox.system == system, col(Outbox.status).in_(IN_DOUBT), Outbox.lane != TASK_LANE)
        if session.exec(select(Outbox.id).where(*doubted).limit(1)).first() is not None:
            records = columns(Outbox.object_type, Outbox.native_id).where(*doubted)  # type: ignore[call-overload]
            record = tuple_(col(Outbox.object_type), col(Outbox.native_id))
            query = query.where(or_(col(Outbox.lane) == TASK_LANE, record.not_in(records)))
        if unread:
            query = query.where(or_(col(Outbox.lane) == TASK_LANE, col(Outbox.object_type).not_in(unread)))
        for (
            lane
        ) in lanes:  # one by one, as the index has them: together, all that waits would be sorted for each window
            mine = query.where(_CHANGES.c.lane == lane).order_by(_CHANGES.c.id)
            rows += session.execute(mine.limit(limit - len(rows))).all()
    return list(map(Entry._make, rows))


def unread(state: State, system: str, object_types: Set[str]) -> dict[str, int]:
    """How many changes of fields wait for a record of one of these types, by type."""
    if not object_types:
        return {}
    with state.session() as session:
        query = select(Outbox.object_type, func.count()).where(Outbox.system == system, Outbox.status == "pending")
        query = query.where(Outbox.lane != TASK_LANE, col(Outbox.object_type).in_(object_types))
        return dict(session.exec(query.group_by(Outbox.object_type)).all())


def in_doubt(state: State, system: str, now: datetime | None = None, longest: timedelta = LONGEST_WAIT) -> list[Entry]:
    """What a kill or a lost reply left in flight or unknown, oldest first; with `now` only what may be asked about by then.

    longest: how long anything may have to wait; what would have to wait longer was noted by a wrong clock.
    """
    with state.session() as session:
        query = columns(*_ENTRY).where(_CHANGES.c.system == system, _CHANGES.c.status.in_(IN_DOUBT))
        rows = map(Entry._make, session.execute(query.order_by(_CHANGES.c.id)).all())
        if now is None:
            return list(rows)
        return [row for row in rows if not (row.not_before_at and now < row.not_before_at <= now + longest)]


def mark_in_flight(state: State, entries: Sequence[Entry]) -> None:
    """The changes are being sent, once more."""
    with state.engine.begin() as connection:
        _mark_in_flight(connection, entries)


def note_receipt(state: State, entries: Sequence[Entry], receipt: str) -> None:
    """What the system is to be asked by that is about to work on these; "" when reading their records tells."""
    with state.engine.begin() as connection:
        _set(connection, [each.id for each in entries], receipt=receipt)


def put_back(state: State, entries: Sequence[Entry]) -> None:
    """Certainly nothing of these was sent: they wait again, and the attempt does not count."""
    with state.engine.begin() as connection:
        _set(connection, [each.id for each in entries], tries=-1, status="pending")


def ask_again(state: State, entries: Sequence[Entry], at: datetime) -> None:
    """These stay in doubt, and are not asked about before `at`."""
    with state.engine.begin() as connection:
        _set(connection, [each.id for each in entries], not_before_at=at)


def keep(
    state: State,
    settled: Sequence[tuple[Entry, Settlement]],
    *,
    run: int,
    now: datetime,
    asides: Sequence[Quarantine] = (),
    parted: Sequence[Parted] = (),
    begun: Sequence[Entry] = (),
) -> None:
    """Keep what an attempt came to: one delivery for each change, its new status, the causes of those that are set aside, what gives
    way to its parts, and the tasks that were made; with the mark of those that are sent after them (`begun`), in the same
    transaction."""
    alike: dict[tuple[str, datetime | None, bool], list[int]] = {}
    with state.session() as session:
        connection = session.connection()
        _deliver(connection, settled, run, now)
        for row, each in settled:
            is_over = each.status == "pending" and row.held_because == OVER
            ended = "withdrawn" if row.lane == TASK_LANE else "superseded"
            status = ended if is_over else each.status
            alike.setdefault((status, each.not_before_at, each.costs_attempt), []).append(row.id)
            if each.result == "conflict" and row.lane != TASK_LANE:
                record = f"{row.system}|{row.object_type}|{row.native_id}"
                session.merge(Replan(record=record, why="conflict", at=now))
            if each.made_task:
                record = f"{row.system}|{row.object_type}|{row.native_id}"
                made = TaskMade(
                    key=row.key, system=row.system, native_id=each.native_id, record=record, run=run, created_at=now
                )
                session.merge(made)
        for (status, not_before_at, costs_attempt), ids in alike.items():
            _set(connection, ids, tries=0 if costs_attempt else -1, status=status, not_before_at=not_before_at)
        for two in parted:
            _part(session, two)
        if asides:
            set_aside(session, asides)
        if begun:
            _mark_in_flight(connection, begun)


def _deliver(connection: Connection, settled: Sequence[tuple[Entry, Settlement]], run: int, now: datetime) -> None:
    """One delivery for each change; of those that were only accepted in the order in which they were sent."""
    plain = _ranges([row.id for row, each in settled if each.is_plain])
    if plain:
        connection.execute(_ACCEPT, [{"run": run, "at": now, **each} for each in plain])
    told = [_delivery(row, each, run, now) for row, each in settled if not each.is_plain]
    if told:
        connection.execute(insert(_DELIVERIES), told)


def _part(session: Session, parted: Parted) -> None:
    """The refused fields of a change are set aside as one of their own, the others wait as another. One that is there already stays."""
    whole = session.get_one(Outbox, parted.entry.id)
    whole.status = "superseded"
    for (key, lane, fields, before), status in ((parted.refused, "quarantined"), (parted.rest, "pending")):
        there = select(Outbox.id).where(Outbox.key == key, col(Outbox.status).in_(REPLACEABLE))
        if session.exec(there).first() is None:
            part = whole.model_dump(exclude={"id", "not_before_at"})
            part |= {"key": key, "lane": lane, "fields": dict(fields), "before": dict(before), "status": status}
            session.add(Outbox(**part))


def _delivery(row: Entry, each: Settlement, run: int, now: datetime) -> dict[str, Any]:
    return {
        "outbox": row.id, "run": run, "attempt": each.attempt, "result": each.result, "native_id": each.native_id,
        "code": each.code, "message": each.message, "hint": each.hint, "request_id": each.request_id, "at": now,
        "is_applied": False,
    }  # fmt: skip


def _mark_in_flight(connection: Connection, entries: Sequence[Entry]) -> None:
    _set(connection, [each.id for each in entries], tries=1, status="in_flight", receipt="")


def _set(connection: Connection, ids: Sequence[int], *, tries: int = 0, **values: Any) -> None:
    """Change rows that are on their way, and count so many more attempts."""
    given = {f"new_{name}": value for name, value in values.items()} | {"tries": tries}
    if mine := _ranges(ids):
        connection.execute(_setting(tuple(values)), [given | each for each in mine])


@lru_cache
def _setting(names: tuple[str, ...]) -> Update:
    """The statement that sets these columns. Kept: to make it costs more than to run it on a batch."""
    new = {name: bindparam(f"new_{name}", type_=_CHANGES.c[name].type) for name in names}
    going = update(_CHANGES).where(_CHANGES.c.id.between(_FIRST, _LAST), *_IS_GOING)
    return going.values(**new, attempt=_CHANGES.c.attempt + bindparam("tries"))


def _ranges(ids: Sequence[int]) -> list[dict[str, int]]:
    """The numbers, in their order, as the first and the last of each run of them that has no gap."""
    found: list[dict[str, int]] = []
    for each in ids:
        if found and each == found[-1]["last"] + 1:
            found[-1]["last"] = each
        else:
            found.append({"first": each, "last": each})
    return found


def unapplied(state: State, *, limit: int) -> list[Applied]:
    """The next accepted deliveries that the mart does not know of yet, in the order of delivery."""
    change, told = _CHANGES.c, _DELIVERIES.c
    query = columns(told.id, told.at, change.system, change.object_type, change.native_id, change.fields)
    query = query.where(told.outbox == change.id, told.is_applied.is_(False))
    query = query.where(told.result.in_(("accepted", "unchanged")))
    with state.engine.connect() as connection:
        return list(map(Applied._make, connection.execute(query.order_by(told.id).limit(limit)).all()))


def mark_applied(state: State, deliveries: Sequence[int]) -> None:
    """The mart knows of these."""
    with state.engine.begin() as connection:
        statement = update(_DELIVERIES).where(_DELIVERIES.c.id.between(_FIRST, _LAST)).values(is_applied=True)
        connection.execute(statement, _ranges(deliveries))
