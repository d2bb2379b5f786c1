"""The records of a memory system, and what may go wrong with them.

Each write gives the record the next number of a sequence, so a record that changes while it is read comes again.
With `path` the records are kept in a JSON file, by object type and id, and beside them the names of the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from connector import clock

TASK_KEY = "task_key"


@dataclass(slots=True)
class Record:
    """One record and the number of its last change."""

    values: dict[str, Any]
    created_at: str
    modified_at: str
    sequence: int
    is_deleted: bool = False
    merged_into: str | None = None


@dataclass(slots=True)
class Faults:
    """What goes wrong next. Numbers count down with each write."""

    lost_replies: int = 0  # the write takes effect, its reply is lost
    refused_connections: int = 0  # nothing is sent
    forbidden: frozenset[str] = frozenset()  # object types that may not be read
    is_quota_used: bool = False


@dataclass(slots=True)
class Store:
    """The records of one system."""

    path: Path | None = None
    records: dict[str, dict[str, Record]] = field(default_factory=dict)
    fields: dict[str, list[str]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    calls: int = 0
    sequence: int = 0

    def put(self, object_type: str, native_id: str | None, values: Mapping[str, Any]) -> str:
        """Create (no id) or change a record; its fields come to be. Gives its id."""
        self.sequence += 1
        now = clock.now().isoformat()
        of_type = self.records.setdefault(object_type, {})
        native_id = native_id or str(self.sequence)
        record = of_type.setdefault(native_id, Record({}, now, now, self.sequence))
        record.values |= values
        record.modified_at, record.sequence = now, self.sequence
        known = self.fields.setdefault(object_type, [])
        known += [name for name in values if name not in known]
        return native_id

    def delete(self, object_type: str, native_id: str, *, merged_into: str | None = None) -> None:
        """Leave a tombstone."""
        self.put(object_type, native_id, {})
        record = self.records[object_type][native_id]
        record.is_deleted, record.merged_into = True, merged_into

    def live(self, object_type: str, native_id: str) -> Record | None:
        """The record, unless it is gone."""
        record = self.records.get(object_type, {}).get(native_id)
        return None if record is None or record.is_deleted else record

    def task(self, key: str) -> str | None:
        """The id of the task with this key."""
        tasks = self.records.get("activities", {}).items()
        return next((native_id for native_id, each in tasks if each.values.get(TASK_KEY) == key), None)

    def load(self) -> None:
        """Read the file, where there is one."""
        if self.path is not None and self.path.exists():
            held = orjson.loads(self.path.read_bytes())
            self.fields = held["fields"]
            self.records = {
                object_type: {native_id: Record(**record) for native_id, record in records.items()}
                for object_type, records in held["records"].items()
            }
            self.sequence = max((r.sequence for each in self.records.values() for r in each.values()), default=0)

    def save(self) -> None:
        """Write the file, where there is one."""
        if self.path is not None:
            records = {kind: {i: asdict(r) for i, r in each.items()} for kind, each in self.records.items()}
            self.path.write_bytes(orjson.dumps({"fields": self.fields, "records": records}))
