"""The only place that asks what time it is, waits, or draws a random token.

`CONNECTOR_NOW` (ISO 8601) moves the clock: it gives the instant at which this process started, and time goes on from there,
so that decay, cool-down and working hours can be tried.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_STARTED = time.monotonic()
_WISHES: list[threading.Event] = []  # to end, the innermost last


def now() -> datetime:
    """The present instant, aware, in UTC."""
    moved = os.environ.get("CONNECTOR_NOW")
    if not moved:
        return datetime.now(UTC)
    start = datetime.fromisoformat(moved)
    if start.tzinfo is None:
        start = start.replace(tzinfo=UTC)
    return start.astimezone(UTC) + timedelta(seconds=time.monotonic() - _STARTED)


def is_within(length: timedelta, at: datetime, present: datetime) -> bool:
    """Whether `at` is less than `length` ago. What is yet to come was noted by a clock that was wrong, and holds nobody up."""
    return timedelta() <= present - at < length


def monotonic_s() -> float:
    """Seconds that only go forward, for measuring and pacing."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait; a negative wait is none."""
    if seconds > 0:
        time.sleep(seconds)


@contextmanager
def ended_by(wish: threading.Event) -> Iterator[None]:
    """Within the block the process is ending once this is set."""
    _WISHES.append(wish)
    try:
        yield
    finally:
        _WISHES.remove(wish)


def is_ending() -> bool:
    """Whether somebody told the process to end."""
    return any(wish.is_set() for wish in tuple(_WISHES))


def wait(seconds: float) -> None:
    """As `sleep`, for what need not be waited for any more once the process is told to end: then it is over at once."""
    if not _WISHES:
        sleep(seconds)
    elif seconds > 0:
        _WISHES[-1].wait(seconds)


def token(size_bytes: int = 16) -> str:
    """A random token in hex, for owners of leases and access to local servers."""
    return secrets.token_hex(size_bytes)
