"""Saved plans: what was not read, or is not here any more, is not written from them; a purge reaches them wherever they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from connector import planfile, tables
from connector.mart import Mart, MartSection, open_mart
from connector.model import Kind
from connector.plan import Plan, Totals
from connector.state import StateSection, erasure, open_state
from connector.steps import purge
from tests.unit.test_writeback import update

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CONTACTS = {("crm", "Contact")}


def hold(mart: Mart, *numbers: int) -> None:
    rows = [
        {"key": f"crm|Contact|{number}", "system": "crm", "object_type": "Contact", "native_id": str(number)}
        for number in numbers
    ]
    mart.merge("person_record", pa.Table.from_pylist(rows, schema=tables.record_schema(Kind.PERSON)))


@pytest.mark.parametrize(
    ("unseen", "left_out"),
    [
        (set(), ["crm|Contact|2: it was deleted, merged or converted since the plan was made; left out"]),
        (CONTACTS, None),
    ],
)
def test_a_saved_plan_is_not_written_where_nothing_was_read_nor_to_who_is_not_here(
    tmp_path: Path, unseen: set[tuple[str, str]], left_out: list[str] | None
) -> None:
    saved = planfile.Saved(Plan((update(1), update(2)), {}, Totals()), run=1, made_at=NOW)
    with open_mart(MartSection(), tmp_path) as mart:
        hold(mart, 1)  # the other one was purged
        mart.tell(now=NOW, run=2)
        kept, refused = planfile.still_holding(saved, mart, unread=unseen, frozen=(), written={}, is_forced=False)
    assert [change.native_id for change in kept.changes] == (["1"] if left_out else [])
    assert left_out is None or refused == left_out


@pytest.mark.parametrize(("edited_at", "kept"), [(None, ["1"]), (NOW, [])], ids=["rounded", "edited"])
def test_a_saved_plan_is_written_over_what_a_field_made_of_our_number_and_not_over_what_somebody_did(
    tmp_path: Path, edited_at: datetime | None, kept: list[str]
) -> None:
    change = replace(update(1), fields={"Score": 70}, before={"Score": 53.6})
    place = {"system": "crm", "object_type": "Contact", "native_id": "1", "record": "crm|Contact|1"}
    seen = {
        **place,
        "key": "crm|Contact|1|Score",
        "field": "Score",
        "value": "54",
        "ours": "53.6",
        "edited_at": edited_at,
    }
    saved = planfile.Saved(Plan((change,), {}, Totals()), run=1, made_at=NOW)
    with open_mart(MartSection(), tmp_path) as mart:
        hold(mart, 1)
        mart.merge("observed", pa.Table.from_pylist([seen], schema=tables.OBSERVED))
        mart.tell(now=NOW, run=2)
        left, _ = planfile.still_holding(saved, mart, unread=set(), frozen=(), written={}, is_forced=False)
    assert [each.native_id for each in left.changes] == kept


def test_a_purge_reaches_a_plan_that_was_saved_elsewhere(tmp_path: Path) -> None:
    state, house, elsewhere = (
        open_state(StateSection(), tmp_path),
        tmp_path / "house",
        tmp_path / "plans" / "monday.json",
    )
    house.mkdir()
    for file in (house / "plan.json", elsewhere):
        erasure.keep_plan(state, file)
        planfile.save(file, Plan((update(1),), {}, Totals()), run=1, fingerprint="x", made_at=NOW)
    erasure.keep_plan(state, tmp_path / "gone.json")
    setup: Any = SimpleNamespace(state=state, directory=house)
    assert sorted(purge._plans(setup)) == [house / "plan.json", elsewhere]
