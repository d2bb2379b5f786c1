"""The records of the portal in SQLite: one table per object type, the properties as one JSON text.

`hubspot_unique` says which record holds a value that only one may hold: a contact's e-mail addresses (additional ones
too) and the values of properties with `hasUniqueValue`. `hubspot_merged` says what became of the ids of merged records.
While searches lag behind, a type's `_old` table holds what they still find of a record that was written since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from connector.sandbox.hubspot.catalog import Catalog, Definition, index_property
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import CONTACTS, OBJECT_TYPES, ObjectType

VARIABLES_AT_ONCE = 900
"""SQLite's older limit of variables in one statement, less a few."""

MAX_ID = 2**63 - 1

_COLUMNS = """
    id INTEGER PRIMARY KEY, properties TEXT NOT NULL, created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL,
    indexed_ms INTEGER NOT NULL, archived_ms INTEGER
"""
_TYPE_TABLES = """
CREATE TABLE IF NOT EXISTS {table} ({columns});
CREATE TABLE IF NOT EXISTS {table}_old ({columns});
CREATE INDEX IF NOT EXISTS {table}_modified ON {table} (modified_ms, id, indexed_ms, archived_ms) WHERE archived_ms IS NULL;
CREATE INDEX IF NOT EXISTS {table}_created ON {table} (created_ms, id, indexed_ms, archived_ms) WHERE archived_ms IS NULL;
CREATE INDEX IF NOT EXISTS {table}_indexed ON {table} (indexed_ms);
CREATE INDEX IF NOT EXISTS {table}_archived ON {table} (id) WHERE archived_ms IS NOT NULL;
"""
_SHARED_TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_unique (
    object_type TEXT NOT NULL, property TEXT NOT NULL, value TEXT NOT NULL, id INTEGER NOT NULL,
    PRIMARY KEY (object_type, property, value)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS hubspot_unique_id ON hubspot_unique (object_type, id);
CREATE TABLE IF NOT EXISTS hubspot_merged (
    object_type TEXT NOT NULL, old_id INTEGER NOT NULL, new_id INTEGER NOT NULL, PRIMARY KEY (object_type, old_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hubspot_sequence (last_id INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `properties` holds what is set, as text, the record's id and times included."""

    id: int
    properties: dict[str, str]
    created_ms: int
    modified_ms: int
    archived_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """How long after a write searches still find a record as it was: `least_ms`, and up to `spread_ms` more.

    With a spread, what was written later may be found earlier, as in HubSpot's index.
    """

    least_ms: int = 0
    spread_ms: int = 0

    @property
    def is_on(self) -> bool:
        """True where searches lag at all."""
        return self.least_ms > 0 or self.spread_ms > 0

    def of(self, record_id: int, now_ms: int) -> int:
        """The lag of one write: scattered over the spread, and the same for the same record and instant."""
        return self.least_ms + (record_id * 2_654_435_761 + now_ms * 40_503) % 4_294_967_291 % (self.spread_ms + 1)


NO_LAG = Lag()


def create_tables(database: sqlite3.Connection) -> None:
    """Make what is missing."""
    for each in OBJECT_TYPES:
        create_table(database, each)
    database.executescript(_SHARED_TABLES)
    index_property(database, CONTACTS.name, "email")
    if database.execute("SELECT last_id FROM hubspot_sequence").fetchone() is None:
        database.execute("INSERT INTO hubspot_sequence (last_id) VALUES (?)", (100_000_000,))


def create_table(database: sqlite3.Connection, object_type: ObjectType) -> None:
    """Make the table of a type where it is missing."""
    for statement in _TYPE_TABLES.format(table=object_type.table, columns=_COLUMNS).split(";"):
        database.execute(statement)


def drop_table(database: sqlite3.Connection, object_type: ObjectType) -> None:
    """Remove the table of a type, with its records."""
    for table in (object_type.table, f"{object_type.table}_old"):
        database.execute(f"DROP TABLE IF EXISTS {table}")


def next_id(database: sqlite3.Connection) -> int:
    """An id that no record of the portal ever had."""
    row = database.execute("UPDATE hubspot_sequence SET last_id = last_id + 1 RETURNING last_id").fetchone()
    return int(row["last_id"])


def next_ids(database: sqlite3.Connection, count: int) -> int:
    """The last of `count` new ids in a row."""
    row = database.execute("UPDATE hubspot_sequence SET last_id = last_id + ? RETURNING last_id", (count,)).fetchone()
    return int(row["last_id"])


def reserve_ids(database: sqlite3.Connection, up_to: int) -> None:
    """Ids up to this one are taken (by seeded records)."""
    database.execute("UPDATE hubspot_sequence SET last_id = max(last_id, ?)", (up_to,))


def from_row(row: sqlite3.Row) -> Record:
    """The record in a row of a type's table."""
    return Record(row["id"], orjson.loads(row["properties"]), row["created_ms"], row["modified_ms"], row["archived_ms"])


def as_id(value: Any) -> int | None:
    """The record id in a JSON or path value; None where it cannot be one."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) <= MAX_ID else None


def fetch(database: sqlite3.Connection, object_type: ObjectType, ids: Sequence[int]) -> dict[int, Record]:
    """The live and archived records by the id that was asked for; the id of a merged record finds the survivor."""
    found: dict[int, Record] = {}
    for start in range(0, len(ids), VARIABLES_AT_ONCE):
        some = ids[start : start + VARIABLES_AT_ONCE]
        marks = ",".join("?" * len(some))
        for row in database.execute(f"SELECT * FROM {object_type.table} WHERE id IN ({marks})", some):
            found[row["id"]] = from_row(row)
    for wanted in ids:
        if wanted not in found:
            row = database.execute(
                f"SELECT r.* FROM hubspot_merged m JOIN {object_type.table} r ON r.id = m.new_id"
                " WHERE m.object_type = ? AND m.old_id = ?",
                (object_type.name, wanted),
            ).fetchone()
            if row is not None:
                found[wanted] = from_row(row)
    return found


def holder(database: sqlite3.Connection, object_type: ObjectType, name: str, value: str) -> int | None:
    """The id of the record that holds a unique value."""
    row = database.execute(
        "SELECT id FROM hubspot_unique WHERE object_type = ? AND property = ? AND value = ?",
        (object_type.name, name, unique_form(name, value)),
    ).fetchone()
    return None if row is None else int(row["id"])


def unique_form(name: str, value: str) -> str:
    """The form in which values are compared for uniqueness."""
    return value.strip().lower() if name == "email" else value


def unique_definitions(catalog: Catalog, object_type: ObjectType) -> list[Definition]:
    """The properties whose values only one record of the type may hold."""
    return [
        each
        for each in catalog.properties(object_type.name).values()
        if not each.is_archived
        and ((each.is_unique and each.name != "hs_object_id") or (object_type is CONTACTS and each.name == "email"))
    ]


def unique_values(names: Iterable[str], properties: Mapping[str, str]) -> set[tuple[str, str]]:
    """What the record holds alone: (property, value)."""
    held = {(name, unique_form(name, properties[name])) for name in names if properties.get(name)}
    extra = properties.get("hs_additional_emails")
    if extra:
        held |= {("email", address) for part in extra.split(";") if (address := part.strip().lower())}
    return held


def write(
    database: sqlite3.Connection,
    catalog: Catalog,
    object_type: ObjectType,
    records: Sequence[Record],
    *,
    now_ms: int = 0,
    lag: Lag = NO_LAG,
) -> None:
    """Insert or replace records, and what they hold alone; searches find them after the lag."""
    if lag.is_on:
        database.executemany(
            f"INSERT OR REPLACE INTO {object_type.table}_old SELECT * FROM {object_type.table}"
            " WHERE id = ? AND indexed_ms <= ?",
            [(r.id, now_ms) for r in records],
        )
    database.executemany(
        f"INSERT OR REPLACE INTO {object_type.table}"
        " (id, properties, created_ms, modified_ms, indexed_ms, archived_ms) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                r.id,
                orjson.dumps(r.properties).decode(),
                r.created_ms,
                r.modified_ms,
                now_ms + lag.of(r.id, now_ms),
                r.archived_ms,
            )
            for r in records
        ],
    )
    names = [each.name for each in unique_definitions(catalog, object_type)]
    if not names:
        return
    database.executemany(
        "DELETE FROM hubspot_unique WHERE object_type = ? AND id = ?", [(object_type.name, r.id) for r in records]
    )
    database.executemany(
        "INSERT OR IGNORE INTO hubspot_unique (object_type, property, value, id) VALUES (?, ?, ?, ?)",
        [
            (object_type.name, name, value, r.id)
            for r in records
            if r.archived_ms is None
            for name, value in unique_values(names, r.properties)
        ],
    )


def searchable(database: sqlite3.Connection, object_type: ObjectType, now_ms: int, lag: Lag) -> str:
    """What a search reads, as the source of a SELECT: with a lag, written records as the index still knows them."""
    table, marked = object_type.table, f"indexed_ms > {now_ms:d}"
    if not lag.is_on or database.execute(f"SELECT 1 FROM {table} WHERE {marked} LIMIT 1").fetchone() is None:
        return table
    return (
        f"(SELECT * FROM {table} WHERE NOT {marked} UNION ALL SELECT * FROM {table}_old"
        f" WHERE id IN (SELECT id FROM {table} WHERE {marked} AND archived_ms IS NULL))"
    )


def note_merges(database: sqlite3.Connection, object_type: ObjectType) -> None:
    """Let the ids in `hs_merged_object_ids` lead to the record that lists them."""
    rows = database.execute(
        f"SELECT id, json_extract(properties, '$.hs_merged_object_ids') AS merged FROM {object_type.table}"
        " WHERE merged IS NOT NULL"
    ).fetchall()
    database.executemany(
        "INSERT OR REPLACE INTO hubspot_merged (object_type, old_id, new_id) VALUES (?, ?, ?)",
        [
            (object_type.name, old_id, row["id"])
            for row in rows
            for part in row["merged"].split(";")
            if (old_id := as_id(part)) is not None
        ],
    )


def remove(database: sqlite3.Connection, object_type: ObjectType, record_id: int) -> None:
    """Take a record out for good, with its links and the values that it held alone."""
    database.execute(f"DELETE FROM {object_type.table} WHERE id = ?", (record_id,))
    database.execute("DELETE FROM hubspot_unique WHERE object_type = ? AND id = ?", (object_type.name, record_id))


def stamped(
    object_type: ObjectType, record_id: int, properties: dict[str, str], created_ms: int, modified_ms: int
) -> Record:
    """The record with its id and times among its properties too, where HubSpot has them."""
    properties["hs_object_id"] = str(record_id)
    properties[object_type.modified_property] = iso(modified_ms)
    properties.setdefault(object_type.created_property, iso(created_ms))
    return Record(record_id, properties, created_ms, modified_ms)
