"""What is set aside is there once, and counts again only when something is new."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.state import State, StateSection, open_state
from connector.state.models import Quarantine

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def aside(key: str, *, value_hash: str = "#1", kind: str = "value") -> Quarantine:
    return Quarantine(key=key, kind=kind, system="crm", value_hash=value_hash, reason="odd", first_at=NOW, last_at=NOW)


def attempts(state: State) -> dict[str, int]:
    return {row.key: row.attempts for row in state.quarantined()}


def test_the_same_value_read_again_is_no_news(state: State) -> None:
    assert state.quarantine([aside("a"), aside("b")]) == {"a", "b"}
    assert state.quarantine([aside("a"), aside("b", value_hash="#2")]) == {"b"}
    assert attempts(state) == {"a": 1, "b": 2}


def test_a_change_that_fails_again_counts_again(state: State) -> None:
    state.quarantine([aside("a", kind="change")])
    state.quarantine([aside("a", kind="change")])
    assert attempts(state) == {"a": 2}


def test_one_key_twice_in_a_group_is_set_aside_once(state: State) -> None:
    state.quarantine([aside("a"), aside("a", value_hash="#2")])
    assert attempts(state) == {"a": 1}


def test_what_was_released_comes_back_when_it_is_set_aside_again(state: State) -> None:
    state.quarantine([aside("a")])
    state.release(["a"])
    assert attempts(state) == {}
    state.quarantine([aside("a")])
    assert attempts(state) == {"a": 2}


def test_thousands_are_set_aside_in_one_go(state: State) -> None:
    state.quarantine([aside(str(n)) for n in range(3_000)])
    assert state.open_quarantine() == {"crm": 3_000}
