"""The memory system keeps its records in a file, where it is told to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from connector.model import Change, Lane, Request, Result, Task
from connector.sources.memory import MEMORY, MemoryOptions, connect


def test_records_and_tasks_are_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    first = connect("memory", MemoryOptions(path=path))
    store = first.source.store  # type: ignore[attr-defined]
    anchor = store.put("contacts", None, {"name": "Ann"})
    task = Task("key", "Call", "Because", datetime(2026, 11, 24, tzinfo=UTC), "high", None)
    change = Change("c", "memory", "contacts", anchor, Lane.TASK, task=task)
    assert first.target is not None
    [made] = first.target.write([change])
    second = connect("memory", MemoryOptions(path=path))
    [page] = second.source.pages([Request(MEMORY.streams[0], ("name",))])
    assert page.rows["native_id"].to_pylist() == [anchor]  # type: ignore[union-attr]
    assert second.target is not None
    [again] = second.target.write([change])
    assert (again.result, again.native_id) == (Result.UNCHANGED, made.native_id)
