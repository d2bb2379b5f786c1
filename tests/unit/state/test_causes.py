"""What is set aside is shown by cause, released when it is mended, and queued again unless something newer replaced it."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from connector import tables
from connector.cli import retry
from connector.model import Kind, Stream
from connector.state import State, StateSection, attempts, open_state, outbox, quarantine, replans
from connector.state.models import Freeze, Quarantine
from connector.steps import mended

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CONTACTS = Stream("contacts", Kind.PERSON, "Contact")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def aside(record: str, field: str, reason: str = "no phone", kind: str = "value") -> Quarantine:
    return Quarantine(
        key=f"value|{record}|{field}", kind=kind, system="crm", stream="contacts", record=record, field=field,
        code="UNMAPPABLE", reason=reason, value_hash="#1", first_at=NOW, last_at=NOW,
    )  # fmt: skip


def change(state: State, key: str, status: str, field: str = "Score") -> None:
    row = {
        "key": key, "run": 1, "system": "crm", "object_type": "Contact", "native_id": "1", "person": "P", "lane": "score",
        "fields": {field: 1}, "before": {}, "task": {}, "reason": "", "expected_version": None, "status": status,
        "held_because": "", "attempt": 5, "created_at": NOW,
    }  # fmt: skip
    outbox.enqueue(state, [row])
    if status == "quarantined":
        gone = Quarantine(key=f"change|{key}", kind="change", system="crm", reason="no", first_at=NOW, last_at=NOW)
        state.quarantine([gone])


def test_causes_are_grouped_counted_and_filtered(state: State) -> None:
    state.quarantine(
        [aside("crm|Contact|1", "phone"), aside("crm|Contact|2", "phone"), aside("crm|Contact|2", "email", "no e-mail")]
    )
    found = quarantine.causes(state)
    assert [(each.where, each.reason, each.count) for each in found] == [
        ("contacts phone", "no phone", 2),
        ("contacts email", "no e-mail", 1),
    ]
    assert found[0].records == ["crm|Contact|1", "crm|Contact|2"]
    assert quarantine.causes(state, system="other") == quarantine.causes(state, kind="change") == []


def test_a_record_that_is_mapped_without_its_problem_is_released_and_its_other_problem_is_not(state: State) -> None:
    odd = [aside("crm|Contact|1", "phone"), aside("crm|Contact|1", "email"), aside("crm|Contact|2", "phone")]
    state.quarantine(odd)
    known = quarantine.records_set_aside(state, "crm")
    rows = pa.Table.from_pylist([{"native_id": "1"}, {"native_id": "9"}], schema=tables.PAGE)
    seen = mended.seen_again(rows, "crm", CONTACTS, known)
    assert seen == ("crm|Contact|1",)
    mended.keep(state, [aside("crm|Contact|1", "email")], seen)
    assert {row.key for row in state.quarantined()} == {"value|crm|Contact|1|email", "value|crm|Contact|2|phone"}


def test_a_change_waits_again_with_all_its_attempts(state: State) -> None:
    change(state, "a", "quarantined")
    assert quarantine.requeue(state, ["change|a"], NOW) == (1, 0)
    [row] = attempts.waiting(state, "crm", NOW, ["score"], limit=9)
    assert (row.key, row.attempt) == ("a", 0)
    assert not state.quarantined()


def test_a_change_that_a_newer_one_replaced_is_not_sent_again(state: State) -> None:
    change(state, "old", "quarantined")
    change(state, "new", "pending")
    assert quarantine.requeue(state, ["change|old"], NOW) == (0, 1)
    assert [row.key for row in attempts.waiting(state, "crm", NOW, ["score"], limit=9)] == ["new"]
    assert not state.quarantined()


@pytest.mark.parametrize(("field", "told"), [("Reasons", (1, 0)), ("Score", (0, 1))])
def test_what_takes_a_run_back_is_replaced_by_its_own_fields_alone(
    state: State, field: str, told: tuple[int, int]
) -> None:
    change(state, "undo-1", "quarantined")
    change(state, "beside", "settled", field)
    assert quarantine.requeue(state, ["change|undo-1"], NOW) == told


def test_a_change_that_would_write_a_frozen_field_is_not_sent_again_and_its_record_is_planned_anew(
    state: State,
) -> None:
    change(state, "a", "quarantined")
    with state.session() as session:
        frozen = {"key": "crm|Contact|1|Score", "record": "crm|Contact|1", "field": "Score", "system": "crm"}
        session.add(Freeze(**frozen, writer="Sam", why="", since_at=NOW, until_at=NOW + timedelta(days=1)))
    assert quarantine.requeue(state, ["change|a"], NOW) == (0, 1)
    assert attempts.waiting(state, "crm", NOW, ["score"], limit=9) == []
    assert replans.waiting(state) == ["crm|Contact|1"]


def test_a_record_that_had_no_id_can_be_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(StateSection(), tmp_path)
    lost = Quarantine(
        key="record|crm|people|no id", kind="record", system="crm", reason="no id", first_at=NOW, last_at=NOW
    )
    state.quarantine([lost])
    setup: Any = SimpleNamespace(state=state)
    monkeypatch.setattr(retry, "open_house", lambda *_, **__: (None, setup))
    monkeypatch.setattr(retry.pipeline, "running", lambda *_, **__: nullcontext(SimpleNamespace(run=1, now=NOW)))
    monkeypatch.setattr(retry.pipeline, "finish", lambda *_, **__: None)
    retry.retry(tmp_path, quarantine.causes(state), as_json=True, wait_s=0)
    assert not state.quarantined()
