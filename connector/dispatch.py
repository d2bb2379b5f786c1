"""One batch after another to one system: in flight, sent, one outcome for each change, kept.

A batch is marked in flight before it is sent, in the transaction that keeps what became of the one before the last. Meanwhile the
last is on its way, so that the system need not wait for our store, nor the store for the system; they still go one after another.
What a kill leaves in flight, up to two batches, is settled by reading, never by sending it again blindly; so is what got no answer.

A record that the system chokes on takes the answer to its whole batch with it. So what got no answer again and again goes last and in
smaller and smaller parts, until it goes alone; what gets none then, while the system answers everything else, is set aside.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from connector import clock, settlement
from connector.errors import (
    ConnectorError,
    MissingPermission,
    QuotaExhausted,
    RecordRejected,
    SystemFailure,
    SystemUnavailable,
)
from connector.model import LANES, Capabilities, Change, Found, Lane, Outcome, Result, System, Target
from connector.plan import batches
from connector.state import State, attempts, outbox

_ASKED_AT_ONCE = 200
_AHEAD = 2  # batches in flight: one on its way, and one that follows at once
#: What got no answer so often goes in parts, each time in so many times as many.
_DOUBTED_FROM, _PARTS = 2, 8
#: Our own code for what gets no answer when it is sent alone, while the system answers everything else.
NO_ANSWER = "NO_ANSWER"
_GIVEN_UP_AFTER = 3  # such times
_IN_VAIN = 2  # how often what got no answer is looked up in a row while nothing gets one
_NO_ANSWER_HINT = "look at its record in the system, and at what the system does when it is written"
Admit = Callable[[list[Change]], None]
#: What the system said of a batch, and why no more is to be sent to it.
_Heard = tuple[Sequence[Outcome], ConnectorError | None]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery to one system came to."""

    system: str
    accepted: int = 0
    unchanged: int = 0
    rejected: int = 0
    conflicts: int = 0
    waiting: int = 0
    pending: Mapping[str, int] = field(default_factory=dict)  # lane -> changes that wait for nobody's word
    unread: Mapping[str, int] = field(default_factory=dict)  # object type -> those that wait until it is read
    unknown: int = 0
    calls: int = 0
    tasks: int = 0
    error: ConnectorError | None = None
    codes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch on its way, with its rows of the outbox; `outcomes` is None where it was not sent after all."""

    batch: list[Change]
    entries: list[attempts.Entry]
    outcomes: Future[_Heard | None]


@dataclass
class Dispatch:
    """One delivery to one system, and the counts of its outcomes."""

    state: State
    system: System
    target: Target
    max_attempts: int
    ask_again_after: timedelta
    run: int
    unread: Set[str]  # object types whose fields wait until they are read
    lanes: Mapping[tuple[str, str], Lane]  # (object type, native field) -> lane
    is_readable: bool = False  # the system answered when it was read in this run
    entries: dict[str, attempts.Entry] = field(default_factory=dict)  # of what was taken, by key
    results: Counter[Result] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    accesses: dict[str, str] = field(default_factory=dict)
    is_over: bool = False  # the system said so: no more batches
    silences: dict[str, int] = field(default_factory=dict)  # of what was taken, how often it got no answer, by key
    silence: ConnectorError | None = None  # what got no answer, though the delivery went on
    is_silent: bool = False  # the last batch got no answer
    is_answered: bool = False  # one got one
    lost: set[str] = field(default_factory=set)  # keys of what got no answer, and was not looked up since
    vain: int = 0  # how often was looked up since something got an answer, or was there

    def take(self, limit: int) -> list[Change]:
        """The next pending changes of the system in the order of delivery: lane by lane, oldest first."""
        lanes = [lane.value for lane in LANES]
        rows = attempts.waiting(self.state, self.system.name, clock.now(), lanes, limit=limit, unread=self.unread)
        self.entries = {row.key: row for row in rows}
        heard = attempts.unanswered(self.state, [row.id for row in rows if row.attempt >= _DOUBTED_FROM], NO_ANSWER)
        self.silences = {row.key: heard[row.id].times for row in rows if row.id in heard}
        return [settlement.as_change(row) for row in rows]

    def batches(self, waiting: Sequence[Change], capabilities: Capabilities) -> Iterator[list[Change]]:
        """What was taken, cut into what is sent at once; what got no answer again and again comes last and in parts."""
        yield from batches([change for change in waiting if not self._is_doubted(change)], capabilities)
        doubted = [change for change in waiting if self._is_doubted(change)]
        for times in sorted({self.silences[change.key] for change in doubted}):
            size = max(capabilities.batch_size // _PARTS ** (times - _DOUBTED_FROM + 1), 1)
            for batch in batches([each for each in doubted if self.silences[each.key] == times], capabilities):
                yield from (batch[start : start + size] for start in range(0, len(batch), size))

    def _is_doubted(self, change: Change) -> bool:
        return self.silences.get(change.key, 0) >= _DOUBTED_FROM

    def send(self, batches: Iterable[list[Change]], admit: Admit, on_progress: Callable[[int], None]) -> None:
        """Send batches of what was taken. `admit` is called before each, where it may raise.

        Raises what ends the delivery to this system; what was not sent waits.
        """
        under_way: deque[_Sent] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="write") as line:
            try:
                for batch in batches:
                    entries = [self.entries[change.key] for change in batch]
                    if len(under_way) < _AHEAD:
                        attempts.mark_in_flight(self.state, entries)
                    else:
                        self._end(under_way.popleft(), on_progress, entries)
                    under_way.append(_Sent(batch, entries, line.submit(self._write, batch, entries, admit)))
                    if len(under_way) == _AHEAD:
                        wait([under_way[0].outcomes])  # a stop that comes meanwhile is heard before the next batch
                while under_way:
                    self._end(under_way.popleft(), on_progress)
            except BaseException:
                self.is_over = True
                for sent in under_way:
                    self._wind_up(sent)
                raise

    def _write(self, batch: list[Change], entries: Sequence[attempts.Entry], admit: Admit) -> _Heard | None:
        """On the line: send a batch, unless the one before it ended the delivery."""
        if self.is_over:
            return None
        try:
            admit(batch)
            outcomes = self.target.write(batch, partial(attempts.note_receipt, self.state, entries))
            is_complete = _is_complete(batch, outcomes)
            heard = self._heard(batch, outcomes) if is_complete else (outcomes, None)
            self.is_over = not is_complete or heard[1] is not None
        except BaseException:
            self.is_over = True
            raise
        return heard

    def _heard(self, batch: Sequence[Change], outcomes: Sequence[Outcome]) -> _Heard:
        """What the system said, and why no more is sent: a part of what it may choke on may go without an answer, and so may one
        change alone; two in a row may not."""
        problem, is_silent = _problem(self.system.name, outcomes), all(map(_is_unanswered, outcomes))
        if is_silent and not self.is_silent:
            if self._is_alone(batch) and outcomes[0].result is Result.UNKNOWN:
                outcomes, problem = [replace(outcomes[0], code=NO_ANSWER)], None
            elif all(map(self._is_doubted, batch)):
                self.silence, problem = problem, None
        self.is_silent, self.is_answered = is_silent, self.is_answered or not is_silent
        self.vain *= is_silent
        return outcomes, problem

    def _is_alone(self, batch: Sequence[Change]) -> bool:
        """Whether this is one change, and the system answers everything else: another batch, or, where nothing else is sent, when
        it is read. A system that takes none of several changes may be gone for writing, whatever it answers when it is read."""
        return len(batch) == 1 and (self.is_answered or (self.is_readable and len(self.entries) == 1))

    def _end(self, sent: _Sent, on_progress: Callable[[int], None], following: Sequence[attempts.Entry] = ()) -> None:
        """Keep what became of a batch, and mark those that are sent next. Raises what ends the delivery; then they are not."""
        try:
            outcomes, problem = sent.outcomes.result() or ((), None)
        except ConnectorError:
            attempts.put_back(self.state, sent.entries)
            raise
        if not _is_complete(sent.batch, outcomes):
            raise SystemFailure(
                "the adapter did not give one outcome for each change",
                hint="report this; the changes are kept in flight",
            )
        self._record(sent.batch, outcomes, sent.entries, () if problem else following)
        if problem:
            raise problem
        on_progress(len(sent.batch))

    def _wind_up(self, sent: _Sent) -> None:
        """The batch after the one that ended the delivery: it was not sent, or stays in flight to be asked about."""
        error = sent.outcomes.exception()
        if isinstance(error, ConnectorError) or (error is None and sent.outcomes.result() is None):
            attempts.put_back(self.state, sent.entries)

    def look_up(self) -> bool:
        """Settle by reading what got no answer in this delivery, so that it goes on. False: nothing did, or it was in vain too often."""
        if not self.lost or self.vain >= _IN_VAIN:
            return False
        self.vain += 1
        self.is_over = self.is_silent = False
        self.reconcile()
        self.lost.clear()
        return True

    def reconcile(self) -> None:
        """Settle by reading what a kill or a lost reply left in flight or unknown. What the system is still at work on stays so."""
        now, longest = clock.now(), max(self.ask_again_after, outbox.LONGEST_WAIT)
        asked = _asked_together(attempts.in_doubt(self.state, self.system.name, now, longest))
        for part, found in (answer for rows in asked for answer in self._found(rows, now)):
            changes = [settlement.as_change(row) for row in part]
            outcomes = [settlement.judge(change, each) for change, each in zip(changes, found, strict=True)]
            outcomes = self._given_up(part, outcomes)
            told = [each for each in zip(changes, outcomes, part, strict=True) if not _is_at_work(each[1])]
            if told:
                self._record(*map(list, zip(*told, strict=True)), is_read=True)
            self.results[Result.UNKNOWN] += len(changes) - len(told) - sum(row.key in self.lost for row in part)
            self.vain *= all(each.result is not Result.ACCEPTED for each in outcomes)
            unsure = [row for row, each in zip(part, found, strict=True) if not each.is_certain]
            attempts.ask_again(self.state, unsure, now + self.ask_again_after)

    def _found(
        self, rows: Sequence[attempts.Entry], now: datetime
    ) -> Iterator[tuple[Sequence[attempts.Entry], Sequence[Found]]]:
        """What the system holds for these. What it refuses to tell, of a type that we may not see or of one record, stays in doubt,
        and holds up nobody else."""
        try:
            found = self.target.find([settlement.as_change(row) for row in rows])
        except (MissingPermission, RecordRejected) as error:
            smaller = _smaller(rows, error)
            if not smaller:
                self.silence = error
                self.results[Result.UNKNOWN] += sum(row.key not in self.lost for row in rows)
                attempts.ask_again(self.state, rows, now + self.ask_again_after)
            for part in smaller:
                yield from self._found(part, now)
        else:
            self.is_readable = True
            yield rows, found

    def _given_up(self, entries: Sequence[attempts.Entry], outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes; what is to be sent again, and got no answer often enough when it went alone, has that for its cause."""
        heard = attempts.unanswered(
            self.state, [row.id for row in entries if row.attempt >= self.max_attempts], NO_ANSWER
        )
        alone = {row.key for row in entries if row.id in heard and heard[row.id].alone >= _GIVEN_UP_AFTER}
        text = f"{self.system.name} gives no answer when this is sent, though it answers everything else"
        return [
            replace(each, code=NO_ANSWER, message=text, hint=_NO_ANSWER_HINT)
            if each.key in alone and each.result is Result.RETRY
            else each
            for each in outcomes
        ]

    def _record(
        self,
        batch: Sequence[Change],
        outcomes: Sequence[Outcome],
        entries: Sequence[attempts.Entry],
        following: Sequence[attempts.Entry] = (),
        *,
        is_read: bool = False,
    ) -> None:
        """Outcomes into the state, with what they mean for the change: settled, waiting, unknown, or set aside with its cause; and
        the mark of those that follow. All in one transaction.

        is_read: they come from reading, not from sending, so that what is to be sent again need not wait first.
        """
        now = clock.now()
        settlements = [
            settlement.settlement(change, outcome, entry.attempt + (not is_read), now, max_attempts=self.max_attempts)
            for change, outcome, entry in zip(batch, outcomes, entries, strict=True)
        ]
        if is_read:
            settlements = [replace(each, not_before_at=None) for each in settlements]
        parts: list[attempts.Parted] = []
        asides = []
        for change, outcome, entry, settled in zip(batch, outcomes, entries, settlements, strict=True):
            if settled.status != "quarantined":
                continue
            both = settlement.parted(change, outcome, self.lanes) if not entry.held_because else None
            if both:
                parts.append(
                    attempts.Parted(entry, *((each.key, each.lane.value, each.fields, each.before) for each in both))
                )
            asides.append(settlement.aside(both[0] if both else change, outcome, now))
        for row in asides:
            row.access = self._access(row.stream)
        told = list(zip(entries, settlements, strict=True))
        attempts.keep(self.state, told, run=self.run, now=now, asides=asides, parted=parts, begun=following)
        self._count(batch, outcomes, is_read=is_read)

    def _is_lost(self, change: Change, outcome: Outcome) -> bool:
        """Whether a change is to be looked up at once; one that the system may choke on is by the next delivery."""
        is_unknown = outcome.result is Result.UNKNOWN and outcome.code != NO_ANSWER
        return is_unknown and _is_unanswered(outcome) and not self._is_doubted(change)

    def _access(self, object_type: str) -> str:
        """A fingerprint of what the system lets us do with an object type; "" when it cannot be asked."""
        if object_type not in self.accesses:
            self.accesses[object_type] = access_of(self.system, object_type)
        return self.accesses[object_type]

    def _count(self, batch: Sequence[Change], outcomes: Sequence[Outcome], *, is_read: bool) -> None:
        """Count the outcomes of a batch, and note what got no answer."""
        self.codes.update(outcome.code for outcome in outcomes if outcome.code)
        for change, outcome in zip(batch, outcomes, strict=True):
            self.results[outcome.result] += 1
            self.tasks += change.task is not None and outcome.result is Result.ACCEPTED
            if not is_read and self._is_lost(change, outcome):
                self.lost.add(change.key)

    def result(self, calls: int, error: ConnectorError | None) -> Delivered:
        """What it came to."""
        counts = self.state.outbox_counts().items()
        mine = {(status, lane): count for (status, name, lane), count in counts if name == self.system.name}
        return Delivered(
            system=self.system.name,
            accepted=self.results[Result.ACCEPTED],
            unchanged=self.results[Result.UNCHANGED],
            rejected=self.results[Result.REJECTED],
            conflicts=self.results[Result.CONFLICT],
            waiting=sum(count for (status, _), count in mine.items() if status in outbox.OPEN),
            pending={lane.value: mine["pending", lane.value] for lane in LANES if ("pending", lane.value) in mine},
            unread=attempts.unread(self.state, self.system.name, self.unread),
            unknown=self.results[Result.UNKNOWN],
            calls=calls,
            tasks=self.tasks,
            error=error,
            codes=dict(self.codes),
        )


def access_of(system: System, object_type: str) -> str:
    """A fingerprint of what the system lets us do with an object type; "" when it cannot be asked."""
    try:
        return settlement.fingerprint(system.source.describe([object_type]))
    except ConnectorError:
        return ""


def _is_complete(batch: Sequence[Change], outcomes: Sequence[Outcome]) -> bool:
    """One outcome for each change, in order."""
    return [outcome.key for outcome in outcomes] == [change.key for change in batch]


def _problem(system: str, outcomes: Sequence[Outcome]) -> ConnectorError | None:
    """Why no more is to be sent to a system: a used quota, what only a person can mend, or that it does not answer."""
    for outcome in outcomes:
        told = {"hint": outcome.hint, "system": system, "request_id": outcome.request_id}
        if outcome.result is Result.STOP:
            return SystemFailure(outcome.message or outcome.code, **told)
        if outcome.result is Result.WAIT:
            after = outcome.retry_after_s
            resets_at = clock.now() + timedelta(seconds=after) if after is not None else None
            return QuotaExhausted(outcome.message or outcome.code, resets_at=resets_at, **told)
    if not all(map(_is_unanswered, outcomes)):
        return None
    first = outcomes[0]
    return SystemUnavailable(first.message or "no answer", hint=first.hint, request_id=first.request_id)


def _is_unanswered(outcome: Outcome) -> bool:
    """Whether the system said nothing of this change: no code to one that it asks to try again, nor when it will be done with it."""
    if outcome.result is Result.UNKNOWN:
        return not _is_at_work(outcome)
    return outcome.result is Result.RETRY and not outcome.code


def _is_at_work(outcome: Outcome) -> bool:
    """Whether the system is not done with this change, and is to be asked again."""
    return outcome.result is Result.UNKNOWN and outcome.retry_after_s is not None


def _smaller(rows: Sequence[attempts.Entry], error: ConnectorError) -> list[list[attempts.Entry]]:
    """In what parts these are asked about when all together were refused; none where that would tell no more."""
    kinds: dict[tuple[str, bool], list[attempts.Entry]] = {}
    for row in rows:
        kinds.setdefault((row.object_type, row.lane == outbox.TASK_LANE), []).append(row)
    if rows[0].receipt or (len(kinds) == 1 and (len(rows) == 1 or isinstance(error, MissingPermission))):
        return []
    half = len(rows) // 2
    return list(kinds.values()) if len(kinds) > 1 else [list(rows[:half]), list(rows[half:])]


def _asked_together(rows: Sequence[attempts.Entry]) -> Iterator[Sequence[attempts.Entry]]:
    """Some at a time; those of one receipt all at once, for there is one answer for them."""
    by_receipt: dict[str, list[attempts.Entry]] = {}
    for row in rows:
        by_receipt.setdefault(row.receipt, []).append(row)
    for receipt, alike in by_receipt.items():
        size = len(alike) if receipt else _ASKED_AT_ONCE
        yield from (alike[start : start + size] for start in range(0, len(alike), size))
