"""Removing people from a mart's file so that their bytes are gone.

Works on files of any schema version, so that older copies are reached too: a table or column that a file lacks is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa

from connector.errors import MartError
from connector.mart import files
from connector.mart.engine import Mart

#: (table, column) of record keys of people, and of person ids.
_OF_RECORDS = (
    ("record_version", "record"), ("activity", "record"), ("identifier", "record"), ("engagement_day", "record"),
    ("desired", "record"), ("observed", "record"), ("desired_task", "record"), ("dirty", "record"), ("drift", "record"),
    ("membership", "key"), ("issued", "anchor"), ("person_record", "key"),
    ("record_version", "value"),  # another's record pointed to them once
)  # fmt: skip
#: Records of other kinds that are a person's: they point to one with `person`.
_OF_THEIRS = ("contact_role_record", "case_record")
_OF_SUBJECTS = (
    ("score_line", "subject"), ("score", "subject"), ("stage_interval", "subject"), ("trigger", "subject"), ("due", "subject"),
    ("desired_task", "subject"), ("person", "key"), ("membership", "owner_id"),
)  # fmt: skip


def erase(connection: duckdb.DuckDBPyConnection, records: Sequence[str], subjects: Sequence[str]) -> dict[str, int]:
    """Delete everything of these records and persons, inside the caller's transaction. Returns how many rows, by table.

    Ids that a record of them carries go, with what was computed for them, unless their person has other records: one of these carries
    it then. Evidence that was refused near them goes too, and the values that such a person has of theirs; whoever shares a person or a
    component with them is queued to be resolved anew.
    """
    known = set(
        connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database()"
        ).fetchall()
    )
    counts: dict[str, int] = {}
    _keep(connection, "erased_record", records)
    _keep(connection, "erased_subject", subjects)
    if {("issued", "minted_by"), ("membership", "ingestion")} <= known:
        _hand_ids_on(connection)
        _part_from_others(connection, counts)
    if ("identifier", "component") in known:
        _part_from_neighbours(connection, counts)
    for table in _OF_THEIRS:
        if (table, "person") in known:
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE erased_of_theirs AS SELECT key AS value FROM {table} "
                "WHERE person IN (SELECT value FROM erased_record)"
            )
            _delete(connection, "record_version", "record", "erased_of_theirs", counts)
            _delete(connection, table, "key", "erased_of_theirs", counts)
    for chosen, values in ((_OF_RECORDS, "erased_record"), (_OF_SUBJECTS, "erased_subject")):
        for table, column in chosen:
            if (table, column) in known:
                _delete(connection, table, column, values, counts)
    if ("trigger", "anchor") in known:  # a copy of an older version: who is left was once called by such a record
        connection.execute('UPDATE "trigger" SET anchor = subject WHERE anchor IN (SELECT value FROM erased_record)')
    return {name: count for name, count in sorted(counts.items()) if count}


def _keep(connection: duckdb.DuckDBPyConnection, name: str, values: Sequence[str]) -> None:
    connection.register("arrow_values", pa.table({"value": pa.array(values, pa.string())}))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT value FROM arrow_values")
    connection.unregister("arrow_values")


def _hand_ids_on(connection: duckdb.DuckDBPyConnection) -> None:
    """The ids that go, among the persons to erase; the others to the oldest record that is left of theirs."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE left_of AS SELECT owner_id, arg_min(key, ingestion) AS heir FROM membership "
        "WHERE key NOT IN (SELECT value FROM erased_record) GROUP BY owner_id"
    )
    connection.execute(
        "INSERT INTO erased_subject SELECT key FROM issued WHERE anchor IN (SELECT value FROM erased_record) "
        "AND key NOT IN (SELECT owner_id FROM left_of)"
    )
    connection.execute(
        "UPDATE issued SET anchor = left_of.heir FROM left_of WHERE issued.key = left_of.owner_id "
        "AND issued.anchor IN (SELECT value FROM erased_record) AND issued.key NOT IN (SELECT value FROM erased_subject)"
    )
    connection.execute("UPDATE issued SET minted_by = NULL WHERE minted_by IN (SELECT value FROM erased_record)")


def _part_from_others(connection: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> None:
    """Of persons who have other records, too, or had them until what was read since: their values may be those of who goes."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE erased_owner AS SELECT DISTINCT owner_id AS value FROM membership "
        "WHERE key IN (SELECT value FROM erased_record) OR owner_id IN (SELECT value FROM erased_subject)"
    )
    _queue(connection, "SELECT kind, key AS record FROM membership WHERE owner_id IN (SELECT value FROM erased_owner)")
    _delete(connection, "person", "key", "erased_owner", counts)


def _part_from_neighbours(connection: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> None:
    """Of records that share a component with theirs: the evidence that was refused, and values of theirs that they no longer have."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE erased_component AS SELECT DISTINCT component AS value FROM identifier "
        "WHERE component IS NOT NULL AND record IN (SELECT value FROM erased_record)"
    )
    _queue(
        connection,
        "SELECT record_kind AS kind, record FROM identifier WHERE component IN (SELECT value FROM erased_component)",
    )
    _delete(connection, "refused", "component", "erased_component", counts)
    connection.execute(
        "DELETE FROM identifier WHERE withdrawn_at IS NOT NULL AND component IN (SELECT value FROM erased_component) "
        "AND record NOT IN (SELECT value FROM erased_record) "
        "AND (type, value) IN (SELECT (type, value) FROM identifier WHERE record IN (SELECT value FROM erased_record))"
    )


def _queue(connection: duckdb.DuckDBPyConnection, neighbours: str) -> None:
    """Queue these records (a query of `kind` and `record`) to be resolved anew, but those that go."""
    connection.execute(
        "INSERT INTO dirty (key, kind, record, run) SELECT DISTINCT kind || '|' || record, kind, record, "
        f"(SELECT max(generation) FROM pair) FROM ({neighbours}) "
        "WHERE record NOT IN (SELECT value FROM erased_record) AND kind || '|' || record NOT IN (SELECT key FROM dirty)"
    )


def _delete(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, values: str, counts: dict[str, int]
) -> None:
    done = connection.execute(f'DELETE FROM "{table}" WHERE "{column}" IN (SELECT value FROM {values})').fetchone()
    counts[table] = counts.get(table, 0) + (int(done[0]) if done else 0)


def erase_in(mart: Mart, records: Sequence[str], subjects: Sequence[str]) -> Mapping[str, int]:
    """`erase` in the open mart, inside the caller's transaction."""
    return erase(mart.connection, records, subjects)


def erase_file(path: Path, records: Sequence[str], subjects: Sequence[str]) -> int:
    """Remove people from a copy of a mart and write it anew. Returns how many rows. Raises MartError when that cannot be done."""
    path = path.resolve()
    try:
        with closing(files.connect(path, {}, is_laid_out=False)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("BEGIN")
            counts = erase(connection, records, subjects)
            connection.execute("COMMIT")
            files.rewrite(connection, path)
    except duckdb.Error as problem:
        raise MartError(f"the copy {path} cannot be opened or written anew", hint="delete it by hand") from problem
    return sum(counts.values())
