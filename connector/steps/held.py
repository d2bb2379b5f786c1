"""What we hold of a system's streams, for adapters that look which records are gone; asked for while others are stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute

from connector import tables
from connector.mart import Mart
from connector.model import Stream

pc: Any = pyarrow.compute


class Held:
    """The native ids of one system's records that are alive as far as we know. Safe to share between threads.

    A first pull asks for those of every stream and holds none of them: that costs one opening of the mart, not one for each.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[Mart]], system: str) -> None:
        self._opened = opened
        self._system = system
        self._present: frozenset[str] | None = None
        self._lock = threading.Lock()

    def ids(self, stream: Stream) -> pa.Array[Any]:
        """Those of one stream."""
        with self._lock:
            if self._present is None:
                with self._opened() as mart:
                    self._present = self._streams(mart)
        is_record = stream.kind in tables.FIELDS
        if (stream.object_type if is_record else stream.name) not in self._present:
            return pa.array([], tables.TEXT)
        with self._opened() as mart:
            table = mart.table(tables.record_table(stream.kind) if is_record else "activity")
            alive = table.filter((table.system == self._system) & table.deleted_at.isnull())
            if is_record:
                mine = alive.filter((alive.object_type == stream.object_type) & alive.merged_into.isnull())
                ids = mine.select("native_id")
            else:
                ids = alive.filter(alive.stream == stream.name).select("native_id").distinct()
            return mart.arrow(ids)["native_id"].combine_chunks()

    def has(self, stream: Stream, ids: Sequence[str]) -> bool:
        """Whether one of `ids` is held of one stream."""
        return bool(ids) and bool(pc.any(pc.is_in(self.ids(stream), value_set=pa.array(ids, tables.TEXT))).as_py())

    def _streams(self, mart: Mart) -> frozenset[str]:
        """The object types of which the mart has a record, and the streams of which it has an activity."""
        kinds = [(mart.table(tables.record_table(kind)), "object_type") for kind in tables.FIELDS]
        parts = [
            table.filter(table.system == self._system).select(name=table[by]).distinct()
            for table, by in (*kinds, (mart.table("activity"), "stream"))
        ]
        names = mart.arrow(ibis.union(*parts, distinct=True))["name"].to_pylist()
        return frozenset(str(name) for name in names)
