"""`/composite/sobjects`: up to 200 records in one call, one result for each, in order.

REST API Developer Guide, "sObject Collections": 200 records, at most ten runs of one type, HTTP 200 whenever the request is
well formed. The codes of requests that are refused as a whole are not documented; those here are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.context import SALESFORCE
from connector.sandbox.database import transaction
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.records import listed, object_body, resource
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.writing import create, delete, key_field, matches, update

MAX_RECORDS = 200
MAX_TYPE_CHUNKS = 10
MAX_RETRIEVED = 2_000

ROLLED_BACK = RefusedError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a request: its object, its id where it has one, what to write, and how to do it."""

    one: SObject | None
    native: str | None
    values: Mapping[str, Any]
    error: RefusedError | None = None


class _RollBackError(Exception):
    """Leaves the transaction of an all-or-none request."""


def _rows(call: Call) -> tuple[list[dict[str, Any]], bool]:
    body = object_body(call)
    records = listed(body, "records", dict)
    _limit(len(records))
    return records, body.get("allOrNone") is True


def _limit(count: int) -> None:
    if count > MAX_RECORDS:
        raise RefusedError(
            "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {MAX_RECORDS} records into this call"
        )


def _objects(call: Call, records: list[dict[str, Any]]) -> list[SObject | RefusedError]:
    """The object of each record by `attributes.type`; more than ten runs of one type are refused."""
    found: list[SObject | RefusedError] = []
    chunks, last = 0, ""
    for record in records:
        attributes = record.get("attributes")
        name = attributes.get("type") if isinstance(attributes, dict) else None
        if not isinstance(name, str):
            raise RefusedError("INVALID_INPUT", "Include an 'attributes' object with a 'type' field for each record")
        if name != last:
            chunks, last = chunks + 1, name
        one = call.org.schema.find(name)
        found.append(one if one is not None else _unknown(name))
    if chunks > MAX_TYPE_CHUNKS:
        raise RefusedError(
            "INVALID_INPUT", f"A request can't contain more than {MAX_TYPE_CHUNKS} chunks of different object types"
        )
    return found


def _unknown(name: str) -> RefusedError:
    return RefusedError("INVALID_TYPE", f"sObject type '{name}' is not supported.")


def insert_many(call: Call) -> Answer:
    """`POST /composite/sobjects`."""
    records, all_or_none = _rows(call)
    rows = [
        Row(one, None, record) if isinstance(one, SObject) else Row(None, None, record, one)
        for one, record in zip(_objects(call, records), records, strict=True)
    ]
    author = call.author

    def write(row: Row) -> dict[str, Any]:
        assert row.one is not None
        return {"id": create(call.org, author, row.one, row.values), "success": True, "errors": []}

    return _run(call, rows, write, all_or_none)


def update_many(call: Call) -> Answer:
    """`PATCH /composite/sobjects`."""
    records, all_or_none = _rows(call)
    rows, seen = [], set()
    for one, record in zip(_objects(call, records), records, strict=True):
        given = record.get("id", record.get("Id"))
        values = {name: value for name, value in record.items() if name not in ("id", "Id")}
        native = full_id(given)
        error = one if isinstance(one, RefusedError) else None
        if error is None and given is None:
            error = RefusedError("MISSING_ARGUMENT", "Id not specified in an update call")
        elif error is None and (native is None or (isinstance(one, SObject) and native[:3] != one.prefix)):
            error = RefusedError("MALFORMED_ID", f"Record ID: id value of incorrect type: {given}", ("Id",))
        elif error is None and native in seen:
            error = RefusedError("DUPLICATE_VALUE", f"duplicate id specified: {native}")
        seen.add(native)
        rows.append(Row(one if isinstance(one, SObject) else None, native, values, error))
    author = call.author

    def write(row: Row) -> dict[str, Any]:
        assert row.one is not None
        assert row.native is not None
        update(call.org, author, row.one, row.native, row.values)
        return {"id": row.native, "success": True, "errors": []}

    return _run(call, rows, write, all_or_none)


def upsert_many(call: Call, name: str, key_name: str) -> Answer:
    """`PATCH /composite/sobjects/X/ExternalId__c`: the key stands in each record."""
    one = resource(call, name)
    field = key_field(call.org, call.author, one, key_name)
    records, all_or_none = _rows(call)
    for other in _objects(call, records):
        if isinstance(other, RefusedError) or other.name != one.name:
            raise RefusedError("INVALID_INPUT", f"All records of this call must be of type {one.name}")
    counts: dict[str, int] = {}
    keys = [_pop_key(record, field) for record in records]
    for key in keys:
        counts[str(key).lower()] = counts.get(str(key).lower(), 0) + 1
    rows = [_upsert_row(call, one, field, key, record, counts) for key, record in zip(keys, records, strict=True)]
    author = call.author

    def write(row: Row) -> dict[str, Any]:
        if row.native is None:
            native = create(call.org, author, one, row.values)
            return {"id": native, "success": True, "errors": [], "created": True}
        update(call.org, author, one, row.native, row.values)
        return {"id": row.native, "success": True, "errors": [], "created": False}

    return _run(call, rows, write, all_or_none)


def _pop_key(record: dict[str, Any], field: Field) -> Any:
    name = next((given for given in record if given.lower() == field.name.lower()), None)
    return None if name is None else record.pop(name)


def _upsert_row(
    call: Call, one: SObject, field: Field, key: Any, record: dict[str, Any], counts: Mapping[str, int]
) -> Row:
    if field.name == "Id":
        native = full_id(key)
        is_wrong = key not in (None, "") and (native is None or native[:3] != one.prefix)
        wrong = RefusedError("MALFORMED_ID", f"Record ID: id value of incorrect type: {key}", ("Id",))
        return Row(one, native, record, wrong if is_wrong else None)
    if key is None or key == "":
        error = RefusedError("MISSING_ARGUMENT", f"{field.name} not specified")
        return Row(one, None, record, error)
    if counts[str(key).lower()] > 1:
        return Row(one, None, record, RefusedError("DUPLICATE_VALUE", f"Duplicate external id specified: {key}"))
    found = matches(call.org, one, field, key)
    if len(found) > 1:
        text = f"{field.name}: more than one record found for external id field: [{', '.join(found)}]"
        return Row(one, None, record, RefusedError("DUPLICATE_EXTERNAL_ID", text))
    return Row(one, found[0] if found else None, record if found else {**record, field.name: key})


def delete_many(call: Call) -> Answer:
    """`DELETE /composite/sobjects?ids=a,b`."""
    ids = [text.strip() for text in call.query.get("ids", "").split(",") if text.strip()]
    _limit(len(ids))
    rows = []
    for text in ids:
        native = full_id(text)
        one = call.org.schema.of_id(native) if native is not None else None
        error = None if one is not None else RefusedError("MALFORMED_ID", f"malformed id {text}")
        rows.append(Row(one, native, {}, error))
    author = call.author

    def write(row: Row) -> dict[str, Any]:
        assert row.one is not None
        assert row.native is not None
        delete(call.org, author, row.one, row.native)
        return {"id": row.native, "success": True, "errors": []}

    return _run(call, rows, write, call.query.get("allOrNone", "false").lower() == "true")


def _run(call: Call, rows: list[Row], write: Callable[[Row], dict[str, Any]], all_or_none: bool) -> Answer:
    """Write the rows; each fails by itself, or all together when all-or-none is asked for."""
    faults = _faults(call, rows)
    results: list[dict[str, Any]] = []
    has_failed = False
    try:
        with transaction(call.org.database):
            for index, row in enumerate(rows):
                try:
                    if index in faults:
                        raise RefusedError(*faults[index])
                    if row.error is not None:
                        raise row.error
                    results.append(write(row))
                except RefusedError as error:
                    has_failed = True
                    results.append(_failure(row, error))
            if has_failed and all_or_none:
                raise _RollBackError
    except _RollBackError:
        call.org.rolled_back()
        results = [
            _rolled_back(row, result) if result["success"] else result
            for row, result in zip(rows, results, strict=True)
        ]
    return Answer(200, results, records=len(rows))


def _faults(call: Call, rows: list[Row]) -> dict[int, tuple[str, str]]:
    names = {row.one.name for row in rows if row.one is not None}
    found: dict[int, tuple[str, str]] = {}
    for name in sorted(names):
        indexes = [index for index, row in enumerate(rows) if row.one is not None and row.one.name == name]
        ids = [rows[index].native for index in indexes]
        errors = call.org.context.faults.record_errors(SALESFORCE, name, ids)
        found |= {indexes[position]: error for position, error in errors.items()}
    return found


def _rolled_back(row: Row, result: dict[str, Any]) -> dict[str, Any]:
    """The result of a good row that was undone; that of an upsert goes on to say whether it was created."""
    kept = {"created": result["created"]} if "created" in result else {}
    return _failure(row, ROLLED_BACK) | kept


def _failure(row: Row, error: RefusedError) -> dict[str, Any]:
    given = {"id": row.native} if row.native is not None else {}
    return {**given, "success": False, "errors": [error.as_record_error()]}


def retrieve_many(call: Call, name: str) -> Answer:
    """`POST` or `GET /composite/sobjects/X`: the records in the order of the ids, null for what is not there."""
    one = resource(call, name)
    if call.method == "GET":
        ids = [text for text in call.query.get("ids", "").split(",") if text]
        fields = [text for text in call.query.get("fields", "").split(",") if text]
    else:
        body = object_body(call)
        ids, fields = listed(body, "ids", str), listed(body, "fields", str)
    if len(ids) > MAX_RETRIEVED:
        raise RefusedError("EXCEEDED_ID_LIMIT", f"record limit reached. cannot retrieve more than {MAX_RETRIEVED}")
    if not fields:
        raise RefusedError("MISSING_ARGUMENT", "fields is required")
    wanted = [full_id(text) for text in ids]
    found = call.queries.retrieve(one, [each for each in wanted if each], list(fields), call.reader)
    return Answer(200, [found.get(each) if each else None for each in wanted], records=len(found))
