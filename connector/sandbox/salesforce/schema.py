"""The sObjects of the org and their fields: standard ones from `schema.toml`, custom ones from the database."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import orjson

NUMBER_TYPES = frozenset({"int", "double", "currency", "percent"})
TEXT_TYPES = frozenset({"string", "picklist", "combobox", "textarea", "phone", "url", "email", "encryptedstring"})
ADDRESS_PARTS = ("Street", "City", "State", "PostalCode", "Country")
DEFAULT_LENGTHS = {"phone": 40, "url": 255, "email": 80, "picklist": 255, "textarea": 255, "string": 255}
EVERYTHING, MINE = "everything", "mine"
PERSON_NAME_OBJECTS = frozenset({"Contact", "Lead", "User"})

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an sObject. `parts` is the prefix of the components of a compound address; `formula` is the path of the
    field that a formula field shows, such as `Account.Industry`."""

    name: str
    type: str = "string"
    length: int = 0
    precision: int = 0
    scale: int = 0
    label: str = ""
    to: tuple[str, ...] = ()
    relationship: str | None = None
    children: str | None = None
    values: tuple[str, ...] = ()
    is_restricted: bool = False
    is_required: bool = False
    default: Any = None
    is_unique: bool = False
    is_external_id: bool = False
    is_id_lookup: bool = False
    is_indexed: bool = False
    is_case_sensitive: bool = False
    is_createable: bool = True
    is_updateable: bool = True
    is_filterable: bool = True
    is_owner: bool = False
    parts: str | None = None
    help_text: str | None = None
    formula: str | None = None

    @property
    def is_custom(self) -> bool:
        """Custom fields need a permission set that grants them."""
        return self.name.endswith("__c")

    @property
    def is_stored(self) -> bool:
        """Compound and formula fields are made of others."""
        return self.type != "address" and self.formula is None

    @property
    def is_long(self) -> bool:
        """A long text area can be read only: no condition, order, group or count."""
        return self.type == "textarea" and self.length > DEFAULT_LENGTHS["textarea"]

    @property
    def is_groupable(self) -> bool:
        """Whether GROUP BY takes it (SOQL and SOSL Reference, "Considerations for GROUP BY")."""
        is_fraction = self.type in NUMBER_TYPES and self.type != "int"
        return not (is_fraction or self.is_long or self.type in ("datetime", "address"))

    @property
    def is_aggregatable(self) -> bool:
        """Whether COUNT, MIN and MAX take it (there, "Support for Field Types in Aggregate Functions")."""
        return not (self.is_long or self.type in ("boolean", "address"))


@dataclass(frozen=True, slots=True)
class SObject:
    """One sObject with its fields in order, system fields included."""

    name: str
    prefix: str
    label: str
    label_plural: str
    fields: Mapping[str, Field]
    is_createable: bool = True
    is_updateable: bool = True
    is_deletable: bool = True
    is_undeletable: bool = True
    is_activity: bool = False
    by_lower: Mapping[str, Field] = field(default_factory=dict, repr=False)
    relationships: Mapping[str, Field] = field(default_factory=dict, repr=False)

    def find(self, name: str) -> Field | None:
        """The field of that name, whatever its case."""
        return self.fields.get(name) or self.by_lower.get(name.lower())

    @property
    def table(self) -> str:
        """Quoted name of its table."""
        return f'"sf_{self.name}"'

    @property
    def scopes(self) -> tuple[str, ...]:
        """What USING SCOPE takes."""
        owned = any(one.is_owner for one in self.fields.values())
        return (EVERYTHING, MINE) if owned else (EVERYTHING,)

    @property
    def stored(self) -> list[Field]:
        """The fields that have a column."""
        return [one for one in self.fields.values() if one.is_stored]


_SYSTEM_FIELDS = (
    Field("Id", "id", 18, label="Record ID", is_createable=False, is_updateable=False, is_id_lookup=True),
    Field("IsDeleted", "boolean", label="Deleted", default=False, is_createable=False, is_updateable=False),
)


def _audit(name: str, relationship: str | None = None) -> Field:
    if relationship is None:
        return Field(name, "datetime", label=label_of(name), is_createable=False, is_updateable=False)
    return Field(
        name,
        "reference",
        18,
        label=label_of(name),
        to=("User",),
        relationship=relationship,
        is_createable=False,
        is_updateable=False,
    )


def label_of(name: str) -> str:
    """A label made of an API name: `AnnualRevenue` -> "Annual Revenue", `OwnerId` -> "Owner ID"."""
    words = _WORDS.sub(" ", name.removesuffix("__c").replace("_", " "))
    return words[:-2] + "ID" if words.endswith(" Id") else words


_AUDIT_FIELDS = (
    _audit("CreatedDate"),
    _audit("CreatedById", "CreatedBy"),
    _audit("LastModifiedDate"),
    _audit("LastModifiedById", "LastModifiedBy"),
    _audit("SystemModstamp"),
)


class Schema:
    """All sObjects; custom fields can be added while it runs."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.objects: dict[str, SObject] = _standard_objects()
        self._by_lower = {name.lower(): name for name in self.objects}
        self._by_prefix = {one.prefix: name for name, one in self.objects.items()}

    def find(self, name: str) -> SObject | None:
        """The sObject of that name, whatever its case."""
        return self.objects.get(self._by_lower.get(name.lower(), ""))

    def of_id(self, native_id: str) -> SObject | None:
        """The sObject that this id belongs to, by its key prefix."""
        return self.objects.get(self._by_prefix.get(native_id[:3], ""))

    def create_tables(self) -> None:
        """Make the tables that are missing, and learn the custom fields that were added in an earlier run."""
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS sf_custom_field (object TEXT, name TEXT, definition TEXT, "
            "PRIMARY KEY (object, name))"
        )
        for row in self._database.execute("SELECT object, definition FROM sf_custom_field ORDER BY rowid").fetchall():
            stored = orjson.loads(row["definition"])
            self._put(row["object"], Field(**{**stored, "to": tuple(stored["to"]), "values": tuple(stored["values"])}))
        for one in self.objects.values():
            for statement in table_statements(one):
                self._database.execute(statement)
            self._add_missing_columns(one)

    def _add_missing_columns(self, one: SObject) -> None:
        """A data folder of an earlier version lacks the columns of fields that are new in the schema."""
        known = {row["name"] for row in self._database.execute(f"PRAGMA table_info({one.table})")}
        for each in one.stored:
            if each.name not in known:
                self._database.execute(f"ALTER TABLE {one.table} ADD COLUMN {column_definition(each)}")

    def put_field(self, object_name: str, new: Field) -> bool:
        """Add a custom field, or change it; tells whether it is new."""
        is_new = new.name not in self.objects[object_name].fields
        self._put(object_name, new)
        if is_new and new.is_stored:
            table = self.objects[object_name].table
            self._database.execute(f"ALTER TABLE {table} ADD COLUMN {column_definition(new)}")
            for statement in index_statements(self.objects[object_name], new):
                self._database.execute(statement)
        self._database.execute(
            "INSERT OR REPLACE INTO sf_custom_field (object, name, definition) VALUES (?, ?, ?)",
            (object_name, new.name, orjson.dumps(dataclasses.asdict(new)).decode()),
        )
        return is_new

    def forget_unwritten(self) -> None:
        """After a rollback: drop the custom fields that are not in the database."""
        written = {
            (row["object"], row["name"]) for row in self._database.execute("SELECT object, name FROM sf_custom_field")
        }
        standard = _standard_objects()
        for name, one in self.objects.items():
            kept = [f for f in one.fields.values() if f.name in standard[name].fields or (name, f.name) in written]
            self.objects[name] = _with_fields(one, kept)

    def _put(self, object_name: str, new: Field) -> None:
        one = self.objects[object_name]
        fields = {**one.fields, new.name: new}
        self.objects[object_name] = _with_fields(one, fields.values())

    def path(self, one: SObject, text: str) -> str:
        """The path from an object to a stored field, `Account.Industry`, as the schema spells it; KeyError of what is none."""
        *steps, last = text.split(".")
        names = []
        for step in steps:
            reference = one.relationships[step.lower()]
            if len(reference.to) > 1:
                raise KeyError(step)
            one = self.objects[reference.to[0]]
            names.append(str(reference.relationship))
        target = one.find(last)
        if target is None or not target.is_stored:
            raise KeyError(last)
        return ".".join([*names, target.name])

    def child_of(self, name: str, relationship: str) -> tuple[SObject, Field] | None:
        """The object of a child relationship, and its field that refers to the parent."""
        wanted = relationship.lower()
        return next((each for each in self.children_of(name) if (each[1].children or "").lower() == wanted), None)

    def children_of(self, name: str) -> list[tuple[SObject, Field]]:
        """Which fields of which objects refer to this object, in a fixed order."""
        return [
            (one, referring)
            for one in self.objects.values()
            for referring in one.fields.values()
            if name in referring.to
        ]


def _with_fields(one: SObject, fields: Iterable[Field]) -> SObject:
    named = {each.name: each for each in fields}
    return dataclasses.replace(
        one,
        fields=named,
        by_lower={name.lower(): each for name, each in named.items()},
        relationships={each.relationship.lower(): each for each in named.values() if each.relationship},
    )


def _standard_objects() -> dict[str, SObject]:
    text = resources.files(__package__).joinpath("schema.toml").read_text("utf-8")
    return {name: _object(name, spec) for name, spec in tomllib.loads(text).items()}


def _object(name: str, spec: Mapping[str, Any]) -> SObject:
    label = label_of(name)
    own = [_field(field_name, given) for field_name, given in spec["fields"].items()]
    plural = f"{label[:-1]}ies" if label.endswith("y") else f"{label}s"
    bare = SObject(
        name=name,
        prefix=spec["prefix"],
        label=label,
        label_plural=plural,
        fields={},
        is_createable=spec.get("createable", True),
        is_updateable=spec.get("updateable", True),
        is_deletable=spec.get("deletable", spec.get("createable", True)),
        is_undeletable=spec.get("undeletable", spec.get("createable", True)),
        is_activity=spec.get("activity", False),
    )
    return _with_fields(bare, (*_SYSTEM_FIELDS, *own, *_AUDIT_FIELDS))


def _field(name: str, given: Mapping[str, Any]) -> Field:
    kind = given.get("type", "string")
    length = given.get("length", 18 if kind == "reference" else DEFAULT_LENGTHS.get(kind, 0))
    return Field(
        name=name,
        type=kind,
        length=length,
        precision=given.get("precision", 0),
        scale=given.get("scale", 0),
        label=given.get("label", label_of(name)),
        to=tuple(given.get("to", ())),
        relationship=given.get("as"),
        children=given.get("children"),
        values=tuple(given.get("values", ())),
        is_restricted=given.get("restricted", False),
        is_required=given.get("required", False),
        default=given.get("default"),
        is_unique=given.get("unique", False),
        is_external_id=given.get("external_id", False),
        is_id_lookup=given.get("id_lookup", False) or given.get("external_id", False),
        is_indexed=given.get("indexed", False),
        is_createable=given.get("create", True),
        is_updateable=given.get("update", True),
        is_filterable=given.get("filterable", kind not in ("textarea", "address")),
        is_owner=given.get("owner", False),
        parts=given.get("parts"),
    )


def column_definition(one: Field) -> str:
    """The SQL column of a field. Text compares without case, ids and case-sensitive keys with."""
    if one.type in ("boolean", "int"):
        return f'"{one.name}" INTEGER'
    if one.type in NUMBER_TYPES:
        return f'"{one.name}" REAL'
    is_exact = one.type in ("id", "reference", "date", "datetime") or one.is_case_sensitive
    return f'"{one.name}" TEXT' + ("" if is_exact else " COLLATE NOCASE")


def table_statements(one: SObject) -> list[str]:
    """CREATE statements of an sObject's table and indexes."""
    columns = ", ".join(column_definition(each) + (" PRIMARY KEY" if each.name == "Id" else "") for each in one.stored)
    statements = [
        f"CREATE TABLE IF NOT EXISTS {one.table} ({columns})",
        f'CREATE INDEX IF NOT EXISTS "sf_{one.name}_stamp" ON {one.table} (SystemModstamp, Id)',
    ]
    for each in one.stored:
        statements += index_statements(one, each)
    return statements


def index_statements(one: SObject, each: Field) -> list[str]:
    """CREATE INDEX statements of a field: unique keys, external ids, look-ups and references to records."""
    is_wanted = each.is_unique or each.is_external_id or each.is_indexed
    if each.type == "reference" and each.to != ("User",) and not each.is_owner:
        is_wanted = True
    if not is_wanted:
        return []
    name = f"sf_{one.name}_{each.name}"
    statements = [f'CREATE INDEX IF NOT EXISTS "{name}" ON {one.table} ("{each.name}")']
    if each.is_unique:
        statements.append(
            f'CREATE UNIQUE INDEX IF NOT EXISTS "{name}_live" ON {one.table} ("{each.name}") WHERE IsDeleted = 0'
        )
    return statements
