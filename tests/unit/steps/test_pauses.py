"""A paused system is left out until it is resumed; refused credentials are not tried again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connector.errors import AuthError, SystemUnavailable
from connector.state import State, StateSection, open_state, pauses
from connector.steps.pauses import TRIED_EVERY, keep, left_out

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
REFUSED = {"crm": AuthError("token refused")}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def house(state: State, credentials: str = "old") -> Any:
    return SimpleNamespace(state=state, systems={"crm": SimpleNamespace(credentials=credentials)})


def test_who_is_paused_by_a_person_is_left_out_and_is_no_failure(state: State) -> None:
    pauses.ask(state, "crm", by="ann", reason="migration", now=NOW)
    pauses.ask(state, "crm", by="joe", reason="", now=NOW + timedelta(hours=1))
    asked, refused = left_out(house(state), NOW + timedelta(days=30))
    assert (asked["crm"].by, asked["crm"].since_at, refused) == ("ann", NOW, {})
    pauses.lift(state, ["crm"])
    assert left_out(house(state), NOW) == ({}, {})


def test_refused_credentials_wait_until_they_are_others_or_an_hour_has_passed(state: State) -> None:
    keep(house(state), REFUSED, {"crm"}, NOW)
    _, refused = left_out(house(state), NOW + timedelta(minutes=15))
    assert "connector check crm" in refused["crm"].hint
    assert left_out(house(state, "renewed"), NOW + timedelta(minutes=15)) == ({}, {})
    assert left_out(house(state), NOW + TRIED_EVERY) == ({}, {})
    keep(house(state), REFUSED, {"crm"}, NOW + TRIED_EVERY)
    assert "since 1 Nov 12:00" in str(left_out(house(state), NOW + 1.5 * TRIED_EVERY)[1]["crm"])


def test_a_run_that_gets_through_ends_it_and_one_that_finds_the_system_down_does_not(state: State) -> None:
    keep(house(state), REFUSED, {"crm"}, NOW)
    keep(house(state), {"crm": SystemUnavailable("down")}, {"crm"}, NOW)
    assert pauses.standing(state)
    keep(house(state), {}, set(), NOW)
    assert pauses.standing(state)
    keep(house(state), {}, {"crm"}, NOW)
    assert not pauses.standing(state)


def test_a_refusal_does_not_end_what_a_person_asked_for(state: State) -> None:
    pauses.ask(state, "crm", by="ann", reason="", now=NOW)
    keep(house(state), REFUSED, {"crm"}, NOW)
    assert pauses.standing(state)["crm"].kind == pauses.ASKED
