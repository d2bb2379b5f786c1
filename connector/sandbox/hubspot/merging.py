"""Merging two records, and erasing a contact for good.

A merge mints a new id; both old ids then lead to the new record, which lists them in `hs_merged_object_ids`.
Sources: https://developers.hubspot.com/changelog (updated merge functionality) and
https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide (permanent deletion).
"""

from __future__ import annotations

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, records
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.object_types import CONTACTS, ObjectType, object_type
from connector.sandbox.hubspot.reading import find_many, find_one, object_body
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Answer, Call, json_object


def merge_objects(call: Call) -> Answer:
    """`POST .../merge` with `primaryObjectId` and `objectIdToMerge` -> 200 and the new record."""
    kind = object_type(call.parts["type"])
    body = json_object(call.body)
    ids = [str(body.get("primaryObjectId", "")), str(body.get("objectIdToMerge", ""))]
    found = find_many(call, kind, ids, "")
    if len(found) < len(set(ids)) or any(record.archived_ms is not None for record in found.values()):
        raise not_found()
    primary, other = found[ids[0]], found[ids[-1]]
    if primary.id == other.id:
        raise Refused(400, "An object cannot be merged with itself.")
    with transaction(call.context.database):
        survivor = _merge(call, kind, primary, other)
    return Answer(200, object_body(kind, survivor, kind.default_properties), 1)


def _merge(call: Call, kind: ObjectType, primary: Record, other: Record) -> Record:
    database = call.context.database
    new_id = records.next_id(database)
    properties = other.properties | primary.properties
    former = [
        part
        for record in (primary, other)
        for part in [*record.properties.get("hs_merged_object_ids", "").split(";"), str(record.id)]
        if part
    ]
    properties["hs_merged_object_ids"] = ";".join(dict.fromkeys(former))
    if kind is CONTACTS:
        _keep_addresses(properties, primary, other)
    modified_ms = max(call.now_ms, primary.modified_ms, other.modified_ms)
    survivor = records.stamped(kind, new_id, properties, primary.created_ms, modified_ms)
    for old in (primary, other):
        linking.move(database, kind.name, old.id, new_id)
        records.remove(database, kind, old.id)
        database.execute(
            "UPDATE hubspot_merged SET new_id = ? WHERE object_type = ? AND new_id = ?", (new_id, kind.name, old.id)
        )
        database.execute(
            "INSERT INTO hubspot_merged (object_type, old_id, new_id) VALUES (?, ?, ?)", (kind.name, old.id, new_id)
        )
    records.write(database, call.catalog, kind, [survivor], now_ms=call.now_ms, lag_ms=call.lag_ms)
    return survivor


def _keep_addresses(properties: dict[str, str], primary: Record, other: Record) -> None:
    names = ("email", "hs_additional_emails")
    held = ";".join(record.properties.get(name, "") for record in (primary, other) for name in names)
    addresses = [each for each in held.split(";") if each and each != properties.get("email")]
    if addresses:
        properties["hs_additional_emails"] = ";".join(dict.fromkeys(addresses))


def gdpr_delete(call: Call) -> Answer:
    """`POST .../gdpr-delete` with `objectId` (and `idProperty: email`) -> 204; the record is nowhere afterwards."""
    kind = object_type(call.parts["type"])
    body = json_object(call.body)
    record = find_one(call, kind, str(body.get("objectId", "")), str(body.get("idProperty") or ""))
    if record is None:
        raise not_found()
    with transaction(call.context.database):
        linking.forget(call.context.database, kind.name, record.id)
        records.remove(call.context.database, kind, record.id)
        call.context.database.execute(
            "DELETE FROM hubspot_merged WHERE object_type = ? AND new_id = ?", (kind.name, record.id)
        )
    return Answer(204, None, 1)
