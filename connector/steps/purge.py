"""Removing a person from everything that we hold, with a receipt; and keeping them out.

The list that keeps them out is written first, and the mart, by which a person is found, is the last to forget: killed in between, the
command is given again. What it cannot reach is said in the receipt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import orjson
import pyarrow as pa

from connector import clock, planfile, tables
from connector.errors import ConnectorError
from connector.mart import Mart, erasure
from connector.model import Kind
from connector.state import erasure as state_erasure
from connector.state.models import Purge
from connector.steps.setup import Setup

BEYOND_REACH = (
    "the connected systems themselves: delete the person there",
    "copies of the stores that were made by other means than `connector backup`, or moved since",
    "free text in others' records and activities, such as an opportunity's name or a note about somebody else",
    "the journals and backups of a database server, where [state] has a url",
)


@dataclass(frozen=True)
class Person:
    """Who is to be removed: the records, every person id they ever had, and the identifiers that nobody else has."""

    records: Sequence[str]
    subjects: Sequence[str]
    identifiers: Sequence[tuple[str, str]]


@dataclass
class Receipt:
    """What was removed, or would be, by place."""

    id: str
    at: datetime
    by: str
    hashes: list[str]
    removed: dict[str, dict[str, int]] = field(default_factory=dict)  # place -> table -> rows
    unreached: list[str] = field(default_factory=lambda: list(BEYOND_REACH))

    def as_json(self) -> dict[str, Any]:
        """The receipt as it is kept and shown."""
        return {
            "purge": self.id, "at": self.at.isoformat(), "by": self.by, "hashed_identifiers": self.hashes,
            "removed": self.removed, "not_reached": self.unreached,
        }  # fmt: skip


def person(mart: Mart, key: str) -> Person:
    """Everything by which a person is known to the mart."""
    members, issued, identifier = mart.table("membership"), mart.table("issued"), mart.table("identifier")
    mine = members.filter((members.owner_id == key) & (members.kind == Kind.PERSON.value)).select("key")
    records = [str(value) for value in mart.arrow(mine)["key"].to_pylist()]
    held = ibis.memtable(pa.table({"record": pa.array(records, tables.TEXT)}))
    ids = mart.arrow(issued.semi_join(held, issued.anchor == held.record).select("key"))["key"].to_pylist()
    theirs = identifier.semi_join(held, "record").select("type", "value").distinct()
    others = identifier.anti_join(held, "record").select("type", "value").distinct()
    own = mart.arrow(theirs.anti_join(others, ["type", "value"])).to_pylist()
    return Person(records, sorted({key, *map(str, ids)}), [(row["type"], row["value"]) for row in own])


def look(setup: Setup, mart: Mart, whom: Person, *, by: str) -> Receipt:
    """What a purge would remove; nothing is changed."""
    receipt = _receipt(setup, whom, by)
    mart.begin()
    try:
        receipt.removed["mart"] = dict(erasure.erase_in(mart, whom.records, whom.subjects))
    finally:
        mart.rollback()
    receipt.removed["state"] = state_erasure.erase(setup.state, whom.records, whom.subjects, is_dry=True)
    for file in _plans(setup):
        _note(receipt, file.name, "changes", planfile.without(file, whom.records, whom.subjects, is_dry=True))
    for place in (*_copies(setup), *_backups(setup, receipt)):
        receipt.removed[str(place)] = {}
    return receipt


def purge(setup: Setup, whom: Person, *, by: str) -> tuple[Receipt, Path]:
    """Remove a person from both stores, plans, copies and backups, and keep them out. Returns the receipt and its file.

    To be called with the lease held. Raises MartError when a copy cannot be opened; the mart still knows the person then.
    """
    receipt = _receipt(setup, whom, by)
    key = state_erasure.key_of(setup.state)
    named = {state_erasure.hashed(key, kind, value): kind for kind, value in whom.identifiers}
    keys = {state_erasure.hashed(key, state_erasure.RECORD, record): state_erasure.RECORD for record in whom.records}
    state_erasure.suppress(setup.state, receipt.id, named | keys)
    state_erasure.keep_receipt(setup.state, _kept(receipt))
    receipt.removed["state"] = state_erasure.erase(setup.state, whom.records, whom.subjects)
    for file in _plans(setup):
        _note(receipt, file.name, "changes", planfile.without(file, whom.records, whom.subjects))
    for file in _copies(setup):
        _note(receipt, file.name, "rows", erasure.erase_file(file, whom.records, whom.subjects))
    for folder in _backups(setup, receipt):
        _note(receipt, str(folder), "rows", _erase_backup(folder, whom))
    with setup.mart() as mart:
        with mart.transaction():
            receipt.removed["mart"] = dict(erasure.erase_in(mart, whom.records, whom.subjects))
        erasure.rewrite(mart.connection, setup.directory / setup.mart_section.path)
    state_erasure.compact(setup.state)
    state_erasure.keep_receipt(setup.state, _kept(receipt))
    return receipt, _write(setup, receipt)


def enforce(setup: Setup) -> int:
    """Remove everybody on the suppression list from the stores (after an older pair was restored). Returns how many records."""
    key, hashes = state_erasure.key_of(setup.state), state_erasure.suppressions(setup.state)
    if not hashes:
        return 0
    with setup.mart() as mart:
        members = mart.table("membership")
        rows = mart.arrow(members.filter(members.kind == Kind.PERSON.value).select("key", "owner_id")).to_pylist()
        found = [row for row in rows if state_erasure.hashed(key, state_erasure.RECORD, row["key"]) in hashes]
        if not found:
            return 0
        records = [row["key"] for row in found]
        subjects = sorted({row["owner_id"] for row in found})
        state_erasure.erase(setup.state, records, subjects)
        with mart.transaction():
            erasure.erase_in(mart, records, subjects)
        erasure.rewrite(mart.connection, setup.directory / setup.mart_section.path)
    state_erasure.compact(setup.state)
    return len(records)


def _receipt(setup: Setup, whom: Person, by: str) -> Receipt:
    if not whom.records:
        raise ConnectorError("that person has no records here any more", hint="see the receipts of former purges")
    key, now = state_erasure.key_of(setup.state), clock.now()
    hashes = sorted(f"{kind}:{state_erasure.hashed(key, kind, value)}" for kind, value in whom.identifiers)
    return Receipt(clock.token(6), now, by, hashes)


def _kept(receipt: Receipt) -> Purge:
    return Purge(id=receipt.id, at=receipt.at, by=receipt.by, counts=receipt.removed, hashes=receipt.hashes)


def _note(receipt: Receipt, place: str, what: str, count: int) -> None:
    receipt.removed[place] = {what: count} if count else {}


def _plans(setup: Setup) -> list[Path]:
    return [file for file in sorted(setup.directory.glob("*.json")) if planfile.is_plan(file)]


def _copies(setup: Setup) -> list[Path]:
    """Copies that migrations of the mart made."""
    mart = setup.directory / setup.mart_section.path
    return sorted(mart.parent.glob(f"{mart.name}.before-*"))


def _backups(setup: Setup, receipt: Receipt) -> list[Path]:
    there = []
    for backup in state_erasure.backups(setup.state):
        folder = Path(backup.path)
        if folder.is_dir():
            there.append(folder)
        else:
            receipt.unreached.append(f"the backup of {backup.made_at:%d %b %Y} that was at {folder}: it is not there")
    return there


def _erase_backup(folder: Path, whom: Person) -> int:
    count = erasure.erase_file(folder / "mart.duckdb", whom.records, whom.subjects)
    if (folder / "state.sqlite").exists():
        state = state_erasure.opened_copy(folder / "state.sqlite")
        count += sum(state_erasure.erase(state, whom.records, whom.subjects).values())
        state_erasure.compact(state)
        state.engine.dispose()
    return count


def _write(setup: Setup, receipt: Receipt) -> Path:
    file = setup.directory / f"purge-{receipt.at:%Y%m%d-%H%M%S}-{receipt.id}.json"
    with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(orjson.dumps(receipt.as_json(), option=orjson.OPT_INDENT_2))
    return file
