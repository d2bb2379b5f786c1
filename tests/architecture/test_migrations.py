"""The migrations of both stores lead to the tables that are declared."""

from __future__ import annotations

from pathlib import Path

import duckdb
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from connector import tables
from connector.mart import schema
from connector.state import StateSection, open_state


def test_the_migrated_state_has_the_tables_of_the_models(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    with state.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)
    assert not differences


def test_the_migrated_mart_has_the_declared_tables(tmp_path: Path) -> None:
    path = tmp_path / "mart.duckdb"
    with duckdb.connect(str(path)) as connection:
        schema.migrate(connection, path)
        rows = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
        ).fetchall()
        found: dict[str, list[str]] = {}
        for table, column in rows:
            found.setdefault(table, []).append(column)
    assert found == {name: tables.stored(name).names for name in tables.TABLES}
