"""Outbox to system: enqueue, deliver, reconcile, settle, supersede.

Persist before acting: a change is in the outbox before it is sent, *in flight* with its attempt while it is, and has exactly one
outcome for each attempt. What a kill or a lost reply leaves in flight is settled by reading the system, never by sending it
again blindly. Outcomes go to the state first, then to the mart's observed values, each marked when it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any

from pydantic import Field

from connector import clock, settlement
from connector.budget import CONSENT, Governor
from connector.cost import Meter, urgency
from connector.errors import ConnectorError, Problem, QuotaExhausted, SystemFailure, SystemUnavailable
from connector.model import LANES, Capabilities, Change, Lane, Outcome, Result, System, Target
from connector.ownership import Fights, Owner
from connector.plan import OUTPUTS, Brakes, Plan, batches
from connector.rules import did_you_mean
from connector.section import Duration, Section
from connector.state import State, outbox, quotas, replans

_ASKED_AT_ONCE = 200
_ACCESS_NOTE = "access_asked:"
_ASK_ACCESS_EVERY = timedelta(hours=1)


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
    ownership: dict[str, Owner] = Field(
        default_factory=dict,
        description="who owns an output (or system.output, or system.type.output): own, fill, defer or alert; own when not named",
    )
    defer_for: Duration = Field(
        timedelta(days=30), description="how long a person's edit of a field with the owner defer stands"
    )
    fights: Fights = Field(
        default_factory=lambda: Fights.model_validate({}),
        description="when a field that somebody keeps changing is frozen",
    )
    max_attempts: int = Field(5, ge=1, description="attempts before a change is set aside")
    ask_again_after: Duration = Field(
        timedelta(minutes=15), description="how long an unknown outcome may stay uncertain before it is asked again"
    )
    brakes: Brakes = Field(
        default_factory=lambda: Brakes.model_validate({}), description="what holds a lane until a person has looked"
    )


def problems(section: WritebackSection, systems: Mapping[str, Capabilities]) -> Iterator[Problem]:
    """Names in the section that mean nothing: systems that are not configured, object types and outputs that are not there."""
    for number, name in enumerate(section.systems):
        if name not in systems:
            yield _unknown(f"writeback.systems[{number}]", f"there is no [systems.{name}]", name, systems)
    for system, types in section.fields.items():
        if system not in systems:
            yield _unknown(f"writeback.fields.{system}", f"there is no [systems.{system}]", system, systems)
            continue
        for object_type, fields in types.items():
            place, known = f"writeback.fields.{system}.{object_type}", systems[system].writable
            if object_type not in known:
                yield _unknown(place, f"{system} has no {object_type} that is written", object_type, known)
            for output in fields.keys() - OUTPUTS.keys():
                yield _unknown(f"{place}.{output}", f'there is no output "{output}"', output, OUTPUTS)
    for name in section.ownership:
        yield from _owned(name, systems)


def _owned(name: str, systems: Mapping[str, Capabilities]) -> Iterator[Problem]:
    """What is wrong with `output`, `system.output` or `system.type.output`."""
    place, (*way, output) = f"writeback.ownership.{name}", name.split(".")
    if way and way[0] not in systems:
        yield _unknown(place, f"there is no [systems.{way[0]}]", way[0], systems)
    elif len(way) > 1 and way[1] not in systems[way[0]].writable:
        yield _unknown(place, f"{way[0]} has no {way[1]} that is written", way[1], systems[way[0]].writable)
    elif len(way) > 2:
        yield Problem(place, "names an output, system.output or system.type.output", "leave the rest out")
    elif output not in OUTPUTS:
        yield _unknown(place, f'there is no output "{output}"', output, OUTPUTS)


def _unknown(place: str, what: str, name: str, known: Iterable[str]) -> Problem:
    return Problem(place, what, did_you_mean(name, list(known)))


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery to one system came to."""

    system: str
    accepted: int = 0
    unchanged: int = 0
    rejected: int = 0
    conflicts: int = 0
    waiting: int = 0
    pending: Mapping[str, int] = field(default_factory=dict)  # lane -> changes that wait for nobody's word
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
        "parent": change.parent,
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
    governor, meter = system.governor, Meter(system.count_calls or capabilities.count_calls)
    calls, error = system.calls(), None
    try:
        if governor is not None:
            governor.admit(CONSENT, 0)  # what was begun is settled, whatever it is
        release_mended(state, system, section)
        _reconcile(delivery)
        while (waiting := _waiting(delivery, capabilities.window)) and not is_stopping():
            for batch in takewhile(lambda _: not is_stopping(), batches(waiting, capabilities)):
                if governor is not None:
                    governor.admit(urgency(batch).value, meter.calls(batch))
                _send(delivery, batch)
                on_progress(len(batch))
    except ConnectorError as problem:
        error = _dated(problem, governor)
    _note_wait(state, system.name, error)
    return delivery.result(system.calls() - calls, error)


def _dated(problem: ConnectorError, governor: Governor | None) -> ConnectorError:
    """The error, with when the quota comes back where that can be found out."""
    if isinstance(problem, QuotaExhausted) and problem.resets_at is None and governor is not None:
        problem.resets_at = governor.resets_at()
    return problem


def _note_wait(state: State, system: str, error: ConnectorError | None) -> None:
    out = quotas.Wait(str(error), error.resets_at) if isinstance(error, QuotaExhausted) else None
    quotas.note_wait(state, system, out)


@dataclass
class _Delivery:
    """One delivery to one system, and the counts of its outcomes."""

    state: State
    system: System
    target: Target
    section: WritebackSection
    run: int
    entries: dict[str, outbox.Entry] = field(default_factory=dict)  # of what is being delivered, by key
    results: Counter[Result] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    accesses: dict[str, str] = field(default_factory=dict)

    def access(self, object_type: str) -> str:
        """A fingerprint of what the system lets us do with an object type; "" when it cannot be asked."""
        if object_type not in self.accesses:
            self.accesses[object_type] = _access(self.system, object_type)
        return self.accesses[object_type]

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
        mine = {(status, lane): count for (status, name, lane), count in counts if name == self.system.name}
        return Delivered(
            system=self.system.name,
            accepted=self.results[Result.ACCEPTED],
            unchanged=self.results[Result.UNCHANGED],
            rejected=self.results[Result.REJECTED],
            conflicts=self.results[Result.CONFLICT],
            waiting=sum(count for (status, _), count in mine.items() if status in outbox.OPEN),
            pending={lane.value: mine["pending", lane.value] for lane in LANES if ("pending", lane.value) in mine},
            unknown=self.results[Result.UNKNOWN],
            calls=calls,
            tasks=self.tasks,
            error=error,
            codes=dict(self.codes),
        )


def release_mended(state: State, system: System, section: WritebackSection) -> None:
    """Let set-aside changes go when the system describes their object otherwise than when it refused them: a permission was
    given, a field lengthened, a picklist value added. Asked once an hour, and not for what was refused too often."""
    now, note = clock.now(), f"{_ACCESS_NOTE}{system.name}"
    asked = state.note(note)
    aside = [row for row in replans.refused(state, system.name) if row.stream]
    if not aside or (asked and now - datetime.fromisoformat(asked) < _ASK_ACCESS_EVERY):
        return
    state.set_note(note, now.isoformat())
    accesses = {name: _access(system, name) for name in sorted({row.stream for row in aside})}
    replans.note_access(state, {row.key: accesses[row.stream] for row in aside if not row.access})
    changed = [row for row in aside if row.access and accesses[row.stream] not in ("", row.access)]
    replans.let_go(state, [row.key for row in changed if row.attempts < section.max_attempts], now)


def _access(system: System, object_type: str) -> str:
    """A fingerprint of what the system lets us do with an object type; "" when it cannot be asked."""
    try:
        return settlement.fingerprint(system.source.describe([object_type]))
    except ConnectorError:
        return ""


def _waiting(delivery: _Delivery, limit: int) -> list[Change]:
    """The next pending changes of a system in the order of delivery: lane by lane, oldest first."""
    lanes = [lane.value for lane in LANES]
    rows = outbox.waiting(delivery.state, delivery.system.name, clock.now(), lanes, limit=limit)
    delivery.entries = {row.key: row for row in rows}
    return [settlement.as_change(row) for row in rows]


def _send(delivery: _Delivery, batch: Sequence[Change]) -> None:
    """One batch: in flight, sent, one outcome each, settled."""
    entries = [delivery.entries[change.key] for change in batch]
    outbox.mark_in_flight(delivery.state, entries)
    try:
        outcomes = delivery.target.write(batch, partial(outbox.note_receipt, delivery.state, entries))
    except ConnectorError:
        outbox.put_back(delivery.state, entries)
        raise
    if [outcome.key for outcome in outcomes] != [change.key for change in batch]:
        raise SystemFailure(
            "the adapter did not give one outcome for each change", hint="report this; the changes are kept in flight"
        )
    _record(delivery, batch, outcomes, entries)
    _stop_where_told(delivery.system.name, outcomes)
    if all(_is_unanswered(outcome) for outcome in outcomes):
        first = outcomes[0]
        raise SystemUnavailable(first.message or "no answer", hint=first.hint, request_id=first.request_id)


def _stop_where_told(system: str, outcomes: Sequence[Outcome]) -> None:
    """A used quota, and what only a person can mend, end the delivery to a system: what was not sent waits."""
    for outcome in outcomes:
        told = {"hint": outcome.hint, "system": system, "request_id": outcome.request_id}
        if outcome.result is Result.STOP:
            raise SystemFailure(outcome.message or outcome.code, **told)
        if outcome.result is Result.WAIT:
            after = outcome.retry_after_s
            resets_at = clock.now() + timedelta(seconds=after) if after is not None else None
            raise QuotaExhausted(outcome.message or outcome.code, resets_at=resets_at, **told)


def _is_unanswered(outcome: Outcome) -> bool:
    """Whether the system said nothing about this change: no code to a record that it asks to try again, nor when it will be
    done with one."""
    if outcome.result is Result.UNKNOWN:
        return not _is_at_work(outcome)
    return outcome.result is Result.RETRY and not outcome.code


def _is_at_work(outcome: Outcome) -> bool:
    """Whether the system is not done with this change, and is to be asked again."""
    return outcome.result is Result.UNKNOWN and outcome.retry_after_s is not None


def _record(
    delivery: _Delivery,
    batch: Sequence[Change],
    outcomes: Sequence[Outcome],
    entries: Sequence[outbox.Entry],
    *,
    is_read: bool = False,
) -> None:
    """Outcomes into the state, with what they mean for the change: settled, waiting, unknown, or set aside.

    is_read: they come from reading, not from sending, so that what is to be sent again need not wait first.
    """
    now, most = clock.now(), delivery.section.max_attempts
    settlements = [
        settlement.settlement(change, outcome, entry.attempt + (not is_read), now, max_attempts=most)
        for change, outcome, entry in zip(batch, outcomes, entries, strict=True)
    ]
    if is_read:
        settlements = [replace(each, not_before_at=None) for each in settlements]
    outbox.keep(delivery.state, list(zip(entries, settlements, strict=True)), run=delivery.run, now=now)
    asides = [
        settlement.aside(change, outcome, now)
        for change, outcome, settled in zip(batch, outcomes, settlements, strict=True)
        if settled.status == "quarantined"
    ]
    if asides:
        for row in asides:
            row.access = delivery.access(row.stream)
        delivery.state.quarantine(asides)
    delivery.add(batch, outcomes)


# ------------------------------------------------------------------------------------------------------------ reconcile


def _reconcile(delivery: _Delivery) -> None:
    """Settle by reading what a kill or a lost reply left in flight or unknown. What the system is still at work on stays so."""
    now = clock.now()
    for part in _asked_together(outbox.in_doubt(delivery.state, delivery.system.name, now)):
        changes = [settlement.as_change(row) for row in part]
        found = delivery.target.find(changes)
        outcomes = [settlement.judge(change, each) for change, each in zip(changes, found, strict=True)]
        told = [each for each in zip(changes, outcomes, part, strict=True) if not _is_at_work(each[1])]
        if told:
            _record(delivery, *map(list, zip(*told, strict=True)), is_read=True)
        delivery.results[Result.UNKNOWN] += len(changes) - len(told)
        unsure = [row for row, each in zip(part, found, strict=True) if not each.is_certain]
        outbox.ask_again(delivery.state, unsure, now + delivery.section.ask_again_after)


def _asked_together(rows: Sequence[outbox.Entry]) -> Iterator[Sequence[outbox.Entry]]:
    """Some at a time; those of one receipt all at once, for there is one answer for them."""
    by_receipt: dict[str, list[outbox.Entry]] = {}
    for row in rows:
        by_receipt.setdefault(row.receipt, []).append(row)
    for receipt, alike in by_receipt.items():
        size = len(alike) if receipt else _ASKED_AT_ONCE
        yield from (alike[start : start + size] for start in range(0, len(alike), size))
