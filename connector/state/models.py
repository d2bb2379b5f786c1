"""The rows of the transactional store: what the service is doing. No customer data beyond what a change needs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Index, Text, TypeDecorator
from sqlmodel import Field, SQLModel


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime on every database (SQLite forgets the zone, so it is put back)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _instant(*, nullable: bool = True) -> Any:
    return Field(default=None, sa_column=Column(Instant, nullable=nullable))


def _json() -> Any:
    return Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class Run(SQLModel, table=True):
    """One execution. `status`: running, done, failed, stopped (asked to end), dead (its process is gone)."""

    id: int | None = Field(default=None, primary_key=True)
    command: str
    status: str = "running"
    exit_code: int | None = None
    started_at: datetime = _instant(nullable=False)
    ended_at: datetime | None = _instant()
    computed_at: datetime | None = _instant()  # the `now` of its recompute; a replay needs it
    config_fingerprint: str = ""
    summary: dict[str, Any] = _json()


class RunStep(SQLModel, table=True):
    """The counts of one step of a run, by system and stream: pulled = applied + unchanged + filtered + quarantined."""

    __tablename__ = "run_step"
    id: int | None = Field(default=None, primary_key=True)
    run: int = Field(index=True)
    step: str
    system: str = ""
    stream: str = ""
    pulled: int = 0
    applied: int = 0
    unchanged: int = 0
    filtered: int = 0
    quarantined: int = 0
    calls: int = 0
    status: str = "done"
    message: str = ""
    ended_at: datetime | None = _instant()


class Outbox(SQLModel, table=True):
    """One intended write. `status`: pending, held, in_flight, unknown, settled, superseded, withdrawn, quarantined."""

    __table_args__ = (
        Index("outbox_work", "status", "system", "lane"),
        Index("outbox_record", "system", "object_type", "native_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(index=True)
    run: int
    system: str
    object_type: str
    native_id: str
    person: str | None = None
    lane: str
    fields: dict[str, Any] = _json()
    before: dict[str, Any] = _json()
    task: dict[str, Any] = _json()
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    expected_version: str | None = None
    status: str = "pending"
    held_because: str = ""
    attempt: int = 0
    parent: str = Field(default="", sa_column_kwargs={"server_default": ""})
    receipt: str = Field(default="", sa_column_kwargs={"server_default": ""})  # what its system is to be asked by
    created_at: datetime = _instant(nullable=False)
    not_before_at: datetime | None = _instant()


class Delivery(SQLModel, table=True):
    """The outcome of one change in one attempt. `is_applied`: the mart's observed values know of it."""

    id: int | None = Field(default=None, primary_key=True)
    outbox: int = Field(index=True)
    run: int
    attempt: int
    result: str
    native_id: str | None = None
    code: str = ""
    message: str = Field(default="", sa_column=Column(Text, nullable=False))
    hint: str = ""
    request_id: str = ""
    at: datetime = _instant(nullable=False)
    is_applied: bool = Field(default=False, index=True)


class TaskMade(SQLModel, table=True):
    """A task that we made: our dedupe key and the system's id of it."""

    __tablename__ = "task"
    key: str = Field(primary_key=True)
    system: str
    native_id: str | None = None
    record: str
    run: int
    created_at: datetime = _instant(nullable=False)


class Quarantine(SQLModel, table=True):
    """Something set aside with its cause. `kind`: value (of a record), record, change, field (of a stream).

    The value itself is only a hash.
    """

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(index=True, unique=True)
    kind: str
    system: str
    stream: str = ""
    record: str = ""
    field: str = ""
    code: str = ""
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    hint: str = ""
    value_hash: str = ""
    access: str = Field(default="", sa_column_kwargs={"server_default": ""})  # what the system said of the object then
    attempts: int = 1
    is_open: bool = Field(default=True, index=True)
    first_at: datetime = _instant(nullable=False)
    last_at: datetime = _instant(nullable=False)


class Freeze(SQLModel, table=True):
    """A field of a record that two writers fight over: we leave it alone `until_at`. `writer` is the other one."""

    key: str = Field(primary_key=True)  # record|field
    system: str
    record: str = Field(index=True)
    field: str
    writer: str = ""
    why: str = Field(default="", sa_column=Column(Text, nullable=False))
    since_at: datetime = _instant(nullable=False)
    until_at: datetime = Field(sa_column=Column(Instant, nullable=False, index=True))


class Replan(SQLModel, table=True):
    """A record that the next plan compares although nothing new is known of it, and why."""

    record: str = Field(primary_key=True)
    why: str
    at: datetime = _instant(nullable=False)


class Judgement(SQLModel, table=True):
    """A human decision on two records: `link` or `cut`. The newest of a pair counts."""

    id: int | None = Field(default=None, primary_key=True)
    left: str
    right: str
    verdict: str
    decided_at: datetime = _instant(nullable=False)
    decided_by: str = ""
    note: str = ""


class Lease(SQLModel, table=True):
    """Who may run on this pair of stores. A holder whose heartbeat is older than its length is dead."""

    name: str = Field(primary_key=True)
    holder: str
    run: int | None = None
    pid: int | None = None
    since_at: datetime = _instant(nullable=False)
    heartbeat_at: datetime = _instant(nullable=False)


class Poll(SQLModel, table=True):
    """When a stream was last read to its end, and by which run; a copy of the mart's checkpoints for `status`."""

    key: str = Field(primary_key=True)
    system: str
    stream: str
    polled_at: datetime = _instant(nullable=False)
    run: int
    rows: int = 0


class Note(SQLModel, table=True):
    """Single values of the service: planned_through, the pair of stores, fingerprints of settings and mappings."""

    key: str = Field(primary_key=True)
    value: str = Field(default="", sa_column=Column(Text, nullable=False))


class Pause(SQLModel, table=True):
    """A system that runs leave out. `kind`: asked (by a person), refused (its credentials; `credentials` is a hash of them)."""

    system: str = Field(primary_key=True)
    kind: str
    since_at: datetime = _instant(nullable=False)
    by: str = ""
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    credentials: str = ""
    tried_at: datetime | None = _instant()


class Alert(SQLModel, table=True):
    """Something that an operator should know, from its beginning to its end. `untold`: channels and what they still have to hear."""

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(index=True)
    kind: str
    system: str = ""
    stream: str = ""
    text: str = Field(default="", sa_column=Column(Text, nullable=False))
    hint: str = Field(default="", sa_column=Column(Text, nullable=False))
    began_at: datetime = _instant(nullable=False)
    ended_at: datetime | None = _instant()
    untold: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class Purge(SQLModel, table=True):
    """The receipt of a person who was removed: counts by table, and keyed hashes of the identifiers."""

    id: str = Field(primary_key=True)
    at: datetime = _instant(nullable=False)
    by: str = ""
    counts: dict[str, Any] = _json()
    hashes: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class Suppression(SQLModel, table=True):
    """The keyed hash of a record or an identifier that is not to be taken in again. `kind`: record, or the identifier's type."""

    hash: str = Field(primary_key=True)
    kind: str
    purge: str = Field(index=True)


class Backup(SQLModel, table=True):
    """A pair of copies that we made: a folder that a purge has to reach, too."""

    path: str = Field(primary_key=True)
    made_at: datetime = _instant(nullable=False)
    pair: str = ""
    generation: int = 0
