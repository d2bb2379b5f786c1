"""Records in HubSpot's answers: what reading needs of them is typed, their properties stay the bytes that were sent.

A back-fill reads millions of values that only the mapping looks at. As Python objects they would cost a fifth of it: they are made,
written as JSON again, and walked through by the garbage collector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import orjson

#: The property that lists the ids that a record absorbed.
MERGED = "hs_merged_object_ids"


class Record(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One record. Instants are as they were sent: ISO 8601 text or milliseconds."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    properties: msgspec.Raw
    created_at: Any = None
    updated_at: Any = None
    archived_at: Any = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of records, where the next one begins (None: there is none), how many there are in all, and why some are none."""

    records: list[Record]
    after: str | None
    total: int | None
    malformed: tuple[str, ...] = ()


class _Next(msgspec.Struct):
    after: str | int | None = None


class _Paging(msgspec.Struct):
    next: _Next | None = None


class _Answer(msgspec.Struct):
    results: list[Record]
    paging: _Paging | None = None
    total: int | None = None


class _AnyAnswer(msgspec.Struct):
    results: list[msgspec.Raw]
    paging: _Paging | None = None
    total: int | None = None


_as_answer = msgspec.json.Decoder(_Answer).decode
_as_any_answer = msgspec.json.Decoder(_AnyAnswer).decode
_as_record = msgspec.json.Decoder(Record).decode


def listing(content: bytes) -> Listing:
    """The page in an answer's body. Raises ValueError when it is no UTF-8, no JSON, or holds no list of results."""
    content.decode()  # what stays bytes is not looked at otherwise
    try:
        answer = _as_answer(content)
    except msgspec.ValidationError:
        return _one_by_one(_as_any_answer(content))
    if not all(map(_has_properties, answer.results)):
        return _one_by_one(_as_any_answer(content))
    return Listing(answer.results, _after(answer.paging), answer.total)


def _one_by_one(answer: _AnyAnswer) -> Listing:
    read = [_record(raw) for raw in answer.results]
    records = [record for record in read if record is not None]
    malformed = ("a record without an id or without properties",) * (len(read) - len(records))
    return Listing(records, _after(answer.paging), answer.total, malformed)


def _record(raw: msgspec.Raw) -> Record | None:
    try:
        record = _as_record(raw)
    except msgspec.ValidationError:
        return None
    return record if _has_properties(record) else None


def _has_properties(record: Record) -> bool:
    return memoryview(record.properties)[0] == ord("{")


def _after(paging: _Paging | None) -> str | None:
    after = paging.next.after if paging and paging.next else None
    return None if after in (None, "") else str(after)


def told(records: Sequence[Record], modified: str) -> list[Any]:
    """What each record's properties say: when it was `modified` last (the argument is that property's name), and the ids that
    were `merged` into it."""
    says: list[Any] = _told_by(modified).decode(b"[" + b",".join(record.properties for record in records) + b"]")
    return says


@lru_cache(maxsize=8)
def _told_by(modified: str) -> msgspec.json.Decoder[list[Any]]:
    names = {"modified": modified, "merged": MERGED}
    says = msgspec.defstruct("Told", [(name, Any, None) for name in names], rename=names, gc=False)
    return msgspec.json.Decoder(list[says])  # type: ignore[valid-type]  # a type that is made at run time


def extended(record: Record, more: dict[str, Any]) -> bytes:
    """The properties as JSON, with more of them."""
    first, last = bytes(record.properties)[:-1].rstrip(), orjson.dumps(more)
    return first + (b"" if first == b"{" else b",") + last[1:]
