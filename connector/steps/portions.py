"""The work of a recompute, in portions that memory has room for, each computed in a transaction of its own.

What waits is in the mart: `dirty` (records of which something is new) and `due` (persons for whom time alone changes
something); what a changed setting concerns is put there first. Accounts go before persons, records by their ingestion numbers.
A run that is killed between two portions leaves the rest where it was, and the next one goes on with it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import ibis
import ibis.expr.types as ir

from connector import tables
from connector.expressions import NOW, RUN, instant_of
from connector.mart import Mart
from connector.model import Kind
from connector.steps import pair
from connector.steps.events import events
from connector.steps.setup import Setup

RECORDS = 25_000  # records, or persons whose time has come, that one portion takes
#: Parts of the configuration whose change makes a run look at more than what changed.
FINGERPRINTED = ("identity", "engagement", "scoring", "lifecycle", "writeback")
AHEAD = timedelta(hours=1)  # a clock that is put right by less changes no score that matters
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLVED = (Kind.ACCOUNT, Kind.PERSON)
_COME = "come_waiting"  # scratch table: the persons whose time had come when the run began, numbered


def widen(setup: Setup, mart: Mart) -> None:
    """Queue what a changed setting concerns; anything less looks only at what changed.

    A changed identity or survivorship makes every record dirty, changed engagement rules every record with events; changed
    scores, stages or outputs make every person due. That all of it is queued is kept with it: killed afterwards, the next
    run only goes on with the queue.
    """
    changed = changed_parts(setup, mart)
    if "identity" in changed:
        for kind in _RESOLVED:
            records = mart.table(tables.record_table(kind)).select(record="key")
            mart.merge("dirty", dirty_rows(records, kind))
    if "engagement" in changed:
        folded = events(mart).select("record").union(mart.table("engagement_day").select("record"), distinct=True)
        mart.merge("dirty", dirty_rows(folded, "event"))
    if changed & {"scoring", "lifecycle", "writeback"}:
        person = mart.table("person")
        since = instant_of(_BEGINNING)  # and not now: killed before it is done, by whatever clock, it is due
        rows = person.select(key=person.key + "|changed", subject="key", why=ibis.literal("changed"), due_at=since)
        mart.merge("due", rows)
    present = {part: setup.fingerprints.get(part, "") for part in FINGERPRINTED}
    if pair.settings(mart) != present:
        pair.keep_settings(mart, present)


def is_large(setup: Setup, mart: Mart) -> bool:
    """Whether what waits, and what a changed setting would queue, is more than one portion."""
    due = mart.table("due")
    waiting = mart.count(mart.table("dirty")) + mart.count(due.filter(due.due_at <= NOW))
    if changed_parts(setup, mart):
        waiting += mart.count(mart.table(tables.record_table(Kind.PERSON)))
    return waiting > RECORDS


def is_unresolved(setup: Setup, mart: Mart) -> bool:
    """Whether somebody may be another person than the mart says: something was read since, or is to be resolved by other settings."""
    return mart.count(mart.table("dirty").limit(1)) > 0 or "identity" in changed_parts(setup, mart)


def changed_parts(setup: Setup, mart: Mart) -> Set[str]:
    """The parts of the configuration that are otherwise than when the mart was last computed; none where it never was, and all that
    time enters into where a wrong clock had computed it."""
    known = pair.settings(mart)
    if not known and not mart.count(mart.table("membership")):
        return set()
    if is_ahead(mart):
        return set(FINGERPRINTED) - {"identity"}
    return {part for part in FINGERPRINTED if known.get(part) != setup.fingerprints.get(part, "")}


def is_ahead(mart: Mart) -> bool:
    """Whether somebody was scored in a time to come, by a wrong clock: what follows from that clock is not waited for."""
    score = mart.table("score")
    return (
        mart.count(score.filter(score.scored_at > NOW + ibis.interval(seconds=AHEAD // timedelta(seconds=1))).limit(1))
        > 0
    )


def dirty_rows(records: ir.Table, kind: str) -> ir.Table:
    """Rows of the work queue for these records (`record`)."""
    return records.select(
        key=ibis.literal(f"{kind}|") + records.record,
        kind=ibis.literal(str(kind)),
        record=records.record,
        run=RUN,
    )


@dataclass
class Work:
    """What a run has to do, and how far it is. `is_whole`: it is little enough for one portion."""

    setup: Setup
    mart: Mart
    is_whole: bool = True
    _come: int = 0  # persons whose time had come
    _taken: int | None = None  # of them; None: nothing was taken yet

    def take(self) -> str:
        """Keep the next portion as the scratch tables `work` (dirty rows) and `come` (persons whose time has come).

        Returns how much is left, for the screen; nothing where there is one portion.
        """
        if self._taken is None:
            self._begin()
            self._taken = 0
        dirty, come = self.mart.table("dirty"), self.mart.kept(_COME)
        waiting = self.mart.count(dirty)
        accounts = dirty.filter(dirty.kind == Kind.ACCOUNT.value)
        if self.is_whole:
            self._keep(dirty, come)
            return ""
        place = f" ({waiting + self._come - self._taken:,} records and persons to go)"
        if self.mart.count(accounts):
            self._keep(accounts.order_by("record").limit(RECORDS), come.limit(0))
        elif waiting:
            self._keep(dirty.semi_join(self._oldest(dirty), "record"), come.limit(0))
        else:
            self._keep(dirty, come.filter((come.place >= self._taken) & (come.place < self._taken + RECORDS)))
            self._taken = min(self._taken + RECORDS, self._come)
        return place

    def settle(self) -> None:
        """The portion is computed: its dirty rows wait no more, and nothing of it stays in memory."""
        self.mart.delete_keys("dirty", self.mart.kept("work").select("key"))
        self.mart.forget(but=_COME)

    def is_done(self) -> bool:
        """Whether nothing is left to take."""
        if self._taken is None:
            return False
        return self.is_whole or (self._taken >= self._come and not self.mart.count(self.mart.table("dirty")))

    def _begin(self) -> None:
        widen(self.setup, self.mart)
        due = self.mart.table("due")
        come = due.filter(due.due_at <= NOW).select("subject").distinct()
        come = self.mart.keep(_COME, come.mutate(place=ibis.row_number()))
        self._come = self.mart.count(come)
        self.is_whole = self._come + self.mart.count(self.mart.table("dirty")) <= RECORDS

    def _oldest(self, dirty: ir.Table) -> ir.Table:
        """The dirty records that were seen first: an id is minted by the oldest record of its person, so it rarely becomes another's."""
        record = self.mart.table(tables.record_table(Kind.PERSON)).select("key", "ingestion")
        known = dirty.select("record").distinct()
        known = known.left_join(record, known.record == record.key)
        return known.order_by("ingestion", "record").limit(RECORDS).select("record")

    def _keep(self, work: ir.Table, come: ir.Table) -> None:
        self.mart.keep("work", work)
        self.mart.keep("come", come.select("subject"))
