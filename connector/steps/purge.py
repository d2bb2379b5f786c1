"""Removing a person from everything that we hold, with a receipt; and keeping them out.

The list that keeps them out is written first, then an open receipt, and the mart, by which a person is found, is the last to forget. What
is removed is counted before it goes: killed in between, `resume` ends it, with one receipt. What it cannot reach is said in the receipt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import orjson
import pyarrow as pa

from connector import clock, planfile, tables
from connector.errors import ConnectorError
from connector.mart import Mart, erasure, files
from connector.model import Kind
from connector.state import State
from connector.state import erasure as state_erasure
from connector.state.models import Purge
from connector.steps.setup import Setup

#: Identifiers that stand in a record as they are: a deleted one, whose identifiers are not kept, is known by them.
_VERBATIM = ("user_id", "customer_number", "device", "cookie")
UNFINISHED = "unfinished"  # a file in a folder of copies for as long as they are being made
BEYOND_REACH = (
    "the connected systems themselves: delete the person there",
    "copies of the stores that were made by other means than `connector backup`, or moved since",
    "saved plans that were copied or moved since; `connector apply` writes nothing of a purged person from them",
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


def person(mart: Mart, key: str, left: pa.Table) -> Person:
    """Everything by which a person is known to a mart that is resolved; `left` are the memberships of what was deleted since."""
    members = mart.table("membership")
    mine = members.filter((members.owner_id == key) & (members.kind == Kind.PERSON.value)).select("key")
    records = [str(value) for value in mart.arrow(mine)["key"].to_pylist()]
    return _whole(mart, records, _own(mart, records), [key], left)


def departed(mart: Mart, asked: Sequence[str], left: pa.Table) -> Person:
    """Somebody of whom all records were deleted in their systems, by e-mail, record key or native id; often nobody."""
    record, identifier = mart.table(tables.record_table(Kind.PERSON)), mart.table("identifier")
    deleted = record.filter(record.deleted_at.notnull())
    given = list(asked) or [""]
    mine = deleted.filter(deleted.email.isin(given) | deleted.key.isin(given) | deleted.native_id.isin(given))
    living = identifier.filter(identifier.withdrawn_at.isnull() & (identifier.type == "email"))
    emails = mine.filter(mine.email.notnull()).anti_join(living, mine.email == living.value).select("email").distinct()
    own = [("email", str(value)) for value in mart.arrow(emails)["email"].to_pylist()]
    return _whole(mart, [str(key) for key in mart.arrow(mine.select("key"))["key"].to_pylist()], own, [], left)


def _whole(
    mart: Mart, records: list[str], own: Sequence[tuple[str, str]], ids: Sequence[str], left: pa.Table
) -> Person:
    """The person with what is left of records that are nobody's member, and every id that they ever had."""
    owners = {str(row["key"]): str(row["owner_id"]) for row in left.to_pylist()}
    theirs = {*ids, *_carried(mart, records), *(owners[each] for each in records if each in owners)}
    records = sorted({*records, *(record for record, owner in owners.items() if owner in theirs)})
    records += _departed(mart, records, own)
    return Person(records, sorted(theirs | _carried(mart, records)), own)


def _carried(mart: Mart, records: Sequence[str]) -> set[str]:
    """The ids that these records carry."""
    issued, held = mart.table("issued"), _held(records)
    carried = issued.semi_join(held, issued.anchor == held.record).select("key")
    return set(map(str, mart.arrow(carried)["key"].to_pylist()))


def _held(records: Sequence[str]) -> ir.Table:
    return ibis.memtable(pa.table({"record": pa.array(records, tables.TEXT)}))


def _own(mart: Mart, records: Sequence[str]) -> list[tuple[str, str]]:
    """The identifiers of these records that no other has: type and value."""
    identifier, held = mart.table("identifier"), _held(records)
    theirs = identifier.semi_join(held, "record").select("type", "value").distinct()
    living = identifier.filter(identifier.withdrawn_at.isnull())
    others = living.anti_join(held, "record").select("type", "value").distinct()
    own = mart.arrow(theirs.anti_join(others, ["type", "value"])).to_pylist()
    return [(row["type"], row["value"]) for row in own]


def _departed(mart: Mart, records: Sequence[str], own: Sequence[tuple[str, str]]) -> list[str]:
    """Records that are nobody's member any more and still say something of this person: merged into theirs, through several
    merges, or deleted with one of their own addresses, numbers or cookies."""
    record = mart.table(tables.record_table(Kind.PERSON))
    is_theirs = record.email.isin([value for kind, value in own if kind == "email"] or [""])
    for value in sorted({value for kind, value in own if kind in _VERBATIM}):
        is_theirs |= record.native.lower().contains(orjson.dumps(value.lower()).decode())
    deleted = record.filter(record.deleted_at.notnull() & is_theirs)
    found = {str(key) for key in mart.arrow(deleted.select("key"))["key"].to_pylist()} - set(records)
    merged = record.filter(record.merged_into.notnull()).select("key", "merged_into")
    newest = {*records, *found}
    while newest:
        last = _held(sorted(newest))
        into = mart.arrow(merged.semi_join(last, merged.merged_into == last.record).select("key"))
        newest = set(map(str, into["key"].to_pylist())) - {*records, *found}
        found |= newest
    return sorted(found)


def look(setup: Setup, whom: Person, *, by: str) -> Receipt:
    """What a purge would remove; nothing is changed."""
    receipt = _receipt(setup, whom, by)
    with setup.mart() as mart:
        mart.begin()
        try:
            receipt.removed["mart"] = dict(erasure.erase_in(mart, whom.records, whom.subjects))
        finally:
            mart.rollback()
    receipt.removed["state"] = state_erasure.erase(setup.state, whom.records, whom.subjects, is_dry=True)
    for file in _plans(setup):
        receipt.removed[_named(setup, file)] = _rows(
            "changes", planfile.without(file, whom.records, whom.subjects, is_dry=True)
        )
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
    state_erasure.keep_receipt(setup.state, _kept(receipt, is_open=True))
    return receipt, _remove(setup, whom, receipt)


def resume(setup: Setup) -> list[tuple[Receipt, Path]]:
    """End the purges that were cut off, each under the receipt that it began; to be called with the lease held."""
    ended = []
    for row in state_erasure.open_receipts(setup.state):
        removed = {place: counts for place, counts in row.counts.items() if place != state_erasure.OPEN}
        receipt = Receipt(row.id, row.at, row.by, row.hashes, removed)
        hashes = state_erasure.suppressions(setup.state, purge=row.id)
        with setup.mart() as mart:
            whom = _kept_out(setup.state, mart, hashes)
        ended.append((receipt, _remove(setup, whom, receipt)))
    return ended


def _remove(setup: Setup, whom: Person, receipt: Receipt) -> Path:
    """Everything but the list that keeps out; the receipt is kept after each place. Returns the receipt's file."""

    def count(place: str, counts: Mapping[str, int]) -> None:
        before = receipt.removed.get(place, {})
        receipt.removed[place] = {name: max(before.get(name, 0), counts.get(name, 0)) for name in {**before, **counts}}
        state_erasure.keep_receipt(setup.state, _kept(receipt, is_open=True))

    count("state", state_erasure.erase(setup.state, whom.records, whom.subjects, is_dry=True))
    state_erasure.erase(setup.state, whom.records, whom.subjects)
    for file in _plans(setup):
        try:
            count(_named(setup, file), _rows("changes", planfile.without(file, whom.records, whom.subjects)))
        except OSError as problem:
            receipt.unreached.append(f"the plan {file}, which cannot be written anew: {problem.strerror}")
    _sweep(setup)
    for file in _copies(setup):
        count(file.name, _rows("rows", erasure.erase_file(file, whom.records, whom.subjects)))
    for folder in _backups(setup, receipt):
        count(str(folder), _rows("rows", _erase_backup(folder, whom)))
    with setup.mart() as mart:
        with mart.transaction():
            count("mart", erasure.erase_in(mart, whom.records, whom.subjects))
        files.rewrite(mart.connection, setup.mart_file)
    state_erasure.compact(setup.state)
    file = _write(setup, receipt)
    state_erasure.keep_receipt(setup.state, _kept(receipt))
    return file


def enforce(state: State, mart: Mart, file: Path) -> int:
    """Remove everybody on the suppression list from a pair, whose mart is to be closed after it. Returns how many records."""
    hashes = state_erasure.suppressions(state)
    if not hashes:
        return 0
    whom = _kept_out(state, mart, hashes)
    if not whom.records:
        return 0
    state_erasure.erase(state, whom.records, whom.subjects)
    with mart.transaction():
        erasure.erase_in(mart, whom.records, whom.subjects)
    files.rewrite(mart.connection, file)
    state_erasure.compact(state)
    return len(whom.records)


def forget(state: State, mart: Mart, keys: Sequence[str]) -> None:
    """Remove what is held of records that are kept out, and of those that were merged into them: they were taken in before anything
    told whose they are. Of some there is an activity alone: it came before its record."""
    known, alone = [*keys, *_departed(mart, list(keys), ())], _alone(mart, keys)
    state_erasure.erase(state, known, alone)
    with mart.transaction():
        erasure.erase_in(mart, known, alone)


def _alone(mart: Mart, keys: Sequence[str]) -> list[str]:
    """The persons who have no other records."""
    members, asked = mart.table("membership"), _held(keys)
    theirs = members.semi_join(asked, members.key == asked.record).select("owner_id").distinct()
    others = members.anti_join(asked, members.key == asked.record).select("owner_id").distinct()
    return [str(each) for each in mart.arrow(theirs.anti_join(others, "owner_id"))["owner_id"].to_pylist()]


def _kept_out(state: State, mart: Mart, hashes: Collection[str]) -> Person:
    """Those whose records are on the suppression list, as one: also a record of which an activity alone is there."""
    key = state_erasure.key_of(state)
    told = [mart.table(name).select(key="record") for name in ("activity", "identifier", "observed")]
    named = ibis.union(mart.table(tables.record_table(Kind.PERSON)).select("key"), *told, distinct=True)
    keys = [each for each in mart.arrow(named)["key"].to_pylist() if each]
    found = [each for each in keys if state_erasure.hashed(key, state_erasure.RECORD, each) in hashes]
    return Person(found, _alone(mart, found), ())


def _receipt(setup: Setup, whom: Person, by: str) -> Receipt:
    if not whom.records:
        raise ConnectorError("that person has no records here any more", hint="see the receipts of former purges")
    key, now = state_erasure.key_of(setup.state), clock.now()
    hashes = sorted(f"{kind}:{state_erasure.hashed(key, kind, value)}" for kind, value in whom.identifiers)
    return Receipt(clock.token(6), now, by, hashes)


def _kept(receipt: Receipt, *, is_open: bool = False) -> Purge:
    counts = receipt.removed | ({state_erasure.OPEN: {}} if is_open else {})
    return Purge(id=receipt.id, at=receipt.at, by=receipt.by, counts=counts, hashes=receipt.hashes)


def _rows(what: str, count: int) -> dict[str, int]:
    return {what: count} if count else {}


def _plans(setup: Setup) -> list[Path]:
    """The plans beside the configuration, and those that were saved elsewhere and are there still."""
    files = {file.resolve() for file in (*setup.directory.glob("*.json"), *state_erasure.plans(setup.state))}
    return [file for file in sorted(files) if planfile.is_plan(file)]


def _named(setup: Setup, file: Path) -> str:
    return file.name if file.parent == setup.directory.resolve() else str(file)


def _copies(setup: Setup) -> list[Path]:
    """Copies that migrations of the mart made."""
    mart = setup.mart_file
    named = [each for each in mart.parent.iterdir() if each.name.startswith(f"{mart.name}.before-")]
    return sorted(each for each in named if each.is_file() and each.suffix != ".wal" and each != setup.rehearsed_file)


def _sweep(setup: Setup) -> None:
    """Remove what killed commands left: a half restored pair, a plan's copy of the mart, what its engine had no memory for, a backup
    that was not finished."""
    shutil.rmtree(setup.restoring, ignore_errors=True)
    rehearsed = setup.rehearsed_file
    for left in (rehearsed, rehearsed.with_name(f"{rehearsed.name}.wal")):
        left.unlink(missing_ok=True)
    with setup.mart():  # nobody else has it open, and so nobody needs these
        for engine in (setup.mart_file, rehearsed):
            for left in engine.with_name(f"{engine.name}.tmp").glob("*"):
                left.unlink()
        for folder in [Path(each.path) for each in state_erasure.backups(setup.state)]:
            if (folder / UNFINISHED).exists():
                _remove_copies(folder)
                state_erasure.forget_backup(setup.state, folder)


def _remove_copies(folder: Path) -> None:
    """What a backup writes, and its folder unless there is something else in it."""
    for left in [*folder.glob("state.sqlite*"), *folder.glob("mart.duckdb*"), folder / UNFINISHED]:
        left.unlink()
    with suppress(OSError):
        folder.rmdir()


def _backups(setup: Setup, receipt: Receipt) -> list[Path]:
    there = []
    for backup in state_erasure.backups(setup.state):
        folder = Path(backup.path)
        if folder.is_dir():
            there.append(folder)
        else:
            receipt.unreached.append(f"the backup of {backup.made_at:%-d %b %Y} that was at {folder}: it is not there")
    return there


def _erase_backup(folder: Path, whom: Person) -> int:
    mart, count = folder / "mart.duckdb", 0
    if mart.exists():
        count = erasure.erase_file(mart, whom.records, whom.subjects)
    if (folder / "state.sqlite").exists():
        state = state_erasure.opened_copy(folder / "state.sqlite")
        count += sum(state_erasure.erase(state, whom.records, whom.subjects).values())
        state_erasure.compact(state)
        state.close()
    return count


def _write(setup: Setup, receipt: Receipt) -> Path:
    file = setup.directory / f"purge-{receipt.at:%Y%m%d-%H%M%S}-{receipt.id}.json"
    with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(orjson.dumps(receipt.as_json(), option=orjson.OPT_INDENT_2))
    return file
