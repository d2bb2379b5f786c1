"""Identifier rows of records, and records that stand for bare identifiers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from connector import identifiers, tables
from connector.mapping.columns import Column, digests, joined, nulls, pc, repeated
from connector.mapping.rules import Group, record_keys
from connector.mapping.section import IdentifierRule
from connector.mapping.streams import StreamMapping
from connector.tables import BOOL, IDENTIFIER, INSTANT, TEXT, VISITOR


def of_records(group: Group, mapping: StreamMapping) -> pa.Table:
    """The identifiers of the living records of a group, and of merged ones the key of their survivor."""
    parts = [_rows_of(group, mapping.kind, kind, rule) for kind, rules in mapping.identifiers.items() for rule in rules]
    parts.append(_survivors(group, mapping.kind))
    found = pa.concat_tables(parts)
    bases = _bases(found)
    return first_of_each(pa.concat_tables([found, bases]), "key")


def _rows_of(group: Group, record_kind: str, kind: str, rule: IdentifierRule) -> pa.Table:
    raw = group.natives.text(rule.from_)
    is_there = pc.and_not(pc.is_valid(raw), group.rows["is_deleted"].combine_chunks())
    at = pc.indices_nonzero(is_there)
    raw = raw.take(at)
    if rule.split:
        parts = pc.split_pattern(raw, rule.split)
        at = at.take(pc.list_parent_indices(parts))
        raw = pc.utf8_trim_whitespace(pc.list_flatten(parts))
    region = group.region if isinstance(group.region, str) else group.region.take(at)
    values, reasons = identifiers.normalise(kind, raw, region, rule.network)
    group.note(kind, reasons, raw, group.keys.take(at))
    if kind == "crm_id":
        values = record_keys(group.system, rule.of, pc.utf8_trim_whitespace(pc.if_else(pc.is_valid(values), raw, None)))
    is_read = pc.is_valid(values)
    at, values, raw = at.filter(is_read), values.filter(is_read), raw.filter(is_read)
    modified = pc.fill_null(group.rows["modified_at"].combine_chunks(), group.now).take(at)
    return rows(record_kind, kind, group.keys.take(at), values, raw=raw, seen_at=modified, is_verified=rule.is_verified)


def _survivors(group: Group, record_kind: str) -> pa.Table:
    survivors = group.rows["merged_into"].combine_chunks()
    at = pc.indices_nonzero(pc.is_valid(survivors))
    raw = survivors.take(at)
    keys = joined(group.system, group.rows["object_type"].combine_chunks().take(at), raw)
    modified = pc.fill_null(group.rows["modified_at"].combine_chunks(), group.now).take(at)
    return rows(record_kind, "crm_id", group.keys.take(at), keys, raw=raw, seen_at=modified, is_verified=True)


def rows(
    record_kind: str,
    kind: str,
    records: Column,
    values: Column,
    *,
    raw: Column,
    seen_at: Column,
    is_verified: bool | None = None,
) -> pa.Table:
    """Rows of IDENTIFIER for one type. `seen_at` is when the system last said so; the first time is for the store."""
    size = len(values)
    columns = {
        "key": joined(records, kind, values),
        "record": records,
        "record_kind": repeated(record_kind, size),
        "type": repeated(kind, size),
        "value": values,
        "raw": raw,
        "is_verified": pa.repeat(pa.scalar(is_verified, BOOL), size),
        "first_seen_at": seen_at,
        "last_seen_at": seen_at,
        "withdrawn_at": nulls(size, INSTANT),
        "component": nulls(size),
    }
    return pa.table([columns[name] for name in IDENTIFIER.names], schema=IDENTIFIER)


def _bases(found: pa.Table) -> pa.Table:
    """The weaker form of every address, also where it is the same: two addresses meet on it only if both have it."""
    emails = found.filter(pc.equal(found["type"], "email")).combine_chunks()
    columns = [emails[name].combine_chunks() for name in ("record", "value", "raw", "last_seen_at")]
    records, values, raw, seen_at = columns
    kinds = emails["record_kind"]
    kind = kinds[0].as_py() if len(emails) else "person"
    return rows(kind, "email_base", records, identifiers.email_bases(values), raw=raw, seen_at=seen_at)


def first_of_each(table: pa.Table, column: str) -> pa.Table:
    """The table with the first row of each value of a column."""
    coded = table[column].combine_chunks().dictionary_encode()
    if len(coded.dictionary) == len(coded):
        return table
    _, firsts = np.unique(coded.indices.to_numpy(), return_index=True)
    return table.take(pa.array(np.sort(firsts), pa.int64()))


# ------------------------------------------------------------------------------------------------------------- visitors


def visitor_keys(system: str, kind: str, values: Column) -> Column:
    """The key of the visitor that stands for each identifier."""
    return identifiers.over_distinct(values, lambda value: tables.visitor_key(system, kind, value), TEXT)


def visitors(group: Group, kind: str, values: Column, happened_at: Column) -> tuple[pa.Table, pa.Table]:
    """Person records and identifiers of bare identifiers, one per value; the first trace is when it was created."""
    seen = pa.table({"value": values, "at": happened_at}).filter(pc.is_valid(values))
    grouped = seen.group_by("value").aggregate([("at", "min"), ("at", "max")]).combine_chunks()
    each, first_at, last_at = (grouped[name].combine_chunks() for name in ("value", "at_min", "at_max"))
    keys = visitor_keys(group.system, kind, each)
    size = len(each)
    canonical = {"email": each} if kind == "email" else {"phone": each} if kind == "phone" else {}
    header = {
        "key": keys,
        "system": repeated(group.system, size),
        "object_type": repeated(VISITOR, size),
        "native_id": pc.utf8_slice_codeunits(keys, len(group.system) + len(VISITOR) + 2),
        "created_at": first_at,
        "modified_at": last_at,
        "native": repeated("{}", size),
        "version": digests([each]) if size else nulls(0),
    }
    columns = {**header, **canonical}
    schema = tables.record_schema("person")
    records = pa.table([columns.get(field.name, nulls(size, field.type)) for field in schema], schema=schema)
    found = rows("person", kind, keys, each, raw=each, seen_at=first_at)
    return records, pa.concat_tables([found, _bases(found)])
