"""Salesforce writing: what goes as a bulk job, what by collection, and what its fields would refuse.

A composite of five collections carries 1,000 rows for one call, so `n` rows take `n / 1000` calls. A bulk job takes five, and
three (done in five seconds) to nine (in a minute) more to ask whether it is done, whatever its size: it is cheaper from 8,000 to
14,000 rows on. It also waits for its turn, so that `BULK_WRITE_FROM` is a little above.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from connector.errors import AuthError, QuotaExhausted, SystemUnavailable
from connector.model import Change, Found, Keep, Outcome, Result
from connector.sources import salesforce_bulk_ingest as bulk
from connector.sources import salesforce_collections as collections
from connector.sources import salesforce_values as values
from connector.sources.salesforce_rest import Org

BULK_WRITE_FROM = 15_000


def cut(changes: Sequence[Change], bulk_from: int) -> list[list[Change]]:
    """Changes in what one `write` takes: calls of five collections, then jobs, which take longer."""
    jobs = bulk.jobs(changes, bulk_from)
    gone = {change.key for job in jobs for change in job}
    return [*collections.cut([change for change in changes if change.key not in gone] if gone else changes), *jobs]


def count_calls(batches: Sequence[Sequence[Change]], bulk_from: int) -> int:
    """How many calls `write` makes for these batches, the one that asks for the fields' types included. A job is asked once."""
    sent = sum(bulk.JOB_CALLS if bulk.is_job(batch, bulk_from) else collections.count_calls(batch) for batch in batches)
    return sent + any(change.task is None for batch in batches for change in batch)


def count_calls_of(org: Org, batches: Sequence[Sequence[Change]], bulk_from: int) -> int:
    """The same over this connection: where reading has told the fields' types, they are not asked for."""
    types = {change.object_type for batch in batches for change in batch if change.task is None}
    is_told = bool(types) and all(org.remembered(name) for name in {*types, *collections.WHO})
    return count_calls(batches, bulk_from) - is_told


def count_waiting(batches: Sequence[Sequence[Change]], bulk_from: int) -> int:
    """How many more calls `write` makes at most to ask whether jobs are done."""
    return sum(len(bulk.WAITS_S) + bulk.EARLY_ASKS - 1 for batch in batches if bulk.is_job(batch, bulk_from))


def write(org: Org, changes: Sequence[Change], keep: Keep, bulk_from: int) -> list[Outcome]:
    """Deliver one batch: one outcome for each change, in order. Raises as `Target.write` says."""
    try:
        types = {change.object_type for change in changes if change.task is None}
        described = org.described(sorted({*types, *collections.WHO})) if types else {}  # both: one call in all
    except SystemUnavailable as error:
        return [Outcome(change.key, Result.RETRY, message=str(error), hint=error.hint) for change in changes]
    found: dict[str, Outcome] = {}
    for change in changes:
        fields = described[change.object_type].fields if change.object_type in described else {}
        if refused := values.misfit(change, fields):
            found[change.key] = refused
    sound = [change for change in changes if change.key not in found]
    told = None
    if sound and bulk.is_job(changes, bulk_from):
        told = bulk.write(org, sound, described[sound[0].object_type].fields, keep)
    if told is None:
        found |= {outcome.key: outcome for outcome in collections.write(org, sound, described)}
        return [found[change.key] for change in changes]
    found |= told
    stopped = [change for change in sound if told[change.key].code == bulk.DUPLICATES]
    if stopped:
        keep("")
        with suppress(AuthError, QuotaExhausted):  # then they go again another time
            found |= {outcome.key: outcome for outcome in collections.write(org, stopped, described)}
    return [found[change.key] for change in changes]


def find(org: Org, changes: Sequence[Change]) -> list[Found]:
    """What became of changes: by the results of their job where there is one, else by what the org holds."""
    told: dict[str, Outcome] = {}
    for job in dict.fromkeys(change.receipt for change in changes if change.receipt):
        told |= bulk.ask(org, job, [change for change in changes if change.receipt == job])
    rest = [change for change in changes if change.key not in told]
    held = {each.key: each for each in collections.find(org, rest)}
    return [held.get(change.key) or Found(change.key, outcome=told[change.key]) for change in changes]
