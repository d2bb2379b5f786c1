"""HubSpot's rate limits: a rolling ten seconds per token, searches per second and calls per day of the whole account.

Source: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

from __future__ import annotations

import time
from collections import deque

from connector.sandbox.context import HUBSPOT, Context
from connector.sandbox.hubspot.answers import Refused

BURST_S = 10.0
SEARCH_S = 1.0

BURST = "burst"
SEARCH = "search"
ASSOCIATIONS = "associations"
FREE = "free"
"""The buckets: searches have their own, batch associations count by the day only, tokens and the account not at all."""


class Limits:
    """The calls of the last seconds, in memory. Real time counts, not the sandbox's movable clock."""

    def __init__(self) -> None:
        self._bursts: dict[str, deque[float]] = {}
        self._searches: deque[float] = deque()

    def admit(self, context: Context, token: str, bucket: str) -> None:
        """Count one call.

        Raises:
            Refused: 429; the body names the limit in `policyName`.
        """
        settings = context.settings
        if not settings.are_limits_on or bucket == FREE:
            return
        if context.calls.used_last_day(HUBSPOT) >= settings.hubspot_calls_per_day:
            raise _too_many("daily", "DAILY", {})
        now = time.monotonic()
        if bucket == SEARCH and not _has_room(self._searches, now, SEARCH_S, settings.hubspot_searches_per_s):
            raise _too_many("secondly", "SECONDLY", {})
        calls = self._bursts.setdefault(token, deque())
        if bucket == BURST and not _has_room(calls, now, BURST_S, settings.hubspot_calls_per_10_s):
            raise _too_many("ten_secondly_rolling", "TEN_SECONDLY_ROLLING", self.headers(context, token, bucket))

    def headers(self, context: Context, token: str, bucket: str, *, has_daily: bool = True) -> dict[str, str]:
        """The `X-HubSpot-RateLimit-*` headers; a search answers none, an OAuth token is told no daily numbers."""
        settings = context.settings
        if not settings.are_limits_on or bucket == SEARCH:
            return {}
        used = len(self._bursts.get(token, ()))
        headers = {
            "X-HubSpot-RateLimit-Max": str(settings.hubspot_calls_per_10_s),
            "X-HubSpot-RateLimit-Remaining": str(max(settings.hubspot_calls_per_10_s - used, 0)),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(BURST_S * 1000)),
            "X-HubSpot-RateLimit-Secondly": str(settings.hubspot_calls_per_10_s // 10),
            "X-HubSpot-RateLimit-Secondly-Remaining": str(settings.hubspot_calls_per_10_s // 10),
        }
        if has_daily:
            left = settings.hubspot_calls_per_day - context.calls.used_last_day(HUBSPOT)
            headers["X-HubSpot-RateLimit-Daily"] = str(settings.hubspot_calls_per_day)
            headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(max(left, 0))
        return headers


def _has_room(calls: deque[float], now: float, window_s: float, limit: int) -> bool:
    """Whether one more call fits into the window; if so, it is counted."""
    while calls and calls[0] <= now - window_s:
        calls.popleft()
    if len(calls) >= limit:
        return False
    calls.append(now)
    return True


def _too_many(name: str, policy: str, headers: dict[str, str]) -> Refused:
    return Refused(
        429,
        f"You have reached your {name} limit.",
        None,
        fields={"errorType": "RATE_LIMIT", "policyName": policy, "groupName": "publicapi:private-apps:sandbox"},
        headers=headers,
    )
