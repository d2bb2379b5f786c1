"""Records of a group: header and canonical columns, roles that opportunities list, what our output fields hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from connector import tables
from connector.mapping.columns import Column, digests, joined, nulls, pc, repeated
from connector.mapping.rules import Group, value
from connector.mapping.streams import StreamMapping
from connector.tables import BOOL, INSTANT, INT, OBSERVED, TEXT

CONTACT_ROLE = "contact_role"


def canonical(group: Group, mapping: StreamMapping) -> pa.Table:
    """One row per native row. A deleted row keeps its header only: systems empty the fields of what they delete."""
    is_deleted = group.rows["is_deleted"].combine_chunks()
    has_deleted = bool(pc.any(is_deleted).as_py())
    columns: dict[str, Column] = {}
    for field in tables.FIELDS[mapping.kind]:
        column = value(group, mapping.fields.get(field.name), field.name, field.type)
        columns[field.name] = pc.if_else(is_deleted, pa.scalar(None, field.type), column) if has_deleted else column
    if "closed_at" in columns:
        columns["closed_at"] = pc.if_else(columns["is_closed"], columns["closed_at"], pa.scalar(None, INSTANT))
    header = _header(group)
    # A changed identifier changes the version too: who a record is depends on it.
    named = [group.natives.text(rule.from_) for rules in mapping.identifiers.values() for rule in rules]
    ended = [header["deleted_at"], header["merged_into"]]
    return _table(mapping.kind, {**header, "version": digests([*columns.values(), *named, *ended]), **columns})


def _header(group: Group) -> dict[str, Column]:
    rows = {name: group.rows[name].combine_chunks() for name in group.rows.column_names}
    modified_at = pc.fill_null(rows["modified_at"], group.now)
    return {
        "key": group.keys,
        "system": repeated(group.system, group.size),
        "object_type": rows["object_type"],
        "native_id": rows["native_id"],
        "created_at": rows["created_at"],
        "modified_at": rows["modified_at"],
        "deleted_at": pc.if_else(rows["is_deleted"], modified_at, pa.scalar(None, INSTANT)),
        "merged_into": joined(group.system, rows["object_type"], rows["merged_into"]),
        "native": rows["native"],
    }


def _table(kind: str, columns: Mapping[str, Column]) -> pa.Table:
    schema = tables.record_schema(kind)
    size = len(columns["key"])
    return pa.table([columns.get(field.name, nulls(size, field.type)) for field in schema], schema=schema)


def roles(group: Group, mapping: StreamMapping) -> pa.Table:
    """The contact roles of opportunities that list their persons; they replace the ones the opportunity had before."""
    if mapping.roles is None:
        return tables.record_schema(CONTACT_ROLE).empty_table()
    lists = group.natives.ids(mapping.roles.from_)
    at, ids = pc.list_parent_indices(lists), pc.list_flatten(lists)
    opportunities = group.keys.take(at)
    native_id = joined(group.rows["native_id"].combine_chunks().take(at), ids, separator="-")
    size = len(ids)
    columns = {
        "key": joined(group.system, CONTACT_ROLE, native_id),
        "system": repeated(group.system, size),
        "object_type": repeated(CONTACT_ROLE, size),
        "native_id": native_id,
        "created_at": group.rows["created_at"].combine_chunks().take(at),
        "modified_at": group.rows["modified_at"].combine_chunks().take(at),
        "native": repeated("{}", size),
        "opportunity": opportunities,
        "person": joined(group.system, mapping.roles.record, ids),
        "is_primary": nulls(size, BOOL),
    }
    columns["version"] = digests([columns["opportunity"], columns["person"]])
    return _table(CONTACT_ROLE, columns)


def observed(group: Group, outputs: Sequence[str], *, is_first: bool) -> pa.Table:
    """What the system holds in our output fields, as text; a field that no row has was not asked for.

    Where nothing is known of any record yet (`is_first`), a field that is empty says nothing.
    """
    is_alive = pc.invert(group.rows["is_deleted"].combine_chunks())
    parts = []
    for name in outputs:
        if name in group.natives.sent:
            held = group.natives.text(name)
            told = pc.and_(is_alive, pc.is_valid(held)) if is_first else is_alive
            at = pc.indices_nonzero(told)
            if len(at):
                parts.append(_observed(group, name, held, at))
    return pa.concat_tables(parts) if parts else OBSERVED.empty_table()


def _observed(group: Group, name: str, held: Column, at: Column) -> pa.Table:
    size, keys = len(at), group.keys.take(at)
    columns = {
        "key": joined(keys, name),
        "system": repeated(group.system, size),
        "object_type": group.rows["object_type"].combine_chunks().take(at),
        "native_id": group.rows["native_id"].combine_chunks().take(at),
        "record": keys,
        "field": repeated(name, size),
        "value": pc.replace_substring_regex(held.take(at), r"^(-?\d+)\.0+$", r"\1"),
        "observed_at": pc.fill_null(group.rows["modified_at"].combine_chunks().take(at), pa.scalar(group.now, INSTANT)),
        "settled_at": nulls(size, INSTANT),
        "revision": nulls(size, INT),
        "ours": nulls(size, TEXT),
        "edited_at": nulls(size, INSTANT),
    }
    return pa.table([columns[column] for column in OBSERVED.names], schema=OBSERVED)
