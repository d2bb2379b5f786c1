"""What the stores hold of a system that is not in the configuration any more is told: renamed, it counts twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson

from connector import doctor
from connector.state import State, StateSection, holdings, open_state


def held(state: State, **rows: int) -> list[tuple[str, str]]:
    state.set_note(
        holdings.NOTE, orjson.dumps({name.replace("_", "|"): count for name, count in rows.items()}).decode()
    )
    setup: Any = SimpleNamespace(state=state, systems={"crm": None})
    return [(each.system, each.findings[0].what) for each in doctor.left_behind(setup)]


def test_a_system_that_was_renamed_is_named_with_what_is_held_of_it(tmp_path: Any) -> None:
    state = open_state(StateSection(), tmp_path)
    assert held(state, crm_contacts=3) == []
    assert held(state, crm_contacts=3, old_contacts=1_200, old_calls=34, gone_contacts=0) == [
        ("old", "not configured any more; the 1,234 rows held of it count on")
    ]
