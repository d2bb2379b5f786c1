"""Lists of records that were put together by hand: made, searched, read, and who is on them.

Source: https://developers.hubspot.com/docs/api-reference/crm-lists-v3/guide
"""

from __future__ import annotations

from typing import Any

import orjson

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import records
from connector.sandbox.hubspot.access import APP_USER_ID
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType, object_type
from connector.sandbox.hubspot.serving import Answer, Call, json_object

SEARCH_PAGE = 500
MEMBERS_PAGE = 250
MOST_CHANGED = 100_000

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_list (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hubspot_list_member (
    list INTEGER NOT NULL, record INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (list, record)
) WITHOUT ROWID;
"""


def create_list(call: Call) -> Answer:
    """`POST /crm/v3/lists` with `name`, `objectTypeId` and `processingType` MANUAL -> 200."""
    given = json_object(call.body)
    name, kind = str(given.get("name") or "").strip(), object_type(str(given.get("objectTypeId") or ""))
    if not name or given.get("processingType") not in ("MANUAL", "SNAPSHOT"):
        raise Refused(400, "A list needs a name, and processingType MANUAL or SNAPSHOT here.")
    if call.context.database.execute("SELECT 1 FROM hubspot_list WHERE name = ?", (name,)).fetchone():
        raise Refused(400, f"A list named {name[:100]} already exists.", sub_category="ILS.DUPLICATE_LIST_NAMES")
    at = iso(call.now_ms)
    body: dict[str, Any] = {
        "name": name, "objectTypeId": kind.type_id, "processingType": given["processingType"], "processingStatus": "COMPLETE",
        "listVersion": 1, "createdAt": at, "updatedAt": at, "filtersUpdatedAt": at, "createdById": str(APP_USER_ID),
        "updatedById": str(APP_USER_ID),
    }  # fmt: skip
    with transaction(call.context.database) as database:
        cursor = database.execute("INSERT INTO hubspot_list (name, body) VALUES (?, '{}')", (name,))
        body["listId"] = str(cursor.lastrowid)
        text = orjson.dumps(body).decode()
        database.execute("UPDATE hubspot_list SET body = ? WHERE id = ?", (text, cursor.lastrowid))
    return Answer(200, {"list": body}, 1)


def get_list(call: Call) -> Answer:
    """`GET /crm/v3/lists/{id}`."""
    return Answer(200, {"list": _found(call)}, 1)


def delete_list(call: Call) -> Answer:
    """`DELETE /crm/v3/lists/{id}` -> 204."""
    number = int(_found(call)["listId"])
    with transaction(call.context.database) as database:
        database.execute("DELETE FROM hubspot_list WHERE id = ?", (number,))
        database.execute("DELETE FROM hubspot_list_member WHERE list = ?", (number,))
    return Answer(204)


def search(call: Call) -> Answer:
    """`POST /crm/v3/lists/search`: by `query`, `listIds`, `processingTypes`; `count` (20, at most 500) from `offset` on."""
    given = json_object(call.body or {})
    count, offset = int(given.get("count") or 20), int(given.get("offset") or 0)
    if not 0 < count <= SEARCH_PAGE:
        raise Refused(400, f"count must be between 1 and {SEARCH_PAGE}.")
    rows = call.context.database.execute("SELECT body FROM hubspot_list ORDER BY id").fetchall()
    found = [body for row in rows if _matches(body := orjson.loads(row["body"]), given)]
    shown = [
        {**body, "additionalProperties": {"hs_list_size": str(_size(call, body))}}
        for body in found[offset : offset + count]
    ]
    has_more = len(found) > offset + count
    page = {"offset": offset + len(shown), "hasMore": has_more, "lists": shown, "total": len(found)}
    return Answer(200, page, len(shown))


def _matches(body: dict[str, Any], given: dict[str, Any]) -> bool:
    ids, kinds = given.get("listIds") or (), given.get("processingTypes") or ()
    return (
        str(given.get("query") or "").lower() in body["name"].lower()
        and (not ids or body["listId"] in [str(each) for each in ids])
        and (not kinds or body["processingType"] in kinds)
    )


def members(call: Call) -> Answer:
    """`GET /crm/v3/lists/{id}/memberships`, and `.../join-order` (the newest last): up to 250 a page."""
    body = _found(call)
    limit = call.limit(100, MEMBERS_PAGE)
    order = "at_ms, record" if call.path.rstrip("/").endswith("/join-order") else "record"
    start = records.as_id(call.one("after", "0")) or 0
    rows = call.context.database.execute(
        f"SELECT record, at_ms FROM hubspot_list_member WHERE list = ? ORDER BY {order} LIMIT ? OFFSET ?",
        (int(body["listId"]), limit + 1, start),
    ).fetchall()
    results = [{"recordId": str(row["record"]), "membershipTimestamp": iso(row["at_ms"])} for row in rows[:limit]]
    answer: dict[str, Any] = {"results": results, "total": _size(call, body)}
    if len(rows) > limit:
        answer["paging"] = call.paging(str(start + limit))
    return Answer(200, answer, len(results))


def change_members(call: Call) -> Answer:
    """`PUT .../memberships/add-and-remove`, `/add` and `/remove` (a bare list): the modified date of the records stays."""
    body = _found(call)
    given = call.body
    if isinstance(given, list):
        given = {"recordIdsToAdd" if call.path.rstrip("/").endswith("/add") else "recordIdsToRemove": given}
    added, removed = (json_object(given).get(name) or [] for name in ("recordIdsToAdd", "recordIdsToRemove"))
    if len(added) + len(removed) > MOST_CHANGED:
        raise Refused(400, f"At most {MOST_CHANGED} records can be added or removed at once.")
    there = _live(call, object_type(body["objectTypeId"]), added)
    number = int(body["listId"])
    with transaction(call.context.database) as database:
        database.executemany(
            "INSERT OR IGNORE INTO hubspot_list_member (list, record, at_ms) VALUES (?, ?, ?)",
            [(number, each, call.now_ms) for each in there],
        )
        database.executemany(
            "DELETE FROM hubspot_list_member WHERE list = ? AND record = ?", [(number, int(each)) for each in removed]
        )
    missing = [str(each) for each in added if records.as_id(each) not in there]
    told = {"recordsIdsAdded": [str(each) for each in there], "recordIdsRemoved": [str(each) for each in removed]}
    return Answer(200, {**told, "recordIdsMissing": missing}, len(there))


def _live(call: Call, kind: ObjectType, given: list[Any]) -> list[int]:
    ids = [number for each in given if (number := records.as_id(each)) is not None]
    found = records.fetch(call.context.database, kind, ids)
    return [each for each in ids if each in found and found[each].archived_ms is None]


def _size(call: Call, body: dict[str, Any]) -> int:
    number = (int(body["listId"]),)
    return int(
        call.context.database.execute("SELECT count(*) FROM hubspot_list_member WHERE list = ?", number).fetchone()[0]
    )


def _found(call: Call) -> dict[str, Any]:
    number = records.as_id(call.parts["id"])
    row = call.context.database.execute("SELECT body FROM hubspot_list WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise not_found()
    found: dict[str, Any] = orjson.loads(row["body"])
    return found
