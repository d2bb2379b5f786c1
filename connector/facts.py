"""Facts: one wide row per person with everything that the conditions of stages and tasks read.

The columns are `subject`, `score`, `fit`, `engagement` (billionths of a point), `grade`, `reasons`, `has_open_opportunity`,
`last_event_at`, `due_at` (when time alone changes a fact), one `person_…` or `account_…` for each golden column that is
read, and one `count_of_…` or `days_since_…` for each fact. A window of n days is today and the n - 1 UTC days before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from connector import rules
from connector.expressions import Instant, day_of
from connector.rules import Condition, Fact
from connector.tables import BOOL, INSTANT, TEXT

_OWN_TYPES: Mapping[str, pa.DataType] = {"grade": TEXT, "has_open_opportunity": BOOL, "last_event_at": INSTANT}
_OWN = pa.schema(_OWN_TYPES)
_POINTS = ("score", "fit", "engagement")

#: What the gates of stages may name, and what triggers of tasks may: the same and the stage.
GATE_SCOPE = rules.scope({**rules.GOLDEN, "": _OWN}, points=_POINTS, kinds=rules.ACTIVITY_KINDS)
TRIGGER_SCOPE = rules.scope(
    {**rules.GOLDEN, "": _OWN.append(pa.field("stage", TEXT))}, points=_POINTS, kinds=rules.ACTIVITY_KINDS
)


@dataclass(frozen=True, slots=True)
class Known:
    """The tables that facts are made of. `persons` are those for whom they are asked; the others may be whole tables.

    `scores` holds the scores of one model; `days` at least the rows of model "" (activities by kind and day).
    """

    persons: ir.Table
    accounts: ir.Table
    scores: ir.Table
    membership: ir.Table
    days: ir.Table
    opportunities: ir.Table
    contact_roles: ir.Table


def facts(conditions: Sequence[Condition], known: Known, now: Instant) -> ir.Table:
    """The facts of `known.persons` at `now`, with the columns that the conditions read (see the module's docstring)."""
    columns = sorted({column for condition in conditions for column in condition.columns})
    members = known.membership.filter(known.membership.kind == "person")
    mine = members.semi_join(known.persons, members.owner_id == known.persons.key)
    owners = mine.select(of="key", owned_by="owner_id")
    rows = _golden(known, columns)
    for part in (_scored(known.scores), _opportunities(known, owners), _done(conditions, known, owners, now)):
        rows = rows.left_join(part, rows.subject == part.whose).drop("whose")
    counts = [fact.column for condition in conditions for fact in condition.facts if fact.days is not None]
    return rows.mutate(
        has_open_opportunity=rows.has_open_opportunity.fill_null(False),
        **{column: rows[column].fill_null(0) for column in (*_POINTS, *counts)},
    )


def _golden(known: Known, columns: Sequence[str]) -> ir.Table:
    persons, accounts = known.persons, known.accounts
    mine = {column: column.removeprefix("person_") for column in columns if column.startswith("person_")}
    theirs = {column: column.removeprefix("account_") for column in columns if column.startswith("account_")}
    rows = persons.select(subject="key", at="account", **{name: persons[source] for name, source in mine.items()})
    held = accounts.select(whose="key", **{name: accounts[source] for name, source in theirs.items()})
    return rows.left_join(held, rows.at == held.whose).drop("whose", "at") if theirs else rows.drop("at")


def _scored(scores: ir.Table) -> ir.Table:
    return scores.select("score", "fit", "engagement", "grade", "reasons", whose="subject")


def _opportunities(known: Known, owners: ir.Table) -> ir.Table:
    roles = known.contact_roles.filter(known.contact_roles.deleted_at.isnull()).select("opportunity", "person")
    live = known.opportunities.filter(known.opportunities.deleted_at.isnull()).select("key", "is_closed")
    open_ones = live.filter(~live.is_closed.fill_null(False))
    held = roles.inner_join(open_ones, roles.opportunity == open_ones.key)
    owned = held.inner_join(owners, held.person == owners.of)
    return owned.select(whose="owned_by").distinct().mutate(has_open_opportunity=True)


def _done(conditions: Sequence[Condition], known: Known, owners: ir.Table, now: Instant) -> ir.Table:
    """What was done by whom: first per record, so that the join with whose it is has one row of each."""
    done = known.days.filter(known.days.model == "")
    wanted = {fact.column: fact for condition in conditions for fact in condition.facts}
    waits = {f"due_{at}": wait for at, wait in enumerate(_due(conditions, done, now))}
    made = {name: _measured(done, fact, now) for name, fact in wanted.items()}
    recorded = done.group_by("record").agg(last_event_at=done.last_at.max(), **made, **waits)
    rows = recorded.inner_join(owners, recorded.record == owners.of)
    counts = {name: rows[name].sum() for name, fact in wanted.items() if fact.days is not None}
    soonest = {name: rows[name].min() for name in (*(set(wanted) - set(counts)), *waits)}
    summed = rows.group_by(whose="owned_by").agg(last_event_at=rows.last_event_at.max(), **counts, **soonest)
    return _with_soonest(summed, len(waits), now)


def _measured(done: ir.Table, fact: Fact, now: Instant) -> ir.Value:
    is_kind = done.rule == fact.kind
    if fact.days is None:
        return day_of(now).delta(done.day.max(where=is_kind), unit="day")
    return done.events.sum(where=is_kind & _is_within(done, fact.days, now))


def _is_within(done: ir.Table, days: int, now: Instant) -> ir.Value:
    return (day_of(now).delta(done.day, unit="day") < days) if days else ibis.literal(True)


def _due(conditions: Sequence[Condition], done: ir.Table, now: Instant) -> list[ir.Value]:
    """For each fact the days until it next changes: a day leaves its window, or its age reaches a number that is asked for."""
    age = day_of(now).delta(done.day, unit="day")
    waits = []
    for condition in conditions:
        for fact in condition.facts:
            is_kind = done.rule == fact.kind
            if fact.days:
                waits.append((fact.days - age).min(where=is_kind & (age < fact.days)))
            elif fact.days is None:
                latest = age.min(where=is_kind)
                reached = sorted({int(number) + more for number in condition.numbers for more in (0, 1)})
                if reached:
                    waits.append(ibis.cases(*((latest < number, number - latest) for number in reached)))
    return waits


def _with_soonest(summed: ir.Table, count: int, now: Instant) -> ir.Table:
    names = [f"due_{at}" for at in range(count)]
    never = 1_000_000
    soonest = reduce(ibis.least, [summed[name].fill_null(never) for name in names], ibis.literal(never))
    due_at = day_of(now).cast("timestamp('UTC')") + soonest.nullif(never).as_interval("D")
    return summed.mutate(due_at=due_at).drop(*names)
