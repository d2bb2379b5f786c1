"""One run at a time for a pair of stores: a lease with a heartbeat, taken over when its holder is dead."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError

from connector import clock
from connector.errors import Busy, StateError
from connector.state.models import Lease
from connector.state.store import State

NAME = "run"
LENGTH = timedelta(seconds=60)
_HEARTBEAT_S = 10.0
_WATCHED_S = 2 * _HEARTBEAT_S
_POLL_S = 0.5


@contextmanager
def hold(state: State, *, wait_s: float = 0.0) -> Iterator[str]:
    """Hold the lease for the length of the block, with a heartbeat beside it. Raises Busy when another run holds it."""
    holder = f"{platform.node()}/{clock.token()}"
    deadline = clock.monotonic_s() + wait_s
    still = _standing_still(state)
    while not _take(state, holder, still):
        if clock.monotonic_s() >= deadline or clock.is_ending():
            raise _busy(state)
        clock.wait(_POLL_S)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(state, holder, stop), name="lease", daemon=True)
    beat.start()
    try:
        yield holder
    finally:
        stop.set()
        beat.join()
        _give_back(state, holder)


def at_work(state: State) -> Lease | None:
    """Who is at work, if anybody: what a dead holder left behind is nobody's."""
    found = state.lease()
    return found if found is not None and _is_alive(found) else None


def note_run(state: State, holder: str, run: int) -> None:
    """Say in the lease which run it is."""
    with state.session() as session:
        lease = session.get(Lease, NAME)
        if lease is not None and lease.holder == holder:
            lease.run = run


def _standing_still(state: State) -> datetime | None:
    """A heartbeat of a time to come, as a wrong clock tells it, when none follows it for so long as a living holder would never
    be silent: to look takes that long. Else None."""
    found = state.lease()
    if found is None or found.heartbeat_at - clock.now() <= LENGTH or not _is_alive(found):
        return None
    clock.sleep(_WATCHED_S)
    later = state.lease()
    return found.heartbeat_at if later is not None and later.heartbeat_at == found.heartbeat_at else None


def _take(state: State, holder: str, still: datetime | None) -> bool:
    now = clock.now()
    try:
        with state.session() as session:
            lease = session.get(Lease, NAME, with_for_update=True)
            if lease is None:
                session.add(Lease(name=NAME, holder=holder, pid=os.getpid(), since_at=now, heartbeat_at=now))
                return True
            if lease.heartbeat_at != still and _is_alive(lease):
                return False
            lease.holder, lease.pid, lease.run, lease.since_at, lease.heartbeat_at = holder, os.getpid(), None, now, now
            return True
    except (IntegrityError, Busy):
        return False


def _is_alive(lease: Lease) -> bool:
    if clock.now() - lease.heartbeat_at > LENGTH:
        return False
    if lease.pid is None or lease.pid == os.getpid() or lease.holder.split("/")[0] != platform.node():
        return True
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _beat(state: State, holder: str, stop: threading.Event) -> None:
    while not stop.wait(_HEARTBEAT_S):
        with (
            suppress(Busy, StateError),
            state.session() as session,
        ):  # the next one may succeed; the run tells what is wrong
            lease = session.get(Lease, NAME)
            if lease is None or lease.holder != holder:
                return
            lease.heartbeat_at = clock.now()


def _give_back(state: State, holder: str) -> None:
    with state.session() as session:
        lease = session.get(Lease, NAME)
        if lease is not None and lease.holder == holder:
            session.delete(lease)


def _busy(state: State) -> Busy:
    with state.session() as session:
        lease = session.get(Lease, NAME)
        run, since = (lease.run, lease.since_at) if lease else (None, None)
    when = f" since {since:%H:%M:%S}" if since else ""
    return Busy(
        f"another run{f' ({run})' if run else ''} is at work{when}",
        run=run,
        since=since,
        hint="wait for it to end, or see `connector status`",
    )
