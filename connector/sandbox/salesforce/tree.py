"""`/composite/tree/{object}`: records with their children, made together or not at all.

REST API Developer Guide, "sObject Tree": up to 200 records of at most five types, five levels deep; each needs a
`referenceId`; 201 with an id for each, or 400 with the errors of those that failed, and nothing is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.records import listed, object_body, resource
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.writing import create

MAX_RECORDS, MAX_LEVELS, MAX_TYPES = 200, 5, 5


@dataclass(frozen=True, slots=True)
class Node:
    """One record: what it is, its values, and the record and field by which it belongs to another."""

    one: SObject
    reference: str
    values: Mapping[str, Any]
    parent: str = ""
    by: str = ""


class _UndoneError(Exception):
    """Leaves the transaction of a tree of which a record failed."""


def insert_tree(call: Call, name: str) -> Answer:
    """`POST /composite/tree/{object}` -> 201, or 400 with `hasErrors`."""
    one = resource(call, name)
    records = listed(object_body(call), "records", dict)
    nodes = list(_nodes(call, one, records, Node(one, "", {}), 1))
    if not nodes or len(nodes) > MAX_RECORDS:
        raise RefusedError("INVALID_INPUT", f"A tree has 1 to {MAX_RECORDS} records")
    if len({node.one.name for node in nodes}) > MAX_TYPES:
        raise RefusedError("INVALID_INPUT", f"A tree has records of at most {MAX_TYPES} types")
    if len({node.reference for node in nodes}) < len(nodes):
        raise RefusedError("INVALID_INPUT", "Duplicate ReferenceId provided in the request")
    made: dict[str, str] = {}
    failed: list[dict[str, Any]] = []
    try:
        with transaction(call.org.database):
            for node in nodes:
                _make(call, node, made, failed)
            if failed:
                raise _UndoneError
    except _UndoneError:
        call.org.rolled_back()
        return Answer(400, {"hasErrors": True, "results": failed})
    results = [{"referenceId": reference, "id": native} for reference, native in made.items()]
    return Answer(201, {"hasErrors": False, "results": results}, records=len(results))


def _nodes(call: Call, one: SObject, records: list[dict[str, Any]], above: Node, level: int) -> Iterator[Node]:
    """The records, each before its children."""
    if level > MAX_LEVELS:
        raise RefusedError("INVALID_INPUT", f"A tree is at most {MAX_LEVELS} levels deep")
    for record in records:
        attributes = record.get("attributes")
        if not isinstance(attributes, dict) or not all(
            isinstance(attributes.get(key), str) for key in ("type", "referenceId")
        ):
            raise RefusedError("INVALID_INPUT", "Include a type and a referenceId in the attributes of each record")
        if call.org.object(attributes["type"]).name != one.name:
            raise RefusedError("INVALID_INPUT", f"Invalid type: {attributes['type']} where {one.name} is expected")
        children = {name: value for name, value in record.items() if isinstance(value, dict) and "records" in value}
        values = {name: value for name, value in record.items() if name != "attributes" and name not in children}
        node = Node(one, attributes["referenceId"], values, above.reference, above.by)
        yield node
        for name, value in children.items():
            child, by = _child(call, one, name)
            below = Node(child, node.reference, {}, by=by)
            yield from _nodes(call, child, listed(value, "records", dict), below, level + 1)


def _child(call: Call, one: SObject, name: str) -> tuple[SObject, str]:
    for child, reference in call.org.schema.children_of(one.name):
        if (reference.children or "").lower() == name.lower():
            return child, reference.name
    raise RefusedError("INVALID_FIELD", f"No such relationship '{name[:80]}' on entity '{one.name}'")


def _make(call: Call, node: Node, made: dict[str, str], failed: list[dict[str, Any]]) -> None:
    """Make a record; what hangs on one that failed is passed over."""
    if node.parent and node.parent not in made:
        return
    values = {**node.values, node.by: made[node.parent]} if node.parent else node.values
    try:
        made[node.reference] = create(call.org, call.author, node.one, values)
    except RefusedError as error:
        failed.append({"referenceId": node.reference, "errors": [error.as_record_error()]})
