"""The analytical store on DuckDB: Ibis expressions to read with, and six verbs to write with.

The verbs are the whole of what differs between engines: begin, commit, rollback, merge by key, delete keys, replace bucket.
The file has one writer and shuts other processes out while it is open, so it is opened for each group of work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field

from connector import clock, tables
from connector.errors import Busy, MartError
from connector.mart import schema
from connector.section import Section

_WAIT_STEP_S = 0.1
#: Closing the file writes what is in its log to its place; to do so after every transaction of a back-fill costs a fifth more.
_CHECKPOINT_FROM = "256MB"


def _as_stored(schema: ibis.Schema) -> ibis.Schema:
    """The schema as the engine tells it of its tables: instants in microseconds."""
    instant = ibis.dtype("timestamp('UTC', 6)")
    return ibis.schema({name: instant if kind.is_timestamp() else kind for name, kind in schema.items()})


_SCHEMAS = {name: _as_stored(ibis.Schema.from_pyarrow(declared)) for name, declared in tables.TABLES.items()}


class MartSection(Section):
    """`[mart]`: where the analytical store lives and what it may use."""

    path: str = Field("mart.duckdb", description="the store's file; a relative path is beside the configuration")
    memory_limit: str = Field(
        "4GB",
        pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$",
        description='memory that the engine may use, such as "4GB"; beyond it spills to disk',
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="threads that the engine may use; all cores when empty"
    )
    wait_s: float = Field(60.0, description="seconds to wait for another process that has the file open")


@dataclass(frozen=True)
class Mart:
    """A session with the open store. Get one from `open_mart`; use `transaction` around everything that writes."""

    backend: Any  # the Ibis backend
    connection: duckdb.DuckDBPyConnection
    _kept: dict[str, ibis.Schema] = field(default_factory=dict)

    def table(self, name: str) -> ir.Table:
        """The table as an expression."""
        return self._bound(name, _SCHEMAS[name])

    def arrow(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression."""
        result: pa.Table = self.backend.to_pyarrow(expression)
        return result

    def rows(self, expression: ir.Table, *, at_once: int = 50_000) -> Iterator[dict[str, Any]]:
        """The rows of an expression one by one, never all in memory. Nothing else may be asked until they are all taken."""
        for batch in self.backend.to_pyarrow_batches(expression, chunk_size=at_once):
            yield from batch.to_pylist()

    def count(self, expression: ir.Table) -> int:
        """How many rows an expression has."""
        return int(self.backend.execute(expression.count()))

    def keep(self, name: str, rows: ir.Table | pa.Table) -> ir.Table:
        """The rows, computed now and kept in a scratch table until the session ends or the name is kept again."""
        if isinstance(rows, pa.Table):
            self.connection.register("arrow_rows", rows)
            self.connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM arrow_rows')
            self.connection.unregister("arrow_rows")
            self._kept[name] = _as_stored(ibis.Schema.from_pyarrow(rows.schema))
        else:
            self._compute(name, rows)
            self._kept[name] = _as_stored(rows.schema())
        return self.kept(name)

    def kept(self, name: str) -> ir.Table:
        """A scratch table that `keep` made."""
        return self._bound(name, self._kept[name], database="main", catalog="temp")

    def _compute(self, name: str, rows: ir.Table) -> None:
        if rows.op().find(ops.InMemoryTable):
            self.backend.create_table(name, obj=rows, temp=True, overwrite=True)
        else:
            self.connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {self.backend.compile(rows)}')

    def _bound(self, name: str, schema: ibis.Schema, **place: str) -> ir.Table:
        """A table whose schema is known: asking the engine for it again would cost more than most of our queries."""
        return ops.DatabaseTable(name, schema=schema, source=self.backend, namespace=ops.Namespace(**place)).to_expr()

    # ------------------------------------------------------------------------------------------------------ the verbs

    def begin(self) -> None:
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        self.connection.execute("ROLLBACK")

    def merge(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Insert the rows, or replace those with the same key. The rows' keys must be distinct."""
        columns = self._incoming(name, rows)
        updates = ", ".join(f'"{column}" = incoming_rows."{column}"' for column in columns if column != "key")
        names = ", ".join(f'"{column}"' for column in columns)
        values = ", ".join(f'incoming_rows."{column}"' for column in columns)
        self.connection.execute(
            f'MERGE INTO "{name}" USING incoming_rows ON "{name}".key = incoming_rows.key '
            f"WHEN MATCHED THEN UPDATE SET {updates} WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
        )

    def append(self, name: str, rows: pa.Table) -> None:
        """Merge for rows whose keys are known to be new."""
        columns = ", ".join(f'"{column}"' for column in tables.TABLES[name].names if column in rows.column_names)
        self.connection.register("arrow_rows", rows)
        self.connection.execute(f'INSERT INTO "{name}" ({columns}) SELECT {columns} FROM arrow_rows')
        self.connection.unregister("arrow_rows")

    def delete_keys(self, name: str, keys: ir.Table | pa.Table) -> None:
        """Delete the rows whose key is among `keys` (one column `key`)."""
        self.keep("incoming_rows", keys)
        self.connection.execute(f'DELETE FROM "{name}" WHERE key IN (SELECT key FROM incoming_rows)')

    def replace_bucket(self, name: str, column: str, values: ir.Table | pa.Table, rows: ir.Table | pa.Table) -> None:
        """Replace all rows whose `column` is among `values` (their only column) by `rows`."""
        columns = ", ".join(f'"{each}"' for each in self._incoming(name, rows))
        kept = self.keep("bucket_values", values)
        self.connection.execute(
            f'DELETE FROM "{name}" WHERE "{column}" IN (SELECT "{kept.columns[0]}" FROM bucket_values)'
        )
        self.connection.execute(f'INSERT INTO "{name}" ({columns}) SELECT {columns} FROM incoming_rows')

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        self.begin()
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def _incoming(self, name: str, rows: ir.Table | pa.Table) -> list[str]:
        self.keep("incoming_rows", rows)
        wanted = tables.TABLES[name].names
        return [
            column for column in wanted if column in (rows.column_names if isinstance(rows, pa.Table) else rows.columns)
        ]


@contextmanager
def open_mart(section: MartSection, directory: Path, *, holder: str = "") -> Iterator[Mart]:
    """The store, open for this process alone, for the length of the block.

    Waits up to `wait_s` for another process to let go of it. Raises Busy, or MartError when the file cannot be used.
    """
    path = directory / section.path
    connection = _connect(path, section, holder)
    try:
        backend = ibis.duckdb.from_connection(connection)
        connection.execute("SET TimeZone = 'UTC'")
        schema.migrate(connection, path)
        yield Mart(backend, connection)
    finally:
        connection.close()


def _connect(path: Path, section: MartSection, holder: str) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": section.memory_limit,
        "preserve_insertion_order": False,
        "wal_autocheckpoint": _CHECKPOINT_FROM,
    }
    if section.threads is not None:
        config["threads"] = section.threads
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise MartError(f"the mart's folder {path.parent} cannot be made", hint="give [mart] another path") from problem
    deadline = clock.monotonic_s() + section.wait_s
    while True:
        try:
            is_new = not path.exists()
            connection = duckdb.connect(str(path), config=config)
            if is_new:
                os.chmod(path, 0o600)
            return connection
        except duckdb.IOException as problem:
            if "lock" not in str(problem).lower():
                raise MartError(
                    f"the mart {path.name} cannot be opened", hint="restore it from a backup, or run a full pull"
                ) from problem
            if clock.monotonic_s() > deadline:
                raise Busy(
                    f"the mart is in use{f' by {holder}' if holder else ''}",
                    hint="wait for that run to end and try again",
                ) from problem
            clock.sleep(_WAIT_STEP_S)
