"""The one SQLite file behind both imitated systems, and the tables that they share."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "sandbox.db"
LOCK_NAME = "sandbox.lock"

_CORE_TABLES = """
CREATE TABLE IF NOT EXISTS sandbox_setting (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS truth (
    person TEXT NOT NULL, system TEXT NOT NULL, object_type TEXT NOT NULL, native_id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS api_call (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, system TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    pattern TEXT NOT NULL, status INTEGER NOT NULL, cost INTEGER NOT NULL, bucket TEXT NOT NULL,
    records INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS workflow_rule (
    id INTEGER PRIMARY KEY, system TEXT NOT NULL, object_type TEXT NOT NULL, name TEXT NOT NULL, field TEXT NOT NULL,
    operator TEXT NOT NULL, value TEXT NOT NULL, set_field TEXT, set_value TEXT
);
CREATE TABLE IF NOT EXISTS workflow_firing (
    id INTEGER PRIMARY KEY, rule TEXT NOT NULL, system TEXT NOT NULL, object_type TEXT NOT NULL,
    record_id TEXT NOT NULL, at TEXT NOT NULL, detail TEXT NOT NULL
);
"""


class InUse(Exception):
    """Another sandbox is at work in this directory."""


@contextmanager
def alone_in(directory: Path | None) -> Iterator[None]:
    """No other sandbox works in the directory meanwhile: two would give the same ids to different records. Raises InUse.

    A process that dies lets go of it.
    """
    if directory is None:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another sandbox is at work in {directory}") from None
        yield


def open_database(directory: Path | None) -> sqlite3.Connection:
    """Open (or create) the database in `directory`; `None` keeps it in memory.

    The connection is in autocommit mode: wrap related writes in `transaction`. It may be used from any thread, by one
    thread at a time. Rows are `sqlite3.Row`.
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    path = ":memory:" if directory is None else str(directory / FILE_NAME)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    database.row_factory = sqlite3.Row
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "temp_store=MEMORY", "cache_size=-65536"):
        database.execute(f"PRAGMA {pragma}")
    database.executescript(_CORE_TABLES)
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing: commits on leaving, rolls back on an exception; nested use is a savepoint.

    Never `await` inside: the connection is shared by all requests of the event loop.
    """
    if database.in_transaction:
        database.execute("SAVEPOINT nested")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK TO nested")
            database.execute("RELEASE nested")
            raise
        database.execute("RELEASE nested")
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def read_setting(database: sqlite3.Connection, name: str) -> str | None:
    """A stored setting of the sandbox itself, or None."""
    row = database.execute("SELECT value FROM sandbox_setting WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row["value"])


def write_setting(database: sqlite3.Connection, name: str, value: str) -> None:
    """Store a setting of the sandbox itself; it survives a restart."""
    database.execute("INSERT OR REPLACE INTO sandbox_setting (name, value) VALUES (?, ?)", (name, value))
