"""What the plan looks at besides what is new: records to compare again, fields that are frozen, tasks whose record is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import ibis
import ibis.expr.types as ir
import orjson
import pyarrow as pa
import pyarrow.compute

from connector import ownership, tables
from connector.expressions import NOW, PLANNED_AT, earlier
from connector.mart import Mart
from connector.model import Kind
from connector.ownership import Owner, Rules, owner_of
from connector.state import freezes, outbox, replans, taskmade
from connector.state.models import Freeze, Outbox
from connector.steps.planned import editors
from connector.steps.setup import Moment, Setup

pc: Any = pyarrow.compute
_PLANNED_AT = "planned_at"
_DECIDING = ("identity", "scoring", "lifecycle", "writeback")  # parts of the configuration that say what is written
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
#: How far apart two tasks of one trigger are due that may be the same one, made once before a restore and drafted again after it.
_DUE_ABOUT = ibis.interval(days=7)


def rules(setup: Setup) -> Rules:
    """Who owns which native field, from the owners of outputs."""
    section = setup.writeback
    owned = {field: owner_of(section.ownership, field[0], field[1], output) for field, output in setup.written.items()}
    return Rules({field: owner for field, owner in owned.items() if owner is not Owner.OWN}, section.defer_for)


def is_changed(setup: Setup) -> bool:
    """Whether what is written where, or the rules that it comes from, are configured otherwise than when the last plan was made:
    somebody has decided, and what is held is weighed anew."""
    return setup.state.note(outbox.PLANNED_WITH) not in ("", _configured(setup))


def weigh_anew(setup: Setup) -> None:
    """Have all that is held planned anew. Killed before that, the next run does it, however it is configured."""
    setup.state.set_note(outbox.PLANNED_WITH, "weighing anew")
    outbox.weigh_anew(setup.state)


def _configured(setup: Setup) -> str:
    return " ".join(setup.fingerprints.get(part, "") for part in _DECIDING)


def planned_at(setup: Setup, moment: Moment) -> datetime:
    """The instant of the last run that planned; the beginning when it is not known, or was told by a wrong clock."""
    noted = setup.state.note(_PLANNED_AT)
    at = datetime.fromisoformat(noted) if noted else _BEGINNING
    return at if at <= moment.now else _BEGINNING


def mark_planned(setup: Setup, moment: Moment, anew: Sequence[str]) -> None:
    """All differences up to this run are in the outbox, those of the records `anew` too."""
    notes = {_PLANNED_AT: moment.now.isoformat(), outbox.PLANNED_WITH: _configured(setup)}
    replans.mark_planned(setup.state, moment.run, anew, notes)


def unread(setup: Setup, moment: Moment) -> set[str]:
    """The records that a change did not find, and that were not read since: it would be sent once more for nothing."""
    found = replans.conflicts(setup.state)
    if not found:
        return set()
    polls = setup.state.polls()
    read_at = {
        f"{connected.name}|{stream.object_type}": polls[key].polled_at
        for connected in setup.systems.values()
        for stream in connected.streams()
        if (key := f"{connected.name}|{stream.name}") in polls
    }
    return {
        record for record, at in found.items() if read_at.get(record.rpartition("|")[0], _BEGINNING) <= at <= moment.now
    }


def anew(setup: Setup, moment: Moment) -> list[str]:
    """The records that the next plan compares although nothing new is known of them; those that are `unread` have to wait."""
    waiting = unread(setup, moment)
    return [record for record in replans.waiting(setup.state) if record not in waiting]


def again(setup: Setup, mart: Mart, moment: Moment, anew: Sequence[str]) -> ir.Table:
    """The records (`record`) to compare although nothing new is known of them: `anew`, those with a change that is set aside,
    and those of which a freeze or a person's precedence has just ended."""
    records = [*anew, *(row.record for row in replans.refused(setup.state))]
    records += freezes.thawed_since(setup.state, planned_at(setup, moment), moment.now)
    named = mart.keep("again", _column("record", records))
    return named.union(ownership.expired(mart.table("observed"), rules(setup), PLANNED_AT, NOW))


def frozen(setup: Setup, mart: Mart, moment: Moment, *, is_dry: bool) -> ir.Table | None:
    """The keys (`key`) of frozen fields; first freezes those that somebody keeps changing after us (not when `is_dry`)."""
    found = mart.arrow(ownership.fights(mart.table("drift"), setup.writeback.fights, NOW)).to_pylist()
    known = freezes.known(setup.state, sorted({row["record"] for row in found}))
    until = {row.key: row.until_at for row in known if row.since_at <= moment.now}
    names = editors(mart) if found else {}
    fresh = []
    for row in found:
        key = f"{row['record']}|{row['field']}"
        if key in until and row["last_at"] <= until[key]:
            continue  # this fight is over, or goes on frozen
        who = names.get((row["system"], row["editor"] or ""), row["editor"] or "")
        writer = f"{who or 'somebody'} in {row['system']}"
        ours, theirs = row["ours"] or "nothing", row["theirs"] or "nothing"
        why = f"we write {ours}, {writer} writes {theirs}: {row['edits']} times since {moment.now - setup.writeback.fights.within:%-d %b}"
        fresh.append(
            Freeze(
                key=key, system=row["system"], record=row["record"], field=row["field"], writer=writer, why=why,
                since_at=moment.now, until_at=moment.now + setup.writeback.fights.freeze_for,
            )
        )  # fmt: skip
    if fresh and not is_dry:
        freezes.add(setup.state, fresh)
    keys = {row.key for row in [*fresh, *freezes.active(setup.state, moment.now)]}
    return mart.keep("frozen", _column("key", keys)) if keys else None


def unmade(setup: Setup, mart: Mart, drafts: pa.Table, moment: Moment, *, is_dry: bool) -> pa.Table:
    """DESIRED_TASK rows without those whose task was read in some system: an outbox that was restored does not know of it, and the
    record that it goes to may be another system's by now, or its key another, where records came in another order (`_forgotten`).
    """
    if not drafts.num_rows:
        return drafts
    activity = mart.table("activity")
    asked = mart.keep("asked_tasks", drafts.select(["key", "trigger", "subject", "due_at"]))
    known = mart.arrow(activity.semi_join(asked, activity.task_key == asked.key).select("task_key").distinct())
    made = known["task_key"].to_pylist()
    found = [row for row in _forgotten(setup, mart, asked) if row.key not in made]
    if found and not is_dry:
        taskmade.keep(setup.state, found, run=moment.run, now=moment.now)
    gone = pa.array([*made, *(row.key for row in found)], tables.TEXT)
    return drafts.filter(pc.invert(pc.is_in(drafts["key"], value_set=gone)))


def _forgotten(setup: Setup, mart: Mart, asked: ir.Table) -> list[taskmade.Made]:
    """Drafts for whose person a task of the same trigger, due about then, was read of which the state knows nothing: that one
    stands for the draft, and for no other."""
    activity, members = mart.table("activity"), mart.table("membership")
    ours = activity.filter(activity.task_key.notnull() & activity.deleted_at.isnull())
    ours = ours.select("task_key", "system", "native_id", "record", "happened_at")
    owned = members.filter(members.kind == Kind.PERSON.value).select(member="key", owner="owner_id")
    near = asked.inner_join(owned, asked.subject == owned.owner)
    near = near.inner_join(ours, near.member == ours.record)
    near = near.filter(
        near.task_key.startswith(near.trigger.concat("-"))
        & (near.happened_at > near.due_at - _DUE_ABOUT)
        & (near.happened_at < near.due_at + _DUE_ABOUT)
    )
    rows = mart.arrow(near.select("key", "system", "native_id", "record", "task_key").order_by("key", "native_id"))
    unknown = taskmade.unknown(setup.state, rows.to_pylist())
    taken: set[tuple[str, str]] = set()
    found: dict[str, taskmade.Made] = {}
    for row in unknown:
        if row["key"] not in found and (row["system"], row["native_id"]) not in taken:
            taken.add((row["system"], row["native_id"]))
            found[row["key"]] = taskmade.Made(row["key"], row["system"], row["native_id"], row["record"])
    return list(found.values())


def unwanted(setup: Setup, mart: Mart) -> list[int]:
    """The numbers of the changes of fields that wait or are in doubt although nothing of their record is to be written any more:
    what was wanted when they were planned is not, and the system holds what is.

    Looks at the scratch tables `differing` and `compared`.
    """
    waiting = outbox.of_fields(setup.state)
    if not waiting:
        return []
    rows = {"id": [each for each, _ in waiting], "record": [record for _, record in waiting]}
    asked, differing = mart.keep("asked_waiting", pa.table(rows)), mart.kept("differing")
    wanted = differing.filter(differing.is_material & differing.left_because.isnull())
    known = asked.semi_join(mart.kept("compared"), "record")
    gone = asked.anti_join(mart.table("desired"), "record")
    over = mart.arrow(known.union(gone, distinct=True).anti_join(wanted, "record"))
    return [number for number in over["id"].to_pylist() if number is not None]


def release_settled(setup: Setup, mart: Mart, differing: ir.Table, moment: Moment) -> None:
    """Let go of what was set aside for a value that nothing wants any more, or that is there but for so little that it would not
    be written. What takes a run back is wanted while its record is frozen, whatever a plan thinks of it."""
    waiting = unread(setup, moment)
    frozen = {row.record for row in freezes.active(setup.state, moment.now)}
    aside = [
        row
        for row in replans.refused(setup.state)
        if row.record
        and row.record not in waiting
        and not (row.key.startswith(f"change|{outbox.UNDO}") and row.record in frozen)
    ]
    if not aside:
        return
    asked = mart.keep("asked_aside", _column("record", (row.record for row in aside)))
    weighing = differing.filter(differing.is_material | differing.left_because.notnull())
    wanted = set(mart.arrow(weighing.select("record").semi_join(asked, "record").distinct())["record"].to_pylist())
    tasks = mart.table("desired_task")
    keyed = mart.keep("asked_keys", _column("key", (row.key.removeprefix("change|") for row in aside)))
    drafts = set(mart.arrow(tasks.select("key").semi_join(keyed, "key"))["key"].to_pylist())
    over = [row.key for row in aside if row.record not in wanted and row.key.removeprefix("change|") not in drafts]
    replans.let_go(setup.state, over, moment.now, is_over=True)


def note_drift(setup: Setup, mart: Mart, moment: Moment) -> None:
    """Count, for `status`, the values that others changed after us of late, and those of fields that we only watch."""
    drift = mart.table("drift")
    recent = drift.filter(drift.seen_at.between(earlier(NOW, setup.writeback.fights.within), NOW))
    names = ("system", "object_type", "field")
    rows = [{**row, "why": "edited"} for row in _grouped(mart, recent, names)]
    watched = {field for field, owner in rules(setup).owners.items() if owner is Owner.ALERT}
    if watched:
        desired, observed = mart.table("desired"), mart.table("observed")
        pairs = desired.filter(desired.field.isin(sorted({name for _, _, name in watched})))
        pairs = pairs.left_join(observed.select("key", held="value"), "key")
        differing = pairs.filter(~ownership.is_same_value(pairs.value, pairs.held))
        found = _grouped(mart, differing, names)
        rows += [{**row, "why": "alert"} for row in found if tuple(row[name] for name in names) in watched]
    setup.state.set_note(freezes.DRIFT, orjson.dumps(rows).decode())


def _grouped(mart: Mart, rows: ir.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = mart.arrow(
        rows.group_by(names).agg(records=rows.record.nunique()).order_by(names)
    ).to_pylist()
    return found


def redirect(setup: Setup, mart: Mart) -> None:
    """Send tasks whose record was merged away or deleted to another live record of their person, and those that were refused to
    who can have them now."""
    moved = [*redirections(setup, mart), *reassignments(setup, mart)]
    replans.redirect(setup.state, {row.key: place for row, place in moved})


def reassignments(setup: Setup, mart: Mart) -> list[tuple[Outbox, dict[str, Any]]]:
    """The tasks that were refused and that somebody can have now, each with the task for them: another owner of the record, unless
    the configuration names the task's; or the same, changed in the system since, and active."""
    refused = replans.failed_tasks(setup.state, "rejected", setup.writeback.max_attempts)
    if not refused:
        return []
    named, owners = {task.owner for task in setup.tasks.values()}, _owners(mart, refused)
    active = _active_again(setup, mart, [row for row in refused if row.status == "quarantined"])
    chosen = []
    for row in refused:
        former = row.task.get("owner")
        owner = owners.get(row.key) if former not in named else former
        if owner not in (None, former) or row.key in active:
            chosen.append((row, {"task": {**row.task, "owner": owner or former}}))
    return chosen


def _owners(mart: Mart, refused: Sequence[Outbox]) -> dict[str, str | None]:
    """Who owns the record of each of these tasks now, by key of the task."""
    records = [tables.record_key(row.system, row.object_type, row.native_id) for row in refused]
    asked = mart.keep("refused_tasks", pa.table({"task": [row.key for row in refused], "record": records}))
    table = mart.table(tables.record_table(Kind.PERSON))
    owned = mart.arrow(asked.inner_join(table, asked.record == table.key).select("task", "owner").order_by("task"))
    return {str(row["task"]): row["owner"] for row in owned.to_pylist()}


def _active_again(setup: Setup, mart: Mart, refused: Sequence[Outbox]) -> set[str]:
    """Those of these tasks, by key, whose owner was changed in the system after they were refused, and is active."""
    failed = replans.last_failed(setup.state, refused, "rejected")
    owner = mart.table(tables.record_table(Kind.OWNER))
    named = sorted({row.task["owner"] for row in refused if row.task.get("owner")})
    active = owner.filter(owner.is_active & owner.deleted_at.isnull() & owner.native_id.isin(named or [""]))
    rows = mart.arrow(
        active.filter(active.modified_at.notnull()).select("system", "native_id", "modified_at")
    ).to_pylist()
    changed_at = {(row["system"], row["native_id"]): row["modified_at"] for row in rows}
    return {
        row.key
        for row in refused
        if changed_at.get((row.system, row.task.get("owner")), _BEGINNING) > failed[row.key].at
    }


def redirections(setup: Setup, mart: Mart) -> list[tuple[Outbox, dict[str, str]]]:
    """The tasks whose record was merged away or deleted, each with another live record of its person (system, object_type,
    native_id, person); where there is none, with its own, once somebody has brought that back."""
    lost = replans.failed_tasks(setup.state, "conflict", setup.writeback.max_attempts)
    if not lost:
        return []
    issued, members = mart.table("issued"), mart.table("membership")
    record = mart.table(tables.record_table(Kind.PERSON))
    asked = mart.keep("lost", pa.table({"task": [row.key for row in lost], "subject": [row.person for row in lost]}))
    anchored = asked.inner_join(issued, asked.subject == issued.key).select("task", anchor="anchor")
    now_of = anchored.inner_join(members, anchored.anchor == members.key).select("task", person="owner_id")
    all_of = mart.table("membership").view()
    theirs = now_of.inner_join(all_of, now_of.person == all_of.owner_id).select("task", "person", record="key")
    live = record.filter(
        record.deleted_at.isnull() & record.merged_into.isnull() & ~record.is_converted.fill_null(False)
    )
    places = theirs.inner_join(live, theirs.record == live.key).select(
        "task", "person", "system", "object_type", "native_id", "run"
    )
    by_task: dict[str, list[dict[str, str]]] = {}
    back: set[str] = set()  # tasks whose own record has changed, and is there, since it was not
    failed = replans.last_failed(setup.state, lost, "conflict")
    own = {task.key: (task.system, task.object_type, task.native_id) for task in lost}
    for row in mart.arrow(places.order_by("task", "system", "object_type", "native_id")).to_pylist():
        task_key, run = row.pop("task"), row.pop("run")
        by_task.setdefault(task_key, []).append(row)
        if _place(row) == own[task_key] and (run or 0) > failed[task_key].run:
            back.add(task_key)
    chosen = []
    for task in lost:
        gone = own[task.key]
        if task.status == "pending" and gone in [_place(each) for each in by_task.get(task.key, ())]:
            continue  # its record is there again, or a person had it sent once more
        targets = setup.systems[task.system].capabilities.task_targets if task.system in setup.systems else ()
        fitting = [
            place
            for place in by_task.get(task.key, ())
            if place["system"] == task.system and place["object_type"] in targets
            and (_place(place) != gone or task.key in back)
        ]  # fmt: skip
        if fitting:
            chosen.append(
                (task, min(fitting, key=lambda place: (_place(place) != gone, targets.index(place["object_type"]))))
            )
    return chosen


def _place(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["system"], row["object_type"], row["native_id"]


def _column(name: str, values: Iterable[str]) -> pa.Table:
    return pa.table({name: pa.array(list(dict.fromkeys(values)), tables.TEXT)})
