"""Sending webhooks: arrays of at most 100 events in no order, signed, five seconds for an answer, ten more tries.

Each carries the signatures of versions 1 (`X-HubSpot-Signature`) and 3 (`X-HubSpot-Signature-v3` with its timestamp);
version 2, which HubSpot uses for calls of workflows and cards, is in `signatures` too.
Sources: https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation and
https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import aiohttp
import orjson
from yarl import URL

from connector.sandbox.context import Context
from connector.sandbox.hubspot.webhooks import Webhooks, now_ms, webhooks_of

MOST_EVENTS = 100
ANSWER_S = 5.0
MOST_RETRIES = 10

_DECODED = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""What HubSpot decodes in the URI before it signs."""


def signatures(secret: str, method: str, url: str, body: bytes, timestamp_ms: int) -> Mapping[str, str]:
    """The signature of each version: `v1` and `v2` are hexadecimal SHA-256, `v3` is base64 of HMAC-SHA-256."""
    key = secret.encode()
    uri = _DECODED.sub(lambda found: unquote(found.group()), url)
    signed = f"{method}{uri}".encode() + body + str(timestamp_ms).encode()
    return {
        "v1": hashlib.sha256(key + body).hexdigest(),
        "v2": hashlib.sha256(key + f"{method}{url}".encode() + body).hexdigest(),
        "v3": base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode(),
    }


class Delivery:
    """The task that sends what waits; it runs only while something does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._webhooks: Webhooks = webhooks_of(context)
        self._running: asyncio.Task[None] | None = None
        self._retries: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Start sending, once the request that is at work has ended. Without an event loop the events go on waiting."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._webhooks.waiting and self._webhooks.target is not None:
            events, self._webhooks.waiting = self._webhooks.waiting[:MOST_EVENTS], self._webhooks.waiting[MOST_EVENTS:]
            random.Random(events[0]["eventId"]).shuffle(events)
            if not await self._send(events, self._webhooks.target["targetUrl"]):
                task = asyncio.get_running_loop().create_task(self._try_again(events))
                self._retries.add(task)
                task.add_done_callback(self._retries.discard)

    async def _try_again(self, events: list[dict[str, Any]]) -> None:
        for attempt in range(1, MOST_RETRIES + 1):
            await asyncio.sleep(self._context.settings.hubspot_webhook_retry_s)
            target = self._webhooks.target
            again = [{**each, "attemptNumber": attempt} for each in events]
            if target is None or await self._send(again, target["targetUrl"]):
                return

    async def _send(self, events: list[dict[str, Any]], url: str) -> bool:
        body, at_ms, to = orjson.dumps(events), now_ms(self._context), URL(url, encoded=True)
        requested = f"{to.origin()}{to.raw_path_qs}"  # an address without a path is asked for `/`
        made = signatures(self._context.settings.hubspot_client_secret, "POST", requested, body, at_ms)
        headers = {
            "Content-Type": "application/json",
            "X-HubSpot-Signature": made["v1"],
            "X-HubSpot-Signature-Version": "v1",
            "X-HubSpot-Signature-v3": made["v3"],
            "X-HubSpot-Request-Timestamp": str(at_ms),
        }
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(to, data=body, headers=headers) as answer,
            ):
                return answer.status < 400
        except (aiohttp.ClientError, TimeoutError):
            return False
