"""Outbox to system: what enters it, what is let go, and when a delivery ends. How batches go is `dispatch`'s.

Persist before acting: a change is in the outbox before it is sent, *in flight* with its attempt while it is, and has exactly one
outcome for each attempt. What a kill or a lost reply leaves in flight is settled by reading the system, never by sending it
again blindly. Outcomes go to the state first, then to the mart's observed values, each marked when it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from pydantic import Field

from connector import clock
from connector.budget import CONSENT, Governor
from connector.cost import Meter, urgency
from connector.dispatch import Admit, Delivered, Dispatch, access_of
from connector.errors import ConnectorError, Interrupted, Problem, QuotaExhausted, SystemUnavailable
from connector.model import LANES, Capabilities, Change, Lane, System
from connector.ownership import Fights, Owner
from connector.plan import OUTPUTS, Brakes, Plan
from connector.rules import did_you_mean
from connector.section import Duration, Section
from connector.state import State, outbox, quotas, replans

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


def named(capabilities: Capabilities, overrides: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Object type -> output -> native field: the adapter's own names, with what the configuration says over them; an empty name
    leaves an output out."""
    merged = {
        object_type: {**capabilities.outputs.get(object_type, {}), **overrides.get(object_type, {})}
        for object_type in {**capabilities.outputs, **overrides}
    }
    return {
        object_type: {output: native for output, native in fields.items() if native}
        for object_type, fields in merged.items()
    }


def problems(section: WritebackSection, systems: Mapping[str, Capabilities]) -> Iterator[Problem]:
    """Names in the section that mean nothing (systems that are not configured, object types and outputs that are not there), and
    fields that are to take two outputs."""
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
        yield from _shared(f"writeback.fields.{system}", types, named(systems[system], types))
    for name in section.ownership:
        yield from _owned(name, systems)


def _shared(
    place: str, overrides: Mapping[str, Mapping[str, str]], types: Mapping[str, Mapping[str, str]]
) -> Iterator[Problem]:
    """Native fields of two outputs: one of them would be lost. Systems tell no names apart by their case alone."""
    for object_type, fields in types.items():
        holders: dict[str, str] = {}
        for output in sorted(
            fields, key=lambda name: name in overrides.get(object_type, {})
        ):  # the adapter's own first
            native = fields[output]
            first = holders.setdefault(native.casefold(), output)
            if first != output:
                what = f'"{native}" takes {first} already, and a field takes one output'
                mend = f'name another field, or leave {first} out: {first} = ""'
                yield Problem(f"{place}.{object_type}.{output}", what, mend)


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


# ------------------------------------------------------------------------------------------------------------ enqueue


def enqueue(state: State, plan: Plan, *, run: int, now: datetime, weighed_by: int = 0) -> int:
    """Put a plan into the outbox, in one transaction. Returns how many changes went in.

    An older change of the same record that is still waiting is superseded; a change that is there already stays. So a plan
    that is put in again, after a kill before `mark_planned`, adds nothing. Only what was held before the run `weighed_by`, which made
    the plan, goes in anew: it plans such a change only once the brakes are set otherwise.
    """
    rows = [_row(change, plan.held.get(change.key, ""), run, now) for change in plan.changes]
    return outbox.enqueue(state, rows, weighed_by)


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
    unread: Set[str] = frozenset(),
    is_readable: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Delivered:
    """Send what waits for one system, lane by lane, batch by batch; ends between two batches when it is asked to.

    A failure of the system as a whole is returned in `error`, not raised: what was not sent waits. unread: the object types of which
    nobody knows what their records hold now; their fields wait. is_readable: the system answered when it was read in this run.
    """
    if system.target is None:
        return Delivered(system.name)
    limits = section.max_attempts, section.ask_again_after
    lanes = _lanes(capabilities, section.fields.get(system.name, {}))
    dispatch = Dispatch(state, system, system.target, *limits, run, unread, lanes, is_readable)
    governor, meter = system.governor, Meter(system.count_calls or capabilities.count_calls)
    calls, error = system.calls(), None

    def admit(batch: list[Change]) -> None:
        if governor is not None:
            governor.admit(urgency(batch).value, meter.calls(batch))

    try:
        if governor is not None:
            governor.admit(CONSENT, 0)  # what was begun is settled, whatever it is
        if not is_stopping():
            release_mended(state, system, section)
            dispatch.reconcile()
        lost = _send_waiting(dispatch, capabilities, admit, is_stopping, on_progress)
        while not is_stopping() and dispatch.look_up():
            lost = _send_waiting(dispatch, capabilities, admit, is_stopping, on_progress)
        error = lost or dispatch.silence
    except ConnectorError as problem:
        error = _dated(problem, governor)
    if isinstance(error, SystemUnavailable) and is_stopping():  # not waited for long enough to say that
        error = Interrupted(str(error), sent=error.sent, hint=error.hint, system=system.name)
    _note_wait(state, system.name, error)
    return dispatch.result(system.calls() - calls, error)


def _lanes(capabilities: Capabilities, overrides: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], Lane]:
    """The lane of each field that takes an output, by object type and native name."""
    return {
        (object_type, native): OUTPUTS[output][0]
        for object_type, fields in named(capabilities, overrides).items()
        for output, native in fields.items()
    }


def _send_waiting(
    dispatch: Dispatch,
    capabilities: Capabilities,
    admit: Admit,
    is_stopping: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> SystemUnavailable | None:
    """Send what waits, window by window. Returns why it ended where the system does not answer; raises what else ends it."""
    try:
        while (waiting := dispatch.take(capabilities.window)) and not is_stopping():
            going = takewhile(lambda _: not is_stopping(), dispatch.batches(waiting, capabilities))
            dispatch.send(going, admit, on_progress)
    except SystemUnavailable as error:
        return error
    return None


def _dated(problem: ConnectorError, governor: Governor | None) -> ConnectorError:
    """The error, with when the quota comes back where that can be found out."""
    if isinstance(problem, QuotaExhausted) and problem.resets_at is None and governor is not None:
        problem.resets_at = governor.resets_at()
    return problem


def _note_wait(state: State, system: str, error: ConnectorError | None) -> None:
    out = quotas.Wait(str(error), error.resets_at) if isinstance(error, QuotaExhausted) else None
    quotas.note_wait(state, system, out)


def ask_access_anew(state: State, systems: Iterable[str]) -> None:
    """The next delivery asks what may be written, however lately that was asked: somebody has just mended or looked at it."""
    for name in systems:
        state.set_note(f"{_ACCESS_NOTE}{name}", "")


def release_mended(state: State, system: System, section: WritebackSection) -> None:
    """Let set-aside changes go when the system describes their object otherwise than when it refused them: a permission was
    given, a field lengthened, a picklist value added. Asked once an hour (`ask_access_anew`), and not for what was refused too often."""
    now, note = clock.now(), f"{_ACCESS_NOTE}{system.name}"
    asked = state.note(note)
    aside = [row for row in replans.refused(state, system.name) if row.stream]
    if not aside or (asked and clock.is_within(_ASK_ACCESS_EVERY, datetime.fromisoformat(asked), now)):
        return
    state.set_note(note, now.isoformat())
    accesses = {name: access_of(system, name) for name in sorted({row.stream for row in aside})}
    replans.note_access(state, {row.key: accesses[row.stream] for row in aside if not row.access})
    changed = [row for row in aside if row.access and accesses[row.stream] not in ("", row.access)]
    replans.let_go(state, [row.key for row in changed if row.attempts < section.max_attempts], now)
