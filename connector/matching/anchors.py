"""Stable ids: which record carries which id, and which id a person has.

Every record has an ingestion number from when it was first seen. A person is called by the oldest id among those that
its members carry or could mint: an id is minted by the member with the lowest number, its *anchor*. So a merge keeps the
older id, a split gives the other side its former id back, and a new arrival, whose number is the highest, renames nobody. An
id whose last record is deleted is retired until that record comes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from connector import tables

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]
    Column = Any

PREFIXES: Mapping[str, str] = {"person": "P", "account": "A"}
_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", dtype=np.uint8)  # Crockford's base32: no I, L, O, U
_DIGEST_BYTES = 10
_LETTERS = 16
_NONE = -1


@dataclass(frozen=True, slots=True)
class Members:
    """The records of the touched components: keys, ingestion numbers, whether they live, whom they were merged into.

    `person` is a number for each record, equal for those of one person; without meaning where a record is not live.
    """

    keys: Column
    ingestion: Ints
    is_live: Bools
    merged_into: Column
    person: Ints


@dataclass(frozen=True, slots=True)
class Ids:
    """`of_record`: the id of each record's person (null where a record is not live). `issued`: new or changed rows."""

    of_record: Column
    issued: pa.Table


def assign(kind: str, members: Members, former: pa.Table, issued: pa.Table, now: datetime) -> Ids:
    """Hand the ids of records that are gone on, give every person its id, and mint where there is none.

    `former` are the memberships before, `issued` the rows whose anchor or minter is among the members.
    """
    issued = issued.cast(tables.ISSUED).combine_chunks()
    anchor = _places(issued["anchor"], members.keys)
    was_open = np.asarray(pc.is_null(issued["retired_at"]).to_numpy(), dtype=bool)
    is_back = ~was_open & (anchor != _NONE) & members.is_live[anchor]
    is_open = was_open | is_back
    heir = anchor.copy()
    stranded = np.flatnonzero(is_open & (anchor != _NONE) & ~members.is_live[anchor])
    if len(stranded):
        heir[stranded] = _heirs(members, former, anchor[stranded])
    is_retired = np.zeros(len(heir), dtype=bool)
    is_retired[stranded] = heir[stranded] == _NONE
    carried = np.flatnonzero(is_open & (heir != _NONE) & ~is_retired)
    chosen, minters, serials = _choose(members, issued, carried, heir)
    minted = _minted(kind, members, minters, serials)
    names = pa.concat_arrays([_array(issued["key"]), _array(minted["key"])])
    of_record = names.take(pa.array(chosen[members.person], mask=~members.is_live))
    changed = _changed(issued, members, heir, is_handed=(heir != anchor) | is_back, is_retired=is_retired, now=now)
    return Ids(of_record, pa.concat_tables([minted, changed]))


def _heirs(members: Members, former: pa.Table, gone: Ints) -> Ints:
    """Who takes over from records that are gone: the survivor of a merge in a system, else the next of the person.

    -1 where nobody is left.
    """
    survivor = _places(members.merged_into, members.keys)
    owner_of, next_of = _former_persons(members, former)
    heirs = np.full(len(gone), _NONE, dtype=np.int64)
    for place, record in enumerate(gone.tolist()):
        seen = {record}
        last = record
        while not members.is_live[last] and survivor[last] != _NONE and int(survivor[last]) not in seen:
            last = int(survivor[last])
            seen.add(last)
        if members.is_live[last]:
            heirs[place] = last
            continue
        found = (next_of.get(owner_of.get(each, ""), _NONE) for each in (last, record))
        heirs[place] = next((each for each in found if each != _NONE), _NONE)
    return heirs


def _former_persons(members: Members, former: pa.Table) -> tuple[dict[int, str], dict[str, int]]:
    """For each record that is gone its former person; for each such person its living member with the lowest number."""
    place = _places(former["key"], members.keys)
    owners = _array(former["owner_id"])
    known = np.flatnonzero(place != _NONE)
    gone = known[~members.is_live[place[known]]]
    owner_of = dict(zip(place[gone].tolist(), owners.take(pa.array(gone)).to_pylist(), strict=True))
    bereft = pc.is_in(owners, value_set=pa.array(sorted(set(owner_of.values())), pa.string()))
    left = known[members.is_live[place[known]] & np.asarray(bereft.to_numpy(zero_copy_only=False), dtype=bool)[known]]
    left = left[np.argsort(-members.ingestion[place[left]])]  # the lowest comes last, and stays
    return owner_of, dict(zip(owners.take(pa.array(left)).to_pylist(), place[left].tolist(), strict=True))


def _choose(members: Members, issued: pa.Table, carried: Ints, heir: Ints) -> tuple[Ints, Ints, Ints]:
    """For each person the place of its id, in `issued` or beyond it in what is to be minted; then who mints, how often.

    The oldest wins, whether it is issued already or the first that a member could mint: so the id depends on the
    members, not on the order in which they came together. Who minted before mints again only if there is nothing else.
    """
    count = int(members.person.max()) + 1 if len(members.person) else 0
    live = np.flatnonzero(members.is_live)
    mints = np.bincount(_inside(_places(issued["minted_by"], members.keys)), minlength=len(members.keys))
    is_carrier = np.zeros(len(members.keys), dtype=bool)
    is_carrier[heir[carried]] = True
    free = live[~is_carrier[live] | (mints[live] == 0)]
    length = np.asarray(pc.binary_length(issued["key"]).to_numpy(), dtype=np.int64)
    text = np.asarray(pc.rank(issued["key"]).to_numpy(), dtype=np.int64) if issued.num_rows else length
    old = (np.asarray(issued["ingestion"].to_numpy(), dtype=np.int64)[carried], length[carried], text[carried])
    person = np.concatenate([members.person[heir[carried]], members.person[free]])
    is_last_resort = np.concatenate([np.zeros(len(carried), dtype=bool), mints[free] > 0])
    age = np.concatenate([old[0], members.ingestion[free]])
    source = np.concatenate([carried, free])
    is_new = np.arange(len(person)) >= len(carried)
    zeros = np.zeros(len(free), dtype=np.int64)
    tie = (np.concatenate([old[2], zeros]), np.concatenate([old[1], zeros]))
    order = np.lexsort((*tie, is_new, age, is_last_resort, person))
    first = order[np.flatnonzero(np.diff(person[order], prepend=_NONE))]
    chosen = np.full(count, 0, dtype=np.int64)
    minted = is_new[first]
    minters = source[first[minted]]
    chosen[person[first[~minted]]] = source[first[~minted]]
    chosen[person[first[minted]]] = issued.num_rows + np.arange(len(minters))
    return chosen, minters, mints[minters] + 1


def _minted(kind: str, members: Members, minters: Ints, serials: Ints) -> pa.Table:
    keys = members.keys.take(pa.array(minters))
    return pa.table(
        [
            mint(kind, keys, serials),
            pa.repeat(kind, len(keys)),
            keys,
            pa.array(members.ingestion[minters]),
            pa.nulls(len(keys), tables.INSTANT),
            keys,
        ],
        schema=tables.ISSUED,
    )


def mint(kind: str, keys: Column, serials: Ints) -> Column:
    """Ids made of the anchors' keys: `P` or `A` and 80 bits in base 32; a record's second id ends with `-2`."""
    digests = b"".join(hashlib.blake2b(each.encode(), digest_size=_DIGEST_BYTES).digest() for each in keys.to_pylist())
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(-1, _LETTERS, 5)
    letters = _ALPHABET[bits @ np.array([16, 8, 4, 2, 1], dtype=np.uint8)]
    first = np.full((len(letters), 1), ord(PREFIXES[kind]), dtype=np.uint8)
    width = _LETTERS + 1
    text = np.ascontiguousarray(np.hstack([first, letters]))
    offsets = pa.py_buffer((np.arange(len(text) + 1, dtype=np.int32) * width).tobytes())
    ids = pa.StringArray.from_buffers(len(text), offsets, pa.py_buffer(text.tobytes()))
    again = pc.binary_join_element_wise(ids, pc.cast(pa.array(serials), pa.string()), "-")
    return pc.if_else(pa.array(serials > 1), again, ids)


def _changed(
    issued: pa.Table, members: Members, heir: Ints, *, is_handed: Bools, is_retired: Bools, now: datetime
) -> pa.Table:
    """The issued rows that went to another record, were retired, or are in use again."""
    rows = np.flatnonzero(is_handed)
    kept = issued.take(rows)
    heirs = members.keys.take(pa.array(heir[rows], mask=is_retired[rows]))
    retired = pc.if_else(pa.array(is_retired[rows]), pa.scalar(now, tables.INSTANT), pa.scalar(None, tables.INSTANT))
    anchors = pc.coalesce(heirs, _array(kept["anchor"]))
    return kept.set_column(2, tables.ISSUED.field("anchor"), anchors).set_column(
        4, tables.ISSUED.field("retired_at"), retired
    )


def _places(column: Column, keys: Column) -> Ints:
    places = pc.fill_null(pc.index_in(_array(column), value_set=keys), _NONE)
    numbers: Ints = np.asarray(places.to_numpy(zero_copy_only=False), dtype=np.int64)
    return numbers


def _inside(places: Ints) -> Ints:
    inside: Ints = places[places != _NONE]
    return inside


def _array(column: Column) -> Column:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
