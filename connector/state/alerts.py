"""Alerts in the transactional store: each is raised once, ended once, and told once on every channel. And what streams brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Subquery
from sqlalchemy import select as columns
from sqlmodel import SQLModel, col, func, select

from connector.state.models import Alert, Quarantine, Run
from connector.state.store import State

BEGAN, ENDED = "began", "ended"
#: The Julian day on which 1970 began, by UTC.
_JULIAN_OF_1970 = 2_440_587.5
_LEAST_READ = 1 / 86_400  # days: a first read tells of its own second


def standing(state: State) -> Sequence[Alert]:
    """The alerts that have not ended, oldest first."""
    with state.session() as session:
        return session.exec(select(Alert).where(col(Alert.ended_at).is_(None)).order_by(col(Alert.id))).all()


def unsent(state: State, *, limit: int = 1000) -> list[Alert]:
    """The alerts that are over, and of which a channel has still to hear, oldest first."""
    with state.session() as session:
        query = select(Alert).where(col(Alert.ended_at).is_not(None)).order_by(col(Alert.id).desc()).limit(limit)
        return [row for row in reversed(session.exec(query).all()) if row.untold]


def keep(
    state: State,
    present: Mapping[str, Alert],
    is_judged: Callable[[Alert], bool],
    *,
    channels: Sequence[str],
    now: datetime,
) -> tuple[list[Alert], list[Alert]]:
    """Raise what is new among the `present` (by key), end what is judged and no longer there. Returns both."""
    forget_channels(state, channels)
    with state.session() as session:
        known = {row.key: row for row in session.exec(select(Alert).where(col(Alert.ended_at).is_(None)))}
        raised = [alert for key, alert in present.items() if key not in known]
        for alert in raised:
            alert.began_at, alert.untold = now, [f"{BEGAN}:{channel}" for channel in channels]
            session.add(alert)
        over = [row for key, row in known.items() if key not in present and is_judged(row)]
        for row in over:
            row.ended_at, row.untold = now, [*row.untold, *(f"{ENDED}:{channel}" for channel in channels)]
        for key, row in known.items():
            if key in present:
                row.text = present[key].text
    return raised, over


def forget_channels(state: State, channels: Sequence[str]) -> None:
    """What a channel that is not configured any more has still to hear, nobody waits for."""
    with state.session() as session:
        for row in session.exec(select(Alert).order_by(col(Alert.id).desc()).limit(1000)):
            wanted = [each for each in row.untold if each.partition(":")[2] in channels]
            if wanted != row.untold:
                row.untold = wanted


def untold(state: State, channel: str, *, limit: int = 100) -> list[tuple[str, Alert]]:
    """What a channel has still to hear: (began or ended, alert), oldest first."""
    with state.session() as session:
        query = select(Alert).order_by(col(Alert.id).desc()).limit(10 * limit)
        rows = [row for row in session.exec(query) if any(each.endswith(f":{channel}") for each in row.untold)]
    found = [(word, row) for row in reversed(rows) for word in (BEGAN, ENDED) if f"{word}:{channel}" in row.untold]
    return found[:limit]


def mark_told(state: State, channel: str, told: Sequence[tuple[str, Alert]]) -> None:
    """A channel has heard these."""
    with state.session() as session:
        for word, alert in told:
            row = session.get_one(Alert, alert.id)
            row.untold = [each for each in row.untold if each != f"{word}:{channel}"]


def set_aside(state: State, since: datetime, until: datetime) -> dict[str, int]:
    """How many things that are open were set aside between these instants, by system."""
    with state.session() as session:
        query = select(Quarantine.system, func.count()).where(
            Quarantine.is_open, col(Quarantine.last_at) > since, col(Quarantine.last_at) <= until
        )
        return {system: int(count) for system, count in session.exec(query.group_by(Quarantine.system)).all()}


def news_by_day(state: State, now: datetime, days: int) -> dict[tuple[str, str], list[int]]:
    """What each stream brought (pulled less unchanged) in each of the last whole days before `now`, newest first.

    What a read brought came about since the read before it, and counts for the days in between, for each as much as it is of them:
    where a day ends between two reads makes no difference. Days before the stream was first read are left out.
    """
    edges = [now - timedelta(days=day) for day in range(days + 1)]
    with state.session() as session:
        first = session.exec(select(func.min(Run.id)).where(col(Run.started_at) > edges[-1])).one()
        if first is None:
            return {}
        reads = _reads(first)
        length = reads.c.until - reads.c.since
        windows = [
            func.sum(reads.c.news * func.max(0, func.min(reads.c.until, end) - func.max(reads.c.since, begin)) / length)
            for end, begin in pairwise(map(_julian, edges))
        ]
        start = func.min(reads.c.until)
        query = columns(reads.c.system, reads.c.stream, start, *windows).group_by(reads.c.system, reads.c.stream)
        rows: Sequence[Any] = session.execute(query).all()
    return {
        (system, stream): [
            round(count) for count, since in zip(counts, edges[1:], strict=True) if _julian(since) >= start
        ]
        for system, stream, start, *counts in rows
    }


def _reads(first: int) -> Subquery:
    """The reads of streams from a run on: since when and until when each tells (Julian days), and how much was new."""
    step = SQLModel.metadata.tables["run_step"].c
    until = func.julianday(step.ended_at)
    before = func.lag(until).over(partition_by=[step.system, step.stream], order_by=[step.ended_at, step.id])
    since = func.min(func.coalesce(before, until), until - _LEAST_READ)
    told = {"since": since, "until": until, "news": step.pulled - step.unchanged}
    query = columns(step.system, step.stream, *(each.label(name) for name, each in told.items()))
    return query.where(step.run >= first, step.step == "pull", step.status == "done").subquery()


def _julian(at: datetime) -> float:
    """Days since noon of 24 November 4714 BC, as the store counts them."""
    return at.timestamp() / 86_400 + _JULIAN_OF_1970
