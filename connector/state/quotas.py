"""What is known of each system's daily calls, from one connection to the next, and which of them has changes that wait for calls."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from connector.state.store import State

_KNOWN, _WAITS = "quota:", "quota_waits:"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why changes of a system wait for calls, and when they may go (None: nobody can tell)."""

    why: str
    until_at: datetime | None


def known(state: State, system: str) -> str:
    """What the system's governor kept; "" when there is nothing."""
    return state.note(_KNOWN + system)


def keep(state: State, system: str, said: str) -> None:
    """Keep what the system's governor knows."""
    state.set_note(_KNOWN + system, said)


def all_known(state: State) -> dict[str, dict[str, Any]]:
    """What the governors kept, by system."""
    return {system: orjson.loads(said) for system, said in state.notes(_KNOWN).items() if said}


def note_wait(state: State, system: str, wait: Wait | None) -> None:
    """A delivery ended because calls had run out, or it did not."""
    before = state.note(_WAITS + system)
    said = orjson.dumps(asdict(wait)).decode() if wait else ""
    if said != before:
        state.set_note(_WAITS + system, said)


def waits(state: State) -> dict[str, Wait]:
    """The systems of which changes wait for calls."""
    found = {}
    for system, said in state.notes(_WAITS).items():
        if said:
            told = orjson.loads(said)
            until = told["until_at"]
            found[system] = Wait(told["why"], datetime.fromisoformat(until) if until else None)
    return found
