"""Stages: where a person is between a first trace and a loyal customer, both ways, with a memory of how they got there.

A person is in one stage of an ordered list. At each run they move up to the highest stage that lets them in, at once and over
several stages if need be; else, when the exit condition of their stage holds and they have dwelt in it long enough, they fall
to the nearest lower stage whose exit condition does not hold. A stage never takes in whom it would send away at once, so
the same facts never move a person twice. Scores depend on facts and `now` alone; stages also on when runs happened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import timedelta

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field, field_validator

from connector import gates, rules, triggers
from connector.errors import Problem
from connector.expressions import Instant, Number, built_once, instant_of, number_of
from connector.facts import GATE_SCOPE, Known, facts
from connector.section import Duration, Section
from connector.tables import DUE, STAGE_INTERVAL
from connector.triggers import TaskSection, baselined, carried, compiled, draft, fire, forgotten, targets, unreachable

__all__ = [
    "Known",
    "LifecycleSection",
    "Stage",
    "TaskSection",
    "advance",
    "baselined",
    "carried",
    "close_merged",
    "conditions",
    "draft",
    "due",
    "facts",
    "fire",
    "forgotten",
    "levels",
    "problems",
    "resume",
    "stage_metrics",
    "stayed",
    "targets",
    "unreachable",
]

_GATES = ("", ".enter", ".exit")
MERGED = "merged into another person"


class Stage(Section):
    """One entry of `stages`. The first stage takes everybody and has neither condition."""

    name: str = Field(description="name, as the CRM shows it", min_length=1, max_length=40)
    enter: str = Field("", description="condition that moves a person up into it")
    exit: str = Field("", description="condition that lets a person fall out of it; never when empty")

    @field_validator("enter", "exit")
    @classmethod
    def _is_a_condition(cls, value: str) -> str:
        return rules.checked(value, GATE_SCOPE) if value else value


def _default_stages() -> tuple[Stage, ...]:
    return (
        Stage(name="Discover", enter="", exit=""),
        Stage(name="Explore", enter="engagement >= 5", exit="engagement < 2"),
        Stage(name="Engage", enter="score >= 40", exit="score < 30"),
        Stage(
            name="Buy",
            enter="score >= 60 or has_open_opportunity",
            exit="score < 50 and not has_open_opportunity",
        ),
        Stage(name="Retain", enter="count_of('purchased') > 0", exit="count_of('purchased') = 0"),
    )


class LifecycleSection(Section):
    """`[lifecycle]`: the stages in order, lowest first."""

    model: str = Field(
        "default", description="the scoring model whose score, grade, fit and engagement the conditions read"
    )
    stages: tuple[Stage, ...] = Field(default_factory=_default_stages, description="the stages, lowest first")
    dwell: Duration = Field(timedelta(days=1), description="least time in a stage before a person falls out of it")

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages, lowest first."""
        return tuple(stage.name for stage in self.stages)

    @property
    def definition(self) -> str:
        """The fingerprint of what the stages mean; it stands in every interval."""
        said = json.dumps([[stage.name, stage.enter, stage.exit] for stage in self.stages])
        return hashlib.blake2b(said.encode(), digest_size=6).hexdigest()


def problems(
    section: LifecycleSection,
    tasks: Mapping[str, TaskSection],
    grades: Sequence[str] = (),
    gone: Set[str] = frozenset(),
) -> list[Problem]:
    """What is wrong with stages and tasks as a whole: with options that do not go together. Reads nothing.

    grades: those of the scoring model; none when they are not known. gone: paths of options that are wrong in themselves;
    nothing is concluded from their absence.
    """
    names: dict[str, Sequence[str]] = {"grade": grades} if grades else {}
    found: list[Problem] = []
    if "lifecycle.stages" not in gone:
        found += _stage_problems(section, names, gone)
        if all(section.stage_names):
            names["stage"] = section.stage_names
    for name, task in tasks.items():
        if task.when:  # else it is wrong in itself
            found += triggers.problems(task, f"tasks.{name}", names)
    return found


def _stage_problems(section: LifecycleSection, names: Mapping[str, Sequence[str]], gone: Set[str]) -> Iterator[Problem]:
    stages = tuple((stage.name or "", stage.enter, stage.exit) for stage in section.stages)
    open_ones = {at for at in range(len(stages)) if gone & {f"lifecycle.stages[{at}]{gate}" for gate in _GATES}}
    yield from gates.problems(stages, "lifecycle.stages", frozenset(open_ones))
    for at, (_, *gate) in enumerate(stages):
        for option, text in zip(("enter", "exit"), gate, strict=True):
            if text:
                condition = rules.compile_condition(text, GATE_SCOPE)
                for told in rules.undefined(condition, names):
                    yield Problem(f"lifecycle.stages[{at}].{option}", *told)


def conditions(section: LifecycleSection, tasks: Mapping[str, TaskSection]) -> list[rules.Condition]:
    """All conditions of stages and tasks: what `facts` must have columns for."""
    gated = [
        rules.compile_condition(text, GATE_SCOPE)
        for stage in section.stages
        for text in (stage.enter, stage.exit)
        if text
    ]
    return [*gated, *(condition for task in tasks.values() for condition in compiled(task).conditions)]


def levels(section: LifecycleSection, tasks: Mapping[str, TaskSection]) -> dict[str, list[float]]:
    """The scores and engagements whose crossing matters: what `scoring.scores` takes as `levels`."""
    found: dict[str, list[float]] = {name: [] for name in rules.FADING}
    for condition in conditions(section, tasks):
        for name in found:
            if any(field.name == name for field in condition.fields):
                found[name] += condition.numbers
    return found


# ------------------------------------------------------------------------------------------------------------ moving


@built_once
def advance(section: LifecycleSection, facts: ir.Table, current: ir.Table, now: Instant, run: Number) -> ir.Table:
    """The rows of tables.STAGE_INTERVAL to merge by key: intervals that close, and those that open at `now`.

    `facts` holds the persons to look at, `current` (at least) their open intervals. Who does not move gives no row. Of who does,
    what a wrong clock had let end in a time to come ends now.
    """
    moved = _moves(section, facts, current, now)
    left = _cut(current.semi_join(moved, "subject"), now, run)
    return ibis.union(_closed(section, moved, now, run), _opened(section, moved, now, run), left)


def _moves(section: LifecycleSection, facts: ir.Table, current: ir.Table, now: Instant) -> ir.Table:
    """`facts` of those who move, with `from_*` of their open interval (null: none), `at` and `to` (positions of stages)."""
    rows = _placed(section, facts, current)
    top = len(section.stages) - 1
    up = ibis.cases(*((rows[f"lets_in_{at}"] & (rows.at < at), at) for at in range(top, -1, -1)))
    dwelt = rows.from_entered_at + ibis.interval(seconds=_seconds(section.dwell)) <= instant_of(now)
    falls = rows.is_leaving & (dwelt | (rows.from_entered_at > instant_of(now)))  # in a time to come: by a wrong clock
    kept = ibis.cases(*((~rows[f"sends_away_{at}"] & (rows.at > at), at) for at in range(top, -1, -1)))
    rows = rows.mutate(to=ibis.coalesce(up, ibis.ifelse(falls, kept, None)), is_up=up.notnull())
    return rows.filter(rows.to.notnull())


def _placed(section: LifecycleSection, facts: ir.Table, current: ir.Table) -> ir.Table:
    """Facts with the open interval, its position (-1: in no stage that still exists) and what each gate says."""
    opened = current.filter(current.left_at.isnull() & (current.model == section.model))
    held = opened.select(
        whose="subject",
        **{f"from_{name}": opened[name] for name in ("key", "definition", "stage", "entered_at", "why")},
    )
    rows = facts.left_join(held, facts.subject == held.whose).drop("whose")
    positions = [(rows.from_stage == name, position) for position, name in enumerate(section.stage_names)]
    gates_say: dict[str, ir.Value] = {}
    for position, stage in enumerate(section.stages):
        leaves = rules.compile_condition(stage.exit, GATE_SCOPE).expr(rows) if stage.exit else ibis.literal(False)
        enters = (
            rules.compile_condition(stage.enter, GATE_SCOPE).expr(rows) if stage.enter else ibis.literal(position == 0)
        )
        gates_say |= {f"sends_away_{position}": leaves, f"lets_in_{position}": enters & ~leaves}
    rows = rows.mutate(at=ibis.cases(*positions, else_=-1).cast("int64"), **gates_say)
    leaving = ibis.cases(*((rows.at == at, rows[f"sends_away_{at}"]) for at in range(len(section.stages))), else_=False)
    return rows.mutate(is_leaving=leaving)


def _closed(section: LifecycleSection, moved: ir.Table, now: Instant, run: Number) -> ir.Table:
    left = moved.filter(moved.from_key.notnull() & (moved.from_entered_at != instant_of(now)))
    why = ibis.ifelse(
        left.at < 0, "no longer defined: placed anew in ", ibis.ifelse(left.is_up, "moved up to ", "fell back to ")
    )
    return left.select(
        key=left.from_key,
        subject=left.subject,
        model=ibis.literal(section.model),
        definition=left.from_definition,
        stage=left.from_stage,
        entered_at=ibis.least(left.from_entered_at, instant_of(now)),
        left_at=instant_of(now),
        why=left.from_why,
        left_why=why + _named(section, left.to),
        run=number_of(run),
    ).cast(ibis.Schema.from_pyarrow(STAGE_INTERVAL))


def _cut(intervals: ir.Table, now: Instant, run: Number) -> ir.Table:
    """Those that were left in a time to come, left `now`: what comes next begins then."""
    ahead = intervals.filter(intervals.left_at > instant_of(now))
    begun = ibis.least(ahead.entered_at, instant_of(now))
    return ahead.mutate(entered_at=begun, left_at=instant_of(now), run=number_of(run)).cast(
        ibis.Schema.from_pyarrow(STAGE_INTERVAL)
    )


def _opened(section: LifecycleSection, moved: ir.Table, now: Instant, run: Number) -> ir.Table:
    rose = ibis.cases(*((moved.to == at, words) for at, words in enumerate(_words(section, "enter"))))
    fell = "fell back from " + moved.from_stage + ": "
    fell = fell + ibis.cases(*((moved.at == at, words) for at, words in enumerate(_words(section, "exit"))))
    return moved.select(
        key=moved.subject + f"|{section.model}|" + instant_of(now).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        subject=moved.subject,
        model=ibis.literal(section.model),
        definition=ibis.literal(section.definition),
        stage=_named(section, moved.to),
        entered_at=instant_of(now),
        left_at=ibis.literal(None, "timestamp('UTC')"),
        why=ibis.ifelse(moved.is_up, rose, fell),
        left_why=ibis.literal(None, "string"),
        run=number_of(run),
    ).cast(ibis.Schema.from_pyarrow(STAGE_INTERVAL))


def _words(section: LifecycleSection, gate: str) -> list[str]:
    texts = [getattr(stage, gate) for stage in section.stages]
    return [rules.compile_condition(text, GATE_SCOPE).words if text else "first seen" for text in texts]


def _named(section: LifecycleSection, position: ir.Value) -> ir.Value:
    return ibis.cases(*((position == at, name) for at, name in enumerate(section.stage_names)))


@built_once
def close_merged(current: ir.Table, gone: ir.Table, now: Instant, run: Number) -> ir.Table:
    """The open intervals of persons who were merged away (`gone`: subject), closed at `now`, as rows to merge by key."""
    theirs = current.semi_join(gone, "subject")
    held = theirs.filter(theirs.left_at.isnull())
    begun = ibis.least(held.entered_at, instant_of(now))
    closed = held.mutate(entered_at=begun, left_at=instant_of(now), left_why=ibis.literal(MERGED), run=number_of(run))
    return closed.cast(ibis.Schema.from_pyarrow(STAGE_INTERVAL)).union(_cut(theirs, now, run))


@built_once
def stayed(moves: ir.Table, current: ir.Table, parted: ir.Table) -> ir.Table:
    """The rows of `advance`, where those who begin in the stage of the person that they parted from have been there as long.

    `parted`: subject, whose records went `into` whom.
    """
    held = current.filter(current.left_at.isnull()).select(
        whose="subject", of="model", stood="stage", since="entered_at"
    )
    new = parted.anti_join(current, parted.into == current.subject)
    before = (
        new.inner_join(held, new.subject == held.whose).group_by("into", "of", "stood").agg(since=ibis._.since.min())
    )
    same = (moves.subject == before.into) & (moves.model == before.of) & (moves.stage == before.stood)
    rows = moves.left_join(before, same)
    return rows.mutate(entered_at=ibis.coalesce(rows.since, rows.entered_at)).select(*STAGE_INTERVAL.names)


@built_once
def resume(intervals: ir.Table, back: ir.Table, run: Number) -> ir.Table:
    """The last intervals of persons whose ids came back after a split (`back`: subject), open again, as rows to merge."""
    theirs = intervals.semi_join(back, "subject")
    by_age = [theirs.entered_at.desc(), theirs.left_at.isnull().desc(), theirs.left_at.desc(), theirs.key.desc()]
    newest = ibis.row_number().over(group_by=["subject", "model"], order_by=by_age)
    last = theirs.mutate(place=newest).filter(ibis._.place == 0).drop("place")
    reopened = last.filter(last.left_why == MERGED)
    nothing = {"left_at": ibis.literal(None, "timestamp('UTC')"), "left_why": ibis.literal(None, "string")}
    return reopened.mutate(**nothing, run=number_of(run)).cast(ibis.Schema.from_pyarrow(STAGE_INTERVAL))


@built_once
def due(section: LifecycleSection, facts: ir.Table, current: ir.Table, now: Instant) -> ir.Table:
    """When time alone may move a person, as tables.DUE: a dwell that is reached, a fact that a window or an age changes.

    `current` are the open intervals after `advance`. (Scores have their own: scoring.due.)
    """
    rows = _placed(section, facts, current)
    dwelt = rows.from_entered_at + ibis.interval(seconds=_seconds(section.dwell))
    is_entered = rows.from_entered_at <= instant_of(now)
    staying = rows.filter(rows.is_leaving & is_entered & (dwelt > instant_of(now)))
    waiting = staying.select(
        "subject",
        why=ibis.literal("dwell"),
        due_at=staying.from_entered_at + ibis.interval(seconds=_seconds(section.dwell)),
    )
    changing = facts.filter(facts.due_at.notnull()).select("subject", why=ibis.literal("fact"), due_at="due_at")
    both = waiting.union(changing)
    return both.mutate(key=both.subject + "|" + both.why).select(*DUE.names).cast(ibis.Schema.from_pyarrow(DUE))


# ----------------------------------------------------------------------------------------------------------- metrics


def stage_metrics(section: LifecycleSection, intervals: ir.Table, scores: ir.Table, now: Instant) -> ir.Table:
    """One row per stage, lowest first, whether anybody was in it or not.

    Columns: position, stage, contacts (in it now), entered (ever), moved_up and fell_back (of those who left), conversion (share
    of those who left that moved up), average_days (in it, until now for those still there), average_score, average_engagement.
    """
    mine = intervals.filter(intervals.model == section.model)
    order = ibis.window(group_by="subject", order_by=["entered_at", mine.left_at.isnull(), "left_at", "key"])
    rows = mine.mutate(then=mine.stage.lead().over(order))
    stages = ibis.memtable(pa.table({"stage": list(section.stage_names), "position": list(range(len(section.stages)))}))
    after = stages.select(then="stage", then_position="position")
    rows = rows.inner_join(stages, "stage").left_join(after, "then")
    held = scores.filter(scores.model == section.model).select(whose="subject", score="score", engagement="engagement")
    rows = rows.left_join(held, rows.subject == held.whose)
    is_open = rows.left_at.isnull()
    until = ibis.least(
        ibis.coalesce(rows.left_at, instant_of(now)), instant_of(now)
    )  # none of a wrong clock's time to come
    stayed_s = ibis.greatest(until.epoch_seconds() - rows.entered_at.epoch_seconds(), 0)
    summed = rows.group_by("stage").agg(
        contacts=is_open.sum(),
        entered=rows.count(),
        moved_up=(rows.then_position > rows.position).sum(),
        fell_back=(rows.then_position < rows.position).sum(),
        average_days=stayed_s.mean() / 86_400,
        average_score=rows.score.mean(where=is_open) / 1e9,
        average_engagement=rows.engagement.mean(where=is_open) / 1e9,
    )
    told = stages.left_join(summed, "stage").drop("stage_right")
    zero = {name: told[name].fill_null(0) for name in ("contacts", "entered", "moved_up", "fell_back")}
    told = told.mutate(**zero)
    left = told.moved_up + told.fell_back
    return told.mutate(conversion=told.moved_up / left.nullif(0)).order_by("position")


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())
