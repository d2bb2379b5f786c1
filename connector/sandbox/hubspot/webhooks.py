"""Webhooks of the app: where they go, which events are wanted, and what happened to records since.

The app's settings and subscriptions are those of the webhooks API for legacy public apps, which takes the developer's
key (`hapikey`). Delivery is in `delivering`.
Source: https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from yarl import URL

from connector.sandbox.context import Context
from connector.sandbox.hubspot import journal
from connector.sandbox.hubspot.access import APP_ID, PORTAL_ID
from connector.sandbox.hubspot.answers import NOT_FOUND, Refused, not_found
from connector.sandbox.hubspot.instants import iso, to_ms
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.reading import BATCH_SIZE, batch_inputs, envelope
from connector.sandbox.hubspot.serving import Answer, Call, Source, json_object

PART = "hubspot_webhooks"
_JOURNAL_ACTIONS = {"deletion": "DELETE", "merge": "MERGE", "restore": "RESTORE", "privacyDeletion": ""}
KINDS = ("creation", "deletion", "merge", "propertyChange", "privacyDeletion", "restore", "associationChange")

_ADDRESS = re.compile(r"https?://[!-~]+")

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_webhook (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hubspot_webhook_target (app_id INTEGER PRIMARY KEY, body TEXT NOT NULL);
"""


class Webhooks:
    """The target, the subscriptions, and the events that wait for delivery (in memory: a restart loses them)."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.target: dict[str, Any] | None = None
        self.subscriptions: dict[int, dict[str, Any]] = {}
        self.waiting: list[dict[str, Any]] = []
        self.on_event: Callable[[], None] = lambda: None
        self._last_event = 0
        self.reload()

    def reload(self) -> None:
        """Read target and subscriptions from the database."""
        row = self._database.execute("SELECT body FROM hubspot_webhook_target").fetchone()
        self.target = None if row is None else orjson.loads(row["body"])
        rows = self._database.execute("SELECT id, body FROM hubspot_webhook ORDER BY id")
        self.subscriptions = {row["id"]: orjson.loads(row["body"]) for row in rows}

    def note(self, kind: ObjectType, event: str, at_ms: int, source: Source, fields: Mapping[str, Any]) -> None:
        """Something happened to a record: an event for every active subscription that wants it."""
        if self.target is None:
            return
        wanted = f"{kind.singular}.{event}"
        for number, each in self.subscriptions.items():
            if not each["active"] or each["eventType"] != wanted:
                continue
            if event == "propertyChange" and each.get("propertyName") != fields.get("propertyName"):
                continue
            self._last_event += 1
            self.waiting.append(
                {
                    "eventId": self._last_event,
                    "subscriptionId": number,
                    "portalId": PORTAL_ID,
                    "appId": APP_ID,
                    "occurredAt": at_ms,
                    "subscriptionType": wanted,
                    "attemptNumber": 0,
                    "changeSource": source.kind,
                    **({"sourceId": source.id} if source.id else {}),
                    **fields,
                }
            )
        if self.waiting:
            self.on_event()


def webhooks_of(context: Context) -> Webhooks:
    """The webhooks of a running sandbox."""
    found = context.parts.get(PART)
    if not isinstance(found, Webhooks):
        found = context.parts[PART] = Webhooks(context.database)
    return found


def note_written(
    call: Call, kind: ObjectType, record_id: int, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """The events of one write: `creation` where the record is new, and `propertyChange` per value that changed."""
    webhooks, kept = webhooks_of(call.context), journal.journal_of(call.context)
    if webhooks.target is None and not kept.subscriptions:
        return
    changes = {name: after.get(name, "") for name in {**before, **after} if before.get(name) != after.get(name)}
    action = "UPDATE" if before else "CREATE"
    kept.note(kind, journal.OBJECT, action, call.now_ms, {"objectId": record_id, "propertyChanges": changes})
    if not before:
        webhooks.note(kind, "creation", call.now_ms, call.source, {"objectId": record_id, "changeFlag": "CREATED"})
    for name, text in changes.items():
        change = {"objectId": record_id, "propertyName": name, "propertyValue": text}
        webhooks.note(kind, "propertyChange", call.now_ms, call.source, change)


def note(call: Call, kind: ObjectType, event: str, fields: Mapping[str, Any]) -> None:
    """An event that is no ordinary write; see `KINDS`."""
    topic = journal.ERASURE if event == "privacyDeletion" else journal.OBJECT
    told = {name: value for name, value in fields.items() if name != "changeFlag"}
    journal.journal_of(call.context).note(kind, topic, _JOURNAL_ACTIONS[event], call.now_ms, told)
    webhooks_of(call.context).note(kind, event, call.now_ms, call.source, fields)


def note_link(call: Call, ends: tuple[ObjectType, ObjectType], ids: tuple[int, int], *, is_removed: bool) -> None:
    """Two records were linked, or are not any more: each of them tells."""
    action = "ASSOCIATION_REMOVED" if is_removed else "ASSOCIATION_ADDED"
    for (source, target), (from_id, to_id) in ((ends, ids), (ends[::-1], ids[::-1])):
        link = {"objectId": from_id, "toObjectTypeId": target.type_id, "toObjectId": to_id}
        journal.journal_of(call.context).note(source, journal.ASSOCIATION, action, call.now_ms, link)
        fields = {
            "associationType": f"{source.singular}_TO_{target.singular}".upper(),
            "fromObjectId": from_id,
            "toObjectId": to_id,
            "associationRemoved": is_removed,
            "isPrimaryAssociation": False,
        }
        webhooks_of(call.context).note(source, "associationChange", call.now_ms, call.source, fields)


def _demand_developer(call: Call) -> None:
    if call.one("hapikey") != call.context.settings.hubspot_developer_key:
        raise Refused(401, "This hapikey doesn't exist.", "INVALID_AUTHENTICATION")
    if call.parts["app"] != str(APP_ID):
        raise not_found()


def get_settings(call: Call) -> Answer:
    """`GET /webhooks/v3/{app}/settings`."""
    _demand_developer(call)
    target = webhooks_of(call.context).target
    if target is None:
        raise not_found()
    return Answer(200, target)


def _has_host(url: str) -> bool:
    try:
        return bool(URL(url, encoded=True).host)
    except ValueError:
        return False


def put_settings(call: Call) -> Answer:
    """`PUT /webhooks/v3/{app}/settings`: `targetUrl`, and `throttling` with `maxConcurrentRequests`."""
    _demand_developer(call)
    body = json_object(call.body)
    url = str(body.get("targetUrl") or "")
    if not _ADDRESS.fullmatch(url) or not _has_host(url):
        raise Refused(400, "targetUrl is not a valid URL.")
    throttling = {"maxConcurrentRequests": 10, **(body.get("throttling") or {})}
    now, before = iso(call.now_ms), webhooks_of(call.context).target or {}
    target = {"targetUrl": url, "throttling": throttling, "createdAt": before.get("createdAt", now), "updatedAt": now}
    call.context.database.execute(
        "INSERT OR REPLACE INTO hubspot_webhook_target (app_id, body) VALUES (?, ?)",
        (APP_ID, orjson.dumps(target).decode()),
    )
    webhooks_of(call.context).reload()
    return Answer(200, target)


def delete_settings(call: Call) -> Answer:
    """`DELETE /webhooks/v3/{app}/settings` -> 204."""
    _demand_developer(call)
    call.context.database.execute("DELETE FROM hubspot_webhook_target")
    webhooks_of(call.context).reload()
    return Answer(204)


def list_subscriptions(call: Call) -> Answer:
    """`GET /webhooks/v3/{app}/subscriptions`."""
    _demand_developer(call)
    found = list(webhooks_of(call.context).subscriptions.values())
    return Answer(200, {"results": found}, len(found))


def create_subscription(call: Call) -> Answer:
    """`POST /webhooks/v3/{app}/subscriptions` with `eventType`, `active` and, of a change, `propertyName` -> 201."""
    _demand_developer(call)
    given = json_object(call.body)
    event, name = str(given.get("eventType") or ""), given.get("propertyName")
    object_name, _, kind = event.partition(".")
    if kind not in KINDS or not object_name or (kind == "propertyChange") != bool(name):
        raise Refused(400, f"{event[:100]} with propertyName {str(name)[:100]} is not a valid subscription.")
    if any(
        (each["eventType"], each.get("propertyName")) == (event, name)
        for each in webhooks_of(call.context).subscriptions.values()
    ):
        raise Refused(409, "The subscription already exists.", "CONFLICT")
    body: dict[str, Any] = {
        "eventType": event,
        "active": bool(given.get("active", False)),
        "createdAt": iso(call.now_ms),
    }
    if name:
        body["propertyName"] = name
    cursor = call.context.database.execute("INSERT INTO hubspot_webhook (body) VALUES ('{}')")
    return _saved(call, {**body, "id": str(cursor.lastrowid)}, 201)


def _subscription(call: Call) -> dict[str, Any]:
    _demand_developer(call)
    found = {str(number): each for number, each in webhooks_of(call.context).subscriptions.items()}
    if call.parts["id"] not in found:
        raise not_found()
    return found[call.parts["id"]]


def _saved(call: Call, body: dict[str, Any], status: int = 200) -> Answer:
    call.context.database.execute(
        "UPDATE hubspot_webhook SET body = ? WHERE id = ?", (orjson.dumps(body).decode(), int(body["id"]))
    )
    webhooks_of(call.context).reload()
    return Answer(status, body)


def get_subscription(call: Call) -> Answer:
    """`GET /webhooks/v3/{app}/subscriptions/{id}`."""
    return Answer(200, _subscription(call))


def update_subscription(call: Call) -> Answer:
    """`PATCH /webhooks/v3/{app}/subscriptions/{id}`: `active`."""
    found = _subscription(call)
    active = bool(json_object(call.body).get("active"))
    return _saved(call, {**found, "active": active, "updatedAt": iso(call.now_ms)})


def update_subscriptions(call: Call) -> Answer:
    """`POST /webhooks/v3/{app}/subscriptions/batch/update`: `active` of each `id` -> 200, or 207 where there is none."""
    _demand_developer(call)
    started, rows = iso(call.now_ms), batch_inputs(json_object(call.body), BATCH_SIZE)
    held = {str(number): each for number, each in webhooks_of(call.context).subscriptions.items()}
    known = [(held[str(row.get("id"))], row) for row in rows if str(row.get("id")) in held]
    results = [
        _saved(call, {**each, "active": bool(row.get("active")), "updatedAt": iso(call.now_ms)}).body
        for each, row in known
    ]
    missing = [str(row.get("id")) for row in rows if str(row.get("id")) not in held]
    message = "Some subscriptions do not exist. Check that ids are valid."
    error = {"status": "error", "category": NOT_FOUND, "message": message, "context": {"ids": missing}}
    body = envelope(results, [error] if missing else [], started, iso(call.now_ms))
    return Answer(207 if missing else 200, body, len(results))


def delete_subscription(call: Call) -> Answer:
    """`DELETE /webhooks/v3/{app}/subscriptions/{id}` -> 204."""
    found = _subscription(call)
    call.context.database.execute("DELETE FROM hubspot_webhook WHERE id = ?", (int(found["id"]),))
    webhooks_of(call.context).reload()
    return Answer(204)


def now_ms(context: Context) -> int:
    """The present instant of the sandbox."""
    return to_ms(context.clock.now())
