"""Native JSON as columns: one parse per row, then a column of text per native field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute

from connector.tables import TEXT

#: An Arrow array. The stubs of the kernels know no array whose type is only known at run time, so they are not used.
Column = Any
pc: Any = pyarrow.compute

LIST = "associations."


@dataclass(frozen=True, slots=True)
class Natives:
    """The native fields of a group of rows: `texts` hold what the system sent ("" read as unset), `lists` ids.

    The text of a list is its first id.
    """

    size: int
    texts: Mapping[str, Column]
    lists: Mapping[str, Column]
    sent: frozenset[str]  # texts that at least one row has, be they null

    def text(self, name: str) -> Column:
        """A native field as text; nulls if no row has it."""
        found = self.texts.get(name)
        return nulls(self.size) if found is None else found

    def first(self, names: Sequence[str]) -> Column:
        """The first of several native fields that has a value, row by row."""
        if not names:
            return nulls(self.size)
        columns = [self.text(name) for name in names]
        return columns[0] if len(columns) == 1 else pc.coalesce(*columns)

    def ids(self, name: str) -> Column:
        """A list of ids per row; an id alone is a list of one."""
        found = self.lists.get(name)
        if found is not None:
            return found
        texts = self.text(name)
        offsets = pc.cumulative_sum(pc.cast(pc.is_valid(texts), pa.int32()))
        starts = pa.concat_arrays([pa.array([0], pa.int32()), offsets])
        return pa.ListArray.from_arrays(starts, pc.drop_null(texts))


def documents(native: Column) -> list[dict[str, Any] | None]:
    """The JSON objects of a column; None for a text that is not one."""
    return [_document(text) for text in native.to_pylist()]


def _document(text: str | None) -> dict[str, Any] | None:
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def natives(parsed: Sequence[dict[str, Any]], names: Iterable[str]) -> Natives:
    """The named native fields of parsed rows as columns."""
    texts: dict[str, Column] = {}
    lists: dict[str, Column] = {}
    sent: set[str] = set()
    for name in dict.fromkeys(names):
        values = [row.get(name) for row in parsed]
        if name.startswith(LIST):
            found = [_ids(value) for value in values]
            lists[name] = pa.array(found, pa.list_(TEXT))
            values = [ids[0] if ids else None for ids in found]
        texts[name] = _texts(values)
        if texts[name].null_count < len(parsed) or any(name in row for row in parsed):
            sent.add(name)
    return Natives(len(parsed), texts, lists, frozenset(sent))


def _ids(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value in (None, "") else [value]
    return [str(one) for one in values]


def _texts(values: list[Any]) -> Column:
    column: Column
    try:
        column = pa.array(values, TEXT)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        column = pa.array([_text(value) for value in values], TEXT)
    return pc.if_else(pc.equal(column, ""), None, column)


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case int():
            return str(value)
        case _:
            return orjson.dumps(value).decode()


def nulls(size: int, kind: pa.DataType = TEXT) -> Column:
    """A column without a value."""
    column: Any = pa
    return column.nulls(size, kind)


def joined(*parts: Column | str, separator: str = "|") -> Column:
    """Texts joined row by row; null where one of them is."""
    return pc.binary_join_element_wise(*parts, separator)


def repeated(value: str | None, size: int) -> Column:
    """The same text in every row."""
    return pa.repeat(pa.scalar(value, TEXT), size)


def digests(columns: Sequence[Column]) -> Column:
    """A hash of each row over columns of any type, null and "" being different."""
    texts = [column if pa.types.is_string(column.type) else pc.cast(column, TEXT) for column in columns]
    rows = pc.binary_join_element_wise(*texts, "\x1f", null_handling="replace", null_replacement="\x00")
    return pa.array([hashlib.blake2b(row.encode(), digest_size=12).hexdigest() for row in rows.to_pylist()], TEXT)


def hashed(values: Column) -> Column:
    """What stands for a personal value in a report: the same for the same value, and nothing more."""
    return pa.array(
        [
            None if value is None else "#" + hashlib.blake2b(value.encode(), digest_size=6).hexdigest()
            for value in values.to_pylist()
        ],
        TEXT,
    )
