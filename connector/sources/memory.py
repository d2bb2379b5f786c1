"""A system that lives in this process: the reference for the contract suite, and a place to try things.

It keeps every promise of the ports in the simplest way there is: a cursor is the number of the last change read.
Its records are in a `Store`, which the caller may hold too, to act behind its back and to break things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
from pydantic import Field

from connector.errors import MissingPermission, QuotaExhausted
from connector.model import (
    Adapter,
    Capabilities,
    Change,
    Check,
    FieldSchema,
    FieldSpec,
    Finding,
    Found,
    InstallStep,
    Keep,
    Kind,
    ObjectSchema,
    Outcome,
    Page,
    Request,
    Result,
    Step,
    Stream,
    StreamFailure,
    System,
    forget,
)
from connector.section import Section
from connector.sources.memory_store import TASK_KEY, Record, Store
from connector.tables import PAGE
from connector.verdicts import Classified, Verdict

PAGE_ROWS = 100
OUTPUTS = ("score", "grade", "stage", "stage_since", "reasons", "person_id")


class MemoryOptions(Section):
    """`[systems.<name>]` with `kind = "memory"`: records in this process, for tests and for trying things out."""

    kind: Literal["memory"] = Field("memory", description="the kind of system")
    path: Path | None = Field(
        None, description="JSON file that keeps the records; without it they live with the process"
    )


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    """Nothing is ever received here."""
    return Classified(Verdict.OK if status < 300 else Verdict.PROTOCOL)


class MemorySource:
    """The reading side."""

    def __init__(self, name: str, store: Store) -> None:
        self.name, self.store = name, store

    def check(self, requests: Sequence[Request]) -> Check:
        """Say which requested fields no record has."""
        self.store.calls += 1
        findings = []
        for request in requests:
            unknown = [f for f in request.fields if f not in self.store.fields.get(request.stream.object_type, ())]
            findings += [
                Finding("error", f"{request.stream.object_type}.{f} does not exist", "install it") for f in unknown
            ]
            findings += [] if unknown else [Finding("ok", f"reads {request.stream.name}")]
        return Check(self.name, "this process", None, None, 0.0, tuple(findings))

    def describe(self, object_types: Sequence[str]) -> Mapping[str, ObjectSchema]:
        """The fields that any record ever had, or that were installed."""
        known = {
            kind: self.store.fields.get(kind, []) for kind in object_types if kind not in self.store.faults.forbidden
        }
        return {k: ObjectSchema(k, {n: FieldSchema(n, "text") for n in names}) for k, names in known.items()}

    def pages(self, requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        """The records of each stream in the order of their last change, to the present end."""
        if self.store.faults.is_quota_used:
            raise QuotaExhausted("the quota is used up", system=self.name)
        for request in requests:
            if request.stream.object_type in self.store.faults.forbidden:
                hint = "allow it"
                yield StreamFailure(request.stream, MissingPermission("may not be read", hint=hint, system=self.name))
                continue
            yield from self._read(request)

    def _read(self, request: Request) -> Iterator[Page]:
        at = int(request.cursor or 0)
        is_first = request.cursor is None
        held = set(request.held().to_pylist()) if is_first and request.held else set()
        while True:
            self.store.calls += 1
            records = self.store.records.get(request.stream.object_type, {})
            later = sorted((r.sequence, i) for i, r in records.items() if r.sequence > at)
            page = [i for _, i in later[:PAGE_ROWS] if not (is_first and records[i].is_deleted and i not in held)]
            is_done = len(later) <= PAGE_ROWS
            at = later[:PAGE_ROWS][-1][0] if later else at
            yield Page(request.stream, _rows(request, {i: records[i] for i in page}), str(at), is_done)
            if is_done:
                return


def _rows(request: Request, records: Mapping[str, Record]) -> pa.Table:
    rows = [
        {
            "native_id": native_id,
            "object_type": request.stream.object_type,
            "created_at": datetime.fromisoformat(record.created_at),
            "modified_at": datetime.fromisoformat(record.modified_at),
            "is_deleted": record.is_deleted,
            "merged_into": record.merged_into,
            "native": orjson.dumps({name: record.values.get(name) for name in request.fields}).decode(),
        }
        for native_id, record in records.items()
    ]
    return pa.Table.from_pylist(rows, schema=PAGE)


class MemoryTarget:
    """The writing side."""

    def __init__(self, name: str, store: Store) -> None:
        self.name, self.store = name, store

    def install(self, specs: Sequence[FieldSpec], *, is_dry: bool) -> Sequence[InstallStep]:
        """Note the fields as known."""
        steps = []
        for spec in specs:
            known = self.store.fields.setdefault(spec.object_type, [])
            steps.append(
                InstallStep(
                    self.name, Step.EXISTS if spec.name in known else Step.CREATE, f"{spec.object_type}.{spec.name}"
                )
            )
            if not is_dry and spec.name not in known:
                known.append(spec.name)
        self.store.save()
        return steps

    def write(self, changes: Sequence[Change], keep: Keep = forget) -> Sequence[Outcome]:
        """Apply each change by itself."""
        del keep
        self.store.calls += 1
        if self.store.faults.refused_connections:
            self.store.faults.refused_connections -= 1
            return [Outcome(change.key, Result.RETRY) for change in changes]
        outcomes = [self._write(change) for change in changes]
        self.store.save()
        if self.store.faults.lost_replies:
            self.store.faults.lost_replies -= 1
            return [Outcome(change.key, Result.UNKNOWN) for change in changes]
        return outcomes

    def _write(self, change: Change) -> Outcome:
        if self.store.live(change.object_type, change.native_id) is None:
            return Outcome(change.key, Result.CONFLICT, code="GONE", message="the record is gone")
        if change.task is not None:
            made = self.store.task(change.task.key)
            if made is not None:
                return Outcome(change.key, Result.UNCHANGED, made)
            task = change.task
            values = {"type": "task", "subject": task.subject, "body": task.body, "priority": task.priority}
            values |= {"due_at": task.due_at.astimezone(UTC).isoformat(), "owner": task.owner or "", TASK_KEY: task.key}
            values |= {"about": f"{change.object_type} {change.native_id}"}
            return Outcome(change.key, Result.ACCEPTED, self.store.put("activities", None, values))
        unknown = change.fields.keys() - set(self.store.fields.get(change.object_type, ()))
        if unknown:
            what = ", ".join(sorted(unknown))
            return Outcome(
                change.key,
                Result.REJECTED,
                code="UNKNOWN_FIELD",
                message=what,
                hint="install it",
                fields=tuple(unknown),
            )
        self.store.put(change.object_type, change.native_id, change.fields)
        return Outcome(change.key, Result.ACCEPTED, change.native_id)

    def find(self, changes: Sequence[Change]) -> Sequence[Found]:
        """What there is now."""
        self.store.calls += 1
        return [self._find(change) for change in changes]

    def _find(self, change: Change) -> Found:
        if change.task is not None:
            return Found(change.key, self.store.task(change.task.key))
        record = self.store.live(change.object_type, change.native_id)
        if record is None:
            return Found(change.key)
        return Found(change.key, values={name: record.values.get(name) for name in change.fields})


def attach(name: str, store: Store) -> System:
    """A system over a store that the caller holds too."""
    return System(name, "memory", MemorySource(name, store), MemoryTarget(name, store), lambda: store.calls, store.save)


def connect(name: str, options: MemoryOptions) -> System:
    """A system over the file of the options, or over nothing yet."""
    store = Store(options.path)
    store.load()
    return attach(name, store)


MEMORY = Adapter(
    kind="memory",
    title="Memory",
    options=MemoryOptions,
    streams=(
        Stream("contacts", Kind.PERSON, "contacts"),
        Stream("companies", Kind.ACCOUNT, "companies"),
        Stream("deals", Kind.OPPORTUNITY, "deals"),
        Stream("activities", Kind.ACTIVITY, "activities", own_tasks=True),
    ),
    capabilities=Capabilities(
        batch_size=100,
        writable=("contacts",),
        task_targets=("contacts", "deals", "companies"),
        outputs={"contacts": {name: name for name in OUTPUTS}},
        task_key=("activities", TASK_KEY),
        has_unique_task_key=True,
        tells_deletes=True,
    ),
    windows=(),
    classify=classify,
    connect=connect,
)
