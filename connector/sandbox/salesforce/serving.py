"""HTTP in front of the org: sessions, versions, quota, JSON in and out."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from connector.sandbox.context import COST, RECORDS, SALESFORCE
from connector.sandbox.database import transaction
from connector.sandbox.salesforce import acting, auth, bulk_one, consent, soap, soap_metadata
from connector.sandbox.salesforce.api import VERSIONS, dispatch, versions
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError, not_found
from connector.sandbox.salesforce.seeding import ORGANIZATION_ID
from connector.sandbox.salesforce.soql import Queries

JSON = "application/json;charset=UTF-8"
MAX_URI_BYTES = 16_384
GZIP_LEVEL = 1
CHUNK_RECORDS = 200

_VERSIONED = re.compile(r"^/services/data/v(\d+)\.0(/.*)?$")


def routes(org: Org) -> list[web.RouteDef]:
    """The routes of the org: OAuth, the list of versions, and everything under a version."""
    queries = Queries(org)

    async def token(request: web.Request) -> web.Response:
        form = _form(request, await request.read())
        request[COST] = 0
        try:
            body = _token(org, form, request.headers.get("Authorization", ""), _base_url(request))
        except auth.OAuthError as error:
            return _json({"error": error.error, "error_description": error.description}, 400)
        return _json(body, 200)

    async def revoke(request: web.Request) -> web.Response:
        form = _form(request, await request.read())
        request[COST] = 0
        auth.revoke(org, form.get("token", request.query.get("token", "")))
        return web.Response(status=200)

    async def version_list(request: web.Request) -> web.Response:
        request[COST] = 0
        return _json(versions(), 200)

    async def rest(request: web.Request) -> web.StreamResponse:
        return await _under_locks(org, queries, request)

    return [
        *_identity_routes(org),
        *_older_routes(org, queries),
        web.post("/services/oauth2/token", token),
        web.route("*", "/services/oauth2/revoke", revoke),
        web.get("/services/data", version_list),
        web.get("/services/data/", version_list),
        web.route("*", "/services/data/{rest:.*}", rest),
    ]


def _token(org: Org, form: dict[str, str], authorization: str, base_url: str) -> dict[str, Any]:
    if form.get("grant_type") != "authorization_code":
        return auth.token(org, form, authorization, base_url)
    auth.check_client(org, form, authorization, is_secret_needed="code_verifier" not in form)
    made = auth.session(org, consent.redeem(org, form), base_url)
    return {**made, "refresh_token": org.context.settings.salesforce_refresh_token}


def _identity_routes(org: Org) -> list[web.RouteDef]:
    """Consent, and who a token belongs to."""

    async def authorize(request: web.Request) -> web.Response:
        request[COST] = 0
        try:
            return web.Response(status=302, headers={"Location": consent.authorize(org, dict(request.query))})
        except auth.OAuthError as error:
            return _json({"error": error.error, "error_description": error.description}, 400)

    async def user_info(request: web.Request) -> web.Response:
        request[COST] = 0
        user_id = auth.user_of(org, request.headers.get("Authorization", ""))
        if user_id is None:
            return web.Response(status=403, text="Bad_OAuth_Token")
        return _json(auth.user_info(org, user_id, _base_url(request)), 200)

    async def identity(request: web.Request) -> web.Response:
        request[COST] = 0
        named = f"Bearer {request.query.get('oauth_token', '')}"
        user_id = auth.user_of(org, request.headers.get("Authorization", named))
        if user_id is None:
            return web.Response(status=403, text="Bad_OAuth_Token")
        if (request.match_info["org"], request.match_info["user"]) != (ORGANIZATION_ID, user_id):
            return web.Response(status=403, text="Wrong_Org")
        return _json(auth.identity(org, user_id, _base_url(request)), 200)

    return [
        web.get("/services/oauth2/authorize", authorize),
        web.route("*", "/services/oauth2/userinfo", user_info),
        web.get("/id/{org}/{user}", identity),
    ]


def _older_routes(org: Org, queries: Queries) -> list[web.RouteDef]:
    """What older clients ask for: SOAP and Bulk API 1.0."""

    async def ask_soap(request: web.Request) -> web.Response:
        body = await request.read()
        kind, version = request.match_info["kind"], float(request.match_info["version"])
        operations = soap_metadata.OPERATIONS if kind == "m" else soap.OPERATIONS
        status, text, request[COST] = soap.answer(org, kind, version, body, _base_url(request), operations)
        return web.Response(status=status, text=text, content_type="text/xml")

    async def bulk(request: web.Request) -> web.StreamResponse:
        return await _respond(org, request, _async(org, queries, request, await request.read()))

    return [
        web.route("*", r"/services/async/{version:\d+\.0}/{rest:.*}", bulk),
        *(
            web.post(rf"/services/Soap/{{kind:[cum]}}/{{version:\d+(?:\.\d)?}}{end}", ask_soap)
            for end in ("", r"/{rest:[\w/]*}")
        ),
    ]


def _base_url(request: web.Request) -> str:
    return f"http://{request.host}"


def _form(request: web.Request, body: bytes) -> dict[str, str]:
    return dict(request.query) | dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _json(body: Any, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), headers={"Content-Type": JSON, **(headers or {})})


async def _under_locks(org: Org, queries: Queries, request: web.Request) -> web.StreamResponse:
    """Answer a request; where writing takes time, what it writes stays locked until its answer is sent."""
    body = await request.read()
    chunk_s, holder = org.context.settings.salesforce_chunk_s, object()
    is_locking = chunk_s > 0 and request.method != "GET"
    org.locks.holder = holder if is_locking else None
    try:
        answer = _rest(org, queries, request, body)
    finally:
        org.locks.holder = None
    if is_locking:
        await asyncio.sleep(chunk_s * -(-answer.records // CHUNK_RECORDS))
        org.locks.release(holder)
    return await _respond(org, request, answer)


def _rest(org: Org, queries: Queries, request: web.Request, body: bytes) -> Answer:
    if org.now() >= org.next_due_at:
        with transaction(org.database):
            acting.settle(org)
    try:
        call = _call(org, queries, request, body)
        if call.method == "GET":
            return dispatch(call)
        with transaction(org.database):
            return dispatch(call)
    except RefusedError as error:
        return Answer(error.status, [error.as_rest()], cost=0 if error.code in _FREE else 1)


def _async(org: Org, queries: Queries, request: web.Request, body: bytes) -> Answer:
    """Bulk API 1.0, which has a session header and error bodies of its own."""
    try:
        user_id = auth.user_of(org, request.headers.get("Authorization", ""))
        user_id = user_id or auth.user_of(org, f"Bearer {request.headers.get('X-SFDC-Session', '')}")
        if user_id is None:
            raise RefusedError("INVALID_SESSION_ID", "Invalid session id")
        _demand_quota(org)
        call = Call(
            org=org,
            queries=queries,
            access=org.access(user_id),
            version=request.match_info["version"],
            method=request.method,
            path=f"/{request.match_info['rest']}",
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        with transaction(org.database):
            return bulk_one.dispatch(call)
    except RefusedError as error:
        told = {name.lower(): value for name, value in request.headers.items()}
        return replace(bulk_one.refusal(error, told), cost=0 if error.code in _FREE else 1)


def _demand_quota(org: Org) -> None:
    settings = org.context.settings
    if settings.are_limits_on and org.context.calls.used_last_day(SALESFORCE) >= settings.salesforce_calls_per_day:
        raise RefusedError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


async def _respond(org: Org, request: web.Request, answer: Answer) -> web.StreamResponse:
    context = org.context
    request[COST], request[RECORDS] = answer.cost, answer.records
    used = context.calls.used_last_day(SALESFORCE) + answer.cost
    headers = {"Sforce-Limit-Info": f"api-usage={used}/{context.settings.salesforce_calls_per_day}", **answer.headers}
    if answer.pieces is not None:
        return await _stream(
            request, answer.status, answer.pieces, headers | {"Date": format_datetime(org.now(), usegmt=True)}
        )
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    return _json(answer.body, answer.status, headers)


async def _stream(
    request: web.Request, status: int, pieces: Iterator[bytes], headers: dict[str, str]
) -> web.StreamResponse:
    """Send a body as it is made, compressed when that is asked for."""
    response = web.StreamResponse(
        status=status, headers={"Content-Type": "text/csv", "Vary": "Accept-Encoding", **headers}
    )
    packer = None
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
        response.headers["Content-Encoding"] = "gzip"
    await response.prepare(request)
    for piece in pieces:
        sent = piece if packer is None else packer.compress(piece)
        if sent:
            await response.write(sent)
    if packer is not None:
        await response.write(packer.flush())
    await response.write_eof()
    return response


_FREE = frozenset({"INVALID_SESSION_ID", "REQUEST_LIMIT_EXCEEDED"})


def _call(org: Org, queries: Queries, request: web.Request, body: bytes) -> Call:
    raw_path, _, raw_query = request.raw_path.partition("?")
    size_bytes = len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    if len(request.raw_path) > MAX_URI_BYTES or size_bytes > MAX_URI_BYTES:
        raise web.HTTPRequestURITooLong if len(request.raw_path) > MAX_URI_BYTES else _HeadersTooLarge
    match = _VERSIONED.match(unquote(raw_path))
    if match is None or int(match.group(1)) > VERSIONS[-1]:
        raise not_found()
    if int(match.group(1)) < VERSIONS[0]:
        raise RefusedError("UNSUPPORTED_API_VERSION", f"API version {match.group(1)}.0 is no longer supported")
    user_id = auth.user_of(org, request.headers.get("Authorization", ""))
    if user_id is None:
        raise RefusedError("INVALID_SESSION_ID", "Session expired or invalid")
    _demand_quota(org)
    query = dict(parse_qsl(raw_query, keep_blank_values=True))
    return Call(
        org=org,
        queries=queries,
        access=org.access(user_id),
        version=f"{match.group(1)}.0",
        method=query.pop("_HttpMethod", request.method).upper() if request.method == "POST" else request.method,
        path=match.group(2) or "",
        query=query,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=_parsed(request, body),
    )


class _HeadersTooLarge(web.HTTPClientError):
    status_code = 431


def _parsed(request: web.Request, body: bytes) -> Any:
    """JSON bodies parsed, others as they are; raises 415 or JSON_PARSER_ERROR."""
    is_upload = request.content_type == "text/csv" and request.path.rstrip("/").lower().endswith("/batches")
    if not body or is_upload or request.content_type.startswith("multipart/"):
        return body or None
    if request.content_type not in ("application/json", "application/octet-stream", "text/json"):
        raise RefusedError("UNSUPPORTED_MEDIA_TYPE", f"Content-Type not supported: {request.content_type}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(
            "JSON_PARSER_ERROR", f"Unexpected character at [line:{error.lineno}, column:{error.colno}]"
        ) from None
