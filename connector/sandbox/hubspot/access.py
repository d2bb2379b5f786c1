"""Who may call: private-app tokens and OAuth access tokens, with their scopes.

Sources: https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/oauth/working-with-oauth
and https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from connector.sandbox.context import Context
from connector.sandbox.hubspot.answers import Refused
from connector.sandbox.hubspot.instants import to_ms
from connector.sandbox.hubspot.object_types import OBJECT_TYPES

PORTAL_ID = 4711
APP_ID = 31_415
APP_USER_ID = 1
"""The user who made the private app and installed the OAuth app: what they write carries this id."""

JOURNAL_SCOPES = (
    "developer.webhooks_journal.read",
    "developer.webhooks_journal.subscriptions.read",
    "developer.webhooks_journal.subscriptions.write",
)
"""Scopes of the app itself: a client-credentials token has them, no token of a portal."""

ALL_SCOPES: tuple[str, ...] = tuple(
    sorted(
        {
            *(scope for each in OBJECT_TYPES for scope in (*each.read_scopes, *each.write_scopes)),
            *(f"{each.schema_scope}.{right}" for each in OBJECT_TYPES[:3] for right in ("read", "write")),
            "crm.objects.owners.read",
            "crm.objects.custom.read",
            "crm.objects.custom.write",
            "crm.schemas.custom.read",
            "crm.schemas.custom.write",
            "forms",
            "content",
            "oauth",
            "business-intelligence",
            "automation",
            "crm.lists.read",
            "crm.lists.write",
            "settings.users.read",
            "communication_preferences.read_write",
            "subscriptions-definition-read",
            "subscriptions-status-read",
            "subscriptions-status-write",
            "communication_preferences.statuses.batch.read",
            "communication_preferences.statuses.batch.write",
            "behavioral_events.event_definitions.read_write",
        }
    )
)

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_token (
    token TEXT PRIMARY KEY, kind TEXT NOT NULL, scopes TEXT NOT NULL, expires_ms INTEGER
);
"""

PRIVATE, OAUTH = "private", "oauth"


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was accepted."""

    text: str
    kind: str
    scopes: frozenset[str]


def issue_private_token(database: sqlite3.Connection, token: str, scopes: Sequence[str] = ALL_SCOPES) -> None:
    """Let a private-app token (`pat-...`) in, with these scopes; it does not expire."""
    store_token(database, token, PRIVATE, scopes, None)


def store_token(
    database: sqlite3.Connection, token: str, kind: str, scopes: Sequence[str], expires_ms: int | None
) -> None:
    """Keep a token; one of the same text is replaced."""
    database.execute(
        "INSERT OR REPLACE INTO hubspot_token (token, kind, scopes, expires_ms) VALUES (?, ?, ?, ?)",
        (token, kind, orjson.dumps(sorted(scopes)).decode(), expires_ms),
    )


def authenticated(context: Context, header: str) -> Token:
    """The token of an `Authorization` header.

    Raises:
        Refused: 401, missing, unknown or expired.
    """
    scheme, _, text = header.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        message = "Authentication credentials not found. This API supports OAuth 2.0 authentication."
        raise Refused(401, message, "INVALID_AUTHENTICATION")
    if text == context.settings.hubspot_access_token:
        return Token(text, PRIVATE, frozenset(ALL_SCOPES))
    row = context.database.execute("SELECT * FROM hubspot_token WHERE token = ?", (text,)).fetchone()
    if row is None or row["kind"] not in (PRIVATE, OAUTH):
        message = "The OAuth token used to make this call is not valid for this account."
        raise Refused(401, message, "INVALID_AUTHENTICATION")
    if row["expires_ms"] is not None and row["expires_ms"] <= to_ms(context.clock.now()):
        message = "The OAuth token used to make this call expired."
        raise Refused(401, message, "EXPIRED_AUTHENTICATION")
    return Token(text, row["kind"], frozenset(orjson.loads(row["scopes"])))


def demand(token: Token, any_of: Sequence[str]) -> None:
    """The token must have one of these scopes (none named: any token will do).

    Raises:
        Refused: 403 MISSING_SCOPES, naming them in `context.requiredGranularScopes`.
    """
    if any_of and not token.scopes.intersection(any_of):
        raise Refused(
            403,
            "This app hasn't been granted all required scopes to make this call. "
            "One or more of the following scopes are required.",
            "MISSING_SCOPES",
            context={"requiredGranularScopes": list(any_of)},
            fields={"links": {"scopes": "https://developers.hubspot.com/scopes"}},
        )
