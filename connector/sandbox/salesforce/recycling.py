"""The recycle bin: deleted records stay readable by `queryAll` for fifteen days, and can be brought back until then.

Salesforce Help, "Recycle Bin"; SOAP API Developer Guide, "undelete()". What the generated history deleted stays, so that merged
records can still be followed to the record that survived.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.sandbox.database import read_setting, write_setting
from connector.sandbox.salesforce.instants import instant_text, parse_instant
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject

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


def undelete(org: Org, user_id: str, one: SObject, native: str) -> None:
    """Bring a record back; raises UNDELETE_FAILED when it is not in the bin."""
    row = org.database.execute(f"SELECT IsDeleted FROM {one.table} WHERE Id = ?", (native,)).fetchone()
    if row is None or not row["IsDeleted"]:
        raise RefusedError("UNDELETE_FAILED", "Entity is not in the recycle bin")
    now = org.now_text()
    org.database.execute(
        f"UPDATE {one.table} SET IsDeleted = 0, LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ? WHERE Id = ?",
        (now, user_id, now, native),
    )
    if "MasterRecordId" in one.fields:
        org.database.execute(f"UPDATE {one.table} SET MasterRecordId = NULL WHERE Id = ?", (native,))
    org.database.execute("DELETE FROM sf_deleted WHERE object = ? AND id = ?", (one.name, native))
