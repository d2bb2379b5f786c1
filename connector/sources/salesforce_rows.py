"""Salesforce records as pages: JSON of the REST API and CSV of the Bulk API into the columns of `tables.PAGE`.

Facts this stands on (REST API Developer Guide, "Query"; Bulk API 2.0 Developer Guide, "Get Results for a Query Job"):
- JSON tells instants as `2026-09-01T00:00:00.000+0000`, CSV as `2026-09-01T00:00:00.000Z`; both are UTC.
- CSV knows no type: an empty value is null, booleans are `true` and `false`. So that a record says the same on either
  way, its native JSON is written as the REST API would have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute

from connector import tables

Column = Any
pc: Any = pyarrow.compute

_INSTANT = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(\+0000|Z)$"
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$"
#: Types (see `FieldSchema`) whose values are JSON as they are, and the form that such values have.
_LITERALS: Mapping[str, str] = {"bool": r"^(true|false)$", "number": _NUMBER, "integer": _NUMBER}
#: Types of numbers, and the form of those that can be written in one way only.
_NUMBERS = ("number", "integer")
_WHOLE = r"^(0|-?[1-9]\d*)$"
#: All bytes but those that JSON may not hold as they are within a text.
_PLAIN = bytes(byte for byte in range(0x20, 0x100) if byte not in b'"\\')
_NONE = pa.scalar(None, tables.TEXT)
#: Relationship -> the dotted names that are asked for through it, each with its path from there.
_Nested = dict[str, list[tuple[str, list[str]]]]


# ---------------------------------------------------------------------------------------------------------------- JSON


class _Told(msgspec.Struct, gc=False):
    """What reading looks at of a record."""

    Id: str
    CreatedDate: Any = None
    SystemModstamp: Any = None
    MasterRecordId: Any = None
    IsDeleted: Any = None


_as_told = msgspec.json.Decoder(list[_Told]).decode
_as_sent = msgspec.json.Decoder(list[msgspec.Raw]).decode
#: What says of a record, or of one that it points to, what it is. Within a text the quotes would be escaped.
_ATTRIBUTES = re.compile(rb'"attributes":\{[^{}]*\},')
_VALUE = rb'("(?:[^"\\]|\\.)*"|[^"{}\[\],]+)'


def rows_of(object_type: str, fields: Sequence[str], records: bytes) -> tuple[pa.Table, tuple[str, ...]]:
    """The list of records of a query answer as `tables.PAGE`, and why some could not become rows.

    A record stays the text that was sent, but for what is taken out and flattened in it; only one in which an object or a list
    is left, or a brace in a value, is read as an object.
    """
    nested = _nested(fields)
    malformed = 0
    try:
        flat = _flattened(records, nested)
        told, sent = _as_told(flat), _as_sent(flat)
        native = [bytes(text) for text in sent]
    except msgspec.ValidationError:  # one of them is no record
        known = [record for record in orjson.loads(records) if _is_record(record)]
        malformed = len(_as_sent(records)) - len(known)
        native = [orjson.dumps(record) for record in known]
        told = msgspec.convert(known, list[_Told])
    native = [text if text.count(b"{") == 1 else _as_flat(text, nested) for text in native]
    texts = {
        name: pa.array([getattr(each, name) for each in told], tables.TEXT)
        for name in ("Id", "CreatedDate", "SystemModstamp", "MasterRecordId")
    }
    deleted = pa.array([each.IsDeleted is True for each in told], tables.BOOL)
    page = _page(object_type, texts, deleted, pa.array(native, tables.TEXT))
    return page, ("a record without an Id",) * malformed


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("Id"), str)


def _flattened(records: bytes, nested: _Nested) -> bytes:
    """The text without attributes, with what was asked for of related records under dotted names."""
    text = _ATTRIBUTES.sub(b"", records)
    for relationship, names in nested.items():
        dotted = [b'"%b":' % name.encode() for name, _ in names]
        unset = b",".join(name + b"null" for name in dotted)
        text = re.sub(rb'"%b"\s*:\s*null' % relationship.encode(), unset, text)
        inner = b",".join(b'"%b":%b' % (path[0].encode(), _VALUE) for _, path in names if len(path) == 1)
        values = b",".join(name + rb"\g<%d>" % at for at, name in enumerate(dotted, start=1))
        if inner.count(_VALUE) == len(names):
            text = re.sub(rb'"%b":\{%b\}' % (relationship.encode(), inner), values, text)
    return text


def _as_flat(text: bytes, nested: _Nested) -> bytes:
    """One record, read as an object."""
    record = orjson.loads(text)
    record.pop("attributes", None)
    for relationship, names in nested.items():
        if relationship in record:
            inner = record.pop(relationship)
            record |= {dotted: _inside(inner, path) for dotted, path in names}
    return orjson.dumps(record)


def _nested(fields: Sequence[str]) -> _Nested:
    nested: _Nested = {}
    for name in fields:
        relationship, *path = name.split(".")
        if path:
            nested.setdefault(relationship, []).append((name, path))
    return nested


def _inside(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


# ----------------------------------------------------------------------------------------------------------------- CSV


def rows_of_csv(object_type: str, batch: pa.RecordBatch, kinds: Mapping[str, str]) -> tuple[pa.Table, tuple[str, ...]]:
    """A batch of columns of text (nulls where unset) as `tables.PAGE` with native fields, and why some rows could not become rows.

    `kinds`: native field -> its type (see `FieldSchema`); what it does not name is text.
    """
    texts = {
        name: _as_rest_tells(column) if kinds.get(name) == "datetime" else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    ids = texts["Id"]
    malformed = ("a record without an Id",) * ids.null_count
    if ids.null_count:
        texts = {name: column.filter(pc.is_valid(ids)) for name, column in texts.items()}
    unset = pa.nulls(len(texts["Id"]), tables.TEXT)
    deleted = pc.fill_null(pc.equal(texts.get("IsDeleted", unset), "true"), False)
    page = {name: texts.get(name, unset) for name in ("Id", "CreatedDate", "SystemModstamp", "MasterRecordId")}
    rows = _page(object_type, page, deleted, _objects(texts, kinds))
    if all(_is_plain(column, kinds.get(name, "text")) for name, column in texts.items()):
        rows = pa.table([*rows.columns, *texts.values()], names=[*rows.column_names, *texts])
    return rows, malformed


def _as_rest_tells(instants: Column) -> Column:
    return pc.if_else(
        pc.ends_with(instants, "Z"), pc.binary_join_element_wise(_zoneless(instants), "+0000", ""), instants
    )


def _is_plain(column: Column, kind: str) -> bool:
    """Whether a column's texts are what reading them from JSON would give."""
    return kind not in _NUMBERS or bool(pc.all(pc.match_substring_regex(column, _WHOLE), min_count=0).as_py())


def _objects(texts: Mapping[str, Column], kinds: Mapping[str, str]) -> Column:
    """JSON objects of columns of text, one for each row, made by joining columns."""
    parts: list[Any] = ["{"]
    for name, column in texts.items():
        for part in (f'"{name}":', *_values(column, kinds.get(name, "text")), ","):
            if isinstance(part, str) and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
    parts[-1] = parts[-1][:-1] + "}"
    size = len(next(iter(texts.values())))
    return pc.binary_join_element_wise(*parts, "") if len(parts) > 1 else pa.repeat(parts[0], size)


def _values(column: Column, kind: str) -> Iterator[Any]:
    """The JSON of a column's values, as pieces that are joined without anything between."""
    if column.null_count == len(column):
        yield "null"
    elif kind in _LITERALS and pc.all(pc.match_substring_regex(column, _LITERALS[kind])).as_py():
        yield pc.fill_null(column, "null")
    else:
        column = _escaped(column)
        if column.null_count:
            yield pc.fill_null(pc.binary_join_element_wise('"', column, '"', ""), "null")
        else:
            yield from ('"', column, '"')


def _escaped(column: Column) -> Column:
    """What JSON may not hold as it is, escaped; most columns hold nothing of it."""
    found = set(bytes(column.buffers()[2] or b"").translate(None, _PLAIN).decode())
    for text in sorted(found, key=lambda letter: letter != "\\"):  # the backslash first
        column = pc.replace_substring(column, text, orjson.dumps(text).decode()[1:-1])
    return column


# ---------------------------------------------------------------------------------------------------------------- pages


def deleted_rows(object_type: str, gone: Sequence[Mapping[str, str]]) -> pa.Table:
    """What /deleted tells, as rows that know nothing but that they are deleted."""
    ids = pa.array([one["id"] for one in gone], tables.TEXT)
    unset = pa.nulls(len(ids), tables.TEXT)
    stamps = pa.array([one.get("deletedDate") for one in gone], tables.TEXT)
    texts = {"Id": ids, "CreatedDate": unset, "SystemModstamp": stamps, "MasterRecordId": unset}
    return _page(object_type, texts, pa.repeat(True, len(ids)), pa.repeat(pa.scalar("{}", tables.TEXT), len(ids)))


def _page(object_type: str, texts: Mapping[str, Column], deleted: Column, native: Column) -> pa.Table:
    count = len(native)
    return pa.Table.from_arrays(
        [
            texts["Id"],
            pa.repeat(pa.scalar(object_type, tables.TEXT), count),
            instants(texts["CreatedDate"]),
            instants(texts["SystemModstamp"]),
            deleted,
            pc.if_else(deleted, texts["MasterRecordId"], _NONE),
            native,
        ],
        schema=tables.PAGE,
    )


def instants(texts: Column) -> Column:
    """Texts as instants; what has another form than the API's is unknown."""
    usual = pc.if_else(pc.match_substring_regex(texts, _INSTANT), texts, None)
    plain = _zoneless(usual)
    try:
        return pc.assume_timezone(plain.cast(pa.timestamp("us")), "UTC")
    except pa.ArrowInvalid:  # a day that its month does not have
        return pa.array([_instant(text) for text in plain.to_pylist()], tables.INSTANT)


def _zoneless(texts: Column) -> Column:
    """Instants without the zone that both forms end with."""
    plain = pc.utf8_rtrim(texts, "Z")
    has_offset = pc.ends_with(plain, "+0000")
    return pc.if_else(has_offset, pc.utf8_slice_codeunits(plain, 0, -5), plain) if pc.any(has_offset).as_py() else plain


def _instant(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None
