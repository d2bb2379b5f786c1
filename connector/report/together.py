"""What holds a person's records together, and whom they were not joined with, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import ibis
import ibis.expr.types as ir
import orjson
import pyarrow as pa

from connector import identity, tables
from connector.mart import Mart
from connector.matching.evidence import JUDGEMENT, Hop
from connector.matching.terms import WORDS
from connector.model import Kind
from connector.report import former
from connector.state import State
from connector.steps.resolve import judgements

_KIND = Kind.PERSON
#: Why records were not joined: type and value of what they share, and the reason.
_Reason: TypeAlias = tuple[str, str, str]


def together(
    state: State,
    mart: Mart,
    records: Sequence[Mapping[str, Any]],
    merged: Mapping[str, str],
    refused: pa.Table,
    section: identity.IdentitySection,
) -> list[dict[str, Any]]:
    """The hops from the first of these records to all others, and to what was `merged` into them: left, right, type, value, how
    (what the system itself did, "" if nothing), since (when both had the value for the first time)."""
    record, identifier = mart.table(tables.record_table(_KIND)), mart.table("identifier")
    keys = [each["key"] for each in records]
    converted = record.filter(record.key.isin(keys) & record.is_converted).select("key")
    leads = {str(key) for key in mart.arrow(converted)["key"].to_pylist()}
    bare = {each["key"] for each in records if each["object_type"] == tables.VISITOR}
    order = [*sorted(keys, key=lambda key: (key in bare, key in leads)), *merged]
    mine = mart.keep("explained", _keys(order))
    decisions = judgements(state)
    hops = identity.together(
        order,
        mart.arrow(identity.evidence(_KIND, mine, identifier)),
        mart.arrow(identity.facts(_KIND, mine, record)),
        refused,
        decisions,
        section,
    )
    seen = _seen(mart, identifier.semi_join(mine, "record"), decisions)
    return [
        {"left": hop.left, "right": hop.right, "type": hop.type, "value": hop.value, "how": _how(hop, merged, leads),
         "since": _since(hop, seen)}
        for hop in hops
    ]  # fmt: skip


def _keys(keys: Iterable[str]) -> pa.Table:
    return pa.table({"record": pa.array(keys, tables.TEXT)})


def _how(hop: Hop, merged: Mapping[str, str], leads: set[str]) -> str:
    """What the system did with these two records, seen from the left one."""
    if merged.get(hop.left) == hop.right:
        return former.MERGED
    if merged.get(hop.right) == hop.left:
        return "merged from"
    if hop.type == "crm_id" and hop.left in leads and hop.value == hop.right:
        return former.CONVERTED
    if hop.type == "crm_id" and hop.right in leads and hop.value == hop.left:
        return "converted from"
    return ""


def _seen(mart: Mart, identifier: ir.Table, decisions: pa.Table) -> dict[tuple[str, str, str], datetime]:
    """When each record had each value for the first time, or somebody decided about it."""
    rows = mart.arrow(identifier.select("record", "type", "value", "first_seen_at")).to_pylist()
    seen = {(row["left"], JUDGEMENT, row["by"]): row["decided_at"] for row in decisions.to_pylist()}
    return seen | {(row["record"], row["type"], row["value"]): row["first_seen_at"] for row in rows}


def _since(hop: Hop, seen: Mapping[tuple[str, str, str], datetime]) -> datetime | None:
    instants = [seen.get((end, hop.type, hop.value)) for end in (hop.left, hop.right)]
    return max((each for each in instants if each is not None), default=None)


# --------------------------------------------------------------------------------------------------------- not joined


def near(mart: Mart, keys: Sequence[str]) -> pa.Table:
    """Evidence near a person that was not used: rows of `refused` whose records include one of its own."""
    refused, members = mart.table("refused"), mart.table("membership")
    own = ibis.memtable(_keys(keys))
    components = members.semi_join(own, members.key == own.record).select("component").distinct()
    rows = mart.arrow(refused.semi_join(components, "component").order_by("key"))
    mine = set(keys)
    is_near = [not mine.isdisjoint(orjson.loads(records or "[]")) for records in rows["records"].to_pylist()]
    return rows.filter(pa.array(is_near, pa.bool_()))


def apart(mart: Mart, keys: Sequence[str], refused: pa.Table) -> list[dict[str, Any]]:
    """Whom these records were not joined with, each reason once: type, value, why, and the others (record, name, person)."""
    mine = set(keys)
    found: dict[_Reason, set[str]] = {}
    for row in refused.to_pylist():
        others = set(orjson.loads(row["records"])) - mine
        found.setdefault((row["type"], row["value"], _why(row)), set()).update(others)
    found = _without_echoes(found)
    named = _named(mart, set().union(*found.values()))
    return [
        {"type": type_, "value": value, "why": why, "others": [named[each] for each in named if each in others]}
        for (type_, value, why), others in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _without_echoes(found: Mapping[_Reason, set[str]]) -> dict[_Reason, set[str]]:
    """The reasons without those that an address's form without tag gives for whom the address itself is told."""
    told: dict[str, set[str]] = {}
    for (type_, value, _), others in found.items():
        if type_ == "email":
            told.setdefault(value, set()).update(others)
    kept = {}
    for reason, others in found.items():
        is_echo = reason[0] == "email_base" and reason[1] in told
        left = others - told[reason[1]] if is_echo else others
        if left or not is_echo:
            kept[reason] = left
    return kept


def _why(row: Mapping[str, Any]) -> str:
    """The reason without what it is about: that is told beside it."""
    words = WORDS.get(row["type"], (row["type"],))
    return str(row["reason"]).removeprefix(f"{words[0]} {row['value']} not used: ")


def _named(mart: Mart, keys: set[str]) -> dict[str, dict[str, Any]]:
    """Records with the name that each gives, and whose they are; in the order in which they were first seen."""
    record, members = mart.table(tables.record_table(_KIND)), mart.table("membership")
    others = record.filter(record.key.isin(sorted(keys))).left_join(members, "key")
    name = (ibis.coalesce(others.first_name, "") + " " + ibis.coalesce(others.last_name, "")).strip()
    shown = others.select("key", "ingestion", name=name, person=others.owner_id).order_by("ingestion")
    rows = mart.arrow(shown).to_pylist()
    return {row["key"]: {"record": row["key"], "name": row["name"], "person": row["person"]} for row in rows}
