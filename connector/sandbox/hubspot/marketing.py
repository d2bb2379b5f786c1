"""What marketing keeps outside of the CRM records: forms and their submissions, e-mail events, behavioural events.

Sources: https://developers.hubspot.com/docs/api-reference/marketing-forms-v3/guide,
https://legacydocs.hubspot.com/docs/methods/email/get_events and
https://developers.hubspot.com/docs/api-reference/events-event-analytics-v3/guide
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from connector.sandbox.hubspot.access import APP_ID, PORTAL_ID
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.instants import iso, parse_ms
from connector.sandbox.hubspot.object_types import BY_NAME
from connector.sandbox.hubspot.serving import Answer, Call

SUBMISSION_PAGE = 50
EMAIL_EVENT_PAGE = 1_000
EVENT_PAGE = 1_000
FORM_PAGE = 1_000
FORMS_WITHOUT_SUBMISSIONS = ("blog_comment",)

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_form (guid TEXT PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hubspot_submission (
    id INTEGER PRIMARY KEY, form TEXT NOT NULL, submitted_ms INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS hubspot_submission_newest ON hubspot_submission (form, submitted_ms DESC, id DESC);
CREATE TABLE IF NOT EXISTS hubspot_email_event (
    number INTEGER PRIMARY KEY, created_ms INTEGER NOT NULL, type TEXT NOT NULL, recipient TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS hubspot_email_event_newest ON hubspot_email_event (created_ms DESC, number DESC);
CREATE TABLE IF NOT EXISTS hubspot_event (
    number INTEGER PRIMARY KEY, occurred_ms INTEGER NOT NULL, event_type TEXT NOT NULL, object_type TEXT NOT NULL,
    object_id INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS hubspot_event_newest ON hubspot_event (occurred_ms DESC, number DESC);
CREATE INDEX IF NOT EXISTS hubspot_event_object ON hubspot_event (object_type, object_id, occurred_ms DESC);
"""


def save_forms(database: sqlite3.Connection, forms: Iterable[Mapping[str, Any]]) -> None:
    """Write forms (`id` or `guid`, `name`, ...); one of the same id is replaced."""
    for form in forms:
        guid = str(form.get("id") or form["guid"])
        body = {
            "formType": "hubspot",
            "createdAt": "2024-01-08T09:00:00.000Z",
            "updatedAt": "2024-01-08T09:00:00.000Z",
            "archived": False,
            "fieldGroups": [],
            **{key: value for key, value in form.items() if key != "guid"},
            "id": guid,
        }
        database.execute(
            "INSERT OR REPLACE INTO hubspot_form (guid, name, body) VALUES (?, ?, ?)",
            (guid, str(form["name"]), orjson.dumps(body).decode()),
        )


def save_submissions(database: sqlite3.Connection, form: str, submissions: Iterable[Mapping[str, Any]]) -> None:
    """Add submissions (`submittedAt` in ms, `values`, `pageUrl`, `conversionId`) to a form."""
    rows = []
    for each in submissions:
        submitted_ms = _ms(each["submittedAt"])
        rows.append((form, submitted_ms, orjson.dumps({**each, "submittedAt": submitted_ms}).decode()))
    database.executemany("INSERT INTO hubspot_submission (form, submitted_ms, body) VALUES (?, ?, ?)", rows)


def save_email_events(database: sqlite3.Connection, events: Iterable[Mapping[str, Any]]) -> None:
    """Add e-mail events (`id`, `created` in ms, `type`, `recipient`, ...)."""
    rows = []
    for each in events:
        body = {"appId": APP_ID, "portalId": PORTAL_ID, **each, "created": _ms(each["created"])}
        rows.append(
            (body["created"], body["type"], str(body.get("recipient", "")).lower(), orjson.dumps(body).decode())
        )
    database.executemany(
        "INSERT INTO hubspot_email_event (created_ms, type, recipient, body) VALUES (?, ?, ?, ?)", rows
    )


def save_events(database: sqlite3.Connection, events: Iterable[Mapping[str, Any]]) -> None:
    """Add behavioural events (`id`, `objectType`, `objectId`, `eventType`, `occurredAt`, `properties`)."""
    rows = []
    for each in events:
        kind = BY_NAME[str(each["objectType"]).lower()]
        occurred_ms = _ms(each["occurredAt"])
        body = {
            **each,
            "objectType": kind.singular.upper(),
            "objectId": str(each["objectId"]),
            "occurredAt": iso(occurred_ms),
        }
        rows.append((occurred_ms, each["eventType"], kind.name, int(each["objectId"]), orjson.dumps(body).decode()))
    database.executemany(
        "INSERT INTO hubspot_event (occurred_ms, event_type, object_type, object_id, body) VALUES (?, ?, ?, ?, ?)", rows
    )


def move_events(database: sqlite3.Connection, object_type_name: str, old_ids: Iterable[int], new_id: int) -> None:
    """Give the behavioural events of merged records to the record that they became."""
    database.executemany(
        "UPDATE hubspot_event SET object_id = ?1, body = json_set(body, '$.objectId', ?2)"
        " WHERE object_type = ?3 AND object_id = ?4",
        [(new_id, str(new_id), object_type_name, old_id) for old_id in old_ids],
    )


def forget(database: sqlite3.Connection, object_type_name: str, record_id: int, addresses: Iterable[str]) -> None:
    """Remove what is known of an erased person: behavioural events, e-mail events, form submissions."""
    database.execute("DELETE FROM hubspot_event WHERE object_type = ? AND object_id = ?", (object_type_name, record_id))
    for address in addresses:
        database.execute("DELETE FROM hubspot_email_event WHERE recipient = ?", (address,))
        database.execute(
            "DELETE FROM hubspot_submission WHERE EXISTS (SELECT 1 FROM json_each(body, '$.values')"
            " WHERE json_extract(value, '$.name') = 'email' AND lower(json_extract(value, '$.value')) = ?)",
            (address,),
        )


def _ms(value: Any) -> int:
    ms = parse_ms(str(value))
    if ms is None:
        raise ValueError(f"not an instant: {value}")
    return ms


def list_forms(call: Call) -> Answer:
    """`GET /marketing/v3/forms`."""
    limit = call.limit(20, FORM_PAGE)
    rows = call.context.database.execute(
        "SELECT guid, body FROM hubspot_form WHERE guid > ? ORDER BY guid LIMIT ?", (call.one("after"), limit + 1)
    ).fetchall()
    body: dict[str, Any] = {"results": [orjson.loads(row["body"]) for row in rows[:limit]]}
    if len(rows) > limit:
        body["paging"] = call.paging(str(rows[limit - 1]["guid"]))
    return Answer(200, body, len(rows[:limit]))


def get_form(call: Call) -> Answer:
    """`GET /marketing/v3/forms/{id}`."""
    row = call.context.database.execute("SELECT body FROM hubspot_form WHERE guid = ?", (call.parts["id"],)).fetchone()
    if row is None:
        raise not_found()
    return Answer(200, orjson.loads(row["body"]), 1)


def list_submissions(call: Call) -> Answer:
    """`GET /form-integrations/v1/submissions/forms/{guid}`: newest first, at most 50 a page."""
    limit = call.limit(20, SUBMISSION_PAGE)
    if get_form(call).body["formType"] in FORMS_WITHOUT_SUBMISSIONS:
        message = "The submissions of this type of form cannot be read."
        raise Refused(400, message, errors=[{"message": message, "code": "FORM_TYPE_NOT_ALLOWED"}])
    before = _read_cursor(call.one("after"))
    rows = call.context.database.execute(
        "SELECT id, submitted_ms, body FROM hubspot_submission WHERE form = ? AND (submitted_ms, id) < (?, ?)"
        " ORDER BY submitted_ms DESC, id DESC LIMIT ?",
        (call.parts["id"], *before, limit + 1),
    ).fetchall()
    body: dict[str, Any] = {"results": [orjson.loads(row["body"]) for row in rows[:limit]]}
    if len(rows) > limit:
        body["paging"] = call.paging(_cursor(rows[limit - 1]["submitted_ms"], rows[limit - 1]["id"]))
    return Answer(200, body, len(rows[:limit]))


def list_email_events(call: Call) -> Answer:
    """`GET /email/public/v1/events`: newest first; both ends of the time range are inside; `offset` is opaque."""
    limit = call.limit(10, EMAIL_EVENT_PAGE)
    conditions, variables = ["(created_ms, number) < (?, ?)"], [*_read_cursor(call.one("offset"))]
    for name, sql in (("startTimestamp", "created_ms >= ?"), ("endTimestamp", "created_ms <= ?")):
        if call.one(name):
            conditions.append(sql)
            variables.append(_instant(call, name))
    texts: list[Any] = []
    for name, sql in (("eventType", "type = ?"), ("recipient", "recipient = ?")):
        if call.one(name):
            conditions.append(sql)
            texts.append(call.one(name).lower() if name == "recipient" else call.one(name).upper())
    if call.one("excludeFilteredEvents").lower() == "true":
        conditions.append("json_extract(body, '$.filteredEvent') IS NOT 1")
    rows = call.context.database.execute(
        f"SELECT number, created_ms, body FROM hubspot_email_event WHERE {' AND '.join(conditions)}"
        " ORDER BY created_ms DESC, number DESC LIMIT ?",
        (*variables, *texts, limit + 1),
    ).fetchall()
    shown = rows[:limit]
    offset = _cursor(shown[-1]["created_ms"], shown[-1]["number"]) if shown else call.one("offset")
    events = [orjson.loads(row["body"]) for row in shown]
    return Answer(200, {"hasMore": len(rows) > limit, "offset": offset, "events": events}, len(shown))


def list_events(call: Call) -> Answer:
    """`GET /events/v3/events`: newest first, or oldest first with `sort=occurredAt`; all filters may be left out."""
    limit = call.limit(20, EVENT_PAGE)
    is_ascending = call.one("sort") == "occurredAt"
    conditions: list[str] = []
    variables: list[Any] = []
    if call.one("after"):
        conditions.append(f"(occurred_ms, number) {'>' if is_ascending else '<'} (?, ?)")
        variables += _read_cursor(call.one("after"))
    for name, sql in (("occurredAfter", "occurred_ms >= ?"), ("occurredBefore", "occurred_ms <= ?")):
        if call.one(name):
            conditions.append(sql)
            variables.append(_instant(call, name))
    if call.one("objectType"):
        conditions.append("object_type = ?")
        variables.append(call.catalog.types.get(call.one("objectType")).name)
    for name, sql in (("objectId", "object_id = ?"), ("eventType", "event_type = ?")):
        if call.one(name):
            conditions.append(sql)
            variables.append(call.one(name))
    direction = "ASC" if is_ascending else "DESC"
    rows = call.context.database.execute(
        f"SELECT number, occurred_ms, body FROM hubspot_event WHERE {' AND '.join(conditions) or '1'}"
        f" ORDER BY occurred_ms {direction}, number {direction} LIMIT ?",
        (*variables, limit + 1),
    ).fetchall()
    body: dict[str, Any] = {"results": [orjson.loads(row["body"]) for row in rows[:limit]]}
    if len(rows) > limit:
        body["paging"] = call.paging(_cursor(rows[limit - 1]["occurred_ms"], rows[limit - 1]["number"]))
    return Answer(200, body, len(rows[:limit]))


def list_event_types(call: Call) -> Answer:
    """`GET /events/v3/events/event-types`: the types that occurred."""
    rows = call.context.database.execute("SELECT DISTINCT event_type FROM hubspot_event ORDER BY event_type")
    return Answer(200, {"eventTypes": [row["event_type"] for row in rows]})


def _instant(call: Call, name: str) -> int:
    ms = parse_ms(call.one(name))
    if ms is None:
        raise Refused(400, f"{name} is not a valid time: {call.one(name)[:100]}")
    return ms


def _cursor(ms: int, number: int) -> str:
    return base64.urlsafe_b64encode(f"{ms}:{number}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[int, int]:
    """Where a page goes on: (milliseconds, number); without a cursor, after everything."""
    if not text:
        return 2**62, 0
    try:
        ms, _, number = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(":")
        return int(ms), int(number)
    except ValueError:
        raise Refused(400, f"Could not read the paging cursor {text[:100]}") from None
