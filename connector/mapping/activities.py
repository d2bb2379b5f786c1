"""Activities of a group: what happened, when, to whom; and whether it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import orjson
import pyarrow as pa

from connector import identifiers, tables
from connector.mapping import identities
from connector.mapping.columns import Column, joined, nulls, pc, repeated
from connector.mapping.rules import Group, record_keys, value
from connector.mapping.section import ANY_OTHER, ActivitySection, FieldRule, KindRule, LinkRule, ScannerRule
from connector.mapping.streams import StreamMapping
from connector.tables import ACTIVITY, INSTANT, MONEY, TEXT

#: Values of an activity's own columns by rule; none of them is a canonical field with a usual transform.
_TYPES: Mapping[str, pa.DataType] = {
    "subject": TEXT,
    "campaign": TEXT,
    "amount": MONEY,
    "account": TEXT,
    "opportunity": TEXT,
}


@dataclass(frozen=True, slots=True)
class Activities:
    """Rows of ACTIVITY, the visitors that they made, and the native ids of the rows that are no activity."""

    activities: pa.Table
    visitors: pa.Table
    identifiers: pa.Table
    none: Column


def of_stream(group: Group, mapping: StreamMapping) -> Activities:
    """The activities of an activity stream: one row per native row and person that it concerns."""
    section = mapping.activity
    if section is None:
        raise ValueError(f"the mapping of {mapping.stream} has no activity section")
    kinds, channels, own_instants = _kinds(group, section.kinds)
    task_key = group.natives.text(section.task_key) if section.task_key else nulls(group.size)
    is_deleted = group.rows["is_deleted"].combine_chunks()
    is_activity = pc.or_(pc.is_valid(kinds), pc.is_valid(task_key))
    if section.unless_same:
        first, *others = map(group.natives.text, section.unless_same)
        are_same = reduce(pc.and_, (pc.equal(first, other) for other in others), pa.repeat(True, group.size))
        is_activity = pc.and_not(is_activity, pc.fill_null(are_same, False))
    is_activity = pc.or_(is_activity, is_deleted)
    happened_at = pc.coalesce(
        own_instants,
        value(group, section.happened_at, "happened_at", INSTANT),
        group.rows["created_at"].combine_chunks(),
        group.rows["modified_at"].combine_chunks(),
        pa.scalar(group.now, INSTANT),
    )
    at, records, visitors = _linked(group, section.links, pc.indices_nonzero(is_activity), happened_at)
    modified_at = pc.fill_null(group.rows["modified_at"].combine_chunks(), group.now)
    columns = {name: value(group, getattr(section, name), name, kind) for name, kind in _TYPES.items()}
    columns |= {
        "native_id": group.rows["native_id"].combine_chunks(),
        "kind": kinds,
        "channel": channels,
        "happened_at": happened_at,
        "properties": _properties(group, section),
        "task_key": task_key,
        "filtered_because": _filtered_because(group, section.scanner, kinds, task_key, happened_at),
        "deleted_at": pc.if_else(is_deleted, modified_at, pa.scalar(None, INSTANT)),
    }
    if section.task_key:  # what our own tasks say we know; they name their person, also one who is nowhere any more
        columns["subject"] = pc.if_else(pc.is_valid(task_key), pa.scalar(None, TEXT), columns["subject"])
    table = _table(group, {name: column.take(at) for name, column in columns.items()}, records)
    table = identities.first_of_each(table, "key")
    return Activities(table, *visitors, columns["native_id"].filter(pc.invert(is_activity)))


def of_traces(group: Group, mapping: StreamMapping, persons: Column) -> pa.Table:
    """Activities of which a record keeps the last instant only; each instant that we see is one of `persons`'."""
    parts = [ACTIVITY.empty_table()]
    for kind, name in mapping.traces.items():
        instants = value(group, _instant_rule(name), f"traces.{kind}", INSTANT)
        is_trace = pc.and_not(pc.is_valid(instants), group.rows["is_deleted"].combine_chunks())
        at = pc.indices_nonzero(is_trace)
        happened_at = instants.take(at)
        moment = pc.strftime(
            pc.floor_temporal(happened_at, unit="second").cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ"
        )
        native_id = joined(group.rows["native_id"].combine_chunks().take(at), kind, moment, separator="/")
        columns = {"native_id": native_id, "kind": repeated(kind, len(at)), "happened_at": happened_at}
        parts.append(_table(group, columns, persons.take(at)))
    return pa.concat_tables(parts)


def _instant_rule(*names: str) -> FieldRule:
    return FieldRule.model_validate({"from": names, "transform": ("datetime",)})


def _table(group: Group, columns: dict[str, Column], records: Column) -> pa.Table:
    size = len(records)
    system, stream = repeated(group.system, size), repeated(group.stream, size)
    key = joined(system, stream, columns["native_id"], pc.fill_null(records, ""))
    columns = {**columns, "key": key, "system": system, "stream": stream, "record": records}
    return pa.table([columns.get(field.name, nulls(size, field.type)) for field in ACTIVITY], schema=ACTIVITY)


# --------------------------------------------------------------------------------------------------------------- kinds


def _kinds(group: Group, rules: Sequence[KindRule]) -> tuple[Column, Column, Column]:
    """Kind, channel, and the instant where the kind has one of its own."""
    kinds, channels, instants = nulls(group.size), nulls(group.size), nulls(group.size, INSTANT)
    is_open = pa.repeat(True, group.size)
    for rule in rules:
        fits = is_open
        for name, wanted in rule.when.items():
            fits = pc.and_(fits, _is_one_of(group.natives.text(name), wanted))
        kinds = pc.if_else(fits, rule.kind, kinds)
        channels = pc.if_else(fits, pa.scalar(rule.channel or None, TEXT), channels)
        if rule.happened_at:
            instants = pc.if_else(
                fits, value(group, _instant_rule(*rule.happened_at), "happened_at", INSTANT), instants
            )
        is_open = pc.and_not(is_open, fits)
    return kinds, channels, instants


def _is_one_of(text: Column, wanted: Sequence[str]) -> Column:
    if ANY_OTHER in wanted:
        return pc.is_valid(text)
    folded = pc.utf8_lower(text)
    found = pc.is_in(folded, value_set=pa.array([one.lower() for one in wanted if one and ANY_OTHER not in one], TEXT))
    for one in wanted:
        if one.endswith(ANY_OTHER):
            found = pc.or_(found, pc.fill_null(pc.starts_with(folded, one[:-1].lower()), False))
        elif one.startswith(ANY_OTHER):
            found = pc.or_(found, pc.fill_null(pc.ends_with(folded, one[1:].lower()), False))
    return pc.or_(found, pc.is_null(text)) if "" in wanted else found


def _filtered_because(
    group: Group, scanner: ScannerRule | None, kinds: Column, task_key: Column, happened_at: Column
) -> Column:
    none = pa.scalar(None, TEXT)
    by_machine = _is_scanner(group, scanner, kinds, happened_at) if scanner else pa.repeat(False, group.size)
    return pc.if_else(pc.is_valid(task_key), tables.OWN, pc.if_else(by_machine, tables.SCANNER, none))


def _is_scanner(group: Group, rule: ScannerRule, kinds: Column, happened_at: Column) -> Column:
    """Opens and clicks that no person made: flagged by the system, by a robot's user agent, or right after sending."""
    found = pa.repeat(False, group.size)
    if rule.flag:
        found = pc.is_in(pc.utf8_lower(group.natives.text(rule.flag)), value_set=pa.array(["true"]))
    if rule.user_agent and rule.user_agents:
        pattern = "|".join(rule.user_agents)
        robot = pc.match_substring_regex(group.natives.text(rule.user_agent), pattern, ignore_case=True)
        found = pc.or_(found, pc.fill_null(robot, False))
    if rule.sent_at and rule.too_soon_s:
        sent_at = value(group, _instant_rule(rule.sent_at), "activity.scanner", INSTANT)
        waited_s = pc.seconds_between(sent_at, happened_at)
        found = pc.or_(found, pc.fill_null(pc.less(waited_s, rule.too_soon_s), False))
    return pc.and_(found, pc.fill_null(pc.is_in(kinds, value_set=pa.array(["email_opened", "email_clicked"])), False))


def _properties(group: Group, section: ActivitySection) -> Column:
    """A JSON object of the properties that have a value, made once per distinct combination."""
    names = list(section.properties)
    if not names or not group.size:
        return repeated("{}", group.size)
    columns = [value(group, rule, f"properties.{name}", TEXT) for name, rule in section.properties.items()]
    combined = pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x00")

    def as_json(text: str) -> str:
        found = zip(names, text.split("\x1f"), strict=False)
        return orjson.dumps({name: one for name, one in found if one != "\x00"}).decode()

    return identifiers.over_distinct(combined, as_json, TEXT)


# --------------------------------------------------------------------------------------------------------------- links


def _linked(
    group: Group, links: Sequence[LinkRule], at: Column, happened_at: Column
) -> tuple[Column, Column, tuple[pa.Table, pa.Table]]:
    """Rows and the persons they concern, by the first link that names one; rows that concern nobody stay, with null."""
    rows, records = [], []
    visitors, bare = [tables.record_schema("person").empty_table()], [identities.TOLD.empty_table()]
    for link in links:
        if link.identifier:
            raw = group.natives.text(link.from_).take(at)
            values, reasons = identifiers.normalise(link.identifier, raw, group.region)
            group.note(link.identifier, reasons, raw, group.keys.take(at))
            found_at, keys = at, identities.visitor_keys(group.system, link.identifier, values)
            made, named = identities.visitors(group, link.identifier, values, happened_at.take(at))
            visitors.append(made)
            bare.append(named)
        else:
            lists = group.natives.ids(link.from_).take(at)
            found_at = at.take(pc.list_parent_indices(lists))
            keys = record_keys(group.system, link.record, pc.list_flatten(lists))
        is_found = pc.is_valid(keys)
        found_at, keys = found_at.filter(is_found), keys.filter(is_found)
        rows.append(found_at)
        records.append(keys)
        at = at.filter(pc.invert(pc.is_in(at, value_set=found_at)))
    rows.append(at)
    records.append(nulls(len(at)))
    together = pa.concat_arrays([pc.cast(part, pa.uint64()) for part in rows])
    return together, pa.concat_arrays(records), (pa.concat_tables(visitors), pa.concat_tables(bare))
