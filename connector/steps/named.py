"""Native fields that the admin's mapping newly names are looked up before the first pull with them: a misspelt one is told at once.

A system shows no more of a field that is hidden from us than of one that it does not have. So a name that it does not show is refused
when it is new; one that was shown when it was named, and is hidden since, is set aside by name and the run goes on (`hidden`).
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from connector import mapping
from connector.errors import ConfigError, ConnectorError, Problem
from connector.model import System
from connector.state import State
from connector.steps.boundary import boundary
from connector.steps.setup import Connected, Setup

_NOTE = "named:"  # the fields that were shown when the mapping named them, by stream


def check(setup: Setup, systems: Mapping[str, System]) -> None:
    """Raises ConfigError with every newly named field that its system does not show. Asks nothing where no name is new."""
    problems: list[Problem] = []
    for name, system in systems.items():
        problems += _problems(setup.state, setup.systems[name], system)
    if problems:
        raise ConfigError(problems)


def _problems(state: State, connected: Connected, system: System) -> list[Problem]:
    note = f"{_NOTE}{connected.name}"
    known: dict[str, list[str]] = orjson.loads(state.note(note) or "{}")
    named = _named(connected)
    news = {stream: set(fields) - set(known.get(stream, ())) for stream, fields in named.items()}
    types = {connected.mappings[stream].object_type: None for stream, fields in news.items() if fields}
    try:
        with boundary(connected.name, "reading"):
            schemas = system.source.describe(list(types)) if types else {}
    except ConnectorError:
        return []  # its pull says why; the names are looked up by the next run
    problems: list[Problem] = []
    for stream, fields in news.items():
        each = connected.mappings[stream]
        if each.object_type in schemas:
            problems += mapping.validate(connected.name, each, schemas[each.object_type], of=fields)
    if not problems and named != known:
        state.set_note(note, orjson.dumps(named).decode())
    return problems


def _named(connected: Connected) -> dict[str, list[str]]:
    """The fields that the admin names, by stream; `install` makes those that we write."""
    fields = {
        stream.name: sorted(connected.mappings[stream.name].overridden - connected.ours(stream.object_type))
        for stream in connected.streams()
    }
    return {stream: names for stream, names in fields.items() if names}
