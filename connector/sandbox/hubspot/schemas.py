"""The schemas of objects: HubSpot's own to read, and the portal's custom objects to make, change and remove.

Source: https://developers.hubspot.com/docs/api-reference/crm-custom-objects-v3/guide
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, records
from connector.sandbox.hubspot.access import APP_USER_ID, PORTAL_ID
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.association_labels import add_links, remove_link
from connector.sandbox.hubspot.catalog import DEFAULTS_SINCE, default_properties, group_body
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.portal_types import custom_type
from connector.sandbox.hubspot.property_api import checked
from connector.sandbox.hubspot.serving import Answer, Call, json_object

MOST_CUSTOM = 10
LINKED_ANYWAY = ("emails", "meetings", "notes", "tasks", "calls")
"""Every custom object links to these, whatever its schema names."""

REQUIRED = ("name", "labels", "properties", "requiredProperties", "associatedObjects")
CHANGEABLE = (
    "labels", "description", "requiredProperties", "searchableProperties", "primaryDisplayProperty",
    "secondaryDisplayProperties", "restorable",
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")


def list_schemas(call: Call) -> Answer:
    """`GET /crm/v3/schemas`: custom objects only."""
    archived = call.one("archived").lower() == "true"
    rows = call.context.database.execute(
        "SELECT body FROM hubspot_custom_type WHERE archived = ? ORDER BY number", (archived,)
    )
    results = [_shown(call, orjson.loads(row["body"])) for row in rows]
    return Answer(200, {"results": results}, len(results))


def get_schema(call: Call) -> Answer:
    """`GET /crm/v3/schemas/{type}`, of HubSpot's own types too."""
    kind = call.catalog.types.find(call.parts["type"])
    if kind is None:
        raise not_found()
    return Answer(200, _shown(call, _stored(call, kind) if kind.is_custom else _standard(kind)), 1)


def create_schema(call: Call) -> Answer:
    """`POST /crm/v3/schemas` -> 201: the type, its properties, and how it links to the types named."""
    given = json_object(call.body)
    name = _checked_name(call, given)
    others = {call.catalog.types.get(str(each)).name for each in (*given["associatedObjects"], *LINKED_ANYWAY)}
    fully = f"p{PORTAL_ID}_{name}"
    names = [str(each.get("name")) for each in given["properties"]]
    _check_names(given, names)
    at = iso(call.now_ms)
    with _changing(call) as database:
        row = database.execute(
            "INSERT INTO hubspot_custom_type (name, body, archived) VALUES (?, '{}', 0)", (fully.lower(),)
        )
        type_id = f"2-{row.lastrowid}"
        body = {
            "id": str(row.lastrowid), "objectTypeId": type_id, "name": name, "fullyQualifiedName": fully,
            "labels": dict(given["labels"]), "description": given.get("description"),
            "primaryDisplayProperty": given.get("primaryDisplayProperty"),
            "secondaryDisplayProperties": list(given.get("secondaryDisplayProperties") or []),
            "requiredProperties": list(given["requiredProperties"]),
            "searchableProperties": list(given.get("searchableProperties") or []),
            "createdByUserId": APP_USER_ID, "updatedByUserId": APP_USER_ID, "archived": False,
            "createdAt": at, "updatedAt": at,
        }  # fmt: skip
        _save(call, type_id, body)
        kind = call.catalog.types.get(type_id)
        records.create_table(database, kind)
        _fill(call, kind, given["properties"])
        for other in (each for each in call.catalog.types.all if each.name in others):
            add_links(call, kind, other, None, None, f"{name}_to_{other.singular}")
    return Answer(201, _shown(call, body), 1)


def update_schema(call: Call) -> Answer:
    """`PATCH /crm/v3/schemas/{type}`."""
    kind = _custom(call)
    given = {name: value for name, value in json_object(call.body).items() if name in CHANGEABLE and value is not None}
    body = _stored(call, kind) | given | {"updatedAt": iso(call.now_ms)}
    _check_names(body, list(call.catalog.properties(kind.name)))
    with transaction(call.context.database):
        _save(call, kind.type_id, body)
    return Answer(200, _shown(call, body), 1)


def delete_schema(call: Call) -> Answer:
    """`DELETE /crm/v3/schemas/{type}` -> 204: refused while there are records; `archived=true` frees the name of one deleted."""
    database = call.context.database
    if call.one("archived").lower() == "true":
        return _purge(call)
    kind = _custom(call)
    if database.execute(f"SELECT 1 FROM {kind.table} WHERE archived_ms IS NULL LIMIT 1").fetchone():
        raise Refused(400, "An object type that has records cannot be deleted.", sub_category="OBJECT_TYPE_HAS_RECORDS")
    body = _stored(call, kind) | {"archived": True, "updatedAt": iso(call.now_ms)}
    with transaction(database):
        _save(call, kind.type_id, body)
    return Answer(204)


def _purge(call: Call) -> Answer:
    database = call.context.database
    wanted = call.parts["type"].lower()
    for row in database.execute("SELECT * FROM hubspot_custom_type WHERE archived = 1").fetchall():
        body = orjson.loads(row["body"])
        if wanted not in (body["name"].lower(), row["name"], body["objectTypeId"]):
            continue
        kind = custom_type(body)
        with transaction(database):
            database.execute("DELETE FROM hubspot_custom_type WHERE number = ?", (row["number"],))
            for table in ("hubspot_property", "hubspot_property_group", "hubspot_unique"):
                database.execute(f"DELETE FROM {table} WHERE object_type = ?", (kind.name,))
            for table in ("hubspot_own_link", "hubspot_link", linking.FORMER):
                database.execute(f"DELETE FROM {table} WHERE from_type = ?1 OR to_type = ?1", (kind.name,))
            records.drop_table(database, kind)
            call.catalog.reload(database)
        return Answer(204)
    raise not_found()


def create_link(call: Call) -> Answer:
    """`POST /crm/v3/schemas/{type}/associations` with `fromObjectTypeId`, `toObjectTypeId`, `name` -> 201."""
    given = json_object(call.body)
    source, target = (call.catalog.types.get(str(given.get(name))) for name in ("fromObjectTypeId", "toObjectTypeId"))
    if not (source.is_custom or target.is_custom):
        raise Refused(400, "One of the two objects must be a custom object.")
    with transaction(call.context.database):
        name = str(given.get("name") or f"{source.singular}_to_{target.singular}")
        type_id = add_links(call, source, target, None, None, name)[0]
    return Answer(201, _link(call, source, target, type_id, name), 1)


def delete_link(call: Call) -> Answer:
    """`DELETE /crm/v3/schemas/{type}/associations/{id}` -> 204."""
    kind, type_id = _custom(call), records.as_id(call.parts["link"]) or -1
    if call.catalog.types.link(kind.name, type_id) is None:
        raise not_found()
    with transaction(call.context.database):
        remove_link(call, kind.name, type_id)
    return Answer(204)


@contextmanager
def _changing(call: Call) -> Iterator[sqlite3.Connection]:
    """A transaction that the catalog forgets, too, where it comes to nothing."""
    try:
        with transaction(call.context.database) as database:
            yield database
    except Refused:
        call.catalog.reload(call.context.database)
        raise


def _checked_name(call: Call, given: Mapping[str, Any]) -> str:
    lacking = [name for name in REQUIRED if given.get(name) is None]
    if lacking or not given["properties"]:
        raise Refused(400, f"Some required fields were not set: {lacking or ['properties']}")
    labels = given["labels"]
    if not isinstance(labels, Mapping) or not (labels.get("singular") and labels.get("plural")):
        raise Refused(400, "labels needs singular and plural.")
    name = str(given["name"])
    if not _NAME.fullmatch(name):
        raise Refused(
            400, f"The name '{name[:100]}' must begin with a letter and hold letters, numbers and underscores."
        )
    rows = call.context.database.execute("SELECT name FROM hubspot_custom_type").fetchall()
    if f"p{PORTAL_ID}_{name}".lower() in [row["name"] for row in rows] or call.catalog.types.find(name):
        raise Refused(409, f"An object type named '{name}' already exists.", "OBJECT_ALREADY_EXISTS")
    if len(rows) >= MOST_CUSTOM:
        raise Refused(400, f"The portal has its {MOST_CUSTOM} custom objects.", sub_category="LIMIT_EXCEEDED")
    return name


def _check_names(given: Mapping[str, Any], known: list[str]) -> None:
    """What a schema names must be properties of it."""
    lists = ("requiredProperties", "searchableProperties", "secondaryDisplayProperties")
    named = [str(each) for key in lists for each in given.get(key) or ()]
    named += [str(given["primaryDisplayProperty"])] if given.get("primaryDisplayProperty") else []
    wrong = sorted({each for each in named if each not in known})
    if wrong:
        raise Refused(400, f"Properties {wrong} do not exist in the object.", context={"propertyName": wrong})


def _fill(call: Call, kind: ObjectType, properties: list[Mapping[str, Any]]) -> None:
    """The properties that every custom object has, and those given, in a group of its own."""
    database, group = call.context.database, f"{kind.singular.lower()}_information"
    call.catalog.save_group(database, kind.name, group_body(group, f"{kind.singular} information", 0))
    call.catalog.save(database, kind.name, default_properties("custom", group))
    for each in properties:
        given = {"groupName": group, **each}
        call.catalog.save(database, kind.name, [checked(call, kind, given)])


def _save(call: Call, type_id: str, body: Mapping[str, Any]) -> None:
    call.context.database.execute(
        "UPDATE hubspot_custom_type SET body = ?, archived = ? WHERE number = ?",
        (orjson.dumps(dict(body)).decode(), bool(body["archived"]), int(type_id.removeprefix("2-"))),
    )
    call.catalog.reload(call.context.database)


def _custom(call: Call) -> ObjectType:
    kind = call.catalog.types.find(call.parts["type"])
    if kind is None or not kind.is_custom:
        raise not_found()
    return kind


def _stored(call: Call, kind: ObjectType) -> dict[str, Any]:
    number = int(kind.type_id.removeprefix("2-"))
    row = call.context.database.execute("SELECT body FROM hubspot_custom_type WHERE number = ?", (number,)).fetchone()
    return dict(orjson.loads(row["body"]))


def _standard(kind: ObjectType) -> dict[str, Any]:
    return {
        "id": kind.type_id, "objectTypeId": kind.type_id, "name": kind.singular,
        "fullyQualifiedName": kind.singular.upper(), "archived": False,
        "labels": {"singular": kind.singular.capitalize(), "plural": kind.name.capitalize()},
        "requiredProperties": list(kind.required), "searchableProperties": list(kind.searchable),
        "createdAt": DEFAULTS_SINCE, "updatedAt": DEFAULTS_SINCE,
    }  # fmt: skip


def _shown(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    kind = call.catalog.types.find(body["objectTypeId"])
    if kind is None:  # archived
        return {**body, "properties": [], "associations": []}
    properties = [each.body for each in call.catalog.properties(kind.name).values() if not each.is_archived]
    rows = call.context.database.execute(
        "SELECT * FROM hubspot_own_link WHERE from_type = ? AND label IS NULL ORDER BY type_id", (kind.name,)
    )
    links = [_link(call, kind, call.catalog.types.get(row["to_type"]), row["type_id"], row["name"]) for row in rows]
    return {**body, "properties": properties, "associations": links if kind.is_custom else []}


def _link(call: Call, source: ObjectType, target: ObjectType, type_id: int, name: str) -> dict[str, Any]:
    at = iso(call.now_ms)
    ends = {"fromObjectTypeId": source.type_id, "toObjectTypeId": target.type_id}
    return {"id": str(type_id), **ends, "name": name, "createdAt": at, "updatedAt": at}
