"""One rule on a group of rows: a column of values, and a note for each text that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from connector import identifiers
from connector.identifiers import over_distinct
from connector.mapping import transforms
from connector.mapping.columns import Column, Natives, hashed, joined, nulls, pc, repeated
from connector.mapping.section import ANY_OTHER, FieldRule
from connector.tables import BOOL, TEXT

#: Why a value or a record was set aside. `field` is ours ("" for a record); the value itself is never kept.
QUARANTINED = pa.schema([("record", TEXT), ("stream", TEXT), ("field", TEXT), ("reason", TEXT), ("value_hash", TEXT)])


@dataclass(frozen=True, slots=True)
class Group:
    """A group of rows that is being mapped: its native fields and keys, and the notes that gather on the way."""

    system: str
    stream: str
    region: transforms.Region  # of national phone numbers: the record's country, else the default
    now: datetime
    natives: Natives
    keys: Column
    rows: pa.Table
    notes: list[pa.Table] = field(default_factory=list)
    normalised: dict[tuple[str, str, str], tuple[Column, Column]] = field(default_factory=dict)  # read once, used twice

    @property
    def size(self) -> int:
        return self.natives.size

    def identifier(self, kind: str, name: str, network: str = "") -> tuple[Column, Column]:
        """A native field as identifiers of a type: values and reasons."""
        key = (kind, name, network)
        if key not in self.normalised:
            self.normalised[key] = identifiers.normalise(kind, self.natives.text(name), self.region, network)
        return self.normalised[key]

    def note(self, name: str, reasons: Column | None, raw: Column, keys: Column | None = None) -> None:
        """Set aside the values that have a reason."""
        if reasons is None or reasons.null_count == len(reasons):
            return
        is_odd = pc.is_valid(reasons)
        odd = reasons.filter(is_odd)
        records = (self.keys if keys is None else keys).filter(is_odd)
        size = len(odd)
        self.notes.append(
            pa.table(
                [records, repeated(self.stream, size), repeated(name, size), odd, hashed(raw.filter(is_odd))],
                schema=QUARANTINED,
            )
        )


def value(group: Group, rule: FieldRule | None, name: str, kind: pa.DataType) -> Column:
    """The values that a rule gives for our field `name`, of the given type; null where there is none."""
    if rule is None or (not rule.from_ and rule.constant is None):
        return nulls(group.size, kind)
    if rule.constant is not None:
        return pc.cast(pa.repeat(pa.scalar(rule.constant), group.size), kind)
    if rule.join is not None:
        together = nulls(group.size)
        for native in rule.from_:
            text = group.natives.text(native)
            together = pc.coalesce(joined(together, text, separator=rule.join), together, text)
        return _transformed(group, rule, name, kind, together)
    if kind == BOOL and len(rule.from_) > 1:
        columns = [_transformed(group, rule, name, kind, group.natives.text(native)) for native in rule.from_]
        return _any(columns)
    transform = rule.transform or (transforms.usual(name, kind),)
    if transform in (("email",), ("phone",), ("domain",)) and len(rule.from_) == 1 and not rule.map and not rule.record:
        values, reasons = group.identifier(transform[0], rule.from_[0])
        group.note(name, reasons, group.natives.text(rule.from_[0]))
        return values
    return _transformed(group, rule, name, kind, group.natives.first(rule.from_))


def _any(columns: list[Column]) -> Column:
    """Yes if one says yes, else no if one says no."""
    found = columns[0]
    for column in columns[1:]:
        found = pc.coalesce(pc.or_(found, column), found, column)
    return found


def _transformed(group: Group, rule: FieldRule, name: str, kind: pa.DataType, raw: Column) -> Column:
    column, reasons = raw, None
    if rule.map:
        column, reasons = _looked_up(raw, rule.map)
        group.note(name, reasons, raw)
    if rule.record:
        return record_keys(group.system, rule.record, column)
    usual = () if rule.map and kind == TEXT else (transforms.usual(name, kind),)
    for transform in rule.transform or usual:
        if not pa.types.is_string(column.type):
            column = pc.cast(column, TEXT)
        column, reasons = transforms.TRANSFORMS[transform](column, group.region)
        group.note(name, reasons, raw)
    return column if column.type == kind else pc.cast(column, kind)


def _looked_up(column: Column, values: Mapping[str, str]) -> tuple[Column, Column]:
    """Canonical values of native ones, whatever their case; what the map does not have is odd unless it has `*`."""
    folded = {native.casefold(): canonical for native, canonical in values.items()}
    other = folded.get(ANY_OTHER)
    found = over_distinct(column, lambda text: folded.get(text.strip().casefold(), other), TEXT)
    is_odd = pc.and_(pc.is_valid(column), pc.is_null(found))
    emptied = pc.if_else(pc.equal(found, ""), None, found)
    return emptied, pc.if_else(is_odd, "not in the map of this field", pa.scalar(None, TEXT))


def record_keys(system: str, record: str | Mapping[str, str], ids: Column) -> Column:
    """Keys of the records that native ids name; null where the id fits no object type."""
    if isinstance(record, str):
        other, _, object_type = record.rpartition(".")
        return joined(repeated(f"{other or system}|{object_type}", len(ids)), ids)
    keys = nulls(len(ids))
    for beginning, object_type in record.items():
        fits = pc.starts_with(ids, beginning)
        keys = pc.if_else(fits, joined(repeated(f"{system}|{object_type}", len(ids)), ids), keys)
    return keys
