"""The properties of a portal: HubSpot's default ones (data beside this file) and the custom ones, kept in the database.

Source: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide
"""

from __future__ import annotations

import sqlite3
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from connector.sandbox.clock import SandboxClock
from connector.sandbox.context import Context
from connector.sandbox.hubspot.object_types import OBJECT_TYPES
from connector.sandbox.hubspot.portal_types import PortalTypes

DEFAULTS_SINCE = "2019-08-06T02:41:08.029Z"
"""`createdAt` of what came with the portal."""

KINDS: Mapping[str, tuple[str, str]] = {
    "text": ("string", "text"),
    "textarea": ("string", "textarea"),
    "html": ("string", "html"),
    "phone": ("string", "phonenumber"),
    "number": ("number", "number"),
    "date": ("date", "date"),
    "datetime": ("datetime", "date"),
    "bool": ("bool", "booleancheckbox"),
    "select": ("enumeration", "select"),
    "radio": ("enumeration", "radio"),
    "checkbox": ("enumeration", "checkbox"),
    "owner": ("enumeration", "select"),
    "pipeline": ("enumeration", "select"),
    "stage": ("enumeration", "radio"),
}
"""The kinds of the data files: (type, fieldType). The values of the last three are owners, pipelines and stages."""

EXTERNAL_KINDS = ("owner", "pipeline", "stage")
HIDDEN_PREFIX = "hs_v2_"
"""Properties such as `hs_v2_date_entered_{stage}` can be read by name though no list shows them."""

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_property (
    object_type TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (object_type, name)
);
CREATE TABLE IF NOT EXISTS hubspot_property_group (
    object_type TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (object_type, name)
);
"""


@dataclass(frozen=True, slots=True)
class Definition:
    """One property; `body` is what the properties API answers."""

    name: str
    type: str
    field_type: str
    options: tuple[str, ...]
    has_external_options: bool
    is_read_only: bool
    is_unique: bool
    is_archived: bool
    body: Mapping[str, Any]

    @property
    def takes_many(self) -> bool:
        """True of a multiple-checkbox property, whose value is `a;b`."""
        return self.type == "enumeration" and self.field_type == "checkbox"


def definition(body: Mapping[str, Any]) -> Definition:
    """The definition behind a body of the properties API."""
    return Definition(
        name=body["name"],
        type=body["type"],
        field_type=body["fieldType"],
        options=tuple(option["value"] for option in body.get("options") or ()),
        has_external_options=bool(body.get("externalOptions")),
        is_read_only=bool(body.get("calculated") or body["modificationMetadata"]["readOnlyValue"]),
        is_unique=bool(body.get("hasUniqueValue")),
        is_archived=bool(body.get("archived")),
        body=body,
    )


def property_body(
    given: Mapping[str, Any], at: str, *, is_default: bool = False, is_read_only: bool = False
) -> dict[str, Any]:
    """The full body of a property from what a client (or a data file) gives of it."""
    options = [
        {
            "label": option.get("label", option["value"]),
            "value": str(option["value"]),
            "description": option.get("description", ""),
            "displayOrder": option.get("displayOrder", order),
            "hidden": bool(option.get("hidden", False)),
        }
        for order, option in enumerate(given.get("options") or ())
    ]
    return {
        "updatedAt": at,
        "createdAt": at,
        "name": given["name"],
        "label": given.get("label", given["name"]),
        "type": given["type"],
        "fieldType": given["fieldType"],
        "description": given.get("description", ""),
        "groupName": given.get("groupName", ""),
        "options": options,
        "displayOrder": given.get("displayOrder", -1),
        "calculated": bool(given.get("calculated", False)),
        "externalOptions": bool(given.get("externalOptions", False)),
        "archived": False,
        "hasUniqueValue": bool(given.get("hasUniqueValue", False)),
        "hidden": bool(given.get("hidden", False)),
        "hubspotDefined": is_default,
        "modificationMetadata": {
            "archivable": not is_default,
            "readOnlyDefinition": is_default,
            "readOnlyValue": is_read_only,
        },
        "formField": bool(given.get("formField", False)),
        "dataSensitivity": given.get("dataSensitivity", "non_sensitive"),
    }


def _default_body(name: str, group: str, given: list[str]) -> dict[str, Any]:
    label, kind, *options = given
    is_read_only, kind = kind.startswith("!"), kind.lstrip("!")
    kind_type, field_type = KINDS[kind]
    pairs = (
        [option.partition("=") for option in options] if kind != "bool" else [("true", "", "Yes"), ("false", "", "No")]
    )
    return property_body(
        {
            "name": name,
            "label": label,
            "type": kind_type,
            "fieldType": field_type,
            "groupName": group,
            "options": [{"value": value, "label": text or value} for value, _, text in pairs],
            "externalOptions": kind in EXTERNAL_KINDS,
            "hasUniqueValue": name == "hs_object_id",
            "formField": not is_read_only,
        },
        DEFAULTS_SINCE,
        is_default=True,
        is_read_only=is_read_only,
    )


def group_body(name: str, label: str, order: int = -1) -> dict[str, Any]:
    """The body of a property group."""
    return {"name": name, "label": label, "displayOrder": order, "archived": False}


class Catalog:
    """The definitions of one portal, in memory; changes are written through `save` and read back by `reload`."""

    def __init__(self) -> None:
        self._properties: dict[str, dict[str, Definition]] = {}
        self._groups: dict[str, dict[str, dict[str, Any]]] = {}
        self.types = PortalTypes()
        self._clear()

    def _clear(self) -> None:
        self._properties = {each.name: {} for each in self.types.all}
        self._groups = {each.name: {} for each in self.types.all}

    def reload(self, database: sqlite3.Connection) -> None:
        """Read everything again; what belongs to an archived type is left out."""
        self.types.reload(database)
        self._clear()
        for row in database.execute("SELECT object_type, name, body FROM hubspot_property ORDER BY rowid"):
            if row["object_type"] in self._properties:
                self._properties[row["object_type"]][row["name"]] = definition(orjson.loads(row["body"]))
        for row in database.execute("SELECT object_type, name, body FROM hubspot_property_group ORDER BY rowid"):
            if row["object_type"] in self._groups:
                self._groups[row["object_type"]][row["name"]] = orjson.loads(row["body"])

    def properties(self, object_type: str) -> Mapping[str, Definition]:
        """All definitions of a type by name, archived ones too."""
        return self._properties[object_type]

    def find(self, object_type: str, name: str) -> Definition | None:
        """The live definition of that name, or None."""
        found = self._properties[object_type].get(name)
        return None if found is None or found.is_archived else found

    def known(self, object_type: str, names: Iterable[str]) -> list[str]:
        """Those names that can be read: HubSpot leaves an unknown name out of its answers without a word."""
        live = self._properties[object_type]
        return [
            name
            for name in dict.fromkeys(names)
            if (name in live and not live[name].is_archived) or name.startswith(HIDDEN_PREFIX)
        ]

    def groups(self, object_type: str) -> Mapping[str, dict[str, Any]]:
        """The property groups of a type by name."""
        return self._groups[object_type]

    def save(self, database: sqlite3.Connection, object_type: str, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Write definitions; an existing one is replaced. The index of a unique property is made with it."""
        for body in bodies:
            database.execute(
                "INSERT INTO hubspot_property (object_type, name, body) VALUES (?, ?, ?)"
                " ON CONFLICT (object_type, name) DO UPDATE SET body = excluded.body",
                (object_type, body["name"], orjson.dumps(body).decode()),
            )
            self._properties[object_type][body["name"]] = definition(body)
            if body["hasUniqueValue"] and body["name"] != "hs_object_id":
                index_property(database, object_type, body["name"])

    def save_group(self, database: sqlite3.Connection, object_type: str, body: dict[str, Any]) -> None:
        """Write a property group; an existing one is replaced."""
        database.execute(
            "INSERT INTO hubspot_property_group (object_type, name, body) VALUES (?, ?, ?)"
            " ON CONFLICT (object_type, name) DO UPDATE SET body = excluded.body",
            (object_type, body["name"], orjson.dumps(body).decode()),
        )
        self._groups[object_type][body["name"]] = body


def index_property(database: sqlite3.Connection, object_type: str, name: str) -> None:
    """Make searches for one value of a property fast. `name` has the letters of a property name only."""
    database.execute(
        f"CREATE INDEX IF NOT EXISTS hubspot_{object_type}_{name}"
        f" ON hubspot_{object_type} (json_extract(properties, '$.{name}') COLLATE NOCASE)"
    )


@cache
def default_data(object_type: str) -> Mapping[str, Mapping[str, Any]]:
    """The data file of a type: `groups`, and per group its properties."""
    file = files("connector.sandbox.hubspot") / "properties" / f"{object_type}.toml"
    return tomllib.loads(file.read_text("utf-8"))


def default_catalog(database: sqlite3.Connection, catalog: Catalog) -> None:
    """Fill an empty portal with HubSpot's default properties and groups."""
    for each in OBJECT_TYPES:
        data = default_data(each.name)
        for order, (group, label) in enumerate(data["groups"].items()):
            catalog.save_group(database, each.name, group_body(group, label, order))
            bodies = [_default_body(name, group, given) for name, given in data.get(group, {}).items()]
            catalog.save(database, each.name, bodies)


def default_properties(data_file: str, group: str) -> list[dict[str, Any]]:
    """The properties of a data file, in one group."""
    data = default_data(data_file)
    return [_default_body(name, group, given) for part in data["groups"] for name, given in data[part].items()]


_CATALOGS: WeakKeyDictionary[SandboxClock, Catalog] = WeakKeyDictionary()


def catalog_of(context: Context) -> Catalog:
    """The one catalog of a running sandbox."""
    found = _CATALOGS.get(context.clock)
    if found is None:
        found = _CATALOGS[context.clock] = Catalog()
        found.reload(context.database)
    return found
