"""From a star to persons: the fast path for what cannot be refused, the ordered merge for the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connector import tables
from connector.matching import guards
from connector.matching.components import components
from connector.matching.guards import Scopes, Sharing
from connector.matching.ordered import Evidence, Judgement, OrderedMerge, Refusal
from connector.matching.star import Star, renumbered, runs
from connector.matching.terms import Terms

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns

if TYPE_CHECKING:
    from connector.matching.components import Pairs

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Parts:
    """For each record the number of its component (over all evidence, used or not) and of its person; and the refusals."""

    component: Ints
    person: Ints
    refusals: tuple[Refusal, ...]


def of(graph: Star, terms: Terms, judgements: Sequence[Judgement], *, is_ordered_only: bool = False) -> Parts:
    """The partition of the star's records. `judgements` are the newest of each pair, newest first.

    `is_ordered_only` sends every record through the ordered merge: the same answer, slowly.
    """
    links, judged = _decided(graph, judgements)
    component = components(graph, links)
    scoped = guards.scopes(graph, terms)
    shared = guards.sharing(graph, scoped, terms)
    linking = graph.without(shared.is_shared)
    person = components(linking, links) if shared.is_shared.any() else component
    is_weak = guards.weak(graph, terms)
    is_hard = guards.hard(graph, linking, person, scoped, is_weak, judged=judged, links=links)
    is_slow = is_hard[person] | is_ordered_only
    refusals = _shared_rows(graph, shared, terms)
    if is_slow.any():
        merge = _merge(graph, is_slow, scoped, terms)
        first = merge.run(judgements, _evidence(linking, is_slow, is_weak))
        person = _with_ordered(graph, person, is_slow, first)
        refusals += merge.refusals
    return Parts(component, person, tuple(refusals))


def _decided(graph: Star, judgements: Sequence[Judgement]) -> tuple[Pairs, Ints]:
    """The pairs that people linked, and all records that they decided about, as places among the records."""
    pairs = [each.pair for each in judgements]
    ends = [
        pc.index_in(pa.array([pair[side] for pair in pairs], pa.string()), value_set=graph.records) for side in (0, 1)
    ]
    is_here = np.asarray(pc.and_(pc.is_valid(ends[0]), pc.is_valid(ends[1])).to_numpy(zero_copy_only=False), dtype=bool)
    left, right = (np.asarray(pc.fill_null(each, 0).to_numpy(), dtype=np.int64) for each in ends)
    is_link = np.array([each.is_link for each in judgements], dtype=bool) & is_here
    return (left[is_link], right[is_link]), np.concatenate([left[is_here], right[is_here]])


def _merge(graph: Star, is_slow: Bools, scoped: Scopes, terms: Terms) -> OrderedMerge:
    """The ordered merge of the slow records, knowing their names and what they hold."""
    slow = np.flatnonzero(is_slow)
    keys = dict(zip(slow.tolist(), graph.records.take(pa.array(slow)).to_pylist(), strict=True))
    named = slow[graph.name[slow] >= 0]
    texts = graph.names.take(pa.array(graph.name[named])).to_pylist()
    names = {keys[record]: text for record, text in zip(named.tolist(), texts, strict=True)}
    edges = is_slow[graph.edge_record] & (scoped.of_value[graph.edge_value] >= 0) & graph.is_live[graph.edge_record]
    record, value = graph.edge_record[edges], graph.edge_value[edges]
    held: dict[str, dict[int, set[str]]] = {}
    values = graph.values.take(pa.array(value)).to_pylist()
    for place, scope, text in zip(record.tolist(), scoped.of_value[value].tolist(), values, strict=True):
        held.setdefault(keys[place], {}).setdefault(scope, set()).add(text)
    return OrderedMerge(keys.values(), names, held, scoped.types, terms)


def _evidence(linking: Star, is_slow: Bools, is_weak: Bools) -> list[Evidence]:
    edges = is_slow[linking.edge_record] & (linking.present()[linking.edge_value] > 1)
    keys = linking.records.take(pa.array(linking.edge_record[edges])).to_pylist()
    value, starts, ends = runs(linking.edge_value[edges])
    texts = linking.values.take(pa.array(value)).to_pylist()
    return [
        Evidence(linking.types[linking.type[each]], text, bool(is_weak[each]), tuple(sorted(keys[start:end])))
        for each, text, start, end in zip(value, texts, starts, ends, strict=True)
    ]


def _with_ordered(graph: Star, person: Ints, is_slow: Bools, first: Mapping[str, str]) -> Ints:
    """The persons' numbers, those of the slow records replaced; `first` maps each of them to a key of its person."""
    slow = np.flatnonzero(is_slow)
    keys = graph.records.take(pa.array(slow)).to_pylist()
    numbers = pa.array([first[each] for each in keys], pa.string()).dictionary_encode().indices
    labels = person.copy()
    labels[slow] = np.asarray(numbers.to_numpy(), dtype=np.int64) + (int(person.max()) + 1)
    return renumbered(labels, int(labels.max()) + 1)


def _shared_rows(graph: Star, shared: Sharing, terms: Terms) -> list[Refusal]:
    """A row for each value that is kept as a relationship only."""
    edges = shared.is_shared[graph.edge_value]
    keys = graph.records.take(pa.array(graph.edge_record[edges])).to_pylist()
    value, starts, ends = runs(graph.edge_value[edges])
    texts = graph.values.take(pa.array(value)).to_pylist()
    rows = []
    for each, text, start, end in zip(value, texts, starts, ends, strict=True):
        type_ = graph.types[graph.type[each]]
        if shared.names[each] > terms.shared_names[type_]:
            why = f"{shared.names[each]} names share it (limit {terms.shared_names[type_]})"
        else:
            why = f"its holders have {shared.exclusive[each]} ids of a kind of which one {terms.kind} has only one"
        rows.append(Refusal(type_, text, tuple(sorted(keys[start:end])), terms.not_used(type_, text, why)))
    return rows


def refused_rows(kind: str, parts: Parts, records: Any, label: Any) -> pa.Table:
    """The refusals as rows of tables.REFUSED; `label` is the component of each of the `records`."""
    heads = pa.array([each.records[0] for each in parts.refusals], pa.string())
    where = label.take(pc.index_in(heads, value_set=records)).to_pylist()
    rows = [
        {
            "key": hashlib.blake2b(
                json.dumps([kind, each.type, each.value, each.records]).encode(), digest_size=12
            ).hexdigest(),
            "kind": kind,
            "component": component,
            "type": each.type,
            "value": each.value,
            "records": json.dumps(each.records),
            "reason": each.reason,
        }
        for each, component in zip(parts.refusals, where, strict=True)
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["key"])), schema=tables.REFUSED)
