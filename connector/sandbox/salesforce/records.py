"""`/sobjects/...`: describes, and one record at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from connector.sandbox.context import SALESFORCE
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.describe import object_describe, object_summary
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import instant_text, parse_instant, read_instant
from connector.sandbox.salesforce.lateness import oldest_open
from connector.sandbox.salesforce.refusal import RefusedError, not_found
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.writing import create, delete, key_field, matches, update

UPSERT_BODY_FROM_VERSION = 46.0
DELETED_REACH = timedelta(days=15)
UPDATED_REACH = timedelta(days=30)


def resource(call: Call, name: str) -> SObject:
    """The sObject of a path; 404 when there is none."""
    found = call.org.schema.find(name)
    if found is None:
        raise not_found()
    return found


def object_body(call: Call) -> dict[str, Any]:
    """The JSON object of a request; raises JSON_PARSER_ERROR."""
    if not isinstance(call.body, dict):
        raise RefusedError("JSON_PARSER_ERROR", "Unexpected end-of-input or wrong type: an object was expected")
    return call.body


def listed(body: dict[str, Any], name: str, kind: type) -> list[Any]:
    """A list in a request's body, empty when it is missing; raises JSON_PARSER_ERROR when it holds anything else."""
    found = body.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
        raise RefusedError("JSON_PARSER_ERROR", f"{name} must be a list of {kind.__name__}")
    return found


def refuse_by_fault(call: Call, one: SObject, native: str | None) -> None:
    """Apply the record-level faults to a single record."""
    errors = call.org.context.faults.record_errors(SALESFORCE, one.name, [native])
    if errors:
        raise RefusedError(*errors[0])


def global_describe(call: Call) -> Answer:
    """`GET /sobjects`."""
    if _is_unchanged(call):
        return Answer(304)
    objects = [object_summary(one, call.base) for one in call.org.schema.objects.values()]
    body = {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}
    return Answer(200, body, _last_modified(call))


def describe(call: Call, name: str) -> Answer:
    """`GET /sobjects/X/describe`; 304 when nothing about the schema or permissions changed."""
    one = resource(call, name)
    if _is_unchanged(call):
        return Answer(304)
    return Answer(200, object_describe(call.org.schema, call.access, one, call.base), _last_modified(call))


def _last_modified(call: Call) -> dict[str, str]:
    return {"Last-Modified": format_datetime(call.org.schema_changed_at, usegmt=True)}


def _is_unchanged(call: Call) -> bool:
    at = _instant_of(call, "if-modified-since")
    return at is not None and call.org.schema_changed_at <= at


def _instant_of(call: Call, header: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(call.headers[header])
    except (KeyError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _require_unmodified(call: Call, changed: str) -> None:
    """412 where the record changed after `If-Unmodified-Since` (REST API Developer Guide, "Conditional Requests")."""
    at = _instant_of(call, "if-unmodified-since")
    if at is not None and parse_instant(changed) > at:
        raise RefusedError("PRECONDITION_FAILED", "the record was modified after the given date")


def basic_information(call: Call, name: str) -> Answer:
    """`GET /sobjects/X`."""
    one = resource(call, name)
    return Answer(200, {"objectDescribe": object_summary(one, call.base), "recentItems": []})


def insert(call: Call, name: str) -> Answer:
    """`POST /sobjects/X`."""
    one = resource(call, name)
    values = object_body(call)
    refuse_by_fault(call, one, None)
    native = create(call.org, call.author, one, values)
    headers = {"Location": f"{call.base}/sobjects/{one.name}/{native}"}
    return Answer(201, {"id": native, "success": True, "errors": []}, headers, records=1)


def id_in_path(one: SObject, text: str) -> str:
    """The id in a path in full; NOT_FOUND for that of another object."""
    native = full_id(text)
    if native is None or native[:3] != one.prefix:
        raise RefusedError("NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {text}")
    return native


def read(call: Call, name: str, text: str) -> Answer:
    """`GET /sobjects/X/id`."""
    one = resource(call, name)
    native = id_in_path(one, text)
    require_live(call, one, native)
    wanted = [part.strip() for part in call.query.get("fields", "").split(",") if part.strip()]
    found = call.queries.retrieve(one, [native], wanted, call.reader)
    return Answer(200, found[native], records=1)


def _raise_missing(call: Call, one: SObject, native: str) -> None:
    row = call.org.database.execute(
        "SELECT 1 FROM sf_deleted WHERE object = ? AND id = ?", (one.name, native)
    ).fetchone()
    if row is not None:
        raise RefusedError("ENTITY_IS_DELETED", "entity is deleted")
    raise not_found()


def change(call: Call, name: str, text: str) -> Answer:
    """`PATCH /sobjects/X/id`."""
    one = resource(call, name)
    native = id_in_path(one, text)
    values = object_body(call)
    require_live(call, one, native)
    refuse_by_fault(call, one, native)
    update(call.org, call.author, one, native, values)
    return Answer(204, None, records=1)


def remove(call: Call, name: str, text: str) -> Answer:
    """`DELETE /sobjects/X/id`."""
    one = resource(call, name)
    native = id_in_path(one, text)
    require_live(call, one, native)
    refuse_by_fault(call, one, native)
    delete(call.org, call.author, one, native)
    return Answer(204, None, records=1)


def require_live(call: Call, one: SObject, native: str) -> None:
    """Refuse a record that is missing, deleted or changed since the time that the request names."""
    statement = f"SELECT IsDeleted, LastModifiedDate FROM {one.table} WHERE Id = ?"
    row = call.org.database.execute(statement, (native,)).fetchone()
    if row is None:
        _raise_missing(call, one, native)
    elif row["IsDeleted"]:
        raise RefusedError("ENTITY_IS_DELETED", "entity is deleted")
    else:
        _require_unmodified(call, row["LastModifiedDate"])


def upsert(call: Call, name: str, key_name: str, key: str) -> Answer:
    """`PATCH /sobjects/X/ExternalId__c/value`: 201 created, 200 updated (204 before v46), 300 when several match."""
    one = resource(call, name)
    field = key_field(call.org, call.author, one, key_name)
    values = object_body(call)
    if any(given.lower() in (field.name.lower(), "id") for given in values):
        raise RefusedError("INVALID_FIELD", f"The {field.name} field should not be specified in the sobject data.")
    found = matches(call.org, one, field, key)
    if len(found) > 1:
        return Answer(300, [f"{call.base}/sobjects/{one.name}/{native}" for native in found])
    refuse_by_fault(call, one, found[0] if found else None)
    if not found:
        native = create(call.org, call.author, one, {**values, field.name: key})
        headers = {"Location": f"{call.base}/sobjects/{one.name}/{native}"}
        return Answer(201, {"id": native, "success": True, "errors": [], "created": True}, headers, records=1)
    update(call.org, call.author, one, found[0], values)
    if float(call.version) < UPSERT_BODY_FROM_VERSION:
        return Answer(204, None, records=1)
    return Answer(200, {"id": found[0], "success": True, "errors": [], "created": False}, records=1)


def read_by_key(call: Call, name: str, key_name: str, key: str) -> Answer:
    """`GET /sobjects/X/ExternalId__c/value`."""
    one = resource(call, name)
    field = key_field(call.org, call.author, one, key_name)
    found = matches(call.org, one, field, key)
    if len(found) > 1:
        return Answer(300, [f"{call.base}/sobjects/{one.name}/{native}" for native in found])
    if not found:
        raise not_found()
    return read(call, name, found[0])


def remove_by_key(call: Call, name: str, key_name: str, key: str) -> Answer:
    """`DELETE /sobjects/X/ExternalId__c/value`."""
    one = resource(call, name)
    found = matches(call.org, one, key_field(call.org, call.author, one, key_name), key)
    if len(found) > 1:
        return Answer(300, [f"{call.base}/sobjects/{one.name}/{native}" for native in found])
    if not found:
        raise not_found()
    return remove(call, name, found[0])


def deleted(call: Call, name: str) -> Answer:
    """`GET /sobjects/X/deleted?start&end`; seconds are ignored."""
    one = resource(call, name)
    start, end = _window(call, DELETED_REACH)
    rows = call.org.database.execute(
        "SELECT id, deleted_at FROM sf_deleted WHERE object = ? AND deleted_at >= ? AND deleted_at < ? ORDER BY deleted_at",
        (one.name, start, end),
    )
    records = [{"id": row["id"], "deletedDate": row["deleted_at"]} for row in rows]
    earliest = instant_text(call.org.now() - DELETED_REACH)
    return Answer(
        200,
        {"deletedRecords": records, "earliestDateAvailable": earliest, "latestDateCovered": end},
        records=len(records),
    )


def updated(call: Call, name: str) -> Answer:
    """`GET /sobjects/X/updated?start&end`."""
    one = resource(call, name)
    start, end = _window(call, UPDATED_REACH)
    rows = call.org.database.execute(
        f"SELECT Id FROM {one.table} WHERE SystemModstamp >= ? AND SystemModstamp < ? AND IsDeleted = 0", (start, end)
    )
    ids = [row["Id"] for row in rows]
    return Answer(200, {"ids": ids, "latestDateCovered": end}, records=len(ids))


def _window(call: Call, reach: timedelta) -> tuple[str, str]:
    bounds = []
    for name in ("start", "end"):
        text = read_instant(call.query.get(name, ""))
        if text is None:
            raise RefusedError("INVALID_REPLICATION_DATE", f"{name} is missing or not a date")
        bounds.append(f"{text[:17]}00.000+0000")
    start, end = bounds
    if start >= end:
        raise RefusedError("INVALID_REPLICATION_DATE", "startDate must be more than one minute before endDate")
    if start < instant_text(call.org.now() - reach):
        raise RefusedError(
            "INVALID_REPLICATION_DATE", f"startDate before org's earliest available date, {reach.days} days ago"
        )
    return start, min(each for each in (end, instant_text(call.org.now()), oldest_open(call.org)) if each is not None)
