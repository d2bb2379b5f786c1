"""The star: records on one side, identifier values on the other, an edge where a record has a value.

Never pairs of records: a value with n holders is n edges here and n² / 2 pairs there. Everything is integers in numpy
arrays; strings are touched once, when they are coded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connector import identifiers
from connector.matching import names
from connector.matching.terms import Terms

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]
    Column = Any

CRM_ID = "crm_id"
_BEFORE = -1  # below every number of a record, value or component


@dataclass(frozen=True, slots=True)
class Star:
    """Records, values and edges, coded.

    `records` are the keys, with `ingestion`, `is_live` and `name` (an index into `names`, -1 for none) beside them.
    `values` are the identifier values, with their `type` (an index into `types`) and `holders` (how many records of the
    whole store have the value). An edge is `edge_record`, `edge_value`; edges are unique, sorted by value and record.
    """

    records: Column
    ingestion: Ints
    is_live: Bools
    name: Ints
    names: Column
    types: tuple[str, ...]
    values: Column
    type: Ints
    holders: Ints
    edge_record: Ints
    edge_value: Ints

    def without(self, is_refused: Bools) -> Star:
        """The same star without the edges of the values that are marked."""
        kept = ~is_refused[self.edge_value]
        return replace(self, edge_record=self.edge_record[kept], edge_value=self.edge_value[kept])

    def is_type(self, chosen: frozenset[str]) -> Bools:
        """Which values are of one of these types."""
        wanted = np.array([each in chosen for each in self.types] or [False])
        marks: Bools = wanted[self.type]
        return marks

    def present(self) -> Ints:
        """How many records of this star have each value."""
        counts: Ints = np.bincount(self.edge_value, minlength=len(self.values)).astype(np.int64)
        return counts


def build(evidence: pa.Table, records: pa.Table, terms: Terms) -> Star:
    """The star of these records; `evidence` as `identity.evidence` gives it, `records` as `identity.facts`.

    The first two guards are here: values that are nobody's, and values with too many holders, are left out. A record
    that is not live keeps only its links to records of systems, and leads through them to its survivor where it was merged; its
    name speaks for nobody any more.
    """
    keys = _array(records["record"])
    is_live = np.asarray(_array(records["is_live"]).to_numpy(zero_copy_only=False), dtype=bool)
    if CRM_ID in terms.limits:
        evidence = pa.concat_tables([evidence, _own_keys(keys.filter(pa.array(is_live)))])
    types = tuple(sorted(pc.unique(evidence["type"]).to_pylist()))
    coded = [_of_one_type(each, evidence, keys, is_live, terms) for each in types]
    offset = np.cumsum([0, *(len(each.values) for each in coded)])
    named = _names(terms.kind, records)
    unsorted = Star(
        records=keys,
        ingestion=_integers(records["ingestion"]),
        is_live=is_live,
        name=np.where(is_live, _integers(pc.fill_null(named.indices, -1)), -1),
        names=named.dictionary,
        types=types,
        values=pa.concat_arrays([text([]), *(each.values for each in coded)]),
        type=_joined([np.full(len(each.values), place) for place, each in enumerate(coded)]),
        holders=_joined([each.holders for each in coded]),
        edge_record=_joined([each.edge_record for each in coded]),
        edge_value=_joined([each.edge_value + start for each, start in zip(coded, offset, strict=False)]),
    )
    return _with_edges(unsorted, unsorted.edge_record, unsorted.edge_value)


def _own_keys(keys: Column) -> pa.Table:
    """Every record as the holder of its own key: counted where ids of CRM records have a limit."""
    return pa.table(
        {"record": keys, "type": pa.repeat(CRM_ID, len(keys)),
         "value": keys, "holders": pa.repeat(pa.scalar(1, pa.int64()), len(keys))}
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Coded:
    values: Column
    holders: Ints
    edge_record: Ints
    edge_value: Ints


def _of_one_type(kind: str, evidence: pa.Table, keys: Column, is_live: Bools, terms: Terms) -> _Coded:
    rows = evidence.filter(pc.equal(evidence["type"], kind))
    coded = _array(rows["value"].dictionary_encode())
    values = coded.dictionary
    edge_value = np.asarray(coded.indices.to_numpy(), dtype=np.int64)
    edge_record = _integers(pc.fill_null(pc.index_in(rows["record"], value_set=keys), _BEFORE))
    holders = np.zeros(len(values), dtype=np.int64)
    np.maximum.at(holders, edge_value, _integers(rows["holders"]))
    if kind == CRM_ID:  # a record has its own key
        own = pc.index_in(values, value_set=keys)
        place = np.flatnonzero(np.asarray(pc.is_valid(own).to_numpy(zero_copy_only=False)))
        edge_record = np.concatenate([edge_record, _integers(own.drop_null())])
        edge_value = np.concatenate([edge_value, place])
        kept = edge_record != _BEFORE
    else:
        kept = np.append(is_live, False)[edge_record]  # the last stands for a record that is not known
    kept &= ~(_is_nobodys(kind, values, holders, terms) | (holders > terms.hard_holders))[edge_value]
    return _Coded(values, holders, edge_record[kept], edge_value[kept])


def unused(evidence: pa.Table, terms: Terms) -> dict[tuple[str, str], str]:
    """The values (type, value) that link nobody, whoever has them, each with the reason: the first two guards.

    A value that one record has is judged as if another had it, too.
    """
    found: dict[tuple[str, str], str] = {}
    for kind in pc.unique(evidence["type"]).to_pylist():
        rows = evidence.filter(pc.equal(evidence["type"], kind))
        values, holders = _array(rows["value"]), _integers(rows["holders"])
        nobodys = _is_nobodys(kind, values, np.maximum(holders, 2), terms)
        for value, count, is_nobodys in zip(values.to_pylist(), holders.tolist(), nobodys.tolist(), strict=True):
            if is_nobodys:
                found[kind, value] = "nobody's: on the list of what is not used"
            elif count > terms.hard_holders:
                found[kind, value] = f"not used: {count:,} records have it (limit {terms.hard_holders})"
    return found


def _is_nobodys(kind: str, values: Column, holders: Ints, terms: Terms) -> Bools:
    """Which values are blocked, by the shipped lists (asked only where a value could link) or by the configuration."""
    exact = {value for scope, value in terms.blocked if scope in ("", kind)}
    marks = pc.is_in(values, value_set=text(sorted(exact)))
    for domain in sorted(each for each in exact if each.startswith("@")):
        marks = pc.or_(marks, pc.ends_with(values, domain))
    refused: Bools = np.asarray(marks.to_numpy(zero_copy_only=False), dtype=bool)
    linking = np.flatnonzero(holders > 1)
    nobodys = identifiers.blocked(kind, values.take(linking))
    refused[linking] |= np.asarray(nobodys.to_numpy(zero_copy_only=False), dtype=bool)
    return refused


def _names(kind: str, records: pa.Table) -> Any:
    """The known names of the records, folded and coded; an account's without its legal form."""
    coded = _array(records["name"].dictionary_encode())
    plain = coded.dictionary
    folded = names.fold(identifiers.normalise("account_name", plain)[0] if kind == "account" else plain)
    again = folded.dictionary_encode()
    return pa.DictionaryArray.from_arrays(again.indices.take(coded.indices), again.dictionary)


def _with_edges(star: Star, edge_record: Ints, edge_value: Ints) -> Star:
    width = max(len(star.records), 1)
    code = distinct(edge_value * width + edge_record)
    return replace(star, edge_record=code % width, edge_value=code // width)


def runs(numbers: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct values of a sorted array, and where each begins and ends."""
    starts = np.flatnonzero(np.diff(numbers, prepend=_BEFORE))
    ends = np.append(starts[1:], len(numbers)) if len(starts) else starts
    return numbers[starts], starts, ends


def distinct(numbers: Ints) -> Ints:
    """The distinct numbers, sorted; by sorting, which here is faster than numpy's own way."""
    ordered = np.sort(numbers)
    found: Ints = ordered[np.flatnonzero(np.diff(ordered, prepend=_BEFORE))]
    return found


def renumbered(labels: Ints, count: int) -> Ints:
    """Labels below `count` made to go from 0 without a gap, in the same order."""
    is_used = np.zeros(count, dtype=bool)
    is_used[labels] = True
    numbers: Ints = (np.cumsum(is_used) - 1)[labels]
    return numbers


def text(values: list[str]) -> Column:
    """An Arrow array of strings, also where there are none."""
    return pa.array(values, pa.string())


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _integers(column: Any) -> Ints:
    numbers: Ints = np.asarray(_array(column).to_numpy(zero_copy_only=False), dtype=np.int64)
    return numbers


def _joined(parts: list[Any]) -> Ints:
    joined: Ints = np.concatenate([np.zeros(0, dtype=np.int64), *(np.asarray(each, dtype=np.int64) for each in parts)])
    return joined
