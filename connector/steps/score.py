"""Score: fold events into days, days and golden values into score lines, lines into scores. Only for whom something changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import ibis
import ibis.expr.types as ir

from connector import scoring, tables
from connector.mart import Mart
from connector.model import Kind
from connector.steps.events import copies, events
from connector.steps.portions import dirty_rows
from connector.steps.setup import Moment, Setup


@dataclass(frozen=True)
class Scored:
    """How many persons were scored, and from how many records with events."""

    subjects: int = 0
    records: int = 0

    def __add__(self, other: Scored) -> Scored:
        return Scored(self.subjects + other.subjects, self.records + other.records)


def score(setup: Setup, mart: Mart, moment: Moment) -> Scored:
    """Score the persons whose members, values or events changed, and those for whom the time has come (scratch table `come`).

    Widens the scratch table `subjects` that resolve left to all persons who are scored.
    """
    subjects = _widen(mart)
    _mark_copies(mart, moment)
    records = _fold(setup, mart, moment)
    if not mart.count(subjects):
        return Scored()
    persons = mart.table("person").semi_join(subjects, mart.table("person").key == subjects.subject)
    members = mart.table("membership")
    mine = members.filter(members.kind == Kind.PERSON.value).semi_join(subjects, members.owner_id == subjects.subject)
    days = mart.table("engagement_day")
    accounts = mart.table("account")
    lines = [
        scoring.score_lines(
            name,
            model,
            persons=persons,
            accounts=accounts,
            membership=mine,
            days=days.filter(days.model == name).semi_join(mine, days.record == mine.key),
            now=moment.now,
        )
        for name, model in setup.models.items()
    ]
    kept = mart.keep("new_lines", _union(lines))
    mart.replace_bucket("score_line", "subject", subjects, kept)
    made = [
        scoring.scores(
            name,
            model,
            kept.filter(kept.model == name),
            persons=persons,
            accounts=accounts,
            now=moment.now,
            levels=setup.levels,
            step=setup.writeback.min_points,
        )
        for name, model in setup.models.items()
    ]
    mart.replace_bucket("score", "subject", subjects, mart.keep("new_scores", _union(made)))
    ahead = events(mart)
    ahead = ahead.semi_join(mine, ahead.record == mine.key)
    fresh = scoring.due(mart.kept("new_scores"), ahead, mine, moment.now)
    mart.replace_bucket("due", "subject", subjects, mart.keep("new_due", fresh))
    return Scored(mart.count(subjects), mart.count(records))


def _union(parts: list[ir.Table]) -> ir.Table:
    return reduce(lambda left, right: left.union(right), parts)


def _widen(mart: Mart) -> ir.Table:
    """The persons to score: resolved anew, owners of records with new events, those for whom time alone changes something."""
    work, members, subjects = mart.kept("work"), mart.table("membership"), mart.kept("subjects")
    fresh = work.filter(work.kind == "event")
    owners = members.semi_join(fresh, members.key == fresh.record).select(subject="owner_id")
    return mart.keep("subjects", subjects.select("subject").union(owners).union(mart.kept("come")).distinct())


def _mark_copies(mart: Mart, moment: Moment) -> None:
    """Judge anew which activities are copies of one another, for the persons concerned; a changed verdict is dirty."""
    work = mart.kept("work")
    changed = mart.keep("copies", copies(mart, mart.kept("subjects")))
    if mart.count(changed):
        mart.merge("activity", changed)
        rows = dirty_rows(changed.select("record").distinct(), "event", moment)
        mart.keep("work", work.union(rows.anti_join(work, "key")))


def _fold(setup: Setup, mart: Mart, moment: Moment) -> ir.Table:
    """Fold the events of the records that have news into days; returns those records (scratch table)."""
    work, subjects = mart.kept("work"), mart.kept("subjects")
    due, members = mart.table("due"), mart.table("membership")
    come = due.filter((due.why == "event") & (due.due_at <= ibis.literal(moment.now))).semi_join(subjects, "subject")
    theirs = members.semi_join(come, members.owner_id == come.subject).select(record="key")
    concerned = work.filter(work.kind == "event").select("record").union(theirs)
    records = mart.keep("event_records", concerned.distinct())
    if not mart.count(records):
        return records
    theirs = mart.keep("their_events", events(mart).semi_join(records, "record"))
    table = mart.table(tables.record_table(Kind.PERSON))
    people = table.semi_join(records, table.key == records.record)
    days = [
        scoring.fold(name, model, theirs, people, moment.now, with_kinds=place == 0)
        for place, (name, model) in enumerate(setup.models.items())
    ]
    mart.replace_bucket("engagement_day", "record", records, mart.keep("new_days", _union(days)))
    return records
