"""After a restore nobody knows which tasks were made since: none is made before every system's own tasks were read anew, or one
that went to a system which is out of reach just then would be made a second time, for a record of its person elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from connector.state import State, outbox
from connector.steps.setup import Setup

_NOTE = "unseen_tasks"  # the keys of the streams of own tasks, when the stores became others


def begin(setup: Setup, state: State) -> None:
    """The stores are others than those that made the last tasks: every system's tasks are due. state: the one that is used next."""
    keys = [
        f"{connected.name}|{stream.name}"
        for connected in setup.systems.values()
        for stream in connected.streams()
        if stream.own_tasks
    ]
    state.forget_polls(keys)
    state.set_note(_NOTE, orjson.dumps(keys).decode())


def left(setup: Setup) -> list[str]:
    """The systems whose tasks were not read since. When there is none any more, what was held for them is planned anew."""
    noted = setup.state.note(_NOTE)
    if not noted:
        return []
    unread = set(orjson.loads(noted)) - setup.state.polls().keys()
    names = {key.partition("|")[0] for key in unread} & setup.systems.keys()
    if not names:
        outbox.weigh_anew(setup.state, because=outbox.UNSEEN)
        setup.state.set_note(_NOTE, "")
    return sorted(names)


def why(systems: Iterable[str]) -> str:
    """Why a task is held."""
    return f"{outbox.UNSEEN} those of {' and '.join(systems)} are read, for the first time since the restore"
