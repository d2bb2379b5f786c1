"""Identifier rows of records, and records that stand for bare identifiers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from connector import identifiers, tables
from connector.mapping.columns import Column, digests, joined, nulls, pc, repeated
from connector.mapping.rules import Group, record_keys
from connector.mapping.section import IdentifierRule
from connector.mapping.streams import StreamMapping
from connector.tables import BOOL, INSTANT, TEXT, VISITOR

#: What is told of an identifier; its key is made of it where it is asked for.
TOLD = tables.stored("identifier")


def of_records(group: Group, mapping: StreamMapping) -> pa.Table:
    """The identifiers of the living records of a group, and of merged ones the key of their survivor."""
    parts = [_survivors(group, mapping.kind)]
    modified = pc.fill_null(group.rows["modified_at"].combine_chunks(), group.now)
    for kind, rules in mapping.identifiers.items():
        if not rules:
            continue
        at, values, raw, verified = (
            pa.concat_arrays(each) for each in zip(*(_found(group, kind, r) for r in rules), strict=True)
        )
        named = [(kind, values, verified)]
        if kind == "email":
            # The weaker form of every address, also where it is the same: two addresses meet on it only if both have it.
            named.append(("email_base", identifiers.email_bases(values), nulls(len(values), BOOL)))
        for name, column, is_verified in named:
            columns = [at, column, raw, is_verified]
            if not _is_growing(at):
                first = _firsts(at, column)
                columns = [each.take(first) for each in columns]
            keys, seen_at = group.keys.take(columns[0]), modified.take(columns[0])
            parts.append(
                rows(mapping.kind, name, keys, columns[1], raw=columns[2], seen_at=seen_at, is_verified=columns[3])
            )
    found = pa.concat_tables(parts)
    told_twice = bool(parts[0].num_rows) or bool(mapping.identifiers.get("email_base"))
    return distinct(found) if told_twice else found


def _found(group: Group, kind: str, rule: IdentifierRule) -> tuple[Column, Column, Column, Column]:
    """Of one rule: numbers of the rows that have a readable identifier, its value, the raw text, and whether it is verified."""
    raw = group.natives.text(rule.from_)
    is_alive = pc.invert(group.rows["is_deleted"].combine_chunks())
    if rule.split:
        has_raw = pc.indices_nonzero(pc.and_(is_alive, pc.is_valid(raw)))
        lists = pc.split_pattern(raw.take(has_raw), rule.split)
        at, raw = has_raw.take(pc.list_parent_indices(lists)), pc.utf8_trim_whitespace(pc.list_flatten(lists))
        region = group.region if isinstance(group.region, str) else group.region.take(at)
        values, reasons = identifiers.normalise(kind, raw, region, rule.network)
        group.note(kind, reasons, raw, group.keys.take(at))
        is_read = pc.is_valid(values)
        at, values, raw = at.filter(is_read), values.filter(is_read), raw.filter(is_read)
    else:
        values, reasons = group.identifier(kind, rule.from_, rule.network)
        group.note(kind, reasons, raw)
        at = pc.indices_nonzero(pc.and_(is_alive, pc.is_valid(values)))
        values, raw = values.take(at), raw.take(at)
    if kind == "crm_id":
        values = record_keys(group.system, rule.of, pc.utf8_trim_whitespace(raw))
    return at, values, raw, pa.repeat(pa.scalar(rule.is_verified, BOOL), len(at))


def _is_growing(at: Column) -> bool:
    """Whether no row comes twice: most types are told once by most records."""
    numbers = at.to_numpy()
    return bool((numbers[1:] > numbers[:-1]).all())


def _firsts(at: Column, values: Column) -> Column:
    """Where each pair of row and value stands first."""
    coded = values.dictionary_encode()
    pairs = at.to_numpy().astype(np.int64) * max(1, len(coded.dictionary)) + coded.indices.to_numpy()
    _, firsts = np.unique(pairs, return_index=True)
    return pa.array(firsts, pa.int64())


def _survivors(group: Group, record_kind: str) -> pa.Table:
    survivors = group.rows["merged_into"].combine_chunks()
    at = pc.indices_nonzero(pc.is_valid(survivors))
    raw = survivors.take(at)
    keys = joined(group.system, group.rows["object_type"].combine_chunks().take(at), raw)
    modified = pc.fill_null(group.rows["modified_at"].combine_chunks(), group.now).take(at)
    return rows(
        record_kind,
        "crm_id",
        group.keys.take(at),
        keys,
        raw=raw,
        seen_at=modified,
        is_verified=pa.repeat(True, len(at)),
    )


def rows(
    record_kind: str,
    kind: str,
    records: Column,
    values: Column,
    *,
    raw: Column,
    seen_at: Column,
    is_verified: Column,
) -> pa.Table:
    """Rows of `TOLD` for one type. `seen_at` is when the system last said so; the first time is for the store.

    `raw` is kept where it says more than the value does.
    """
    size = len(values)
    columns = {
        "record": records,
        "record_kind": repeated(record_kind, size),
        "type": repeated(kind, size),
        "value": values,
        "raw": pc.if_else(pc.equal(raw, values), None, raw),
        "is_verified": is_verified,
        "first_seen_at": seen_at,
        "last_seen_at": seen_at,
        "withdrawn_at": nulls(size, INSTANT),
        "component": nulls(size),
    }
    return pa.table([columns[name] for name in TOLD.names], schema=TOLD)


def distinct(found: pa.Table) -> pa.Table:
    """Each identifier of a record once."""
    keys = joined(*(found[name].combine_chunks() for name in tables.DERIVED_KEYS["identifier"]))
    return first_of_each(found.append_column("key", keys), "key").drop(["key"])


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
    unverified = nulls(size, BOOL)
    found = [rows("person", kind, keys, each, raw=each, seen_at=first_at, is_verified=unverified)]
    if kind == "email":
        bases = identifiers.email_bases(each)
        found.append(rows("person", "email_base", keys, bases, raw=each, seen_at=first_at, is_verified=unverified))
    return records, pa.concat_tables(found)
