"""The outbox in the transactional store: what waits, what is in flight, what became of it. Each function is one transaction.

What it means is `writeback`'s; here are only rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import BindParameter, Connection, Row, bindparam, false, func, insert, literal, or_, tuple_, update
from sqlalchemy import select as columns
from sqlmodel import Session, SQLModel, col, select

from connector.state.models import Delivery, Outbox, Quarantine, Replan, TaskMade
from connector.state.store import State

PLANNED_THROUGH = "planned_through"
PLANNED_WITH = "planned_with"  # the fingerprint of [writeback] at the last plan
OPEN = ("pending", "held")
IN_DOUBT = ("in_flight", "unknown")
_STILL = ("held", "settled", "superseded", "quarantined")  # not on their way
TASK_LANE = "task"
UNDO = "undo-"  # how the keys of changes begin that take a run back: no plan supersedes them
_MANY = 500  # keys in one statement
_MANY_IDS = 10_000  # numbers in one statement
#: The tables themselves, for what is done to many rows: sessions of objects cost several times as much.
_CHANGES, _DELIVERIES = SQLModel.metadata.tables["outbox"], SQLModel.metadata.tables["delivery"]

Entry = Row[Any]  # as much of a row of the outbox as makes a change and tells where it stands
_ENTRY = [
    _CHANGES.c[name]
    for name in (
        "id", "key", "system", "object_type", "native_id", "person", "lane", "fields", "before", "task", "reason", "parent",
        "receipt", "expected_version", "attempt", "not_before_at",
    )
]  # fmt: skip
#: Row numbers, written into the statement: each as a parameter costs as much as its row.
_NUMBERS: BindParameter[Any] = bindparam("numbers", expanding=True, literal_execute=True)
#: Deliveries of changes that were accepted and of which there is nothing else to say, made where the changes are.
_ACCEPTED = {
    "outbox": _CHANGES.c.id, "run": bindparam("run", type_=_DELIVERIES.c.run.type), "attempt": _CHANGES.c.attempt,
    "result": literal("accepted"), "code": literal(""), "message": literal(""), "hint": literal(""), "request_id": literal(""),
    "at": bindparam("at", type_=_DELIVERIES.c.at.type), "is_applied": false(),
}  # fmt: skip
_ACCEPT = insert(_DELIVERIES).from_select(
    list(_ACCEPTED), columns(*_ACCEPTED.values()).where(_CHANGES.c.id.in_(_NUMBERS)).order_by(_CHANGES.c.id)
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


def enqueue(state: State, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add changes. Returns how many went in.

    A change that is open or set aside already, or a task that was ever made or tried, is left out; a field change of the same
    record from another run that still waits, or was set aside, is superseded, unless it is among these. One that ended in a conflict
    keeps count of its attempts.
    """
    with state.session() as session:
        known = _known_keys(session, [row["key"] for row in rows])
        tried = _conflicts(session, rows)
        fresh = [{**row, "attempt": tried.get(row["key"], 0)} for row in rows if row["key"] not in known]
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


def pending(state: State, now: datetime) -> list[Outbox]:
    """All changes that go with the next delivery, in the order in which they came."""
    is_due = col(Outbox.not_before_at).is_(None) | (col(Outbox.not_before_at) <= now)
    with state.session() as session:
        return list(
            session.exec(select(Outbox).where(Outbox.status == "pending", is_due).order_by(col(Outbox.id))).all()
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


def _supersede(session: Session, fresh: Sequence[Mapping[str, Any]], wanted: Collection[str]) -> None:
    older = [
        row for row in _of_records(session, fresh) if row.status in (*OPEN, "quarantined") and row.key not in wanted
    ]
    for part in parts([row.id for row in older]):
        session.execute(update(Outbox).where(col(Outbox.id).in_(part)).values(status="superseded"))
    for part in parts([f"change|{row.key}" for row in older if row.status == "quarantined"]):
        session.execute(update(Quarantine).where(col(Quarantine.key).in_(part)).values(is_open=False))


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


def weigh_anew(state: State) -> None:
    """The brakes may be set otherwise: what they hold is planned anew."""
    with state.session() as session:
        session.execute(update(Outbox).where(col(Outbox.status) == "held").values(status="superseded"))


def tasks_to_weigh(state: State) -> list[str]:
    """The keys of tasks that were held, never sent, and are to be planned anew."""
    with state.session() as session:
        entered = select(Outbox.key).where(Outbox.lane == TASK_LANE, Outbox.status != "superseded")
        query = select(Outbox.key).where(Outbox.lane == TASK_LANE, Outbox.status == "superseded")
        return list(session.exec(query.where(col(Outbox.key).not_in(entered)).distinct()).all())


def tasks_given(state: State, since: datetime) -> dict[tuple[str, str | None], int]:
    """How many tasks went into the outbox since an instant and are not held, by (system, owner)."""
    counts: dict[tuple[str, str | None], int] = {}
    with state.session() as session:
        query = select(Outbox.system, Outbox.task).where(Outbox.lane == TASK_LANE, col(Outbox.created_at) > since)
        for system, task in session.exec(query.where(col(Outbox.status).not_in(["held", "superseded"]))):
            owner = (system, task.get("owner"))
            counts[owner] = counts.get(owner, 0) + 1
    return counts


def waiting(state: State, system: str, now: datetime, lanes: Sequence[str], *, limit: int) -> list[Entry]:
    """The next pending changes of a system whose time has come: in the order of the lanes, then oldest first.

    A record that an earlier change may still be written to has to wait until that is known; a task does not.
    """
    is_due = col(Outbox.not_before_at).is_(None) | (col(Outbox.not_before_at) <= now)
    rows: list[Entry] = []
    with state.session() as session:
        query = columns(*_ENTRY).where(_CHANGES.c.system == system, _CHANGES.c.status == "pending", is_due)
        doubted = (Outbox.system == system, col(Outbox.status).in_(IN_DOUBT), Outbox.lane != TASK_LANE)
        if session.exec(select(Outbox.id).where(*doubted).limit(1)).first() is not None:
            records = columns(Outbox.object_type, Outbox.native_id).where(*doubted)  # type: ignore[call-overload]
            record = tuple_(col(Outbox.object_type), col(Outbox.native_id))
            query = query.where(or_(col(Outbox.lane) == TASK_LANE, record.not_in(records)))
        for (
            lane
        ) in lanes:  # one by one, as the index has them: together, all that waits would be sorted for each window
            mine = query.where(_CHANGES.c.lane == lane).order_by(_CHANGES.c.id)
            rows += session.execute(mine.limit(limit - len(rows))).all()
    return rows


def in_doubt(state: State, system: str, now: datetime | None = None) -> list[Entry]:
    """What a kill or a lost reply left in flight or unknown, oldest first; with `now` only what may be asked about by then."""
    with state.session() as session:
        query = columns(*_ENTRY).where(_CHANGES.c.system == system, _CHANGES.c.status.in_(IN_DOUBT))
        rows = session.execute(query.order_by(_CHANGES.c.id)).all()
        return [row for row in rows if now is None or row.not_before_at is None or row.not_before_at <= now]


def going(state: State) -> int:
    """How many changes wait to go, or are in doubt."""
    with state.session() as session:
        query = select(func.count()).where(col(Outbox.status).in_(("pending", *IN_DOUBT)))
        return int(session.exec(query).one())


def mark_in_flight(state: State, entries: Sequence[Entry]) -> None:
    """The changes are being sent, once more."""
    with state.session() as session:
        _set(session, [each.id for each in entries], status="in_flight", attempt=_CHANGES.c.attempt + 1, receipt="")


def note_receipt(state: State, entries: Sequence[Entry], receipt: str) -> None:
    """What the system is to be asked by that is about to work on these; "" when reading their records tells."""
    with state.session() as session:
        _set(session, [each.id for each in entries], receipt=receipt)


def put_back(state: State, entries: Sequence[Entry]) -> None:
    """Certainly nothing of these was sent: they wait again, and the attempt does not count."""
    with state.session() as session:
        _set(session, [each.id for each in entries], status="pending", attempt=_CHANGES.c.attempt - 1)


def ask_again(state: State, entries: Sequence[Entry], at: datetime) -> None:
    """These stay in doubt, and are not asked about before `at`."""
    with state.session() as session:
        _set(session, [each.id for each in entries], not_before_at=at)


def keep(state: State, settled: Sequence[tuple[Entry, Settlement]], *, run: int, now: datetime) -> None:
    """Keep what an attempt came to: one delivery for each change, its new status, and the tasks that were made."""
    alike: dict[tuple[str, datetime | None, bool], list[int]] = {}
    with state.session() as session:
        _deliver(session.connection(), settled, run, now)
        for row, each in settled:
            alike.setdefault((each.status, each.not_before_at, each.costs_attempt), []).append(row.id)
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
            values: dict[str, Any] = {"status": status, "not_before_at": not_before_at}
            if not costs_attempt:
                values["attempt"] = _CHANGES.c.attempt - 1
            _set(session, ids, **values)


def _deliver(connection: Connection, settled: Sequence[tuple[Entry, Settlement]], run: int, now: datetime) -> None:
    """One delivery for each change; of those that were only accepted in the order in which they were sent."""
    plain = [row.id for row, each in settled if each.is_plain]
    for rising in _rising(plain):
        for part in parts(rising, _MANY_IDS):
            connection.execute(_ACCEPT, {"run": run, "at": now, "numbers": part})
    told = [_delivery(row, each, run, now) for row, each in settled if not each.is_plain]
    if told:
        connection.execute(insert(_DELIVERIES), told)


def _rising(ids: Sequence[int]) -> Iterator[list[int]]:
    """The numbers, in their order, in parts that grow."""
    part: list[int] = []
    for each in ids:
        if part and each < part[-1]:
            yield part
            part = []
        part.append(each)
    yield part


def _delivery(row: Entry, each: Settlement, run: int, now: datetime) -> dict[str, Any]:
    return {
        "outbox": row.id, "run": run, "attempt": each.attempt, "result": each.result, "native_id": each.native_id,
        "code": each.code, "message": each.message, "hint": each.hint, "request_id": each.request_id, "at": now,
        "is_applied": False,
    }  # fmt: skip


def _set(session: Session, ids: Sequence[int], **values: Any) -> None:
    """Change rows that are on their way."""
    connection = session.connection()
    is_going = _CHANGES.c.status.not_in(_STILL)  # with IN, SQLite would look for these among all that are on their way
    for part in parts(ids, _MANY_IDS):
        statement = update(_CHANGES).where(_CHANGES.c.id.in_(_NUMBERS), is_going).values(**values)
        connection.execute(statement, {"numbers": part})


def unapplied(state: State, *, limit: int = 20_000) -> list[Entry]:
    """The next accepted deliveries that the mart does not know of yet, in the order of delivery: `delivery` and `at`, with the
    system, object type, native id and fields of their change."""
    with state.session() as session:
        change, told = _CHANGES.c, _DELIVERIES.c
        query = columns(
            told.id.label("delivery"), told.at, change.system, change.object_type, change.native_id, change.fields
        )
        query = query.where(told.outbox == change.id, told.is_applied.is_(False))
        query = query.where(told.result.in_(("accepted", "unchanged")))
        return cast("list[Entry]", session.connection().execute(query.order_by(told.id).limit(limit)).all())


def mark_applied(state: State, deliveries: Sequence[int]) -> None:
    """The mart knows of these."""
    with state.session() as session:
        for part in parts(deliveries, _MANY_IDS):
            statement = update(_DELIVERIES).where(_DELIVERIES.c.id.in_(_NUMBERS)).values(is_applied=True)
            session.connection().execute(statement, {"numbers": part})


def accepted(state: State, run: int) -> list[Outbox]:
    """The changes that a run brought into the systems, in the order of delivery."""
    with state.session() as session:
        query = select(Outbox).join(Delivery, col(Delivery.outbox) == Outbox.id)
        query = query.where(Delivery.run == run, col(Delivery.result).in_(("accepted", "unchanged")))
        return list(session.exec(query.order_by(col(Delivery.id))).all())


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
