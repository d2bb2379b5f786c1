"""Outbox to system: enqueue, deliver, reconcile, settle, supersede.

Persist before acting: a change is in the outbox before it is sent, *in flight* with its attempt while it is, and has exactly one
outcome for each attempt. What a kill or a lost reply leaves in flight is settled by reading the system, never by sending it
again blindly. Outcomes go to the state first, then to the mart's observed values, each marked when it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field
from sqlalchemy import insert, update
from sqlmodel import col, select

from connector import clock, tables
from connector.errors import ConnectorError, SystemFailure
from connector.mart import Mart
from connector.model import LANES, Capabilities, Change, Found, Kind, Lane, Outcome, Result, System, Task
from connector.plan import Brakes, Plan, batches
from connector.section import Duration, Section
from connector.state import State
from connector.state.models import Delivery, Note, Outbox, Quarantine, TaskMade

PLANNED_THROUGH = "planned_through"
_OPEN = ("pending", "held")
_STATUS_AFTER = {
    Result.ACCEPTED: "settled",
    Result.UNCHANGED: "settled",
    Result.REJECTED: "quarantined",
    Result.CONFLICT: "settled",
    Result.RETRY: "pending",
    Result.UNKNOWN: "unknown",
}


class WritebackSection(Section):
    """`[writeback]`: what is written, where, and how carefully."""

    model: str = Field("default", description="the scoring model whose score goes into the systems")
    min_points: float = Field(
        2.0, ge=0, description="a score that moved by fewer points, with nothing else changed, is not written"
    )
    systems: tuple[str, ...] = Field((), description="only these systems are written to; empty means all that can be")
    fields: dict[str, dict[str, dict[str, str]]] = Field(
        default_factory=dict,
        description="system -> object type -> output -> native field, over the adapter's own names; an empty name leaves it out",
    )
    max_attempts: int = Field(5, ge=1, description="attempts before a change is set aside")
    ask_again_after: Duration = Field(
        timedelta(minutes=15), description="how long an unknown outcome may stay uncertain before it is asked again"
    )
    brakes: Brakes = Brakes()


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery to one system came to."""

    system: str
    accepted: int = 0
    unchanged: int = 0
    rejected: int = 0
    conflicts: int = 0
    waiting: int = 0
    unknown: int = 0
    calls: int = 0
    tasks: int = 0
    error: ConnectorError | None = None
    codes: Mapping[str, int] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------------ enqueue


def enqueue(state: State, plan: Plan, *, run: int, through: int, now: datetime) -> int:
    """Put a plan into the outbox and move `planned_through`, in one transaction. Returns how many changes went in.

    An older change of the same record that is still waiting is superseded; a change that is there already stays.
    """
    rows = [_row(change, plan.held.get(change.key, ""), run, now) for change in plan.changes]
    with state.session() as session:
        known = _known_keys(session, [row["key"] for row in rows])
        fresh = [row for row in rows if row["key"] not in known]
        _supersede(session, fresh)
        for start in range(0, len(fresh), 5_000):
            session.execute(insert(Outbox), fresh[start : start + 5_000])
        session.merge(Note(key=PLANNED_THROUGH, value=str(through)))
    return len(fresh)


def planned_through(state: State) -> int:
    """The last revision whose differences are in the outbox."""
    return int(state.note(PLANNED_THROUGH, "0"))


def _row(change: Change, held: str, run: int, now: datetime) -> dict[str, Any]:
    task = asdict(change.task) | {"due_at": change.task.due_at.isoformat()} if change.task else {}
    return {
        "key": change.key, "run": run, "system": change.system, "object_type": change.object_type, "native_id": change.native_id,
        "person": change.person, "lane": change.lane.value, "fields": dict(change.fields), "before": dict(change.before), "task": task,
        "reason": change.reason, "expected_version": change.expected_version, "status": "held" if held else "pending",
        "held_because": held, "attempt": 0, "created_at": now,
    }  # fmt: skip


def _known_keys(session: Any, keys: Sequence[str]) -> set[str]:
    """Keys that must not go in twice: open changes, and tasks that were ever made or tried."""
    known: set[str] = set()
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        query = select(Outbox.key, Outbox.status, Outbox.lane).where(col(Outbox.key).in_(part))
        known |= {
            key
            for key, status, lane in session.exec(query)
            if lane == Lane.TASK or status in (*_OPEN, "in_flight", "unknown")
        }
        known |= set(session.exec(select(TaskMade.key).where(col(TaskMade.key).in_(part))))
    return known


def _supersede(session: Any, fresh: Sequence[Mapping[str, Any]]) -> None:
    fields = {(row["system"], row["object_type"], row["native_id"]) for row in fresh if not row["task"]}
    if not fields:
        return
    waiting = session.exec(
        select(Outbox.id, Outbox.system, Outbox.object_type, Outbox.native_id).where(
            col(Outbox.status).in_(_OPEN), Outbox.lane != Lane.TASK
        )
    )
    ids = [row_id for row_id, *record in waiting if tuple(record) in fields]
    for start in range(0, len(ids), 500):
        session.execute(update(Outbox).where(col(Outbox.id).in_(ids[start : start + 500])).values(status="superseded"))


def lift(state: State, *, lanes: Sequence[Lane] = LANES) -> int:
    """Let held changes go: they are pending from now on. Returns how many."""
    with state.session() as session:
        wanted = [lane.value for lane in lanes]
        done = session.execute(
            update(Outbox)
            .where(Outbox.status == "held", col(Outbox.lane).in_(wanted))
            .values(status="pending", held_because="")
        )
        return int(done.rowcount)


# ------------------------------------------------------------------------------------------------------------ deliver


def deliver(
    state: State, system: System, capabilities: Capabilities, section: WritebackSection, *, run: int,
    is_stopping: Callable[[], bool], on_progress: Callable[[int], None] = lambda _: None,
) -> Delivered:  # fmt: skip
    """Send what waits for one system, lane by lane, batch by batch; ends between two batches when it is asked to.

    A failure of the system as a whole is returned in `error`, not raised: what was not sent waits.
    """
    if system.target is None:
        return Delivered(system.name)
    calls, tally, error = system.calls(), _Tally(), None
    try:
        _reconcile(state, system, section, run, tally)
        for batch in batches(_waiting(state, system.name), capabilities):
            if is_stopping():
                break
            _send(state, system, section, batch, run, tally)
            on_progress(len(batch))
    except ConnectorError as problem:
        error = problem
    return tally.result(system, system.calls() - calls, _count_waiting(state, system.name), error)


def _waiting(state: State, system: str) -> list[Change]:
    """The pending changes of a system in the order of delivery."""
    order = {lane.value: index for index, lane in enumerate(LANES)}
    with state.session() as session:
        rows = session.exec(select(Outbox).where(Outbox.system == system, Outbox.status == "pending")).all()
    due = [row for row in rows if row.not_before_at is None or row.not_before_at <= clock.now()]
    return [_change(row) for row in sorted(due, key=lambda row: (order[row.lane], row.id or 0))]


def _send(
    state: State, system: System, section: WritebackSection, batch: Sequence[Change], run: int, tally: _Tally
) -> None:
    """One batch: in flight, sent, one outcome each, settled."""
    assert system.target is not None
    attempts = _mark_in_flight(state, batch)
    try:
        outcomes = system.target.write(batch)
    except ConnectorError:
        _put_back(state, batch)
        raise
    if [outcome.key for outcome in outcomes] != [change.key for change in batch]:
        raise SystemFailure(
            "the adapter did not give one outcome for each change",
            hint="report this; the changes are kept in flight",
            system=system.name,
        )
    _record(state, section, batch, outcomes, attempts, run)
    tally.add(batch, outcomes)


def _mark_in_flight(state: State, batch: Sequence[Change]) -> dict[str, int]:
    with state.session() as session:
        rows = _rows_of(session, batch)
        for row in rows:
            row.status, row.attempt = "in_flight", row.attempt + 1
        return {row.key: row.attempt for row in rows}


def _put_back(state: State, batch: Sequence[Change]) -> None:
    """Certainly nothing of the batch was sent: it waits again."""
    with state.session() as session:
        for row in _rows_of(session, batch):
            row.status, row.attempt = "pending", row.attempt - 1


def _rows_of(session: Any, batch: Sequence[Change]) -> list[Outbox]:
    keys = [change.key for change in batch]
    query = select(Outbox).where(col(Outbox.key).in_(keys), col(Outbox.status).in_(("pending", "in_flight", "unknown")))
    return list(session.exec(query).all())


def _record(
    state: State,
    section: WritebackSection,
    batch: Sequence[Change],
    outcomes: Sequence[Outcome],
    attempts: Mapping[str, int],
    run: int,
) -> None:
    """Outcomes into the state, with what they mean for the change: settled, waiting, unknown, or set aside."""
    now = clock.now()
    asides: list[Quarantine] = []
    with state.session() as session:
        rows = {row.key: row for row in _rows_of(session, batch)}
        for change, outcome in zip(batch, outcomes, strict=True):
            row = rows[change.key]
            row.status = _STATUS_AFTER[outcome.result]
            if outcome.result is Result.RETRY:
                row.not_before_at = now + timedelta(seconds=2 ** min(attempts[change.key], 8))
                if attempts[change.key] >= section.max_attempts:
                    row.status = "quarantined"
            assert row.id is not None
            session.add(_delivery(row.id, run, attempts[change.key], outcome, now))
            if row.status == "quarantined":
                asides.append(_aside(change, outcome, now))
            if change.task is not None and outcome.result in (Result.ACCEPTED, Result.UNCHANGED):
                made = TaskMade(
                    key=change.key,
                    system=change.system,
                    native_id=outcome.native_id,
                    record=_record_key(change),
                    run=run,
                    created_at=now,
                )
                session.merge(made)
    if asides:
        state.quarantine(asides)


def _delivery(outbox: int, run: int, attempt: int, outcome: Outcome, now: datetime) -> Delivery:
    return Delivery(
        outbox=outbox, run=run, attempt=attempt, result=outcome.result.value, native_id=outcome.native_id, code=outcome.code,
        message=outcome.message[:500], hint=outcome.hint[:500], request_id=outcome.request_id, at=now,
    )  # fmt: skip


def _aside(change: Change, outcome: Outcome, now: datetime) -> Quarantine:
    return Quarantine(
        key=f"change|{change.key}", kind="change", system=change.system, stream=change.object_type, record=_record_key(change),
        code=outcome.code, reason=outcome.message[:500], hint=outcome.hint[:500], first_at=now, last_at=now,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ reconcile


def _reconcile(state: State, system: System, section: WritebackSection, run: int, tally: _Tally) -> None:
    """Settle by reading what a kill or a lost reply left in flight or unknown."""
    assert system.target is not None
    now = clock.now()
    with state.session() as session:
        query = (
            select(Outbox)
            .where(Outbox.system == system.name, col(Outbox.status).in_(("in_flight", "unknown")))
            .order_by(col(Outbox.id))
        )
        rows = [row for row in session.exec(query).all() if row.not_before_at is None or row.not_before_at <= now]
    size = 200
    for start in range(0, len(rows), size):
        part = [_change(row) for row in rows[start : start + size]]
        found = system.target.find(part)
        outcomes = [_judge(change, each) for change, each in zip(part, found, strict=True)]
        attempts = {row.key: row.attempt for row in rows[start : start + size]}
        _record(state, section, part, outcomes, attempts, run)
        _ask_again(
            state,
            [change for change, each in zip(part, found, strict=True) if not each.is_certain],
            now + section.ask_again_after,
        )
        tally.add(part, outcomes)


def _judge(change: Change, found: Found) -> Outcome:
    """What the system's present values say about a change of unknown outcome."""
    if change.task is not None:
        if found.native_id is not None:
            return Outcome(change.key, Result.ACCEPTED, native_id=found.native_id, message="found in the system")
        if not found.is_certain:
            return Outcome(change.key, Result.UNKNOWN, message="the system's index may still lag")
        return Outcome(change.key, Result.RETRY, message="not in the system: to be sent again")
    if found.values is None:
        return Outcome(change.key, Result.CONFLICT, code="GONE", message="the record is gone")
    if all(_is_equal(found.values.get(name), value) for name, value in change.fields.items()):
        return Outcome(change.key, Result.ACCEPTED, message="found in the system")
    return Outcome(change.key, Result.RETRY, message="not in the system: to be sent again")


def _is_equal(left: Any, right: Any) -> bool:
    if left in (None, "") and right in (None, ""):
        return True
    try:
        return abs(float(left) - float(right)) < 1e-9
    except (TypeError, ValueError):
        return _instant_or_text(left) == _instant_or_text(right)


def _instant_or_text(value: Any) -> Any:
    try:
        return datetime.fromisoformat(str(value).replace("+0000", "+00:00"))
    except ValueError:
        return str(value)


def _ask_again(state: State, changes: Sequence[Change], at: datetime) -> None:
    if not changes:
        return
    with state.session() as session:
        for row in _rows_of(session, changes):
            row.not_before_at = at


# ------------------------------------------------------------------------------------------------------------ settle


def settle(state: State, mart: Mart, *, run: int) -> int:
    """Bring accepted field values into the mart's observed values, once each. Returns how many values."""
    with state.session() as session:
        query = (
            select(Delivery, Outbox)
            .where(
                Delivery.outbox == Outbox.id,
                col(Delivery.is_applied).is_(False),
                col(Delivery.result).in_(("accepted", "unchanged")),
            )
            .order_by(col(Delivery.id))
        )
        pairs = session.exec(query).all()
    rows: dict[str, dict[str, Any]] = {}
    for delivery, change in pairs:
        for name, value in change.fields.items():
            rows[f"{_record_key(change)}|{name}"] = _observed(change, name, value, delivery.at, run)
    if rows:
        table = pa.Table.from_pylist(list(rows.values()), schema=tables.OBSERVED)
        with mart.transaction():
            mart.merge("observed", _as_seen(mart, ibis.memtable(table)))
    with state.session() as session:
        ids = [delivery.id for delivery, _ in pairs]
        for start in range(0, len(ids), 500):
            session.execute(
                update(Delivery).where(col(Delivery.id).in_(ids[start : start + 500])).values(is_applied=True)
            )
    return len(rows)


def _as_seen(mart: Mart, settled: ir.Table) -> ir.Table:
    """The settled values, each with the version of its record that we have seen."""
    observed, record = mart.table("observed"), mart.table(tables.record_table(Kind.PERSON))
    seen = settled.left_join(observed.select("key", held_at="observed_at"), "key").drop("key_right")
    seen = seen.left_join(record.select("key", modified_at="modified_at"), seen.record == record.key, rname="record_{name}")
    at = ibis.coalesce(ibis.greatest(seen.held_at, seen.modified_at), seen.settled_at)
    return seen.mutate(observed_at=at).select(*tables.OBSERVED.names)


def _observed(change: Outbox, name: str, value: Any, at: datetime, run: int) -> dict[str, Any]:
    record = _record_key(change)
    return {
        "key": f"{record}|{name}", "system": change.system, "object_type": change.object_type, "native_id": change.native_id,
        "record": record, "field": name, "value": None if value is None else f"{value:g}" if isinstance(value, float) else str(value),
        "observed_at": at, "settled_at": at, "revision": run,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ pieces


def _record_key(change: Change | Outbox) -> str:
    return tables.record_key(change.system, change.object_type, change.native_id)


def _change(row: Outbox) -> Change:
    task = None
    if row.task:
        task = Task(**{**row.task, "due_at": datetime.fromisoformat(row.task["due_at"])})
    return Change(
        key=row.key, system=row.system, object_type=row.object_type, native_id=row.native_id, lane=Lane(row.lane), fields=row.fields,
        before=row.before, task=task, reason=row.reason, expected_version=row.expected_version, person=row.person,
    )  # fmt: skip


def _count_waiting(state: State, system: str) -> int:
    return sum(
        count
        for (status, name, _), count in state.outbox_counts().items()
        if name == system and status in ("pending", "held")
    )


class _Tally:
    """Counts of outcomes, gathered batch by batch."""

    def __init__(self) -> None:
        self.results: dict[Result, int] = dict.fromkeys(Result, 0)
        self.codes: dict[str, int] = {}
        self.tasks = 0

    def add(self, batch: Sequence[Change], outcomes: Sequence[Outcome]) -> None:
        for change, outcome in zip(batch, outcomes, strict=True):
            self.results[outcome.result] += 1
            self.tasks += change.task is not None and outcome.result is Result.ACCEPTED
            if outcome.code:
                self.codes[outcome.code] = self.codes.get(outcome.code, 0) + 1

    def result(self, system: System, calls: int, waiting: int, error: ConnectorError | None) -> Delivered:
        counts = self.results
        return Delivered(
            system.name, counts[Result.ACCEPTED], counts[Result.UNCHANGED], counts[Result.REJECTED], counts[Result.CONFLICT], waiting,
            counts[Result.UNKNOWN], calls, self.tasks, error, self.codes,
        )  # fmt: skip
