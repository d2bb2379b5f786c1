"""One run at a time: a living holder is respected, a dead one is not waited for."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from connector import clock
from connector.errors import Busy
from connector.state import State, StateSection, lease, open_state
from connector.state.models import Lease

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def set_lease(state: State, **values: object) -> None:
    row = {"name": lease.NAME, "holder": "elsewhere/abc", "since_at": clock.now(), "heartbeat_at": clock.now()} | values
    with state.session() as session:
        session.merge(Lease(**row))


def leases(state: State) -> int:
    with state.session() as session:
        return len(session.exec(select(Lease)).all())


def test_a_second_run_is_told_which_one_is_at_work(state: State) -> None:
    with lease.hold(state) as holder:
        lease.note_run(state, holder, 41)
        with pytest.raises(Busy, match="41") as caught, lease.hold(state):
            pass
    assert caught.value.run == 41
    assert caught.value.since is not None


def test_the_lease_is_given_back_even_when_the_run_fails(state: State) -> None:
    with pytest.raises(ZeroDivisionError), lease.hold(state):
        raise ZeroDivisionError
    assert leases(state) == 0
    with lease.hold(state):
        pass


def test_a_holder_without_a_heartbeat_is_dead(state: State) -> None:
    set_lease(state, heartbeat_at=clock.now() - lease.LENGTH - timedelta(seconds=1))
    with lease.hold(state):
        assert leases(state) == 1


def test_a_holder_on_another_machine_with_a_heartbeat_is_respected(state: State) -> None:
    set_lease(state)
    with pytest.raises(Busy), lease.hold(state):
        pass


def test_the_lease_of_a_process_that_was_killed_here_is_taken_over_at_once(state: State, tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from connector.state import StateSection, open_state, lease
with lease.hold(open_state(StateSection(), Path({str(tmp_path)!r}))):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert leases(state) == 1
    with lease.hold(state):
        pass


def test_waiting_for_the_lease_ends_when_it_is_given_back(state: State) -> None:
    set_lease(state, heartbeat_at=clock.now() - lease.LENGTH + timedelta(seconds=1))
    with lease.hold(state, wait_s=10) as holder, state.session() as session:
        assert session.get_one(Lease, lease.NAME).holder == holder


def test_runs_that_died_are_buried_by_the_next_one(state: State) -> None:
    dead, living = state.start_run("sync", NOW, ""), state.start_run("sync", NOW, "")
    state.bury_dead_runs(living, NOW)
    assert {run.id: run.status for run in state.last_runs()} == {dead: "dead", living: "running"}
