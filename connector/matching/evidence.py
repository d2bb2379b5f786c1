"""Why two records are one person, hop by hop; and what keeps two persons apart."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from connector.matching.star import CRM_ID

JUDGEMENT = "judgement"


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: both records have the value. `first_seen_at` is when both had it for the first time.

    A hop of type `judgement` is a human decision; its value is who decided.
    """

    left: str
    right: str
    type: str
    value: str
    first_seen_at: datetime | None


def path(
    left: str, right: str, identifiers: pa.Table, refused: pa.Table | None = None, judgements: pa.Table | None = None
) -> list[Hop]:
    """The shortest chain of evidence between two records of a person; empty when there is none, or they are one record.

    `identifiers` are the rows (tables.IDENTIFIER) of the person's records, and of records merged into them; `refused`
    those of their component. Of chains of equal length the one whose records and values sort first is told.

    A value that was refused can still have joined some of its holders, when only others of them were kept out: it is told
    where nothing else connects the two.
    """
    shared = {(row["type"], row["value"]) for row in _rows(refused) if _is_shared(row, left, right)}
    hops = [*_hops(identifiers), *_decisions(judgements)]
    undisputed = [hop for hop in hops if (hop.type, hop.value) not in shared]
    return _shortest(left, right, undisputed) or _shortest(left, right, hops)


def _shortest(left: str, right: str, hops: Iterable[Hop]) -> list[Hop]:
    around: dict[str, list[Hop]] = defaultdict(list)
    for hop in hops:
        around[hop.left].append(hop)
        around[hop.right].append(Hop(hop.right, hop.left, hop.type, hop.value, hop.first_seen_at))
    came: dict[str, Hop | None] = {left: None}
    queue = deque([left])
    while queue and right not in came:
        here = queue.popleft()
        for hop in sorted(around[here], key=lambda each: (each.right, each.type, each.value)):
            if hop.right not in came:
                came[hop.right] = hop
                queue.append(hop.right)
    chain: list[Hop] = []
    step = came.get(right)
    while step is not None:
        chain.append(step)
        step = came[step.left]
    return chain[::-1]


def _is_shared(row: dict[str, Any], left: str, right: str) -> bool:
    return row["type"] != JUDGEMENT and {left, right} <= set(json.loads(row["records"]))


def _hops(identifiers: pa.Table) -> Iterable[Hop]:
    """A hop for every pair of a value's holders: one person's records are few."""
    holders: dict[tuple[str, str], dict[str, datetime | None]] = defaultdict(dict)
    for row in identifiers.to_pylist():
        if row.get("withdrawn_at") is None:
            holders[row["type"], row["value"]][row["record"]] = row.get("first_seen_at")
            if row["type"] == CRM_ID:  # a record has its own key
                holders[row["type"], row["value"]].setdefault(row["value"], row.get("first_seen_at"))
    for (type_, value), seen in holders.items():
        records = sorted(seen)
        for place, one in enumerate(records):
            for other in records[place + 1 :]:
                instants = [each for each in (seen[one], seen[other]) if each is not None]
                yield Hop(one, other, type_, value, max(instants, default=None))


def _decisions(judgements: pa.Table | None) -> Iterable[Hop]:
    for row in _rows(judgements):
        if row["verdict"] == "link":
            yield Hop(row["left"], row["right"], JUDGEMENT, row["by"], row["decided_at"])


def _rows(table: pa.Table | None) -> list[dict[str, Any]]:
    return [] if table is None else table.to_pylist()


def why_apart(left: Collection[str], right: Collection[str], identifiers: pa.Table, refused: pa.Table) -> list[str]:
    """Sentences on what keeps two persons' records apart: refused evidence, values too many hold, or nothing shared.

    `left` and `right` are the record keys of each person, `identifiers` the rows of both, `refused` those of their
    components.
    """
    told = [
        row["reason"]
        for row in refused.to_pylist()
        if not set(left).isdisjoint(names := json.loads(row["records"])) and not set(right).isdisjoint(names)
    ]
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in identifiers.to_pylist():
        if row.get("withdrawn_at") is None:
            values[row["type"], row["value"]].add(row["record"])
    explained = {(row["type"], row["value"]) for row in refused.to_pylist()}
    for (type_, value), holders in sorted(values.items()):
        if (type_, value) not in explained and not holders.isdisjoint(left) and not holders.isdisjoint(right):
            told.append(
                f"{type_} {value} not used: too many records have it, it is a company's, or it is on the list of values that are nobody's"
            )
    return sorted(told) or ["they share no identifier"]
