"""What is held of a stream is what is alive of it; a first pull learns from one opening that nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from connector import mapping, tables
from connector.mart import Mart, MartSection, open_mart
from connector.mart.ingest import Group, ingest
from connector.model import Stream
from connector.sources.salesforce import STREAMS
from connector.steps.held import Held

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPINGS = mapping.load("salesforce", {})
BY_NAME = {stream.name: stream for stream in STREAMS}
DONE = {"IsClosed": True, "TaskSubtype": "Call", "ActivityDate": "2026-10-01", "WhoId": "003A"}


class House:
    """A mart, and how often it was opened."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.openings = folder, 0

    @contextmanager
    def opened(self) -> Iterator[Mart]:
        self.openings += 1
        with open_mart(MartSection(), self.folder) as mart:
            yield mart

    def pull(self, name: str, *ids: str, **more: Any) -> None:
        stream: Stream = BY_NAME[name]
        rows = [
            {
                "native_id": each, "object_type": stream.object_type, "created_at": NOW - timedelta(days=9),
                "modified_at": NOW, "is_deleted": False, "merged_into": None,
                "native": orjson.dumps({"Id": each, **DONE}).decode(), **more,
            }
            for each in ids
        ]  # fmt: skip
        page = pa.Table.from_pylist(rows, schema=tables.PAGE)
        mapped = mapping.apply(page, MAPPINGS[name], system="salesforce", region="DE", outputs=(), now=NOW)
        with open_mart(MartSection(), self.folder) as mart:
            ingest(mart, Group("salesforce", name, stream.kind, (mapped,), len(ids), 0, "c"), run=1, now=NOW)


def test_a_first_pull_opens_the_mart_once_for_all_its_streams(tmp_path: Path) -> None:
    house = House(tmp_path)
    held = Held(house.opened, "salesforce")
    assert [len(held.ids(stream)) for stream in STREAMS] == [0] * len(STREAMS)
    assert house.openings == 1


def test_records_and_activities_that_are_alive_are_held(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.pull("leads", "00Q1", "00Q2")
    house.pull("leads", "00Q3", is_deleted=True)
    house.pull("leads", "00Q4", is_deleted=True, merged_into="00Q1")
    house.pull("tasks", "00T1")
    held = Held(house.opened, "salesforce")
    assert sorted(held.ids(BY_NAME["leads"]).to_pylist()) == ["00Q1", "00Q2"]
    assert held.ids(BY_NAME["tasks"]).to_pylist() == ["00T1"]
    assert held.ids(BY_NAME["contacts"]).to_pylist() == held.ids(BY_NAME["events"]).to_pylist() == []
    assert Held(house.opened, "another").ids(BY_NAME["leads"]).to_pylist() == []
