"""Deliver: every system in a thread of its own, each lane by lane; what one system cannot take does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from connector import settlement, writeback
from connector.dispatch import Delivered
from connector.model import System
from connector.steps.setup import Moment, Progress, Setup


def deliver(setup: Setup, systems: Mapping[str, System], moment: Moment, progress: Progress) -> list[Delivered]:
    """Send what waits in the outbox, then bring what was accepted into the observed values."""
    chosen = setup.writeback.systems or tuple(systems)
    writable = [system for name, system in systems.items() if name in chosen and system.target is not None]
    if not writable:
        return []
    with ThreadPoolExecutor(max_workers=len(writable), thread_name_prefix="deliver") as pool:
        futures = [pool.submit(_one, setup, system, moment, progress) for system in writable]
        delivered = [future.result() for future in futures]
    with setup.mart() as mart:
        settlement.settle(setup.state, mart, run=moment.run)
    return delivered


def _one(setup: Setup, system: System, moment: Moment, progress: Progress) -> Delivered:
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

    return writeback.deliver(
        setup.state,
        system,
        setup.systems[system.name].capabilities,
        setup.writeback,
        run=moment.run,
        is_stopping=progress.is_stopping,
        on_progress=on_progress,
    )
