"""Rate windows and quota budgets: when the next call to a system may be made.

A window is a sliding log: at most `calls` in any `per_s` seconds. What a system tells about its daily quota is learned
from the headers of its answers, and calls stop when the configured share of it is used.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from connector import clock
from connector.errors import QuotaExhausted
from connector.model import Window

#: With the quota used up, one call in this many seconds goes out to learn whether that is still so.
PROBE_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a system told about its daily quota: calls used by all its clients, the limit, and when it starts anew."""

    used: int
    limit: int
    resets_at: datetime | None = None


Learn = Callable[[Mapping[str, str]], Usage | None]


class Pacing:
    """The windows of one system, shared by its threads.

    `share` is the part of the daily quota (0 to 1) that may be used, by whomever, before we stop; `learn` reads the
    usage from the headers of an answer, or gives None when they do not tell.
    """

    def __init__(
        self,
        windows: Iterable[Window] = (),
        share: float = 1.0,
        *,
        learn: Learn | None = None,
        system: str = "",
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._logs: dict[str, list[tuple[Window, deque[float]]]] = {}
        for window in windows:
            self._logs.setdefault(window.bucket, []).append((window, deque()))
        self._share = share
        self._learn = learn
        self._system = system
        self._monotonic_s = monotonic_s
        self._not_before_s: dict[str, float] = {}
        self._usage: Usage | None = None
        self._usage_known_at_s = 0.0
        self._lock = threading.Lock()

    @property
    def usage(self) -> Usage | None:
        """The daily quota as the last answer told it."""
        return self._usage

    def wait(self, bucket: str) -> None:
        """Wait until a call of this bucket may be made, and take its place.

        Raises QuotaExhausted when the configured share of the daily quota is used.
        """
        while True:
            with self._lock:
                now_s = self._monotonic_s()
                self._check_quota(now_s)
                free_at_s = self._free_at_s(bucket, now_s)
                if free_at_s <= now_s:
                    for _, log in self._logs.get(bucket, ()):
                        log.append(now_s)
                    return
            clock.sleep(free_at_s - now_s)

    def pause(self, bucket: str, seconds: float) -> None:
        """No call of this bucket for so many seconds: the system said so to one of them."""
        with self._lock:
            until_s = self._monotonic_s() + seconds
            self._not_before_s[bucket] = max(until_s, self._not_before_s.get(bucket, until_s))

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn the daily quota from an answer's headers, errors included."""
        usage = self._learn(headers) if self._learn else None
        if usage is not None:
            with self._lock:
                self._usage = usage
                self._usage_known_at_s = self._monotonic_s()

    def _check_quota(self, now_s: float) -> None:
        usage = self._usage
        if usage is None or usage.used < self._share * usage.limit:
            return
        if now_s - self._usage_known_at_s >= PROBE_EVERY_S:
            self._usage_known_at_s = now_s
            return
        raise QuotaExhausted(
            f"{usage.used:,} of {usage.limit:,} daily API calls are used, our limit is {self._share:.0%} of them",
            resets_at=usage.resets_at,
            hint="calls go on by themselves when the system counts fewer; raise `quota_share` to use more of the quota",
            system=self._system,
        )

    def _free_at_s(self, bucket: str, now_s: float) -> float:
        free_at_s = self._not_before_s.get(bucket, now_s)
        for window, log in self._logs.get(bucket, ()):
            while log and log[0] <= now_s - window.per_s:
                log.popleft()
            if len(log) >= window.calls:
                free_at_s = max(free_at_s, log[-window.calls] + window.per_s)
        return free_at_s
