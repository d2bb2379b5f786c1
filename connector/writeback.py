"""Outbox to system: enqueue, deliver, reconcile, settle, supersede.

Persist before acting: a change is in the outbox before it is sent, *in flight* with its attempt while it is, and has exactly one
outcome for each attempt. What a kill or a lost reply leaves in flight is settled by reading the system, never by sending it
again blindly. Outcomes go to the state first, then to the mart's observed values, each marked when it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field

from connector import clock, tables
from connector.errors import ConnectorError, SystemFailure, SystemUnavailable
from connector.mart import Mart
from connector.model import LANES, Capabilities, Change, Found, Kind, Lane, Outcome, Result, System, Target, Task
from connector.plan import Brakes, Plan, as_text, batches
from connector.section import Duration, Section
from connector.state import State, outbox
from connector.state.models import Outbox, Quarantine
from connector.state.outbox import Settlement

_TEXT = 500  # characters kept of what a system says
_ASKED_AT_ONCE = 200
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
    brakes: Brakes = Field(
        default_factory=lambda: Brakes.model_validate({}), description="what holds a lane until a person has looked"
    )


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


def enqueue(state: State, plan: Plan, *, run: int, now: datetime) -> int:
    """Put a plan into the outbox, in one transaction. Returns how many changes went in.

    An older change of the same record that is still waiting is superseded; a change that is there already stays. So a plan
    that is put in again, after a kill before `mark_planned`, adds nothing.
    """
    return outbox.enqueue(state, [_row(change, plan.held.get(change.key, ""), run, now) for change in plan.changes])


def mark_planned(state: State, through: int) -> None:
    """All differences up to this revision are in the outbox."""
    state.set_note(outbox.PLANNED_THROUGH, str(through))


def planned_through(state: State) -> int:
    """The last revision whose differences are in the outbox."""
    return int(state.note(outbox.PLANNED_THROUGH, "0"))


def _row(change: Change, held: str, run: int, now: datetime) -> dict[str, Any]:
    task = asdict(change.task) | {"due_at": change.task.due_at.isoformat()} if change.task else {}
    return {
        "key": change.key,
        "run": run,
        "system": change.system,
        "object_type": change.object_type,
        "native_id": change.native_id,
        "person": change.person,
        "lane": change.lane.value,
        "fields": dict(change.fields),
        "before": dict(change.before),
        "task": task,
        "reason": change.reason,
        "expected_version": change.expected_version,
        "status": "held" if held else "pending",
        "held_because": held,
        "attempt": 0,
        "created_at": now,
    }


def lift(state: State, *, lanes: Sequence[Lane] = LANES) -> int:
    """Let held changes go: they are pending from now on. Returns how many."""
    return outbox.lift(state, [lane.value for lane in lanes])


# ------------------------------------------------------------------------------------------------------------ deliver


def deliver(
    state: State,
    system: System,
    capabilities: Capabilities,
    section: WritebackSection,
    *,
    run: int,
    is_stopping: Callable[[], bool],
    on_progress: Callable[[int], None] = lambda _: None,
) -> Delivered:
    """Send what waits for one system, lane by lane, batch by batch; ends between two batches when it is asked to.

    A failure of the system as a whole is returned in `error`, not raised: what was not sent waits.
    """
    if system.target is None:
        return Delivered(system.name)
    delivery = _Delivery(state, system, system.target, section, run)
    calls, error = system.calls(), None
    try:
        _reconcile(delivery)
        while (waiting := _waiting(state, system.name)) and not is_stopping():
            for batch in takewhile(lambda _: not is_stopping(), batches(waiting, capabilities)):
                _send(delivery, batch)
                on_progress(len(batch))
    except ConnectorError as problem:
        error = problem
    return delivery.result(system.calls() - calls, error)


@dataclass
class _Delivery:
    """One delivery to one system, and the counts of its outcomes."""

    state: State
    system: System
    target: Target
    section: WritebackSection
    run: int
    results: Counter[Result] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    tasks: int = 0

    def add(self, batch: Sequence[Change], outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes of a batch."""
        for change, outcome in zip(batch, outcomes, strict=True):
            self.results[outcome.result] += 1
            self.tasks += change.task is not None and outcome.result is Result.ACCEPTED
            if outcome.code:
                self.codes[outcome.code] += 1

    def result(self, calls: int, error: ConnectorError | None) -> Delivered:
        """What it came to."""
        counts = self.state.outbox_counts().items()
        waiting = sum(
            count for (status, name, _), count in counts if name == self.system.name and status in outbox.OPEN
        )
        return Delivered(
            system=self.system.name,
            accepted=self.results[Result.ACCEPTED],
            unchanged=self.results[Result.UNCHANGED],
            rejected=self.results[Result.REJECTED],
            conflicts=self.results[Result.CONFLICT],
            waiting=waiting,
            unknown=self.results[Result.UNKNOWN],
            calls=calls,
            tasks=self.tasks,
            error=error,
            codes=dict(self.codes),
        )


def _waiting(state: State, system: str) -> list[Change]:
    """The next pending changes of a system in the order of delivery: lane by lane, oldest first."""
    return [_change(row) for row in outbox.waiting(state, system, clock.now(), [lane.value for lane in LANES])]


def _send(delivery: _Delivery, batch: Sequence[Change]) -> None:
    """One batch: in flight, sent, one outcome each, settled."""
    keys = [change.key for change in batch]
    attempts = outbox.mark_in_flight(delivery.state, keys)
    try:
        outcomes = delivery.target.write(batch)
    except ConnectorError:
        outbox.put_back(delivery.state, keys)
        raise
    if [outcome.key for outcome in outcomes] != keys:
        raise SystemFailure(
            "the adapter did not give one outcome for each change", hint="report this; the changes are kept in flight"
        )
    _record(delivery, batch, outcomes, attempts)
    if all(_is_unanswered(outcome) for outcome in outcomes):
        first = outcomes[0]
        raise SystemUnavailable(first.message or "no answer", hint=first.hint, request_id=first.request_id)


def _is_unanswered(outcome: Outcome) -> bool:
    """Whether the system said nothing about this change; a record that it asks to try again comes with its code."""
    return outcome.result is Result.UNKNOWN or (outcome.result is Result.RETRY and not outcome.code)


def _record(
    delivery: _Delivery,
    batch: Sequence[Change],
    outcomes: Sequence[Outcome],
    attempts: Mapping[str, int],
    *,
    is_read: bool = False,
) -> None:
    """Outcomes into the state, with what they mean for the change: settled, waiting, unknown, or set aside.

    is_read: they come from reading, not from sending, so that what is to be sent again need not wait first.
    """
    now = clock.now()
    settlements = [
        _settlement(change, outcome, attempts[change.key], delivery.section, now)
        for change, outcome in zip(batch, outcomes, strict=True)
    ]
    if is_read:
        settlements = [replace(each, not_before_at=None) for each in settlements]
    outbox.keep(delivery.state, settlements, run=delivery.run, now=now)
    asides = [
        _aside(change, outcome, now)
        for change, outcome, settled in zip(batch, outcomes, settlements, strict=True)
        if settled.status == "quarantined"
    ]
    if asides:
        delivery.state.quarantine(asides)
    delivery.add(batch, outcomes)


def _settlement(change: Change, outcome: Outcome, attempt: int, section: WritebackSection, now: datetime) -> Settlement:
    status, not_before_at = _STATUS_AFTER[outcome.result], None
    if outcome.result is Result.RETRY:
        not_before_at = now + timedelta(seconds=2 ** min(attempt, 8))
        status = "quarantined" if outcome.code and attempt >= section.max_attempts else status
    return Settlement(
        key=change.key,
        status=status,
        result=outcome.result.value,
        native_id=outcome.native_id,
        code=outcome.code,
        message=outcome.message[:_TEXT],
        hint=outcome.hint[:_TEXT],
        request_id=outcome.request_id,
        not_before_at=not_before_at,
        made_task=change.task is not None and outcome.result in (Result.ACCEPTED, Result.UNCHANGED),
    )


def _aside(change: Change, outcome: Outcome, now: datetime) -> Quarantine:
    return Quarantine(
        key=f"change|{change.key}",
        kind="change",
        system=change.system,
        stream=change.object_type,
        record=_record_key(change),
        code=outcome.code,
        reason=outcome.message[:_TEXT],
        hint=outcome.hint[:_TEXT],
        first_at=now,
        last_at=now,
    )


# ------------------------------------------------------------------------------------------------------------ reconcile


def _reconcile(delivery: _Delivery) -> None:
    """Settle by reading what a kill or a lost reply left in flight or unknown."""
    now = clock.now()
    rows = outbox.in_doubt(delivery.state, delivery.system.name, now)
    for start in range(0, len(rows), _ASKED_AT_ONCE):
        part = rows[start : start + _ASKED_AT_ONCE]
        changes = [_change(row) for row in part]
        found = delivery.target.find(changes)
        outcomes = [_judge(change, each) for change, each in zip(changes, found, strict=True)]
        _record(delivery, changes, outcomes, {row.key: row.attempt for row in part}, is_read=True)
        unsure = [each.key for each in found if not each.is_certain]
        outbox.ask_again(delivery.state, unsure, now + delivery.section.ask_again_after)


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
        return bool(abs(float(left) - float(right)) < 1e-9)
    except (TypeError, ValueError):
        return bool(_instant_or_text(left) == _instant_or_text(right))


def _instant_or_text(value: Any) -> Any:
    try:
        return datetime.fromisoformat(str(value).replace("+0000", "+00:00"))
    except ValueError:
        return str(value)


# ------------------------------------------------------------------------------------------------------------ settle


def settle(state: State, mart: Mart, *, run: int) -> int:
    """Bring accepted field values into the mart's observed values, once each. Returns how many values."""
    settled = 0
    while pairs := outbox.unapplied(state):
        rows: dict[str, dict[str, Any]] = {}
        for delivery, change in pairs:
            for name, value in change.fields.items():
                rows[f"{_record_key(change)}|{name}"] = _observed(change, name, value, delivery.at, run)
        if rows:
            table = pa.Table.from_pylist(list(rows.values()), schema=tables.OBSERVED)
            with mart.transaction():
                mart.merge("observed", _as_seen(mart, ibis.memtable(table)))
        outbox.mark_applied(state, [delivery for delivery, _ in pairs])
        settled += len(rows)
    return settled


def _as_seen(mart: Mart, settled: ir.Table) -> ir.Table:
    """The settled values, each with the version of its record that we have seen."""
    observed, record = mart.table("observed"), mart.table(tables.record_table(Kind.PERSON))
    seen = settled.left_join(observed.select("key", held_at="observed_at"), "key").drop("key_right")
    seen = seen.left_join(
        record.select("key", modified_at="modified_at"), seen.record == record.key, rname="record_{name}"
    )
    at = ibis.coalesce(ibis.greatest(seen.held_at, seen.modified_at), seen.settled_at)
    return seen.mutate(observed_at=at).select(*tables.OBSERVED.names)


def _observed(change: Outbox, name: str, value: Any, at: datetime, run: int) -> dict[str, Any]:
    record = _record_key(change)
    return {
        "key": f"{record}|{name}", "system": change.system, "object_type": change.object_type, "native_id": change.native_id,
        "record": record, "field": name, "value": as_text(value),
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
