"""Taking a run back: the values that were there before it, where what it wrote is still there.

No system is asked: what the pull before it saw decides, and what that could not read is left alone. What cannot be taken back is
named with its reason. What the run has not written yet (it waits, is held or set aside) is withdrawn, or it would go later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from connector import tables
from connector.mart import Mart
from connector.model import Change, Kind, Lane
from connector.ownership import is_held_as, is_same_value
from connector.plan import Plan, Totals, as_text
from connector.settlement import record_key
from connector.state import State, freezes, outbox, replans, restoring
from connector.state.models import Freeze, Outbox
from connector.state.restoring import Became, Ended

_RESTORED = "what was there before is there again"


@dataclass(frozen=True, slots=True)
class Undoing:
    """What taking a run back comes to: the changes that restore, the keys of their fields, what stays, with why, what the run
    wanted and has not written, as far as is known, and the keys of the fields that it froze, being an undo itself.

    Once it was delivered (`told`): the keys of the fields that are restored, and of those that wait to be.
    """

    plan: Plan
    fields: tuple[str, ...]
    kept: tuple[str, ...]
    unwritten: tuple[Outbox, ...]
    thawed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def withdrawn(self) -> list[Outbox]:
        """What is not written any more: it waited, was held or set aside."""
        return [row for row in self.unwritten if row.status not in outbox.IN_DOUBT]

    @property
    def frozen(self) -> tuple[str, ...]:
        """The keys of all fields that the next sync would write again, or that are in doubt and would be sent again; none when the
        run froze them itself: without it they are written as ever."""
        if self.thawed:
            return ()
        still = (f"{record_key(row)}|{name}" for row in self.unwritten for name in row.fields)
        return tuple(dict.fromkeys((*self.fields, *still)))


class _Asked(NamedTuple):
    """A value that a run wrote: a name to answer by, the key of its field, and what was there before and after."""

    name: str
    key: str
    before: str | None
    after: str | None


def freeze(state: State, found: Undoing, run: int, *, since: datetime, until: datetime) -> None:
    """Keep the next syncs from writing these fields again, and let them write those that the run froze."""
    freezes.thaw(state, found.thawed, since)
    rows = [
        Freeze(
            key=key, system=key.partition("|")[0], record=key.rpartition("|")[0], field=key.rpartition("|")[2],
            writer=freezes.UNDO, why=f"run {run} was taken back", since_at=since, until_at=until,
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
    states = _states(mart, [_Asked(key, key, as_text(each[2]), as_text(each[3])) for key, each in written.items()])
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
    thawed = tuple(freezes.of_undo(state, run))
    return Undoing(Plan(changes, {}, Totals()), tuple(restored), tuple(kept), tuple(waiting), thawed)


def withdraw(state: State, found: Undoing, now: datetime) -> None:
    """Let go of what the run has not written yet. Its fields are to be frozen by now: that replaces what waits, and sees that what
    is in doubt is not sent again; what is set aside it leaves, and what takes another run back."""
    outbox.withdraw_tasks(state, [row.id for row in found.unwritten if row.task and row.id is not None])
    aside = [f"change|{row.key}" for row in found.withdrawn if not row.task and row.status == "quarantined"]
    replans.let_go(state, aside, now, is_over=True)
    others = [row for row in found.unwritten if row.key.startswith(outbox.UNDO) and row.status != "quarantined"]
    outbox.let_go(state, [row.id for row in others if row.id is not None])


def told(state: State, found: Undoing) -> Undoing:
    """The same once it was delivered: what is restored, what waits, and with what stays also what its system refused."""
    ended = restoring.became(state, [change.key for change in found.plan.changes])
    restored, waiting, kept = list[str](), list[str](), list(found.kept)
    for change in found.plan.changes:
        keys = [f"{record_key(change)}|{name}" for name in change.fields]
        became = ended.get(change.key)
        if became is None:
            continue
        if became.status == "settled" and became.result in ("accepted", "unchanged"):
            restored += keys
        elif became.status in (*outbox.OPEN, *outbox.IN_DOUBT):
            waiting += keys
        else:
            kept += [f"{key.replace('|', ' ')}: {_refusal(became)}" for key in keys]
    return replace(found, restored=tuple(restored), waiting=tuple(waiting), kept=tuple(kept))


def overtaken(state: State, mart: Mart, rows: Sequence[Outbox]) -> list[str]:
    """Of changes of earlier runs that were to take one back, end the fields that are not to be restored any more: somebody changed
    them meanwhile, or the record is gone. Returns which, each with why."""
    asked = [
        _Asked(f"{row.id}|{name}", f"{record_key(row)}|{name}", as_text(value), as_text(row.before.get(name)))
        for row in rows
        for name, value in row.fields.items()
    ]
    states = _states(mart, asked)
    ended, lines = [], []
    for row in rows:
        whys = {name: states[f"{row.id}|{name}"] for name in row.fields if f"{row.id}|{name}" in states}
        lost = {name: why for name, why in whys.items() if why != _RESTORED}
        if not (lost or (whys and row.status not in outbox.IN_DOUBT)):
            continue
        rest = {name: value for name, value in row.fields.items() if name not in whys}
        why = "; ".join(dict.fromkeys(lost.values())) or _RESTORED
        ended.append(Ended(row, frozenset(whys), why, _key(record_key(row), rest) if rest else ""))
        lines += [f"{record_key(row)} {name}: {why}".replace("|", " ") for name, why in lost.items()]
    restoring.end(state, ended)
    return lines


def _refusal(became: Became) -> str:
    said = (became.message or became.result) + (f" ({became.code})" if became.code else "")
    return said + ("; it is set aside: `connector quarantine` says more" if became.status == "quarantined" else "")


def _in_doubt(row: Outbox) -> str:
    what = f"the task “{row.task['subject']}”" if row.task else ", ".join(row.fields)
    return f"{record_key(row)}: whether {what} was written is not known yet; undo the run again, when that has been found out"


def _restoring(run: int, fields: Sequence[tuple[Outbox, str, Any, Any]]) -> Change:
    row = fields[0][0]
    restored = {name: before for _, name, before, _ in fields}
    return Change(
        key=_key(record_key(row), restored),
        system=row.system,
        object_type=row.object_type,
        native_id=row.native_id,
        lane=Lane(row.lane),
        fields=restored,
        before={name: after for _, name, _, after in fields},
        reason=f"run {run} is taken back",
        person=row.person,
    )


def _key(record: str, restored: Mapping[str, Any]) -> str:
    """The key of the change that restores these fields, and no others."""
    said = "\x1f".join([record, *sorted(f"{name}={value}" for name, value in restored.items())])
    return outbox.UNDO + hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _states(mart: Mart, written: Sequence[_Asked]) -> dict[str, str]:
    """Why a value is not taken back, by name, for those that are not."""
    if not written:
        return {}
    columns = {name: pa.array([getattr(each, name) for each in written], tables.TEXT) for name in _Asked._fields}
    record = pa.array([each.key.rsplit("|", 1)[0] for each in written], tables.TEXT)
    table = pa.table(columns | {"record": record})
    asked = mart.keep("asked_undo", table)
    observed, record = mart.table("observed"), mart.table(tables.record_table(Kind.PERSON))
    seen = asked.left_join(observed.select("key", "value", "ours", "edited_at"), "key", rname="{name}_seen")
    seen = seen.left_join(
        record.select("key", "deleted_at", "merged_into", "is_converted"), seen.record == record.key, rname="{name}_r"
    )
    may_round = seen.edited_at.isnull()
    told = seen.mutate(
        is_ours=is_same_value(seen.after, seen.ours), is_there=is_held_as(seen.value, seen.after, may_round),
        is_back=is_held_as(seen.value, seen.before, may_round),
        is_gone=seen.key_r.isnull() | seen.deleted_at.notnull(), is_converted=seen.is_converted.fill_null(False),
    )  # fmt: skip
    reasons = {}
    claims = ("is_ours", "is_there", "is_back", "is_gone", "is_converted")
    for row in mart.arrow(told.select("name", "merged_into", *claims)).to_pylist():
        if (why := _why_left(row)) is not None:
            reasons[row["name"]] = why
    return reasons


def _why_left(row: Mapping[str, Any]) -> str | None:
    """Why a value is not taken back; None when it is."""
    if row["merged_into"]:
        return f"the record was merged into {row['merged_into'].replace('|', ' ')}"
    if row["is_gone"]:
        return "the record is gone"
    if row["is_converted"]:
        return "the record was converted, and takes nothing any more"
    if row["is_back"]:
        return _RESTORED
    if not row["is_ours"]:
        return "a later run wrote another value"
    return None if row["is_there"] else "somebody changed it since"
