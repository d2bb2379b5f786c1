"""Deliver: every system in a thread of its own, each lane by lane; what one system cannot take does not stop the others.

What was accepted is brought into the observed values beside that, some at a time: the store works while the systems do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from connector import settlement, writeback
from connector.dispatch import Delivered
from connector.errors import QuotaExhausted, SystemFailure
from connector.model import System
from connector.state import attempts
from connector.steps.boundary import boundary
from connector.steps.pulled import Pulled, unread
from connector.steps.setup import Moment, Progress, Setup

#: Changes that are settled at once while others are sent: fewer would open the mart too often.
_SETTLED_AT_ONCE = 10_000


class _Settling:
    """Settles what was accepted, on a line of its own, each time that so many changes more were sent."""

    def __init__(self, settle: Callable[[], None], line: ThreadPoolExecutor) -> None:
        self._settle = settle
        self._line = line
        self._lock = Lock()
        self._sent = 0
        self._under_way: list[Future[None]] = []

    def note(self, count: int) -> None:
        """So many more changes were sent, to whichever system."""
        with self._lock:
            self._sent += count
            if self._sent >= _SETTLED_AT_ONCE:
                self._sent = 0
                self._under_way.append(self._line.submit(self._settle))

    def end(self) -> None:
        """Wait for what is under way, and settle the rest. Raises what went wrong."""
        for each in self._under_way:
            each.result()
        self._settle()


def deliver(
    setup: Setup, systems: Mapping[str, System], pulled: Pulled, moment: Moment, progress: Progress
) -> list[Delivered]:
    """Send what waits in the outbox, and bring what was accepted into the observed values.

    Fields of records that were just not `pulled` wait: somebody may have changed them, and be right.
    """
    chosen = setup.writeback.systems or tuple(systems)
    writable = [system for name, system in systems.items() if name in chosen and system.target is not None]
    if not writable:
        return []

    def settle() -> None:
        if attempts.unapplied(setup.state, limit=1):
            with setup.mart() as mart:
                settlement.settle(setup.state, mart, run=moment.run)

    with (
        ThreadPoolExecutor(1, thread_name_prefix="settle") as line,
        ThreadPoolExecutor(max_workers=len(writable), thread_name_prefix="deliver") as pool,
    ):
        settling = _Settling(settle, line)
        unknown = _unknown(setup, systems, pulled)
        futures = [
            pool.submit(_one, setup, system, pulled, unknown.get(system.name, set()), moment, progress, settling.note)
            for system in writable
        ]
        delivered = [future.result() for future in futures]
        settling.end()
    return delivered


def _unknown(setup: Setup, systems: Mapping[str, System], pulled: Pulled) -> dict[str, set[str]]:
    """The object types of each system that could not be read. For want of calls alone nothing waits: what is urgent has calls of its
    own when those for reading are used."""
    found: dict[str, set[str]] = {}
    for name, object_type in unread(setup, systems, pulled):
        if not isinstance(pulled.failures.get(name), QuotaExhausted):
            found.setdefault(name, set()).add(object_type)
    return found


def _one(
    setup: Setup,
    system: System,
    pulled: Pulled,
    unknown: Set[str],
    moment: Moment,
    progress: Progress,
    note: Callable[[int], None],
) -> Delivered:
    waiting = sum(
        count
        for (status, name, _), count in setup.state.outbox_counts().items()
        if name == system.name and status == "pending"
    )
    done = 0

    def on_progress(count: int) -> None:
        nonlocal done
        done += count
        progress.delivered(system.name, done, waiting)
        note(count)

    try:
        with boundary(system.name, "writing"):
            return writeback.deliver(
                setup.state,
                system,
                setup.systems[system.name].capabilities,
                setup.writeback,
                run=moment.run,
                unread=unknown,
                is_readable=pulled.calls.get(system.name, 0) > 0 and system.name not in pulled.failures,
                is_stopping=progress.is_stopping,
                on_progress=on_progress,
            )
    except SystemFailure as problem:  # what is in flight is asked about next time
        return Delivered(system.name, error=problem)
