"""Native JSON as columns: a column of text per native field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute
import pyarrow.json

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

    def take(self, at: Column) -> Natives:
        """These rows only."""
        return Natives(len(at), _taken(self.texts, at), _taken(self.lists, at), self.sent)

    def ids(self, name: str) -> Column:
        """A list of ids per row; an id alone is a list of one."""
        found = self.lists.get(name)
        if found is not None:
            return found
        texts = self.text(name)
        offsets = pc.cumulative_sum(pc.cast(pc.is_valid(texts), pa.int32()))
        starts = pa.concat_arrays([pa.array([0], pa.int32()), offsets])
        return pa.ListArray.from_arrays(starts, pc.drop_null(texts))


def _taken(columns: Mapping[str, Column], at: Column) -> Mapping[str, Column]:
    return {name: column.take(at) for name, column in columns.items()}


def read(native: Column, names: Iterable[str]) -> tuple[Natives, Column]:
    """The named native fields of a column of JSON objects, and which rows are objects (the others have no values).

    Arrow's own reader does it where a sample tells the type of every field; a group that it refuses (a field of several
    types, a row that is not an object) is parsed row by row.
    """
    names = list(dict.fromkeys(names))
    size = len(native)
    if native.null_count or pc.any(pc.equal(native, "")).as_py():
        native = pc.if_else(pc.equal(pc.fill_null(native, ""), ""), "{}", native)
    sample = _documents(native.take(pa.array(range(0, size, max(1, size // _SAMPLE)), pa.int64())))
    kinds = {name: _kind(name, [document.get(name) for document in sample if document]) for name in names}
    if size < _SAMPLE or None in kinds.values() or None in sample:
        return _read_rows(_documents(native), names)
    try:
        found = _read_lines(native, {name: kind for name, kind in kinds.items() if kind is not None})
    except pa.ArrowInvalid:
        return _read_rows(_documents(native), names)
    if found.num_rows != size:
        return _read_rows(_documents(native), names)
    lists = {name: found[name].combine_chunks() for name in names if name.startswith(LIST)}
    texts = {name: _as_text(found[name].combine_chunks()) for name in names if name not in lists}
    texts |= {name: _firsts(lists[name]) for name in lists}
    sent = frozenset(name for name in names if any(name in document for document in sample if document))
    return Natives(size, texts, lists, sent), pa.repeat(True, size)


def told(rows: pa.Table, names: Iterable[str]) -> tuple[Natives, Column]:
    """The same of rows that have their native fields as columns of text."""
    texts = {name: rows[name].combine_chunks() for name in dict.fromkeys(names) if name in rows.column_names}
    return Natives(rows.num_rows, texts, {}, frozenset(texts)), pa.repeat(True, rows.num_rows)


_SAMPLE = 200
_NUMBER = pa.decimal128(38, 10)
_LINE_BLOCK_BYTES = 1 << 22


def _kind(name: str, values: Sequence[Any]) -> pa.DataType | None:
    """The Arrow type of a field of which these are some values; None if it is not one that the reader can be told."""
    kinds = {type(value) for value in values} - {type(None)}
    if name.startswith(LIST):
        are_texts = kinds <= {list} and all(isinstance(one, str) for value in values for one in value or ())
        return pa.list_(TEXT) if are_texts else None
    if kinds <= {str}:
        return TEXT
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return _NUMBER if kinds <= {int, float} else None


def _read_lines(native: Column, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    schema = pa.schema(list(kinds.items()))
    lines = pc.binary_join_element_wise(native, "", "\n")
    source: Any = pa.BufferReader(lines.buffers()[2])
    return pa.json.read_json(
        source,
        read_options=pa.json.ReadOptions(block_size=_LINE_BLOCK_BYTES),
        parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _as_text(column: Column) -> Column:
    if not pa.types.is_string(column.type):
        text = pc.cast(column, TEXT)
        column = (
            pc.replace_substring_regex(text, r"\.0+$|E-10$|(\.\d*[1-9])0+$", r"\1") if column.type == _NUMBER else text
        )
    return pc.if_else(pc.equal(column, ""), None, column)


def _firsts(lists: Column) -> Column:
    """The first id of each list; null for an empty one."""
    whole = pc.fill_null(pc.greater(pc.list_value_length(lists), 0), False)
    ranks = pc.subtract(pc.cumulative_sum(pc.cast(whole, pa.int64())), 1)
    return pc.list_element(lists.filter(whole), 0).take(pc.if_else(whole, ranks, None))


def _documents(native: Column) -> list[dict[str, Any] | None]:
    """The JSON objects of a column; None for a text that is not one."""
    return [_document(text) for text in native.to_pylist()]


def _document(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _read_rows(documents: Sequence[dict[str, Any] | None], names: Sequence[str]) -> tuple[Natives, Column]:
    is_object = pa.array([document is not None for document in documents], pa.bool_())
    rows = [tuple(map((document or {}).get, names)) for document in documents]
    texts: dict[str, Column] = {}
    lists: dict[str, Column] = {}
    for name, values in zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True):
        if name.startswith(LIST):
            found = [_ids(value) for value in values]
            lists[name] = pa.array(found, pa.list_(TEXT))
            texts[name] = pa.array([ids[0] if ids else None for ids in found], TEXT)
        else:
            texts[name] = _texts(values)
    sent = frozenset(name for name in names if any(name in document for document in documents if document))
    return Natives(len(documents), texts, lists, sent), is_object


def _ids(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value in (None, "") else [value]
    return [str(one) for one in values]


def _texts(values: Sequence[Any]) -> Column:
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
    return _hex_digests(rows)


def _hex_digests(rows: Column) -> Column:
    """The digest of each text, out of Arrow's own bytes: no text is made of a row."""
    _, places, data = rows.buffers()
    ends = np.frombuffer(places, np.int32)[rows.offset : rows.offset + len(rows) + 1].tolist()
    content = memoryview(data) if data else b""
    made = b"".join(_digest(content[start:end], digest_size=_DIGEST_BYTES).digest() for start, end in pairwise(ends))
    at: Any = pa.array(np.arange(0, (len(rows) + 1) * 2 * _DIGEST_BYTES, 2 * _DIGEST_BYTES, dtype=np.int32))
    return pa.StringArray.from_buffers(len(rows), at.buffers()[1], pa.py_buffer(made.hex().encode()))


_digest = hashlib.blake2b
_DIGEST_BYTES = 12


def hashed(values: Column) -> Column:
    """What stands for a personal value in a report: the same for the same value, and nothing more."""
    return pa.array(
        [
            None if value is None else "#" + hashlib.blake2b(value.encode(), digest_size=6).hexdigest()
            for value in values.to_pylist()
        ],
        TEXT,
    )
