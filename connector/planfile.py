"""A plan as a file: saved by `plan`, delivered by `apply` as far as what it was made from still holds, per record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import orjson
import pyarrow as pa

from connector import tables
from connector.errors import ConfigError, Problem
from connector.mart import Mart
from connector.model import Change, Lane, Task
from connector.plan import Plan, Totals, as_text

DEFAULT = "plan.json"
_FORMAT = 1


def as_json(plan: Plan, *, fingerprint: str, made_at: datetime) -> dict[str, Any]:
    """The plan as plain values."""
    return {
        "format": _FORMAT,
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


def save(file: Path, plan: Plan, *, fingerprint: str, made_at: datetime) -> None:
    """Write the plan for its owner alone (0600), whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.new")
    descriptor = os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(
            orjson.dumps(
                as_json(plan, fingerprint=fingerprint, made_at=made_at), option=orjson.OPT_INDENT_2, default=str
            )
        )
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(file)


def read(file: Path, *, fingerprint: str) -> Plan:
    """A saved plan. Raises ConfigError when the file is no plan, or was made with another configuration."""
    try:
        values = orjson.loads(file.read_bytes())
        changes = tuple(_change(each) for each in values["changes"])
        made_with, held = values["config"], values["held"]
        plan = Plan(changes, held, Totals(**values["totals"]))
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
    return plan


def _change(values: Mapping[str, Any]) -> Change:
    task = values["task"]
    made = Task(**{**task, "due_at": datetime.fromisoformat(task["due_at"])}) if task else None
    return Change(**{**values, "lane": Lane(values["lane"]), "task": made})


def still_holding(plan: Plan, mart: Mart, *, is_forced: bool) -> tuple[Plan, list[str]]:
    """The plan less the records whose observed values are no longer those that it was made from, with a line for each.

    Compares with what the last pull saw; no system is asked. With `is_forced` the brakes of the plan are lifted.
    """
    wanted = [
        {"key": f"{_record(change)}|{name}", "expected": as_text(change.before.get(name))}
        for change in plan.changes
        for name in change.fields
    ]
    drifted: set[str] = set()
    if wanted:
        expected = ibis.memtable(
            pa.Table.from_pylist(wanted, schema=pa.schema([("key", tables.TEXT), ("expected", tables.TEXT)]))
        )
        joined = expected.left_join(mart.table("observed"), "key")
        number = joined.expected.try_cast("float64") == joined.value.try_cast("float64")
        is_same = joined.expected.nullif("").identical_to(joined.value.nullif("")) | number.fill_null(False)
        drifted = {
            row["key"].rsplit("|", 1)[0] for row in mart.arrow(joined.filter(~is_same).select("key")).to_pylist()
        }
    kept = tuple(change for change in plan.changes if change.task is not None or _record(change) not in drifted)
    lines = [f"{record}: its values changed since the plan was made; left out" for record in sorted(drifted)]
    return replace(plan, changes=kept, held={} if is_forced else plan.held), lines


def _record(change: Change) -> str:
    return tables.record_key(change.system, change.object_type, change.native_id)
