"""What a person is known by: the identifiers of their records, and which of these join nobody, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ibis
import pyarrow as pa

from connector import identifiers, identity, tables
from connector.mart import Mart
from connector.model import Kind

_KIND = Kind.PERSON
#: Why a person's identifier may be no evidence though nothing speaks against its value: an account has it as its own.
_COMPANYS = "not used: a company's own"


def known_by(mart: Mart, keys: Sequence[str], section: identity.IdentitySection) -> list[dict[str, Any]]:
    """Each identifier of these records once: type, value, which of them have it (or had it), since when (first_seen_at), when the
    last of them lost it (withdrawn_at; None while one has it), and why it joins nobody (unused; "" where it may)."""
    identifier = mart.table("identifier")
    mine = ibis.memtable(pa.table({"record": pa.array(keys, tables.TEXT)}))
    evidence = mart.arrow(identity.evidence(_KIND, mine, identifier))
    unused = dict.fromkeys(_named(evidence), "") | identity.unused(evidence, section)
    held = identifier.semi_join(mine, "record").order_by("first_seen_at", "record")
    rows = mart.arrow(held.select("record", "type", "value", "first_seen_at", "withdrawn_at"))
    holders: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for name, row in zip(_named(rows), rows.to_pylist(), strict=True):
        holders.setdefault(name, []).append(row)
    told = [_told(name, each, unused.get(name, _COMPANYS)) for name, each in holders.items()]
    return sorted(told, key=lambda each: (identifiers.TYPES.index(each["type"]), each["withdrawn_at"] is not None))


def _named(rows: pa.Table) -> list[tuple[str, str]]:
    return [(row["type"], row["value"]) for row in rows.select(["type", "value"]).to_pylist()]


def _told(name: tuple[str, str], rows: Sequence[Mapping[str, Any]], unused: str) -> dict[str, Any]:
    """One identifier, from the rows of the records that have it, or had it until the next resolve."""
    living = [row for row in rows if row["withdrawn_at"] is None]
    return {
        "type": name[0],
        "value": name[1],
        "records": [row["record"] for row in living or rows],
        "first_seen_at": min(row["first_seen_at"] for row in rows),
        "withdrawn_at": None if living else max(row["withdrawn_at"] for row in rows),
        "unused": unused if living else "",
    }
