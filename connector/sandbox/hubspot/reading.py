"""Reading records: one, a page of the list, a batch by ids.

Source: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.sandbox.hubspot import records
from connector.sandbox.hubspot.access import APP_ID, PORTAL_ID
from connector.sandbox.hubspot.answers import NOT_FOUND, Refused, not_found
from connector.sandbox.hubspot.catalog import Catalog
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.linking import inline_associations
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Answer, Call, json_object

LIST_PAGE = 100
LIST_PAGE_WITH_HISTORY = 50
BATCH_SIZE = 100
BATCH_SIZE_WITH_HISTORY = 50
WITHOUT_RECORDS = ("conversations", "conversation", "0-11")
"""Types whose links can be asked for though the portal has no records of them."""


def object_body(kind: ObjectType, record: Record, names: Sequence[str]) -> dict[str, Any]:
    """The Object of the API with these properties; what is not set is null."""
    held = record.properties
    body: dict[str, Any] = {
        "id": str(record.id),
        "properties": dict(zip(names, map(held.get, names), strict=True)),
        "createdAt": held[kind.created_property],
        "updatedAt": held[kind.modified_property],
        "archived": record.archived_ms is not None,
        "url": f"https://app.hubspot.com/contacts/{PORTAL_ID}/record/{kind.type_id}/{record.id}",
    }
    if record.archived_ms is not None:
        body["archivedAt"] = iso(record.archived_ms)
    return body


def shown_properties(catalog: Catalog, kind: ObjectType, wanted: Sequence[str]) -> list[str]:
    """The names that an answer holds: those asked for and the record's id and times, else the type's default ones."""
    if not wanted:
        return list(kind.default_properties)
    return catalog.known(kind.name, [*wanted, kind.created_property, kind.modified_property, "hs_object_id"])


def with_history(body: dict[str, Any], record: Record, names: Sequence[str]) -> dict[str, Any]:
    """Adds `propertiesWithHistory`. The sandbox remembers only the present value, so each list has one entry."""
    body["propertiesWithHistory"] = {
        name: [
            {
                "value": record.properties[name],
                "timestamp": iso(record.modified_ms),
                "sourceType": "INTEGRATION",
                "sourceId": str(APP_ID),
            }
        ]
        if name in record.properties
        else []
        for name in names
    }
    return body


def list_objects(call: Call) -> Answer:
    """`GET /crm/v3/objects/{type}`: live (or archived) records by id; `after` is the last id of the page before."""
    kind = call.catalog.types.get(call.parts["type"])
    history = call.many("propertiesWithHistory")
    limit = call.limit(10, LIST_PAGE_WITH_HISTORY if history else LIST_PAGE)
    after = records.as_id(call.one("after", "0"))
    if after is None:
        raise Refused(400, f"The after value is invalid: {call.one('after')}")
    is_archived = call.one("archived").lower() == "true"
    rows = call.context.database.execute(
        f"SELECT * FROM {kind.table} WHERE id > ? AND archived_ms IS {'NOT ' if is_archived else ''}NULL"
        " ORDER BY id LIMIT ?",
        (after, limit + 1),
    ).fetchall()
    found = [records.from_row(row) for row in rows[:limit]]
    names = shown_properties(call.catalog, kind, call.many("properties"))
    results = [object_body(kind, record, names) for record in found]
    if history:
        known = call.catalog.known(kind.name, history)
        for body, record in zip(results, found, strict=True):
            with_history(body, record, known)
    add_associations(call, kind, results)
    answer: dict[str, Any] = {"results": results}
    if len(rows) > limit:
        answer["paging"] = call.paging(str(found[-1].id))
    return Answer(200, answer, len(results))


def add_associations(call: Call, kind: ObjectType, results: Sequence[dict[str, Any]]) -> None:
    """Adds the links that the query asks for, under the plural name of the other type; none where the two do not link."""
    ids = [int(body["id"]) for body in results]
    for name in call.many("associations"):
        if name.lower() in WITHOUT_RECORDS:
            continue
        other = call.catalog.types.get(name)
        if not call.catalog.types.do_link(kind.name, other.name):
            continue
        linked = inline_associations(call.context.database, call.catalog.types, kind, ids, other)
        for body, record_id in zip(results, ids, strict=True):
            if record_id in linked:
                following = linked[record_id].get("paging", {}).get("next")
                if following is not None:
                    path = f"/crm/v3/objects/{kind.name}/{record_id}/associations/{other.name}"
                    following["link"] = f"{call.url}{path}?after={following['after']}"
                body.setdefault("associations", {})[other.name] = linked[record_id]


def get_object(call: Call) -> Answer:
    """`GET /crm/v3/objects/{type}/{id}`, by record id or (`idProperty`) by a unique property."""
    kind = call.catalog.types.get(call.parts["type"])
    record = find_one(call, kind, call.parts["id"], call.one("idProperty"))
    if record is None or (record.archived_ms is not None) != (call.one("archived").lower() == "true"):
        raise not_found()
    body = object_body(kind, record, shown_properties(call.catalog, kind, call.many("properties")))
    history = call.many("propertiesWithHistory")
    if history:
        with_history(body, record, call.catalog.known(kind.name, history))
    add_associations(call, kind, [body])
    return Answer(200, body, 1)


def find_one(call: Call, kind: ObjectType, given: str, id_property: str) -> Record | None:
    """The record behind a record id, also a merged one's, or behind a unique value."""
    return find_many(call, kind, [given], id_property).get(given)


def find_many(call: Call, kind: ObjectType, given: Sequence[str], id_property: str) -> dict[str, Record]:
    """The records behind the ids or unique values, by what was given.

    Raises:
        Refused: 400, `id_property` is not unique.
    """
    database = call.context.database
    if not id_property or id_property == "hs_object_id":
        wanted = {text: number for text in given if (number := records.as_id(text)) is not None}
    else:
        demand_unique(call, kind, id_property, "read")
        wanted = {
            text: number for text in given if (number := records.holder(database, kind, id_property, text)) is not None
        }
    found = records.fetch(database, kind, list(wanted.values()))
    return {text: found[number] for text, number in wanted.items() if number in found}


def demand_unique(call: Call, kind: ObjectType, name: str, purpose: str) -> None:
    """The property must identify records.

    Raises:
        Refused: 400 with HubSpot's sentence, which names the type's id and the property.
    """
    if not any(each.name == name for each in records.unique_definitions(call.catalog, kind)):
        raise Refused(
            400, f"Unable to perform {purpose} by non-unique {kind.type_id} property {name} in portal ID {PORTAL_ID}"
        )


def batch_read(call: Call) -> Answer:
    """`POST .../batch/read`: 200, or 207 with one error that lists every id that was not found."""
    kind = call.catalog.types.get(call.parts["type"])
    body = json_object(call.body)
    history = [str(name) for name in body.get("propertiesWithHistory") or ()]
    given = batch_ids(body, BATCH_SIZE_WITH_HISTORY if history else BATCH_SIZE)
    started = iso(call.now_ms)
    is_archived = call.one("archived").lower() == "true"
    found = {
        text: record
        for text, record in find_many(call, kind, given, str(body.get("idProperty") or "")).items()
        if (record.archived_ms is not None) == is_archived
    }
    names = shown_properties(call.catalog, kind, [str(name) for name in body.get("properties") or ()])
    unique = {record.id: record for record in found.values()}
    results = [object_body(kind, unique[record_id], names) for record_id in shuffled(list(unique))]
    if history:
        known = call.catalog.known(kind.name, history)
        for result in results:
            with_history(result, unique[int(result["id"])], known)
    missing = [text for text in given if text not in found]
    errors = [missing_error(kind, missing)] if missing else []
    return Answer(207 if errors else 200, envelope(results, errors, started, iso(call.now_ms)), len(results))


def batch_ids(body: dict[str, Any], most: int) -> list[str]:
    """The ids of a batch without repetition.

    Raises:
        Refused: 400, more than `most`.
    """
    inputs = batch_inputs(body, most)
    return list(dict.fromkeys(str(each.get("id", "")) for each in inputs))


def batch_inputs(body: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """The rows of a batch; a body without `inputs` has none, and is accepted.

    Raises:
        Refused: 400, more than `most`, or not a list of objects.
    """
    inputs = body.get("inputs") or []
    are_rows = isinstance(inputs, list) and all(
        isinstance(each, dict) and isinstance(each.get("properties") or {}, dict) for each in inputs
    )
    if not are_rows:
        raise Refused(400, "Invalid input JSON on line 1, column 1: Cannot deserialize value of type `inputs`")
    if len(inputs) > most:
        raise Refused(400, f"The maximum number of inputs supported in a batch request is {most}")
    return inputs


def missing_error(kind: ObjectType, ids: list[str]) -> dict[str, Any]:
    """The one error that covers every id of a batch that no record has."""
    return {
        "status": "error",
        "category": NOT_FOUND,
        "message": (
            f"Could not get some {kind.singular.upper()} objects, they may be deleted or not exist."
            " Check that ids are valid."
        ),
        "context": {"ids": ids},
    }


def shuffled(ids: list[int]) -> list[int]:
    """The ids in an order that has nothing to do with the request's, and is the same each time."""
    return sorted(ids, key=lambda record_id: (record_id * 2_654_435_761) % 4_294_967_291)


def envelope(
    results: list[dict[str, Any]], errors: list[dict[str, Any]], started: str, completed: str
) -> dict[str, Any]:
    """The answer of a batch."""
    body: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": started, "completedAt": completed}
    if errors:
        body["numErrors"] = len(errors)
        body["errors"] = errors
    return body
