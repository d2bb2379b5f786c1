"""A small store around identity, as the pipeline has one, and the operations that happen to it."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import ibis
import pyarrow as pa

from connector import identity, tables

START = datetime(2026, 1, 1, tzinfo=UTC)
SECTION = identity.IdentitySection(hard_holders=3, limits={"email": 2}, shared_names={"email": 2, "phone": 2})
FACTS = pa.schema(
    {
        "record": pa.string(),
        "ingestion": pa.int64(),
        "is_live": pa.bool_(),
        "name": pa.string(),
        "merged_into": pa.string(),
    }
)
JUDGEMENTS = pa.schema(
    {"left": pa.string(), "right": pa.string(), "verdict": pa.string(), "decided_at": tables.INSTANT, "by": pa.string()}
)
EVIDENCE = pa.schema({"record": pa.string(), "type": pa.string(), "value": pa.string(), "holders": pa.int64()})
ENGINE = ibis.duckdb.connect()


def _stored(**rows: pa.Table) -> None:
    for name, table in rows.items():
        ENGINE.con.register("arriving", table)
        ENGINE.con.execute(f"create or replace table {name} as select * from arriving")


def _keys(name: str, keys: Iterable[str]) -> pa.Table:
    return pa.table({name: pa.array(sorted(keys), pa.string())})


_stored(
    dirty=_keys("key", ()), touched=_keys("record", ()),
    identifier=tables.IDENTIFIER.empty_table(), membership=tables.MEMBERSHIP.empty_table(),
)  # fmt: skip


@cache
def _compiled(touched: Callable[..., Any]) -> tuple[str, str]:
    """Whom a change touches, and what speaks for it, on the stored tables: compiled once, asked for every example.

    touched: `identity.touched`, or what a planted bug makes of it.
    """
    dirty, identifier, membership, of = (
        ENGINE.table(each) for each in ("dirty", "identifier", "membership", "touched")
    )
    return (
        str(ENGINE.compile(touched("person", dirty, identifier, membership, SECTION))),
        str(ENGINE.compile(identity.evidence("person", of, identifier))),
    )


def _asked(statement: str) -> pa.Table:
    return ENGINE.con.sql(statement).to_arrow_table()


@dataclass
class Store:
    """Rows by key, and the operations of the outside world on them."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    identifiers: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    membership: dict[str, dict[str, Any]] = field(default_factory=dict)
    issued: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    judgements: list[dict[str, Any]] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    was_touched: set[str] = field(default_factory=set)
    former: dict[str, str] = field(default_factory=dict)  # record -> whose it was before the last resolve

    def do(self, operation: tuple[Any, ...]) -> None:
        """One operation: put, delete, merge, judge or resolve."""
        getattr(self, operation[0])(*operation[1:])

    def put(self, key: str, name: str | None, values: tuple[tuple[str, str], ...]) -> None:
        """A record is seen with these identifiers: new, changed, or back from deletion."""
        number = self.records.get(key, {}).get("ingestion", self.numbers.get(key, len(self.records) + 1))
        self.records[key] = {"record": key, "ingestion": number, "is_live": True, "name": name, "merged_into": None}
        self._hold(key, set(values))

    def _hold(self, key: str, values: set[tuple[str, str]]) -> None:
        for (record, type_, value), row in self.identifiers.items():
            if record == key and (type_, value) not in values:
                row["withdrawn_at"] = START
        for type_, value in values:
            self.identifiers.setdefault((key, type_, value), {"component": None})["withdrawn_at"] = None
        self.dirty.add(key)

    def delete(self, key: str) -> None:
        """A record is deleted; its identifiers are withdrawn."""
        if key in self.records:
            self.records[key] |= {"is_live": False, "merged_into": None}
            self._hold(key, set())

    def merge(self, loser: str, winner: str) -> None:
        """A record is merged into another by its system: it keeps only the link to its survivor."""
        if loser in self.records and winner in self.records and loser != winner:
            self.records[loser] |= {"is_live": False, "merged_into": winner}
            self._hold(loser, {("crm_id", winner)})

    def judge(self, left: str, right: str, verdict: str) -> None:
        """Somebody decides about two records."""
        if left in self.records and right in self.records and left != right:
            at = START + timedelta(minutes=len(self.judgements))
            self.judgements.append(
                {"left": left, "right": right, "verdict": verdict, "decided_at": at, "by": "somebody"}
            )
            self.dirty |= {left, right}

    def resolve(self) -> None:
        """Resolve what is dirty and write the differences, as the pipeline does."""
        whom, evidence = _compiled(identity.touched)
        _stored(dirty=_keys("key", self.dirty), identifier=self.identifier_rows(), membership=self.rows("membership"))
        touched = set(_asked(whom)["record"].to_pylist())
        _stored(touched=_keys("record", touched))
        self._resolve(touched, _asked(evidence))

    def _resolve(self, touched: set[str], evidence: pa.Table) -> None:
        self.was_touched = touched
        self.former = {key: row["owner_id"] for key, row in self.membership.items()}
        self.dirty.clear()
        mine = self.was_touched
        facts = pa.Table.from_pylist([row for key, row in self.records.items() if key in mine], schema=FACTS)
        former = self.rows("membership", lambda row: row["key"] in mine)
        issued = self.rows("issued", lambda row: row["anchor"] in mine or row["minted_by"] in mine)
        judgements = pa.Table.from_pylist(self.judgements, schema=JUDGEMENTS)
        result = identity.resolve("person", evidence, facts, former, issued, judgements, SECTION, START)
        self._write(result)

    def _write(self, result: identity.Resolution) -> None:
        for key in result.left.to_pylist():
            del self.membership[key]
        self.membership |= {row["key"]: row for row in result.changed.to_pylist()}
        self.issued |= {row["key"]: row for row in result.issued.to_pylist()}
        gone = set(result.touched_components.to_pylist())
        self.refused = {key: row for key, row in self.refused.items() if row["component"] not in gone}
        self.refused |= {row["key"]: row for row in result.refused.to_pylist()}
        component = dict(zip(*result.components.to_pydict().values(), strict=True))
        for at, row in list(self.identifiers.items()):
            if at[0] in self.was_touched and row["withdrawn_at"] is not None:
                del self.identifiers[at]
            elif at[0] in self.was_touched:
                row["component"] = component.get(at[0])

    def rows(self, name: str, where: Any = lambda _: True) -> pa.Table:
        """A table of the store."""
        return pa.Table.from_pylist(
            [row for row in getattr(self, name).values() if where(row)], schema=tables.TABLES[name]
        )

    def identifier_rows(self) -> pa.Table:
        """The table of identifiers."""
        rows = [
            {"key": "|".join(at), "record": at[0], "record_kind": "person", "type": at[1], "value": at[2], **row}
            for at, row in self.identifiers.items()
        ]
        return pa.Table.from_pylist(rows, schema=tables.IDENTIFIER)

    # ----------------------------------------------------------------------------------------------------- looking at it

    def anew(self) -> Store:
        """A copy in which everything is resolved again."""
        other = copy.deepcopy(self)
        other._resolve(set(other.records), self.evidence(set(self.records)))
        return other

    def evidence(self, records: set[str]) -> pa.Table:
        """What speaks for these records, told as `identity.evidence` tells it."""
        rows = [
            {"record": at[0], "type": at[1], "value": at[2], "holders": self.holders(*at[1:])}
            for at, row in self.identifiers.items()
            if row["withdrawn_at"] is None and at[0] in records
        ]
        return pa.Table.from_pylist(rows, schema=EVIDENCE)

    def persons(self) -> dict[str, frozenset[str]]:
        """The members of each person id."""
        members: dict[str, set[str]] = defaultdict(set)
        for key, row in self.membership.items():
            members[row["owner_id"]].add(key)
        return {owner: frozenset(keys) for owner, keys in members.items()}

    def partition(self) -> set[frozenset[str]]:
        """The sets of records that are one person."""
        return set(self.persons().values())

    def live(self) -> dict[str, dict[str, Any]]:
        """The records that are not deleted."""
        return {key: row for key, row in self.records.items() if row["is_live"]}

    def values(self, record: str, type_: str) -> set[str]:
        """The values of one type that a record has, those of too many holders left out."""
        return {
            value
            for (key, its, value), row in self.identifiers.items()
            if key == record and its == type_ and row["withdrawn_at"] is None and self.holders(its, value) <= 3
        }

    def holders(self, type_: str, value: str) -> int:
        """How many records have a value."""
        return sum(at[1:] == (type_, value) and row["withdrawn_at"] is None for at, row in self.identifiers.items())

    def newest_judgements(self) -> dict[frozenset[str], str]:
        """The newest verdict of each pair of records."""
        return {frozenset((row["left"], row["right"])): row["verdict"] for row in self.judgements}

    def conflicts(self) -> set[frozenset[str]]:
        """The pairs whose decision could not be followed."""
        rows = self.refused.values()
        return {frozenset(json.loads(row["records"])) for row in rows if row["type"] == "judgement"}
