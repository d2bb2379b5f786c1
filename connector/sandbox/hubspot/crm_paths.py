"""The paths of records, their links, their properties and their schemas.

Source: https://developers.hubspot.com/docs/api-reference (v3 and v4 paths)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from connector.sandbox.hubspot import (
    association_api,
    association_labels,
    merging,
    older_associations,
    older_properties,
    property_api,
    reading,
    schemas,
    searching,
    writing,
)
from connector.sandbox.hubspot.catalog import Catalog
from connector.sandbox.hubspot.limits import ASSOCIATIONS, BURST, SEARCH
from connector.sandbox.hubspot.serving import Endpoint, Scopes, Work


def reads(catalog: Catalog, parts: Mapping[str, str]) -> Sequence[str]:
    """The scopes that let read records of the type in the path."""
    kind = catalog.types.find(parts["type"])
    return kind.read_scopes if kind else ()


def writes(catalog: Catalog, parts: Mapping[str, str]) -> Sequence[str]:
    """The scopes that let write records of the type in the path."""
    kind = catalog.types.find(parts["type"])
    return kind.write_scopes if kind else ()


def reads_properties(catalog: Catalog, parts: Mapping[str, str]) -> Sequence[str]:
    """The scopes that let read the properties of the type in the path."""
    kind = catalog.types.find(parts["type"])
    return (*kind.read_scopes, f"{kind.schema_scope}.read", kind.schema_scope) if kind else ()


def writes_properties(catalog: Catalog, parts: Mapping[str, str]) -> Sequence[str]:
    """The scopes that let change the properties of the type in the path."""
    kind = catalog.types.find(parts["type"])
    return (f"{kind.schema_scope}.write", kind.schema_scope) if kind else ()


def any_of(*scopes: str) -> Scopes:
    """Any of these scopes, whatever the path."""
    return lambda *_: scopes


def area(name: str, rows: Sequence[tuple[str, str, Work, Scopes]], bucket: str = BURST) -> Iterator[Endpoint]:
    """The endpoints below the paths of an area."""
    for method, suffix, work, scopes in rows:
        yield Endpoint(method, name, suffix, work, scopes, bucket)


def _object_endpoints() -> Iterator[Endpoint]:
    one = "/{type}/{id}"
    yield from area("objects", [("POST", "/{type}/search", searching.search, reads)], SEARCH)
    yield from area(
        "objects",
        [
            ("POST", "/{type}/batch/read", reading.batch_read, reads),
            ("POST", "/{type}/batch/create", writing.batch_create, writes),
            ("POST", "/{type}/batch/update", writing.batch_update, writes),
            ("POST", "/{type}/batch/upsert", writing.batch_upsert, writes),
            ("POST", "/{type}/batch/archive", writing.batch_archive, writes),
            ("POST", "/{type}/merge", merging.merge_objects, writes),
            ("POST", "/{type}/gdpr-delete", merging.gdpr_delete, writes),
            ("GET", "/{type}", reading.list_objects, reads),
            ("POST", "/{type}", writing.create_object, writes),
            ("GET", one, reading.get_object, reads),
            ("PATCH", one, writing.update_object, writes),
            ("DELETE", one, writing.archive_object, writes),
        ],
    )


def _association_endpoints() -> Iterator[Endpoint]:
    ends = "/{type}/{to_type}"
    yield from area(
        "associations",
        [
            ("POST", f"{ends}/batch/read", association_api.batch_read, reads),
            ("POST", f"{ends}/batch/create", association_api.batch_create, writes),
            ("POST", f"{ends}/batch/associate/default", association_api.batch_default, writes),
            ("POST", f"{ends}/batch/archive", association_api.batch_archive, writes),
            ("POST", f"{ends}/batch/labels/archive", association_api.batch_archive_labels, writes),
        ],
        ASSOCIATIONS,
    )
    yield from area(
        "associations",
        [
            ("GET", f"{ends}/labels", association_labels.labels, reads),
            ("POST", f"{ends}/labels", association_labels.create_label, writes_properties),
            ("PUT", f"{ends}/labels", association_labels.update_label, writes_properties),
            ("DELETE", f"{ends}/labels/{{link}}", association_labels.delete_label, writes_properties),
        ],
    )
    link = "/{type}/{id}/associations/{to_type}"
    yield from area(
        "links",
        [
            ("GET", link, association_api.list_links, reads),
            ("PUT", "/{type}/{id}/associations/default/{to_type}/{to_id}", association_api.put_link, writes),
            ("PUT", f"{link}/{{to_id}}", association_api.put_link, writes),
            ("DELETE", f"{link}/{{to_id}}", association_api.delete_links, writes),
        ],
    )


def _newer_record_endpoints() -> Iterator[Endpoint]:
    """Beside links, the paths of v4 read records as those of v3 do."""
    rows = [("GET", "/{type}", reading.list_objects, reads), ("GET", "/{type}/{id}", reading.get_object, reads)]
    yield from area("v4 records", rows)


def _older_association_endpoints() -> Iterator[Endpoint]:
    ends, link = "/{type}/{to_type}/batch", "/{type}/{id}/associations/{to_type}"
    rows = [
        ("POST", f"{ends}/read", older_associations.batch_read, reads),
        ("POST", f"{ends}/create", older_associations.batch_create, writes),
        ("POST", f"{ends}/archive", older_associations.batch_archive, writes),
    ]
    yield from area("older associations", rows, ASSOCIATIONS)
    yield from area("older associations", [("GET", "/{type}/{to_type}/types", older_associations.list_types, reads)])
    yield from area(
        "older links",
        [
            ("GET", link, older_associations.list_links, reads),
            ("PUT", f"{link}/{{to_id}}/{{link}}", older_associations.change_link, writes),
            ("DELETE", f"{link}/{{to_id}}/{{link}}", older_associations.change_link, writes),
        ],
    )


def _property_endpoints() -> Iterator[Endpoint]:
    group, one = "/{type}/groups/{name}", "/{type}/{name}"
    yield from area(
        "properties",
        [
            ("GET", "/{type}/groups", property_api.list_groups, reads_properties),
            ("POST", "/{type}/groups", property_api.create_group, writes_properties),
            ("GET", group, property_api.get_group, reads_properties),
            ("PATCH", group, property_api.update_group, writes_properties),
            ("DELETE", group, property_api.archive_group, writes_properties),
            ("POST", "/{type}/batch/read", property_api.batch_read, reads_properties),
            ("POST", "/{type}/batch/create", property_api.batch_create, writes_properties),
            ("POST", "/{type}/batch/archive", property_api.batch_archive, writes_properties),
            ("GET", "/{type}", property_api.list_properties, reads_properties),
            ("POST", "/{type}", property_api.create_property, writes_properties),
            ("GET", one, property_api.get_property, reads_properties),
            ("PATCH", one, property_api.update_property, writes_properties),
            ("DELETE", one, property_api.archive_property, writes_properties),
        ],
    )


def _older_property_endpoints() -> Iterator[Endpoint]:
    """Of any type below `/properties`, and of the three oldest ones below paths of their own."""
    one, group = "/properties/named/{name}", "/groups/named/{name}"
    rows: tuple[tuple[str, str, Work], ...] = (
        ("GET", "/properties", older_properties.list_properties),
        ("POST", "/properties", older_properties.create_property),
        ("GET", one, older_properties.get_property),
        ("DELETE", one, property_api.archive_property),
        ("GET", "/groups", older_properties.list_groups),
        ("POST", "/groups", older_properties.create_group),
        ("GET", group, older_properties.get_group),
        ("PUT", group, older_properties.update_group),
        ("DELETE", group, property_api.archive_group),
    )
    first = (*rows, ("PUT", one, older_properties.update_property))
    second = (
        *rows,
        ("PATCH", one, older_properties.update_property),
        ("PATCH", group, older_properties.update_group),
    )
    for version, works in (("first properties", first), ("second properties", second)):
        for method, suffix, work in works:
            scopes = reads_properties if method == "GET" else writes_properties
            yield Endpoint(method, version, f"/{{type}}{suffix}", work, scopes)
    for name in ("contacts", "companies", "deals"):
        for method, suffix, work in first:
            scopes = reads_properties if method == "GET" else writes_properties
            yield Endpoint(
                method, f"old {name} properties", suffix, older_properties.of_type(name, work), _fixed(name, scopes)
            )


def _fixed(name: str, scopes: Scopes) -> Scopes:
    return lambda catalog, _: scopes(catalog, {"type": name})


def _schema_endpoints() -> Iterator[Endpoint]:
    own, anyone = any_of("crm.schemas.custom.write", "crm.schemas.custom"), any_of()
    yield from area(
        "schemas",
        [
            ("GET", "", schemas.list_schemas, anyone),
            ("POST", "", schemas.create_schema, own),
            ("GET", "/{type}", schemas.get_schema, anyone),
            ("PATCH", "/{type}", schemas.update_schema, own),
            ("DELETE", "/{type}", schemas.delete_schema, own),
            ("POST", "/{type}/associations", schemas.create_link, own),
            ("DELETE", "/{type}/associations/{link}", schemas.delete_link, own),
        ],
    )


GROUPS: tuple[Callable[[], Iterator[Endpoint]], ...] = (
    _object_endpoints,
    _association_endpoints,
    _newer_record_endpoints,
    _older_association_endpoints,
    _property_endpoints,
    _older_property_endpoints,
    _schema_endpoints,
)
