"""What each stream holds and when it last brought something: for `status`."""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson
from sqlmodel import col, func, select

from connector.state.models import Run, RunStep
from connector.state.store import State

NOTE = "holdings"  # rows by system|stream, as JSON
#: How far back the last change of a stream is looked for.
SEARCHED = timedelta(days=28)


def rows(state: State) -> dict[str, int]:
    """Live rows in the mart by `system|stream`, as they were after the last pull that brought something."""
    held: dict[str, int] = orjson.loads(state.note(NOTE) or "{}")
    return held


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
