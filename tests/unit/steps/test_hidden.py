"""A value that was not sent is not an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from connector import mapping, tables
from connector.mart import Mart, MartSection, open_mart
from connector.mart.ingest import Group, ingest
from connector.sources.salesforce import STREAMS
from connector.steps import hidden

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LEADS = next(stream for stream in STREAMS if stream.name == "leads")
MAPPING = mapping.load("salesforce", {})["leads"]
KNOWN = {"Id": "1", "Email": "ann@a.example", "Phone": "+49 30 1234567", "Title": "CEO", "LastName": "Meyer"}


@pytest.fixture
def mart(tmp_path: Path) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path) as opened:
        yield opened


def page(*natives: dict[str, Any], at: datetime = NOW) -> pa.Table:
    rows = [
        {
            "native_id": native["Id"],
            "object_type": "Lead",
            "created_at": NOW - timedelta(days=9),
            "modified_at": at,
            "is_deleted": False,
            "merged_into": None,
            "native": orjson.dumps(native).decode(),
        }
        for native in natives
    ]
    return pa.Table.from_pylist(rows, schema=tables.PAGE)


def pull(mart: Mart, rows: pa.Table, run: int = 1) -> None:
    mapped = mapping.apply(rows, MAPPING, system="salesforce", region="DE", outputs=(), now=NOW)
    ingest(mart, Group("salesforce", "leads", LEADS.kind, (mapped,), rows.num_rows, 0, "c"), run=run, now=NOW)


def without(native: dict[str, Any], *names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in native.items() if name not in names} | changes


def test_while_a_field_is_hidden_columns_identifiers_and_native_fields_keep_what_was_known(mart: Mart) -> None:
    pull(mart, page(KNOWN))
    later = page(without(KNOWN, "Email", "Phone", Title="CTO"), at=NOW + timedelta(hours=1))
    pull(mart, hidden.remembered(mart, "salesforce", LEADS, later, {"Email", "Phone"}), run=2)
    (record,) = mart.arrow(mart.table("person_record")).to_pylist()
    assert (record["email"], record["phone"], record["title"]) == ("ann@a.example", "+49301234567", "CTO")
    assert orjson.loads(record["native"])["Email"] == "ann@a.example"
    assert {one["withdrawn_at"] for one in mart.arrow(mart.table("identifier")).to_pylist()} == {None}
    changed = {one["field"] for one in mart.arrow(mart.table("record_version")).to_pylist()}
    assert changed == {"title", "function"}


def test_a_value_that_was_sent_as_empty_is_empty_and_a_new_record_comes_without(mart: Mart) -> None:
    pull(mart, page(KNOWN))
    rows = page(without(KNOWN, "Phone", Email=None), {"Id": "2"}, at=NOW + timedelta(hours=1))
    remembered = hidden.remembered(mart, "salesforce", LEADS, rows, {"Email", "Phone"})
    first, second = map(orjson.loads, remembered["native"].to_pylist())
    assert (first["Email"], first["Phone"], second) == (None, KNOWN["Phone"], {"Id": "2"})
