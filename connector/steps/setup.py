"""What every step needs: the connected systems, the settings of the core, and the two stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from connector.errors import Problem
from connector.identity import IdentitySection
from connector.lifecycle import LifecycleSection, TaskSection
from connector.mapping import StreamMapping
from connector.mart import Mart, MartSection, open_mart
from connector.model import Adapter, Capabilities, Stream, System
from connector.scoring import ScoringModel
from connector.state import State
from connector.survivorship import SurvivorshipSection
from connector.writeback import WritebackSection


@dataclass(frozen=True)
class Connected:
    """A configured system: its adapter's declaration and how to connect to it."""

    name: str
    adapter: Adapter
    capabilities: Capabilities  # of the adapter, as the options have them
    connect: Callable[[], System]
    mappings: Mapping[str, StreamMapping]
    outputs: Mapping[str, Mapping[str, str]]  # object type -> output -> native field
    credentials: str = ""  # a hash of the options with their secrets: it differs when the credentials do

    def streams(self) -> tuple[Stream, ...]:
        """The streams that are mapped, in the adapter's order."""
        return tuple(stream for stream in self.adapter.streams if stream.name in self.mappings)

    def ours(self, object_type: str) -> frozenset[str]:
        """The native fields of an object type that only we write: `install` makes them."""
        of_tasks, task_key = self.capabilities.task_key
        key = {task_key} if object_type == of_tasks else set()
        return frozenset({*self.outputs.get(object_type, {}).values(), *key})


@dataclass(frozen=True)
class Setup:
    """The house as the pipeline sees it; built by `app` from the configuration."""

    systems: Mapping[str, Connected]
    region: str
    identity: IdentitySection
    survivorship: SurvivorshipSection
    models: Mapping[str, ScoringModel]
    lifecycle: LifecycleSection
    tasks: Mapping[str, TaskSection]
    writeback: WritebackSection
    state: State
    mart_section: MartSection
    directory: Path
    levels: Mapping[str, Sequence[float]] = field(default_factory=dict)  # points at which stages or tasks look
    every: Mapping[str, timedelta] = field(
        default_factory=dict
    )  # "system.stream" -> shortest interval between two reads
    fingerprints: Mapping[str, str] = field(default_factory=dict)  # part of the configuration -> what it is now
    place: Callable[[Problem], Problem] = lambda problem: problem  # with where in the configuration its option stands
    say: Callable[[str], None] = lambda _: None  # what takes longer when the mart is opened

    @property
    def mart_file(self) -> Path:
        """The mart's file itself."""
        return self.mart_section.file(self.directory)

    @property
    def rehearsed_file(self) -> Path:
        """A copy of the mart that a plan computes in and lets go of."""
        return self.mart_file.with_name(f"{self.mart_file.name}.before-plan")

    @property
    def restoring(self) -> Path:
        """The folder in which a backup is made ready to take the stores' place."""
        return self.directory / ".restoring"

    @contextmanager
    def mart(self, *, is_storing: bool = False) -> Iterator[Mart]:
        """The mart, open for one group of work; `is_storing`: to append beside reading and mapping, so with less of the machine."""
        with open_mart(self.mart_section, self.directory, is_storing=is_storing, say=self.say) as mart:
            yield mart

    @property
    def written(self) -> Mapping[tuple[str, str, str], str]:
        """What we write: (system, object type, native field) -> our name of its output."""
        return {
            (name, object_type, native): output
            for name, connected in self.systems.items()
            for object_type, fields in connected.outputs.items()
            for output, native in fields.items()
        }


@dataclass(frozen=True)
class Progress:
    """Where a run tells how far it is; the command line draws it. Every call is optional."""

    say: Callable[[str, str], None] = lambda step, text: None
    #: system, stream, rows, of how many (None: not told); as many as there are rows once the stream is read to its end
    pulled: Callable[[str, str, int, int | None], None] = lambda system, stream, rows, total: None
    delivered: Callable[[str, int, int], None] = lambda system, done, of: None
    is_stopping: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Moment:
    """A run's number and its `now`: every step of a run sees the same."""

    run: int
    now: datetime
