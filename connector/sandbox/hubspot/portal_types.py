"""The object types of one portal and the kinds of link between them: HubSpot's own, and those that the portal made.

Source: https://developers.hubspot.com/docs/api-reference/crm-custom-objects-v3/guide and
https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from connector.sandbox.hubspot.access import PORTAL_ID
from connector.sandbox.hubspot.answers import Refused, unknown_type
from connector.sandbox.hubspot.object_types import ASSOCIATION_TYPES, OBJECT_TYPES, AssociationType, ObjectType

USER_DEFINED = "USER_DEFINED"
READ_CUSTOM, WRITE_CUSTOM = ("crm.objects.custom.read",), ("crm.objects.custom.write",)
CUSTOM_SCHEMA_SCOPE = "crm.schemas.custom"

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_custom_type (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL, archived INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS hubspot_own_link (
    type_id INTEGER PRIMARY KEY, reverse_id INTEGER NOT NULL, from_type TEXT NOT NULL, to_type TEXT NOT NULL, label TEXT,
    name TEXT NOT NULL
);
"""


def custom_type(body: Mapping[str, Any]) -> ObjectType:
    """The object type behind the body of a schema."""
    return ObjectType(
        name=body["fullyQualifiedName"],
        singular=body["name"],
        type_id=body["objectTypeId"],
        default_properties=("hs_createdate", "hs_lastmodifieddate", "hs_object_id"),
        required=tuple(body["requiredProperties"]),
        searchable=tuple(body["searchableProperties"]),
        read_scopes=READ_CUSTOM,
        write_scopes=WRITE_CUSTOM,
        schema_scope=CUSTOM_SCHEMA_SCOPE,
        is_custom=True,
    )


class PortalTypes:
    """What `reload` found in the database, beside what every portal has."""

    def __init__(self) -> None:
        self._kinds: dict[str, ObjectType] = {}
        self._by_ends: dict[tuple[str, str], list[AssociationType]] = {}
        self._by_id: dict[tuple[str, int], AssociationType] = {}
        self._fill((), ())

    def _fill(self, kinds: tuple[ObjectType, ...], links: tuple[AssociationType, ...]) -> None:
        self.all = (*OBJECT_TYPES, *kinds)
        self._kinds = {name.lower(): each for each in self.all for name in (each.name, each.singular, each.type_id)}
        self._by_ends, self._by_id = {}, {}
        for link in (*ASSOCIATION_TYPES, *links):
            self._by_ends.setdefault((link.from_type, link.to_type), []).append(link)
            self._by_id[link.from_type, link.type_id] = link

    def reload(self, database: sqlite3.Connection) -> None:
        """Read the portal's own types and links again."""
        rows = database.execute("SELECT body FROM hubspot_custom_type WHERE archived = 0 ORDER BY number").fetchall()
        kinds = tuple(custom_type(orjson.loads(row["body"])) for row in rows)
        links = tuple(
            AssociationType(
                row["from_type"], row["to_type"], row["type_id"], row["reverse_id"], row["label"], USER_DEFINED
            )
            for row in database.execute("SELECT * FROM hubspot_own_link ORDER BY type_id")
        )
        self._fill(kinds, links)

    def find(self, name: str) -> ObjectType | None:
        """The type behind a plural, singular, fully qualified (`p4711_name`, `p_name`) or `0-x` name."""
        wanted = name.lower()
        return self._kinds.get(f"p{PORTAL_ID}{wanted[1:]}" if wanted.startswith("p_") else wanted)

    def get(self, name: str) -> ObjectType:
        """The type behind a name.

        Raises:
            Refused: 400, nobody knows the name.
        """
        found = self.find(name)
        if found is None:
            raise unknown_type(name)
        return found

    def link(self, from_type: str, type_id: int) -> AssociationType | None:
        """The kind of link of that id, from that type."""
        return self._by_id.get((from_type, type_id))

    def links(self, from_type: str, to_type: str) -> list[AssociationType]:
        """Every kind of link from one type to another.

        Raises:
            Refused: 400, these two types do not link.
        """
        found = self._by_ends.get((from_type, to_type))
        if found is None:
            raise Refused(400, f"No association types exist between {from_type} and {to_type}")
        return found

    def do_link(self, from_type: str, to_type: str) -> bool:
        """Whether there is any kind of link from one type to another."""
        return (from_type, to_type) in self._by_ends

    def general(self, from_type: str, to_type: str) -> AssociationType:
        """The unlabelled kind of link, which a default association gets."""
        return next(link for link in self.links(from_type, to_type) if link.label is None)

    def names(self, kind: ObjectType, other: ObjectType) -> dict[int, str]:
        """The name of each kind of link from one type to another, by its id, as the v3 APIs show it."""
        name = f"{kind.singular}_to_{other.singular}"
        types = self.links(kind.name, other.name)
        has_primary = any(each.is_primary for each in types)
        return {
            each.type_id: name
            if each.is_primary or (not has_primary and each.label is None)
            else f"{name}_unlabeled"
            if each.label is None
            else f"{name}_{each.label.lower().replace(' ', '_')}"
            for each in types
        }
