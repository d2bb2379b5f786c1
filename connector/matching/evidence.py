"""Why records are one person, hop by hop; and what keeps two persons apart."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from connector.matching import guards
from connector.matching.ordered import Judgement
from connector.matching.star import CRM_ID, Star
from connector.matching.terms import Terms

JUDGEMENT = "judgement"


@dataclass(frozen=True, slots=True)
class Hop:
    """One step from a record to another: both have the value. `left` is nearer to the record that the tree begins with.

    A hop of type `judgement` is a human decision; its value is who decided. One of type `crm_id` leads to the record whose key
    is the value, or comes from there.
    """

    left: str
    right: str
    type: str
    value: str


@dataclass(frozen=True, slots=True, order=True)
class _Link:
    """Evidence between two records; of two links the stronger one sorts first."""

    is_disputed: bool
    is_value: bool
    is_weak: bool
    place: int
    holders: int
    type: str
    value: str
    ends: tuple[int, int]


def tree(
    order: Sequence[str], graph: Star, terms: Terms, refused: pa.Table, judgements: Sequence[Judgement]
) -> list[Hop]:
    """How the records of a person hang together: the strongest evidence that leads from one to the next, each record once.

    `order` are the person's records and those that were merged into them, told from the first on, and `graph` is their star.
    Strength is what the ordered merge goes by: people's decisions, then types by priority, then the rarer value. A value that was
    refused can still have joined some of its holders, when only others of them were kept out: it is told where nothing else
    connects two records. Which values are told does not depend on the record that comes first.
    """
    places = {key: place for place, key in enumerate(order)}
    around: dict[int, list[_Link]] = defaultdict(list)
    for link in [*_values(places, graph, terms, _disputed(refused)), *_decisions(places, judgements)]:
        for end in link.ends:
            around[end].append(link)
    reached, hops = {0}, []
    waiting = list(around[0])
    heapq.heapify(waiting)
    while waiting:
        link = heapq.heappop(waiting)
        fresh = [end for end in link.ends if end not in reached]
        if not fresh:
            continue
        left = sum(link.ends) - fresh[0]
        hops.append(Hop(order[left], order[fresh[0]], link.type, link.value))
        reached.add(fresh[0])
        for each in around[fresh[0]]:
            heapq.heappush(waiting, each)
    return hops


def _values(
    places: dict[str, int], graph: Star, terms: Terms, disputed: dict[tuple[str, str], list[set[str]]]
) -> Iterator[_Link]:
    """A link from one holder of each value to every other: from the record that the value names, or the first in order."""
    records, values = graph.records.to_pylist(), graph.values.to_pylist()
    is_weak, priority = guards.weak(graph, terms), {type_: place for place, type_ in enumerate(terms.priority)}
    holders: dict[int, list[str]] = defaultdict(list)
    for record, number in zip(graph.edge_record.tolist(), graph.edge_value.tolist(), strict=True):
        holders[number].append(records[record])
    for number, keys in holders.items():
        type_, value = graph.types[graph.type[number]], values[number]
        first = value if type_ == CRM_ID and value in keys else min(keys, key=lambda key: places[key])
        for other in keys:
            if other != first:
                yield _Link(
                    is_disputed=any({first, other} <= among for among in disputed.get((type_, value), ())),
                    is_value=True, is_weak=bool(is_weak[number]), place=priority.get(type_, len(priority)),
                    holders=int(graph.holders[number]), type=type_, value=value, ends=_ends(places, first, other),
                )  # fmt: skip


def _decisions(places: dict[str, int], judgements: Sequence[Judgement]) -> Iterator[_Link]:
    for each in judgements:
        if each.is_link and each.left in places and each.right in places and each.left != each.right:
            ends = _ends(places, each.left, each.right)
            yield _Link(
                is_disputed=False, is_value=False, is_weak=False, place=0, holders=2, type=JUDGEMENT, value=each.by, ends=ends,
            )  # fmt: skip


def _ends(places: dict[str, int], one: str, other: str) -> tuple[int, int]:
    return (min(places[one], places[other]), max(places[one], places[other]))


def _disputed(refused: pa.Table) -> dict[tuple[str, str], list[set[str]]]:
    """For each refused value the records that it was to join."""
    found: dict[tuple[str, str], list[set[str]]] = defaultdict(list)
    for row in refused.to_pylist():
        found[row["type"], row["value"]].append(set(json.loads(row["records"])))
    return found


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
