"""The properties API: definitions, groups and batches; `older_properties` has those of v1 and v2.

Source: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connector.sandbox.context import Context
from connector.sandbox.database import read_setting, transaction, write_setting
from connector.sandbox.hubspot.answers import NOT_FOUND, Refused
from connector.sandbox.hubspot.catalog import Definition, group_body, property_body
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.reading import batch_inputs, envelope
from connector.sandbox.hubspot.serving import Answer, Call, json_object

BATCH_SIZE = 100
MOST_UNIQUE = 10
REQUIRED = ("name", "label", "type", "fieldType", "groupName")
FIELD_TYPES: Mapping[str, tuple[str, ...]] = {
    "string": ("text", "textarea", "html", "phonenumber", "file", "calculation_equation"),
    "phone_number": ("phonenumber",),
    "number": ("number", "calculation_equation"),
    "date": ("date",),
    "datetime": ("date",),
    "bool": ("booleancheckbox", "calculation_equation"),
    "enumeration": ("select", "radio", "checkbox", "booleancheckbox", "calculation_equation"),
}
UNIQUE_TYPES = ("contacts", "companies", "deals", "tickets")
UNIQUE_ON_TASKS = "hubspot_unique_on_activities"
"""The setting that lets activities have unique properties; that HubSpot accepts them on tasks is not proven."""

CHANGEABLE = (
    "label",
    "description",
    "groupName",
    "displayOrder",
    "hidden",
    "formField",
    "options",
    "type",
    "fieldType",
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


def allow_unique_on_activities(context: Context, *, is_allowed: bool) -> None:
    """Decide whether `hasUniqueValue` is accepted on tasks and other activities; refused by default."""
    write_setting(context.database, UNIQUE_ON_TASKS, "1" if is_allowed else "")


def _exists(what: str, name: str, sub_category: str) -> Refused:
    message = f"A {what} named '{name}' already exists."
    return Refused(409, message, "OBJECT_ALREADY_EXISTS", sub_category=sub_category, context={"name": [name]})


def _absent(what: str, name: str) -> Refused:
    return Refused(404, f"{what} {name} does not exist", NOT_FOUND)


def _invalid(code: str, message: str) -> Refused:
    return Refused(400, message, sub_category=f"PropertyValidationError.{code}")


def _definition(call: Call, kind: ObjectType, name: str, *, is_archived: bool = False) -> Definition:
    found = call.catalog.properties(kind.name).get(name)
    if found is None or found.is_archived != is_archived:
        raise _absent("Property", name)
    return found


def list_properties(call: Call) -> Answer:
    """`GET /crm/v3/properties/{type}`: all of them, in one answer."""
    kind = call.catalog.types.get(call.parts["type"])
    is_archived = call.one("archived").lower() == "true"
    found = call.catalog.properties(kind.name).values()
    results = [each.body for each in found if each.is_archived == is_archived]
    return Answer(200, {"results": results}, len(results))


def get_property(call: Call) -> Answer:
    """`GET /crm/v3/properties/{type}/{name}`."""
    kind = call.catalog.types.get(call.parts["type"])
    is_archived = call.one("archived").lower() == "true"
    return Answer(200, _definition(call, kind, call.parts["name"], is_archived=is_archived).body, 1)


def checked(call: Call, kind: ObjectType, given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a new property.

    Raises:
        Refused: 400 for what does not fit, 409 for a name that is in use.
    """
    lacking = [name for name in REQUIRED if not given.get(name)]
    if lacking:
        raise Refused(400, f"Some required fields were not set: [{', '.join(lacking)}]", context={"fields": lacking})
    name = str(given["name"])
    if not _NAME.fullmatch(name) or name.startswith("hs_"):
        raise _invalid("INVALID_NAME", f"The property name '{name[:100]}' is not valid.")
    if given["groupName"] not in call.catalog.groups(kind.name):
        raise _invalid("GROUP_DOES_NOT_EXIST", f"Property group {given['groupName']} does not exist")
    _check_shape(given)
    if given.get("hasUniqueValue"):
        _check_unique(call, kind)
    found = call.catalog.properties(kind.name).get(name)
    if found is not None and not found.is_archived:
        raise _exists("property", name, "Properties.PROPERTY_WITH_NAME_EXISTS")
    return property_body(given, iso(call.now_ms))


def _check_shape(given: Mapping[str, Any]) -> None:
    kind, field_type = given["type"], given["fieldType"]
    options = given.get("options") or []
    if field_type not in FIELD_TYPES.get(kind, ()):
        raise Refused(400, f"The field type {field_type} is not valid for a property of type {kind}.")
    values = [str(option.get("value", "")) for option in options]
    if kind == "bool" and sorted(values) != ["false", "true"]:
        raise _invalid("INVALID_BOOLEAN_OPTIONS", "A boolean property must have exactly two options, true and false.")
    if kind == "enumeration" and not values and not given.get("externalOptions"):
        raise Refused(400, "An enumeration property must have options.")
    if len(set(values)) != len(values) or "" in values:
        raise _invalid("OPTION_VALUE_CONFLICT", "Option values must be set, and different from each other.")


def _check_unique(call: Call, kind: ObjectType) -> None:
    is_allowed = (
        kind.name in UNIQUE_TYPES or kind.is_custom or bool(read_setting(call.context.database, UNIQUE_ON_TASKS))
    )
    if not is_allowed:
        raise Refused(400, f"Unique properties are not supported for object type {kind.type_id}.")
    held = [
        each for each in call.catalog.properties(kind.name).values() if each.is_unique and each.name != "hs_object_id"
    ]
    if len(held) >= MOST_UNIQUE:
        raise Refused(400, f"An object type can have at most {MOST_UNIQUE} unique properties.")


def create_property(call: Call) -> Answer:
    """`POST /crm/v3/properties/{type}` -> 201; the name of an archived property brings it back, as given now."""
    kind = call.catalog.types.get(call.parts["type"])
    body = checked(call, kind, json_object(call.body))
    with transaction(call.context.database) as database:
        call.catalog.save(database, kind.name, [body])
    return Answer(201, body, 1)


def update_property(call: Call) -> Answer:
    """`PATCH /crm/v3/properties/{type}/{name}`: options are replaced as a whole; name and uniqueness stay."""
    kind = call.catalog.types.get(call.parts["type"])
    found = _definition(call, kind, call.parts["name"])
    if found.body["modificationMetadata"]["readOnlyDefinition"]:
        raise _invalid("READ_ONLY_DEFINITION", f"The definition of {found.name} is read only.")
    given = json_object(call.body)
    changed = dict(found.body) | {name: given[name] for name in CHANGEABLE if name in given}
    _check_shape(changed)
    body = {**property_body(changed, iso(call.now_ms)), "createdAt": found.body["createdAt"]}
    with transaction(call.context.database) as database:
        call.catalog.save(database, kind.name, [body])
    return Answer(200, body, 1)


def archive_property(call: Call) -> Answer:
    """`DELETE /crm/v3/properties/{type}/{name}` -> 204; the values stay, unseen."""
    kind = call.catalog.types.get(call.parts["type"])
    _archive(call, kind, [call.parts["name"]])
    return Answer(204)


def _archive(call: Call, kind: ObjectType, names: Sequence[str]) -> None:
    found = [_definition(call, kind, name) for name in names]
    for each in found:
        if not each.body["modificationMetadata"]["archivable"]:
            raise _invalid("CANNOT_DELETE_PROPERTY_IN_USE", f"{each.name} cannot be archived.")
    archived = [{**each.body, "archived": True, "archivedAt": iso(call.now_ms)} for each in found]
    with transaction(call.context.database) as database:
        call.catalog.save(database, kind.name, archived)


def batch_archive(call: Call) -> Answer:
    """`POST .../batch/archive` -> 204."""
    kind = call.catalog.types.get(call.parts["type"])
    _archive(call, kind, [str(each.get("name")) for each in batch_inputs(json_object(call.body), BATCH_SIZE)])
    return Answer(204)


def batch_read(call: Call) -> Answer:
    """`POST .../batch/read` -> 200 or 207."""
    kind = call.catalog.types.get(call.parts["type"])
    started = iso(call.now_ms)
    names = [str(each.get("name")) for each in batch_inputs(json_object(call.body), BATCH_SIZE)]
    found = [each for name in names if (each := call.catalog.find(kind.name, name)) is not None]
    missing = [name for name in names if call.catalog.find(kind.name, name) is None]
    errors = [_row_error(_absent("Property", name), name) for name in missing]
    body = envelope([dict(each.body) for each in found], errors, started, iso(call.now_ms))
    return Answer(207 if errors else 200, body, len(found))


def batch_create(call: Call) -> Answer:
    """`POST .../batch/create` -> 201, or 207 where some could not be made."""
    kind = call.catalog.types.get(call.parts["type"])
    started = iso(call.now_ms)
    results: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    with transaction(call.context.database) as database:
        for each in batch_inputs(json_object(call.body), BATCH_SIZE):
            try:
                body = checked(call, kind, each)
            except Refused as refused:
                errors.append(_row_error(refused, str(each.get("name"))))
                continue
            call.catalog.save(database, kind.name, [body])
            results.append(body)
    return Answer(207 if errors else 201, envelope(results, errors, started, iso(call.now_ms)), len(results))


def _row_error(refused: Refused, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {**refused.body(""), "context": {"name": [name]}}
    body.pop("correlationId")
    return body


def list_groups(call: Call) -> Answer:
    """`GET .../groups`."""
    kind = call.catalog.types.get(call.parts["type"])
    return Answer(200, {"results": [each for each in call.catalog.groups(kind.name).values() if not each["archived"]]})


def get_group(call: Call) -> Answer:
    """`GET .../groups/{name}`."""
    return Answer(200, _group(call, call.catalog.types.get(call.parts["type"])))


def _group(call: Call, kind: ObjectType) -> dict[str, Any]:
    found = call.catalog.groups(kind.name).get(call.parts["name"])
    if found is None or found["archived"]:
        raise _absent("Property group", call.parts["name"])
    return found


def create_group(call: Call) -> Answer:
    """`POST .../groups` -> 201."""
    kind = call.catalog.types.get(call.parts["type"])
    given = json_object(call.body)
    if not given.get("name") or not given.get("label"):
        raise Refused(400, "Some required fields were not set: [name, label]")
    name = str(given["name"])
    found = call.catalog.groups(kind.name).get(name)
    if found is not None and not found["archived"]:
        raise _exists("property group", name, "Properties.PROPERTY_GROUP_WITH_NAME_EXISTS")
    body = group_body(
        name, str(given["label"]), -1 if given.get("displayOrder") is None else int(given["displayOrder"])
    )
    with transaction(call.context.database) as database:
        call.catalog.save_group(database, kind.name, body)
    return Answer(201, body)


def update_group(call: Call) -> Answer:
    """`PATCH .../groups/{name}`: label and order."""
    kind = call.catalog.types.get(call.parts["type"])
    given = json_object(call.body)
    body = _group(call, kind) | {name: given[name] for name in ("label", "displayOrder") if name in given}
    with transaction(call.context.database) as database:
        call.catalog.save_group(database, kind.name, body)
    return Answer(200, body)


def archive_group(call: Call) -> Answer:
    """`DELETE .../groups/{name}` -> 204."""
    kind = call.catalog.types.get(call.parts["type"])
    body = {**_group(call, kind), "archived": True}
    with transaction(call.context.database) as database:
        call.catalog.save_group(database, kind.name, body)
    return Answer(204)
