"""HubSpot's rate limits: a rolling ten seconds per app, searches per second and calls per day of the whole account.

An OAuth app has a lower limit in ten seconds and none per day. The day begins at midnight in the account's time zone,
which is UTC here.
Source: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

from __future__ import annotations

import time
import uuid
from collections import deque

from connector.sandbox.context import HUBSPOT, Context, Settings
from connector.sandbox.hubspot.access import APP_ID, OAUTH, Token
from connector.sandbox.hubspot.answers import Refused

BURST_S = 10.0
SEARCH_S = 1.0

BURST = "burst"
SEARCH = "search"
ASSOCIATIONS = "associations"
FREE = "free"
"""The buckets: searches have their own, batch associations count by the day only, tokens and the account not at all."""


def used_today(context: Context) -> int:
    """The calls since midnight that count against the day."""
    midnight = context.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return context.calls.used_since(HUBSPOT, midnight)


class Limits:
    """The calls of the last seconds, in memory. Real time counts, not the sandbox's movable clock."""

    def __init__(self) -> None:
        self._bursts: dict[str, deque[float]] = {}
        self._searches: deque[float] = deque()

    def admit(self, context: Context, token: Token, bucket: str) -> None:
        """Count one call.

        Raises:
            Refused: 429; the body names the limit in `policyName`.
        """
        settings = context.settings
        if not settings.are_limits_on or bucket == FREE:
            return
        if token.kind != OAUTH and used_today(context) >= settings.hubspot_calls_per_day:
            raise _too_many("daily", "DAILY", token, self.headers(context, token, bucket))
        now = time.monotonic()
        if bucket == SEARCH and not _has_room(self._searches, now, SEARCH_S, settings.hubspot_searches_per_s):
            raise _too_many("secondly", "SECONDLY", token, {})
        if bucket == BURST and not _has_room(self._calls(token), now, BURST_S, _burst_limit(settings, token)):
            raise _too_many("ten_secondly_rolling", "TEN_SECONDLY_ROLLING", token, self.headers(context, token, bucket))

    def _calls(self, token: Token) -> deque[float]:
        """The calls of the token's app: all tokens of the OAuth app together, a private app by its one token."""
        return self._bursts.setdefault(OAUTH if token.kind == OAUTH else token.text, deque())

    def headers(self, context: Context, token: Token, bucket: str) -> dict[str, str]:
        """The `X-HubSpot-RateLimit-*` headers; a search answers none, an OAuth token is told no daily numbers."""
        settings = context.settings
        if not settings.are_limits_on or bucket == SEARCH:
            return {}
        calls, limit, now = self._calls(token), _burst_limit(settings, token), time.monotonic()
        _forget_old(calls, now, BURST_S)
        of_the_second = sum(1 for each in calls if each > now - 1.0)
        headers = {
            "X-HubSpot-RateLimit-Max": str(limit),
            "X-HubSpot-RateLimit-Remaining": str(max(limit - len(calls), 0)),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(BURST_S * 1000)),
            "X-HubSpot-RateLimit-Secondly": str(limit // 10),
            "X-HubSpot-RateLimit-Secondly-Remaining": str(max(limit // 10 - of_the_second, 0)),
        }
        if token.kind != OAUTH:
            headers["X-HubSpot-RateLimit-Daily"] = str(settings.hubspot_calls_per_day)
            left = settings.hubspot_calls_per_day - used_today(context)
            headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(max(left, 0))
        return headers


def _burst_limit(settings: Settings, token: Token) -> int:
    return settings.hubspot_oauth_calls_per_10_s if token.kind == OAUTH else settings.hubspot_calls_per_10_s


def _forget_old(calls: deque[float], now: float, window_s: float) -> None:
    while calls and calls[0] <= now - window_s:
        calls.popleft()


def _has_room(calls: deque[float], now: float, window_s: float, limit: int) -> bool:
    """Whether one more call fits into the window; if so, it is counted."""
    _forget_old(calls, now, window_s)
    if len(calls) >= limit:
        return False
    calls.append(now)
    return True


def _too_many(name: str, policy: str, token: Token, headers: dict[str, str]) -> Refused:
    app = f"oauth:{APP_ID}" if token.kind == OAUTH else "private-apps:sandbox"
    return Refused(
        429,
        f"You have reached your {name} limit.",
        None,
        fields={
            "errorType": "RATE_LIMIT",
            "policyName": policy,
            "groupName": f"publicapi:{app}",
            "requestId": str(uuid.uuid4()),
        },
        headers=headers,
    )
