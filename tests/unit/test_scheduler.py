"""When to run: what is missed is made up for once, what is asked to stop stops, nothing overlaps."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from pydantic import ValidationError

from connector import clock
from connector.scheduler import ScheduleSection, Stop, is_overdue, serve, stopping_on_signals, trigger_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["every 5 minutes", "5 minutes", "every hour", "1 day", "*/5 6-20 * * mon-fri", "30 3 * * *"]
)
def test_intervals_and_cron_lines_are_understood(text: str) -> None:
    assert ScheduleSection(sync=text).sync == text


@pytest.mark.parametrize("text", ["whenever", "5 fortnights", "99 * * * *", "* * * *", "0 seconds"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ScheduleSection(sync=text)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        ScheduleSection(timezone="Middle/Earth")


def test_a_service_that_never_ran_is_overdue_and_one_that_just_did_is_not() -> None:
    every = trigger_of("every 5 minutes", "UTC", 0)
    assert is_overdue(every, None, NOW)
    assert not is_overdue(every, NOW - timedelta(minutes=1), NOW)
    assert is_overdue(every, NOW - timedelta(minutes=6), NOW)


def test_a_nightly_job_that_was_missed_while_the_machine_was_off_is_overdue() -> None:
    nightly = trigger_of("30 3 * * *", "UTC", 0)
    assert is_overdue(nightly, NOW - timedelta(days=1), NOW)
    assert not is_overdue(nightly, NOW - timedelta(hours=2), NOW)


def starts(line: str, *, first: datetime, hours: float, jitter_s: int) -> list[str]:
    """When a job in Berlin starts from an instant on, to the minute, in UTC."""
    trigger, end = trigger_of(line, "Europe/Berlin", jitter_s), first + timedelta(hours=hours)
    at, found = trigger.get_next_fire_time(first, first), []
    while at <= end:
        found.append(at.astimezone(UTC).strftime("%d %H:%M"))
        assert len(found) < 100, "it never comes to an end"
        at = trigger.get_next_fire_time(at, end)
    return found


@pytest.mark.parametrize("jitter_s", [0, 5])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("30 2 * * *", ["25 00:30"]),
        ("0,30 1-3 * * *", ["24 23:00", "24 23:30", "25 00:00", "25 00:30", "25 02:00", "25 02:30"]),
        ("30 * * * *", ["24 22:30", "24 23:30", "25 00:30", "25 01:30", "25 02:30"]),
        ("*/30 2 * * *", ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
        ("every 1 hour", ["24 23:15", "25 00:15", "25 01:15", "25 02:15"]),
    ],
)
def test_in_the_hour_that_comes_twice_a_line_of_fixed_hours_starts_once_and_what_recurs_goes_on(
    line: str, expected: list[str], jitter_s: int
) -> None:
    first = datetime(2026, 10, 24, 22, 15, tzinfo=UTC)
    assert starts(line, first=first, hours=4.75, jitter_s=jitter_s) == expected


@pytest.mark.parametrize(("line", "expected"), [("30 2 * * *", ["29 01:30"]), ("0 3 * * *", ["29 01:00"])])
def test_in_the_hour_that_is_left_out_a_job_starts_once(line: str, expected: list[str]) -> None:
    assert starts(line, first=datetime(2026, 3, 28, 22, tzinfo=UTC), hours=12, jitter_s=5) == expected


@pytest.mark.parametrize("line", ["*/15 * * * *", "every 15 minutes"])
def test_a_job_that_is_looked_at_in_the_very_instant_of_its_start_starts_once(line: str) -> None:
    trigger = trigger_of(line, "UTC", 0)
    assert trigger.get_next_fire_time(NOW, NOW) == NOW + timedelta(minutes=15)  # else what follows never ends
    job = BackgroundScheduler(timezone=UTC).add_job(print, trigger)
    job.next_run_time = NOW
    assert job._get_run_times(NOW) == [NOW]
    assert not is_overdue(trigger, NOW, NOW)


def run(section: ScheduleSection, jobs: dict[str, object], stop: Stop, **more: object) -> None:
    serve(lambda: section, jobs, stop=stop, last_at={"sync": None}, on_error=lambda *_: None, **more)  # type: ignore[arg-type]


def test_missed_times_become_one_start_and_jobs_never_overlap(caplog: pytest.LogCaptureFixture) -> None:
    stop, running, most, starts = Stop(), 0, 0, 0
    lock = threading.Lock()

    def slow() -> None:
        nonlocal running, most, starts
        with lock:
            running, starts = running + 1, starts + 1
            most = max(most, running)
        time.sleep(2.2)
        with lock:
            running -= 1
        if starts >= 2:
            stop.ask()

    run(ScheduleSection(sync="1 second", full="1 second", jitter_s=0), {"sync": slow, "full": slow}, stop)
    assert most == 1
    assert starts <= 4
    assert caplog.records == []


def test_a_job_that_fails_is_told_and_the_next_one_runs() -> None:
    stop, told, runs = Stop(), [], 0

    def fails() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            stop.ask()
        raise RuntimeError("boom")

    serve(
        lambda: ScheduleSection(sync="1 second", full="", jitter_s=0),
        {"sync": fails},
        stop=stop,
        last_at={"sync": None},
        on_error=lambda job, problem: told.append((job, str(problem))),
    )
    assert told[0] == ("sync", "boom")
    assert runs == 2


def test_a_full_run_that_was_missed_while_the_machine_was_off_is_made_up_for() -> None:
    stop, done = Stop(), []

    def ran(name: str) -> None:
        done.append(name)
        if len(done) == 2:
            stop.ask()

    serve(
        lambda: ScheduleSection(sync="1 hour", full="0 3 * * *", jitter_s=0),
        {"sync": lambda: ran("sync"), "full": lambda: ran("full")},
        stop=stop,
        last_at={"sync": clock.now() - timedelta(hours=2), "full": clock.now() - timedelta(days=2)},
        on_error=lambda *_: None,
    )
    assert sorted(done) == ["full", "sync"]


def test_another_schedule_holds_as_soon_as_it_is_there() -> None:
    stop, done = Stop(), []
    schedule = ScheduleSection(sync="1 hour", full="", jitter_s=0)

    def sync() -> None:
        nonlocal schedule
        done.append("sync")
        schedule = ScheduleSection(sync="", full="1 second", jitter_s=0)

    def full() -> None:
        done.append("full")
        stop.ask()

    serve(lambda: schedule, {"sync": sync, "full": full}, stop=stop, last_at={"sync": None}, on_error=lambda *_: None)
    assert done == ["sync", "full"]


def test_a_terminal_that_is_closed_asks_to_stop_unless_that_is_ignored() -> None:
    with stopping_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
        assert stop.is_asked()
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert not stop.is_asked()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_signal_asks_to_stop_and_the_former_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_signals() as stop:
        assert not stop.is_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.is_asked()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("days", "meant"),
    [
        ("0", "sun"), ("7", "sun"), ("1", "mon"), ("1-5", "mon tue wed thu fri"), ("mon-fri", "mon tue wed thu fri"),
        ("5-7", "fri sat sun"), ("fri-mon", "mon fri sat sun"), ("*/2", "tue thu sat sun"), ("1,SAT", "mon sat"),
        ("*", "mon tue wed thu fri sat sun"),
    ],
)  # fmt: skip
def test_days_of_the_week_are_counted_as_cron_counts_them(days: str, meant: str) -> None:
    trigger = trigger_of(f"0 6 * * {days}", "UTC", 0)
    monday, starts = NOW - timedelta(days=1), set()
    for day in range(7):
        after = monday.replace(hour=0) + timedelta(days=day)
        starts.add(f"{trigger.get_next_fire_time(None, after):%a}".lower())
    assert starts == set(meant.split())


@pytest.mark.parametrize(
    "text", ["0 6 * * 8", "0 6 * * mon-", "0 6 * * */0", "0 0 31 2 *", "every 9999999999999 weeks"]
)
def test_a_time_that_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="cron"):
        ScheduleSection(sync=text)
