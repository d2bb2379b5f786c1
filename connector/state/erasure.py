"""Removing people from the transactional store, and what it keeps so that they do not come back: keyed hashes, never values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, delete, inspect
from sqlmodel import Session, col, or_, select

from connector import clock
from connector.errors import StateError
from connector.state.models import (
    Backup,
    Delivery,
    Freeze,
    Judgement,
    Lease,
    Outbox,
    Purge,
    Quarantine,
    Replan,
    Suppression,
    TaskMade,
)
from connector.state.store import State

_KEY = "suppression_key"
_PLAN = "plan_file:"
_MANY = 500
RECORD = "record"
OPEN = "open"  # among the counts of a receipt: the purge has not ended


def key_of(state: State) -> bytes:
    """The key of the hashes, made when it is first needed."""
    if not state.note(_KEY):
        state.set_note(_KEY, clock.token(32))
    return bytes.fromhex(state.note(_KEY))


def hashed(key: bytes, kind: str, value: str) -> str:
    """What stands for a value in the list: nobody without the key can try values on it."""
    return hashlib.blake2b(f"{kind}\x1f{value}".encode(), key=key, digest_size=16).hexdigest()


def suppressions(state: State, *, purge: str = "") -> frozenset[str]:
    """The hashes of all that is not to be taken in again, or of one purge."""
    with state.session() as session:
        query = select(Suppression.hash)
        return frozenset(session.exec(query.where(Suppression.purge == purge) if purge else query))


def suppress(state: State, purge: str, hashes: Mapping[str, str]) -> None:
    """Do not take these in again: hash -> kind."""
    with state.session() as session:
        for value, kind in hashes.items():
            session.merge(Suppression(hash=value, kind=kind, purge=purge))


def suppress_found(state: State, hashes: Iterable[tuple[str, str]]) -> None:
    """Records that were recognised by an identifier: (hash of the record, hash of what gave it away)."""
    with state.session() as session:
        for record, cause in hashes:
            known = session.get(Suppression, cause)
            session.merge(Suppression(hash=record, kind=RECORD, purge=known.purge if known else ""))


def allow_again(state: State, hashes: Sequence[str]) -> int:
    """Forget the purges that these hashes belong to, so that the person may be taken in again. Returns how many hashes."""
    with state.session() as session:
        found = session.exec(select(Suppression.purge).where(col(Suppression.hash).in_(hashes))).all()
        return int(session.execute(delete(Suppression).where(col(Suppression.purge).in_(found))).rowcount)  # type: ignore[attr-defined]


def carried(state: State) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """What a restored store has to be told of purges: the key, the suppressions and the receipts."""
    with state.session() as session:
        return (
            state.note(_KEY),
            [row.model_dump() for row in session.exec(select(Suppression))],
            [row.model_dump() for row in session.exec(select(Purge))],
        )


def carry(state: State, told: tuple[str, list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    """Tell a restored store of purges that it does not know. Raises StateError when its hashes have another key."""
    key, suppressed, purges = told
    if not suppressed:
        return
    if state.note(_KEY) not in ("", key) and suppressions(state):
        raise StateError("the backup has purges of another store", hint="restore it where there is no store")
    state.set_note(_KEY, key)
    with state.session() as session:
        for row in suppressed:
            session.merge(Suppression(**row))
        for row in purges:
            session.merge(Purge(**row))


# ------------------------------------------------------------------------------------------------------------ erasing


def erase(state: State, records: Sequence[str], subjects: Sequence[str], *, is_dry: bool = False) -> dict[str, int]:
    """Delete what is kept of these records and persons. Returns how many rows, by table; with `is_dry` nothing is deleted."""
    counts: dict[str, int] = {}
    known = set(inspect(state.engine).get_table_names())
    with Session(state.engine) as session:
        record = col(Outbox.system) + "|" + col(Outbox.object_type) + "|" + col(Outbox.native_id)
        ids: list[Any] = []
        for part in _parts(records):
            ids += session.exec(select(Outbox.id).where(record.in_(part))).all()
        for part in _parts(subjects):
            ids += session.exec(select(Outbox.id).where(col(Outbox.person).in_(part))).all()
        for part in _parts(sorted(set(ids))):
            _delete(session, counts, Delivery, col(Delivery.outbox).in_(part))
            _delete(session, counts, Outbox, col(Outbox.id).in_(part))
        for part in _parts(records):
            for model in (TaskMade, Quarantine, Freeze, Replan):
                if model.__tablename__ in known:
                    _delete(session, counts, model, col(model.record).in_(part))
            judged = or_(col(Judgement.left).in_(part), col(Judgement.right).in_(part))
            _delete(session, counts, Judgement, judged)
        (session.rollback if is_dry else session.commit)()
    return {name: count for name, count in sorted(counts.items()) if count}


def _delete(session: Session, counts: dict[str, int], model: Any, chosen: Any) -> None:
    name = model.__tablename__
    counts[name] = counts.get(name, 0) + int(session.execute(delete(model).where(chosen)).rowcount)  # type: ignore[attr-defined]


def compact(state: State) -> bool:
    """Write the store anew, so that deleted rows are gone from its file and its log. False where that is the database's affair."""
    if state.engine.dialect.name != "sqlite":
        return False
    with state.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            connection.exec_driver_sql(statement)
    return True


def opened_copy(path: Path) -> State:
    """A copy of the store as it is, without bringing it to the newest version."""
    return State(create_engine(f"sqlite:///{path}"))


def forget_lease(state: State) -> None:
    """A copy is held by nobody."""
    with state.session() as session:
        session.execute(delete(Lease))


def keep_receipt(state: State, receipt: Purge) -> None:
    """Keep, or complete, the receipt of a purge."""
    with state.session() as session:
        session.merge(receipt)


def open_receipts(state: State) -> list[Purge]:
    """Of purges that began and have not ended, oldest first."""
    with state.session() as session:
        return [row for row in session.exec(select(Purge).order_by(col(Purge.at))) if OPEN in row.counts]


def keep_backup(state: State, path: Path, *, now: datetime, pair: str, generation: int) -> None:
    """A copy was made there."""
    with state.session() as session:
        session.merge(Backup(path=str(path), made_at=now, pair=pair, generation=generation))


def forget_backup(state: State, path: Path) -> None:
    """There is no copy any more."""
    with state.session() as session:
        session.execute(delete(Backup).where(col(Backup.path) == str(path)))


def backups(state: State) -> Sequence[Backup]:
    """The copies that were made, newest first."""
    with state.session() as session:
        return session.exec(select(Backup).order_by(col(Backup.made_at).desc())).all()


def keep_plan(state: State, file: Path) -> None:
    """A plan is saved there: it is for a purge to know."""
    state.set_note(f"{_PLAN}{file.resolve()}", "saved")


def plans(state: State) -> list[Path]:
    """Where plans were saved, there or not."""
    return [Path(name) for name in sorted(state.notes(_PLAN))]


def _parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _MANY] for start in range(0, len(values), _MANY))
