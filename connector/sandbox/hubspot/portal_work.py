"""What the people of the portal do at its screens, and no API call does: import a file, edit a pipeline, restore a record.

Source: https://knowledge.hubspot.com/records/restore-deleted-records
Each is done in bulk, so that many records get one and the same modified date, as they do in HubSpot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.sandbox.hubspot import demands, linking, records, webhooks
from connector.sandbox.hubspot.access import APP_USER_ID
from connector.sandbox.hubspot.answers import RowProblem
from connector.sandbox.hubspot.drafting import draft
from connector.sandbox.hubspot.instants import iso, parse_ms
from connector.sandbox.hubspot.object_types import BY_NAME, CONTACTS, ObjectType
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Call
from connector.sandbox.hubspot.values import as_text
from connector.sandbox.hubspot.writing import save

RESTORABLE_MS = 90 * 86_400_000
"""How long an archived record can be restored."""


def import_records(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A file of `count` records of type `objects` (contacts), all created and modified in one millisecond (`at`: now).

    `properties` is what each gets; `{n}` in a value is the number of the row. They are searchable at once.
    """
    kind = _kind(payload)
    given = payload.get("at")
    at_ms = call.now_ms if given is None else parse_ms(str(given))
    count = int(payload["count"])
    if at_ms is None or count < 1:
        raise ValueError("an import needs a count of at least 1, and `at` as ISO 8601 or milliseconds")
    values = {str(name): as_text(value) for name, value in (payload.get("properties") or {}).items()}
    last_id = records.next_ids(call.context.database, count)
    made = [
        records.stamped(
            kind,
            last_id - count + n,
            {name: text.replace("{n}", str(n)) for name, text in values.items()},
            at_ms,
            at_ms,
        )
        for n in range(1, count + 1)
    ]
    records.write(call.context.database, call.catalog, kind, made)
    for each in made:
        webhooks.note_written(call, kind, each.id, {}, each.properties)
    return {"first_id": str(made[0].id), "last_id": str(last_id), "at": iso(at_ms), "count": count}


def touch_records(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    """All live records of type `objects` get the present modified date, as all deals do when their pipeline is edited."""
    kind, now_ms = _kind(payload), call.now_ms
    changed = call.context.database.execute(
        f"UPDATE {kind.table} SET modified_ms = ?1, properties = json_set(properties, '$.{kind.modified_property}', ?2)"
        " WHERE archived_ms IS NULL",
        (now_ms, iso(now_ms)),
    )
    return {"count": changed.rowcount, "at": iso(now_ms)}


def edit_record(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The person `user` (a user id of an owner) changes `properties` of record `id` of type `objects` at the screen."""
    kind = _kind(payload)
    record = _record(call, kind, payload)
    made = draft(call, kind, 0, {"properties": payload["properties"]}, record)
    if isinstance(made, RowProblem):
        raise ValueError(made.message or "; ".join(each.message for each in made.values))
    save(call, kind, [made], user_id=int(payload.get("user") or APP_USER_ID))
    return {"id": str(record.id)}


def restore_record(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The archived record `id` of type `objects` is live again, and linked to what is still there.

    Raises:
        ValueError: it is not archived, or too long ago, or a live record holds what only one may, such as its e-mail address.
    """
    kind = _kind(payload)
    record = _record(call, kind, payload)
    if record.archived_ms is None:
        raise ValueError("the record is not archived")
    if call.now_ms - record.archived_ms > RESTORABLE_MS:
        raise ValueError("the record was archived more than 90 days ago")
    _refuse_held(call, kind, record)
    restored = records.stamped(kind, record.id, dict(record.properties), record.created_ms, call.now_ms)
    records.write(call.context.database, call.catalog, kind, [restored], now_ms=call.now_ms, lag=call.lag)
    linking.bring_back(call.context.database, call.catalog.types, kind.name, record.id)
    webhooks.note(call, kind, "restore", {"objectId": record.id})
    return {"id": str(record.id)}


def _refuse_held(call: Call, kind: ObjectType, record: Record) -> None:
    names = [each.name for each in records.unique_definitions(call.catalog, kind)]
    for name, value in sorted(records.unique_values(names, record.properties)):
        holder = records.holder(call.context.database, kind, name, value)
        if holder is not None:
            raise ValueError(f"record {holder} has the same {name}; the archived record cannot be restored")


def set_hidden(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    """HubSpot's own work on record `id` of type `objects`: read-only and calculated `properties`, modified date unmoved."""
    kind = _kind(payload)
    record = _record(call, kind, payload)
    changes = {str(name): as_text(value) for name, value in payload["properties"].items()}
    held = {name: text for name, text in {**record.properties, **changes}.items() if text}
    stamped = records.stamped(kind, record.id, held, record.created_ms, record.modified_ms)
    records.write(call.context.database, call.catalog, kind, [stamped], now_ms=call.now_ms, lag=call.lag)
    return {"id": str(record.id)}


def _kind(payload: Mapping[str, Any]) -> ObjectType:
    name = str(payload.get("objects") or CONTACTS.name)
    if name not in BY_NAME:
        raise ValueError(f"no objects {name!r}; there are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def _record(call: Call, kind: ObjectType, payload: Mapping[str, Any]) -> Record:
    record_id = records.as_id(payload["id"])
    found = records.fetch(call.context.database, kind, [] if record_id is None else [record_id])
    if record_id is None or record_id not in found:
        raise ValueError("id names no record")
    return found[record_id]


def demand_property(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A rule of the portal: records of type `objects` need `property`, `when` (a mapping) they have these values."""
    kind = _kind(payload)
    name, when = str(payload["property"]), {str(key): str(text) for key, text in (payload.get("when") or {}).items()}
    if any(call.catalog.find(kind.name, each) is None for each in (name, *when)):
        raise ValueError("no such property")
    return {"rules": demands.demand(call, kind, name, when)}


ACTIONS = {
    "import": import_records,
    "touch": touch_records,
    "edit": edit_record,
    "restore": restore_record,
    "set_hidden": set_hidden,
    "demand": demand_property,
}
"""The actions of `POST /_sandbox/act`: import (`objects`, `count`, `at`, `properties`), touch (`objects`), edit (`objects`,
`id`, `properties`, `user`), restore (`objects`, `id`, `user`), set_hidden (`objects`, `id`, `properties`), demand (`objects`,
`property`, `when`)."""
