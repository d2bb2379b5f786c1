"""Native fields that the admin's mapping newly names are looked up before the first pull with them: a misspelt one is told at once.

A system shows no more of a field that is hidden from us than of one that it does not have. So a name that it does not show is refused
when it is new; one that was shown when it was named, and is hidden since, is set aside by name and the run goes on (`hidden`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import NoReturn, TypeVar

import orjson

from connector import mapping
from connector.errors import ConfigError, ConnectorError, Problem
from connector.model import System
from connector.state import State
from connector.steps.boundary import boundary
from connector.steps.setup import Connected, Setup

T = TypeVar("T")

_NOTE = "named:"  # the fields that were shown when the mapping named them, by stream


def check(setup: Setup, systems: Mapping[str, System], readings: dict[str, Iterator[T]]) -> None:
    """Raises ConfigError with every newly named field that its system does not show. Asks nothing where no name is new.

    Where descriptions come with what is read, the reading begins first: they are not asked for twice.
    """
    problems: list[Problem] = []
    for name, system in systems.items():
        connected = setup.systems[name]
        news = _news(setup.state, connected)
        if news and name in readings and connected.capabilities.describes_what_it_reads:
            readings[name] = _begun(name, readings[name])
        problems += _problems(setup.state, connected, system, news)
    if problems:
        raise ConfigError(problems)


def _begun(system: str, items: Iterator[T]) -> Iterator[T]:
    """The same items, the first of them read now; what breaks then is raised when it is asked for."""
    try:
        with boundary(system, "reading"):
            first = list(islice(items, 1))
    except ConnectorError as error:
        return iter(partial(_fail, error), None)
    return chain(first, items)


def _fail(error: ConnectorError) -> NoReturn:
    raise error


def _news(state: State, connected: Connected) -> dict[str, set[str]]:
    """The fields that have not been looked up yet, by stream."""
    known: dict[str, list[str]] = orjson.loads(state.note(_NOTE + connected.name) or "{}")
    news = {stream: set(fields) - set(known.get(stream, ())) for stream, fields in _named(connected).items()}
    return {stream: fields for stream, fields in news.items() if fields}


def _problems(state: State, connected: Connected, system: System, news: Mapping[str, set[str]]) -> list[Problem]:
    types = {connected.mappings[stream].object_type: None for stream in news}
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
    named = orjson.dumps(_named(connected)).decode()
    if not problems and named != (state.note(_NOTE + connected.name) or "{}"):
        state.set_note(_NOTE + connected.name, named)
    return problems


def _named(connected: Connected) -> dict[str, list[str]]:
    """The fields that the admin names, by stream; `install` makes those that we write."""
    fields = {
        stream.name: sorted(connected.mappings[stream.name].overridden - connected.ours(stream.object_type))
        for stream in connected.streams()
    }
    return {stream: names for stream, names in fields.items() if names}
