"""Properties and their groups as v1 and v2 have them: bare arrays, `named` in the path, times in milliseconds.

Source: https://developers.hubspot.com/docs/api-reference/legacy/crm/properties (v1 and v2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connector.sandbox.hubspot import property_api
from connector.sandbox.hubspot.catalog import default_properties
from connector.sandbox.hubspot.instants import parse_ms
from connector.sandbox.hubspot.serving import Answer, Call, Work, json_object

FORMS = ("form", "forms")
_SAME = (
    "name", "label", "description", "groupName", "type", "fieldType", "displayOrder", "formField", "hidden", "calculated",
    "externalOptions", "hasUniqueValue", "hubspotDefined",
)  # fmt: skip


def of_type(name: str, work: Work) -> Work:
    """The work of a path whose first part says the type, such as `/contacts/v2/properties`."""
    return lambda call: work(replace(call, parts={**call.parts, "type": name}))


def list_properties(call: Call) -> Answer:
    """`GET .../properties`: all of them; forms have such a path too, though they are no records here."""
    if call.parts["type"].lower() in FORMS:
        bodies = default_properties("forms", "forminformation")
    else:
        bodies = property_api.list_properties(replace(call, query={})).body["results"]
    return Answer(200, [_property(each) for each in bodies], len(bodies))


def get_property(call: Call) -> Answer:
    """`GET .../properties/named/{name}`."""
    return _as_property(property_api.get_property(replace(call, query={})))


def create_property(call: Call) -> Answer:
    """`POST .../properties` -> 200."""
    return _as_property(property_api.create_property(call))


def update_property(call: Call) -> Answer:
    """`PUT` (v1) or `PATCH` (v2) `.../properties/named/{name}`."""
    return _as_property(property_api.update_property(call))


def list_groups(call: Call) -> Answer:
    """`GET .../groups`; with `includeProperties=true` each has its properties."""
    found = property_api.list_groups(call).body["results"]
    return Answer(200, [_group(call, each) for each in found], len(found))


def get_group(call: Call) -> Answer:
    """`GET .../groups/named/{name}`, with its properties if `includeProperties=true`."""
    return Answer(200, _group(call, property_api.get_group(call).body), 1)


def create_group(call: Call) -> Answer:
    """`POST .../groups` with `name`, `displayName` and `displayOrder` -> 200."""
    return Answer(200, _group(call, property_api.create_group(_labelled(call)).body), 1)


def update_group(call: Call) -> Answer:
    """`PUT .../groups/named/{name}` (v2: `PATCH`, too) with `displayName` and `displayOrder`."""
    return Answer(200, _group(call, property_api.update_group(_labelled(call)).body), 1)


def _as_property(answer: Answer) -> Answer:
    return Answer(200, _property(answer.body), 1)


def _property(body: Mapping[str, Any]) -> dict[str, Any]:
    allowed = body["modificationMetadata"]
    return {
        **{name: body[name] for name in _SAME},
        "options": [{**each, "readOnly": False, "doubleData": 0.0} for each in body["options"]],
        "readOnlyValue": allowed["readOnlyValue"],
        "readOnlyDefinition": allowed["readOnlyDefinition"],
        "mutableDefinitionNotDeletable": not (allowed["archivable"] or allowed["readOnlyDefinition"]),
        "favorited": False,
        "favoritedOrder": -1,
        "displayMode": "current_value",
        "deleted": body["archived"],
        "createdAt": parse_ms(body["createdAt"]),
        "updatedAt": parse_ms(body["updatedAt"]),
        "createdUserId": None,
        "updatedUserId": None,
    }


def _labelled(call: Call) -> Call:
    """The call with the group's `displayName` as its label."""
    given = dict(json_object(call.body))
    name = given.pop("displayName", None)
    return replace(call, body={**given, "label": str(name)} if name is not None else given)


def _group(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    kind = call.catalog.types.get(call.parts["type"])
    held = [
        each.body
        for each in call.catalog.properties(kind.name).values()
        if each.body["groupName"] == body["name"] and not each.is_archived
    ]
    is_wanted = call.one("includeProperties").lower() == "true"
    return {
        "name": body["name"],
        "displayName": body["label"],
        "displayOrder": body["displayOrder"],
        "hubspotDefined": any(each["hubspotDefined"] for each in held),
        "properties": [_property(each) for each in held] if is_wanted else [],
    }
