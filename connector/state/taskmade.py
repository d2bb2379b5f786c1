"""The tasks that we know to be in a system, by our key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, select

from connector.state.models import Outbox, TaskMade
from connector.state.outbox import parts
from connector.state.store import State


@dataclass(frozen=True, slots=True)
class Made:
    """A task in a system that stands for the one with our key."""

    key: str
    system: str
    native_id: str
    record: str


def unknown(state: State, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the rows (`task_key`, `native_id`) whose key was never in the outbox, and whose task is known by no key."""
    keys: set[str] = set()
    ids: set[str | None] = set()
    with state.session() as session:
        for part in parts([row["task_key"] for row in rows]):
            keys.update(session.exec(select(Outbox.key).where(col(Outbox.key).in_(part))))
            keys.update(session.exec(select(TaskMade.key).where(col(TaskMade.key).in_(part))))
        for part in parts([row["native_id"] for row in rows]):
            query = select(TaskMade).where(col(TaskMade.native_id).in_(part))
            ids.update(row.native_id for row in session.exec(query))
    return [row for row in rows if row["task_key"] not in keys and row["native_id"] not in ids]


def keep(state: State, made: Sequence[Made], *, run: int, now: datetime) -> None:
    """From now on these are known: no plan makes a task with one of these keys."""
    with state.session() as session:
        for each in made:
            session.merge(TaskMade(**asdict(each), run=run, created_at=now))
