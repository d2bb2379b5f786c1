"""How often and how long one call is tried: told by what was heard of it until now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tenacity

from connector import clock
from connector.errors import Interrupted, TooFast, TransientError

#: What is waited for a system that says "too fast" and not how long, and by how much more each time that it says so again.
_TOO_FAST_S, _LONGER_BY = 1.0, 1.2


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long: waits grow from `first_wait_s` to `max_wait_s`, with jitter.

    A system that asks for a longer wait than `max_wait_s` is not waited for: it counts as unavailable. One that says that
    we are too fast costs no attempt, for its limit may be lower than we think: it gets `slowed_s` for one call, from the first
    time that it says so.
    """

    attempts: int = 5
    first_wait_s: float = 0.5
    max_wait_s: float = 30.0
    slowed_s: float = 300.0


class Tries:
    """The failures of one call, and what follows from them."""

    def __init__(self, retries: Retries, *, is_idempotent: Callable[[], bool]) -> None:
        self._retries = retries
        self._is_idempotent = is_idempotent
        self._growing = tenacity.wait_random_exponential(multiplier=retries.first_wait_s, max=retries.max_wait_s)
        self._failures: list[TransientError] = []
        self._slowed = 0  # how often it was waited because we were too fast
        self._slowed_since_s: float | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether one of the attempts may have taken effect, whatever came after it."""
        return any(failure.sent for failure in self._failures)

    def may_repeat(self, error: BaseException) -> bool:
        """Whether the call may be sent again after this failure."""
        if not isinstance(error, TransientError):
            return False
        self._failures.append(error)
        if isinstance(error, TooFast) and self._slowed_since_s is None:
            self._slowed_since_s = clock.monotonic_s()
        is_short = (error.retry_after_s or 0.0) <= self._retries.max_wait_s
        return is_short and not clock.is_ending() and (not error.sent or self._is_idempotent())

    def is_enough(self, _: tenacity.RetryCallState) -> bool:
        """Whether it was tried often enough, or slowed down long enough."""
        tried = sum(not isinstance(failure, TooFast) for failure in self._failures)
        since_s = self._slowed_since_s
        is_too_long = since_s is not None and clock.monotonic_s() - since_s >= self._retries.slowed_s
        return tried >= self._retries.attempts or is_too_long

    def wait_s(self, state: tenacity.RetryCallState) -> float:
        """How long to wait before the next attempt."""
        error = self._failures[-1]
        if not isinstance(error, TooFast):
            return max(self._growing(state), error.retry_after_s or 0.0)
        told_s = (error.retry_after_s or _TOO_FAST_S) * _LONGER_BY**self._slowed
        self._slowed += 1
        return min(told_s, self._retries.max_wait_s)


def pause(seconds: float) -> None:
    """Wait before the next attempt. Raises Interrupted when the process is told to end: then there is none."""
    clock.wait(seconds)
    if clock.is_ending():
        raise Interrupted("it was waited for when this process was told to end", sent=False)
