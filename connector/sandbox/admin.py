"""The `/_sandbox/...` endpoints, on both ports: look inside, move the clock, break things, act as a person."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from connector.sandbox.context import HUBSPOT, Context, ImitatedSystem
from connector.sandbox.database import read_setting, transaction, write_setting

PREFIX = "/_sandbox"
CLOCK_SHIFT = "clock_shift_s"
CAST = "cast"

#: What `POST /limits` may set besides `enabled`, which stays as it is when it is not given (see `context.Settings`).
SETTABLE = (
    "salesforce_calls_per_day",
    "salesforce_page_rows",
    "salesforce_session_s",
    "salesforce_bulk_page_rows",
    "salesforce_bulk_delay_s",
    "salesforce_commit_lag_s",
    "salesforce_chunk_s",
    "hubspot_calls_per_10_s",
    "hubspot_searches_per_s",
    "hubspot_calls_per_day",
    "hubspot_oauth_calls_per_10_s",
    "hubspot_webhook_retry_s",
    "index_lag_s",
    "index_lag_spread_s",
)

Endpoint = Callable[[web.Request, dict[str, Any]], Any]


def routes(context: Context, systems: Mapping[str, ImitatedSystem], urls: Mapping[str, str]) -> list[web.RouteDef]:
    """The admin routes of a context; `urls` holds where each system listens."""
    observing = _observing(context, systems, urls)
    changing = _changing(context, systems)
    return [
        web.route(method, PREFIX + path, _answering(endpoint))
        for (method, path), endpoint in {**observing, **changing}.items()
    ]


def _answering(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            payload = orjson.loads(raw) if raw else {}
            result, status = endpoint(request, payload), 200
        except (ValueError, KeyError, TypeError, re.error) as error:
            result, status = {"error": str(error)}, 400
        return web.json_response(body=orjson.dumps(result), status=status)

    return answer


def _observing(
    context: Context, systems: Mapping[str, ImitatedSystem], urls: Mapping[str, str]
) -> dict[tuple[str, str], Endpoint]:
    database = context.database

    def health(_: web.Request, __: dict[str, Any]) -> Any:
        settings = {name: read_setting(database, name) for name in ("people", "seed")}
        return {"status": "ok", "now": context.clock.now().isoformat(), **settings, **urls}

    def calls(request: web.Request, _: dict[str, Any]) -> Any:
        since = int(request.query.get("since", "0"))
        if "list" in request.query:
            return context.calls.rows(since)
        return context.calls.summary(since)

    def firings(request: web.Request, _: dict[str, Any]) -> Any:
        return context.workflows.firings(int(request.query.get("since", "0")))

    def counts(_: web.Request, __: dict[str, Any]) -> Any:
        return {name: system.counts(context) for name, system in systems.items()}

    def truth(_: web.Request, __: dict[str, Any]) -> Any:
        return [dict(row) for row in database.execute("SELECT * FROM truth ORDER BY person, system, native_id")]

    return {
        ("GET", "/health"): health,
        ("GET", "/calls"): calls,
        ("GET", "/firings"): firings,
        ("GET", "/counts"): counts,
        ("GET", "/truth"): truth,
        ("GET", "/cast"): lambda _, __: orjson.loads(read_setting(database, CAST) or "{}"),
        ("GET", "/faults"): lambda _, __: context.faults.rules(),
        ("GET", "/workflows"): lambda _, __: context.workflows.rules(),
    }


def stand_at(context: Context, at: datetime) -> None:
    """Make `at` (UTC where it has no zone) the sandbox's present, and keep that for the next start."""
    context.clock.set(at if at.tzinfo else at.replace(tzinfo=UTC))
    _keep_shift(context)


def _keep_shift(context: Context) -> None:
    write_setting(context.database, CLOCK_SHIFT, str(context.clock.shift_s))


def _changing(context: Context, systems: Mapping[str, ImitatedSystem]) -> dict[tuple[str, str], Endpoint]:
    def move_clock(_: web.Request, payload: dict[str, Any]) -> Any:
        if "at" in payload:
            stand_at(context, datetime.fromisoformat(payload["at"]))
        context.clock.shift(float(payload.get("shift_s", 0.0)))
        _keep_shift(context)
        return {"now": context.clock.now().isoformat()}

    def limits(_: web.Request, payload: dict[str, Any]) -> Any:
        unknown = sorted(payload.keys() - {"enabled", *SETTABLE})
        if unknown or not payload:
            raise ValueError(f"{unknown}: give one or more of {', '.join(('enabled', *SETTABLE))}")
        context.settings.are_limits_on = bool(payload.get("enabled", context.settings.are_limits_on))
        for name in SETTABLE:
            if name in payload:
                setattr(context.settings, name, payload[name])
        return {"enabled": context.settings.are_limits_on}

    def remove_workflows(request: web.Request, _: dict[str, Any]) -> Any:
        context.workflows.remove(_optional_id(request))
        return context.workflows.rules()

    def clear_faults(request: web.Request, _: dict[str, Any]) -> Any:
        context.faults.clear(_optional_id(request))
        return context.faults.rules()

    def act(_: web.Request, payload: dict[str, Any]) -> Any:
        name = payload.pop("system", HUBSPOT)
        with transaction(context.database):
            return systems[name].act(context, payload)

    return {
        ("POST", "/clock"): move_clock,
        ("POST", "/limits"): limits,
        ("POST", "/faults"): lambda _, payload: context.faults.add(payload).as_dict(),
        ("DELETE", "/faults"): clear_faults,
        ("POST", "/workflows"): lambda _, payload: context.workflows.add(payload),
        ("DELETE", "/workflows"): remove_workflows,
        ("POST", "/act"): act,
    }


def _optional_id(request: web.Request) -> int | None:
    text = request.query.get("id")
    return None if text is None else int(text)
