"""Rate windows and daily budgets: when the next call to a system may be made, and for what.

A window is a sliding log: at most `calls` in any `per_s` seconds. What a system tells about its daily quota is learned
from the headers of its answers; between two that tell, our own calls are added. What we use ourselves is counted by the
hour and kept from one connection to the next, so that the part of the others is known.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from connector import clock
from connector.budget import READ, Budget, Quota
from connector.errors import ConnectorError, Interrupted, QuotaExhausted
from connector.model import Window

#: With the budget used up, one call in this many seconds goes out to learn whether that is still so.
PROBE_EVERY_S = 300.0
#: How much slower a bucket goes each time that the system says that it is too fast, up to how much, and how long until it
#: tries to go as much faster again.
_SLOWER_BY, _SLOWEST, _FASTER_AFTER_S = 1.5, 32.0, 60.0
#: How often threads look whether the call that asks for all of them was answered, and when it counts as lost.
_LOOK_S, _LOST_S = 0.1, 120.0
#: So long a call of what is in flight still waits once the process is told to end.
_SETTLING_S = 2.0
DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a system told about its daily quota: calls used by all its clients, and the limit."""

    used: int
    limit: int


Learn = Callable[[Mapping[str, str]], Usage | None]


class Pacing:
    """The windows and the budget of one system, shared by its threads.

    `learn` reads the usage from the headers of an answer, or gives None when they do not tell. `ask_reset` asks the system
    when its day starts anew; without it the day is the last 24 hours.
    """

    def __init__(
        self,
        windows: Iterable[Window] = (),
        quota: Quota | None = None,
        *,
        learn: Learn | None = None,
        ask_reset: Callable[[], datetime | None] | None = None,
        system: str = "",
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._logs: dict[str, list[tuple[Window, deque[float]]]] = {}
        for window in windows:
            self._logs.setdefault(window.bucket, []).append((window, deque()))
        self._quota = quota or Quota.model_validate({})
        self._learn = learn
        self._ask_reset = ask_reset
        self._system = system
        self._monotonic_s = monotonic_s
        self._not_before_s: dict[str, float] = {}
        self._slowed: dict[str, tuple[float, float]] = {}  # bucket -> how many times slower, since when
        self._refusal = ""  # what the system said when it refused a call because the day's calls are used up
        self._is_refused = False  # it said so to this connection
        self._asked_at_s: float | None = None  # the one call that asks whether that is still so is on its way
        self._may_ask_reset = True
        self._usage: Usage | None = None
        self._usage_known_at_s: float | None = None
        self._since_usage = 0
        self._hours: Counter[datetime] = Counter()
        self._resets_at: datetime | None = None
        self._purpose = READ
        self._unbudgeted = threading.local()
        self._lock = threading.RLock()
        self._asking = threading.Lock()

    # -------------------------------------------------------------------------------------------------- the calls

    def wait(self, bucket: str) -> None:
        """Wait until a call of this bucket may be made, and take its place.

        Raises QuotaExhausted when the budget has no room for what calls are made for now, and Interrupted when the process is told
        to end and that would be long.
        """
        self._ask_whether_used(self._purpose, 1)
        until_s = math.inf
        while True:
            with self._lock:
                now_s = self._monotonic_s()
                is_unbudgeted = getattr(self._unbudgeted, "is_on", False)
                if not is_unbudgeted:
                    self._check_budget(self._purpose, 1, now_s)
                free_at_s = self._free_at_s(bucket, now_s)
                if free_at_s <= now_s and self._refusal and not is_unbudgeted:
                    free_at_s = self._asked_for_all_s(now_s)
                if free_at_s <= now_s:
                    for _, log in self._logs.get(bucket, ()):
                        log.append(now_s)
                    self._since_usage += 1
                    self._hours[_hour(clock.now())] += 1
                    return
            if clock.is_ending():
                until_s = min(until_s, now_s + _SETTLING_S)
            if free_at_s > until_s:
                raise Interrupted(
                    "it was waited for when this process was told to end", sent=False, system=self._system
                )
            wait = clock.wait if until_s == math.inf else clock.sleep
            wait(free_at_s - now_s)

    def pause(self, bucket: str, seconds: float) -> None:
        """No call of this bucket for so many seconds: the system said so to one of them."""
        with self._lock:
            until_s = self._monotonic_s() + seconds
            self._not_before_s[bucket] = max(until_s, self._not_before_s.get(bucket, until_s))

    def slow_down(self, bucket: str, seconds: float) -> None:
        """As `pause`, and slower from then on: the system's limit is lower than ours, or others share it. It wears off."""
        with self._lock:
            now_s = self._monotonic_s()
            if (
                self._not_before_s.get(bucket, now_s) <= now_s
            ):  # else said of a call that left before the others heard it
                self._slowed[bucket] = (min(self._slowness(bucket, now_s) * _SLOWER_BY, _SLOWEST), now_s)
            self.pause(bucket, seconds)

    def answered(self, refusal: str) -> None:
        """An answer came; `refusal` is what it said where the system's calls of today are used up, else empty."""
        with self._lock:
            if refusal:
                self._refusal, self._is_refused = refusal, True
            elif self._asked_at_s is not None:
                self._refusal = ""
            self._asked_at_s = None

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn the daily quota from an answer's headers, errors included."""
        usage = self._learn(headers) if self._learn else None
        if usage is not None:
            with self._lock:
                self._usage, self._since_usage = usage, 0
                self._usage_known_at_s = self._monotonic_s()

    # -------------------------------------------------------------------------------------------------- the budget

    @property
    def usage(self) -> Usage | None:
        """The daily quota as the last answer told it."""
        return self._usage

    def budget(self) -> Budget:
        """What is left of today's calls, as far as is known; costs no call."""
        with self._lock:
            now = clock.now()
            self._forget(now)
            ours = self._hours.total()
            if self._usage is None:
                return Budget(self._quota, None, 0, ours, self._resets_at)
            used = self._usage.used + self._since_usage
            mine = min(ours, used)
            return Budget(self._quota, self._usage.limit, used - mine, mine, self._resets_at)

    def admit(self, purpose: str, calls: int) -> None:
        """Calls are made for this from now on, about so many. Raises QuotaExhausted when they do not fit."""
        self._ask_whether_used(purpose, calls)
        with self._lock:
            self._check_budget(purpose, calls, self._monotonic_s(), is_call=False)
            self._purpose = purpose

    def resets_at(self) -> datetime | None:
        """When calls that do not fit now may fit: the system's midnight, or when the oldest of ours are a day old."""
        now = clock.now()
        self._forget(now)
        if self._ask_reset is None:
            oldest = min((hour for hour, calls in self._hours.items() if calls), default=None)
            return oldest + _HOUR + DAY if oldest is not None else None
        if self._resets_at is None and self._may_ask_reset:
            self._may_ask_reset = False
            with self._without_budget():
                try:
                    self._resets_at = self._ask_reset()
                except ConnectorError:
                    return None  # the day's calls are used, or the account may not be asked
        return self._resets_at

    def recall(self, kept: str) -> None:
        """Take up what `kept` said when the system was connected before."""
        if not kept:
            return
        said = orjson.loads(kept)
        with self._lock:
            self._hours.update({datetime.fromisoformat(hour): calls for hour, calls in said["hours"].items()})
            self._refusal = said.get("refusal", "")
            self._may_ask_reset = not self._refusal  # it was asked when that was said
            if said["resets_at"]:
                self._resets_at = datetime.fromisoformat(said["resets_at"])
            now, at = clock.now(), datetime.fromisoformat(said["at"])
            if said["limit"] is not None and at <= now:  # else a wrong clock tells that it is news for long
                self._usage = Usage(said["used"], said["limit"])
                self._usage_known_at_s = self._monotonic_s() - (now - at).total_seconds()
            self._forget(now)

    def kept(self) -> str:
        """What the next connection should know, as JSON; `status` reads it, too."""
        with self._lock:
            told, now = self.budget(), clock.now()
            age_s = self._monotonic_s() - self._usage_known_at_s if self._usage_known_at_s is not None else 0.0
            said = {
                "at": (now - timedelta(seconds=age_s)).isoformat(),
                "used": told.others + told.ours,
                "refusal": self._refusal,
                "hours": {hour.isoformat(): calls for hour, calls in self._hours.items()},
                **told.as_json(),
            }
            return orjson.dumps(said).decode()

    def _ask_whether_used(self, purpose: str, calls: int) -> None:
        """Where there is a call of its own for it, ask every five minutes whether a budget that is used up still is: not every
        answer tells (HubSpot's searches do not), so that the call that was to be made may bring no news."""
        if self._ask_reset is None or self._refusal or getattr(self._unbudgeted, "is_on", False):
            return
        left = self.budget().left(purpose)
        if left is None or left >= calls:
            return
        with self._asking:  # the others wait for what it tells, rather than be refused meanwhile
            now_s = self._monotonic_s()
            if self._is_usage_old(now_s):
                self._usage_known_at_s = now_s
                with self._without_budget(), suppress(ConnectorError):
                    self._resets_at = self._ask_reset() or self._resets_at

    def _is_usage_old(self, now_s: float) -> bool:
        return self._usage_known_at_s is not None and now_s - self._usage_known_at_s >= PROBE_EVERY_S

    def _check_budget(self, purpose: str, calls: int, now_s: float, *, is_call: bool = True) -> None:
        told = self.budget()
        if self._refusal and self._is_refused:
            raise QuotaExhausted(
                f"its calls of today are used up: {self._refusal}",
                resets_at=told.resets_at,
                hint="until they start anew, each run asks with one call whether they have",
                system=self._system,
            )
        left = told.left(purpose)
        if left is None or left >= calls:
            return
        if self._is_usage_old(now_s):
            self._usage_known_at_s = now_s if is_call else self._usage_known_at_s  # the call that follows asks
            return
        part = self._quota.part(purpose)
        lane = "to read" if purpose == READ else f"for the {purpose} lane"
        of = f" ({part:.0%} of them {lane})" if part < 1 else ""
        raise QuotaExhausted(
            f"{told.ours:,} of our {told.calls:,} calls of today are used{of}",
            resets_at=told.resets_at,
            hint=f"calls go on by themselves; [systems.{self._system}.quota] says how many are ours",
            system=self._system,
        )

    def _forget(self, now: datetime) -> None:
        """Calls of another day count no more, and neither does what was told then."""
        if self._resets_at is not None and self._resets_at > now + DAY + _HOUR:
            self._resets_at = None  # the clock was moved
        if self._resets_at is not None and self._resets_at <= now:
            self._hours = Counter({hour: n for hour, n in self._hours.items() if hour >= _hour(self._resets_at)})
            self._usage, self._since_usage = Usage(0, self._usage.limit) if self._usage else None, 0
            self._refusal, self._is_refused = "", False
            self._resets_at += DAY * (1 + (now - self._resets_at) // DAY)
        for hour in [hour for hour in self._hours if not now - DAY - _HOUR < hour <= now]:
            del self._hours[hour]
        known_at_s = self._usage_known_at_s
        if known_at_s is not None and self._monotonic_s() - known_at_s >= DAY.total_seconds():
            self._usage = None

    @contextmanager
    def _without_budget(self) -> Iterator[None]:
        self._unbudgeted.is_on = True
        try:
            yield
        finally:
            self._unbudgeted.is_on = False

    def _free_at_s(self, bucket: str, now_s: float) -> float:
        free_at_s = self._not_before_s.get(bucket, now_s)
        slowness = self._slowness(bucket, now_s)
        for window, log in self._logs.get(bucket, ()):
            calls = max(int(window.calls / slowness), 1)  # fewer at once, rather than as many less often
            per_s = window.per_s * slowness * calls / window.calls
            while log and log[0] <= now_s - per_s:
                log.popleft()
            if len(log) >= calls:
                free_at_s = max(free_at_s, log[-calls] + per_s)
        return free_at_s

    def _slowness(self, bucket: str, now_s: float) -> float:
        slowness, since_s = self._slowed.get(bucket, (1.0, now_s))
        return max(slowness / math.pow(_SLOWER_BY, (now_s - since_s) // _FASTER_AFTER_S), 1.0)

    def _asked_for_all_s(self, now_s: float) -> float:
        """Now for the one call that asks whether the system's day has started anew, later for those that wait for its answer."""
        if self._asked_at_s is not None and now_s - self._asked_at_s < _LOST_S:
            return now_s + _LOOK_S
        self._asked_at_s = now_s
        return now_s


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
