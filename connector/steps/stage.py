"""Stage: move persons through the lifecycle, both ways, and find the tasks that fire."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from connector import lifecycle, tables
from connector.facts import Known
from connector.mart import Mart
from connector.model import Kind
from connector.steps.setup import Moment, Setup
from connector.triggers import Places


@dataclass(frozen=True)
class Staged:
    """How many persons moved to another stage, and how many triggers fired."""

    moved: int = 0
    fired: int = 0

    def __add__(self, other: Staged) -> Staged:
        return Staged(self.moved + other.moved, self.fired + other.fired)


def stage(setup: Setup, mart: Mart, moment: Moment, *, is_whole: bool = True) -> Staged:
    """Advance the persons just scored (scratch table `subjects`), then fire what becomes true for them.

    Unless they are all there is to do (`is_whole`), `finish` has to follow the last of them.
    """
    subjects = mart.kept("subjects")
    if not mart.count(subjects):
        return Staged()
    interval = mart.table("stage_interval")
    _follow_merges(mart, subjects, moment)
    facts = mart.keep("facts", _facts(setup, mart, subjects, moment))
    moves = mart.keep("moves", lifecycle.advance(setup.lifecycle, facts, interval, moment.now, moment.run))
    mart.merge("stage_interval", moves)
    mart.merge("due", mart.keep("stage_due", lifecycle.due(setup.lifecycle, facts, interval, moment.now)))
    fired = _fire(setup, mart, facts, moment, is_whole) if setup.tasks else 0
    return Staged(mart.count(moves.filter(moves.left_at.isnull())), fired)


def finish(mart: Mart, moment: Moment) -> None:
    """Everybody was staged: triggers that looked at them for the first time are armed for all from now on."""
    mart.merge("trigger", lifecycle.baselined(mart.table("trigger"), moment.run))


def _facts(setup: Setup, mart: Mart, subjects: ir.Table, moment: Moment) -> ir.Table:
    person, score, day = mart.table("person"), mart.table("score"), mart.table("engagement_day")
    members = mart.table("membership")
    mine = members.filter(members.kind == Kind.PERSON.value).semi_join(subjects, members.owner_id == subjects.subject)
    known = Known(
        persons=person.semi_join(subjects, person.key == subjects.subject),
        accounts=mart.table("account"),
        scores=score.filter(score.model == setup.lifecycle.model).semi_join(subjects, "subject"),
        membership=mine,
        days=day.filter(day.model == "").semi_join(mine, day.record == mine.key),
        opportunities=mart.table(tables.record_table(Kind.OPPORTUNITY)),
        contact_roles=mart.table(tables.record_table(Kind.CONTACT_ROLE)),
    )
    return lifecycle.facts(lifecycle.conditions(setup.lifecycle, setup.tasks), known, moment.now)


def _follow_merges(mart: Mart, subjects: ir.Table, moment: Moment) -> None:
    """Close the stages of ids that went into others, carry what triggers remember, and resume what a split brings back."""
    person, interval, trigger = mart.table("person"), mart.table("stage_interval"), mart.table("trigger")
    gone = mart.keep("gone_persons", subjects.anti_join(person, subjects.subject == person.key))
    back = subjects.semi_join(person, subjects.subject == person.key)
    mart.merge("stage_interval", mart.keep("resumed", lifecycle.resume(interval, back, moment.run)))
    if not mart.count(gone):
        return
    mart.merge("stage_interval", mart.keep("closed", lifecycle.close_merged(interval, gone, moment.now, moment.run)))
    issued, members = mart.table("issued"), mart.table("membership")
    merged = issued.semi_join(gone, issued.key == gone.subject).inner_join(members, issued.anchor == members.key)
    into = merged.select(subject=issued.key, into=members.owner_id)
    mart.merge("trigger", mart.keep("carried", lifecycle.carried(trigger, into)))


def _fire(setup: Setup, mart: Mart, facts: ir.Table, moment: Moment, is_whole: bool) -> int:
    """Fire, and draft the tasks of what fired."""
    interval = mart.table("stage_interval")
    changed = mart.keep(
        "changed_triggers",
        lifecycle.fire(
            setup.tasks,
            facts,
            current=interval,
            triggers=mart.table("trigger"),
            issued=mart.table("issued"),
            now=moment.now,
            run=moment.run,
            is_whole=is_whole,
        ),
    )
    mart.merge("trigger", changed)
    fired = mart.keep(
        "fired", changed.filter((changed.fired_at == ibis.literal(moment.now)) & (changed.run == moment.run))
    )
    count = mart.count(fired)
    if count:
        places = Places(
            persons=mart.table("person"),
            accounts=mart.table("account"),
            records=mart.table(tables.record_table(Kind.PERSON)),
            membership=mart.table("membership"),
            opportunities=mart.table(tables.record_table(Kind.OPPORTUNITY)),
            contact_roles=mart.table(tables.record_table(Kind.CONTACT_ROLE)),
        )
        chosen = mart.arrow(lifecycle.targets(setup.tasks, fired, facts, interval, places))
        mart.merge("desired_task", lifecycle.draft(setup.tasks, chosen, moment.now, moment.run))
    return count
