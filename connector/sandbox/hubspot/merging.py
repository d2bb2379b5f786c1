"""Merging two records, and erasing a contact for good.

A merge mints a new id; both old ids then lead to the new record, which lists them in `hs_merged_object_ids`.
Sources: https://developers.hubspot.com/changelog (updated merge functionality) and
https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide (permanent deletion).
"""

from __future__ import annotations

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, marketing, records, webhooks
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.object_types import COMPANIES, CONTACTS, ObjectType
from connector.sandbox.hubspot.reading import find_many, find_one, object_body
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Answer, Call, json_object

MOST_MERGED = 250
"""Former records of one record, https://developers.hubspot.com/docs/api-reference/error-handling (414)."""


def merge_objects(call: Call) -> Answer:
    """`POST .../merge` with `primaryObjectId` and `objectIdToMerge` -> 200 and the new record."""
    kind = call.catalog.types.get(call.parts["type"])
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
    if len(former) > MOST_MERGED:
        raise Refused(414, f"A record cannot be merged from more than {MOST_MERGED} others.")
    properties["hs_merged_object_ids"] = ";".join(dict.fromkeys(former))
    if kind is CONTACTS:
        _keep_all(properties, primary, other, ("email", "hs_additional_emails"))
        _note_vids(properties, primary, other, call.now_ms)
    elif kind is COMPANIES:
        _keep_all(properties, primary, other, ("domain", "hs_additional_domains"))
    modified_ms = max(call.now_ms, primary.modified_ms, other.modified_ms)
    survivor = records.stamped(kind, new_id, properties, primary.created_ms, modified_ms)
    for old in (primary, other):
        linking.move(database, call.catalog.types, kind.name, old.id, new_id)
        records.remove(database, kind, old.id)
        database.execute(
            "UPDATE hubspot_merged SET new_id = ? WHERE object_type = ? AND new_id = ?", (new_id, kind.name, old.id)
        )
        database.execute(
            "INSERT INTO hubspot_merged (object_type, old_id, new_id) VALUES (?, ?, ?)", (kind.name, old.id, new_id)
        )
    marketing.move_events(database, kind.name, [primary.id, other.id], new_id)
    records.write(database, call.catalog, kind, [survivor], now_ms=call.now_ms, lag=call.lag)
    merge = {
        "objectId": new_id,
        "primaryObjectId": primary.id,
        "mergedObjectIds": [primary.id, other.id],
        "newObjectId": new_id,
        "numberOfPropertiesMoved": sum(1 for name in other.properties if name not in primary.properties),
    }
    webhooks.note(call, kind, "merge", merge)
    return survivor


def _keep_all(properties: dict[str, str], primary: Record, other: Record, names: tuple[str, str]) -> None:
    """What both records had: one value stays the main one, all others are listed in the second property."""
    main, further = names
    held = ";".join(record.properties.get(name, "") for record in (primary, other) for name in names)
    values = [each for each in held.split(";") if each and each != properties.get(main)]
    if values:
        properties[further] = ";".join(dict.fromkeys(values))


def _note_vids(properties: dict[str, str], primary: Record, other: Record, now_ms: int) -> None:
    """The older property of merges: `vid:milliseconds` of each former contact."""
    name = "hs_calculated_merged_vids"
    noted = [part for record in (primary, other) for part in record.properties.get(name, "").split(";") if part]
    noted += [f"{record.id}:{now_ms}" for record in (primary, other)]
    properties[name] = ";".join(dict.fromkeys(noted))


def gdpr_delete(call: Call) -> Answer:
    """`POST .../gdpr-delete` with `objectId` (and `idProperty: email`) -> 204; the record is nowhere afterwards.

    What hangs on it goes too: links, events, form submissions. An unknown address is accepted (HubSpot notes it).
    It is told as the deletion that it is, too.
    """
    kind = call.catalog.types.get(call.parts["type"])
    body = json_object(call.body)
    given, id_property = str(body.get("objectId", "")), str(body.get("idProperty") or "")
    if id_property not in ("", "email") or (id_property and kind is not CONTACTS):
        raise Refused(400, f"Unable to delete by property {id_property}")
    record = find_one(call, kind, given, id_property)
    if record is None:
        if id_property:
            return Answer(204)
        raise not_found()
    database = call.context.database
    with transaction(database):
        linking.forget(database, kind.name, record.id)
        records.remove(database, kind, record.id)
        database.execute("DELETE FROM hubspot_merged WHERE object_type = ? AND new_id = ?", (kind.name, record.id))
        addresses = records.unique_values(["email"], record.properties) if kind is CONTACTS else set()
        if record.archived_ms is None:
            webhooks.note(call, kind, "deletion", {"objectId": record.id, "changeFlag": "DELETED"})
        webhooks.note(call, kind, "privacyDeletion", {"objectId": record.id})
        marketing.forget(database, kind.name, record.id, [address for _, address in addresses])
    return Answer(204, None, 1)
