"""The kinds of link between two types of object: reading them, and labels that the portal makes.

Source: https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide ("Create and manage association labels")
"""

from __future__ import annotations

from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.object_types import AssociationType, ObjectType
from connector.sandbox.hubspot.portal_types import USER_DEFINED
from connector.sandbox.hubspot.records import as_id
from connector.sandbox.hubspot.serving import Answer, Call, json_object

MOST_LABELS = 50
"""Labels that a portal may make between two types of object."""

FIRST_OWN_ID = 10_001


def _ends(call: Call) -> tuple[ObjectType, ObjectType]:
    return call.catalog.types.get(call.parts["type"]), call.catalog.types.get(call.parts["to_type"])


def _shown(link: AssociationType) -> dict[str, Any]:
    return {"category": link.category, "typeId": link.type_id, "label": link.label}


def labels(call: Call) -> Answer:
    """`GET .../labels`: the kinds of link from one type to another."""
    source, target = _ends(call)
    results = [_shown(each) for each in call.catalog.types.links(source.name, target.name)]
    return Answer(200, {"results": results}, len(results))


def create_label(call: Call) -> Answer:
    """`POST .../labels` with `name`, `label` and, for a pair, `inverseLabel` -> 200: the label in both directions."""
    source, target = _ends(call)
    given = json_object(call.body)
    name, label = str(given.get("name") or ""), str(given.get("label") or "").strip()
    if not name or not label or not name[0].isalpha():
        raise Refused(400, "A label needs a label, and a name that begins with a letter.")
    own = [
        each
        for each in call.catalog.types.links(source.name, target.name)
        if each.category == USER_DEFINED and each.label
    ]
    if label.lower() in [str(each.label).lower() for each in own]:
        raise Refused(
            400, f"A label {label[:100]} already exists between these objects.", sub_category="DUPLICATE_LABEL"
        )
    if len(own) >= MOST_LABELS:
        raise Refused(400, f"There can be {MOST_LABELS} labels between two objects.", sub_category="LIMIT_EXCEEDED")
    inverse = str(given.get("inverseLabel") or "").strip() or None
    with transaction(call.context.database):
        made = add_links(call, source, target, label, inverse, name)
    links = [call.catalog.types.link(kind.name, each) for kind, each in zip((source, target), made, strict=False)]
    return Answer(200, {"results": [_shown(link) for link in links if link is not None]}, len(made))


def update_label(call: Call) -> Answer:
    """`PUT .../labels` with `associationTypeId`, `label` and, of a pair, `inverseLabel` -> 204."""
    given = json_object(call.body)
    link = _own(call, given.get("associationTypeId"))
    label = str(given.get("label") or "").strip()
    if not label:
        raise Refused(400, "label is missing.")
    with transaction(call.context.database) as database:
        inverse = str(given.get("inverseLabel") or "").strip()
        statement = "UPDATE hubspot_own_link SET label = ? WHERE type_id = ?"
        changes = {link.reverse_id: inverse or label, link.type_id: label}
        database.executemany(statement, [(text, each) for each, text in changes.items()])
        call.catalog.reload(database)
    return Answer(204)


def delete_label(call: Call) -> Answer:
    """`DELETE .../labels/{id}` -> 204: the label goes, the links themselves stay as unlabelled ones."""
    link = _own(call, call.parts["link"])
    with transaction(call.context.database):
        remove_link(call, link.from_type, link.type_id)
    return Answer(204)


def _own(call: Call, given: Any) -> AssociationType:
    """The portal's label of an id; those of HubSpot cannot be changed."""
    source, target = _ends(call)
    link = call.catalog.types.link(source.name, as_id(given) or -1)
    if link is None or link.to_type != target.name:
        raise not_found()
    if link.category != USER_DEFINED or link.label is None:
        raise Refused(400, "HubSpot's own association types cannot be changed.")
    return link


def add_links(
    call: Call, source: ObjectType, target: ObjectType, label: str | None, inverse: str | None, name: str
) -> list[int]:
    """A kind of link in both directions; gives the ids from the source and from the target (one where both are the same
    and no second label tells them apart)."""
    database = call.context.database
    row = database.execute("SELECT coalesce(max(type_id), ?) + 1 AS id FROM hubspot_own_link", (FIRST_OWN_ID - 1,))
    there = int(row.fetchone()["id"])
    is_one = source.name == target.name and inverse in (None, label)
    back = there if is_one else there + 1
    rows = [(there, back, source.name, target.name, label, name)]
    if not is_one:
        rows.append((back, there, target.name, source.name, inverse or label, name))
    database.executemany("INSERT INTO hubspot_own_link VALUES (?, ?, ?, ?, ?, ?)", rows)
    call.catalog.reload(database)
    return [there] if is_one else [there, back]


def remove_link(call: Call, from_type: str, type_id: int) -> None:
    """Take away a kind of link, with the links of it, in both directions."""
    link = call.catalog.types.link(from_type, type_id)
    assert link is not None
    database = call.context.database
    for each in {link.type_id, link.reverse_id}:
        database.execute("DELETE FROM hubspot_own_link WHERE type_id = ?", (each,))
        database.execute("DELETE FROM hubspot_link WHERE type_id = ?", (each,))
    call.catalog.reload(database)
