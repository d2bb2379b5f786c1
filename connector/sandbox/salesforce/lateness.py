"""Transactions that commit late: a record is seen some time after its SystemModstamp, which was set when it was written.

`SystemModstamp` is set during the transaction and a transaction may run ten minutes (Apex Developer Guide, "Execution Governors
and Limits"), so a reader who only asks for what is newer than the newest that it saw loses such records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from connector.sandbox.database import transaction
from connector.sandbox.salesforce.instants import instant_text
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError

Do = Callable[[Org, Mapping[str, Any]], dict[str, Any]]


class _NotYetError(Exception):
    """Leaves the trial of a change that is to be committed later."""


def postpone(org: Org, payload: Mapping[str, Any], lag_s: float, do: Do) -> dict[str, Any]:
    """Try a change, undo it, and keep it for later; gives what it gave. Raises what it raises."""
    result: dict[str, Any] = {}
    try:
        with transaction(org.database):
            result = do(org, payload)
            raise _NotYetError
    except _NotYetError:
        org.rolled_back()
    now = org.now()
    kept = {**payload, "id": result["id"]}
    org.database.execute(
        "INSERT INTO sf_pending (due_at, stamp, payload) VALUES (?, ?, ?)",
        ((now + timedelta(seconds=lag_s)).isoformat(), instant_text(now), orjson.dumps(kept).decode()),
    )
    org.look_again_at(now)
    return result


def commit_due(org: Org, do: Do) -> datetime | None:
    """Commit what is due, with the stamp of when it was written; gives when the next is due."""
    now = org.now().isoformat()
    rows = org.database.execute("SELECT * FROM sf_pending WHERE due_at <= ? ORDER BY number", (now,)).fetchall()
    for row in rows:
        org.database.execute("DELETE FROM sf_pending WHERE number = ?", (row["number"],))
        payload = orjson.loads(row["payload"])
        try:
            with transaction(org.database):
                do(org, {**payload, "stamp": _stamp(org, payload["id"], row["stamp"])})
        except RefusedError:
            continue  # as in the real one: the transaction rolls back, and nobody ever sees it
    following = org.database.execute("SELECT min(due_at) AS due_at FROM sf_pending").fetchone()["due_at"]
    return None if following is None else datetime.fromisoformat(following)


def _stamp(org: Org, native: str, stamp: str) -> str:
    """When a change was written; not before one of the same record that is committed, which would have waited for its lock."""
    one = org.schema.of_id(native)
    assert one is not None
    query = f"SELECT SystemModstamp FROM {one.table} WHERE Id = ?"
    held = org.database.execute(query, (native,)).fetchone()
    return stamp if held is None else max(stamp, held["SystemModstamp"])


def oldest_open(org: Org) -> str | None:
    """The stamp of the oldest transaction that has not committed: `latestDateCovered` does not go past it."""
    found: str | None = org.database.execute("SELECT min(stamp) AS stamp FROM sf_pending").fetchone()["stamp"]
    return found
