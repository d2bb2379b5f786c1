"""What a sync would send: the plan less what the outbox knows already, what goes besides it and why, and what that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connector import settlement
from connector.cost import Cost, cost
from connector.mart import Mart
from connector.model import Change, System
from connector.plan import Plan
from connector.state import outbox, replans
from connector.state.models import Outbox
from connector.steps import standing
from connector.steps.setup import Connected, Moment, Setup
from connector.tables import record_key

_WHY = {
    replans.CONFLICT: "planned anew: the record was not what we thought",
    replans.RELEASED: "set aside before: what refused it is mended",
    replans.THAWED: "no longer frozen",
    replans.FROZEN: "planned anew: a field of it is frozen now",
}


@dataclass(frozen=True)
class Again:
    """A change that goes although nothing new is known of its record, and why."""

    change: Change
    why: str


@dataclass(frozen=True)
class Preview:
    """`plan`: what would enter the outbox. `again`: what goes besides, or in it again. `aside`: what stays set aside.

    `held`: how many changes are held then, by why. `costs`: the calls by system; `let_go`: how many more it takes once the brakes let
    go what they hold.
    """

    plan: Plan
    again: Sequence[Again]
    aside: int
    held: Mapping[str, int]
    costs: Mapping[str, Cost]
    let_go: Mapping[str, int]


def preview(setup: Setup, mart: Mart, systems: Mapping[str, System], plan: Plan, moment: Moment) -> Preview:
    """What delivering this plan now would send, with what waits in the outbox already; what is held there the plan has weighed anew,
    if the brakes may be set otherwise."""
    is_weighed, stopped = standing.is_changed(setup), outbox.braked(setup.state)
    known = outbox.known(setup.state, [change.key for change in plan.changes])
    if is_weighed:
        known -= {row.key for row in stopped}
        stopped = []
    fresh = replace(
        plan,
        changes=tuple(change for change in plan.changes if change.key not in known),
        held={key: why for key, why in plan.held.items() if key not in known},
    )
    lost, owned = standing.redirections(setup, mart), standing.reassignments(setup, mart)
    moved = [
        Again(
            settlement.as_change(_at(row, place)),
            "its record is there again"
            if place["native_id"] == row.native_id
            else f"the record is gone, now for {place['object_type']} {place['native_id']}",
        )
        for row, place in lost
    ]
    moved += [
        Again(
            settlement.as_change(_at(row, place)),
            "refused before: its owner was changed since, and is active"
            if place["task"]["owner"] == row.task["owner"]
            else "refused before: the record has another owner now",
        )
        for row, place in owned
    ]
    over = {*standing.unwanted(setup, mart), *(row.id for row, _ in [*lost, *owned])}
    staying = [row for row in _staying(outbox.pending(setup.state, moment.now), plan, fresh) if row.id not in over]
    braked = [row for row in _staying(stopped, plan, fresh) if row.id not in over]
    waiting = [Again(settlement.as_change(row), _waits(row)) for row in staying]
    reasons = replans.reasons(setup.state)
    mended = [each for each in fresh.changes if each.task is None and _record(each) in reasons]  # a fresh task is news
    released = [Again(each, _WHY[reasons[_record(each)]]) for each in mended]
    going = [*(each.change for each in [*waiting, *moved]), *fresh.going]
    held = [*map(settlement.as_change, braked), *(each for each in fresh.changes if each.key in fresh.held)]
    costs = _costs(setup, systems, going)
    let_go = {name: each.total - costs[name].total for name, each in _costs(setup, systems, [*going, *held]).items()}
    aside = {f"change|{each.change.key}" for each in moved}
    stays = sum(row.key not in aside for row in replans.refused(setup.state))
    stopping = Counter([*(row.held_because for row in braked), *fresh.held.values()])
    return Preview(fresh, [*moved, *released, *waiting], stays, stopping, costs, let_go)


def _staying(rows: Iterable[Outbox], plan: Plan, fresh: Plan) -> list[Outbox]:
    """What of these rows of the outbox no change of the plan takes the place of."""
    replaced = {_record(change) for change in fresh.changes if change.task is None}
    wanted = {change.key for change in plan.changes}
    return [
        row
        for row in rows
        if row.task or row.key.startswith(outbox.UNDO) or row.key in wanted or settlement.record_key(row) not in replaced
    ]  # fmt: skip


def _waits(row: Outbox) -> str:
    return f"waiting since run {row.run}" + (f", tried {row.attempt} times" if row.attempt > 1 else "")


def _at(row: Outbox, place: Mapping[str, Any]) -> Outbox:
    return Outbox(**{**row.model_dump(), **place})


def _record(change: Change) -> str:
    return record_key(change.system, change.object_type, change.native_id)


def _costs(setup: Setup, systems: Mapping[str, System], changes: Sequence[Change]) -> dict[str, Cost]:
    return {
        name: _cost([each for each in changes if each.system == name], connected, systems.get(name))
        for name, connected in setup.systems.items()
        if not setup.writeback.systems or name in setup.writeback.systems
    }


def _cost(changes: Sequence[Change], connected: Connected, system: System | None) -> Cost:
    if system is None:
        return cost(changes, connected.capabilities, None)
    budget = system.governor.budget() if system.governor is not None else None
    told = cost(changes, connected.capabilities, budget, system.count_calls)
    if told.waiting and budget is not None and budget.resets_at is None and system.governor is not None:
        return replace(told, budget=replace(budget, resets_at=system.governor.resets_at()))
    return told
