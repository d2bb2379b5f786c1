"""The store's file: how an engine takes hold of one, copies one and writes one anew.

A file is attached to an engine in memory that goes by the file's name, since only so an engine can be told how to lay one out.
All threads of a process that name the same file share that engine, and so the file's lock.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import duckdb

from connector.errors import MartError

#: A row group is what the engine writes to its place as it comes; what is less goes through its log and is written twice. By itself
#: it would take 122,880 rows.
ROW_GROUP_ROWS = 16_384
#: With the oldest version that is able to, texts are kept as zstd has them: half the room of the older ways.
_LAYOUT = f"STORAGE_VERSION 'v1.5.0', ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
#: The first schema version whose files are laid out so. A file from before keeps texts in a way that this layout cannot write.
_LAID_OUT_SINCE = 5
#: The name of the file within its engine.
_NAME = "mart"


def connect(
    path: Path, config: Mapping[str, str | bool | int | float | list[str]], *, is_laid_out: bool = True
) -> duckdb.DuckDBPyConnection:
    """A connection to the file, which is made if it is not there; without `is_laid_out` it stays as it was laid out, as a copy
    from before a migration has to. Raises duckdb.Error."""
    engine = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    connection = duckdb.connect(f":memory:{engine}", config=dict(config))
    try:
        _attach(connection, path, _NAME, _LAYOUT if is_laid_out else "")
        connection.execute(f"USE {_NAME}")
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str, layout: str) -> None:
    place = str(path).replace("'", "''")
    connection.execute(f"ATTACH IF NOT EXISTS '{place}' AS {name} {f'({layout})' if layout else ''}")


def copy(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """A copy of the open mart as it is now, for its owner alone (0600).

    (Copying the file by other means would give up our lock on it: closing any descriptor of a file ends a process's locks.)
    Raises MartError when it cannot be written.
    """
    target.unlink(missing_ok=True)
    (version,) = connection.execute("SELECT schema_version FROM pair").fetchall()[0]
    _attach(connection, target, "copied", _LAYOUT if version >= _LAID_OUT_SINCE else "")
    target.chmod(0o600)
    try:
        connection.execute(f"COPY FROM DATABASE {_NAME} TO copied")
        connection.execute("CHECKPOINT copied")
    except duckdb.Error as problem:
        raise MartError(
            f"the mart cannot be copied to {target} ({type(problem).__name__})",
            hint="see that it may be written and has room",
        ) from problem
    finally:
        with suppress(duckdb.Error):
            connection.execute("DETACH copied")
    with target.open("rb") as written:
        os.fsync(written.fileno())


def mark(path: Path, backup: str) -> None:
    """Say in a copy with which state it was made."""
    with closing(connect(path, {}, is_laid_out=False)) as connection:
        connection.execute("UPDATE pair SET backup = ?", [backup])


def rewrite(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the file anew and put it in the old one's place, so that blocks of deleted rows are gone. To be closed after it."""
    scratch = path.with_name(f".{path.name}.rewritten")
    copy(connection, scratch)
    connection.execute("CHECKPOINT")
    scratch.replace(path)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
