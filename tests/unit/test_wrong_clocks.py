"""What a clock that was wrong has stored holds nobody up once the clock is right: nothing waits for a time that cannot be meant."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apscheduler.schedulers.base
import apscheduler.triggers.interval
import pyarrow as pa
import pytest

from connector import clock, ownership, settlement, tables, writeback
from connector.errors import AuthError, Busy
from connector.mart import MartSection, open_mart
from connector.model import Change, Lane, Outcome, Result, Task
from connector.ownership import Fights
from connector.plan import Plan, Totals
from connector.scheduler import ScheduleSection, Stop, is_overdue, serve, trigger_of
from connector.state import State, StateSection, alerts, attempts, freezes, lease, open_state, outbox
from connector.state.models import Freeze, Lease, Quarantine
from connector.steps import pauses, standing
from connector.steps.setup import Moment

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
DAY = timedelta(days=1)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def enqueue(state: State, *, now: datetime = NOW) -> list[attempts.Entry]:
    task = Task("task", "Call", "", NOW, "normal", None)
    changes = (
        Change("a", "crm", "Contact", "1", Lane.SCORE, {"Score": "1"}),
        Change("b", "crm", "Contact", "2", Lane.TASK, {}, task=task),
    )
    writeback.enqueue(state, Plan(changes, {}, Totals()), run=1, now=now)
    return attempts.waiting(state, "crm", NOW, [Lane.SCORE.value, Lane.TASK.value], limit=9)


def test_a_change_goes_again_after_the_longest_wait_whatever_was_noted(state: State) -> None:
    entries = enqueue(state)
    for at, is_due in ((NOW + outbox.LONGEST_WAIT, False), (NOW + YEAR, True), (NOW, True)):
        attempts.ask_again(state, entries, at)
        assert bool(attempts.waiting(state, "crm", NOW, ["score"], limit=9)) is is_due
        assert bool(outbox.pending(state, NOW)) is is_due
    attempts.mark_in_flight(state, entries)
    attempts.ask_again(state, entries, NOW + 2 * DAY)
    assert attempts.in_doubt(state, "crm", NOW)
    assert not attempts.in_doubt(state, "crm", NOW, 3 * DAY), "so long it is told to wait"


def test_no_system_makes_a_change_wait_for_longer(state: State) -> None:
    outcome = Outcome("a", Result.RETRY, code="BUSY", retry_after_s=10**6)
    change = settlement.as_change(enqueue(state)[0])
    settled = settlement.settlement(change, outcome, 1, NOW, max_attempts=5)
    assert settled.not_before_at == NOW + outbox.LONGEST_WAIT


def test_refused_credentials_are_tried(state: State) -> None:
    house: Any = SimpleNamespace(state=state, systems={"crm": SimpleNamespace(credentials="same")})
    pauses.keep(house, {"crm": AuthError("refused")}, {"crm"}, NOW + YEAR)
    assert pauses.left_out(house, NOW) == ({}, {})
    assert pauses.left_out(house, NOW + YEAR)[1]


def test_a_system_is_asked_what_may_be_written(state: State) -> None:
    asked: list[Any] = []
    source = SimpleNamespace(describe=lambda names: asked.append(names) or {})
    state.quarantine(
        [Quarantine(key="change|a", kind="change", system="crm", stream="Contact", first_at=NOW, last_at=NOW)]
    )
    system: Any = SimpleNamespace(name="crm", source=source)
    state.set_note("access_asked:crm", (clock.now() + YEAR).isoformat())
    writeback.release_mended(state, system, writeback.WritebackSection())
    writeback.release_mended(state, system, writeback.WritebackSection())
    assert len(asked) == 1


def _lease(state: State, heartbeat_at: datetime) -> None:
    row = Lease(name=lease.NAME, holder="elsewhere/abc", since_at=heartbeat_at, heartbeat_at=heartbeat_at)
    with state.session() as session:
        session.merge(row)


def test_a_lease_is_taken_over_whose_heartbeat_stands_still_and_respected_where_it_moves(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lease(state, clock.now() + YEAR)
    monkeypatch.setattr(clock, "sleep", lambda _: _lease(state, clock.now() + YEAR))
    with pytest.raises(Busy), lease.hold(state):
        pass
    waited: list[float] = []
    monkeypatch.setattr(clock, "sleep", waited.append)
    with lease.hold(state):
        assert waited == [2 * 10.0], "as long as two heartbeats"


def test_a_field_that_was_frozen_in_a_time_to_come_is_free_and_compared(state: State) -> None:
    row = Freeze(
        key="crm|Contact|1|Score", system="crm", record="crm|Contact|1", field="Score", since_at=NOW + YEAR,
        until_at=NOW + YEAR + DAY,
    )  # fmt: skip
    freezes.add(state, [row])
    assert freezes.active(state, NOW) == []
    assert freezes.thawed_since(state, NOW - DAY, NOW) == ["crm|Contact|1"]
    assert len(freezes.active(state, NOW + YEAR)) == 1


def test_what_ended_while_the_last_plan_seemed_to_be_yet_to_come_is_compared(state: State) -> None:
    setup: Any = SimpleNamespace(state=state, fingerprints={})
    standing.mark_planned(setup, Moment(1, NOW + YEAR), [])
    assert standing.planned_at(setup, Moment(2, NOW)) < NOW - YEAR
    assert standing.planned_at(setup, Moment(2, NOW + YEAR)) == NOW + YEAR


def test_what_happens_in_a_time_to_come_is_not_of_today(state: State, tmp_path: Path) -> None:
    enqueue(state, now=NOW + YEAR)
    assert outbox.tasks_given(state, NOW - DAY, NOW) == {}
    state.quarantine(
        [Quarantine(key="a", kind="value", system="crm", first_at=NOW + YEAR, last_at=NOW + YEAR)]
    )  # fmt: skip
    assert alerts.set_aside(state, NOW - DAY, NOW) == {}
    rows = [
        dict.fromkeys(tables.DRIFT.names) | {"key": str(n), "record": "r", "field": "f", "seen_at": NOW + YEAR}
        for n in range(9)
    ]
    with open_mart(MartSection(), tmp_path) as mart:
        drift = mart.keep("given", pa.Table.from_pylist(rows, schema=tables.DRIFT))
        assert mart.count(ownership.fights(drift, Fights(), NOW)) == 0
        assert mart.count(ownership.fights(drift, Fights(), NOW + YEAR)) == 1


def test_a_sync_is_overdue() -> None:
    assert is_overdue(trigger_of("every 5 minutes", "UTC", 0), NOW + YEAR, NOW)


# ------------------------------------------------------------------------------------------------ moved in the service's life


class Hands:
    """The clock's, which somebody moves while a service is at work."""

    moved = timedelta()


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    found = Hands()

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + found.moved

    for module in (apscheduler.schedulers.base, apscheduler.triggers.interval):
        monkeypatch.setattr(module, "datetime", Moved)
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + found.moved)
    return found


@pytest.mark.parametrize(
    ("schedule", "moved"),
    [("every 2 seconds", -timedelta(hours=3)), ("every 2 hours", timedelta(hours=3))],
    ids=["back", "forward"],
)
def test_a_service_goes_on_at_its_pace_when_its_clock_is_moved(hands: Hands, schedule: str, moved: timedelta) -> None:
    stop, runs = Stop(), []

    def sync() -> None:
        runs.append(clock.monotonic_s())
        if len(runs) == 2:
            stop.ask()
        hands.moved = moved

    given_up = threading.Timer(30, stop.ask)
    given_up.start()
    section = ScheduleSection(sync=schedule, full="", jitter_s=0)
    serve(lambda: section, {"sync": sync}, stop=stop, last_at={"sync": None}, on_error=lambda *_: None)
    given_up.cancel()
    assert len(runs) == 2


def test_the_first_sync_starts_at_once_whatever_the_instant_is_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_NOW", "2031-01-01T00:00:00+00:00")
    stop, given_up = Stop(), []
    late = threading.Timer(10, lambda: (given_up.append("late"), stop.ask()))
    late.start()
    section = ScheduleSection(sync="every 1 hour", full="", jitter_s=0)
    serve(lambda: section, {"sync": stop.ask}, stop=stop, last_at={"sync": None}, on_error=lambda *_: None)
    late.cancel()
    assert not given_up
