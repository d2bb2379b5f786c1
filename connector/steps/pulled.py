"""What a pull came to, and what it could not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector import tables
from connector.errors import ConnectorError
from connector.mart.ingest import Counts
from connector.model import System
from connector.steps.setup import Setup


@dataclass
class Pulled:
    """What was read: counts by (system, stream), and what could not be read."""

    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)
    failures: dict[str, ConnectorError] = field(default_factory=dict)  # system -> why it could not go on
    stream_failures: dict[tuple[str, str], ConnectorError] = field(default_factory=dict)
    values_aside: int = (
        0  # values that could not be mapped, seen for the first time; their records went on without them
    )
    ended: set[tuple[str, str]] = field(default_factory=set)  # the streams that were read to their present end
    calls: dict[str, int] = field(default_factory=dict)
    quiet: dict[tuple[str, str], str] = field(
        default_factory=dict
    )  # cursors of reads that gave nothing, still to be kept

    @property
    def total(self) -> Counts:
        """All systems and streams together."""
        return sum(self.counts.values(), Counts())


def unread(setup: Setup, systems: Mapping[str, System], pulled: Pulled) -> set[tuple[str, str]]:
    """System and object type of the records that a pull of these systems could not read: nobody knows what they hold now."""
    failed = pulled.failures.keys() | (setup.systems.keys() - systems.keys())
    return {
        (name, stream.object_type)
        for name, connected in setup.systems.items()
        for stream in connected.streams()
        if stream.kind.value in tables.FIELDS
        and (name in failed or (name, stream.name) in pulled.stream_failures)
        and (name, stream.name) not in pulled.ended
    }
