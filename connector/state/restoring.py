"""Changes that take a run back, in the transactional store: those that are not over, which end, and what became of them.

Each function is one transaction. Which of them end is `undo`'s to say; here are only rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from connector.state.models import Delivery, Outbox, Quarantine
from connector.state.outbox import IN_DOUBT, OVER, REPLACEABLE, UNDO, parts
from connector.state.store import State, set_aside


@dataclass(frozen=True, slots=True)
class Ended:
    """A change of which some fields are not restored any more, with why; the others go on under a key of their own ("": none do)."""

    row: Outbox
    names: frozenset[str]
    why: str
    rest: str


class Became(NamedTuple):
    """Where a change stands, how its last attempt ended ("": there was none), and what its system said."""

    status: str
    result: str
    code: str
    message: str


def unfinished(state: State, *, before: int) -> list[Outbox]:
    """What runs before that one wanted to restore and nobody knows to be there: it waits, is set aside, or is in doubt and is to be
    sent again should it not be there."""
    with state.session() as session:
        query = select(Outbox).where(col(Outbox.status).in_(REPLACEABLE), col(Outbox.key).startswith(UNDO))
        query = query.where(Outbox.run < before, Outbox.held_because != OVER)
        return list(session.exec(query.order_by(col(Outbox.id))).all())


def end(state: State, ended: Sequence[Ended]) -> None:
    """Withdraw these fields: what is in doubt is not sent again, what is set aside is over. The others wait as before."""
    with state.session() as session:
        for each in ended:
            row = session.get_one(Outbox, each.row.id)
            if each.rest:
                _go_on(session, row, each)
            if row.status in IN_DOUBT:
                row.held_because = OVER
                continue
            if row.status == "quarantined":
                aside = update(Quarantine).where(col(Quarantine.key) == f"change|{row.key}")
                session.execute(aside.values(is_open=False))
            row.fields, row.before = _only(row.fields, each.names), _only(row.before, each.names)
            row.status, row.held_because = "withdrawn", each.why


def _go_on(session: Session, row: Outbox, each: Ended) -> None:
    """The fields that are still to be restored as a change of their own, unless it is there already."""
    there = select(Outbox.id).where(Outbox.key == each.rest, col(Outbox.status).in_(REPLACEABLE))
    if session.exec(there).first() is not None:
        return
    names = row.fields.keys() - each.names
    status = "pending" if row.status in IN_DOUBT else row.status
    told = row.model_dump(exclude={"id"}) | {"key": each.rest, "status": status, "receipt": ""}
    session.add(Outbox(**told | {"fields": _only(row.fields, names), "before": _only(row.before, names)}))
    if row.status == "quarantined":
        query = select(Quarantine).where(Quarantine.key == f"change|{row.key}", Quarantine.is_open)
        for aside in session.exec(query).all():
            set_aside(session, [Quarantine(**aside.model_dump(exclude={"id"}) | {"key": f"change|{each.rest}"})])


def _only(values: Mapping[str, Any], names: frozenset[str] | set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def became(state: State, keys: Sequence[str]) -> dict[str, Became]:
    """What became of these changes, by key: of the newest that has it."""
    found: dict[str, Became] = {}
    with state.session() as session:
        for part in parts(keys):
            query = select(Outbox, Delivery).join(Delivery, col(Delivery.outbox) == Outbox.id, isouter=True)
            query = query.where(col(Outbox.key).in_(part)).order_by(col(Outbox.id), col(Delivery.id))
            for row, told in session.exec(query).all():
                said = (told.result, told.code, told.message) if told is not None else ("", "", "")
                found[row.key] = Became(row.status, *said)
    return found
