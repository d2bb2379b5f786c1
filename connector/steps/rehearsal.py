"""A recompute of which nothing is kept: what `connector plan` shows is computed as a sync would, and let go of; so is who a purge
concerns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pyarrow as pa

from connector import tables
from connector.mart import Mart, files, open_mart
from connector.model import Kind
from connector.steps import portions
from connector.steps.resolve import resolve
from connector.steps.setup import Moment, Setup


@contextmanager
def rehearsed(setup: Setup, moment: Moment) -> Iterator[tuple[Mart, bool]]:
    """A mart to compute in, and whether all of it belongs to one transaction, which is rolled back.

    More than one portion goes into a copy of the file, each in a transaction of its own: memory has no room for all of them.
    """
    copy = setup.rehearsed_file  # a purge finds what a kill leaves of it
    with setup.mart() as mart:
        mart.tell(now=moment.now, run=moment.run)
        if not portions.is_large(setup, mart):
            mart.begin()
            try:
                yield mart, True
            finally:
                mart.rollback()
            return
        files.copy(mart.connection, copy)
    try:
        with open_mart(setup.mart_section.model_copy(update={"path": str(copy)}), setup.directory) as mart:
            yield mart, False
    finally:
        for left in (copy, copy.with_name(f"{copy.name}.wal")):
            left.unlink(missing_ok=True)


@contextmanager
def resolved(setup: Setup, moment: Moment) -> Iterator[tuple[Mart, pa.Table]]:
    """A mart in which all that was read is resolved, as the next run will do it: who is who at this moment. Beside it whose the records
    were (`key`, `owner_id`) that were deleted since the last run: nobody's now."""
    with rehearsed(setup, moment) as (mart, is_in_one):
        record, dirty = mart.table(tables.record_table(Kind.PERSON)), mart.table("dirty")
        gone = record.filter(record.deleted_at.notnull()).semi_join(dirty, record.key == dirty.record)
        left = mart.arrow(mart.table("membership").semi_join(gone, "key").select("key", "owner_id"))
        work = portions.Work(setup, mart)
        while portions.is_unresolved(setup, mart) and not work.is_done():
            with nullcontext() if is_in_one else mart.transaction():
                work.take()
                resolve(setup, mart, moment, is_whole=work.is_whole)
                work.settle()
        yield mart, left
