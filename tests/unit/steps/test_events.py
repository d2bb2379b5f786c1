"""One thing that happened to a person counts once, in however many places it is written down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from connector import rules, tables
from connector.mart import Mart, MartSection, open_mart
from connector.model import Kind
from connector.scoring_model import EVENT_SCOPE
from connector.steps.events import copies, events

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
#: Records of one person, and one of somebody else.
ANN, ANN_AGAIN, BOB = "salesforce|Contact|1", "salesforce|Lead|2", "salesforce|Contact|3"


@pytest.fixture
def mart(tmp_path: Path) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path) as opened:
        owners = {ANN: "ann", ANN_AGAIN: "ann", BOB: "bob", "hubspot|contacts|9": "ann"}
        rows = [{"key": key, "kind": "person", "owner_id": owner} for key, owner in owners.items()]
        opened.append("membership", pa.Table.from_pylist(rows, schema=tables.MEMBERSHIP))
        yield opened


def add(mart: Mart, native_id: str, record: str, *, after_s: int = 0, **more: Any) -> None:
    row = {
        "key": f"{native_id}|{record}", "system": record.split("|", maxsplit=1)[0], "stream": "events", "native_id": native_id,
        "kind": "meeting_held", "happened_at": AT + timedelta(seconds=after_s), "record": record, "subject": "Workshop",
        "properties": "{}", **more,
    }  # fmt: skip
    mart.append("activity", pa.Table.from_pylist([row], schema=tables.ACTIVITY))


def copied(mart: Mart) -> set[str]:
    """Mark the copies; the keys of those that are marked."""
    subjects = mart.keep("asked_for", pa.table({"subject": ["ann", "bob"]}))
    mart.merge("activity", mart.keep("verdicts", copies(mart.table("activity"), mart.table("membership"), subjects)))
    return {row["key"] for row in mart.arrow(mart.table("activity")).to_pylist() if row["filtered_because"] == "copy"}


def test_an_activity_that_two_records_of_a_person_share_counts_once_and_for_somebody_else_as_well(mart: Mart) -> None:
    add(mart, "00U1", ANN)
    for relation, record in (("0RE1", ANN_AGAIN), ("0RE2", BOB)):
        add(mart, relation, record, properties='{"activity_id":"00U1"}', stream="event_relations")
    (one,) = copied(mart)
    assert one in {"0RE1|" + ANN_AGAIN, "00U1|" + ANN}


def test_when_the_counted_one_goes_the_other_counts(mart: Mart) -> None:
    add(mart, "00U1", ANN)
    add(mart, "0RE1", ANN_AGAIN, properties='{"activity_id":"00U1"}', after_s=1)
    assert copied(mart) == {"0RE1|" + ANN_AGAIN}
    rows = mart.arrow(mart.table("activity").filter(mart.table("activity").native_id == "00U1")).to_pylist()
    mart.merge("activity", pa.Table.from_pylist([rows[0] | {"deleted_at": AT}], schema=tables.ACTIVITY))
    assert copied(mart) == set()


def test_one_native_activity_of_several_records_counts_once_whatever_its_kind(mart: Mart) -> None:
    add(mart, "c1", ANN, kind="task_done")
    add(mart, "c1", ANN_AGAIN, kind="task_done")
    assert len(copied(mart)) == 1


def test_two_meetings_of_one_system_at_the_same_time_both_count_and_the_copy_in_another_does_not(mart: Mart) -> None:
    add(mart, "00U1", ANN)
    add(mart, "00U2", ANN, after_s=1)
    assert copied(mart) == set()
    add(mart, "7", "hubspot|contacts|9", after_s=90)
    assert copied(mart) == {"7|hubspot|contacts|9"}


@pytest.mark.parametrize(
    ("where", "counted"),
    [
        ("activity.amount >= 10000", {"deal-EUR", "deal-JPY", "deal-"}),
        ("activity.amount >= 10000 and activity.currency = 'EUR'", {"deal-EUR"}),
        ("activity.currency in ('EUR', 'USD') or activity.currency is null", {"deal-EUR", "deal-"}),
        ("properties.currency = 'JPY'", {"deal-JPY"}),
    ],
)
def test_a_condition_tells_purchases_apart_by_their_currency(mart: Mart, where: str, counted: set[str]) -> None:
    for currency in ("EUR", "JPY", None):
        deal = f"deal-{currency or ''}"
        won = {
            "key": deal, "native_id": deal, "amount": 20_000, "currency": currency, "is_won": True, "closed_at": AT,
        }  # fmt: skip
        role = {"key": f"role-{deal}", "opportunity": deal, "person": ANN}
        for kind, row in ((Kind.OPPORTUNITY, won), (Kind.CONTACT_ROLE, role)):
            mart.append(tables.record_table(kind), pa.Table.from_pylist([row], schema=tables.record_schema(kind)))
    condition = rules.compile_condition(where, EVENT_SCOPE)
    happened = events(mart)
    seen = happened.select("native_id", activity_amount="amount", activity_properties="properties")
    assert set(mart.arrow(seen.filter(condition.expr(seen)))["native_id"].to_pylist()) == counted
