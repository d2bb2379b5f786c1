"""Delivering within a budget of calls: the more urgent lanes first, and what has no room waits without harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlmodel import select

from connector import pipeline, writeback
from connector.budget import Quota
from connector.errors import QuotaExhausted
from connector.model import Capabilities, Change, Lane, Outcome, System
from connector.pacing import Pacing
from connector.plan import Plan, Totals
from connector.state import State, StateSection, attempts, open_state, quotas
from connector.state.models import Outbox
from connector.writeback import Delivered, WritebackSection
from tests.unit.test_writeback import Crm, call, update

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ONE_BY_ONE = Capabilities(batch_size=1, writable=("Contact",), task_targets=("Contact",))


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = open_state(StateSection(), tmp_path)
    lanes = (Lane.SCORE, Lane.STAGE, Lane.CONSENT)
    changes = [*(replace(update(n), lane=lanes[n % 3]) for n in range(30)), *(call(n) for n in range(30, 40))]
    writeback.enqueue(made, Plan(tuple(changes), {}, Totals()), run=1, now=NOW)
    return made


class Governed(Crm):
    """A system of which every write is a call."""

    def __init__(self, calls_per_day: int, **lanes: float) -> None:
        super().__init__()
        self.pacing = Pacing(quota=Quota(calls_per_day=calls_per_day, **lanes), system="crm")  # type: ignore[arg-type]
        self.lanes: list[str] = []

    def write(self, changes: Sequence[Change], keep: Callable[[str], None]) -> list[Outcome]:
        self.pacing.wait("")
        self.lanes += [change.lane.value for change in changes]
        return super().write(changes, keep)


def deliver(state: State, crm: Governed) -> Delivered:
    system = System("crm", "crm", None, crm, lambda: len(crm.writes), lambda: None, crm.pacing)  # type: ignore[arg-type]
    return writeback.deliver(state, system, ONE_BY_ONE, WritebackSection(), run=1, is_stopping=lambda: False)


def test_a_days_calls_go_to_consent_before_stages_before_tasks_before_scores(state: State) -> None:
    crm = Governed(30, stage=0.9, task=0.8, score=0.5)
    told = deliver(state, crm)
    assert crm.lanes == ["consent"] * 10 + ["stage"] * 10 + ["task"] * 4
    assert isinstance(told.error, QuotaExhausted)
    assert (told.pending, told.accepted, told.rejected) == ({"task": 6, "score": 10}, 24, 0)
    assert attempts.in_doubt(state, "crm", NOW) == []
    assert "80% of them for the task lane" in quotas.waits(state)["crm"].why


def test_what_waited_for_calls_goes_by_itself_when_there_are_some_and_costs_no_attempt(state: State) -> None:
    assert deliver(state, Governed(20)).accepted == 19  # stages leave the last of twenty to consent
    told = deliver(state, Governed(100))
    assert (told.error, told.pending) == (None, {})
    assert quotas.waits(state) == {}
    with state.session() as session:
        assert {row.attempt for row in session.exec(select(Outbox)).all()} == {1}


class Lesson:
    """What an adapter learns of its system while it is connected, upon what the connection before it knew."""

    def __init__(self) -> None:
        self.known = ""

    def recall(self, kept: str) -> None:
        self.known = kept

    def kept(self) -> str:
        return f"{self.known}+"


def test_what_an_adapter_learned_is_known_to_its_next_connection_however_this_one_ends(state: State) -> None:
    def connect() -> System:
        return System("crm", "crm", None, None, lambda: 0, lambda: None, learned=lessons[-1])  # type: ignore[arg-type]

    setup: Any = SimpleNamespace(state=state, systems={"crm": SimpleNamespace(connect=connect)})
    lessons = [Lesson()]
    with pytest.raises(KeyboardInterrupt), pipeline.connected(setup, with_paused=True):
        raise KeyboardInterrupt
    lessons.append(Lesson())
    with pipeline.connected(setup, with_paused=True):
        assert lessons[-1].known == "+"
    assert state.notes("learned:") == {"crm": "++"}
