"""Desired against observed: what is to be written, why, in which lane, at what cost, and what a brake holds.

Pure: tables in, tables and values out. Delivering is `writeback`'s.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field

from connector import ownership, tables
from connector.expressions import Instant, Number, built_once, number_of
from connector.model import LANES, Capabilities, Change, Lane, Task, Value
from connector.ownership import Rules
from connector.section import Section

#: Our outputs: name -> (lane, type for `install`). The order is that of the plan's lines.
OUTPUTS: Mapping[str, tuple[Lane, str]] = {
    "score": (Lane.SCORE, "number"),
    "grade": (Lane.SCORE, "picklist"),
    "stage": (Lane.STAGE, "picklist"),
    "stage_since": (Lane.STAGE, "datetime"),
    "reasons": (Lane.SCORE, "text"),
    "person_id": (Lane.SCORE, "text"),
}
DAY = timedelta(days=1)  # of max_tasks_per_owner
REASON_LENGTH = 58  # so long, tables.REASONS_WRITTEN of them fit 255
_NUMBERS = tuple(name for name, (_, kind) in OUTPUTS.items() if kind == "number")
_INSTANTS = tuple(name for name, (_, kind) in OUTPUTS.items() if kind == "datetime")


class Brakes(Section):
    """`[writeback.brakes]`: what holds a lane until a person has looked. Never the consent lane."""

    max_overwritten_share: float = Field(
        0.3, ge=0, le=1, description="share of the values of a lane that are there that one run may change"
    )
    min_overwritten: int = Field(
        100, ge=0, description="below this many overwritten values of a lane the share does not count"
    )
    max_tasks: int = Field(500, ge=0, description="tasks that one run may make")
    max_tasks_per_owner: int = Field(10, ge=0, description="tasks that one owner may get in 24 hours")


@dataclass(frozen=True, slots=True)
class Totals:
    """What the brakes weigh, over the whole run and by lane: values that would be overwritten, of how many that are there."""

    overwritten: Mapping[str, int] = field(default_factory=dict)
    existing: Mapping[str, int] = field(default_factory=dict)
    suppressed: int = 0  # records whose score changed by too little to be written
    left: Mapping[str, int] = field(default_factory=dict)  # values that are not ours to write, by why
    stopped: Mapping[str, str] = field(default_factory=dict)  # lanes of which something is held already -> why

    def share(self, lane: str) -> float:
        """The share of a lane's existing values that would change."""
        existing = self.existing.get(lane, 0)
        return self.overwritten.get(lane, 0) / existing if existing else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run intends: `changes` in the order of delivery, the held ones with their cause, and what was left out."""

    changes: tuple[Change, ...]
    held: Mapping[str, str]  # key of a change -> why it is held
    totals: Totals

    @property
    def going(self) -> list[Change]:
        """The changes that no brake holds."""
        return [change for change in self.changes if change.key not in self.held]

    def all_held(self, why: str) -> Plan:
        """The same, none of which goes."""
        return replace(self, held={change.key: why for change in self.changes})


# ------------------------------------------------------------------------------------------------------------ desired


@built_once
def desired_fields(
    records: ir.Table,
    membership: ir.Table,
    *,
    score: ir.Table,
    lines: ir.Table,
    stage: ir.Table,
    outputs: ir.Table,
    revision: Number,
) -> ir.Table:
    """What every live writable record of a person should hold: DESIRED rows.

    records: person_record rows; score and lines: SCORE and SCORE_LINE rows of the model that is written; stage: open
    STAGE_INTERVAL rows; outputs: (system, object_type, output, field): which native field takes which output.
    Converted leads take none.
    """
    staged = _answers(records, membership, score, lines, stage)
    wide = staged.select(
        "record", "system", "object_type", "native_id", "subject",
        score=_points_text(staged.points),
        grade=staged.grade,
        stage=staged.stage,
        stage_since=staged.entered_at.truncate("s").strftime("%Y-%m-%dT%H:%M:%SZ"),
        reasons=staged.reasons,
        person_id=staged.subject,
        why=staged.why,
    )  # fmt: skip
    long = wide.pivot_longer(list(OUTPUTS), names_to="output", values_to="value")
    fielded = long.inner_join(outputs, ["system", "object_type", "output"])
    lane = ibis.cases(*[(fielded.output == name, ibis.literal(lane.value)) for name, (lane, _) in OUTPUTS.items()])
    return fielded.select(
        key=fielded.record + "|" + fielded.field,
        system=fielded.system,
        object_type=fielded.object_type,
        native_id=fielded.native_id,
        record=fielded.record,
        output=fielded.output,
        field=fielded.field,
        value=fielded.value,
        lane=lane,
        reason=fielded.why,
        subject=fielded.subject,
        revision=number_of(revision),
    )


def _answers(records: ir.Table, membership: ir.Table, score: ir.Table, lines: ir.Table, stage: ir.Table) -> ir.Table:
    """The live writable records, each with what was found out about its person."""
    live = records.filter(
        records.deleted_at.isnull() & records.merged_into.isnull() & ~records.is_converted.fill_null(False)
    )
    placed = live.inner_join(membership, live.key == membership.key, rname="{name}_m").select(
        record=live.key,
        system=live.system,
        object_type=live.object_type,
        native_id=live.native_id,
        subject=membership.owner_id,
    )
    told = reasons_text(lines)
    scored = placed.inner_join(score, "subject").select(*placed.columns, points=score.score, grade=score.grade)
    scored = scored.left_join(told, "subject").select(*scored.columns, reasons=told.reasons)
    return scored.left_join(stage, "subject").select(
        *scored.columns, stage=stage.stage, entered_at=stage.entered_at, why=stage.why
    )


def reasons_text(lines: ir.Table) -> ir.Table:
    """The weightiest lines of each subject as one text (subject, reasons), newest first; no points and no ages in it, so that
    a day's passing alone changes no text."""
    lines = lines.filter(lines.points.abs() >= tables.WEIGHTLESS)
    weight = ibis.row_number().over(group_by="subject", order_by=[lines.points.abs().desc(), lines.rule])
    top = lines.mutate(weight=weight).filter(ibis._.weight < tables.REASONS_WRITTEN)
    signed = ibis.ifelse(top.points < 0, ibis.literal("− "), ibis.literal("+ ")) + top.text.substr(0, REASON_LENGTH)
    newest_first = [top.last_at.epoch_seconds().fill_null(0).desc(), top.half, top.text]
    place = ibis.row_number().over(group_by="subject", order_by=newest_first)
    ranked = top.mutate(item=signed, place=place)
    return ranked.group_by("subject").agg(reasons=ranked.item.group_concat("; ", order_by=ranked.place))


def _points_text(points: ir.Value) -> ir.Value:
    """Points with one decimal, without a trailing .0: integers all the way."""
    size = (points.abs() + tables.POINT // 20) // (tables.POINT // 10)
    tenths = ibis.ifelse(points < 0, -size, size)
    whole, rest = tenths.abs() // 10, tenths.abs() % 10
    sign = ibis.ifelse(tenths < 0, "-", "")
    return sign + whole.cast("string") + ibis.ifelse(rest == 0, "", ibis.literal(".") + rest.cast("string"))


# ------------------------------------------------------------------------------------------------------------ diff


@built_once
def compared(desired: ir.Table, observed: ir.Table, since: Number | None, again: ir.Table | None = None) -> ir.Table:
    """The records (`record`) to compare: with a row of `desired` that changed after the run `since`, or of `observed` that changed
    in it or after (it wrote once it had planned), and those in `again`; all where `since` is None."""
    if since is None:
        return desired.select("record").distinct()
    wanted, seen = desired.filter(desired.revision > since), observed.filter(observed.revision >= since)
    news = wanted.select("record").union(seen.select("record"))
    return (news if again is None else news.union(again.select("record"))).distinct()


@built_once
def diff(
    desired: ir.Table,
    observed: ir.Table,
    *,
    since: Number | None,
    min_points: float,
    now: Instant,
    rules: Rules = Rules(),
    frozen: ir.Table | None = None,
    again: ir.Table | None = None,
) -> ir.Table:
    """The fields that differ: DESIRED columns, `before` (text), `edited_at`, `left_because` and `is_material`.

    since, again: which records are compared (`compared`). frozen: keys of fields that are left alone.
    `left_because` says why a field is not ours to write (as `ownership.left_because`). `is_material` is the verdict on the
    whole record: when of what may be written only a score differs, by less than `min_points`, it is not.
    """
    desired = desired.semi_join(compared(desired, observed, since, again), "record")
    pairs = desired.left_join(observed, "key").select(
        *desired.columns, before=observed.value, ours=observed.ours, observed_at=observed.observed_at, edited_at=observed.edited_at,
    )  # fmt: skip
    differing = _differing(pairs)
    differing = differing.mutate(left_because=ownership.left_because(differing, rules, frozen, now))
    step = (differing.value.try_cast("float64") - differing.before.try_cast("float64")).abs()
    is_small = differing.output.isin(_NUMBERS) & step.notnull() & (step.round(6) < min_points)
    weighs = differing.left_because.isnull() & ~is_small.fill_null(False)
    return differing.mutate(is_material=weighs.any().over(group_by="record")).drop("ours")


def _differing(pairs: ir.Table) -> ir.Table:
    """The pairs that are not the same. An instant is, where the system says the same stage since an earlier one than we know of:
    it was told so by an applied plan, or before the mart was lost."""
    told = pairs.mutate(is_same=_is_same(pairs)).filter(~ibis._.is_same | (ibis._.output == "stage"))
    told = told.mutate(is_stage_same=(told.is_same & (told.output == "stage")).any().over(group_by="record"))
    is_earlier = told.before.try_cast("timestamp") < told.value.try_cast("timestamp")
    is_known_longer = (told.output == "stage_since") & is_earlier & told.is_stage_same
    return told.filter(~told.is_same & ~is_known_longer.fill_null(False)).drop("is_same", "is_stage_same")


def _is_same(pairs: ir.Table) -> ir.Value:
    """Equal as the system would mean it: numbers by value, instants by instant, an empty text as none; and what it holds since
    it was given this very value."""
    number = pairs.value.try_cast("decimal(18, 4)") == pairs.before.try_cast("decimal(18, 4)")
    instant = pairs.value.try_cast("timestamp") == pairs.before.try_cast("timestamp")
    text = pairs.value.nullif("").identical_to(pairs.before.nullif(""))
    return (
        text
        | (pairs.output.isin(_NUMBERS) & number.fill_null(False))
        | (pairs.output.isin(_INSTANTS) & instant.fill_null(False))
        | (
            pairs.ours.notnull()
            & ownership.is_same_value(pairs.ours, pairs.value)
            & ownership.is_held_as(pairs.before, pairs.ours, pairs.edited_at.isnull())
        )
    )


def field_changes(differing: Iterable[Mapping[str, Any]], braked: Collection[str] = ()) -> Iterator[Change]:
    """One change for each record, from the material rows of `diff` (those of a record together; `parent` where it has one): its
    fields travel together, in the lane of the most urgent of them. Of a record of which something is written over in `braked`
    lanes, the fields of each of them are a change of their own, for the brake to hold without the others."""
    places = {output: place for place, output in enumerate(OUTPUTS)}
    for record, rows in groupby(differing, key=lambda row: row["record"]):
        fields = sorted(rows, key=lambda row: places[row["output"]])
        stopped = {row["lane"] for row in fields if row["lane"] in braked and row["before"]}
        for lane in ("", *sorted(stopped)):
            if part := [row for row in fields if (row["lane"] if row["lane"] in stopped else "") == lane]:
                yield _field_change(record, part)


def _field_change(record: str, fields: Sequence[Mapping[str, Any]]) -> Change:
    """The key holds what was observed, so that a value going 30 → 0 → 30 is three changes."""
    order = {lane: index for index, lane in enumerate(LANES)}
    first = fields[0]
    after = {row["field"]: as_value(row["output"], row["value"]) for row in fields}
    before = {row["field"]: as_value(row["output"], row["before"]) for row in fields}
    return Change(
        key=field_key(record, before, after),
        system=first["system"],
        object_type=first["object_type"],
        native_id=first["native_id"],
        lane=min((Lane(row["lane"]) for row in fields), key=order.__getitem__),
        fields=after,
        before=before,
        reason=next((row["reason"] for row in fields if row["reason"]), ""),
        person=first["subject"],
        parent=first.get("parent") or "",
    )


def field_key(record: str, before: Mapping[str, Value], after: Mapping[str, Value]) -> str:
    """The key of a change of fields of a record, by field what was observed and what is to be there."""
    return _hash("fields", record, *[f"{name}={before[name]}>{after[name]}" for name in sorted(after)])


def task_changes(drafts: pa.Table) -> Iterator[Change]:
    """One change for each DESIRED_TASK row; its key is the task's own, which knows no version: it is made once."""
    for row in drafts.to_pylist():
        yield Change(
            key=row["key"],
            system=row["system"],
            object_type=row["object_type"],
            native_id=row["native_id"],
            lane=Lane.TASK,
            task=Task(row["key"], row["title"], row["body"] or "", row["due_at"], row["priority"], row["owner"]),
            reason=row["reason"] or "",
            person=row["subject"],
        )


def as_value(output: str, text: str | None) -> Value:
    """The text of a desired or observed value in the type that the system takes."""
    if text is None or text == "":
        return None
    if output in _NUMBERS:
        number = float(text)
        return int(number) if number.is_integer() else number
    return text


def as_text(value: Value) -> str | None:
    """The other way round: a value as the text that observed and desired values are compared by."""
    return None if value is None else str(value)


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


# ------------------------------------------------------------------------------------------------------------ brakes, batches


def make(
    changes: Iterable[Change], brakes: Brakes, totals: Totals, given: Mapping[tuple[str, str | None], int] | None = None
) -> Plan:
    """The plan: changes in the order of delivery (lane, then record), with what the brakes hold and why.

    First fills never count as overwriting. given: tasks that (system, owner) got in the last day. A run's changes may be
    made into several plans, its tasks into one.
    """
    order = {lane: index for index, lane in enumerate(LANES)}
    ordered = sorted(
        changes,
        key=lambda each: (order[each.lane], each.system, each.object_type, each.parent, each.native_id, each.key),
    )
    held = {**_held_overwrites(ordered, brakes, totals), **_held_tasks(ordered, brakes, given or {})}
    return Plan(tuple(ordered), held, totals)


def braked(brakes: Brakes, totals: Totals) -> dict[str, str]:
    """The lanes of which too many existing values would change, or something is held already, with why. Never the consent lane."""
    limit = brakes.max_overwritten_share
    return {
        lane.value: f"{totals.share(lane.value):.0%} of the existing values of the {lane.value} lane would change (limit {limit:.0%})"
        for lane in LANES
        if lane is not Lane.CONSENT
        and totals.overwritten.get(lane.value, 0) >= brakes.min_overwritten
        and totals.share(lane.value) > limit
    } | dict(totals.stopped)


def _held_overwrites(changes: Sequence[Change], brakes: Brakes, totals: Totals) -> dict[str, str]:
    stopped = braked(brakes, totals)
    return {each.key: stopped[each.lane.value] for each in changes if each.lane.value in stopped and _overwrites(each)}


def _overwrites(change: Change) -> bool:
    return any(value is not None for value in change.before.values())


def _held_tasks(
    changes: Sequence[Change], brakes: Brakes, given: Mapping[tuple[str, str | None], int]
) -> dict[str, str]:
    tasks = [(change.key, change.system, change.task.owner) for change in changes if change.task is not None]
    if len(tasks) > brakes.max_tasks:
        return {key: f"{len(tasks)} tasks in one run (limit {brakes.max_tasks})" for key, _, _ in tasks}
    held: dict[str, str] = {}
    seen = Counter(given)
    for key, system, owner in tasks:
        seen[system, owner] += 1
        if owner and seen[system, owner] > brakes.max_tasks_per_owner:
            held[key] = f"more than {brakes.max_tasks_per_owner} tasks for one owner in a day"
    return held


def batches(changes: Sequence[Change], capabilities: Capabilities) -> list[list[Change]]:
    """Changes of one system cut into what one `write` delivers; the batch with the most urgent change goes first."""
    if not changes:
        return []
    made = capabilities.cut(changes) if capabilities.cut else _cut(changes, capabilities)
    order = {lane: place for place, lane in enumerate(LANES)}
    return sorted(made, key=lambda batch: min(order[change.lane] for change in batch))


def _cut(changes: Sequence[Change], capabilities: Capabilities) -> list[list[Change]]:
    if capabilities.mixes_in_batch:
        lots = [list(changes)]
    else:
        keys: dict[tuple[Any, ...], list[Change]] = {}
        for change in changes:
            keys.setdefault((change.task is not None, "" if change.task else change.object_type), []).append(change)
        lots = list(keys.values())
    size = capabilities.batch_size
    return [lot[start : start + size] for lot in lots for start in range(0, len(lot), size)]
