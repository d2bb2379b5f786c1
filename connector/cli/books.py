"""The books of the service: the state, without the rest of the house.

What needs no rule, no system and no mart does not wait for their engines, and works while another part of the configuration is broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from connector import log, tomlfile
from connector.cli.ending import AT_END
from connector.errors import ConfigError
from connector.log import LogSection
from connector.state import State, StateSection, open_state


@dataclass(frozen=True)
class Books:
    """The state, and the names of the configured systems."""

    state: State
    systems: Sequence[str]

    def check(self, system: str) -> None:
        """Raises typer.BadParameter when there is no such system."""
        if system not in self.systems:
            raise typer.BadParameter(f"there is no system {system!r}; the configuration has {', '.join(self.systems)}")


def open_books(file: Path) -> Books:
    """The books that a configuration names, closed as the command ends. Raises ConfigError for what concerns them, and StateError."""
    toml = tomlfile.read(file)
    section, logged = toml.single(StateSection, "state"), toml.single(LogSection, "log")
    systems = list(toml.table("systems"))
    if section is not None and section.url is None:
        toml.holds("state.path", section.path)
    if toml.problems:
        raise ConfigError(toml.placed())
    log.configure(logged)
    state = open_state(section, file.parent)
    AT_END.callback(state.close)
    return Books(state, systems)
