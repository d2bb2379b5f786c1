"""What an outcome means: for the change that it is of, and for what we know of the system.

Outcomes go to the state first, then to the mart's observed values, each marked when it is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute

from connector import tables
from connector.expressions import built_once
from connector.mart import Mart
from connector.model import LANES, Change, Found, Kind, Lane, ObjectSchema, Outcome, Result, Task
from connector.plan import as_text, field_key
from connector.state import State, attempts, outbox
from connector.state.attempts import Applied, Entry, Settlement
from connector.state.models import Outbox, Quarantine
from connector.state.outbox import LONGEST_WAIT

pc: Any = pyarrow.compute

_TEXT = 500  # characters kept of what a system says
#: By so much a field without decimals may differ from what it is given.
_HALF = 0.5
_SETTLED_AT_ONCE = 20_000  # changes, for memory
_LANES = {lane.value: lane for lane in Lane}
#: The columns of an observed value that differ after our writing it; the others are its key, in parts.
_SETTLED = ("value", "ours", "observed_at", "settled_at", "revision", "edited_at")
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
    if change.task is None and outcome == Outcome(change.key, Result.ACCEPTED):
        return _accepted(attempt)
    status, not_before_at = _STATUS_AFTER[outcome.result], None
    if outcome.result is Result.RETRY:
        wait_s = min(max(2 ** min(attempt, 8), outcome.retry_after_s or 0), LONGEST_WAIT.total_seconds())
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


@lru_cache
def _accepted(attempt: int) -> Settlement:
    return Settlement(attempt, "settled", "accepted")


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


def parted(change: Change, outcome: Outcome, lanes: Mapping[tuple[str, str], Lane]) -> tuple[Change, Change] | None:
    """A refused change as two, where the system names which of its fields it refuses: what is refused, and what may go without it.

    Both have the keys and the lanes that a plan gives them: the next one knows what was set aside, and wants the rest no more once it
    is there. lanes: of each field, by object type and name.
    None where the cause lies in all of it, and of what takes a run back.
    """
    refused = change.fields.keys() & set(outcome.fields)
    if outcome.result is not Result.REJECTED or not refused or refused == change.fields.keys():
        return None
    if change.key.startswith(outbox.UNDO):
        return None
    return _only(change, refused, lanes), _only(change, change.fields.keys() - refused, lanes)


def _only(change: Change, names: Set[str], lanes: Mapping[tuple[str, str], Lane]) -> Change:
    fields = {name: value for name, value in change.fields.items() if name in names}
    before = {name: change.before.get(name) for name in fields}
    key = field_key(record_key(change), before, fields)
    lane = min((lanes.get((change.object_type, name), change.lane) for name in fields), key=LANES.index)
    return dataclasses.replace(change, key=key, lane=lane, fields=fields, before=before)


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
    fields = [(found.values.get(name), value, change.before.get(name)) for name, value in change.fields.items()]
    has_arrived = [_has_arrived(*each) for each in fields]
    if all(has_arrived):
        return Outcome(change.key, Result.ACCEPTED, message="found in the system")
    if any(
        not arrived and not _is_equal(held, before)
        for arrived, (held, _, before) in zip(has_arrived, fields, strict=True)
    ):
        words = "somebody changed it since: planned anew once it is read"
        return Outcome(change.key, Result.CONFLICT, code="CHANGED", message=words)
    return Outcome(change.key, Result.RETRY, message="not in the system: to be sent again")


def _has_arrived(held: Any, sent: Any, before: Any) -> bool:
    """Whether a field shows what was sent, or what it made of that: one without decimals rounds, one of dates keeps the day."""
    if _is_equal(held, sent):
        return True
    try:
        is_kept = float(held).is_integer() and abs(float(held) - float(sent)) <= _HALF
    except (TypeError, ValueError):
        is_kept = bool(held) and str(sent).startswith(f"{held}T")
    return is_kept and not _is_equal(held, before)


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
    """Bring accepted field values into the mart's observed values, once each. Returns how many values.

    What is accepted meanwhile is left for the next time, unless it is much.
    """
    settled, is_more = 0, True
    while is_more and (accepted := attempts.unapplied(state, limit=_SETTLED_AT_ONCE)):
        with mart.transaction():
            for layer in _layers(accepted):
                values = _observed(layer, run)
                seen = mart.keep("settled_rows", _as_seen(mart, mart.keep("settled_values", values)))
                mart.update("observed", "key", seen.filter(seen.is_held).select("key", *_SETTLED))
                mart.append("observed", seen.filter(~seen.is_held).drop("is_held"))
                settled += values.num_rows
        attempts.mark_applied(state, [each.delivery for each in accepted])
        is_more = len(accepted) == _SETTLED_AT_ONCE
    return settled


def in_doubt(state: State, system: str) -> pa.Table:
    """The values (`key`, `value`) that were sent to a system and of which nobody has told whether they are there."""
    values = {
        f"{record_key(each)}|{name}": as_text(value)
        for each in attempts.in_doubt(state, system)
        for name, value in each.fields.items()
    }
    return pa.table({"key": pa.array(list(values), tables.TEXT), "value": pa.array(list(values.values()), tables.TEXT)})


def _layers(accepted: Sequence[Applied]) -> list[dict[str, Applied]]:
    """The accepted changes of fields by their record: the first of each, then the second of each that has one, and so on."""
    layers: list[dict[str, Applied]] = []
    times: Counter[str] = Counter()
    for each in accepted:
        if each.fields:
            record = record_key(each)
            if times[record] == len(layers):
                layers.append({})
            layers[times[record]][record] = each
            times[record] += 1
    return layers


def _as_seen(mart: Mart, settled: ir.Table) -> ir.Table:
    """The settled values, each with the version of its record that we have seen.

    One that told this very value already was written by us: read again with another one, it was changed by somebody in the same
    second, so that it has to count as newer.
    """
    return _with_versions(settled, mart.table("observed"), mart.table(tables.record_table(Kind.PERSON)))


@built_once
def _with_versions(settled: ir.Table, observed: ir.Table, record: ir.Table) -> ir.Table:
    held = observed.select("key", held_at="observed_at", held_value="value", is_held=True)
    seen = settled.left_join(held, "key").drop("key_right")
    seen = seen.mutate(is_held=seen.is_held.fill_null(False)).left_join(
        record.select("key", modified_at="modified_at"), seen.record == record.key, rname="record_{name}"
    )
    at = ibis.coalesce(ibis.greatest(seen.held_at, seen.modified_at), seen.settled_at)
    is_read_back = (seen.held_at == at) & (seen.held_value == seen.value)
    at = ibis.ifelse(is_read_back.fill_null(False), at - ibis.interval(microseconds=1), at)
    return seen.mutate(observed_at=at).select(*tables.OBSERVED.names, "is_held")


def _observed(accepted: Mapping[str, Applied], run: int) -> pa.Table:
    """The values that were accepted, by record, as OBSERVED rows."""
    by_shape: dict[tuple[str, ...], list[tuple[str, Applied]]] = {}
    for record, each in accepted.items():
        by_shape.setdefault(tuple(each.fields), []).append((record, each))
    return pa.concat_tables([_observed_alike(names, alike, run) for names, alike in by_shape.items()])


def _observed_alike(names: Sequence[str], alike: Sequence[tuple[str, Applied]], run: int) -> pa.Table:
    """OBSERVED rows of changes that have the same fields: field by field."""
    entries = [each for _, each in alike]

    def again(values: Sequence[Any], kind: pa.DataType) -> pa.Array[Any]:
        """A column's values once for each field."""
        return pa.concat_arrays([pa.array(values, kind)] * len(names))

    place = {
        name: again([getattr(each, name) for each in entries], tables.TEXT)
        for name in ("system", "object_type", "native_id")
    }
    record = again([record for record, _ in alike], tables.TEXT)
    field = pa.concat_arrays([pa.repeat(pa.scalar(name, tables.TEXT), len(alike)) for name in names])
    value = pa.array([as_text(each.fields[name]) for name in names for each in entries], tables.TEXT)
    at = again([each.at for each in entries], tables.INSTANT)
    made = {
        **place, "key": pc.binary_join_element_wise(record, field, "|"), "field": field, "value": value, "ours": value,
        "record": record, "observed_at": at, "settled_at": at, "revision": pa.repeat(pa.scalar(run, tables.INT), len(value)),
        "edited_at": pa.nulls(len(value), tables.INSTANT),
    }  # fmt: skip
    return pa.table([made[name] for name in tables.OBSERVED.names], schema=tables.OBSERVED)


# ------------------------------------------------------------------------------------------------------------ pieces


def record_key(change: Change | Outbox | Entry | Applied) -> str:
    """The key of the record that a change is for."""
    return tables.record_key(change.system, change.object_type, change.native_id)


def as_change(row: Outbox | Entry) -> Change:
    """A row of the outbox as the change that it stands for."""
    task = None
    if row.task:
        task = Task(**{**row.task, "due_at": datetime.fromisoformat(row.task["due_at"])})
    return Change(
        key=row.key, system=row.system, object_type=row.object_type, native_id=row.native_id, lane=_LANES[row.lane], fields=row.fields,
        before=row.before, task=task, reason=row.reason, expected_version=row.expected_version, person=row.person,
        parent=row.parent, receipt=row.receipt,
    )  # fmt: skip
