"""The JSON shapes that HubSpot's deserialiser accepts, by the name of the member: what does not fit is a 400."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connector.sandbox.hubspot.answers import Refused


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list_of(*shapes: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(any(shape(each) for shape in shapes) for each in value)


def _is_null(value: Any) -> bool:
    return value is None


def _are_values(value: Any) -> bool:
    """Property names to read, or property values to write."""
    held = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Mapping | list) and all(_is_null(each) or _is_scalar(each) for each in held)


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_are_objects = _is_list_of(_is_object)

SCALARS = (
    "id", "idProperty", "objectWriteTraceId", "after", "limit", "query", "propertyName", "operator", "value", "highValue",
    "name", "label", "type", "fieldType", "groupName", "objectId", "primaryObjectId", "objectIdToMerge",
    "associationTypeId", "associationCategory", "direction",
)  # fmt: skip
OBJECT_LISTS = ("associations", "types", "filterGroups", "filters", "options")

SHAPES: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(SCALARS, _is_scalar),
    **dict.fromkeys(OBJECT_LISTS, _are_objects),
    "inputs": _is_list_of(_is_object, _is_scalar),
    "from": _is_object,
    "to": lambda value: _is_object(value) or _are_objects(value),
    "values": _is_list_of(_is_scalar, _is_null),
    "propertiesWithHistory": _is_list_of(_is_scalar),
    "properties": _are_values,
    "sorts": _is_list_of(_is_scalar, _is_object),
    "displayOrder": _is_whole_number,
}
OF_SCHEMAS: Mapping[str, Callable[[Any], bool]] = {
    **SHAPES,
    **dict.fromkeys(("requiredProperties", "searchableProperties", "associatedObjects"), _is_list_of(_is_scalar)),
    "secondaryDisplayProperties": _is_list_of(_is_scalar),
    "properties": _are_objects,
}
"""The properties of a schema are definitions."""


def demand_shape(body: Any, shapes: Mapping[str, Callable[[Any], bool]] = SHAPES) -> None:
    """Look through a parsed body.

    Raises:
        Refused: 400, naming the first member that has a wrong shape.
    """
    if isinstance(body, list):
        for each in body:
            demand_shape(each, shapes)
    elif isinstance(body, Mapping):
        for name, value in body.items():
            if value is not None and name in shapes and not shapes[name](value):
                message = f"Invalid input JSON on line 1, column 1: Cannot deserialize the value of `{name[:100]}`"
                raise Refused(400, message)
            if name not in ("properties", "value", "values"):
                demand_shape(value, shapes)
