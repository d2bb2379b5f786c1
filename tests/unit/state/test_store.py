"""The transactional store: what fails in it is told in words, and nothing of a row comes with them."""

from __future__ import annotations

import os
import sqlite3
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.runtime import migration
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from connector import clock
from connector.errors import Busy, StateError
from connector.state import StateSection, lease, open_state
from connector.state.models import Quarantine

_PAGE = 4096


def test_a_file_that_is_no_store_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"this is a text" * 1000)
    with pytest.raises(StateError, match="cannot be opened") as caught:
        open_state(StateSection(), tmp_path)
    assert "backup" in caught.value.hint


def test_a_store_that_is_damaged_further_in_is_told_when_it_is_read(tmp_path: Path) -> None:
    open_state(StateSection(), tmp_path).engine.dispose()
    with sqlite3.connect(tmp_path / "state.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'quarantine'").fetchone()[0]
    connection.close()
    with (tmp_path / "state.sqlite").open("r+b") as file:
        file.seek((root - 1) * _PAGE)
        file.write(b"\xff" * _PAGE)
    with pytest.raises(StateError, match="read") as caught, open_state(StateSection(), tmp_path).session() as session:
        session.exec(select(Quarantine)).all()
    assert "backup" in caught.value.hint


def test_a_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    with open_state(StateSection(), tmp_path).engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    with pytest.raises(StateError, match="version 9000"):
        open_state(StateSection(), tmp_path)


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with (
        pytest.raises(StateError, match="no room"),
        open_state(StateSection(), tmp_path).engine.begin() as connection,
    ):
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        connection.execute(text("CREATE TABLE big (value)"))
        connection.execute(text("INSERT INTO big VALUES (zeroblob(100000))"))


def test_a_store_that_another_command_holds_is_in_use(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Busy, match="in use"), state.engine.begin() as connection:
        connection.execute(text("PRAGMA busy_timeout = 1"))
        connection.execute(text("DELETE FROM lease"))
    other.close()


def test_what_a_statement_of_ours_does_wrong_stays_an_error_without_the_values(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    with pytest.raises(IntegrityError) as caught, state.engine.begin() as connection:
        connection.execute(text("INSERT INTO note (key, value) VALUES (:key, NULL)"), {"key": "ann@northwind.example"})
    assert "ann@northwind.example" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("geheim", "no database URL that we know"),
        ("postgresql+nosuch://ann:geheim@host/name", "no database URL that we know"),
        ("mssql+pyodbc://ann:geheim@host/name", "driver"),
    ],
)
def test_an_address_of_no_database_is_told_without_repeating_it(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(StateError, match=said) as caught:
        open_state(StateSection.model_validate({"url": url}), tmp_path)
    assert "postgresql+psycopg://" in caught.value.hint
    assert "geheim" not in f"{caught.value} {caught.value.hint}"


def test_several_commands_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    process = get_context("fork")
    start = process.Barrier(3)

    def opens() -> None:
        start.wait()
        open_state(StateSection(), tmp_path).last_runs(1)

    children = [process.Process(target=opens) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_a_migration_that_is_cut_off_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, upgrade = [], migration.MigrationContext.run_migrations

    def cut_off(self: migration.MigrationContext, **more: object) -> None:
        upgrade(self, **more)
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(migration.MigrationContext, "run_migrations", cut_off)
        with pytest.raises(InterruptedError):
            open_state(StateSection(), tmp_path)
    with sqlite3.connect(tmp_path / "state.sqlite") as connection:
        whole = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert whole == []
    assert not open_state(StateSection(), tmp_path).last_runs(1)


@pytest.mark.skipif("CONNECTOR_TEST_STATE_URL" not in os.environ, reason="names an empty database on a server")
def test_a_database_server_keeps_what_a_file_keeps(tmp_path: Path) -> None:
    state = open_state(StateSection.model_validate({"url": os.environ["CONNECTOR_TEST_STATE_URL"]}), tmp_path)
    now = clock.now()
    with lease.hold(state), pytest.raises(Busy), lease.hold(state):
        pass
    run = state.start_run("sync", now, "")
    state.end_run(run, now, status="done", exit_code=0, summary={"identity": {"é": 1}})
    assert (state.last_runs(1)[0].summary, state.last_runs(1)[0].ended_at) == ({"identity": {"é": 1}}, now)
