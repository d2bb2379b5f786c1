"""Tasks: a condition that becomes true for a person makes one task for a salesperson, on one record in one system.

A trigger is armed for everybody. When its condition holds it fires once (an episode) and is armed again when the condition no
longer holds, or below `rearm_below`. The first run of a trigger, of a changed one, and of one that was taken out and put
back, is a baseline: those for whom it already holds are disarmed without a task, unless their last event is younger than
`first_run_days` and it had not fired for them before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, reduce
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field, field_validator

from connector import rules, templates
from connector.errors import Problem
from connector.expressions import Instant, Number, built_once, earlier, instant_of, number_of
from connector.facts import TRIGGER_SCOPE
from connector.section import Section, Wrong
from connector.tables import ACCOUNT, DESIRED_TASK, PERSON, POINT, TRIGGER, VISITOR, WEIGHTLESS

MAX_SUBJECT = 255  # Task.Subject holds 255 characters (Salesforce Object Reference, Task)
#: A task's system that is none by name: where the person has an owner.
OWNERS = "owner's"
_DUE = r"^\s*(\d{1,3}) (working day|day|hour|week)s?\s*$"
_BODY = """{{ person.name }} scores {{ score }} ({{ grade }}{% if stage %}, {{ stage }}{% endif %}).
{% for reason in reasons %}
{{ "%+.1f" | format(reason.points) }}  {{ reason.text }}
{%- endfor %}"""


class TaskSection(Section):
    """`[tasks.<name>]`: when to make a task, what it says, whose it is."""

    when: str = Field(description='"score crosses 60", "stage becomes \'Engage\'", or any condition')
    rearm_below: float | None = Field(
        None, description="for crosses: may fire again once below this; the level itself when empty"
    )
    subject: str = Field(description="template over person, account, score, grade, stage, reasons", min_length=1)
    body: str = Field(_BODY, description="template over the same")
    due: str = Field("1 working day", pattern=_DUE, description='when it is due: "1 working day", "4 hours", "2 days"')
    priority: Literal["high", "normal", "low"] = Field("high", description="priority of the task")
    system: str = Field(OWNERS, description='system that gets it, or "owner\'s": where the person has an owner')
    owner: str = Field("", description="native user id of who gets it; the record's owner when empty")
    first_run_days: int = Field(0, ge=0, le=365, description="on its first run make tasks for events younger than this")

    @field_validator("when")
    @classmethod
    def _is_a_trigger(cls, value: str) -> str:
        try:
            rules.compile_trigger(value, TRIGGER_SCOPE)
        except rules.ConditionError as error:
            raise Wrong(*error.told) from None
        return value

    @field_validator("subject", "body")
    @classmethod
    def _is_a_template(cls, value: str) -> str:
        if told := list(templates.wrong(value)):
            raise Wrong(*told)
        return value

    @property
    def definition(self) -> str:
        """The fingerprint of when it fires: when it changes, the next run is a baseline."""
        return hashlib.blake2b(f"{self.when}|{self.rearm_below}".encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A task's trigger: fires when `when` holds, is armed again when `rearm` holds."""

    when: rules.Condition
    rearm: rules.Condition | None

    @property
    def conditions(self) -> tuple[rules.Condition, ...]:
        """Both conditions, where there are two."""
        return (self.when,) if self.rearm is None else (self.when, self.rearm)


@lru_cache(maxsize=256)
def compiled(task: TaskSection) -> Compiled:
    """The conditions of a task. Raises rules.ConditionError."""
    trigger = rules.compile_trigger(task.when, TRIGGER_SCOPE)
    if task.rearm_below is None or trigger.level is None:
        return Compiled(trigger.when, None)
    return Compiled(trigger.when, rules.compile_condition(f"{trigger.field} < {task.rearm_below}", TRIGGER_SCOPE))


def problems(task: TaskSection, path: str, names: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """What is wrong with a task as a whole: with options that do not go together, or with what others define. Reads nothing.

    names: of what the configuration itself defines, the names there are: the stages under "stage", the grades under "grade".
    """
    trigger = rules.compile_trigger(task.when, TRIGGER_SCOPE)
    for told in rules.undefined(trigger.when, names):
        yield Problem(f"{path}.when", *told)
    if task.rearm_below is not None and trigger.level is None:
        yield Problem(f"{path}.rearm_below", "is for triggers such as score crosses 60", "remove it")
    elif task.rearm_below is not None and trigger.level is not None and task.rearm_below > trigger.level:
        yield Problem(f"{path}.rearm_below", f"must be at most {trigger.level:g}, the level it crosses")


# ------------------------------------------------------------------------------------------------------------ firing


@built_once
def fire(
    tasks: Mapping[str, TaskSection],
    facts: ir.Table,
    *,
    current: ir.Table,
    triggers: ir.Table,
    now: Instant,
    run: Number,
    is_whole: bool = True,
    late: ir.Table | None = None,
    unreachable: ir.Table | None = None,
    ahead: tuple[int, ...] = (),
) -> ir.Table:
    """The rows of tables.TRIGGER to merge by key; those that fired have `fired_at` = now and this `run`.

    `facts` holds the persons to look at (all of them, on the first run of a trigger), `current` their open stage intervals
    after `advance`, `triggers` the table as it was. A row with subject "" marks that a trigger had its baseline; where the
    persons come in portions (not `is_whole`), that it began, until `baselined`. For the persons of `late` (`subject`), of whom something
    is read for the first time, it is as on the first run: what is not young makes no task. For those who are `unreachable` (`subject`)
    nothing fires before they have a record that a task can be linked to: a form may be seen before the contact that it made.
    What runs with a clock that was `ahead` have armed is not: it had not come to that yet.
    """
    stages = current.filter(current.left_at.isnull()).select(whose="subject", stage="stage")
    rows = facts.left_join(stages, facts.subject == stages.whose).drop("whose")
    for name, some in (("is_late", late), ("is_unreachable", unreachable)):
        marked = (facts.limit(0) if some is None else some).select(whose="subject").distinct()
        rows = (
            rows.left_join(marked, rows.subject == marked.whose).mutate(**{name: ibis._.whose.notnull()}).drop("whose")
        )
    parts = [_fired(name, task, rows, triggers, now, run, ahead) for name, task in tasks.items()]
    return _as_triggers(
        reduce(lambda left, right: left.union(right), [*parts, _baselines(tasks, triggers, run, is_whole)])
    )


def _fired(
    name: str, task: TaskSection, rows: ir.Table, triggers: ir.Table, now: Instant, run: Number, ahead: tuple[int, ...]
) -> ir.Table:
    trigger = compiled(task)
    had = triggers.filter((triggers.trigger == name) & (triggers.subject != ""))
    had = had.select(
        whose="subject",
        was_armed="is_armed",
        was_episode="episode",
        was_fired_at="fired_at",
        was_why="why",
        was_run="run",
    )
    rows = rows.left_join(had, rows.subject == had.whose)
    marks = triggers.filter((triggers.key == f"|{name}") & (triggers.why == task.definition))
    begun = marks.filter(~marks.is_armed).run.max().as_scalar()
    is_first = (marks.is_armed.sum().fill_null(0).as_scalar() == 0) & ~(rows.was_run >= begun).fill_null(False)
    was = rows.was_armed.fill_null(True)
    was_armed = was & ~rows.was_run.isin(ahead).fill_null(False) if ahead else was
    holds = trigger.when.expr(rows)
    rearms = ~holds if trigger.rearm is None else trigger.rearm.expr(rows)
    youngest = earlier(now, timedelta(days=task.first_run_days))
    is_young = (rows.last_event_at > youngest).fill_null(False)
    is_other = (rows.was_why != trigger.when.words).fill_null(False)
    may_fire = ibis.ifelse(
        is_first, is_young & (was_armed | rows.was_fired_at.isnull()), was_armed & (is_young | ~rows.is_late)
    )
    waits = holds & may_fire & rows.is_unreachable
    rows = rows.mutate(
        fires=holds & may_fire & ~waits,
        is_armed=waits | (~holds & (was_armed | rearms | (is_first & is_other))),
        was=was,
    )
    moved = rows.filter(rows.fires | (rows.is_armed != rows.was))
    return _as_triggers(
        moved.select(
            key=moved.subject + f"|{name}",
            subject=moved.subject,
            trigger=ibis.literal(name),
            is_armed=moved.is_armed,
            episode=moved.was_episode.fill_null(0) + moved.fires.cast("int64"),
            fired_at=ibis.ifelse(moved.fires, instant_of(now), moved.was_fired_at),
            why=ibis.literal(trigger.when.words),
            run=number_of(run),
        )
    )


def _baselines(tasks: Mapping[str, TaskSection], triggers: ir.Table, run: Number, is_whole: bool) -> ir.Table:
    empty = {"fired_at": ibis.null(), "run": number_of(run)}
    rows = [
        ibis.literal(f"|{name}").name("key").as_table().mutate(
            subject=ibis.literal(""), trigger=ibis.literal(name), is_armed=ibis.literal(is_whole),
            episode=ibis.literal(0), why=ibis.literal(task.definition), **empty,
        )
        for name, task in tasks.items()
    ]  # fmt: skip
    marks = _as_triggers(ibis.union(*rows))
    had = triggers.filter(triggers.is_armed) if is_whole else triggers
    return marks.anti_join(had, ["key", "why"])


@built_once
def baselined(triggers: ir.Table, run: Number) -> ir.Table:
    """The marks of baselines that had begun, complete, as rows to merge by key: everybody was looked at."""
    begun = triggers.filter((triggers.subject == "") & ~triggers.is_armed)
    return _as_triggers(begun.mutate(is_armed=True, run=number_of(run)))


@built_once
def forgotten(tasks: Mapping[str, TaskSection], triggers: ir.Table) -> ir.Table:
    """The keys of the marks of triggers that there are no more: put back, they have a baseline again.

    What they remember of persons stays, so that what fired does not fire again.
    """
    return triggers.filter((triggers.subject == "") & triggers.trigger.notin(list(tasks))).select("key")


def _as_triggers(rows: ir.Table) -> ir.Table:
    return rows.select(*TRIGGER.names).cast(ibis.Schema.from_pyarrow(TRIGGER))


@built_once
def carried(triggers: ir.Table, merged: ir.Table) -> ir.Table:
    """What triggers remember of persons whose records went into others (`merged`: subject, into), as rows of these.

    A trigger that fired for either has fired, so that neither a merge nor a split makes a second task; the next one is each
    person's own. To be merged by key before `fire`, which arms those again for whom it does not hold.
    """
    survivors = merged.select(subject="into", into="into").distinct()
    both = merged.select("subject", "into").union(survivors)
    rows = triggers.inner_join(both, "subject")
    kept = rows.group_by("into", "trigger").agg(
        is_armed=rows.is_armed.all(),
        episode=rows.episode.max(),
        fired_at=rows.fired_at.max(),
        why=rows.why.max(),
        run=rows.run.max(),
    )
    return _as_triggers(kept.mutate(key=kept.into + "|" + kept.trigger, subject=kept.into))


# ---------------------------------------------------------------------------------------------------------- drafting


@dataclass(frozen=True, slots=True)
class Places:
    """The tables in which a task finds its record and its words; each may be whole."""

    persons: ir.Table
    accounts: ir.Table
    records: ir.Table
    membership: ir.Table
    opportunities: ir.Table
    contact_roles: ir.Table


@built_once
def targets(
    tasks: Mapping[str, TaskSection], fired: ir.Table, facts: ir.Table, current: ir.Table, places: Places
) -> ir.Table:
    """One row for each fired trigger: where its task goes, and all that its templates may say. `fired` is as from `fire`.

    The record is live (not deleted, merged away or converted, no mere visitor): in the system that the task names if there is one, else the
    one that gave the person an owner, else one with an owner; then with an open opportunity, a contact before a lead.
    Who has no live record gets no task.
    """
    live = _live(places.records).select(
        record="key", system="system", object_type="object_type", native_id="native_id", owner="owner"
    )
    mine = places.membership.select(of="key", belongs_to="owner_id")
    held = live.inner_join(mine, live.record == mine.of)
    rows = fired.select("subject", "trigger", "episode", "why").inner_join(held, fired.subject == held.belongs_to)
    worded, selling = _worded(facts, current, places), _selling(places)
    rows = rows.left_join(worded, rows.subject == worded.whose).drop("whose")
    rows = rows.left_join(selling, rows.record == selling.sold_to)
    is_named = ibis.cases(
        *((rows.trigger == name, rows.system == task.system) for name, task in tasks.items()), else_=False
    )
    came_from = rows.person_provenance.cast("json")["owner"].unwrap_as("string")
    order = [
        (~is_named).cast("int64"),
        ibis.coalesce(rows.record != came_from, True).cast("int64"),
        rows.owner.isnull().cast("int64"),
        rows.sold_to.isnull().cast("int64"),
        (~rows.object_type.lower().startswith("contact")).cast("int64"),
        rows.record,
    ]
    best = ibis.row_number().over(group_by=["subject", "trigger"], order_by=order)
    return rows.mutate(place=best).filter(ibis._.place == 0).drop("place", "sold_to", "of", "belongs_to")


def _live(records: ir.Table) -> ir.Table:
    is_there = records.deleted_at.isnull() & records.merged_into.isnull() & ~records.is_converted.fill_null(False)
    return records.filter(is_there & (records.object_type != VISITOR))


@built_once
def unreachable(subjects: ir.Table, membership: ir.Table, records: ir.Table) -> ir.Table:
    """Those of `subjects` (`subject`) who have no live record, in whatever system, that a task could be linked to."""
    live = membership.semi_join(_live(records), "key")
    return subjects.anti_join(live, subjects.subject == live.owner_id).select("subject")


def _worded(facts: ir.Table, current: ir.Table, places: Places) -> ir.Table:
    persons, accounts = places.persons, places.accounts
    people = persons.select(**{f"person_{name}": persons[name] for name in PERSON.names})
    firms = accounts.select(**{f"account_{name}": accounts[name] for name in ACCOUNT.names})
    stages = current.filter(current.left_at.isnull()).select(staged="subject", stage="stage")
    scored = facts.select("score", "fit", "engagement", "grade", "reasons", whose="subject")
    rows = scored.left_join(people, scored.whose == people.person_key)
    rows = rows.left_join(firms, rows.person_account == firms.account_key)
    return rows.left_join(stages, rows.whose == stages.staged).drop("staged")


def _selling(places: Places) -> ir.Table:
    roles, deals = places.contact_roles, places.opportunities
    open_ones = deals.filter(deals.deleted_at.isnull() & ~deals.is_closed.fill_null(False)).select(deal="key")
    live = roles.filter(roles.deleted_at.isnull()).select("opportunity", sold_to="person")
    return live.semi_join(open_ones, live.opportunity == open_ones.deal).select("sold_to").distinct()


def draft(tasks: Mapping[str, TaskSection], chosen: pa.Table, now: datetime, run: int) -> pa.Table:
    """The tasks to make, as tables.DESIRED_TASK: one for each row of `targets`. These are few: templates run row by row."""
    rows = [_drafted(tasks[row["trigger"]], row, now, run) for row in chosen.to_pylist()]
    return pa.Table.from_pylist(rows, schema=DESIRED_TASK)


def _drafted(task: TaskSection, row: Mapping[str, Any], now: datetime, run: int) -> dict[str, Any]:
    words = _context(row)
    said = hashlib.blake2b(f"{row['trigger']}|{row['subject']}|{row['episode']}".encode(), digest_size=12).hexdigest()
    title = " ".join(templates.rendered(task.subject, words).split())
    same = ("trigger", "subject", "record", "system", "object_type", "native_id")
    return {
        **{name: row[name] for name in same},
        "key": f"{row['trigger'][:36]}-{said}",
        "title": title[:MAX_SUBJECT],
        "body": templates.rendered(task.body, words).strip(),
        "due_at": due_at(task.due, now),
        "priority": task.priority,
        "owner": task.owner or row["owner"],
        "reason": row["why"],
        "revision": run,
    }


def _context(row: Mapping[str, Any]) -> dict[str, Any]:
    told = [reason for reason in json.loads(row["reasons"] or "[]") if abs(reason["points"]) >= WEIGHTLESS]
    # adding 0.0 makes a plain zero of -0.0
    reasons = [{**reason, "points": reason["points"] / POINT} for reason in told]
    person = {name: row[f"person_{name}"] for name in PERSON.names}
    return {
        "person": person | {"name": person["name"] or person["email"] or "somebody"},
        "account": {name: row[f"account_{name}"] for name in ACCOUNT.names},
        **{name: round((row[name] or 0) / POINT, 1) + 0.0 for name in ("score", "fit", "engagement")},
        "grade": row["grade"],
        "stage": row["stage"],
        "reasons": reasons,
        "trigger": row["trigger"],
    }


def due_at(text: str, now: datetime) -> datetime:
    """When a task made now is due: so many hours, days or weeks on, or as many days that are not Saturday or Sunday (UTC)."""
    count, *unit = text.split()
    if unit[0] == "working":
        at = now
        for _ in range(int(count)):
            at += timedelta(days={4: 3, 5: 2}.get(at.weekday(), 1))
        return at
    return (
        now
        + int(count)
        * {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}[unit[0].rstrip("s")]
    )
