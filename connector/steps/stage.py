"""Stage: move persons through the lifecycle, both ways, and find the tasks that fire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import ibis.expr.types as ir

from connector import lifecycle, tables
from connector.expressions import NOW, RUN, among, built_once, missing, only
from connector.facts import Known
from connector.lifecycle import LifecycleSection, TaskSection
from connector.mart import Mart
from connector.model import Kind
from connector.steps import first_reads
from connector.steps.portions import AHEAD
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
    mart.delete_keys("trigger", lifecycle.forgotten(setup.tasks, mart.table("trigger")))
    subjects = mart.kept("subjects")
    if not mart.count(subjects):
        return Staged()
    interval = mart.table("stage_interval")
    _follow_merges(mart, subjects)
    facts = mart.keep("facts", _facts(setup, mart, subjects))
    moves = lifecycle.advance(setup.lifecycle, facts, interval, NOW, RUN)
    moves = mart.keep("moves", lifecycle.stayed(moves, interval, mart.kept("parted")))
    mart.merge("stage_interval", moves)
    mart.merge("due", mart.keep("stage_due", lifecycle.due(setup.lifecycle, facts, interval, NOW)))
    fired = _fire(setup, mart, facts, moment, is_whole) if setup.tasks else 0
    return Staged(mart.count(moves.filter(moves.left_at.isnull())), fired)


def finish(mart: Mart) -> None:
    """Everybody was staged: triggers that looked at them for the first time are armed for all from now on."""
    mart.merge("trigger", lifecycle.baselined(mart.table("trigger"), RUN))


def _facts(setup: Setup, mart: Mart, subjects: ir.Table) -> ir.Table:
    known = Known(
        persons=mart.table("person"),
        accounts=mart.table("account"),
        scores=mart.table("score"),
        membership=mart.table("membership"),
        days=mart.table("engagement_day"),
        opportunities=mart.table(tables.record_table(Kind.OPPORTUNITY)),
        contact_roles=mart.table(tables.record_table(Kind.CONTACT_ROLE)),
    )
    return _facts_of(setup.lifecycle, setup.tasks, subjects, known)


@built_once
def _facts_of(
    section: LifecycleSection, tasks: Mapping[str, TaskSection], subjects: ir.Table, known: Known
) -> ir.Table:
    mine = among(only(known.membership, kind=Kind.PERSON), "owner_id", subjects, "subject")
    theirs = replace(
        known,
        persons=among(known.persons, "key", subjects, "subject"),
        scores=among(only(known.scores, model=section.model), "subject", subjects),
        membership=mine,
        days=among(only(known.days, model=""), "record", mine, "key"),
    )
    return lifecycle.facts(lifecycle.conditions(section, tasks), theirs, NOW)


def _follow_merges(mart: Mart, subjects: ir.Table) -> None:
    """Close the stages of ids that went into others, carry what triggers remember to whom records went, and resume what a split
    brings back."""
    person, interval, trigger = mart.table("person"), mart.table("stage_interval"), mart.table("trigger")
    gone = mart.keep("gone_persons", missing(subjects, "subject", person, "key"))
    back = among(subjects, "subject", person, "key")
    mart.merge("stage_interval", mart.keep("resumed", lifecycle.resume(interval, back, RUN)))
    went = mart.kept("parted")
    if mart.count(gone):
        mart.merge("stage_interval", mart.keep("closed", lifecycle.close_merged(interval, gone, NOW, RUN)))
        issued, members = mart.table("issued"), mart.table("membership")
        merged = issued.semi_join(gone, issued.key == gone.subject).inner_join(members, issued.anchor == members.key)
        went = went.union(merged.select(subject=issued.key, into=members.owner_id), distinct=True)
    if mart.count(went):
        mart.merge("trigger", mart.keep("carried", lifecycle.carried(trigger, went)))


def _fire(setup: Setup, mart: Mart, facts: ir.Table, moment: Moment, is_whole: bool) -> int:
    """Fire, and draft the tasks of what fired."""
    interval, records = mart.table("stage_interval"), mart.table(tables.record_table(Kind.PERSON))
    mine = among(mart.table("membership"), "owner_id", facts.select("subject"), "subject")
    changed = mart.keep(
        "changed_triggers",
        lifecycle.fire(
            setup.tasks,
            facts,
            current=interval,
            triggers=mart.table("trigger"),
            now=NOW,
            run=RUN,
            is_whole=is_whole,
            late=first_reads.told_by(setup, mart),
            unreachable=mart.keep("unreachable", lifecycle.unreachable(facts, mine, records)),
            ahead=setup.state.begun_after(moment.now + AHEAD),
        ),
    )
    mart.merge("trigger", changed)
    fired = mart.keep("fired", changed.filter((changed.fired_at == NOW) & (changed.run == RUN)))
    count = mart.count(fired)
    if count:
        places = Places(
            persons=mart.table("person"),
            accounts=mart.table("account"),
            records=_written(setup, records),
            membership=mart.table("membership"),
            opportunities=mart.table(tables.record_table(Kind.OPPORTUNITY)),
            contact_roles=mart.table(tables.record_table(Kind.CONTACT_ROLE)),
        )
        chosen = mart.arrow(lifecycle.targets(setup.tasks, fired, facts, interval, places))
        mart.merge("desired_task", lifecycle.draft(setup.tasks, chosen, moment.now, moment.run))
    return count


def _written(setup: Setup, records: ir.Table) -> ir.Table:
    """The records of systems that are written to: a task for another's would be made nowhere, and what fired does so once."""
    names = setup.writeback.systems or tuple(setup.systems)
    return records.filter(records.system.isin(sorted(names)))
