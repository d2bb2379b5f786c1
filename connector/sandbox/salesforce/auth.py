"""Signing in to the imitated org: client credentials, JWT bearer, refresh token, password; sessions that expire.

Salesforce Help, "OAuth 2.0 Client Credentials Flow", "OAuth 2.0 JWT Bearer Flow": errors are 400 with `error` and
`error_description`; a good answer has no `expires_in`.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from connector.sandbox.database import read_setting, write_setting
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.seeding import INTEGRATION_USER_ID, ORGANIZATION_ID

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")
LONGEST_ASSERTION_S = 300.0
CERTIFICATE = "salesforce_certificate"


class OAuthError(Exception):
    """400 `{"error", "error_description"}`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


def token(org: Org, form: Mapping[str, str], authorization: str, base_url: str) -> dict[str, Any]:
    """`POST /services/oauth2/token`; raises OAuthError."""
    grant = form.get("grant_type", "")
    if grant == "client_credentials":
        check_client(org, form, authorization)
        return session(org, INTEGRATION_USER_ID, base_url)
    if grant == JWT_GRANT:
        return session(org, _user_of_assertion(org, form.get("assertion", ""), base_url), base_url)
    if grant == "refresh_token":
        check_client(org, form, authorization, is_secret_needed=False)
        if form.get("refresh_token") != org.context.settings.salesforce_refresh_token:
            raise OAuthError("invalid_grant", "expired access/refresh token")
        return session(org, INTEGRATION_USER_ID, base_url)
    if grant == "password":
        check_client(org, form, authorization)
        user_id = user_of_password(org, form.get("username", ""), form.get("password", ""))
        if user_id is None:
            raise OAuthError("invalid_grant", "authentication failure")
        return session(org, user_id, base_url)
    raise OAuthError("unsupported_grant_type", "grant type not supported")


def check_client(org: Org, form: Mapping[str, str], authorization: str, *, is_secret_needed: bool = True) -> None:
    """Client id and secret in a Basic header or in the form; raises OAuthError."""
    settings = org.context.settings
    client_id, secret = form.get("client_id"), form.get("client_secret")
    if authorization.lower().startswith("basic "):
        try:
            text = base64.b64decode(authorization[6:], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise OAuthError("invalid_client", "invalid client credentials") from None
        name, _, value = text.partition(":")
        client_id, secret = unquote_plus(name), unquote_plus(value)
    if client_id != settings.salesforce_client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if secret is None and not is_secret_needed:
        return
    if secret is None or not secrets.compare_digest(secret, settings.salesforce_client_secret):
        raise OAuthError("invalid_client", "invalid client credentials")


def register_certificate(org: Org, pem: str) -> None:
    """Trust assertions signed by the key of this certificate (or PEM public key)."""
    write_setting(org.database, CERTIFICATE, public_key(pem))


def public_key(pem: str) -> str:
    """The PEM public key of a certificate, or of itself."""
    if "BEGIN CERTIFICATE" in pem:
        key = load_pem_x509_certificate(pem.encode()).public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return pem


def _user_of_assertion(org: Org, assertion: str, base_url: str) -> str:
    settings = org.context.settings
    trusted = read_setting(org.database, CERTIFICATE)
    if settings.salesforce_certificate_path is not None:
        trusted = public_key(Path(settings.salesforce_certificate_path).read_text("utf-8"))
    if trusted is None:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    try:
        claims = jwt.decode(
            assertion, trusted, algorithms=["RS256"], options={"verify_aud": False, "verify_exp": False}
        )
        expires_at_s = float(claims["exp"])
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        raise OAuthError("invalid_grant", "invalid assertion") from None
    remaining_s = expires_at_s - org.now().timestamp()
    if not 0 < remaining_s <= LONGEST_ASSERTION_S + 60:
        raise OAuthError("invalid_grant", "assertion expired" if remaining_s <= 0 else "invalid assertion")
    audience = claims.get("aud")
    if (audience[0] if isinstance(audience, list) else audience) not in (*AUDIENCES, base_url):
        raise OAuthError("invalid_grant", "audience is invalid")
    if claims.get("iss") != settings.salesforce_client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    user = org.database.execute("SELECT Id, IsActive FROM sf_User WHERE Username = ?", (claims.get("sub"),)).fetchone()
    if user is None:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    if not user["IsActive"]:
        raise OAuthError("inactive_user", "user is inactive")
    return str(user["Id"])


def user_of_password(org: Org, username: str, password: str) -> str | None:
    """The user, if name and password are right; a security token behind the password is not looked at."""
    settings = org.context.settings
    if username.lower() != settings.salesforce_username or not password.startswith(settings.salesforce_password):
        return None
    return INTEGRATION_USER_ID


def session(org: Org, user_id: str, base_url: str) -> dict[str, Any]:
    """A new session, as the token endpoint tells it."""
    value = f"{ORGANIZATION_ID[:15]}!{secrets.token_urlsafe(72)}"
    expires_at = org.now() + timedelta(seconds=org.context.settings.salesforce_session_s)
    org.database.execute(
        "INSERT INTO sf_session (token, user_id, expires_at) VALUES (?, ?, ?)", (value, user_id, expires_at.isoformat())
    )
    return {
        "access_token": value,
        "signature": secrets.token_urlsafe(32),
        "scope": "api",
        "instance_url": base_url,
        "id": f"{base_url}/id/{ORGANIZATION_ID}/{user_id}",
        "token_type": "Bearer",
        "issued_at": str(int(org.now().timestamp() * 1000)),
    }


def user_of(org: Org, authorization: str) -> str | None:
    """The user of a live session, by the Authorization header; None when there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() not in ("bearer", "oauth"):
        return None
    row = org.database.execute("SELECT user_id, expires_at FROM sf_session WHERE token = ?", (value,)).fetchone()
    if row is None or row["expires_at"] <= org.now().isoformat():
        return None
    return str(row["user_id"])


def revoke(org: Org, value: str) -> None:
    """`POST /services/oauth2/revoke`."""
    org.database.execute("DELETE FROM sf_session WHERE token = ?", (value,))


def expire_all(org: Org) -> int:
    """End every session; gives how many there were."""
    return org.database.execute("DELETE FROM sf_session").rowcount


def identity(org: Org, user_id: str, base_url: str) -> dict[str, Any]:
    """The address that a token's `id` is (Identity URLs)."""
    known = user_info(org, user_id, base_url)
    same = (
        "user_id",
        "organization_id",
        "email",
        "email_verified",
        "active",
        "user_type",
        "language",
        "locale",
        "urls",
    )
    return {
        **{name: known[name] for name in same}, "id": known["sub"], "asserted_user": True, "is_app_installed": True,
        "username": known["preferred_username"], "nick_name": known["nickname"], "display_name": known["name"],
        "first_name": known["given_name"], "last_name": known["family_name"], "timezone": known["zoneinfo"], "utcOffset": 0,
    }  # fmt: skip


def user_info(org: Org, user_id: str, base_url: str) -> dict[str, Any]:
    """`GET /services/oauth2/userinfo`."""
    user = org.database.execute("SELECT * FROM sf_User WHERE Id = ?", (user_id,)).fetchone()
    return {
        "sub": f"{base_url}/id/{ORGANIZATION_ID}/{user_id}",
        "user_id": user_id,
        "organization_id": ORGANIZATION_ID,
        "preferred_username": user["Username"],
        "nickname": user["Alias"],
        "name": user["Name"],
        "email": user["Email"],
        "email_verified": True,
        "given_name": user["FirstName"],
        "family_name": user["LastName"],
        "zoneinfo": user["TimeZoneSidKey"],
        "active": bool(user["IsActive"]),
        "user_type": "STANDARD",
        "language": user["LanguageLocaleKey"],
        "locale": user["LocaleSidKey"],
        "urls": {
            "rest": f"{base_url}/services/data/v{{version}}/",
            "sobjects": f"{base_url}/services/data/v{{version}}/sobjects/",
        },
    }
