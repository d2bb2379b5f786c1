"""Systems that runs leave out, in the transactional store: because a person asked for it, or because credentials are refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import select

from connector.state.models import Pause
from connector.state.store import State

ASKED, REFUSED = "asked", "refused"


def standing(state: State) -> dict[str, Pause]:
    """The pauses that stand, by system."""
    with state.session() as session:
        return {row.system: row for row in session.exec(select(Pause).order_by(Pause.system))}


def ask(state: State, system: str, *, by: str, reason: str, now: datetime) -> Pause:
    """A person wants this system left out. One that is paused by a person already stays as it was."""
    with state.session() as session:
        row = session.get(Pause, system)
        if row is not None and row.kind == ASKED:
            return row
        return session.merge(Pause(system=system, kind=ASKED, since_at=now, by=by, reason=reason))


def refuse(state: State, system: str, *, credentials: str, reason: str, now: datetime) -> None:
    """These credentials were refused at `now`; a pause that stands keeps its beginning, and its kind when a person asked."""
    with state.session() as session:
        row = session.get(Pause, system)
        if row is None:
            row = Pause(system=system, kind=REFUSED, since_at=now, reason=reason)
        elif row.kind == ASKED:
            return
        row.credentials, row.tried_at = credentials, now
        session.add(row)


def lift(state: State, systems: Sequence[str], *, kinds: Sequence[str] = (ASKED, REFUSED)) -> list[Pause]:
    """Let these systems take part again; returns the pauses that stood."""
    with state.session() as session:
        rows = [row for name in systems if (row := session.get(Pause, name)) is not None and row.kind in kinds]
        for row in rows:
            session.delete(row)
        return rows
