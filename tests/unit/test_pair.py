"""Two stores that do not belong together are found before anything is read or written, with the mend."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from connector.errors import MartError
from connector.mart import MartSection, open_mart
from connector.state import State, StateSection, open_state, outbox
from connector.steps import pair, standing
from connector.steps.setup import Setup

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def computed(state: State, directory: Path) -> int:
    """A run that computes into the mart, as the pipeline does it."""
    with open_mart(MartSection(), directory) as mart:
        pair.check(state, mart)
        run = state.start_run("sync", NOW, "")
        with mart.transaction():
            pair.advance(mart, run)
        pair.remember(state, mart)
    return run


def check(state: State, directory: Path) -> None:
    with open_mart(MartSection(), directory) as mart:
        pair.check(state, mart)


def test_a_new_pair_goes_on_together(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    assert [computed(state, tmp_path) for _ in range(3)] == [1, 2, 3]


def test_killed_between_the_two_commits_the_pair_still_belongs_together(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    computed(state, tmp_path)
    run = state.start_run("sync", NOW, "")
    with open_mart(MartSection(), tmp_path) as mart, mart.transaction():
        pair.advance(mart, run)
    check(state, tmp_path)  # raises when they do not belong together
    assert computed(state, tmp_path) > run


def test_a_lost_mart_is_an_error_and_not_an_empty_run(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    computed(state, tmp_path)
    (tmp_path / "mart.duckdb").unlink()
    with pytest.raises(MartError, match="not the one") as caught:
        check(state, tmp_path)
    assert "pull --full" in caught.value.hint


def test_a_lost_state_is_an_error(tmp_path: Path) -> None:
    computed(open_state(StateSection(), tmp_path), tmp_path)
    (tmp_path / "state.sqlite").unlink()
    with pytest.raises(MartError, match="the state is new"):
        check(open_state(StateSection(), tmp_path), tmp_path)


@pytest.mark.parametrize(("old", "match"), [("mart.duckdb", "mart is older"), ("state.sqlite", "state is older")])
def test_a_store_restored_from_an_older_copy_is_an_error(tmp_path: Path, old: str, match: str) -> None:
    state = open_state(StateSection(), tmp_path)
    computed(state, tmp_path)
    state.engine.dispose()
    shutil.copy(tmp_path / old, tmp_path / "copy")
    state = open_state(StateSection(), tmp_path)
    computed(state, tmp_path)
    state.engine.dispose()
    for leftover in (f"{old}-wal", f"{old}-shm", f"{old}.wal"):
        (tmp_path / leftover).unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy", tmp_path / old)
    with pytest.raises(MartError, match=match):
        check(open_state(StateSection(), tmp_path), tmp_path)


def test_copies_that_were_marked_together_go_on_as_a_pair_like_any_other_and_so_do_older_ones(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    computed(state, tmp_path)
    for is_older in (True, False):
        if not is_older:
            pair.mark_copies(state, tmp_path / "mart.duckdb")
        with open_mart(MartSection(), tmp_path) as mart:
            pair.take_copies(state, mart)
            assert (state.note("backup"), pair.told(mart)["backup"]) == ("", None)
    computed(state, tmp_path)


def test_a_copy_that_was_marked_with_another_is_no_pair_though_nothing_was_computed_between(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    computed(state, tmp_path)
    pair.mark_copies(state, tmp_path / "mart.duckdb")
    state.set_note("backup", "another")
    with open_mart(MartSection(), tmp_path) as mart, pytest.raises(MartError, match="from two backups"):
        pair.take_copies(state, mart)


def test_taken_as_they_are_runs_go_on_above_the_marts_its_tasks_count_as_planned_and_every_field_is_compared(
    tmp_path: Path,
) -> None:
    state = open_state(StateSection(), tmp_path)
    runs = [computed(state, tmp_path) for _ in range(4)]
    state.engine.dispose()
    (tmp_path / "state.sqlite").unlink()
    fresh = open_state(StateSection(), tmp_path)
    with open_mart(MartSection(), tmp_path) as mart:
        pair.adopt(fresh, mart)
    assert int(fresh.note(outbox.PLANNED_THROUGH)) == runs[-1]
    assert standing.is_changed(cast(Setup, SimpleNamespace(state=fresh, fingerprints={"writeback": "as ever"})))
    assert computed(fresh, tmp_path) > runs[-1]
