"""A recompute of which nothing is kept: what `connector plan` shows is computed as a sync would, and let go of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connector.mart import Mart, files, open_mart
from connector.steps import portions
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
