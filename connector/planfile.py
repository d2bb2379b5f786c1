"""A plan as a file: saved by `plan`, delivered by `apply` as far as what it was made from still holds, per record."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from connector import tables
from connector.errors import ConfigError, Problem
from connector.mart import Mart
from connector.model import Change, Kind, Lane, Task
from connector.ownership import is_held_as, is_same_value
from connector.plan import Plan, Totals, as_text

DEFAULT = "plan.json"
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan, the run that made it, and that run's instant."""

    plan: Plan
    run: int
    made_at: datetime


def as_json(plan: Plan, *, run: int, fingerprint: str, made_at: datetime) -> dict[str, Any]:
    """The plan as plain values."""
    return {
        "format": _FORMAT,
        "run": run,
        "config": fingerprint,
        "made_at": made_at.isoformat(),
        "totals": asdict(plan.totals),
        "held": dict(plan.held),
        "changes": [_change_json(change) for change in plan.changes],
    }


def _change_json(change: Change) -> dict[str, Any]:
    values = asdict(change) | {"lane": change.lane.value}
    if change.task is not None:
        values["task"] = asdict(change.task) | {"due_at": change.task.due_at.isoformat()}
    return values


def save(file: Path, plan: Plan, *, run: int, fingerprint: str, made_at: datetime) -> None:
    """Write the plan for its owner alone (0600), whole or not at all."""
    _write(file, as_json(plan, run=run, fingerprint=fingerprint, made_at=made_at))


def is_plan(file: Path) -> bool:
    """Whether a file is a plan that was saved."""
    try:
        values = orjson.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"format", "config", "changes"} <= values.keys()


def without(file: Path, records: Collection[str], persons: Collection[str], *, is_dry: bool = False) -> int:
    """Take the changes of these records and persons out of a saved plan; returns how many there were."""
    values = orjson.loads(file.read_bytes())
    gone = [
        each
        for each in values["changes"]
        if each["person"] in persons
        or tables.record_key(each["system"], each["object_type"], each["native_id"]) in records
    ]
    if gone and not is_dry:
        keys = {each["key"] for each in gone}
        values["changes"] = [each for each in values["changes"] if each["key"] not in keys]
        values["held"] = {key: why for key, why in values["held"].items() if key not in keys}
        _write(file, values)
    return len(gone)


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.new")
    descriptor = os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(orjson.dumps(values, option=orjson.OPT_INDENT_2, default=str))
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(file)


def read(file: Path, *, fingerprint: str) -> Saved:
    """A saved plan. Raises ConfigError when the file is no plan, or was made with another configuration."""
    try:
        values = orjson.loads(file.read_bytes())
        changes = tuple(_change(each) for each in values["changes"])
        made_with, plan = values["config"], Plan(changes, values["held"], Totals(**values["totals"]))
        saved = Saved(plan, int(values["run"]), datetime.fromisoformat(values["made_at"]))
    except FileNotFoundError:
        raise ConfigError(
            [Problem("", f"there is no plan {file.name}", "run `connector plan` first", file.name)]
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ConfigError(
            [
                Problem(
                    "",
                    f"is not a plan that `connector plan` saved ({type(problem).__name__})",
                    "make it anew",
                    file.name,
                )
            ]
        ) from None
    if made_with != fingerprint:
        raise ConfigError([Problem("", "was made with another configuration", "run `connector plan` again", file.name)])
    return saved


def _change(values: Mapping[str, Any]) -> Change:
    task = values["task"]
    made = Task(**{**task, "due_at": datetime.fromisoformat(task["due_at"])}) if task else None
    return Change(**{**values, "lane": Lane(values["lane"]), "task": made})


def still_holding(
    saved: Saved,
    mart: Mart,
    *,
    unread: Collection[tuple[str, str]],
    frozen: Collection[str],
    written: Mapping[str, int],
    is_forced: bool,
) -> tuple[Plan, list[str]]:
    """The plan less the records for which what it was computed from does not hold any more, with a line for each.

    Compares with what the pull just saw. unread: system and object type of what it could not read: nobody knows what these hold now.
    frozen: keys of fields that are left alone now. written: changes that were written since, by which run. With `is_forced` the
    brakes of the plan are lifted.
    """
    plan = saved.plan
    drifted = {
        **_planned_anew(saved, mart),
        **_with_news(saved, mart),
        **dict.fromkeys(_changed(plan, mart), "its values changed since the plan was made"),
        **dict.fromkeys((key.rsplit("|", 1)[0] for key in frozen), "a field of it is frozen"),
        **{_record(each): f"run {written[each.key]} wrote it already" for each in plan.changes if each.key in written},
        **dict.fromkeys(_gone(plan, mart), "it was deleted, merged or converted since the plan was made"),
        **{
            _record(each): f"{each.system} could not be read"
            for each in plan.changes
            if (each.system, each.object_type) in unread
        },
    }
    kept = tuple(change for change in plan.changes if _record(change) not in drifted)
    refused = {_record(change) for change in plan.changes} & drifted.keys()
    lines = [f"{record}: {drifted[record]}; left out" for record in sorted(refused)]
    return replace(plan, changes=kept, held={} if is_forced else plan.held), lines


def _changed(plan: Plan, mart: Mart) -> set[str]:
    """Records of which a value that would be written over is not the one that was seen."""
    wanted = [
        {"key": f"{_record(change)}|{name}", "expected": as_text(change.before.get(name))}
        for change in plan.changes
        for name in change.fields
    ]
    schema = pa.schema([("key", tables.TEXT), ("expected", tables.TEXT)])
    expected = mart.keep("expected", pa.Table.from_pylist(wanted, schema=schema))
    joined = expected.left_join(mart.table("observed"), "key")
    drifted = joined.filter(~is_held_as(joined.value, joined.expected, joined.edited_at.isnull())).select("key")
    return {row["key"].rsplit("|", 1)[0] for row in mart.arrow(drifted).to_pylist()}


def _gone(plan: Plan, mart: Mart) -> set[str]:
    """Records that can be written no more; who was purged has none here at all."""
    asked = mart.keep("asked_records", _records(plan))
    table = mart.table(tables.record_table(Kind.PERSON))
    is_gone = table.deleted_at.notnull() | table.merged_into.notnull() | table.is_converted.fill_null(False)
    rows = mart.arrow(asked.anti_join(table.filter(~is_gone), "key").select("key")).to_pylist()
    return {row["key"] for row in rows}


def _with_news(saved: Saved, mart: Mart) -> dict[str, str]:
    """Records of which, or of whose person, something was read since that no run has computed with."""
    dirty, members = mart.table("dirty"), mart.table("membership")
    fresh = dirty.filter(dirty.run > saved.run).select("record").distinct()
    persons = members.semi_join(fresh, members.key == fresh.record).select("owner_id").distinct()
    theirs = members.semi_join(persons, "owner_id").select(record="key")
    asked = mart.keep("asked_records", _records(saved.plan))
    news = fresh.union(theirs)
    found = mart.arrow(asked.semi_join(news, asked.key == news.record)).to_pylist()
    return dict.fromkeys((row["key"] for row in found), "news came in since the plan was made")


def _planned_anew(saved: Saved, mart: Mart) -> dict[str, str]:
    """Records that a later run wants something else for."""
    wanted = [
        {"key": f"{_record(change)}|{name}", "planned": as_text(value)}
        for change in saved.plan.changes
        for name, value in change.fields.items()
    ]
    schema = pa.schema([("key", tables.TEXT), ("planned", tables.TEXT)])
    planned = mart.keep("planned", pa.Table.from_pylist(wanted, schema=schema))
    desired = mart.table("desired")
    joined = planned.inner_join(desired.filter(desired.revision > saved.run), "key")
    other = joined.filter(~is_same_value(joined.planned, joined.value)).select("record", "revision")
    return {row["record"]: f"run {row['revision']} planned it anew" for row in mart.arrow(other).to_pylist()}


def _records(plan: Plan) -> pa.Table:
    return pa.table({"key": pa.array(sorted({_record(change) for change in plan.changes}), tables.TEXT)})


def _record(change: Change) -> str:
    return tables.record_key(change.system, change.object_type, change.native_id)
