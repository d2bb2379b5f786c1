"""The analytical store on DuckDB: Ibis expressions to read with, and seven verbs to write with.

The verbs are the whole of what differs between engines: begin, commit, rollback, merge by key, delete keys, replace bucket, update.
The file has one writer and shuts other processes out while it is open, so it is opened for each group of work.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
from connector.expressions import GIVENS
from connector.mart import bound, files, memory, schema, statements
from connector.section import Section

#: Calls that Ibis 12 makes of its own and DuckDB 1.5 deprecates: nothing here can avoid them.
warnings.filterwarnings(
    "ignore", r"fetch_(arrow_table|record_batch)\(\) is deprecated", DeprecationWarning, r"ibis\.backends\.duckdb"
)

_WAIT_STEP_S = 0.1
#: Threads that read a system open the file, too; the engine refuses to open what another thread is just about to close.
_OPENING = threading.Lock()
#: What was written is in memory until what is in the file's log is brought to its place; to do so after every transaction of
#: a back-fill costs a fifth more. After a transaction, not in it, as the engine would: it holds all its scratch tables, too.
_CHECKPOINT_FROM = 64_000_000
_ENGINES_OWN_CHECKPOINT = "1GB"
#: What was added since is in memory. A first back-fill's appends need no more than this; to merge into a large store does.
_STORING_MEMORY = "128MB"
#: Short row groups that follow each other are not put together while more of them come (a quarter of what identifiers cost).
_AS_IT_CAME = "SET max_vacuum_tasks = 0"
#: More rows than this are written anew instead of changed in place: a change in place stays in memory until the end of the
#: transaction (1.1 GB for two million identifiers), rows that are added go to the file as they come.
_IN_PLACE_ROWS = 50_000
#: A thread of the engine wants about this much for itself: its sorts and aggregates each have their own.
_MEMORY_PER_THREAD = 512_000_000
#: Of what the engine takes it counts about this part: not what joins, sorts and aggregates have in hand.
_COUNTED = 0.6
#: What is not our mistake: a damaged file, a full disk, too little memory.
_FAILURES = (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException)
_HELD = re.compile(r"could not set lock|used by another process", re.IGNORECASE)
_FULL = re.compile(r"no space left|could not write|failed to offload")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?) ?([KMGT]i?)B$")
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


_ENGINES_TYPES = {name: "TIMESTAMPTZ" if given.type().is_timestamp() else "BIGINT" for name, given in GIVENS.items()}


class MartSection(Section):
    """`[mart]`: where the analytical store lives and what it may use."""

    path: str = Field(
        "mart.duckdb", min_length=1, description="the store's file; a relative path is beside the configuration"
    )
    memory_limit: str = Field(
        "512MB",
        pattern=_SIZE.pattern,
        description='memory that the engine may use, such as "4GB"; it is told three fifths of it, as it counts about so much of '
        "what it takes; what is more goes to a folder beside the file",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="threads that the engine may use; when empty, one a core and 512 MB of memory"
    )
    wait_s: float = Field(60.0, description="seconds to wait for another process that has the file open")

    def file(self, directory: Path) -> Path:
        """The store's file itself, should a link lead to it: what replaces it or lies beside it must find it there."""
        return Path(os.path.realpath(directory / self.path))

    @property
    def storing(self) -> MartSection:
        """Of the engine as much as storing wants, which goes on beside reading and mapping: with more threads it only waits
        for itself (a third more of CPU), with more memory it keeps what nobody asks for."""
        limit = min(self.memory_limit, _STORING_MEMORY, key=_bytes)
        return self.model_copy(update={"threads": 1, "memory_limit": limit})


@dataclass(frozen=True)
class Mart:
    """A session with the open store. Get one from `open_mart`; use `transaction` around everything that writes."""

    backend: Any  # the Ibis backend
    connection: duckdb.DuckDBPyConnection
    log: Path  # what is committed and not yet in its place
    _kept: dict[str, ibis.Schema] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)  # rows of what is kept
    _told: dict[str, Any] = field(default_factory=dict)

    def tell(self, **givens: Any) -> None:
        """What this run's instant (`now`) and number (`run`) are, for all that is asked from here on."""
        for name, value in givens.items():
            if self._told.get(name) != value:
                self.connection.execute(f"SET VARIABLE {name} = ?::{_ENGINES_TYPES[name]}", [value])
        self._told.update(givens)

    def table(self, name: str) -> ir.Table:
        """The table as an expression."""
        return bound.table(self.backend, name)

    def arrow(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression."""
        with self._asking(expression) as statement:
            found: pa.Table = expression.__pyarrow_result__(self.connection.execute(statement).to_arrow_table())
        return found

    def rows(self, expression: ir.Table, *, at_once: int = 10_000) -> Iterator[dict[str, Any]]:
        """The rows of an expression one by one, never all in memory. Nothing else may be asked until they are all taken."""
        for batch in self.backend.to_pyarrow_batches(expression, chunk_size=at_once):
            yield from batch.to_pylist()

    def count(self, expression: ir.Table) -> int:
        """How many rows an expression has."""
        if bound.is_scratch(rows := expression.op()):
            return self._sizes[rows.name]
        with self._asking(expression) as statement:
            return self._told_by(f"SELECT count(*) FROM ({statement})")

    def keep(self, name: str, rows: ir.Table | pa.Table) -> ir.Table:
        """The rows, computed now and kept in a scratch table until the session ends or the name is kept again."""
        if isinstance(rows, pa.Table):
            self.connection.register("arrow_rows", rows)
            self._sizes[name] = self._told_by(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM arrow_rows')
            self.connection.unregister("arrow_rows")
            self._kept[name] = bound.of_rows(rows.schema)
        else:
            with self._asking(rows) as statement:
                self._sizes[name] = self._told_by(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {statement}')
            self._kept[name] = bound.as_stored(rows.schema())
        return self.kept(name)

    def kept(self, name: str) -> ir.Table:
        """A scratch table that `keep` made."""
        return bound.scratch(self.backend, name, self._kept[name])

    def forget(self, *, but: str) -> None:
        """Let go of all scratch tables but one."""
        for name in [each for each in self._kept if each != but]:
            self.connection.execute(f'DROP TABLE IF EXISTS temp.main."{name}"')
            del self._kept[name]

    @contextmanager
    def _asking(self, rows: ir.Table) -> Iterator[str]:
        """The SQL of an expression. What of it comes as Arrow is there for the length of the block: Ibis would never let go."""
        given: list[ops.InMemoryTable] = []
        try:
            statement = statements.kept(self.backend, rows.op())
        except statements.OnceOnly:
            given, statement = rows.op().find(ops.InMemoryTable), statements.made(self.backend, rows.op())
        for each in given:
            self.connection.register(each.name, each.data.to_pyarrow(each.schema))
        yield self._sql(statement)
        for each in given:
            self.connection.unregister(each.name)

    def _sql(self, statement: statements.Statement) -> str:
        untold = statement.variables - self._told.keys()
        assert not untold, f"nobody told the mart {', '.join(untold)}"
        return statement.sql

    # ------------------------------------------------------------------------------------------------------ the verbs

    def begin(self) -> None:
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        self.connection.execute("COMMIT")
        if self.log.exists() and self.log.stat().st_size > _CHECKPOINT_FROM:
            self.checkpoint()

    def rollback(self) -> None:
        self.connection.execute("ROLLBACK")

    def merge(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Insert the rows, or replace those with the same key. The rows' keys must be distinct."""
        source, size = self._scratch("incoming_rows", rows)
        columns = _written(name, rows)
        if not size:  # what the engine would find out with ten times the work
            return
        if len(columns) == len(tables.stored(name)) and size > _IN_PLACE_ROWS:
            self.connection.execute(f'DELETE FROM "{name}" WHERE {_key(name)} IN (SELECT key FROM {source})')
            self._insert(name, columns, source)
            return
        updates = ", ".join(f'"{column}" = incoming."{column}"' for column in columns if column != "key")
        values = ", ".join(f'incoming."{column}"' for column in columns)
        self.connection.execute(
            f'MERGE INTO "{name}" USING {source} AS incoming ON {_key(name)} = incoming.key '
            f"WHEN MATCHED THEN UPDATE SET {updates} WHEN NOT MATCHED THEN INSERT ({_listed(columns)}) VALUES ({values})"
        )

    def append(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Merge for rows whose keys are known to be new."""
        if not isinstance(rows, pa.Table):
            self._insert(name, _written(name, rows), self._source(name, rows))
            return
        self.connection.register("arrow_rows", rows)
        self._insert(name, _written(name, rows), "arrow_rows")
        self.connection.unregister("arrow_rows")

    def delete_keys(self, name: str, keys: ir.Table | pa.Table) -> None:
        """Delete the rows whose key is among `keys` (one column `key`)."""
        source, size = self._scratch("incoming_rows", keys)
        if size:
            self.connection.execute(f'DELETE FROM "{name}" WHERE {_key(name)} IN (SELECT key FROM {source})')

    def replace_bucket(self, name: str, column: str, values: ir.Table | pa.Table, rows: ir.Table | pa.Table) -> None:
        """Replace all rows whose `column` is among `values` (their only column) by `rows`."""
        columns = _written(name, rows)
        source = self._source(name, rows)
        buckets, size = self._scratch("bucket_values", values)
        held = values.column_names[0] if isinstance(values, pa.Table) else values.columns[0]
        if size:
            self.connection.execute(f'DELETE FROM "{name}" WHERE "{column}" IN (SELECT "{held}" FROM {buckets})')
        self._insert(name, columns, source)

    def update(self, name: str, by: str, rows: ir.Table) -> None:
        """Give all rows whose column `by` is in `rows` (once) the values of its other columns, where they are others.

        Of the rows only these columns are written anew: a tenth of what a merge of whole rows costs.
        """
        source = self._source(name, rows)
        columns = [column for column in rows.columns if column != by]
        values = ", ".join(f'"{column}" = incoming."{column}"' for column in columns)
        differs = " OR ".join(f'"{name}"."{column}" IS DISTINCT FROM incoming."{column}"' for column in columns)
        self.connection.execute(
            f'UPDATE "{name}" SET {values} FROM {source} AS incoming '
            f'WHERE "{name}"."{by}" = incoming."{by}" AND ({differs})'
        )

    def checkpoint(self) -> None:
        """Bring what is committed to its place in the file: until then it is in memory."""
        with suppress(duckdb.TransactionException):  # another thread is writing: the next one does it
            self.connection.execute("CHECKPOINT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        self.begin()
        try:
            yield
        except BaseException:
            with suppress(duckdb.Error):  # a file that failed fails again, and the first cause is the one to tell
                self.rollback()
            raise
        self.commit()

    def _source(self, name: str, rows: ir.Table | pa.Table) -> str:
        """Rows for a table, as a statement reads them."""
        if isinstance(rows, pa.Table) or self._is_kept_first(name, rows):
            return self._scratch("incoming_rows", rows)[0]
        return f"({self._sql(statements.kept(self.backend, rows.op()))})"

    def _is_kept_first(self, name: str, rows: ir.Table) -> bool:
        """Whether rows have to be computed before a table is changed: they are read from it, or come from outside."""
        if rows.op().find(ops.InMemoryTable):
            return True
        return any(at.name == name and not bound.is_scratch(at) for at in rows.op().find(ops.DatabaseTable))

    def _scratch(self, name: str, rows: ir.Table | pa.Table) -> tuple[str, int]:
        """The scratch table of these rows, under `name` unless they are kept already, and how many they are."""
        at = None if isinstance(rows, pa.Table) else rows.op()
        if at is not None and bound.is_scratch(at):
            return f'temp.main."{at.name}"', self._sizes[at.name]
        self.keep(name, rows)
        return f'temp.main."{name}"', self._sizes[name]

    def _insert(self, name: str, columns: list[str], source: str) -> None:
        self.connection.execute(f'INSERT INTO "{name}" ({_listed(columns)}) SELECT {_listed(columns)} FROM {source}')

    def _told_by(self, statement: str) -> int:
        """The number that is a statement's answer: of rows, where it makes a table."""
        found = self.connection.execute(statement).fetchone()
        return int(found[0]) if found else 0


def _written(name: str, rows: ir.Table | pa.Table) -> list[str]:
    """The columns of a table that the rows have."""
    has = rows.column_names if isinstance(rows, pa.Table) else rows.columns
    return [column for column in tables.stored(name).names if column in has]


def _key(name: str) -> str:
    """The key of a table's rows."""
    return " || '|' || ".join(f'"{name}"."{column}"' for column in tables.DERIVED_KEYS.get(name, ("key",)))


def _listed(columns: list[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


@contextmanager
def open_mart(
    section: MartSection,
    directory: Path,
    *,
    holder: str = "",
    is_storing: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Mart]:
    """The store, open for this process alone, for the length of the block; `is_storing`: to append beside reading and mapping;
    `say`: what takes longer, as an older one is brought to the newest version.

    Waits up to `wait_s` for another process to let go of it. Raises Busy, or MartError when the file cannot be used.
    """
    memory.give_back()
    path = section.file(directory)
    section = section.storing if is_storing else section
    connection = _connect(path, section, holder)
    try:
        with (
            _OPENING
        ):  # Ibis loads what it needs of itself when it is first asked for, and another thread would find half of it
            backend = ibis.duckdb.from_connection(connection)
        connection.execute("SET TimeZone = 'UTC'")
        if is_storing:
            connection.execute(_AS_IT_CAME)
        schema.migrate(connection, path, say)
        yield Mart(backend, connection, path.with_name(f"{path.name}.wal"))
    except _FAILURES as problem:
        raise _failed(problem, path, section) from problem
    finally:
        with _OPENING:
            connection.close()


def _connect(path: Path, section: MartSection, holder: str) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{int(_bytes(section.memory_limit) * _COUNTED)}B",
        "preserve_insertion_order": False,
        "wal_autocheckpoint": _ENGINES_OWN_CHECKPOINT,
        "temp_directory": f"{path}.tmp",
    }
    config["threads"] = section.threads or _threads(section.memory_limit)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise MartError(f"the mart's folder {path.parent} cannot be made", hint="give [mart] another path") from problem
    deadline = clock.monotonic_s() + section.wait_s
    while True:
        try:
            is_new = not path.exists()
            with _OPENING:
                connection = files.connect(path, config)
            if is_new:
                os.chmod(path, 0o600)
            return connection
        except duckdb.Error as problem:
            if not _HELD.search(str(problem)):
                raise _failed(problem, path, section) from problem
            if clock.monotonic_s() > deadline:
                raise Busy(
                    f"the mart is in use{f' by {holder}' if holder else ''}",
                    hint="wait for that run to end and try again",
                ) from problem
            clock.sleep(_WAIT_STEP_S)


def _failed(problem: duckdb.Error, path: Path, section: MartSection) -> MartError:
    """What the engine's failure means for a person. Its own words may hold values of a row, so they stay in the traceback."""
    told = str(problem).lower()
    if _FULL.search(told):
        return MartError(f"the disk has no room for the mart {path.name}", hint="make room and give the command again")
    if isinstance(problem, duckdb.OutOfMemoryException):
        return MartError(
            f"the mart's engine needs more than its {section.memory_limit} of memory",
            hint="give [mart] more memory_limit, or fewer threads",
        )
    return MartError(
        f"the mart {path.name} cannot be opened, read or written ({type(problem).__name__})",
        hint=f"see that {path} may be written; if it is damaged restore it from a backup, or remove it and `connector pull --full`",
    )


def _threads(memory_limit: str) -> int:
    """As many threads as there are cores, and as the memory has room for."""
    return max(1, min(os.cpu_count() or 1, int(_bytes(memory_limit) / _MEMORY_PER_THREAD)))


def _bytes(size: str) -> float:
    number, unit = _SIZE.sub(r"\1 \2", size).split()
    return float(number) * _UNITS[unit]
