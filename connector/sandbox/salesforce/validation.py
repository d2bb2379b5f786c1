"""What a written value must be: types, lengths, picklists, references, field-level security. Values come out as SQL has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import read_date, read_instant
from connector.sandbox.salesforce.org import Access, Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import NUMBER_TYPES, TEXT_TYPES, Field, SObject

QUEUE_OBJECTS = frozenset({"Lead", "Case"})
"""Objects that a queue may own."""

_NUMBER = re.compile(r"[-+]?\d{1,30}(\.\d{1,30})?([eE][-+]?\d{1,2})?")
_BOOLEANS = {"true": True, "false": False}
_EMAIL = re.compile(r"^[^@\s,;<>()\[\]]+@[^@\s,;<>()\[\]]+\.[A-Za-z0-9-]{2,}$")
_IGNORED = frozenset({"attributes"})


def clean(org: Org, access: Access, one: SObject, values: Mapping[str, Any], *, is_create: bool) -> dict[str, Any]:
    """The columns to write for a record's JSON; raises RefusedError with the vendor's code."""
    found: dict[str, Any] = {}
    forbidden = []
    for name, value in values.items():
        if name in _IGNORED:
            continue
        field = one.find(name)
        if field is None:
            reference = one.relationships.get(name.lower())
            if reference is None or not isinstance(value, Mapping):
                raise RefusedError("INVALID_FIELD", f"No such column '{name}' on sobject of type {one.name}")
            found[reference.name] = _by_key(org, reference, value)
            continue
        may_write = field.is_createable if is_create else field.is_updateable
        if not may_write or not access.may_edit(one, field):
            forbidden.append(field.name)
            continue
        found[field.name] = _value(field, value)
    if forbidden:
        raise RefusedError(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            f"Unable to create/update fields: {', '.join(forbidden)}. Please check the security settings of this field "
            "and verify that it is read/write for your profile or permission set.",
            tuple(forbidden),
        )
    _require(one, found, is_create=is_create)
    for name, value in found.items():
        field = one.fields[name]
        if field.type == "reference" and value is not None:
            _check_reference(org, one, field, value)
    return found


def _require(one: SObject, found: dict[str, Any], *, is_create: bool) -> None:
    if is_create:
        for field in one.stored:
            if found.get(field.name) is None and field.default is not None:
                found[field.name] = int(field.default) if field.type == "boolean" else field.default
    missing = [
        field.name
        for field in one.stored
        if field.is_required and (is_create or field.name in found) and found.get(field.name) is None
    ]
    if missing:
        raise RefusedError(
            "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", tuple(missing)
        )


def _value(field: Field, value: Any) -> Any:
    if value is None or value == "":
        return 0 if field.type == "boolean" else None
    if field.type == "boolean":
        known = _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(known, bool):
            raise _wrong_json("boolean", value)
        return int(known)
    if field.type in NUMBER_TYPES:
        return _number(field, value)
    if not isinstance(value, str):
        raise _wrong_json("string", value)
    return _of_text(field, value)


def _of_text(field: Field, value: str) -> str | None:
    if field.type == "datetime":
        return _instant(field, value)
    if field.type == "date":
        return _parsed(read_date(value), "date", value)
    if field.type in ("id", "reference"):
        native = full_id(value)
        if native is None:
            raise RefusedError("MALFORMED_ID", f"{field.label}: id value of incorrect type: {value}", (field.name,))
        return native
    return _text(field, value) if field.type in TEXT_TYPES else value


def _text(field: Field, value: str) -> str | None:
    value = value.strip()
    if not value:
        return None
    if field.length and len(value) > field.length:
        raise RefusedError(
            "STRING_TOO_LONG",
            f"{field.label}: data value too large: {value[:255]} (max length={field.length})",
            (field.name,),
        )
    if field.type == "email" and not _EMAIL.match(value):
        raise RefusedError("INVALID_EMAIL_ADDRESS", f"{field.label}: invalid email address: {value}", (field.name,))
    if field.type == "picklist" and field.is_restricted and value not in field.values:
        raise RefusedError(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{field.label}: bad value for restricted picklist field: {value}",
            (field.name,),
        )
    return value


def _number(field: Field, value: Any) -> int | float:
    """A number, or the text of one; what is refused are texts that are none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if any(letter in value for letter in ".eE") else int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_json("int" if field.type == "int" else "double", value)
    if field.type == "int":
        if value != int(value):
            raise _wrong_json("int", value)
        number: int | float = int(value)
        whole_digits = field.precision or 9
    else:
        number = round(float(value), field.scale)
        whole_digits = (field.precision or 18) - field.scale
    if abs(number) >= 10**whole_digits:
        raise RefusedError(
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{field.label}: value outside of valid range on numeric field: {number}",
            (field.name,),
        )
    return number


def _instant(field: Field, value: str) -> str:
    text = read_instant(value) or (f"{value}T00:00:00.000+0000" if read_date(value) == value else None)
    found = _parsed(text, "datetime", value)
    return f"{found[:19]}.000+0000"


def _parsed(found: str | None, kind: str, value: str) -> str:
    if found is None:
        raise RefusedError(
            "JSON_PARSER_ERROR",
            f"Cannot deserialize instance of {kind} from VALUE_STRING value {value[:80]} or request may be missing a "
            "required field",
        )
    return found


def _wrong_json(kind: str, value: Any) -> RefusedError:
    token = {str: "VALUE_STRING", bool: "VALUE_TRUE", int: "VALUE_NUMBER_INT", float: "VALUE_NUMBER_FLOAT"}.get(
        type(value), "START_OBJECT"
    )
    return RefusedError(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {kind} from {token} value {str(value)[:80]} or request may be missing a required "
        "field",
    )


def _check_reference(org: Org, one: SObject, field: Field, native: str) -> None:
    target = org.schema.of_id(native)
    is_queue = target is not None and target.name == "Group" and one.name not in QUEUE_OBJECTS
    if target is None or target.name not in field.to or is_queue:
        raise RefusedError(
            "FIELD_INTEGRITY_EXCEPTION", f"{field.label}: id value of incorrect type: {native}", (field.name,)
        )
    row = org.database.execute(f"SELECT * FROM {target.table} WHERE Id = ?", (native,)).fetchone()
    if row is None:
        raise RefusedError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ())
    if row["IsDeleted"]:
        raise RefusedError("ENTITY_IS_DELETED", "entity is deleted", ())
    if target.name == "Lead" and row["IsConverted"]:
        raise RefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", ())
    if field.is_owner and target.name == "User" and not row["IsActive"]:
        raise RefusedError(
            "INACTIVE_OWNER_OR_USER",
            f"operation performed with inactive user [{native}] as owner of {one.name.lower()}",
            (),
        )


def _by_key(org: Org, reference: Field, value: Mapping[str, Any]) -> str:
    """A reference given by the external id of its target: `{"Account": {"Number__c": "7"}}`."""
    keys = {name: key for name, key in value.items() if name not in _IGNORED}
    kind = value.get("attributes", {}).get("type", reference.to[0])
    if kind not in reference.to:
        raise RefusedError("INVALID_FIELD", f"{reference.relationship}: can't refer to {kind}")
    target = org.schema.objects[kind]
    if len(keys) != 1:
        raise RefusedError("INVALID_FIELD", f"{reference.relationship}: exactly one external id field is needed")
    name, key = next(iter(keys.items()))
    field = target.find(name)
    if field is None or not field.is_id_lookup:
        raise RefusedError("INVALID_FIELD", f"No such column '{name}' on sobject of type {target.name}")
    rows = org.database.execute(
        f'SELECT Id FROM {target.table} WHERE "{field.name}" = ? AND IsDeleted = 0 LIMIT 2', (key,)
    ).fetchall()
    if len(rows) != 1:
        raise RefusedError(
            "INVALID_FIELD", f"Foreign key external ID: {key} not found for field {field.name} in entity {target.name}"
        )
    return str(rows[0]["Id"])


def check_unique(org: Org, one: SObject, written: Mapping[str, Any], native: str | None) -> None:
    """Refuse a value that another live record holds in a unique field; the message names that record."""
    for name, value in written.items():
        field = one.fields.get(name)
        if field is None or not field.is_unique or value is None:
            continue
        other = org.other_with(one, name, value, native)
        if other is not None:
            raise RefusedError(
                "DUPLICATE_VALUE",
                f"duplicate value found: {name} duplicates value on record with id: {other[:15]}",
                (),
            )
