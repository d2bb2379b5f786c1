"""What is frozen is left alone, also by changes that were planned before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from connector import writeback
from connector.model import Change, Lane, Task
from connector.plan import Plan, Totals
from connector.state import StateSection, freezes, open_state, outbox, replans
from connector.state.models import Freeze

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def change(key: str, native_id: str, *names: str, object_type: str = "Contact", task: Task | None = None) -> Change:
    lane = Lane.TASK if task else Lane.STAGE
    return Change(key, "salesforce", object_type, native_id, lane, dict.fromkeys(names, "ours"), task=task)


def test_a_change_that_waits_for_a_field_that_is_frozen_now_is_planned_anew_and_others_go(tmp_path: Path) -> None:
    state = open_state(StateSection(path="state.sqlite"), tmp_path)
    task = Task("task", "Call", "", NOW, "normal", None)
    given = (
        change("both", "1", "Grade__c", "Score__c"), change("other field", "2", "Score__c"), change("other record", "3", "Grade__c"),
        change("other type", "1", "Grade__c", object_type="Lead"), change("task", "1", "Grade__c", task=task),
        change("undo-1", "1", "Grade__c"),
    )  # fmt: skip
    writeback.enqueue(state, Plan(given, {"both": "a brake"}, Totals()), run=1, now=NOW)
    rows = [
        Freeze(
            key=f"salesforce|Contact|{one}|Grade__c", system="salesforce", record=f"salesforce|Contact|{one}", field="Grade__c",
            writer="Bo", why="", since_at=NOW, until_at=NOW + timedelta(days=7),
        )
        for one in "12"
    ]  # fmt: skip
    freezes.add(state, rows)
    assert {row.key for row in outbox.pending(state, NOW)} == {each.key for each in given} - {"both"}
    assert outbox.held(state) == {}
    assert replans.reasons(state) == {"salesforce|Contact|1": replans.FROZEN}


def test_a_frozen_record_is_named_by_its_key_or_native_id_and_no_other_by_them(tmp_path: Path) -> None:
    state = open_state(StateSection(path="state.sqlite"), tmp_path)
    contact, other = "salesforce|Contact|0035g000000000IAAQ", "salesforce|Contact|0035g000000000IAAR"
    over = "hubspot|contacts|51402"
    freezes.add(
        state,
        [
            Freeze(
                key=f"{record}|Grade__c", system="salesforce", record=record, field="Grade__c", writer="Bo", why="", since_at=NOW,
                until_at=NOW + timedelta(days=days),
            )
            for record, days in ((contact, 7), (other, 7), (over, 0))
        ],
    )  # fmt: skip
    for asked in (contact, contact.replace("|", " "), "0035g000000000IAAQ"):
        assert freezes.named(state, asked, NOW) == [contact], asked
    assert len(freezes.named(state, "0035g000000000I", NOW)) == 2, "as Salesforce shows them, in 15 characters"
    for asked in (over, "51402", "0035g", "ann@northwind.example", ""):
        assert freezes.named(state, asked, NOW) == [], asked
