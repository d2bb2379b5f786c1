"""The real command line in forked children of one process that has imported everything: a kill is a kill, an import is free.

In a child the clock that `connector.clock` shows runs `SPEED` times faster than the machine's, or pacing and back-off would be most of
the time. The parent starts no thread and opens no store: what it wants to know of the mart, a child looks up.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from apscheduler.schedulers import base as schedulers
from apscheduler.triggers import date

from connector import clock, scheduler
from tests.e2e.house import Done, House

SPEED = 10.0
#: A command that takes longer than this hangs (the machine's seconds).
ENDS_WITHIN_S = 120.0
_POLL_S = 0.004
KILLED = -signal.SIGKILL


class _Clock(datetime):
    """What the scheduler takes for the time: our clock's, which may be days ahead of the machine's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return clock.now().astimezone(tz)


@dataclass
class Forked:
    """A command at work in a child."""

    pid: int
    out: Path
    started_s: float
    code: int | None = None

    def is_over(self) -> bool:
        """Whether it has ended; a child that has is buried."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def send(self, number: signal.Signals) -> bool:
        """Send a signal. Returns whether it was still at work."""
        if self.is_over():
            return False
        os.kill(self.pid, number)
        return True

    def end(self) -> Done:
        """Wait for the end. One that hangs is killed, and its code is 1."""
        is_hung = False
        while not self.is_over():
            if time.monotonic() - self.started_s > ENDS_WITHIN_S and not is_hung:
                is_hung = self.send(signal.SIGKILL)
            time.sleep(_POLL_S)
        out, err = (self.out.with_suffix(end).read_text() for end in (".out", ".err"))
        assert self.code is not None
        return Done(1, out, f"{err}\nhung for {ENDS_WITHIN_S:.0f} s") if is_hung else Done(self.code, out, err)


def start(house: House, place: Path, words: tuple[str, ...], now: str) -> Forked:
    """Start a command of the house in a child; what it says goes to `place`.out and .err."""
    pid = os.fork()
    if pid == 0:
        _in_child(place, lambda: _command(house, words, now))
    return Forked(pid, place, time.monotonic())


def asked(place: Path, question: Callable[[], Any]) -> Any:
    """What a child answers, as JSON: for looks into the mart."""

    def answer() -> int:
        print(json.dumps(question()))
        return 0

    pid = os.fork()
    if pid == 0:
        _in_child(place, answer)
    done = Forked(pid, place, time.monotonic()).end()
    assert done.code == 0, str(done)
    return json.loads(done.out)


def _in_child(place: Path, work: Callable[[], int]) -> None:
    code = 1
    try:
        for name, stream in ((".out", 1), (".err", 2)):
            file = os.open(place.with_suffix(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, stream)
        code = work()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(house: House, words: tuple[str, ...], now: str) -> int:
    started_s, real_sleep = time.monotonic(), time.sleep
    clock.monotonic_s = lambda: started_s + (time.monotonic() - started_s) * SPEED
    clock.sleep = clock.wait = lambda seconds: real_sleep(max(seconds, 0) / SPEED)
    schedulers.datetime = date.datetime = _Clock
    scheduler._MOVED = timedelta(days=1)  # a second and ten go apart here, and nobody has moved the clock
    done = house.run(*words, now=now)
    sys.stdout.write(done.out)
    sys.stderr.write(done.err)
    return done.code
