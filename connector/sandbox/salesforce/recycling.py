"""The recycle bin: deleted records stay readable by `queryAll` for fifteen days, and can be brought back until then.

Salesforce Help, "Recycle Bin"; SOAP API Developer Guide, "undelete()", which brings back what went with a record, too. What the
generated history deleted stays, so that merged records can still be followed to the record that survived.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from connector.sandbox.database import read_setting, write_setting
from connector.sandbox.salesforce.cascades import is_cascade
from connector.sandbox.salesforce.instants import instant_text, parse_instant
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.validation import check_unique

BIN_LIFE = timedelta(days=15)
EMPTIED_EVERY = timedelta(hours=1)
BIN_BEGAN_AT = "salesforce_bin_began_at"


def begin(org: Org) -> None:
    """Note when the org began to be used: what was deleted before is history."""
    write_setting(org.database, BIN_BEGAN_AT, org.now_text())


def empty_old(org: Org) -> datetime:
    """Remove for good what was deleted more than fifteen days ago; gives when to look again."""
    now = org.now()
    began = read_setting(org.database, BIN_BEGAN_AT)
    oldest = instant_text(now - BIN_LIFE)
    if began is not None and parse_instant(began) < now - BIN_LIFE:
        for one in org.schema.objects.values():
            org.database.execute(
                f"DELETE FROM {one.table} WHERE IsDeleted = 1 AND Id IN "
                "(SELECT id FROM sf_deleted WHERE object = ? AND deleted_at >= ? AND deleted_at < ?)",
                (one.name, began, oldest),
            )
    return now + EMPTIED_EVERY


def keep_with(org: Org, parent: str, one: SObject, native: str) -> None:
    """Note that a record goes with another that is deleted, with its values where its object has no recycle bin."""
    values = None if one.is_undeletable else orjson.dumps(_row(org, one, native)).decode()
    org.database.execute(
        "INSERT INTO sf_gone_with (parent, object, id, row) VALUES (?, ?, ?, ?)", (parent, one.name, native, values)
    )


def is_in_bin(org: Org, one: SObject, native: str) -> bool:
    """Whether a record lies in the bin by itself: what went with another is there only as a part of that."""
    row = org.database.execute(f"SELECT IsDeleted FROM {one.table} WHERE Id = ?", (native,)).fetchone()
    with_another = org.database.execute("SELECT 1 FROM sf_gone_with WHERE id = ?", (native,)).fetchone()
    return row is not None and bool(row["IsDeleted"]) and with_another is None


def undelete(org: Org, user_id: str, one: SObject, native: str) -> None:
    """Bring a record back with what went with it; raises UNDELETE_FAILED when it is not in the bin, and DUPLICATE_VALUE when
    another holds a unique value by now."""
    if not is_in_bin(org, one, native):
        raise RefusedError("UNDELETE_FAILED", "Entity is not in the recycle bin")
    _bring_back(org, user_id, one, native)
    for row in sorted(gone_with(org, native), key=lambda row: row["row"] is not None):
        child = org.object(row["object"])
        values = orjson.loads(row["row"]) if row["row"] is not None else _row(org, child, row["id"])
        missing = _missing_parent(org, child, values)
        if missing is not None:
            org.database.execute("UPDATE sf_gone_with SET parent = ? WHERE id = ?", (missing, row["id"]))
        elif row["row"] is not None:
            _put_back(org, user_id, child, values)
        else:
            _bring_back(org, user_id, child, row["id"])
    org.database.execute("DELETE FROM sf_gone_with WHERE parent = ?", (native,))


def _row(org: Org, one: SObject, native: str) -> dict[str, Any]:
    return dict(org.database.execute(f"SELECT * FROM {one.table} WHERE Id = ?", (native,)).fetchone())


def _missing_parent(org: Org, one: SObject, row: Mapping[str, Any]) -> str | None:
    """What a record that comes back would go with, too, and what is deleted itself: it waits for that."""
    for reference in one.fields.values():
        native = row.get(reference.name) if reference.to and is_cascade(one, reference) else None
        parent = org.schema.of_id(native) if native else None
        if parent is not None:
            live = f"SELECT 1 FROM {parent.table} WHERE Id = ? AND IsDeleted = 0"
            if org.database.execute(live, (native,)).fetchone() is None:
                head = org.database.execute("SELECT parent FROM sf_gone_with WHERE id = ?", (native,)).fetchone()
                return str(native if head is None else head["parent"])
    return None


def gone_with(org: Org, native: str) -> list[sqlite3.Row]:
    """`object`, `id` and `row` of what went with a record."""
    return org.database.execute("SELECT * FROM sf_gone_with WHERE parent = ? ORDER BY rowid", (native,)).fetchall()


def erase(org: Org, one: SObject, native: str) -> None:
    """Remove a deleted record for good, past the recycle bin, and what went with it."""
    for row in gone_with(org, native):
        org.database.execute(f"DELETE FROM {org.object(row['object']).table} WHERE Id = ?", (row["id"],))
    org.database.execute("DELETE FROM sf_gone_with WHERE parent = ?", (native,))
    org.database.execute(f"DELETE FROM {one.table} WHERE Id = ?", (native,))


def _bring_back(org: Org, user_id: str, one: SObject, native: str) -> None:
    check_unique(org, one, _row(org, one, native), native)
    now = org.now_text()
    org.database.execute(
        f"UPDATE {one.table} SET IsDeleted = 0, LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ? WHERE Id = ?",
        (now, user_id, now, native),
    )
    if "MasterRecordId" in one.fields:
        org.database.execute(f"UPDATE {one.table} SET MasterRecordId = NULL WHERE Id = ?", (native,))
    org.database.execute("DELETE FROM sf_deleted WHERE object = ? AND id = ?", (one.name, native))


def _put_back(org: Org, user_id: str, one: SObject, row: dict[str, Any]) -> None:
    now = org.now_text()
    row |= {"LastModifiedDate": now, "LastModifiedById": user_id, "SystemModstamp": now}
    names = ", ".join(f'"{name}"' for name in row)
    org.database.execute(f"INSERT INTO {one.table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    org.database.execute("DELETE FROM sf_deleted WHERE object = ? AND id = ?", (one.name, row["Id"]))
