"""Signing in by a browser: consent and its code (the web server flow, PKCE too). The page agrees at once.

Salesforce Help, "OAuth 2.0 Web Server Flow": a code is good for fifteen minutes and for one use.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlencode

from connector.sandbox.salesforce.auth import OAuthError
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.seeding import INTEGRATION_USER_ID

CODE_LIFE = timedelta(minutes=15)


def authorize(org: Org, query: Mapping[str, str]) -> str:
    """`GET /services/oauth2/authorize`: where the browser is sent, with `code` and `state`; raises OAuthError."""
    redirect_uri = query.get("redirect_uri", "")
    if query.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response type not supported")
    if query.get("client_id") != org.context.settings.salesforce_client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if not redirect_uri.startswith(("http://", "https://")):
        raise OAuthError("redirect_uri_mismatch", "redirect_uri must match configuration")
    code = f"aPrx{secrets.token_urlsafe(48)}"
    expires_at = (org.now() + CODE_LIFE).isoformat()
    org.database.execute(
        "INSERT INTO sf_code (code, redirect_uri, challenge, expires_at) VALUES (?, ?, ?, ?)",
        (code, redirect_uri, query.get("code_challenge", ""), expires_at),
    )
    state = {"state": query["state"]} if query.get("state") else {}
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode({'code': code, **state})}"


def redeem(org: Org, form: Mapping[str, str]) -> str:
    """The user behind a code, which is used up; raises OAuthError."""
    row = org.database.execute("DELETE FROM sf_code WHERE code = ? RETURNING *", (form.get("code", ""),)).fetchone()
    if row is None or row["expires_at"] <= org.now().isoformat():
        raise OAuthError("invalid_grant", "expired authorization code")
    if form.get("redirect_uri", "") != row["redirect_uri"]:
        raise OAuthError("redirect_uri_mismatch", "redirect_uri must match configuration")
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    if row["challenge"] and base64.urlsafe_b64encode(digest).decode().rstrip("=") != row["challenge"].rstrip("="):
        raise OAuthError("invalid_grant", "invalid code verifier")
    return INTEGRATION_USER_ID
