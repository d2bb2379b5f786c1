"""The webhooks journal: what happened to records, to be fetched instead of being sent.

A subscription says what is to be kept; from then on each event is a file with an offset of its own. The journal hands out
addresses of files, which need no token and expire; files are kept for three days.
Source: https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-journal/guide
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from connector.sandbox.context import Context
from connector.sandbox.hubspot.access import PORTAL_ID
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.serving import Answer, Call, json_object

PART = "hubspot_journal"
KEPT_MS = 3 * 86_400_000
LINK_MS = 5 * 60_000
MOST_FILES = 100
OBJECT, ASSOCIATION, ERASURE = "OBJECT", "ASSOCIATION", "GDPR_PRIVACY_DELETION"
ACTIONS: Mapping[str, tuple[str, ...]] = {
    OBJECT: ("CREATE", "UPDATE", "DELETE", "MERGE", "RESTORE"),
    ASSOCIATION: ("ASSOCIATION_ADDED", "ASSOCIATION_REMOVED"),
    ERASURE: (),
}

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_journal_subscription (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hubspot_journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, published_ms INTEGER NOT NULL, body TEXT NOT NULL
);
"""


class Journal:
    """The subscriptions, in memory; the files are in the database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.reload()

    def reload(self) -> None:
        """Read the subscriptions again."""
        rows = self._database.execute("SELECT id, body FROM hubspot_journal_subscription ORDER BY id")
        self.subscriptions = {str(row["id"]): orjson.loads(row["body"]) for row in rows}

    def note(self, kind: ObjectType, topic: str, action: str, at_ms: int, fields: Mapping[str, Any]) -> None:
        """Keep an event that a subscription wants, once."""
        wanted = [each for each in self.subscriptions.values() if _wants(each, kind, topic, action, fields)]
        if not wanted:
            return
        told = dict(fields)
        names = {name for each in wanted for name in each.get("properties") or ()}
        if action == "UPDATE" and all(each.get("properties") for each in wanted):
            told["propertyChanges"] = {name: text for name, text in fields["propertyChanges"].items() if name in names}
        event = {"type": topic.lower(), "portalId": PORTAL_ID, "occurredAt": iso(at_ms), "objectTypeId": kind.type_id}
        event |= {"action": action} if action else {}
        self._database.execute(
            "INSERT INTO hubspot_journal (key, published_ms, body) VALUES (?, ?, ?)",
            (secrets.token_urlsafe(24), at_ms, orjson.dumps([{**event, **told}]).decode()),
        )


def _wants(
    subscription: Mapping[str, Any], kind: ObjectType, topic: str, action: str, fields: Mapping[str, Any]
) -> bool:
    if subscription["subscriptionType"] != topic or (topic != ERASURE and action not in subscription["actions"]):
        return False
    if subscription.get("objectTypeId") not in (None, kind.type_id):
        return False
    ids, names = subscription.get("objectIds"), subscription.get("properties")
    if ids and str(fields.get("objectId")) not in [str(each) for each in ids]:
        return False
    return action != "UPDATE" or not names or any(name in fields["propertyChanges"] for name in names)


def journal_of(context: Context) -> Journal:
    """The journal of a running sandbox."""
    found = context.parts.get(PART)
    if not isinstance(found, Journal):
        found = context.parts[PART] = Journal(context.database)
    return found


# --------------------------------------------------------------------------------------------------------- subscriptions


def create_subscription(call: Call) -> Answer:
    """`POST /webhooks-journal/subscriptions/{date}` -> 201."""
    given = json_object(call.body)
    topic, actions = str(given.get("subscriptionType")), given.get("actions") or []
    if topic not in ACTIONS or given.get("portalId") not in (PORTAL_ID, str(PORTAL_ID)):
        raise Refused(
            400, f"subscriptionType is one of {', '.join(ACTIONS)}, portalId a portal that installed the app."
        )
    if (
        not isinstance(actions, list)
        or not set(actions) <= set(ACTIONS[topic])
        or bool(actions) != bool(ACTIONS[topic])
    ):
        raise Refused(400, f"actions of {topic} are {', '.join(ACTIONS[topic]) or 'none'}.")
    if topic != ERASURE or given.get("objectTypeId"):
        call.catalog.types.get(str(given.get("objectTypeId")))
    names = ("subscriptionType", "objectTypeId", "portalId", "actions", "properties", "objectIds")
    at = iso(call.now_ms)
    cursor = call.context.database.execute("INSERT INTO hubspot_journal_subscription (body) VALUES ('{}')")
    body = {"id": cursor.lastrowid, **{name: given.get(name) for name in names}, "createdAt": at, "updatedAt": at}
    body["portalId"] = PORTAL_ID
    call.context.database.execute(
        "UPDATE hubspot_journal_subscription SET body = ? WHERE id = ?", (orjson.dumps(body).decode(), cursor.lastrowid)
    )
    journal_of(call.context).reload()
    return Answer(201, body, 1)


def list_subscriptions(call: Call) -> Answer:
    """`GET /webhooks-journal/subscriptions/{date}`."""
    results = list(journal_of(call.context).subscriptions.values())
    return Answer(200, {"results": results}, len(results))


def get_subscription(call: Call) -> Answer:
    """`GET /webhooks-journal/subscriptions/{date}/{id}`."""
    found = journal_of(call.context).subscriptions.get(call.parts["id"])
    if found is None:
        raise not_found()
    return Answer(200, found, 1)


def delete_subscription(call: Call) -> Answer:
    """`DELETE /webhooks-journal/subscriptions/{date}/{id}` -> 204."""
    get_subscription(call)
    call.context.database.execute("DELETE FROM hubspot_journal_subscription WHERE id = ?", (int(call.parts["id"]),))
    journal_of(call.context).reload()
    return Answer(204)


# ----------------------------------------------------------------------------------------------------------------- files


def batch(call: Call) -> Answer:
    """`GET .../batch/earliest/{count}`, `.../batch/latest/{count}` and `.../batch/{offset}/next/{count}`: addresses of files."""
    results = _files(call, _count(call.parts["count"]))
    return Answer(200, {"results": results}, len(results))


def one(call: Call) -> Answer:
    """`GET .../earliest`, `.../latest` and `.../offset/{offset}/next`: the address of one file; 204 where there is none."""
    results = _files(call, 1)
    return Answer(200, results[0], 1) if results else Answer(204)


def read_file(call: Call) -> Answer:
    """A file, by the address that the journal gave; it needs no token."""
    row = call.context.database.execute("SELECT * FROM hubspot_journal WHERE key = ?", (call.parts["key"],)).fetchone()
    expires = call.one("expires")
    if row is None or not expires.isdigit() or int(expires) < call.now_ms:
        raise not_found()
    body = {
        "offset": str(row["position"]), "journalEvents": orjson.loads(row["body"]), "publishedAt": iso(row["published_ms"]),
    }  # fmt: skip
    return Answer(200, body)


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= MOST_FILES:
        raise Refused(400, f"count must be between 1 and {MOST_FILES}.")
    return int(text)


def _files(call: Call, count: int) -> list[dict[str, Any]]:
    offset = call.parts.get("offset")
    if offset is not None and not offset.isdigit():
        raise Refused(400, f"Invalid offset: {offset[:100]}")
    is_latest = "/latest" in call.path
    rows = call.context.database.execute(
        "SELECT position, key FROM hubspot_journal WHERE published_ms >= ? AND position > ? ORDER BY position"
        f"{' DESC' if is_latest else ''} LIMIT ?",
        (call.now_ms - KEPT_MS, int(offset or 0), count),
    ).fetchall()
    expires_ms = call.now_ms + LINK_MS
    files = [
        {
            "url": f"{call.url}/webhooks-journal/files/{row['key']}?expires={expires_ms}",
            "expiresAt": iso(expires_ms),
            "currentOffset": str(row["position"]),
        }
        for row in rows
    ]
    return files[::-1] if is_latest else files
