"""What an outcome means: for the change that it is of, and for what we know of the system.

Outcomes go to the state first, then to the mart's observed values, each marked when it is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from connector import tables
from connector.mart import Mart
from connector.model import Change, Found, Kind, Lane, ObjectSchema, Outcome, Result, Task
from connector.plan import as_text
from connector.state import State, outbox
from connector.state.models import Outbox, Quarantine
from connector.state.outbox import Entry, Settlement

_TEXT = 500  # characters kept of what a system says
_STATUS_AFTER = {
    Result.ACCEPTED: "settled",
    Result.UNCHANGED: "settled",
    Result.REJECTED: "quarantined",
    Result.CONFLICT: "settled",
    Result.RETRY: "pending",
    Result.WAIT: "pending",
    Result.STOP: "pending",
    Result.UNKNOWN: "unknown",
}


def settlement(change: Change, outcome: Outcome, attempt: int, now: datetime, *, max_attempts: int) -> Settlement:
    """What one attempt came to, as it is kept: the change is settled, waits, is unknown, or is set aside."""
    status, not_before_at = _STATUS_AFTER[outcome.result], None
    if outcome.result is Result.RETRY:
        wait_s = max(2 ** min(attempt, 8), outcome.retry_after_s or 0)
        not_before_at = now + timedelta(seconds=wait_s)
        status = "quarantined" if outcome.code and attempt >= max_attempts else status
    if outcome.result is Result.UNKNOWN and outcome.retry_after_s is not None:
        not_before_at = now + timedelta(seconds=outcome.retry_after_s)
    if outcome.result is Result.CONFLICT and (change.task is not None or attempt >= max_attempts):
        status = "quarantined"
    return Settlement(
        attempt=attempt,
        status=status,
        result=outcome.result.value,
        native_id=outcome.native_id,
        code=outcome.code,
        message=outcome.message[:_TEXT],
        hint=outcome.hint[:_TEXT],
        request_id=outcome.request_id,
        not_before_at=not_before_at,
        made_task=change.task is not None and outcome.result in (Result.ACCEPTED, Result.UNCHANGED),
        costs_attempt=outcome.result not in (Result.WAIT, Result.STOP),
    )


def aside(change: Change, outcome: Outcome, now: datetime) -> Quarantine:
    """A change that is set aside, with its cause."""
    return Quarantine(
        key=f"change|{change.key}",
        kind="change",
        system=change.system,
        stream=change.object_type,
        record=record_key(change),
        code=outcome.code,
        reason=outcome.message[:_TEXT],
        hint=outcome.hint[:_TEXT],
        first_at=now,
        last_at=now,
    )


def fingerprint(schemas: Mapping[str, ObjectSchema]) -> str:
    """What our credentials may do with some objects, as a short text that changes with it."""
    told = sorted(repr(dataclasses.astuple(each)) for schema in schemas.values() for each in schema.fields.values())
    return hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()


# ------------------------------------------------------------------------------------------------------------ reconcile


def judge(change: Change, found: Found) -> Outcome:
    """What the system's own record of it, or its present values, say about a change of unknown outcome."""
    if found.outcome is not None:
        return found.outcome
    return _judge_fields(change, found) if change.task is None else _judge_task(change, found)


def _judge_task(change: Change, found: Found) -> Outcome:
    if found.native_id is not None:
        return Outcome(change.key, Result.ACCEPTED, native_id=found.native_id, message="found in the system")
    if not found.is_certain:
        return Outcome(change.key, Result.UNKNOWN, message="the system's index may still lag")
    return Outcome(change.key, Result.RETRY, message="not in the system: to be sent again")


def _judge_fields(change: Change, found: Found) -> Outcome:
    if found.values is None:
        return Outcome(change.key, Result.CONFLICT, code="GONE", message="the record is gone")
    if all(_is_equal(found.values.get(name), value) for name, value in change.fields.items()):
        return Outcome(change.key, Result.ACCEPTED, message="found in the system")
    return Outcome(change.key, Result.RETRY, message="not in the system: to be sent again")


def _is_equal(left: Any, right: Any) -> bool:
    if left in (None, "") and right in (None, ""):
        return True
    try:
        return bool(abs(float(left) - float(right)) < 1e-9)
    except (TypeError, ValueError):
        return bool(_instant_or_text(left) == _instant_or_text(right))


def _instant_or_text(value: Any) -> Any:
    try:
        return datetime.fromisoformat(str(value).replace("+0000", "+00:00"))
    except ValueError:
        return str(value)


# ------------------------------------------------------------------------------------------------------------ settle


def settle(state: State, mart: Mart, *, run: int) -> int:
    """Bring accepted field values into the mart's observed values, once each. Returns how many values."""
    settled = 0
    while accepted := outbox.unapplied(state):
        values = _observed(accepted, run)
        if values.num_rows:
            with mart.transaction():
                mart.merge("observed", _as_seen(mart, ibis.memtable(values)))
        outbox.mark_applied(state, [each.delivery for each in accepted])
        settled += values.num_rows
    return settled


def _as_seen(mart: Mart, settled: ir.Table) -> ir.Table:
    """The settled values, each with the version of its record that we have seen."""
    observed, record = mart.table("observed"), mart.table(tables.record_table(Kind.PERSON))
    seen = settled.left_join(observed.select("key", held_at="observed_at"), "key").drop("key_right")
    seen = seen.left_join(
        record.select("key", modified_at="modified_at"), seen.record == record.key, rname="record_{name}"
    )
    at = ibis.coalesce(ibis.greatest(seen.held_at, seen.modified_at), seen.settled_at)
    return seen.mutate(observed_at=at).select(*tables.OBSERVED.names)


def _observed(accepted: Sequence[Entry], run: int) -> pa.Table:
    """The values that were accepted as OBSERVED rows; of several for one field the last."""
    keys: list[str] = []
    names: list[str] = []
    values: list[str | None] = []
    of: list[int] = []  # which of the accepted changes each value is of
    for number, each in enumerate(accepted):
        record = tables.record_key(each.system, each.object_type, each.native_id)
        keys.extend(f"{record}|{name}" for name in each.fields)
        names.extend(each.fields)
        values.extend(map(as_text, each.fields.values()))
        of.extend([number] * len(each.fields))
    last = {key: index for index, key in enumerate(keys)}
    at = pa.array([each.at for each in accepted], tables.INSTANT).take(pa.array(of, pa.int64()))
    place = {
        name: pa.array([getattr(each, name) for each in accepted], tables.TEXT).take(pa.array(of, pa.int64()))
        for name in ("system", "object_type", "native_id")
    }
    value = pa.array(values, tables.TEXT)
    made = {
        **place, "key": pa.array(keys, tables.TEXT), "field": pa.array(names, tables.TEXT), "value": value, "ours": value,
        "record": pa.array([key[: -len(name) - 1] for key, name in zip(keys, names, strict=True)], tables.TEXT),
        "observed_at": at, "settled_at": at, "revision": pa.repeat(pa.scalar(run, tables.INT), len(keys)),
        "edited_at": pa.nulls(len(keys), tables.INSTANT),
    }  # fmt: skip
    rows = pa.table([made[name] for name in tables.OBSERVED.names], schema=tables.OBSERVED)
    return rows if len(last) == len(keys) else rows.take(pa.array(last.values(), pa.int64()))


# ------------------------------------------------------------------------------------------------------------ pieces


def record_key(change: Change | Outbox) -> str:
    """The key of the record that a change is for."""
    return tables.record_key(change.system, change.object_type, change.native_id)


def as_change(row: Outbox | Entry) -> Change:
    """A row of the outbox as the change that it stands for."""
    task = None
    if row.task:
        task = Task(**{**row.task, "due_at": datetime.fromisoformat(row.task["due_at"])})
    return Change(
        key=row.key, system=row.system, object_type=row.object_type, native_id=row.native_id, lane=Lane(row.lane), fields=row.fields,
        before=row.before, task=task, reason=row.reason, expected_version=row.expected_version, person=row.person,
        parent=row.parent, receipt=row.receipt,
    )  # fmt: skip
