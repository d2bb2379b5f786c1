"""Lists of records: put together by hand (MANUAL, SNAPSHOT) or by what they hold (DYNAMIC), and who is on them.

Source: https://developers.hubspot.com/docs/api-reference/crm-lists-v3/guide
"""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import records
from connector.sandbox.hubspot.access import APP_USER_ID
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.filters import Condition
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.list_filters import lists_in, members_of
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.serving import Answer, Call, json_object

SEARCH_PAGE = 500
MEMBERS_PAGE = 250
MOST_CHANGED = 100_000
RESTORABLE_MS = 90 * 86_400_000
DYNAMIC = "DYNAMIC"

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_list (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL, deleted_ms INTEGER
);
CREATE TABLE IF NOT EXISTS hubspot_list_member (
    list INTEGER NOT NULL, record INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (list, record)
) WITHOUT ROWID;
"""


def create_list(call: Call) -> Answer:
    """`POST /crm/v3/lists` with `name`, `objectTypeId` and `processingType` -> 200; DYNAMIC ones need a `filterBranch`."""
    given = json_object(call.body)
    name, kind = str(given.get("name") or "").strip(), call.catalog.types.get(str(given.get("objectTypeId") or ""))
    if not name or given.get("processingType") not in ("MANUAL", "SNAPSHOT", DYNAMIC):
        raise Refused(400, "A list needs a name, and processingType MANUAL, SNAPSHOT or DYNAMIC.")
    is_dynamic = given["processingType"] == DYNAMIC
    if is_dynamic:
        members_of(call.catalog, kind, given.get("filterBranch"), partial(_list_of, call))
    elif given["processingType"] == "MANUAL" and given.get("filterBranch"):
        raise Refused(400, "A MANUAL list has no filters.")
    _demand_new(call, name)
    at = iso(call.now_ms)
    body: dict[str, Any] = {
        "name": name, "objectTypeId": kind.type_id, "processingType": given["processingType"], "processingStatus": "COMPLETE",
        "listVersion": 1, "createdAt": at, "updatedAt": at, "filtersUpdatedAt": at, "createdById": str(APP_USER_ID),
        "updatedById": str(APP_USER_ID), **({"filterBranch": given["filterBranch"]} if is_dynamic else {}),
    }  # fmt: skip
    with transaction(call.context.database) as database:
        cursor = database.execute("INSERT INTO hubspot_list (name, body) VALUES (?, '{}')", (name,))
        body["listId"] = str(cursor.lastrowid)
        text = orjson.dumps(body).decode()
        database.execute("UPDATE hubspot_list SET body = ? WHERE id = ?", (text, cursor.lastrowid))
    return Answer(200, {"list": body}, 1)


def _demand_new(call: Call, name: str) -> None:
    known = "SELECT 1 FROM hubspot_list WHERE name = ? AND deleted_ms IS NULL"
    if call.context.database.execute(known, (name,)).fetchone():
        raise Refused(400, f"A list named {name[:100]} already exists.", sub_category="ILS.DUPLICATE_LIST_NAMES")


def get_list(call: Call) -> Answer:
    """`GET /crm/v3/lists/{id}`: its filters only with `includeFilters=true`."""
    return Answer(200, {"list": _shown(call, _found(call))}, 1)


def get_list_by_name(call: Call) -> Answer:
    """`GET /crm/v3/lists/object-type-id/{type}/name/{name}`."""
    kind = call.catalog.types.get(call.parts["type"])
    found = [
        body
        for body in _all(call)
        if body["objectTypeId"] == kind.type_id and body["name"].lower() == call.parts["name"].lower()
    ]
    if not found:
        raise not_found()
    return Answer(200, {"list": _shown(call, found[0])}, 1)


def get_lists(call: Call) -> Answer:
    """`GET /crm/v3/lists?listIds=1&listIds=2`: those of them that are there."""
    wanted = {part for text in call.query.get("listIds", ()) for part in text.split(",")}
    found = [_shown(call, body) for body in _all(call) if body["listId"] in wanted]
    return Answer(200, {"lists": found}, len(found))


def _shown(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    is_whole = call.one("includeFilters").lower() == "true"
    return body if is_whole else {name: value for name, value in body.items() if name != "filterBranch"}


def rename_list(call: Call) -> Answer:
    """`PUT /crm/v3/lists/{id}/update-list-name?listName=`."""
    body, name = _found(call), call.one("listName").strip()
    if not name:
        raise Refused(400, "listName is missing.")
    if name != body["name"]:
        _demand_new(call, name)
    body |= {"name": name, "updatedAt": iso(call.now_ms)}
    with transaction(call.context.database) as database:
        statement = "UPDATE hubspot_list SET name = ?, body = ? WHERE id = ?"
        database.execute(statement, (name, orjson.dumps(body).decode(), int(body["listId"])))
    return Answer(200, {"updatedList": _shown(call, body)}, 1)


def change_filters(call: Call) -> Answer:
    """`PUT /crm/v3/lists/{id}/update-list-filters` with `filterBranch`, of a DYNAMIC list."""
    body, branch = _found(call), json_object(call.body).get("filterBranch")
    if body["processingType"] != DYNAMIC:
        raise Refused(400, "Only a DYNAMIC list has filters.")
    members_of(call.catalog, call.catalog.types.get(body["objectTypeId"]), branch, partial(_list_of, call))
    if body["listId"] in _named_by(call, branch):
        raise Refused(400, "A list cannot name itself.", sub_category="ILS.INVALID_FILTER_DEFINITION")
    at = iso(call.now_ms)
    body |= {"filterBranch": branch, "updatedAt": at, "filtersUpdatedAt": at, "listVersion": body["listVersion"] + 1}
    with transaction(call.context.database) as database:
        text = orjson.dumps(body).decode()
        database.execute("UPDATE hubspot_list SET body = ? WHERE id = ?", (text, int(body["listId"])))
    return Answer(200, {"updatedList": body}, 1)


def _named_by(call: Call, branch: Any) -> set[str]:
    """The lists that a branch names, and those that these name."""
    direct = lists_in(branch)
    others = [body.get("filterBranch") for body in _all(call) if body["listId"] in direct]
    return direct.union(*(_named_by(call, each) for each in others if each))


def delete_list(call: Call) -> Answer:
    """`DELETE /crm/v3/lists/{id}` -> 204; it can be restored."""
    number = int(_found(call)["listId"])
    with transaction(call.context.database) as database:
        database.execute("UPDATE hubspot_list SET deleted_ms = ? WHERE id = ?", (call.now_ms, number))
    return Answer(204)


def restore_list(call: Call) -> Answer:
    """`PUT /crm/v3/lists/{id}/restore` -> 204, within 90 days."""
    number, since_ms = records.as_id(call.parts["id"]), call.now_ms - RESTORABLE_MS
    with transaction(call.context.database) as database:
        statement = "UPDATE hubspot_list SET deleted_ms = NULL WHERE id = ? AND coalesce(deleted_ms, ?) >= ?"
        if not database.execute(statement, (number, call.now_ms, since_ms)).rowcount:
            raise not_found()
    return Answer(204)


def lists_of_record(call: Call) -> Answer:
    """`GET /crm/v3/lists/records/{type}/{id}/memberships`."""
    kind, record_id = call.catalog.types.get(call.parts["type"]), records.as_id(call.parts["id"])
    results = []
    for body in _all(call):
        where = _members(call, body) if body["objectTypeId"] == kind.type_id else None
        if where is None:
            continue
        statement = f"SELECT at_ms FROM ({where.sql}) WHERE record = ?"
        row = call.context.database.execute(statement, (*where.variables, record_id)).fetchone()
        if row is not None:
            at = iso(row["at_ms"])
            results.append(
                {"listId": body["listId"], "listVersion": 1, "firstAddedTimestamp": at, "lastAddedTimestamp": at}
            )
    return Answer(200, {"results": results, "total": len(results)}, len(results))


def remove_all_members(call: Call) -> Answer:
    """`DELETE .../memberships` -> 204."""
    body = _by_hand(call)
    with transaction(call.context.database) as database:
        database.execute("DELETE FROM hubspot_list_member WHERE list = ?", (int(body["listId"]),))
    return Answer(204)


def search(call: Call) -> Answer:
    """`POST /crm/v3/lists/search`: by `query`, `listIds`, `processingTypes`; `count` (20; of more than 500 come 500) from `offset` on."""
    given = json_object(call.body or {})
    count, offset = min(int(given.get("count") or 20), SEARCH_PAGE), int(given.get("offset") or 0)
    if count < 1:
        raise Refused(400, "count must be at least 1.")
    found = [body for body in _all(call) if _matches(body, given)]
    shown = [
        {**_shown(call, body), "additionalProperties": {"hs_list_size": str(_size(call, body))}}
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
    start, where = records.as_id(call.one("after", "0")) or 0, _members(call, body)
    rows = call.context.database.execute(
        f"SELECT record, at_ms FROM ({where.sql}) ORDER BY {order} LIMIT ? OFFSET ?",
        (*where.variables, limit + 1, start),
    ).fetchall()
    results = [{"recordId": str(row["record"]), "membershipTimestamp": iso(row["at_ms"])} for row in rows[:limit]]
    answer: dict[str, Any] = {"results": results, "total": _size(call, body)}
    if len(rows) > limit:
        answer["paging"] = call.paging(str(start + limit))
    return Answer(200, answer, len(results))


def change_members(call: Call) -> Answer:
    """`PUT .../memberships/add-and-remove`, `/add` and `/remove` (a bare list): the modified date of the records stays."""
    body = _by_hand(call)
    given = call.body
    if isinstance(given, list):
        given = {"recordIdsToAdd" if call.path.rstrip("/").endswith("/add") else "recordIdsToRemove": given}
    added, removed = (json_object(given).get(name) or [] for name in ("recordIdsToAdd", "recordIdsToRemove"))
    if len(added) + len(removed) > MOST_CHANGED:
        raise Refused(400, f"At most {MOST_CHANGED} records can be added or removed at once.")
    there = _live(call, call.catalog.types.get(body["objectTypeId"]), added)
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
    where = _members(call, body)
    return int(call.context.database.execute(f"SELECT count(*) FROM ({where.sql})", where.variables).fetchone()[0])


def _members(call: Call, body: dict[str, Any]) -> Condition:
    """The records on a list and since when, as a SELECT."""
    if body["processingType"] == DYNAMIC:
        kind = call.catalog.types.get(body["objectTypeId"])
        return members_of(call.catalog, kind, body["filterBranch"], lambda number: _list_of(call, number) or _NOBODY)
    statement = "SELECT record, at_ms FROM hubspot_list_member WHERE list = ?"
    return Condition(statement, (int(body["listId"]),))


_NOBODY = Condition("SELECT NULL AS record WHERE 0")
"""The members of a list that was deleted after another one named it."""


def _list_of(call: Call, number: int) -> Condition | None:
    """The members of another list, for a filter that names it."""
    found = next((body for body in _all(call) if body["listId"] == str(number)), None)
    return None if found is None else _members(call, found)


def _by_hand(call: Call) -> dict[str, Any]:
    body = _found(call)
    if body["processingType"] == DYNAMIC:
        raise Refused(400, "The members of a DYNAMIC list follow from its filters.")
    return body


def _all(call: Call) -> list[dict[str, Any]]:
    rows = call.context.database.execute("SELECT body FROM hubspot_list WHERE deleted_ms IS NULL ORDER BY id")
    return [orjson.loads(row["body"]) for row in rows]


def _found(call: Call) -> dict[str, Any]:
    number = records.as_id(call.parts["id"])
    found = [body for body in _all(call) if body["listId"] == str(number)]
    if not found:
        raise not_found()
    return found[0]
