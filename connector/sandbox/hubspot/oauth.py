"""The OAuth app: consent, codes, access and refresh tokens, what a token is, revoking one.

The consent page of the real app asks a person; here it agrees at once and sends the browser back with a code.
Source: https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/oauth/working-with-oauth
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson

from connector.sandbox.context import Context
from connector.sandbox.database import transaction
from connector.sandbox.hubspot.access import (
    ALL_SCOPES,
    APP_ID,
    APP_USER_ID,
    JOURNAL_SCOPES,
    OAUTH,
    PORTAL_ID,
    store_token,
)
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.serving import Answer, Call

ACCESS_TOKEN_S = 1_800
CODE_S = 600
REFRESH, REVOKED = "refresh", "revoked"
USER = "admin@northwind.example"
ERRORS: Mapping[str, str] = {
    "BAD_CLIENT_ID": "invalid_client",
    "BAD_CLIENT_SECRET": "invalid_client",
    "BAD_GRANT_TYPE": "unsupported_grant_type",
    "BAD_SCOPE": "invalid_scope",
    "BAD_REDIRECT_URI": "invalid_request",
    "BAD_CODE_CHALLENGE_METHOD": "invalid_request",
}
"""The `error` of RFC 6749, section 5.2, beside HubSpot's own `status`; all others are `invalid_grant`."""

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_code (
    code TEXT PRIMARY KEY, redirect_uri TEXT NOT NULL, challenge TEXT NOT NULL, scopes TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
);
"""


def authorize(call: Call) -> Answer:
    """`GET /oauth/authorize` -> 302 to `redirect_uri` with `code` and `state`; the code is good for ten minutes, once.

    Raises:
        Refused: 400, an unknown client, no address to return to, or an unknown scope.
    """
    settings = call.context.settings
    redirect_uri = call.one("redirect_uri")
    scopes = [*call.one("scope").split(), *call.one("optional_scope").split()]
    if call.one("client_id") != settings.hubspot_client_id:
        raise _refused("BAD_CLIENT_ID", "missing or invalid client id")
    if not redirect_uri.startswith(("http://", "https://")):
        raise _refused("BAD_REDIRECT_URI", "missing or invalid redirect uri")
    wrong = [each for each in call.one("scope").split() if each not in ALL_SCOPES]
    if wrong:
        raise _refused("BAD_SCOPE", f"unknown scope {wrong[0][:100]}")
    if call.one("code_challenge") and call.one("code_challenge_method", "S256") != "S256":
        raise _refused("BAD_CODE_CHALLENGE_METHOD", "code_challenge_method must be S256")
    code = secrets.token_urlsafe(24)
    granted = [each for each in scopes if each in ALL_SCOPES] or list(ALL_SCOPES)
    call.context.database.execute(
        "INSERT INTO hubspot_code (code, redirect_uri, challenge, scopes, expires_ms) VALUES (?, ?, ?, ?, ?)",
        (code, redirect_uri, call.one("code_challenge"), _json(granted), call.now_ms + CODE_S * 1000),
    )
    state = {"state": call.one("state")} if call.one("state") else {}
    joint = "&" if "?" in redirect_uri else "?"
    return Answer(302, None, headers={"Location": f"{redirect_uri}{joint}{urlencode({'code': code, **state})}"})


def token(call: Call) -> Answer:
    """`POST /oauth/{v1,v3,2026-03,2026-09}/token`, form encoded: an access token for a refresh token or a code.

    Version 1 takes the values from the query, too; the later ones do not, and say what the token is for.

    Raises:
        Refused: 400, whose `status` and `error` say what is wrong.
    """
    form = _form(call)
    if _is_first(call):
        form = {**{name: call.one(name) for name in call.query}, **form}
    grant = form.get("grant_type", "")
    if grant not in ("refresh_token", "authorization_code", "client_credentials"):
        raise _refused("BAD_GRANT_TYPE", "missing or unknown grant type")
    _demand_client(call, form)
    if grant == "client_credentials":
        return _token_of_the_app(call, form)
    scopes: Sequence[str]
    with transaction(call.context.database):
        if grant == "authorization_code":
            scopes = _redeem(call, form)
            refresh_token = f"sandbox-refresh-{secrets.token_urlsafe(24)}"
            store_token(call.context.database, refresh_token, REFRESH, scopes, None)
        else:
            refresh_token = form.get("refresh_token", "")
            scopes = _granted(call.context, refresh_token)
        access_token = _access_token(call, scopes)
    body = {
        "token_type": "bearer",
        "access_token": access_token,
        "refresh_token": refresh_token,
        "expires_in": ACCESS_TOKEN_S,
        "hub_id": PORTAL_ID,
        "scopes": list(scopes),
    }
    return Answer(200, body if _is_first(call) else {**body, "token_use": "access_token"})


def _form(call: Call) -> Mapping[str, str]:
    return call.body if isinstance(call.body, dict) else {}


def _is_first(call: Call) -> bool:
    return call.path.startswith("/oauth/v1/")


def _demand_client(call: Call, form: Mapping[str, str]) -> None:
    settings = call.context.settings
    is_known_client = secrets.compare_digest(form.get("client_id", ""), settings.hubspot_client_id)
    if not is_known_client or form.get("client_secret", "") != settings.hubspot_client_secret:
        raise _refused("BAD_CLIENT_SECRET" if is_known_client else "BAD_CLIENT_ID", "missing or invalid client")


def _access_token(call: Call, scopes: Sequence[str]) -> str:
    made = f"sandbox-access-{secrets.token_urlsafe(24)}"
    store_token(call.context.database, made, OAUTH, scopes, call.now_ms + ACCESS_TOKEN_S * 1000)
    return made


def _token_of_the_app(call: Call, form: Mapping[str, str]) -> Answer:
    """Client credentials: a token of the app itself, for the webhooks journal alone."""
    scopes = form.get("scope", "").split() or list(JOURNAL_SCOPES)
    wrong = [each for each in scopes if each not in JOURNAL_SCOPES]
    if wrong:
        raise _refused("BAD_SCOPE", f"unknown scope {wrong[0][:100]}")
    body = {"token_type": "bearer", "access_token": _access_token(call, scopes), "expires_in": ACCESS_TOKEN_S}
    use = {} if _is_first(call) else {"token_use": "client_credentials"}
    return Answer(200, {**body, "scopes": scopes, **use})


def _redeem(call: Call, form: Mapping[str, str]) -> list[str]:
    """The scopes behind a code, which is used up."""
    row = call.context.database.execute(
        "DELETE FROM hubspot_code WHERE code = ? RETURNING *", (form.get("code", ""),)
    ).fetchone()
    if row is None or row["expires_ms"] <= call.now_ms:
        raise _refused("BAD_AUTH_CODE", "missing or unknown auth code")
    if form.get("redirect_uri", "") != row["redirect_uri"]:
        raise _refused("MISMATCH_REDIRECT_URI_AUTH_CODE", "missing or invalid redirect uri")
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    if row["challenge"] and base64.urlsafe_b64encode(digest).decode().rstrip("=") != row["challenge"].rstrip("="):
        raise _refused("BAD_CODE_VERIFIER", "missing or invalid code verifier")
    scopes: list[str] = orjson.loads(row["scopes"])
    return scopes


def _granted(context: Context, refresh_token: str) -> Sequence[str]:
    """The scopes of a refresh token: the one of the settings, or one that a code was exchanged for."""
    row = context.database.execute("SELECT * FROM hubspot_token WHERE token = ?", (refresh_token,)).fetchone()
    if row is not None and row["kind"] == REFRESH:
        scopes: list[str] = orjson.loads(row["scopes"])
        return scopes
    if row is None and refresh_token == context.settings.hubspot_refresh_token:
        return ALL_SCOPES
    raise _refused("BAD_REFRESH_TOKEN", "missing or invalid refresh token")


def describe_access_token(call: Call) -> Answer:
    """`GET /oauth/v1/access-tokens/{token}`: whose it is, what it opens and for how long."""
    row = call.context.database.execute(
        "SELECT * FROM hubspot_token WHERE token = ? AND kind = ?", (call.parts["token"], OAUTH)
    ).fetchone()
    if row is None or row["expires_ms"] <= call.now_ms:
        raise not_found()
    left_s = (row["expires_ms"] - call.now_ms) // 1000
    return Answer(200, _details(call, orjson.loads(row["scopes"]), "access") | {"expires_in": left_s})


def describe_refresh_token(call: Call) -> Answer:
    """`GET /oauth/v1/refresh-tokens/{token}`."""
    try:
        scopes = _granted(call.context, call.parts["token"])
    except Refused:
        raise not_found() from None
    return Answer(200, _details(call, scopes, "refresh") | {"client_id": call.context.settings.hubspot_client_id})


def _details(call: Call, scopes: Sequence[str], kind: str) -> dict[str, Any]:
    account = {
        "user": USER,
        "hub_domain": "northwind.example",
        "hub_id": PORTAL_ID,
        "user_id": APP_USER_ID,
        "app_id": APP_ID,
    }
    return {"token": call.parts["token"], "token_type": kind, "scopes": list(scopes), **account}


def revoke(call: Call) -> Answer:
    """`DELETE /oauth/v1/refresh-tokens/{token}` -> 204; access tokens that were made with it live on until they expire."""
    store_token(call.context.database, call.parts["token"], REVOKED, (), None)
    return Answer(204)


def introspect(call: Call) -> Answer:
    """`POST /oauth/{v3,2026-03,2026-09}/token/introspect`: what a token of the app is; one that is no more is not `active`."""
    named = _named(call)
    for use, describe in (("access_token", describe_access_token), ("refresh_token", describe_refresh_token)):
        try:
            told: dict[str, Any] = describe(named).body
        except Refused:
            continue
        client_id = named.context.settings.hubspot_client_id
        return Answer(200, {"client_id": client_id, **told, "active": True, "token_use": use})
    return Answer(200, {"active": False})


def revoke_named(call: Call) -> Answer:
    """`POST /oauth/{v3,2026-03,2026-09}/token/revoke`."""
    revoke(_named(call))
    return Answer(200, {})


def _named(call: Call) -> Call:
    """The call about the token in its form; raises Refused where the client is not the app."""
    form = _form(call)
    _demand_client(call, form)
    return replace(call, parts={"token": form.get("token", "")})


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _refused(status: str, message: str) -> Refused:
    error = ERRORS.get(status, "invalid_grant")
    return Refused(400, message, None, fields={"status": status, "error": error, "error_description": message})
