"""Filling an empty portal from the generated world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connector.sandbox.context import Context
from connector.sandbox.hubspot import account, linking, marketing, records
from connector.sandbox.hubspot.catalog import Catalog, catalog_of, group_body, property_body
from connector.sandbox.hubspot.instants import iso, parse_ms, to_ms
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.portal_types import PortalTypes
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.values import as_text

ROWS_AT_ONCE = 5_000


def load(context: Context, world: Any) -> None:
    """Insert the world, a mapping or an object with these members, each of which may be missing:

    - `objects`: type -> rows `{id, properties, createdAt, updatedAt, archived, archivedAt?}`;
    - `associations`: `(from type, from id, to type, to id, type id)`; the other direction is added;
    - `owners`, `forms`: bodies; `pipelines`: type -> bodies; `submissions`: form guid -> bodies;
    - `email_events`, `events`: bodies of e-mail events and of behavioural events;
    - `properties`: type -> bodies of custom properties; a group that does not exist is made.
    """
    database = context.database
    catalog = catalog_of(context)
    for name, bodies in _member(world, "properties", {}).items():
        _load_properties(context, catalog, catalog.types.get(name), bodies)
    for name, bodies in _member(world, "pipelines", {}).items():
        account.save_pipelines(database, catalog.types.get(name).name, bodies)
    account.save_owners(database, _member(world, "owners", []))
    for name, rows in _member(world, "objects", {}).items():
        _load_records(context, catalog, catalog.types.get(name), rows)
    _load_links(context, catalog.types, _member(world, "associations", []))
    marketing.save_forms(database, _member(world, "forms", []))
    for form, submissions in _member(world, "submissions", {}).items():
        marketing.save_submissions(database, form, submissions)
    marketing.save_email_events(database, _member(world, "email_events", []))
    marketing.save_events(database, _member(world, "events", []))


def _member(world: Any, name: str, default: Any) -> Any:
    found = world.get(name) if isinstance(world, Mapping) else getattr(world, name, None)
    return default if found is None else found


def _load_properties(context: Context, catalog: Catalog, kind: ObjectType, bodies: Iterable[Mapping[str, Any]]) -> None:
    at = iso(to_ms(context.clock.now()))
    for given in bodies:
        group = given.get("groupName") or next(iter(catalog.groups(kind.name)))
        if group not in catalog.groups(kind.name):
            catalog.save_group(context.database, kind.name, group_body(group, group.replace("_", " ").capitalize()))
        catalog.save(context.database, kind.name, [property_body({**given, "groupName": group}, at)])


def _load_records(context: Context, catalog: Catalog, kind: ObjectType, rows: Iterable[Mapping[str, Any]]) -> None:
    now_ms = to_ms(context.clock.now())
    waiting: list[Record] = []
    last_id = 0
    for row in rows:
        created_ms = _ms(row.get("createdAt"), now_ms)
        modified_ms = _ms(row.get("updatedAt"), created_ms)
        record_id = int(row["id"])
        properties = {name: text for name, value in row["properties"].items() if (text := as_text(value))}
        record = records.stamped(kind, record_id, properties, created_ms, modified_ms)
        if row.get("archived"):
            archived_ms = _ms(row.get("archivedAt"), modified_ms)
            record = Record(record_id, record.properties, created_ms, modified_ms, archived_ms)
        waiting.append(record)
        last_id = max(last_id, record_id)
        if len(waiting) >= ROWS_AT_ONCE:
            records.write(context.database, catalog, kind, waiting)
            waiting = []
    records.write(context.database, catalog, kind, waiting)
    records.note_merges(context.database, kind)
    records.reserve_ids(context.database, last_id)


def _ms(value: Any, default: int) -> int:
    if value is None or value == "":
        return default
    if hasattr(value, "tzinfo"):
        return to_ms(value)
    ms = parse_ms(str(value))
    if ms is None:
        raise ValueError(f"not an instant: {value}")
    return ms


def _load_links(context: Context, types: PortalTypes, links: Iterable[tuple[str, Any, str, Any, Any]]) -> None:
    waiting: list[linking.Link] = []
    for from_type, from_id, to_type, to_id, type_id in links:
        ends = types.get(from_type).name, types.get(to_type).name
        link = next(each for each in types.links(*ends) if each.type_id == int(type_id))
        waiting += linking.both_ways(link, int(from_id), int(to_id))
        if link.is_primary:
            waiting += linking.both_ways(types.general(*ends), int(from_id), int(to_id))
        if len(waiting) >= ROWS_AT_ONCE:
            linking.insert(context.database, waiting)
            waiting = []
    linking.insert(context.database, waiting)
