"""The mart's tables and their numbered migrations. The mart is primary data: a copy is made before each migration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

from connector import clock, tables
from connector.errors import MartError
from connector.mart import files

Migration = Callable[[duckdb.DuckDBPyConnection], None]

_TYPES = {
    tables.TEXT: "VARCHAR",
    tables.INSTANT: "TIMESTAMPTZ",
    tables.INT: "BIGINT",
    tables.BOOL: "BOOLEAN",
    tables.DATE: "DATE",
    tables.MONEY: "DECIMAL(18, 2)",
}


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    for name in tables.TABLES:
        connection.execute(f'CREATE TABLE "{name}" ({_columns(tables.stored(name))})')
    pair = clock.token(8)
    connection.execute(
        "INSERT INTO pair (key, pair, generation, schema_version, ingestion) VALUES ('pair', ?, 0, 0, 0)", [pair]
    )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f'"{field.name}" {_TYPES[field.type]}{_STORED.get(field.name, "")}' for field in schema)


#: Texts that hardly repeat are not even tried with a dictionary, but kept as zstd has them.
_STORED = dict.fromkeys(
    (
        "key",
        "record",
        "native_id",
        "native",
        "version",
        "value",
        "raw",
        "email",
        "phone",
        "mobile",
        "street",
        "properties",
    ),
    " USING COMPRESSION zstd",
)


def _add_drift(connection: duckdb.DuckDBPyConnection) -> None:
    """Whose value an output field holds, and what others made of ours."""
    connection.execute("ALTER TABLE observed ADD COLUMN IF NOT EXISTS ours VARCHAR")
    connection.execute("ALTER TABLE observed ADD COLUMN IF NOT EXISTS edited_at TIMESTAMPTZ")
    connection.execute("UPDATE observed SET ours = value WHERE settled_at IS NOT NULL AND ours IS NULL")
    connection.execute(f"CREATE TABLE IF NOT EXISTS drift ({_columns(tables.DRIFT)})")


def _add_user_ids(connection: duckdb.DuckDBPyConnection) -> None:
    """Who changed a record is told by another id than who owns it."""
    connection.execute("ALTER TABLE owner_record ADD COLUMN IF NOT EXISTS user_id VARCHAR")


def _drop_derived_keys(connection: duckdb.DuckDBPyConnection) -> None:
    """The key of an identifier is made of its other columns when it is asked for."""
    for name in tables.DERIVED_KEYS:
        connection.execute(f'ALTER TABLE "{name}" DROP COLUMN IF EXISTS key')


def _write_anew(connection: duckdb.DuckDBPyConnection) -> None:
    """A column keeps the compression that it was made with, and the engine does not write with the former one any more. With which
    settings the mart was computed is told by the mart from here on."""
    for name in tables.TABLES:
        connection.execute(f'ALTER TABLE "{name}" RENAME TO "{name}_before"')
        connection.execute(f'CREATE TABLE "{name}" ({_columns(tables.stored(name))})')
        kept = f"COLUMNS(each -> each IN {tuple(tables.stored(name).names)})"
        connection.execute(f'INSERT INTO "{name}" BY NAME SELECT {kept} FROM "{name}_before"')
        connection.execute(f'DROP TABLE "{name}_before"')


def _add_backup(connection: duckdb.DuckDBPyConnection) -> None:
    """A backup tells with which state it was made."""
    connection.execute("ALTER TABLE pair ADD COLUMN IF NOT EXISTS backup VARCHAR")


def _drop_anchors(connection: duckdb.DuckDBPyConnection) -> None:
    """What a trigger remembers is its person's: by which record they were called when it fired is no matter."""
    connection.execute("ALTER TABLE trigger DROP COLUMN IF EXISTS anchor")


#: Numbered from 1; a migration is never changed once released, only followed by another. A new file gets the newest tables at once.
MIGRATIONS: tuple[Migration, ...] = (
    _create_tables,
    _add_drift,
    _add_user_ids,
    _drop_derived_keys,
    _write_anew,
    _add_backup,
    _drop_anchors,
)


def version(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the last migration that this file has seen; 0 for a new file."""
    try:
        row = connection.execute("SELECT schema_version FROM pair").fetchone()
    except duckdb.CatalogException:  # there is no such table
        return 0
    return int(row[0]) if row else 0


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Bring the file to the newest version, and `say` so; every step in a transaction of its own, after a copy of the file.

    Raises MartError when the file is newer than this program.
    """
    present = version(connection)
    if present > len(MIGRATIONS):
        raise MartError(
            f"the mart {path.name} has schema version {present}, this program knows {len(MIGRATIONS)}",
            hint="use the newer program that wrote it, or restore the copy made before its migration",
        )
    if not present:
        _step(connection, _create_tables, len(MIGRATIONS))
        return
    for number, migration in enumerate(MIGRATIONS[present:], start=present + 1):
        copy = path.with_name(f"{path.name}.before-{number}")
        say(f"bringing the mart {path.name} to version {number} of {len(MIGRATIONS)}; a copy is kept at {copy}")
        files.copy(connection, copy)
        _step(connection, migration, number)


def _step(connection: duckdb.DuckDBPyConnection, migration: Migration, number: int) -> None:
    connection.execute("BEGIN")
    migration(connection)
    connection.execute("UPDATE pair SET schema_version = ?", [number])
    connection.execute("COMMIT")
