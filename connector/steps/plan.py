"""Plan: what every record should hold, against what it holds; and the tasks that fired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from connector import plan as planning
from connector import tables, writeback
from connector.expressions import NOW, RUN, SINCE, Number, among, built_once, missing, only
from connector.mart import Mart
from connector.model import Change, Kind
from connector.plan import Plan, Totals
from connector.state import outbox
from connector.steps import stale, standing, unseen
from connector.steps.setup import Moment, Setup

PORTION = 10_000  # changes that are in memory at once
_OUTPUTS = pa.schema([pa.field(name, tables.TEXT) for name in ("system", "object_type", "output", "field")])


def want(setup: Setup, mart: Mart, moment: Moment) -> int:
    """Bring `desired` to what the persons just computed should have in their records; returns how many values changed.

    Looks at the scratch tables `subjects` and `resolved_records`. Only a changed value gets this run as its revision: another
    person or reason of the same value is nothing to write, but what a later change of the record is told with.
    """
    subjects = mart.kept("subjects")
    mine = among(only(mart.table("membership"), kind=Kind.PERSON), "owner_id", subjects, "subject")
    concerned = mart.keep("concerned", _concerned(mine, mart.kept("resolved_records")))
    score, line, stage = mart.table("score"), mart.table("score_line"), mart.table("stage_interval")
    model = setup.writeback.model
    fresh = mart.keep(
        "new_desired",
        planning.desired_fields(
            among(mart.table(tables.record_table(Kind.PERSON)), "key", concerned, "record"),
            mine,
            score=among(only(score, model=model), "subject", subjects),
            lines=among(only(line, model=model), "subject", subjects),
            stage=among(_open(stage), "subject", subjects),
            outputs=mart.keep("outputs", outputs(setup)),
            revision=RUN,
        ),
    )
    desired = mart.table("desired")
    gone = missing(among(desired, "record", concerned), "key", fresh)
    mart.delete_keys("desired", mart.keep("undesired", gone.select("key")))
    changed = mart.keep("changed_desired", _changed(fresh, desired))
    mart.merge("desired", changed)
    return mart.count(changed.filter(changed.revision == RUN))


@built_once
def _concerned(members: ir.Table, resolved: ir.Table) -> ir.Table:
    return members.select(record="key").union(resolved.select("record"), distinct=True)


@built_once
def _open(intervals: ir.Table) -> ir.Table:
    return intervals.filter(intervals.left_at.isnull())


@built_once
def _changed(fresh: ir.Table, desired: ir.Table) -> ir.Table:
    """The rows that are new or say something else; those that want the same value keep their revision."""
    both = fresh.left_join(desired, "key", rname="{name}_before")
    wants_other = both.key_before.isnull() | ~both.value.identical_to(both.value_before)
    is_told_otherwise = ~(both.subject.identical_to(both.subject_before) & both.reason.identical_to(both.reason_before))
    both = both.mutate(revision=ibis.ifelse(wants_other, both.revision, both.revision_before))
    return both.filter(wants_other | is_told_otherwise).select(*tables.DESIRED.names)


def outputs(setup: Setup) -> pa.Table:
    """Which native field takes which output, for every system and object type."""
    rows = [
        {"system": system, "object_type": object_type, "output": output, "field": native}
        for (system, object_type, native), output in setup.written.items()
    ]
    return pa.Table.from_pylist(rows, schema=_OUTPUTS)


def plans(
    setup: Setup, mart: Mart, moment: Moment, anew: Sequence[str] = (), *, full: bool = False, is_dry: bool = False
) -> Iterator[Plan]:
    """The changes that are not in the outbox yet, in portions: the tasks that fired since the last plan, then what differs.

    The portions share their totals, which the brakes weigh: a lane of which something is held is held until somebody has decided
    about that, or the configuration is another (`standing.is_changed`), which weighs all of it anew. anew: records to compare
    although nothing new is known of them. is_dry: nothing is kept, not even a freeze. The mart's connection is busy until the last
    portion is taken.
    """
    through = writeback.planned_through(setup.state)
    mart.tell(now=moment.now, run=moment.run, since=through, planned_at=standing.planned_at(setup, moment))
    is_changed = standing.is_changed(setup)
    if not is_dry:
        stale.withdraw(setup, mart)
    if is_changed and not is_dry:
        standing.weigh_anew(setup)
    if not is_dry:
        standing.redirect(setup, mart)
    differing, totals = _differing(
        setup, mart, moment, anew, since=None if full or is_changed else SINCE, is_dry=is_dry
    )
    if not is_changed:
        over = standing.unwanted(setup, mart) if is_dry else ()
        totals = replace(totals, stopped=outbox.stopped(setup.state, _written(setup), but=over))
    out_of_sight = unseen.left(setup)
    drafts = mart.table("desired_task")
    held_before = outbox.tasks_to_weigh(setup.state, is_held_too=is_changed)
    wanted = (drafts.revision > SINCE) | drafts.key.isin(held_before or [""])
    drafted = stale.without(setup, mart, mart.arrow(drafts.filter(wanted).order_by("key")))
    tasks = planning.task_changes(standing.unmade(setup, mart, drafted, moment, is_dry=is_dry))
    brakes = setup.writeback.brakes
    given = outbox.tasks_given(setup.state, moment.now - planning.DAY, moment.now)
    made = planning.make(_writable(setup, tasks), brakes, totals, given)
    yield made.all_held(unseen.why(out_of_sight)) if out_of_sight else made
    rows = mart.rows(_by_parent(differing, mart.table(tables.record_table(Kind.PERSON))))
    changes = _writable(setup, planning.field_changes(rows, planning.braked(brakes, totals)))
    while portion := list(islice(changes, PORTION)):
        yield planning.make(portion, brakes, totals)


@built_once
def _by_parent(differing: ir.Table, record: ir.Table) -> ir.Table:
    """What is to be written, with the account of its record as `parent`, that of one account together: a system may lock it with
    each."""
    differing = differing.filter(differing.is_material & differing.left_because.isnull())
    people = record.select("key", parent="account")
    placed = differing.left_join(people, differing.record == people.key, rname="person_{name}").drop("person_key")
    return placed.order_by("system", "object_type", "parent", "record")


def _differing(
    setup: Setup, mart: Mart, moment: Moment, anew: Sequence[str], *, since: Number | None, is_dry: bool
) -> tuple[ir.Table, Totals]:
    desired, observed = mart.table("desired"), mart.table("observed")
    if unread := standing.unread(setup, moment):
        desired = desired.anti_join(mart.keep("unread", pa.table({"record": sorted(unread)})), "record")
    again = standing.again(setup, mart, moment, anew)
    found = planning.diff(
        desired,
        observed,
        since=since,
        min_points=setup.writeback.min_points,
        now=NOW,
        rules=standing.rules(setup),
        frozen=standing.frozen(setup, mart, moment, is_dry=is_dry),
        again=again,
    )
    differing = mart.keep("differing", found)
    mart.keep("compared", planning.compared(desired, observed, since, again))
    if not is_dry:
        outbox.let_go(setup.state, standing.unwanted(setup, mart))
        standing.release_settled(setup, mart, differing, moment)
        standing.note_drift(setup, mart, moment)
    ours = differing.filter(differing.left_because.isnull())
    material = ours.filter(ours.is_material)
    overwriting = material.filter(material.before.notnull() & (material.before != ""))
    there = observed.filter(observed.value.notnull())
    totals = Totals(
        overwritten=_by_lane(setup, mart, overwriting),
        existing=_by_lane(setup, mart, there),
        suppressed=mart.count(ours.filter(~ours.is_material).select("record").distinct()),
        left=_counted(mart, differing.filter(differing.left_because.notnull()), "left_because"),
    )
    return differing, totals


def _by_lane(setup: Setup, mart: Mart, rows: ir.Table) -> dict[str, int]:
    """How many values there are in each lane."""
    lanes = {field: planning.OUTPUTS[output][0].value for field, output in setup.written.items()}
    counts: Counter[str] = Counter()
    grouped = rows.group_by("system", "object_type", "field").agg(values=rows.count())
    for row in mart.arrow(grouped).to_pylist():
        lane = lanes.get((row["system"], row["object_type"], row["field"]))
        if lane is not None:
            counts[lane] += row["values"]
    return dict(counts)


def _counted(mart: Mart, rows: ir.Table, column: str) -> dict[str, int]:
    grouped = mart.arrow(rows.group_by(column).agg(values=rows.count()).order_by(column))
    return {row[column]: row["values"] for row in grouped.to_pylist()}


def joined(portions: Iterable[Plan]) -> Plan:
    """Portions as one plan, for looking at it."""
    taken = list(portions)
    changes = tuple(change for portion in taken for change in portion.changes)
    held = {key: why for portion in taken for key, why in portion.held.items()}
    return Plan(changes, held, taken[0].totals)


def _writable(setup: Setup, changes: Iterable[Change]) -> Iterator[Change]:
    names = _written(setup)
    return (change for change in changes if change.system in names)


def _written(setup: Setup) -> Sequence[str]:
    """The systems that are written to."""
    return setup.writeback.systems or tuple(setup.systems)
