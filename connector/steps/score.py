"""Score: fold events into days, days and golden values into score lines, lines into scores. Only for whom something changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from connector import scoring, tables
from connector.expressions import NOW, among, built_once, only, together
from connector.mart import Mart
from connector.model import Kind
from connector.steps.events import copies, events
from connector.steps.portions import dirty_rows
from connector.steps.setup import Setup

SMALLEST_STEP = 0.1  # points: what a score is rounded to when it is written, so that less changes nothing


@dataclass(frozen=True)
class Scored:
    """How many persons were scored, and from how many records with events."""

    subjects: int = 0
    records: int = 0

    def __add__(self, other: Scored) -> Scored:
        return Scored(self.subjects + other.subjects, self.records + other.records)


def score(setup: Setup, mart: Mart) -> Scored:
    """Score the persons whose members, values or events changed, and those for whom the time has come (scratch table `come`).

    Widens the scratch table `subjects` that resolve left to all persons who are scored.
    """
    subjects = _widen(mart)
    _mark_copies(mart)
    records = _fold(setup, mart)
    if not mart.count(subjects):
        return Scored()
    persons = among(mart.table("person"), "key", subjects, "subject")
    mine = among(only(mart.table("membership"), kind=Kind.PERSON), "owner_id", subjects, "subject")
    days = mart.table("engagement_day")
    accounts = mart.table("account")
    lines = [
        scoring.score_lines(
            name,
            model,
            persons=persons,
            accounts=accounts,
            membership=mine,
            days=among(only(days, model=name), "record", mine, "key"),
            now=NOW,
        )
        for name, model in setup.models.items()
    ]
    kept = mart.keep("new_lines", _together(mart, "score_line", lines))
    mart.replace_bucket("score_line", "subject", subjects, kept)
    held = mart.keep("held_scores", _held(mart.table("desired"), mart.table("observed"), mine))
    made = [
        scoring.scores(
            name,
            model,
            only(kept, model=name),
            persons=persons,
            accounts=accounts,
            now=NOW,
            levels=setup.levels,
            step=max(setup.writeback.min_points, SMALLEST_STEP),
            held=held if name == setup.writeback.model else None,
        )
        for name, model in setup.models.items()
    ]
    mart.replace_bucket("score", "subject", subjects, mart.keep("new_scores", _together(mart, "score", made)))
    ahead = events(mart, mine.select(record="key"))
    fresh = scoring.due(mart.kept("new_scores"), ahead, mine, NOW)
    mart.replace_bucket("due", "subject", subjects, mart.keep("new_due", fresh))
    return Scored(mart.count(subjects), mart.count(records))


@built_once
def _held(desired: ir.Table, observed: ir.Table, members: ir.Table) -> ir.Table:
    """The scores that the records of `members` hold, as far as we write them: `subject`, `value` (text)."""
    wanted = only(desired, output="score").select("record", "field")
    theirs = wanted.inner_join(members.select(subject="owner_id", record="key"), "record")
    return theirs.inner_join(observed.select("record", "field", "value"), ["record", "field"]).select(
        "subject", "value"
    )


def _together(mart: Mart, name: str, parts: Sequence[ir.Table]) -> ir.Table:
    """The rows of all models for a table; none where there is no model."""
    return together(*parts) if parts else mart.table(name).limit(0)


def _widen(mart: Mart) -> ir.Table:
    """The persons to score: resolved anew, owners of records with new events, those for whom time alone changes something."""
    known = (mart.kept("subjects"), mart.kept("work"), mart.kept("come"), mart.table("membership"))
    return mart.keep("subjects", _concerned(*known))


@built_once
def _concerned(subjects: ir.Table, work: ir.Table, come: ir.Table, members: ir.Table) -> ir.Table:
    owners = among(members, "key", only(work, kind="event"), "record").select(subject="owner_id")
    return subjects.select("subject").union(owners).union(come).distinct()


def _mark_copies(mart: Mart) -> None:
    """Judge anew which activities are copies of one another, and which purchases, for the persons concerned; a changed verdict is dirty."""
    work = mart.kept("work")
    changed = mart.keep("copies", copies(mart.table("activity"), mart.table("membership"), mart.kept("subjects")))
    if mart.count(changed):
        mart.merge("activity", changed)
    found = changed.select("record")
    if mart.count(mart.table(tables.record_table(Kind.CONTACT_ROLE)).limit(1)):  # without roles nobody buys
        theirs = _records_of(mart.table("membership"), mart.kept("subjects"))
        otherwise = _bought_otherwise(events(mart, theirs), mart.table("engagement_day"), theirs)
        found = together(found, mart.keep("bought_otherwise", otherwise), distinct=True)
    if mart.count(found):
        rows = dirty_rows(found.distinct(), "event")
        mart.keep("work", work.union(rows.anti_join(work, "key")))


@built_once
def _records_of(members: ir.Table, subjects: ir.Table) -> ir.Table:
    return among(only(members, kind=Kind.PERSON), "owner_id", subjects, "subject").select(record="key")


@built_once
def _bought_otherwise(happened: ir.Table, days: ir.Table, theirs: ir.Table) -> ir.Table:
    """Those of `theirs`, the records of some persons, of which other purchases count than were folded: one person's deals hang together.

    happened: their events.
    """
    bought = only(happened, kind="purchased").filter(ibis._.happened_at <= NOW)
    by_day = bought.group_by("record", day=bought.happened_at.cast("timestamp").date()).agg(events=bought.count())
    known = among(only(days, model="", rule="purchased"), "record", theirs).select("record", "day", "events")
    return by_day.difference(known).union(known.difference(by_day)).select("record")


def _fold(setup: Setup, mart: Mart) -> ir.Table:
    """Fold the events of the records that have news into days; returns those records (scratch table)."""
    known = (mart.kept("subjects"), mart.kept("work"), mart.table("due"), mart.table("membership"))
    records = mart.keep("event_records", _with_events(*known))
    if not mart.count(records):
        return records
    theirs = mart.keep("their_events", events(mart, records))
    people = among(mart.table(tables.record_table(Kind.PERSON)), "key", records, "record")
    days = [
        scoring.fold(name, model, theirs, people, NOW, with_kinds=place == 0)
        for place, (name, model) in enumerate(setup.models.items())
    ]
    mart.replace_bucket(
        "engagement_day", "record", records, mart.keep("new_days", _together(mart, "engagement_day", days))
    )
    return records


@built_once
def _with_events(subjects: ir.Table, work: ir.Table, due: ir.Table, members: ir.Table) -> ir.Table:
    come = among(only(due, why="event").filter(due.due_at <= NOW), "subject", subjects)
    theirs = among(members, "owner_id", come, "subject").select(record="key")
    return only(work, kind="event").select("record").union(theirs).distinct()
