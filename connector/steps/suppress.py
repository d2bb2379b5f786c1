"""People who were purged are not taken in again: what a group of pages maps to, less whatever is on the suppression list.

The list holds keyed hashes of record keys and identifiers. A record is recognised by its key, or by an identifier: every type but a
phone alone, which colleagues and families share; a phone counts for a record that has no e-mail. What was merged into a record on
the list is theirs, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from connector import tables
from connector.mapping import Mapped
from connector.mapping.columns import Column, pc
from connector.model import Kind
from connector.state import State, erasure

_PHONE, _EMAIL = "phone", "email"


@dataclass(frozen=True)
class Suppressed:
    """The list as it was when the pull began, and whom it recognised since: what is read of them afterwards is theirs, too."""

    state: State
    key: bytes
    hashes: set[str]

    def without(self, mapped: Mapped, kind: Kind) -> Mapped:
        """The mapped group without purged people; what is left out counts as filtered."""
        if not self.hashes:
            return mapped
        keys = self._known(mapped)
        found = self._recognised(mapped)
        learned = {erasure.hashed(self.key, erasure.RECORD, key): cause for key, cause in found.items()}
        erasure.suppress_found(self.state, list(learned.items()))
        self.hashes.update(learned)
        gone = pa.array(sorted({*keys, *found}), tables.TEXT)
        if not len(gone):
            return mapped
        records = _less(_less(mapped.records, "key", gone), "person", gone)
        activities = _less(mapped.activities, "record", gone)
        lost = mapped.records.num_rows - records.num_rows
        if kind is Kind.ACTIVITY:
            lost = _distinct(mapped.activities) - _distinct(activities)
        return replace(
            mapped,
            records=records,
            activities=activities,
            identifiers=_less(mapped.identifiers, "record", gone),
            roles=_less(mapped.roles, "person", gone),
            visitors=_less(mapped.visitors, "key", gone),
            observed=_less(mapped.observed, "record", gone),
            quarantined=_less(mapped.quarantined, "record", gone),
            filtered=mapped.filtered + lost,
            kept_out=sorted({*keys, *found}),
        )

    def _known(self, mapped: Mapped) -> list[str]:
        """Record keys in the group that are on the list."""
        columns = [
            (mapped.records, "key"),
            (mapped.records, "person"),
            (mapped.visitors, "key"),
            (mapped.activities, "record"),
        ]
        columns += [(mapped.roles, "person"), (mapped.identifiers, "record"), (mapped.observed, "record")]
        keys: set[str] = set()
        for table, name in columns:
            if name in table.column_names:
                keys.update(pc.drop_null(table[name].unique()).to_pylist())
        return [key for key in keys if erasure.hashed(self.key, erasure.RECORD, key) in self.hashes]

    def _recognised(self, mapped: Mapped) -> Mapping[str, str]:
        """Records of people with an identifier that is on the list, and the hash of that identifier."""
        people = mapped.identifiers.filter(pc.equal(mapped.identifiers["record_kind"], Kind.PERSON.value))
        rows = zip(*(people[name].to_pylist() for name in ("record", "type", "value")), strict=True)
        named = [(record, kind, erasure.hashed(self.key, kind, value)) for record, kind, value in rows]
        with_email = {record for record, kind, _ in named if kind == _EMAIL}
        found = {
            record: hash_
            for record, kind, hash_ in named
            if hash_ in self.hashes and not (kind == _PHONE and record in with_email)
        }
        return {**found, **self._merged(mapped.records)}

    def _merged(self, records: pa.Table) -> Mapping[str, str]:
        """Records that were merged into one that is on the list, and the hash of that one."""
        if "merged_into" not in records.column_names:
            return {}
        merged = records.filter(pc.is_valid(records["merged_into"]))
        pairs = zip(merged["key"].to_pylist(), merged["merged_into"].to_pylist(), strict=True)
        named = {str(key): erasure.hashed(self.key, erasure.RECORD, str(into)) for key, into in pairs}
        return {key: hash_ for key, hash_ in named.items() if hash_ in self.hashes}


def load(state: State) -> Suppressed:
    """The list; without an entry it costs nothing."""
    hashes = erasure.suppressions(state)
    return Suppressed(state, erasure.key_of(state) if hashes else b"", set(hashes))


def _less(table: pa.Table, name: str, gone: Column) -> pa.Table:
    if name not in table.column_names or not table.num_rows:
        return table
    return table.filter(pc.invert(pc.is_in(table[name], value_set=gone)))


def _distinct(activities: pa.Table) -> int:
    return len(activities["native_id"].unique())
