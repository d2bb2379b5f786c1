"""The transactional store: opening, migrating, and what the service asks of it. SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field
from sqlalchemy import Engine, ExceptionContext, create_engine, event, func, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, IntegrityError, NoSuchModuleError, ProgrammingError
from sqlmodel import Session, col, select

from connector import clock
from connector.errors import Busy, StateError
from connector.section import Secret, Section
from connector.state.models import Judgement, Lease, Note, Outbox, Poll, Quarantine, Run, RunStep

_MIGRATIONS = Path(__file__).with_name("migrations")
_HEAD = "0004"
_URL = "postgresql+psycopg://user:password@host/name"
_NOT_ALLOWED = "42501"  # insufficient_privilege (PostgreSQL documentation, "PostgreSQL Error Codes")
_LOCKS = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(1668181614)"}  # a number of our own
_MANY = 500  # keys in one statement


class StateSection(Section):
    """`[state]`: the transactional store; a path beside the configuration, or a database URL."""

    path: str = Field(
        "state.sqlite", min_length=1, description="the store's file; a relative path is beside the configuration"
    )
    url: Secret | None = Field(
        None,
        description='database URL instead of a file, such as "postgresql+psycopg://host/name"; its driver is yours',
    )


@dataclass(frozen=True)
class State:
    """The open store. Every method is one transaction."""

    engine: Engine

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back when it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Let go of the file or the database until the next question."""
        self.engine.dispose()

    # ------------------------------------------------------------------------------------------------------ runs

    def start_run(self, command: str, now: datetime, fingerprint: str) -> int:
        """Begin a run; returns its number, which is also the revision of what it changes."""
        with self.session() as session:
            run = Run(command=command, started_at=now, config_fingerprint=fingerprint)
            session.add(run)
            session.flush()
            assert run.id is not None
            return run.id

    def continue_runs_after(self, run: int) -> None:
        """The next run's number is above this one."""
        with self.session() as session:
            if session.get(Run, run) is None and (session.exec(select(func.max(Run.id))).one() or 0) < run:
                session.add(Run(id=run, command="adopted", status="done", started_at=clock.now(), ended_at=clock.now()))

    def end_run(self, run: int, now: datetime, *, status: str, exit_code: int, summary: dict[str, Any]) -> None:
        """Close a run with what it did."""
        with self.session() as session:
            row = session.get_one(Run, run)
            row.status, row.exit_code, row.ended_at, row.summary = status, exit_code, now, summary

    def mark_computed(self, run: int, now: datetime) -> None:
        """Keep the `now` of the run's recompute."""
        with self.session() as session:
            session.get_one(Run, run).computed_at = now

    def is_computed_since(self, run: int) -> bool:
        """Whether a run after this one computed."""
        with self.session() as session:
            later = select(Run.id).where(col(Run.id) > run, col(Run.computed_at).is_not(None))
            return session.exec(later.limit(1)).first() is not None

    def begun_after(self, instant: datetime) -> tuple[int, ...]:
        """The runs that began after an instant: with a clock that was ahead, where that is now."""
        with self.session() as session:
            found = session.exec(select(Run.id).where(col(Run.started_at) > instant)).all()
            return tuple(run for run in found if run is not None)

    def bury_dead_runs(self, living: int, now: datetime) -> None:
        """Runs that still say running although the lease was free are dead."""
        with self.session() as session:
            for row in session.exec(select(Run).where(Run.status == "running", col(Run.id) != living)):
                row.status, row.ended_at = "dead", now

    def add_steps(self, steps: Sequence[RunStep]) -> None:
        """Keep the counts of steps."""
        with self.session() as session:
            session.add_all(steps)

    def last_runs(self, count: int = 10) -> Sequence[Run]:
        """The newest runs first."""
        with self.session() as session:
            return session.exec(select(Run).order_by(col(Run.id).desc()).limit(count)).all()

    def begun(self) -> dict[str, datetime]:
        """When each command last began a run."""
        with self.session() as session:
            query = select(Run.command, func.max(Run.started_at)).group_by(Run.command)
            return dict(session.exec(query).all())

    def first_run_at(self) -> datetime | None:
        """When the first run began."""
        with self.session() as session:
            return session.exec(select(func.min(Run.started_at))).one()

    def steps(self, run: int) -> Sequence[RunStep]:
        """The counts of a run's steps."""
        with self.session() as session:
            return session.exec(select(RunStep).where(RunStep.run == run).order_by(col(RunStep.id))).all()

    # ------------------------------------------------------------------------------------------------------ notes

    def note(self, key: str, default: str = "") -> str:
        """A single value."""
        with self.session() as session:
            row = session.get(Note, key)
            return row.value if row else default

    def notes(self, prefix: str) -> dict[str, str]:
        """All values whose key begins with the prefix, by the rest of their key."""
        with self.session() as session:
            rows = session.exec(select(Note).where(col(Note.key).startswith(prefix))).all()
            return {row.key[len(prefix) :]: row.value for row in rows}

    def set_note(self, key: str, value: str) -> None:
        """Keep a single value."""
        with self.session() as session:
            session.merge(Note(key=key, value=value))

    # ------------------------------------------------------------------------------------------------------ polls

    def polls(self) -> dict[str, Poll]:
        """When each stream was last read to its end."""
        with self.session() as session:
            return {row.key: row for row in session.exec(select(Poll)).all()}

    def set_polls(self, polls: Sequence[Poll]) -> None:
        """Streams were read to their ends."""
        with self.session() as session:
            for poll in polls:
                session.merge(poll)

    def forget_polls(self, keys: Sequence[str]) -> None:
        """These streams are to be read from the beginning, whatever their interval."""
        with self.session() as session:
            for row in session.exec(select(Poll).where(col(Poll.key).in_(keys))):
                session.delete(row)

    # ------------------------------------------------------------------------------------------------------ quarantine

    def quarantine(self, rows: Sequence[Quarantine]) -> set[str]:
        """Set things aside; one that is there already counts another attempt. Returns the keys of those that are news."""
        with self.session() as session:
            return set_aside(session, rows)

    def release(self, keys: Sequence[str]) -> None:
        """What was set aside is mended."""
        with self.session() as session:
            for row in session.exec(select(Quarantine).where(col(Quarantine.key).in_(keys))):
                row.is_open = False

    def open_quarantine(self) -> dict[str, int]:
        """How many things are set aside, by system."""
        with self.session() as session:
            rows = session.exec(
                select(Quarantine.system, func.count()).where(Quarantine.is_open).group_by(Quarantine.system)
            ).all()
            return {system: int(count) for system, count in rows}

    def quarantined(self) -> Sequence[Quarantine]:
        """Everything that is set aside."""
        with self.session() as session:
            return session.exec(select(Quarantine).where(Quarantine.is_open).order_by(col(Quarantine.id))).all()

    # ------------------------------------------------------------------------------------------------------ the rest

    def judgements(self) -> Sequence[Judgement]:
        """The human decisions on identity, oldest first."""
        with self.session() as session:
            return session.exec(select(Judgement).order_by(col(Judgement.decided_at), col(Judgement.id))).all()

    def lease(self) -> Lease | None:
        """Who holds the lease, alive or dead."""
        with self.session() as session:
            return session.exec(select(Lease)).first()

    def outbox_counts(self) -> dict[tuple[str, str, str], int]:
        """How many changes there are by (status, system, lane), without those that are over."""
        with self.session() as session:
            query = (
                select(Outbox.status, Outbox.system, Outbox.lane, func.count())
                .where(col(Outbox.status).not_in(["settled", "superseded", "withdrawn"]))
                .group_by(Outbox.status, Outbox.system, Outbox.lane)
            )
            return {(status, system, lane): int(count) for status, system, lane, count in session.exec(query).all()}


def set_aside(session: Session, rows: Sequence[Quarantine]) -> set[str]:
    """Set things aside, within the caller's transaction; one that is there already counts another attempt. Returns the keys of those
    that are news."""
    by_key = {row.key: row for row in rows}
    keys, news = list(by_key), set(by_key)
    for start in range(0, len(keys), _MANY):
        part = keys[start : start + _MANY]
        known = {row.key: row for row in session.exec(select(Quarantine).where(col(Quarantine.key).in_(part)))}
        session.add_all(by_key[key] for key in part if key not in known)
        news -= {key for key, row in known.items() if not _set_aside_again(row, by_key[key])}
    return news


def _set_aside_again(known: Quarantine, row: Quarantine) -> bool:
    """A change that failed again, or another value that cannot be mapped, is news; the same value read again is not."""
    if known.is_open and known.value_hash == row.value_hash and row.kind != "change":
        return False
    known.is_open, known.last_at, known.value_hash = True, row.last_at, row.value_hash
    known.attempts, known.reason, known.code = known.attempts + 1, row.reason, row.code
    return True


def open_state(section: StateSection, directory: Path) -> State:
    """The store, brought to its newest version. Raises StateError when it cannot be used."""
    path, url = directory / section.path, section.url.get_secret_value() if section.url else ""
    if not url:
        _make_file(path)
    engine = _engine(url or f"sqlite:///{path}")
    event.listen(engine, "handle_error", _translate)
    version = _version(engine)
    if version is not None and version > _HEAD:
        raise StateError(
            f"the state store has version {version}, and this program knows {_HEAD}",
            hint="run the version of the program that wrote it, or restore a backup",
        )
    if version != _HEAD:
        _migrate(engine)
    return State(engine)


def _engine(url: str) -> Engine:
    """The engine of a database. Raises StateError, in which nothing of the address stands: it holds a password."""
    try:
        is_file = make_url(url).get_backend_name() == "sqlite"
        engine = create_engine(
            url,
            connect_args={"timeout": 30} if is_file else {},
            pool_pre_ping=not is_file,  # a server may have started anew since the last question
            hide_parameters=True,
            json_serializer=lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode(),
            json_deserializer=orjson.loads,
        )
    except ImportError as problem:
        what = f"the driver that [state] url names is not installed ({problem.name or str(problem).splitlines()[0]})"
        raise StateError(what, hint=f"install it beside connector, or name another: {_URL}") from None
    except (ArgumentError, NoSuchModuleError):
        raise StateError("[state] url is no database URL that we know", hint=f"write it as {_URL}") from None
    if is_file:
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _translate(failed: ExceptionContext) -> None:
    """The store's own failures in words for a person; what a statement of ours does wrong stays as it is."""
    problem = failed.sqlalchemy_exception
    if getattr(failed.original_exception, "sqlstate", "") == _NOT_ALLOWED:
        what = str(failed.original_exception).splitlines()[0]
        raise StateError(
            f"the state's database does not let us work in it: {what}",
            hint="give our user all rights on its database and schema",
        ) from problem
    if not isinstance(problem, DatabaseError) or isinstance(problem, (IntegrityError, ProgrammingError, DataError)):
        return
    told = str(failed.original_exception).lower()
    if "locked" in told:
        raise Busy("the state store is in use", hint="wait for the other command to end and try again") from problem
    if "full" in told or "no space left" in told:
        raise StateError("the disk has no room for the state store", hint="make room and give the command again")
    if "readonly" in told or "permission" in told:
        raise StateError(
            "the state store may not be written", hint="give its file and folder to the user who runs this"
        )
    if failed.dialect.name != "sqlite":
        why = (
            "" if failed.statement else f": {str(failed.original_exception).splitlines()[0]}"
        )  # of a statement: values
        raise StateError(
            f"the state's database cannot be reached or used{why}",
            hint="see that its server runs and lets us in; give the command again",
        ) from problem
    why = f" ({failed.original_exception})" if isinstance(failed.original_exception, sqlite3.Error) else ""
    raise StateError(
        f"the state store cannot be opened, read or written{why}",
        hint="see that its folder may be written and has room; if it is damaged restore it from a backup",
    ) from problem


def _make_file(path: Path) -> None:
    """An empty file for its owner alone, where there is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as problem:
        raise StateError(f"the state store {path} cannot be made", hint="give [state] another path") from problem


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _version(engine: Engine) -> str:
    if not inspect(engine).has_table("alembic_version"):
        return ""
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _migrate(engine: Engine) -> None:
    """Bring the store to its newest version in one transaction, of which only one is at work; the others find it done."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name in _LOCKS:
            connection.exec_driver_sql(_LOCKS[engine.dialect.name])
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
