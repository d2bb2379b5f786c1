"""The transactional store: what fails in it is told in words, and nothing of a row comes with them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from connector.errors import Busy, StateError
from connector.state import StateSection, open_state
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
