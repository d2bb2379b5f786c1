"""Records that went into others: merged away, or a lead that was converted. What was written to them is their person's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ibis.expr.types as ir

from connector import tables
from connector.mart import Mart
from connector.model import Kind

MERGED, CONVERTED = "merged into", "converted to"


@dataclass(frozen=True, slots=True)
class Went:
    """What became of a record: how it went into which other one."""

    how: str
    into: str


def of(mart: Mart, keys: Sequence[str], merged: Mapping[str, str]) -> dict[str, Went]:
    """Where those of a person's records went that have no life of their own: the `merged` ones, and the converted leads of `keys`."""
    record, identifier = _records(mart), mart.table("identifier")
    leads = record.filter(record.key.isin(keys) & record.is_converted).select("key")
    named = identifier.filter(identifier.withdrawn_at.isnull() & (identifier.type == "crm_id"))
    rows = mart.arrow(named.semi_join(leads, named.record == leads.key).select("record", "value")).to_pylist()
    converted = {row["record"]: Went(CONVERTED, row["value"]) for row in rows}
    return converted | {key: Went(MERGED, into) for key, into in merged.items()}


def merged(mart: Mart, keys: Sequence[str]) -> dict[str, str]:
    """The records that were merged into these, directly or by way of others, with the survivor of each."""
    record, found = _records(mart), dict[str, str]()
    into: list[str] = list(keys)
    while into:
        rows = mart.arrow(_pairs(record.filter(record.merged_into.isin(into)))).to_pylist()
        new = {row["key"]: row["merged_into"] for row in rows if row["key"] not in found and row["key"] not in keys}
        found |= new
        into = list(new)
    return found


def survivors(mart: Mart, asked: str) -> dict[str, str]:
    """The records by this id that were merged away, each with the record that is left of it in the end."""
    record = _records(mart)
    named = record.filter(is_named(record, asked) & record.merged_into.notnull())
    return {row["key"]: _end(mart, row["merged_into"]) for row in mart.arrow(_pairs(named)).to_pylist()}


def _end(mart: Mart, key: str) -> str:
    record, seen = _records(mart), [key]
    while True:
        further = record.filter((record.key == seen[-1]) & record.merged_into.notnull())
        into = [row["merged_into"] for row in mart.arrow(_pairs(further)).to_pylist()]
        if not into or into[0] in seen:
            return seen[-1]
        seen += into


def is_named(record: ir.Table, asked: str) -> ir.BooleanValue:
    """Whether a record has this native id (of Salesforce in 15 characters, too) or key."""
    is_short = record.native_id.startswith(asked) & (len(asked) == 15)
    return (record.native_id == asked) | (record.key == asked) | is_short


def _records(mart: Mart) -> ir.Table:
    return mart.table(tables.record_table(Kind.PERSON))


def _pairs(records: ir.Table) -> ir.Table:
    return records.select("key", "merged_into").order_by("key")
