"""Alerts in the transactional store: each is raised once, ended once, and told once on every channel. And what streams brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import case
from sqlmodel import col, func, select

from connector.state.models import Alert, Quarantine, Run, RunStep
from connector.state.store import State

BEGAN, ENDED = "began", "ended"


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

    Days before the stream was first read are left out.
    """
    begin = now - timedelta(days=days)
    edges = [now - timedelta(days=day) for day in range(days + 1)]
    news = RunStep.pulled - RunStep.unchanged
    windows = [
        func.sum(case(((col(RunStep.ended_at) > since) & (col(RunStep.ended_at) <= until), news), else_=0))
        for until, since in pairwise(edges)
    ]
    with state.session() as session:
        first = session.exec(select(func.min(Run.id)).where(col(Run.started_at) > begin)).one()
        if first is None:
            return {}
        query = select(RunStep.system, RunStep.stream, func.min(RunStep.ended_at), *windows)
        query = query.where(col(RunStep.run) >= first, RunStep.step == "pull", RunStep.status == "done")
        rows: Sequence[Any] = session.exec(query.group_by(RunStep.system, RunStep.stream)).all()
    return {
        (system, stream): [int(count) for count, since in zip(counts, edges[1:], strict=True) if since >= start]
        for system, stream, start, *counts in rows
    }
