"""Pull and map: every system in a thread of its own, its pages mapped there and gathered; one thread merges them into the mart."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from connector import clock, mapping, settlement, tables
from connector.errors import ConnectorError, Interrupted
from connector.log import get
from connector.mart import Mart
from connector.mart.files import ROW_GROUP_ROWS
from connector.mart.ingest import Counts, Group, checkpoints, ingest
from connector.model import Page, Stream, StreamFailure, System
from connector.sources.parallel import interleaved
from connector.state import attempts, quarantine
from connector.state.models import Poll, RunStep
from connector.steps import asides, hidden, holdings, mended, named, purge, reads
from connector.steps import suppress as suppressing
from connector.steps.boundary import boundary
from connector.steps.pulled import Pulled
from connector.steps.reads import Opened
from connector.steps.setup import Connected, Moment, Progress, Setup

#: As many rows go to their place as they come; fewer go through the engine's log first. A mapped group of people is some 55 MB: one is
#: mapped while one is stored.
GROUP_ROWS = ROW_GROUP_ROWS
#: The first group of a stream is smaller: there is nothing to store meanwhile.
FIRST_ROWS = 4_000
GROUP_S = 2.0
#: Groups that follow each other are stored with one opening of the mart, for at most so long: others may want to look in.
HELD_S = 15.0
#: How long the open mart waits for the next group.
GAP_S = 0.5
PAGES_AHEAD = 4
_LOG = get("pull")


@dataclass(frozen=True)
class _Read:
    """One message from a reading thread to the one that writes: a group of one stream, or the end of a system."""

    system: str
    stream: Stream | None = None
    pages: tuple[Page, ...] = ()
    rows: int = 0
    mapped: tuple[mapping.Mapped, ...] = ()
    seen_again: tuple[str, ...] = ()  # records of which something was set aside before
    unsent: frozenset[str] = frozenset()  # native fields of the mapping that the system hides
    in_doubt: pa.Table | None = None  # values of ours that may be there
    whole: tuple[str, ...] = ()  # fields of ours without decimals
    failure: ConnectorError | None = None
    calls: int = 0


class _Inbox(queue.Queue[_Read]):
    """What is read for the thread that stores. Where that fails, nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.is_abandoned = False

    def abandon(self) -> None:
        """Nothing is stored any more (from Python 3.13 on, `Queue.shutdown` does this)."""
        with self.all_tasks_done:
            self.is_abandoned, self.unfinished_tasks = True, 0
            self.all_tasks_done.notify_all()


def pull(
    setup: Setup, systems: Mapping[str, System], moment: Moment, progress: Progress, *, is_full: bool = False
) -> Pulled:
    """Read every due stream of every system to its present end and merge it. A system that fails is left out and named.

    With `is_full` everything is read again from the beginning; so is a stream whose mapping changed. Raises ConfigError when the
    mapping names a field that there is not.
    """
    if attempts.unapplied(setup.state, limit=1):  # a run was cut off: what it wrote is ours when it is read
        with setup.mart() as mart:
            settlement.settle(setup.state, mart, run=moment.run)
    cursors, is_first = reads.stopped_at(setup)
    opened = partial(
        setup.mart, is_storing=is_first
    )  # alike in all threads: the engine opens a file in one way at a time
    before = {name: system.calls() for name, system in systems.items()}
    readings = _begun(setup, systems, opened, cursors, moment, is_full=is_full)
    inbox = _Inbox()
    threads = []
    for name, items in readings.items():
        system = systems[name]
        read = partial(
            _read_groups, setup, system, items, opened, moment, inbox, progress.is_stopping, is_first=is_first
        )
        told = (system, inbox, read, before[name])
        threads.append(threading.Thread(target=_read, args=told, name=f"pull-{name}", daemon=True))
    for thread in threads:
        thread.start()
    pulled = Pulled()
    waiting = len(threads)
    try:
        while waiting:
            waiting -= _store(setup, opened, _arriving(inbox, waiting), pulled, moment, progress, waiting)
    except BaseException:
        inbox.abandon()
        raise
    _keep_counts(setup, pulled, moment)
    return pulled


def _begun(
    setup: Setup,
    systems: Mapping[str, System],
    opened: Opened,
    cursors: Mapping[str, Mapping[str, str]],
    moment: Moment,
    *,
    is_full: bool,
) -> dict[str, Iterator[Page | StreamFailure]]:
    """What is to be read of each system, where anything is due; the next pages are on their way while those before are mapped.

    Raises ConfigError, before anything is stored or forgotten, when the mapping names a field that there is not.
    """
    anew = {name: reads.anew(setup, setup.systems[name], is_full=is_full) for name in systems}
    readings: dict[str, Iterator[Page | StreamFailure]] = {}
    for name, system in systems.items():
        at = cursors.get(name, {})
        if asked := reads.requests(setup, setup.systems[name], opened, at, moment.now, anew=anew[name]):
            readings[name] = interleaved([partial(system.source.pages, asked)], threads=1, ahead=PAGES_AHEAD)
    named.check(setup, systems, readings)
    for name, streams in anew.items():
        reads.forget(setup, setup.systems[name], streams)
    return readings


def _finish(setup: Setup, mart: Mart, pulled: Pulled, moment: Moment) -> None:
    """What is kept of a pull as a whole: the cursors of quiet streams, how much the mart holds now."""
    if pulled.quiet:
        with mart.transaction():
            mart.merge("checkpoint", checkpoints(pulled.quiet, run=moment.run, now=moment.now))
    if _brought(pulled):
        holdings.keep(setup, mart)


def _brought(pulled: Pulled) -> bool:
    """Whether the mart may hold other rows than before: activities that are filtered are kept, too."""
    return pulled.total.applied + pulled.total.filtered > 0


# ------------------------------------------------------------------------------------------------------------ reading threads


def _read(system: System, inbox: _Inbox, groups: Callable[[], None], calls_before: int) -> None:
    """Read one system (`groups`: hand over its groups as they fill), then hand over the end, whatever happens: it is waited for."""
    failure: ConnectorError | None = None
    try:
        with boundary(system.name, "reading"):
            groups()
    except ConnectorError as problem:
        failure = problem
    inbox.put(_Read(system.name, failure=failure, calls=system.calls() - calls_before))


def _read_groups(
    setup: Setup,
    system: System,
    items: Iterator[Page | StreamFailure],
    opened: Opened,
    moment: Moment,
    inbox: _Inbox,
    is_stopping: Callable[[], bool],
    *,
    is_first: bool = False,
) -> None:
    """Hand over what is read of one system, also what came before it failed."""
    connected = setup.systems[system.name]
    gathered: dict[str, list[Page]] = {}
    begun: set[str] = set()
    since = clock.monotonic_s()
    kept = _Kept(
        opened,
        suppressing.load(setup.state),
        quarantine.records_set_aside(setup.state, system.name),
        settlement.in_doubt(setup.state, system.name),
        partial(reads.whole, connected, system),
        is_first,
    )
    try:
        for item in items:
            if is_stopping():
                break
            if isinstance(item, StreamFailure):
                inbox.put(_Read(system.name, item.stream, failure=item.error))
                continue
            pages = gathered.setdefault(item.stream.name, [])
            pages.append(item)
            is_old = clock.monotonic_s() - since > GROUP_S
            enough = GROUP_ROWS if item.stream.name in begun else FIRST_ROWS
            if item.done or is_old or item.is_place or sum(page.rows.num_rows for page in pages) >= enough:
                if not item.is_place:
                    begun.add(item.stream.name)
                _hand_over(_map(setup, connected, gathered.pop(item.stream.name), kept, moment), inbox)
                since = clock.monotonic_s()
    finally:
        for pages in gathered.values():
            _hand_over(_map(setup, connected, pages, kept, moment), inbox)


def _hand_over(read: _Read, inbox: _Inbox) -> None:
    """Give a mapped group to the thread that stores, once it is done with the one before: no third one is in memory."""
    inbox.join()
    if inbox.is_abandoned:
        raise ConnectorError("what is read cannot be stored", hint="see why the run ended")
    inbox.put(read)


@dataclass(frozen=True)
class _Kept:
    """How the mart is opened; what reading has to heed: who is not taken in, of whom something is set aside, what we may have sent."""

    opened: Opened
    suppressed: suppressing.Suppressed
    asides: Mapping[str, frozenset[str]]
    in_doubt: pa.Table
    whole: Callable[[str], tuple[str, ...]]  # which fields of ours, of an object type, have no decimals
    is_first: bool  # nothing was stored when the pull began


def _map(setup: Setup, connected: Connected, pages: list[Page], kept: _Kept, moment: Moment) -> _Read:
    """The rows of a group of pages, mapped together as columns."""
    stream = pages[0].stream
    rows = tables.together([page.rows for page in pages])
    if not rows.num_rows:
        return _Read(connected.name, stream, tuple(pages))
    unsent = hidden.of_pages(connected, stream, pages)
    if unsent and stream.kind in tables.FIELDS:
        with kept.opened() as mart:
            rows = hidden.remembered(mart, connected.name, stream, rows, unsent)
    mapped = mapping.apply(
        rows,
        connected.mappings[stream.name],
        system=connected.name,
        region=setup.region,
        outputs=tuple(connected.outputs.get(stream.object_type, {}).values()),
        now=moment.now,
        is_first=kept.is_first,
    )
    mapped = kept.suppressed.without(mapped, stream.kind)
    seen = mended.seen_again(rows, connected.name, stream, kept.asides)
    whole = kept.whole(stream.object_type)
    told = tuple(
        replace(page, rows=page.rows.schema.empty_table()) for page in pages
    )  # the rows are mapped: let them go
    return _Read(connected.name, stream, told, rows.num_rows, (mapped,), seen, unsent, kept.in_doubt, whole)


# ------------------------------------------------------------------------------------------------------------ the writing thread


def _arriving(inbox: _Inbox, waiting: int) -> Iterator[_Read]:
    """The next message, and those that follow it closely, for some seconds or until all systems have ended."""
    since = clock.monotonic_s()
    read = inbox.get()
    while True:
        waiting -= read.stream is None
        yield read
        del read  # nothing of it is kept while the next one is waited for
        inbox.task_done()
        if not waiting or clock.monotonic_s() - since > HELD_S:
            return
        try:
            read = inbox.get(timeout=GAP_S)
        except queue.Empty:
            return


def _note_failure(read: _Read, pulled: Pulled) -> None:
    if isinstance(read.failure, Interrupted):  # whatever it was reading: that is no failure of a stream
        pulled.failures.setdefault(read.system, read.failure)
    elif read.stream is not None and read.failure is not None:
        pulled.stream_failures[(read.system, read.stream.name)] = read.failure
    if read.stream is not None:
        return
    pulled.calls[read.system] = read.calls
    if read.failure is not None and not isinstance(read.failure, Interrupted):
        pulled.failures[read.system] = read.failure
        _LOG.info("pull.failed", system=read.system, error=type(read.failure).__name__)


def _store(
    setup: Setup,
    opened: Opened,
    reads: Iterable[_Read],
    pulled: Pulled,
    moment: Moment,
    progress: Progress,
    waiting: int,
) -> int:
    """Merge groups, each in a transaction of its own; groups without a row need no store. Returns how many systems ended."""
    ended = 0
    to_end = list[_Read]()
    with ExitStack() as stack:
        mart: Mart | None = None
        for read in reads:
            _note_failure(read, pulled)
            ended += read.stream is None
            if not read.pages:
                continue
            group = _group(read)
            key = (group.system, group.stream)
            counts = Counts()
            if group.pulled or read.pages[-1].is_place:
                pulled.quiet.pop(key, None)
                mart = mart or stack.enter_context(opened())
                if kept_out := [key for mapped in group.mapped for key in mapped.kept_out]:
                    purge.forget(setup.state, mart, kept_out)
                counts = ingest(mart, group, run=moment.run, now=moment.now)
            elif group.cursor is not None:
                pulled.quiet[key] = group.cursor
            pulled.counts[key] = pulled.counts.get(key, Counts()) + counts
            _finish_group(setup, read, pulled, moment, progress)
            if read.pages[-1].done:
                to_end.append(replace(read, mapped=()))
            del read, group
        _note_ends(setup, to_end, pulled, moment)
        if ended == waiting and (pulled.quiet or _brought(pulled)):
            _finish(setup, mart or stack.enter_context(opened()), pulled, moment)
    return ended


def _group(read: _Read) -> Group:
    assert read.stream is not None
    malformed = sum(len(page.malformed) for page in read.pages)
    cursors = [page.cursor for page in read.pages if page.cursor is not None]
    return Group(
        read.system,
        read.stream.name,
        read.stream.kind,
        read.mapped,
        read.rows + malformed,
        malformed,
        cursors[-1] if cursors else None,
        read.stream.modified_by,
        read.unsent,
        read.in_doubt,
        read.whole,
    )


def _finish_group(setup: Setup, read: _Read, pulled: Pulled, moment: Moment, progress: Progress) -> None:
    """What the state keeps of a group that is stored: what was set aside."""
    assert read.stream is not None
    missed = hidden.to_tell(setup.systems[read.system], read.stream, read.pages)
    odd = asides.found(read.system, read.stream, read.pages, read.mapped, moment.now, hidden=missed)
    news = mended.keep(setup.state, odd, read.seen_again)
    pulled.values_aside += sum(row.kind == asides.VALUE and row.key in news for row in odd)
    rows = pulled.counts[read.system, read.stream.name].pulled
    totals = [page.total for page in read.pages if page.total is not None]
    known = totals[-1] if totals else None
    progress.pulled(read.system, read.stream.name, rows, rows if read.pages[-1].done else known)


def _note_ends(setup: Setup, reads: Iterable[_Read], pulled: Pulled, moment: Moment) -> None:
    """The streams of these were read to their ends: noted together, as a transaction of the state costs as much as a small stream."""
    unhidden, polls = [], []
    for each in reads:
        assert each.stream is not None
        name, system, at = each.stream.name, each.system, moment.now
        pulled.ended.add((system, name))
        if not hidden.to_tell(setup.systems[system], each.stream, each.pages):
            unhidden.append(asides.hidden_key(system, each.stream))
        rows, key = pulled.counts[system, name].pulled, f"{system}|{name}"
        polls.append(Poll(key=key, system=system, stream=name, polled_at=at, run=moment.run, rows=rows))
    if polls:
        setup.state.release(unhidden)
        setup.state.set_polls(polls)


def _keep_counts(setup: Setup, pulled: Pulled, moment: Moment) -> None:
    """Keep the counts of every stream, and whether they add up."""
    steps = []
    for (system, stream), counts in sorted(pulled.counts.items()):
        status = "done" if counts.is_conserved else "lost"
        step = RunStep(run=moment.run, step="pull", system=system, stream=stream, status=status, ended_at=clock.now())
        step.pulled, step.applied, step.unchanged = counts.pulled, counts.applied, counts.unchanged
        step.filtered, step.quarantined = counts.filtered, counts.quarantined
        steps.append(step)
    failed = {**pulled.stream_failures, **{(system, ""): error for system, error in pulled.failures.items()}}
    for (system, stream), error in sorted(failed.items()):
        if isinstance(error, Interrupted):
            continue
        failure = RunStep(run=moment.run, step="pull", system=system, stream=stream, status="failed")
        failure.message, failure.ended_at = str(error)[:500], clock.now()
        steps.append(failure)
    setup.state.add_steps(steps)
