"""The verbs: what is written is there once, all of it or nothing, and only its owner can read the file."""

from __future__ import annotations

import gc
import multiprocessing
import os
import stat
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest

from connector import tables
from connector.errors import Busy, MartError
from connector.expressions import NOW, RUN
from connector.mart import Mart, MartSection, open_mart, statements
from connector.mart.schema import MIGRATIONS


def rows(*values: tuple[str, str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"key": key, "kind": "person", "record": record, "run": run} for key, record, run in values],
        schema=tables.DIRTY,
    )


def held(mart: Mart) -> dict[str, int]:
    return {row["key"]: row["run"] for row in mart.arrow(mart.table("dirty")).to_pylist()}


def test_a_merge_inserts_what_is_new_and_replaces_what_has_the_same_key(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        with mart.transaction():
            mart.merge("dirty", rows(("a", "a", 1), ("b", "b", 1)))
            mart.merge("dirty", rows(("b", "b", 2), ("c", "c", 2)))
        assert held(mart) == {"a": 1, "b": 2, "c": 2}


def test_threads_open_and_close_the_store_side_by_side(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path):
        pass

    def look(_: int) -> int:
        with open_mart(MartSection(), tmp_path) as mart:
            return mart.count(mart.table("dirty"))

    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(look, range(60))) == {0}


def test_counting_takes_no_detour_that_warns(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart, warnings.catch_warnings():
        mart.merge("dirty", rows(("a", "a", 1), ("b", "b", 1)))
        warnings.simplefilter("error")
        assert mart.count(mart.table("dirty")) == 2


def test_a_merge_of_many_rows_does_the_same_as_one_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.mart.engine._IN_PLACE_ROWS", 1)
    with open_mart(MartSection(), tmp_path) as mart:
        with mart.transaction():
            mart.merge("dirty", rows(("a", "a", 1), ("b", "b", 1)))
            mart.merge("dirty", mart.keep("given", rows(("b", "b", 2), ("c", "c", 2))))
            mart.merge("dirty", mart.table("dirty").filter(ibis._.run == 1).mutate(run=7))
        assert held(mart) == {"a": 7, "b": 2, "c": 2}


@pytest.mark.parametrize(("given", "limit"), [("100MB", "100MB"), ("4GB", "128MB"), ("0.1 GiB", "0.1 GiB")])
def test_storing_takes_one_thread_and_no_more_memory_than_it_wants_or_is_given(given: str, limit: str) -> None:
    storing = MartSection(memory_limit=given).storing
    assert (storing.threads, storing.memory_limit) == (1, limit)


def test_rows_that_came_as_arrow_are_let_go_of_once_they_are_kept(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    with open_mart(MartSection(), tmp_path) as mart:
        given = pa.table({"key": pa.array(np.arange(1_000_000)).cast(pa.string())})
        kept = mart.keep("kept", ibis.memtable(given).filter(ibis._.key == "7"))
        del given
        assert mart.count(kept) == 1
        gc.collect()
        assert pa.total_allocated_bytes() - before < 1_000_000


def _row_groups(mart: Mart) -> int:
    told = mart.connection.execute("SELECT count(DISTINCT row_group_id) FROM pragma_storage_info('dirty')").fetchone()
    return int(told[0]) if told else 0


def test_while_a_back_fill_is_stored_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    size = 16_500  # a row group and a little
    for run in range(3):
        texts = [f"{run}-{number}" for number in range(size)]
        with open_mart(MartSection(), tmp_path, is_storing=True) as mart, mart.transaction():
            mart.append("dirty", pa.table({"key": texts, "kind": texts, "record": texts, "run": [run] * size}))
    with open_mart(MartSection(), tmp_path) as mart:
        assert _row_groups(mart) == 6
        mart.merge("dirty", rows(("a", "a", 1)))
    with open_mart(MartSection(), tmp_path) as mart:
        assert _row_groups(mart) < 6, "a run that does not store puts them together"


def test_arrow_lets_go_of_memory_as_the_engine_does(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path):
        assert pa.default_memory_pool().backend_name == "system"


def test_the_engines_allocator_is_told_to_hand_back_pages_before_it_begins() -> None:
    told = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "duckdb":
            print(os.environ["DUCKDB_JE_MALLOC_CONF"])
sys.meta_path.insert(0, Watch())
import connector.pipeline
"""
    environment = {name: value for name, value in os.environ.items() if name != "DUCKDB_JE_MALLOC_CONF"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert "muzzy_decay_ms:0" in done.stdout


def test_what_is_committed_and_much_is_brought_to_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.mart.engine._CHECKPOINT_FROM", 100)
    with open_mart(MartSection(), tmp_path) as mart:
        with mart.transaction():
            mart.merge("dirty", rows(("a", "a", 1)))
        assert not mart.log.exists() or not mart.log.stat().st_size
    with open_mart(MartSection(), tmp_path) as mart:
        assert held(mart) == {"a": 1}


@pytest.mark.parametrize(("memory", "threads"), [("100MB", 1), ("1GB", 1), ("2.2 GB", 4), ("1TB", 8)])
def test_the_engine_takes_no_more_threads_than_its_memory_feeds(
    memory: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    with open_mart(MartSection(memory_limit=memory), tmp_path) as mart:
        told = mart.connection.execute("SELECT current_setting('threads')").fetchone()
        assert told == (threads,)


def test_what_one_run_asked_is_not_turned_into_sql_for_the_next_and_answers_with_its_own_number(tmp_path: Path) -> None:
    asked = []
    for run in (4, 5):
        with open_mart(MartSection(), tmp_path) as mart:
            mart.tell(run=run, now=datetime(2026, 11, run, tzinfo=UTC))
            mart.merge("dirty", rows((f"{run}", "a", run)))
            mine = mart.table("dirty").filter(ibis._.run == RUN).select("key", at=NOW)
            assert mart.arrow(mine).to_pylist() == [{"key": f"{run}", "at": datetime(2026, 11, run, tzinfo=UTC)}]
            asked.append(statements.kept(mart.backend, mine.op()))
    assert asked[0] is asked[1]


def test_a_run_that_was_not_told_is_never_taken_for_nothing(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.tell(now=datetime(2026, 11, 1, tzinfo=UTC))
        with pytest.raises(AssertionError, match="nobody told the mart run"):
            mart.count(mart.table("dirty").filter(ibis._.run == RUN))


def test_a_merge_may_be_made_of_the_table_it_goes_into(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.merge("dirty", rows(("a", "a", 1)))
        mart.merge("dirty", mart.table("dirty").mutate(run=7))
        assert held(mart) == {"a": 7}


def test_what_a_failed_transaction_wrote_is_gone(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.merge("dirty", rows(("a", "a", 1)))
        with pytest.raises(ZeroDivisionError), mart.transaction():
            mart.merge("dirty", rows(("b", "b", 1)))
            mart.delete_keys("dirty", pa.table({"key": ["a"]}))
            raise ZeroDivisionError
        assert held(mart) == {"a": 1}


def test_a_bucket_is_replaced_as_a_whole_and_its_neighbours_stay(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.merge("dirty", rows(("a1", "a", 1), ("a2", "a", 1), ("b1", "b", 1)))
        mart.replace_bucket("dirty", "record", pa.table({"record": ["a"]}), rows(("a3", "a", 2)))
        assert held(mart) == {"a3": 2, "b1": 1}


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart, mart.transaction():
        mart.merge("dirty", rows(("a", "a", 1)))
    with open_mart(MartSection(), tmp_path) as mart:
        assert held(mart) == {"a": 1}


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path):
        pass
    assert stat.S_IMODE((tmp_path / "mart.duckdb").stat().st_mode) == 0o600


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.connection.execute("UPDATE pair SET schema_version = ?", [len(MIGRATIONS) + 1])
    with pytest.raises(MartError, match="schema version"), open_mart(MartSection(), tmp_path):
        pass


def test_a_file_that_is_no_mart_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "mart.duckdb").write_bytes(b"not a database" * 500)
    with pytest.raises(MartError) as caught, open_mart(MartSection(), tmp_path):
        pass
    assert "backup" in caught.value.hint


def _hold(path: Path, is_open: multiprocessing.synchronize.Event, may_close: multiprocessing.synchronize.Event) -> None:
    with open_mart(MartSection(), path):
        is_open.set()
        may_close.wait(20)


def test_a_mart_that_is_damaged_further_in_is_not_taken_for_one_in_use(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.append("dirty", rows(*((f"{number:064}", "a", 1) for number in range(20_000))))
    path = tmp_path / "mart.duckdb"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 8)
        file.write(b"\xff" * (path.stat().st_size * 3 // 4))
    with pytest.raises(MartError, match=r"mart\.duckdb") as caught, open_mart(MartSection(wait_s=0), tmp_path) as mart:
        held(mart)
    assert "remove it" in caught.value.hint


def test_too_little_memory_is_told_with_the_option_that_gives_more(tmp_path: Path) -> None:
    with (
        pytest.raises(MartError, match="1MB of memory") as caught,
        open_mart(MartSection(memory_limit="1MB"), tmp_path) as mart,
        mart.transaction(),
    ):
        mart.append("dirty", rows(*((f"{number:064}", "a", 1) for number in range(50_000))))
    assert "memory_limit" in caught.value.hint


def test_a_second_process_waits_and_then_says_that_the_mart_is_in_use(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    is_open, may_close = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, is_open, may_close))
    other.start()
    try:
        assert is_open.wait(30)
        with pytest.raises(Busy), open_mart(MartSection(wait_s=0.2), tmp_path):
            pass
    finally:
        may_close.set()
        other.join(20)
    with open_mart(MartSection(), tmp_path) as mart:
        assert held(mart) == {}


def test_a_store_of_an_older_program_is_copied_and_stays_locked_while_it_is_migrated(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.connection.execute("ALTER TABLE observed DROP COLUMN ours")
        mart.connection.execute("DROP TABLE drift")
        mart.connection.execute("UPDATE pair SET schema_version = 1")
    said: list[str] = []
    with open_mart(MartSection(), tmp_path, say=said.append):
        code = "import duckdb, sys; duckdb.connect(sys.argv[1])"
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "mart.duckdb")], capture_output=True, check=False
        )
        assert b"lock" in other.stderr
    copy = tmp_path / "mart.duckdb.before-2"
    assert said[0] == f"bringing the mart mart.duckdb to version 2 of {len(MIGRATIONS)}; a copy is kept at {copy}"
    assert len(said) == len(MIGRATIONS) - 1
    with open_mart(MartSection(), tmp_path, say=said.append):
        assert len(said) == len(MIGRATIONS) - 1
    with duckdb.connect(str(copy), read_only=True) as connection:
        assert connection.execute("SELECT schema_version FROM pair").fetchone() == (1,)
    assert copy.stat().st_mode & 0o777 == 0o600


def _identifier(value: str, component: str | None = None) -> pa.Table:
    row = {"key": f"r|email|{value}", "record": "r", "type": "email", "value": value, "component": component}
    return pa.Table.from_pylist([row], schema=tables.IDENTIFIER)


def test_identifiers_of_an_older_store_keep_their_keys_though_these_are_not_stored_any_more(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.append("identifier", _identifier("a@b.example"))
        mart.connection.execute("ALTER TABLE identifier ADD COLUMN key VARCHAR")
        mart.connection.execute("UPDATE identifier SET key = 'r|email|a@b.example'")
        mart.connection.execute("UPDATE pair SET schema_version = 3")
    with open_mart(MartSection(), tmp_path) as mart:
        mart.merge("identifier", _identifier("a@b.example", "changed"))
        mart.merge("identifier", _identifier("c@d.example"))
        found = mart.arrow(mart.table("identifier")).sort_by("key")
        assert found.schema.names == tables.IDENTIFIER.names
        assert found["key"].to_pylist() == ["r|email|a@b.example", "r|email|c@d.example"]
        assert found["component"].to_pylist() == ["changed", None]
        mart.delete_keys("identifier", found.select(["key"]).slice(0, 1))
        assert mart.arrow(mart.table("identifier"))["value"].to_pylist() == ["c@d.example"]


def test_a_merge_of_many_identifiers_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.mart.engine._IN_PLACE_ROWS", 0)
    with open_mart(MartSection(), tmp_path) as mart:
        mart.append("identifier", _identifier("a@b.example"))
        mart.merge("identifier", _identifier("a@b.example", "changed"))
        assert mart.arrow(mart.table("identifier"))["component"].to_pylist() == ["changed"]


def test_a_store_of_an_older_program_is_written_anew_as_texts_are_kept_now(tmp_path: Path) -> None:
    names = [str(number) for number in range(20_000)]
    with open_mart(MartSection(), tmp_path) as mart:
        mart.append("owner_record", pa.table({"key": names, "native": [f"told of {name}" for name in names]}))
        told = mart.arrow(mart.table("owner_record")).sort_by("key")
    path, older = tmp_path / "mart.duckdb", tmp_path / "older.duckdb"
    with duckdb.connect(str(older)) as connection:
        connection.execute(f"ATTACH '{path}' AS newer")
        for name in tables.TABLES:
            columns = ", ".join(
                f'"{row[0]}" {row[1]}{" USING COMPRESSION fsst" if row[0] == "native" else ""}'
                for row in connection.execute(f'DESCRIBE newer."{name}"').fetchall()
            )
            connection.execute(f'CREATE TABLE "{name}" ({columns})')
            connection.execute(f'INSERT INTO "{name}" SELECT * FROM newer."{name}"')
        connection.execute("UPDATE pair SET schema_version = 4")
        connection.execute("CHECKPOINT")
        assert "FSST" in _compressions(connection)
        connection.execute("DETACH newer")
    older.replace(path)
    with open_mart(MartSection(), tmp_path) as mart:
        assert mart.arrow(mart.table("owner_record")).sort_by("key") == told
        mart.checkpoint()
        assert "ZSTD" in _compressions(mart.connection)
        assert "FSST" not in _compressions(mart.connection)
    with duckdb.connect(str(tmp_path / "mart.duckdb.before-5"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM owner_record").fetchone() == (20_000,)


@pytest.mark.parametrize("version", [4, 6])
def test_triggers_of_an_older_store_keep_all_but_the_record_that_they_named(tmp_path: Path, version: int) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        mart.connection.execute("ALTER TABLE trigger ADD COLUMN anchor VARCHAR")
        mart.connection.execute("INSERT INTO trigger (key, episode, anchor) VALUES ('ann|call', 2, 'sf|Contact|1')")
        mart.connection.execute("UPDATE pair SET schema_version = ?", [version])
    with open_mart(MartSection(), tmp_path) as mart:
        (row,) = mart.arrow(mart.table("trigger")).to_pylist()
        columns = mart.connection.execute("SELECT column_name FROM (DESCRIBE trigger)").fetchall()
    assert (row["key"], row["episode"]) == ("ann|call", 2)
    assert [column for (column,) in columns] == tables.TRIGGER.names


def _compressions(connection: duckdb.DuckDBPyConnection) -> set[str]:
    found = connection.execute(
        "SELECT compression FROM pragma_storage_info('owner_record') WHERE column_name = 'native'"
    ).fetchall()
    return {row[0] for row in found}


def test_what_does_not_fit_into_memory_goes_beside_the_store(tmp_path: Path) -> None:
    with open_mart(MartSection(), tmp_path) as mart:
        row = mart.connection.execute("SELECT current_setting('temp_directory')").fetchone()
    assert row == (f"{tmp_path}/mart.duckdb.tmp",)
