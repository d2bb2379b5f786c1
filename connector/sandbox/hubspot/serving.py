"""From an HTTP request to a call with a checked token and a parsed body, and from an answer back to HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson
from aiohttp import web

from connector.sandbox.context import BUCKET, COST, RECORDS, Context
from connector.sandbox.hubspot.access import APP_ID, Token, authenticated, demand
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.catalog import Catalog
from connector.sandbox.hubspot.instants import to_ms
from connector.sandbox.hubspot.limits import BURST, FREE, Limits
from connector.sandbox.hubspot.records import Lag
from connector.sandbox.hubspot.shapes import OF_SCHEMAS, SHAPES, demand_shape

JSON = "application/json;charset=utf-8"
MOST_PATH_CHARACTERS = 15_000
"""Characters of path and query that are still answered; public clients report 414 somewhere between 8,000 and 16,000."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who changes something, in HubSpot's words: its `changeSource`, and the `sourceId` where there is one."""

    kind: str = "INTEGRATION"
    id: str = ""


THE_APP = Source(id=str(APP_ID))


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the work behind it sees it. `parts` are the variables of the path, `body` the parsed JSON."""

    context: Context
    catalog: Catalog
    path: str
    url: str
    parts: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: Any = None
    method: str = ""
    source: Source = THE_APP

    def one(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default

    def many(self, name: str) -> list[str]:
        """A query parameter that may be repeated, or a comma list, or both."""
        values = self.query.get(name, ())
        return [part for value in values for each in value.split(",") if (part := each.strip())]

    def limit(self, default: int, most: int) -> int:
        """The page size.

        Raises:
            Refused: 400, above `most` or no number.
        """
        text = self.one("limit", str(default))
        size = int(text) if text.isascii() and text.isdigit() else -1
        if not 0 <= size <= most:
            raise Refused(400, f"Invalid page size: {text}. The maximum is {most}.")
        return size or default

    def paging(self, after: str) -> dict[str, Any]:
        """The `paging` of an answer that has a next page; its link leads to this server and keeps the other parameters."""
        query = [(name, value) for name, values in self.query.items() if name != "after" for value in values]
        link = f"{self.url}{self.path}?{urlencode([*query, ('after', after)])}"
        return {"next": {"after": after, "link": link}}

    @property
    def now_ms(self) -> int:
        """The present instant of the sandbox."""
        return to_ms(self.context.clock.now())

    @property
    def lag(self) -> Lag:
        """How long searches lag behind writes."""
        settings = self.context.settings
        return Lag(int(settings.index_lag_s * 1000), int(settings.index_lag_spread_s * 1000))

    @property
    def is_dated(self) -> bool:
        """True of a path such as `/crm/objects/2026-09/...`."""
        return "/2026-" in self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back; `body` None is an empty answer; `records` is how many records it carries."""

    status: int = 200
    body: Any = None
    records: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[Call], Answer]
Scopes = Callable[[Catalog, Mapping[str, str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a path does, which scopes open it (any one of them) and which limit it counts against."""

    method: str
    area: str
    suffix: str
    work: Work
    scopes: Scopes = field(default=lambda *_: ())
    bucket: str = BURST
    is_open: bool = False


Responder = Callable[[web.Request], Awaitable[web.Response]]


def responder(context: Context, catalog: Catalog, limits: Limits, endpoint: Endpoint) -> Responder:
    """The aiohttp function behind an endpoint. It sets the request's BUCKET, COST and RECORDS for the call log."""

    async def handle(request: web.Request) -> web.Response:
        raw = await request.read()
        correlation_id = str(uuid.uuid4())
        request[BUCKET] = endpoint.bucket
        headers = {"X-HubSpot-Correlation-Id": correlation_id, "Content-Type": JSON}
        try:
            if len(request.raw_path) > MOST_PATH_CHARACTERS:
                raise Refused(414, "The URL is too long.", None)
            if not endpoint.is_open:
                headers |= _admit(context, catalog, limits, endpoint, request)
            answer = endpoint.work(_call(context, catalog, endpoint, request, raw))
        except Refused as refused:
            if refused.status == 429:
                request[COST] = 0
            headers |= refused.headers
            refusal = orjson.dumps(refused.body(correlation_id))
            return web.Response(status=refused.status, body=refusal, headers=headers)
        request[RECORDS] = answer.records
        body = None if answer.body is None else orjson.dumps(answer.body)
        if endpoint.bucket == FREE:
            request[COST] = 0
        return web.Response(status=answer.status, body=body, headers={**headers, **answer.headers})

    return handle


async def unknown(request: web.Request) -> web.Response:
    """A path that nothing answers (404), or not by this method (405)."""
    methods: set[str] = set()
    for resource in request.app.router.resources():
        methods |= (await resource.resolve(request))[1]
    refused = Refused(405, "Method Not Allowed", None) if methods - {"*"} else not_found()
    correlation_id = str(uuid.uuid4())
    headers = {"X-HubSpot-Correlation-Id": correlation_id, "Content-Type": JSON}
    return web.Response(status=refused.status, body=orjson.dumps(refused.body(correlation_id)), headers=headers)


def _admit(
    context: Context, catalog: Catalog, limits: Limits, endpoint: Endpoint, request: web.Request
) -> dict[str, str]:
    token: Token = authenticated(context, request.headers.get("Authorization", ""))
    limits.admit(context, token, endpoint.bucket)
    demand(token, endpoint.scopes(catalog, request.match_info))
    return limits.headers(context, token, endpoint.bucket)


def _call(context: Context, catalog: Catalog, endpoint: Endpoint, request: web.Request, raw: bytes) -> Call:
    body: Any = None
    if request.content_type == "application/x-www-form-urlencoded":
        body = {
            name: values[-1]
            for name, values in parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True).items()
        }
    elif raw.strip():
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise Refused(400, "Invalid input JSON on line 1, column 1: malformed") from None
        demand_shape(body, OF_SCHEMAS if endpoint.area == "schemas" else SHAPES)
    query = {name: request.query.getall(name) for name in request.query}
    url = f"{request.scheme}://{request.host}"
    return Call(context, catalog, request.path, url, request.match_info, query, body, request.method)


def json_object(body: Any) -> dict[str, Any]:
    """The body, which must be a JSON object.

    Raises:
        Refused: 400.
    """
    if not isinstance(body, dict):
        raise Refused(400, "Invalid input JSON on line 1, column 1: Cannot deserialize value of type object")
    return body
