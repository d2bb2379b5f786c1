"""Taking a run back: the values that were there before it, where what it wrote is still there.

No system is asked: what the pull before it saw decides, and what that could not read is left alone. What cannot be taken back is
named with its reason. What the run has not written yet (it waits, is held or set aside) is withdrawn, or it would go later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from connector import tables
from connector.mart import Mart
from connector.model import Change, Kind, Lane
from connector.ownership import is_held_as, is_same_value
from connector.plan import Plan, Totals, as_text
from connector.settlement import record_key
from connector.state import State, freezes, outbox, replans
from connector.state.models import Freeze, Outbox

_RESTORED = "what was there before is there again"


@dataclass(frozen=True, slots=True)
class Undoing:
    """What taking a run back comes to: the changes that restore, the keys of their fields, what stays, with why, and what the run
    wanted and has not written, as far as is known."""

    plan: Plan
    fields: tuple[str, ...]
    kept: tuple[str, ...]
    unwritten: tuple[Outbox, ...]

    @property
    def withdrawn(self) -> list[Outbox]:
        """What is not written any more: it waited, was held or set aside."""
        return [row for row in self.unwritten if row.status not in outbox.IN_DOUBT]

    @property
    def frozen(self) -> tuple[str, ...]:
        """The keys of all fields that the next sync would write again, or that are in doubt and would be sent again."""
        still = (f"{record_key(row)}|{name}" for row in self.unwritten for name in row.fields)
        return tuple(dict.fromkeys((*self.fields, *still)))


def freeze(state: State, found: Undoing, run: int, *, since: datetime, until: datetime) -> None:
    """Keep the next syncs from writing these fields again."""
    rows = [
        Freeze(
            key=key, system=key.partition("|")[0], record=key.rpartition("|")[0], field=key.rpartition("|")[2],
            writer="connector undo", why=f"run {run} was taken back", since_at=since, until_at=until,
        )
        for key in found.frozen
    ]  # fmt: skip
    freezes.add(state, rows)


def undoing(state: State, mart: Mart, run: int, *, unread: Collection[tuple[str, str]] = ()) -> Undoing:
    """How to restore what was there before this run; nothing is written yet. unread: system and object type of what the last pull
    could not read: what these hold now is not known."""
    rows = outbox.accepted(state, run)
    kept = [
        f"{record_key(row)}: the task “{row.task['subject']}” was made; close it by hand" for row in rows if row.task
    ]
    waiting = outbox.unwritten(state, run)
    kept += [_in_doubt(row) for row in waiting if row.status in outbox.IN_DOUBT]
    written: dict[str, tuple[Outbox, str, Any, Any]] = {}
    for row in rows:
        for name, after in row.fields.items():
            key = f"{record_key(row)}|{name}"
            before = written[key][2] if key in written else row.before.get(name)
            written[key] = (row, name, before, after)
    states = _states(mart, {key: (as_text(before), as_text(after)) for key, (_, _, before, after) in written.items()})
    by_record: dict[str, list[tuple[Outbox, str, Any, Any]]] = {}
    restored = []
    for key, each in written.items():
        if (each[0].system, each[0].object_type) in unread:
            kept.append(f"{key.replace('|', ' ')}: {each[0].system} could not be read; undo it again once it can")
            continue
        if (why := states.get(key)) == _RESTORED:
            continue
        if why is not None:
            kept.append(f"{key.replace('|', ' ')}: {why}")
        elif each[2] != each[3]:
            restored.append(key)
            by_record.setdefault(record_key(each[0]), []).append(each)
    changes = tuple(_restoring(run, fields) for fields in by_record.values())
    return Undoing(Plan(changes, {}, Totals()), tuple(restored), tuple(kept), tuple(waiting))


def withdraw(state: State, found: Undoing, now: datetime) -> None:
    """Let go of what the run has not written yet. Its fields are to be frozen by now: that replaces what waits, and sees that what
    is in doubt is not sent again; what is set aside it leaves."""
    outbox.withdraw_tasks(state, [row.id for row in found.unwritten if row.task and row.id is not None])
    aside = [f"change|{row.key}" for row in found.withdrawn if not row.task and row.status == "quarantined"]
    replans.let_go(state, aside, now)


def _in_doubt(row: Outbox) -> str:
    what = f"the task “{row.task['subject']}”" if row.task else ", ".join(row.fields)
    return f"{record_key(row)}: whether {what} was written is not known yet; undo the run again, when that has been found out"


def _restoring(run: int, fields: Sequence[tuple[Outbox, str, Any, Any]]) -> Change:
    row = fields[0][0]
    said = "\x1f".join([str(run), record_key(row), *sorted(f"{name}={before}" for _, name, before, _ in fields)])
    return Change(
        key=outbox.UNDO + hashlib.blake2b(said.encode(), digest_size=16).hexdigest(),
        system=row.system,
        object_type=row.object_type,
        native_id=row.native_id,
        lane=Lane(row.lane),
        fields={name: before for _, name, before, _ in fields},
        before={name: after for _, name, _, after in fields},
        reason=f"run {run} is taken back",
        person=row.person,
    )


def _states(mart: Mart, written: Mapping[str, tuple[str | None, str | None]]) -> dict[str, str]:
    """Why a value is not taken back, by key, for those that are not; `written` has what was there before and after."""
    if not written:
        return {}
    table = pa.table(
        {
            "key": pa.array(list(written), tables.TEXT),
            "record": pa.array([key.rsplit("|", 1)[0] for key in written], tables.TEXT),
            "before": pa.array([before for before, _ in written.values()], tables.TEXT),
            "after": pa.array([after for _, after in written.values()], tables.TEXT),
        }
    )
    asked = mart.keep("asked_undo", table)
    observed, record = mart.table("observed"), mart.table(tables.record_table(Kind.PERSON))
    seen = asked.left_join(observed.select("key", "value", "ours"), "key", rname="{name}_seen")
    seen = seen.left_join(
        record.select("key", "deleted_at", "merged_into"), seen.record == record.key, rname="{name}_r"
    )
    told = seen.mutate(
        is_ours=is_same_value(seen.after, seen.ours), is_there=is_held_as(seen.value, seen.after),
        is_back=is_held_as(seen.value, seen.before),
        is_gone=seen.key_r.isnull() | seen.deleted_at.notnull() | seen.merged_into.notnull(),
    )  # fmt: skip
    reasons = {}
    for row in mart.arrow(told.select("key", "is_ours", "is_there", "is_back", "is_gone")).to_pylist():
        if row["is_gone"]:
            reasons[row["key"]] = "the record is gone"
        elif row["is_back"]:
            reasons[row["key"]] = _RESTORED
        elif not row["is_ours"]:
            reasons[row["key"]] = "a later run wrote another value"
        elif not row["is_there"]:
            reasons[row["key"]] = "somebody changed it since"
    return reasons
