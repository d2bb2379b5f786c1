"""What each stream holds and when it last brought something: for `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlmodel import col, func, select

from connector.state.models import Run, RunStep
from connector.state.store import State

NOTE = "holdings"  # rows by system|stream, as JSON
#: How far back the last change of a stream is looked for.
SEARCHED = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A system that is not configured any more and of which something is held: what is to be said, and what a person can do."""

    system: str
    what: str
    mend: str


def rows(state: State) -> dict[str, int]:
    """Live rows in the mart by `system|stream`, as they were after the last pull that brought something."""
    held: dict[str, int] = orjson.loads(state.note(NOTE) or "{}")
    return held


def left_behind(state: State, systems: Collection[str]) -> list[LeftBehind]:
    """The systems that the mart holds something of and that are not among the configured `systems` any more."""
    held: Counter[str] = Counter()
    for key, count in rows(state).items():
        held[key.partition("|")[0]] += count
    mend = "its name again, if it was renamed: under another one its people and events count twice"
    return [
        LeftBehind(name, f"not configured any more; the {count:,} rows held of it count on", mend)
        for name, count in sorted(held.items())
        if count and name not in systems
    ]


def changed_at(state: State, now: datetime) -> dict[str, datetime]:
    """When a pull last found something new or changed, by `system|stream`; without those that had nothing for so long."""
    with state.session() as session:
        first = session.exec(select(func.min(Run.id)).where(col(Run.started_at) > now - SEARCHED)).one()
        if first is None:
            return {}
        query = select(RunStep.system, RunStep.stream, func.max(RunStep.run)).where(
            RunStep.run >= first, RunStep.applied > 0
        )
        newest = {f"{s}|{n}": run for s, n, run in session.exec(query.group_by(RunStep.system, RunStep.stream)).all()}
        runs = select(Run.id, Run.started_at).where(col(Run.id).in_(set(newest.values())))
        began = dict(session.exec(runs).all())
    return {key: began[run] for key, run in newest.items()}
