"""When to run: APScheduler jobs by interval or cron, no overlap, missed runs coalesced, and a clean end on SIGTERM.

The scheduler keeps nothing: what was missed is decided from the runs in the state, at start. Overlap across processes is
prevented by the lease that each run holds.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from pydantic import Field, field_validator

from connector import clock
from connector.section import Duration, Section, duration

JOBS = ("sync", "full")
_WEEK = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS = re.compile(rf"^(\*|\d|{'|'.join(_WEEK)})(?:-(\d|{'|'.join(_WEEK)}))?(?:/(\d+))?$")
_LEAP_YEAR = datetime(2024, 1, 1, tzinfo=UTC)  # before any day that there is
_NEXT = timedelta(microseconds=1)
_MOVED = timedelta(seconds=10)  # a clock that goes by more at once was put right, or wrong, or the machine slept


class ScheduleSection(Section):
    """`[schedule]`: when `connector run` does what. `"every 5 minutes"`, or five cron fields such as `"*/5 6-20 * * mon-fri"`."""

    sync: str = Field("every 15 minutes", description="pull to deliver")
    full: str = Field(
        "30 3 * * *", description="the same, comparing every record instead of what changed; empty: never"
    )
    streams: dict[str, Duration] = Field(
        default_factory=dict,
        description='shortest interval between two reads of a stream, over the adapter\'s own: {"hubspot.form_submissions" = "5 minutes"}',
    )
    timezone: str = Field("UTC", description="in which cron fields are read")
    jitter_s: int = Field(
        5,
        ge=0,
        le=86_400,
        description="seconds by which a start may be moved at random, so that many services do not call at once",
    )

    @field_validator("sync", "full")
    @classmethod
    def _is_readable(cls, value: str) -> str:
        if value:
            trigger_of(value, "UTC", 0)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as problem:
            raise ValueError(f'must be a time zone such as "Europe/Berlin", is {value!r}') from problem
        return value


def trigger_of(text: str, timezone: str, jitter_s: int) -> Any:
    """The trigger for an interval or a cron line. Raises ValueError with the forms that are accepted."""
    if len(text.split()) == 5 and not text.startswith("every"):
        try:
            *others, days = text.split()
            cron = CronTrigger.from_crontab(" ".join([*others, _days_of_week(days)]), timezone=timezone)
            if cron.get_next_fire_time(None, _LEAP_YEAR) is None:
                raise ValueError("there is no such day")
        except ValueError as problem:
            raise ValueError(
                f'is not a cron line of five fields such as "*/5 6-20 * * mon-fri": {problem}'
            ) from problem
        return _CronTimes(cron, jitter_s, is_at_fixed_hours=not any(each.startswith("*") for each in others[:2]))
    try:
        every = duration(text)
    except ValueError as problem:
        raise ValueError(
            f'must be an interval such as "every 15 minutes", or five cron fields such as "*/5 6-20 * * mon-fri", is {text!r}'
        ) from problem
    if every < timedelta(seconds=1):
        raise ValueError("an interval must be at least one second")
    # in UTC: the library's jitter takes a time in the hour that a clock goes through twice back into the first
    return IntervalTrigger(seconds=int(every.total_seconds()), timezone=UTC, jitter=jitter_s or None)


class _CronTimes(BaseTrigger):  # type: ignore[misc]
    """The times of a cron line, each moved by some seconds at random. Of an hour that a clock goes through twice, as summer time ends,
    a line of fixed hours and minutes means the first, as cron has it; one with a `*` there means both."""

    def __init__(self, cron: CronTrigger, jitter_s: int, *, is_at_fixed_hours: bool) -> None:
        self._cron, self._jitter_s, self._is_at_fixed_hours = cron, jitter_s, is_at_fixed_hours

    def __str__(self) -> str:
        return str(self._cron)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first time after the previous one, or from now on; in UTC, where every instant is there once."""
        after = now.astimezone(UTC)
        if previous_fire_time is not None and (previous := previous_fire_time.astimezone(UTC)) <= after:
            after = previous + _NEXT
        while found := self._cron.get_next_fire_time(None, after):
            at: datetime = found.astimezone(UTC)
            if not (self._is_at_fixed_hours and at.astimezone(self._cron.timezone).fold):
                return cast(datetime, self._apply_jitter(at, self._jitter_s, now))
            after = at + _NEXT
        return None


def _days_of_week(field: str) -> str:
    """The fifth field by names: cron counts from Sunday (0, and 7), the scheduler's library from Monday."""
    return ",".join(_days(part) for part in field.lower().split(","))


def _days(part: str) -> str:
    match = _DAYS.match(part)
    if match is None:
        raise ValueError(f"{part!r} is no day of the week")
    first, last, step = match.groups()
    start = 0 if first == "*" else _day(first)
    end = _day(last) if last else 6 if first == "*" or step else start
    if end < start:
        end += 7  # over the end of the week, such as fri-mon
    every = int(step or 1)
    if every < 1 or end > start + 7:
        raise ValueError(f"{part} are no days of the week")
    return ",".join(_WEEK[day % 7] for day in range(start, end + 1, every))


def _day(name: str) -> int:
    number = _WEEK.index(name) if name in _WEEK else int(name)
    if number > 7:
        raise ValueError(f"there is no day {number} in a week; 0 and 7 are Sunday")
    return number


@dataclass
class Stop:
    """The wish to end: asked for by a signal, looked at between batches, and heeded by what waits for a system."""

    event: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """End as soon as what is in flight is settled."""
        self.event.set()

    def is_asked(self) -> bool:
        """Whether somebody asked."""
        return self.event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until somebody asks, so long at most; whether somebody did."""
        return self.event.wait(timeout_s)


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """A wish to end that SIGTERM and SIGINT express, and SIGHUP, as a terminal that is closed sends it, unless it is ignored
    (`nohup`). A second signal ends the process at once."""
    stop = Stop()
    former: dict[signal.Signals, Any] = {}

    def ask(caught: int, _: Any) -> None:
        if stop.is_asked():
            signal.signal(caught, signal.SIG_DFL)
            signal.raise_signal(caught)
        stop.ask()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            former[number] = signal.signal(number, ask)
    try:
        with clock.ended_by(stop.event):
            yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def serve(
    schedule: Callable[[], ScheduleSection],
    jobs: Mapping[str, Callable[[], None]],
    *,
    stop: Stop,
    last_at: Mapping[str, datetime | None],
    on_error: Callable[[str, BaseException], None],
    is_done: Callable[[], bool] = lambda: False,
) -> None:
    """Run the jobs at their times until `stop` is asked for. A job never overlaps itself or another; missed times become one.

    schedule: asked every second; another one holds from then on.
    last_at: when each job began last; one that is here and whose time has passed since then starts at once.
    """
    # a time that falls into a run becomes one with the next: that is meant, and no warning
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    known = schedule()
    scheduler = BackgroundScheduler(
        timezone=known.timezone,
        executors={"default": {"type": "threadpool", "max_workers": 1}},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )

    def listen(event: JobExecutionEvent) -> None:
        if event.exception is not None:
            on_error(str(event.job_id), event.exception)
        if is_done():
            stop.ask()

    scheduler.add_listener(listen, EVENT_JOB_ERROR | EVENT_JOB_EXECUTED)
    _enter(scheduler, jobs, known)
    for name, at in last_at.items():
        if getattr(known, name) and is_overdue(trigger := _trigger(known, name), at, clock.now()):
            scheduler.reschedule_job(name, trigger=OrTrigger([DateTrigger(timezone=known.timezone), trigger]))
    shift = _shift()
    scheduler.start()
    try:
        while not stop.wait(1.0):
            former, known = known, schedule()
            before, shift = shift, _shift()
            _enter(
                scheduler, jobs, known, former if shift > before - _MOVED else None
            )  # None: what waits for a former time
            if shift > before + _MOVED:
                scheduler.wakeup()  # it sleeps for as long as it took to be then
    finally:
        scheduler.shutdown(wait=True)


def _shift() -> datetime:
    """What changes only when the clock is moved: when it showed the beginning of the one that only goes forward."""
    return clock.now() - timedelta(seconds=clock.monotonic_s())


def _trigger(section: ScheduleSection, name: str) -> Any:
    return trigger_of(getattr(section, name), section.timezone, section.jitter_s)


def _enter(
    scheduler: BackgroundScheduler,
    jobs: Mapping[str, Callable[[], None]],
    section: ScheduleSection,
    former: ScheduleSection | None = None,
) -> None:
    """Put every job whose time is another than in the `former` schedule in its place; one without a time is taken out."""
    for name, job in jobs.items():
        now, before = (each and (getattr(each, name), each.timezone, each.jitter_s) for each in (section, former))
        if now == before:
            continue
        if getattr(section, name):
            scheduler.add_job(job, _trigger(section, name), id=name, replace_existing=True)
        elif scheduler.get_job(name) is not None:
            scheduler.remove_job(name)


def is_overdue(trigger: Any, last_at: datetime | None, now: datetime) -> bool:
    """Whether a start was missed since the last one; a service that never ran is overdue, or one whose last run a wrong clock has
    put into the future."""
    if last_at is None or last_at > now:
        return True
    following = trigger.get_next_fire_time(last_at, last_at)
    return following is not None and following <= now
