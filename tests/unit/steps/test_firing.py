"""A task goes to a record in a system that is written to: what fired does so once, and a task that goes nowhere is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from connector import tables
from connector.mart import MartSection, open_mart
from connector.model import Kind
from connector.steps import stage

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RECORDS = [
    {"key": f"{system}|{kind}|1", "system": system, "object_type": kind, "native_id": "1", "owner": "005A"}
    for system, kind in (("former", "Contact"), ("crm", "Contact"), ("hub", "contacts"))
]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [((), ["crm|Contact|1", "hub|contacts|1"]), (("hub",), ["hub|contacts|1"])],
)
def test_only_records_of_systems_that_are_written_to_take_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: tuple[str, ...], expected: list[str]
) -> None:
    fired = {"key": "ann|call", "subject": "ann", "trigger": "call", "is_armed": False, "episode": 1, "fired_at": NOW}
    offered: list[str] = []
    with open_mart(MartSection(), tmp_path) as mart:
        mart.merge("person_record", pa.Table.from_pylist(RECORDS, schema=tables.record_schema(Kind.PERSON)))
        mart.tell(now=NOW, run=3)
        rows = mart.keep("fires", pa.Table.from_pylist([fired | {"run": 3}], schema=tables.TRIGGER))

        def targets(*given: Any) -> Any:
            offered.extend(sorted(mart.arrow(given[-1].records.select("key"))["key"].to_pylist()))
            return mart.table("person").limit(0)

        monkeypatch.setattr(stage.lifecycle, "fire", lambda *_, **__: rows)
        monkeypatch.setattr(stage.lifecycle, "targets", targets)
        monkeypatch.setattr(stage.first_reads, "told_by", lambda *_: None)
        setup: Any = SimpleNamespace(
            tasks={},
            systems={"crm": None, "hub": None},
            writeback=SimpleNamespace(systems=chosen),
            state=SimpleNamespace(begun_after=lambda _: ()),
        )
        moment: Any = SimpleNamespace(now=NOW, run=3)
        stage._fire(setup, mart, mart.table("score"), moment, is_whole=True)
    assert offered == expected
