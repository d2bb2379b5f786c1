"""What `status` says of a stream, quiet or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector import clock
from connector.cli import show_status
from connector.report.status import as_json, status
from connector.state import StateSection, holdings, lease, open_state
from connector.state.models import Lease, Poll, RunStep

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_quiet_stream_says_when_it_was_read_when_it_last_changed_and_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = open_state(StateSection(), tmp_path)
    for hours, applied in ((5, 7), (2, 0)):
        at = NOW - timedelta(hours=hours)
        run = state.start_run("sync", at, "")
        step: dict[str, Any] = {"run": run, "step": "pull", "system": "crm", "stream": "deals", "ended_at": at}
        state.add_steps([RunStep(**step, pulled=applied + 2, applied=applied, unchanged=2)])
        state.end_run(run, at, status="done", exit_code=0, summary={"pulled": applied + 2, "applied": applied})
        state.set_polls([Poll(key="crm|deals", system="crm", stream="deals", polled_at=at, run=run)])
    state.set_note(holdings.NOTE, orjson.dumps({"crm|deals": 1_234}).decode())
    told = status(state, NOW, ["crm"])
    [stream] = as_json(told)["streams"]
    assert (stream["rows"], stream["changed_at"]) == (1_234, (NOW - timedelta(hours=5)).isoformat())
    assert stream["last_run"] == {"pulled": 2, "applied": 0, "unchanged": 2, "filtered": 0, "quarantined": 0}
    show_status.show_status(told, ["crm"])
    [line] = [line for line in capsys.readouterr().out.splitlines() if "deals" in line]
    assert line.split() == ["crm", "deals", "2", "h", "ago", "5", "h", "ago", "1,234", "2", "unchanged"]


def test_a_stream_without_news_says_whether_it_was_read_and_a_dead_run_that_it_was_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = open_state(StateSection(), tmp_path)
    killed = state.start_run("sync", NOW - timedelta(minutes=9), "")
    run = state.start_run("sync", NOW - timedelta(minutes=1), "")
    state.bury_dead_runs(run, NOW - timedelta(minutes=1))
    state.end_run(run, NOW, status="done", exit_code=0, summary={"pulled": 0})
    for name, at_run in (("deals", run), ("owners", killed)):
        state.set_polls([Poll(key=f"crm|{name}", system="crm", stream=name, polled_at=NOW, run=at_run)])
    show_status.show_status(status(state, NOW, ["crm"]), ["crm"])
    lines = capsys.readouterr().out.splitlines()
    [dead] = [line for line in lines if "cut off" in line]
    assert dead.split()[:6] == ["✗", str(killed), "sync", "9", "min", "ago"]
    assert "480.0 s" not in dead
    assert [line.split("–")[-1].strip() for line in lines if "crm  " in line] == ["nothing new", "not due"]


def test_a_stream_of_a_system_that_could_not_be_reached_was_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = open_state(StateSection(), tmp_path)
    before, run = (state.start_run("sync", NOW, "") for _ in range(2))
    failed = {"run": run, "step": "pull", "system": "crm", "ended_at": NOW, "status": "failed", "message": "no answer"}
    state.add_steps([RunStep(**failed)])
    state.set_polls([Poll(key="crm|deals", system="crm", stream="deals", polled_at=NOW, run=before)])
    state.set_polls([Poll(key="other|deals", system="other", stream="deals", polled_at=NOW, run=before)])
    show_status.show_status(status(state, NOW, ["crm", "other"]), ["crm", "other"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("–")[-1].strip() for line in lines if "deals" in line] == ["not read", "not due"]


def test_a_run_whose_process_is_dead_is_not_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = open_state(StateSection(), tmp_path)
    run, now = state.start_run("sync", NOW, ""), clock.now()
    for heartbeat_at, mark in ((now, "…"), (now - lease.LENGTH - timedelta(seconds=1), "✗")):
        with state.session() as session:
            session.merge(
                Lease(name=lease.NAME, holder="elsewhere/a", run=run, since_at=NOW, heartbeat_at=heartbeat_at)
            )
        told = status(state, NOW, ["crm"])
        assert (as_json(told)["at_work"] is not None) == (mark == "…")
        assert [each["status"] for each in as_json(told)["runs"]] == ["running" if mark == "…" else "dead"]
        show_status.show_status(told, ["crm"])
        said = capsys.readouterr().out
        assert (f"run {run} is at work since 24 Nov 12:00:00 UTC" in said) == (mark == "…")
        assert [line.split()[0] for line in said.splitlines() if "sync" in line] == [mark]
    assert "was cut off; the next one goes on" in said


def test_one_change_is_no_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = open_state(StateSection(), tmp_path)
    run = state.start_run("sync", NOW, "")
    state.end_run(run, NOW, status="done", exit_code=0, summary={"pulled": 2, "enqueued": 1})
    show_status.show_status(status(state, NOW, ["crm"]), ["crm"])
    assert "2 pulled · 1 change\n" in capsys.readouterr().out


def test_a_run_that_only_delivers_what_was_held_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = open_state(StateSection(), tmp_path)
    run = state.start_run("apply", NOW, "")
    delivered = [{"system": "crm", "accepted": 9}, {"system": "other", "accepted": 0}]
    state.end_run(run, NOW, status="done", exit_code=0, summary={"pulled": 0, "enqueued": 0, "delivered": delivered})
    show_status.show_status(status(state, NOW, ["crm"]), ["crm"])
    said = capsys.readouterr().out
    assert "9 that waited written" in said
    assert "nothing new" not in said
