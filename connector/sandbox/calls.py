"""Every API call that was made, with what it cost, so that calls can be counted."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from connector.sandbox.clock import SandboxClock

FLUSH_AT_CALLS = 500

_NUMBER = re.compile(r"^\d+$")
_SALESFORCE_ID = re.compile(r"^(?=.*\d)[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?$")
_CURSOR = re.compile(r"^01g.*-\d+$")


def path_pattern(path: str) -> str:
    """The path with record ids, numbers and paging cursors replaced, so that calls can be grouped."""
    segments = path.split("?", 1)[0].rstrip("/").split("/")
    return "/".join(_segment_pattern(segment) for segment in segments)


def _segment_pattern(segment: str) -> str:
    if _CURSOR.match(segment):
        return "{cursor}"
    if _NUMBER.match(segment) or _SALESFORCE_ID.match(segment):
        return "{id}"
    return segment


class CallLog:
    """Records calls in memory and writes them in batches; reading writes what is waiting first."""

    def __init__(self, database: sqlite3.Connection, clock: SandboxClock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[Any, ...]] = []
        self._cost_by_hour: dict[tuple[str, datetime], int] = defaultdict(int)
        self._restore_cost()

    def _restore_cost(self) -> None:
        since = (self._clock.now() - timedelta(hours=24)).isoformat()
        query = "SELECT system, substr(at, 1, 13) AS hour, sum(cost) AS cost FROM api_call WHERE at > ? GROUP BY 1, 2"
        for row in self._database.execute(query, (since,)):
            hour = datetime.fromisoformat(f"{row['hour']}:00:00+00:00")
            self._cost_by_hour[row["system"], hour] = row["cost"]

    def record(
        self, system: str, method: str, path: str, status: int, *, cost: int = 1, bucket: str = "", records: int = 0
    ) -> None:
        """Note one call. The server does this for every request; `cost` is in the vendor's quota units.

        `bucket` names the limit that the call counted against and `records` how many records it carried.
        """
        now = self._clock.now()
        self._cost_by_hour[system, now.replace(minute=0, second=0, microsecond=0)] += cost
        self._waiting.append((now.isoformat(), system, method, path, path_pattern(path), status, cost, bucket, records))
        if len(self._waiting) >= FLUSH_AT_CALLS and not self._database.in_transaction:
            self.flush()

    def flush(self) -> None:
        """Write the waiting calls to table `api_call`."""
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO api_call (at, system, method, path, pattern, status, cost, bucket, records) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._database.execute("COMMIT")

    def used_last_day(self, system: str) -> int:
        """Cost of the calls of `system` in the last 24 hours (counted by the hour)."""
        return self.used_since(system, self._clock.now() - timedelta(hours=24))

    def used_since(self, system: str, since: datetime) -> int:
        """Cost of the calls of `system` since an instant of the last 24 hours (counted by the hour)."""
        return sum(cost for (name, hour), cost in self._cost_by_hour.items() if name == system and hour >= since)

    def rows(self, since_id: int = 0) -> list[dict[str, Any]]:
        """The calls after `since_id`, oldest first."""
        self.flush()
        return [
            dict(row) for row in self._database.execute("SELECT * FROM api_call WHERE id > ? ORDER BY id", (since_id,))
        ]

    def summary(self, since_id: int = 0) -> dict[str, Any]:
        """Counts and costs after `since_id`: in all, by system, and by system, method and path pattern."""
        self.flush()
        columns = "count(*) AS calls, coalesce(sum(cost), 0) AS cost, coalesce(sum(records), 0) AS records"
        query = f"SELECT {{keys}}{columns} FROM api_call WHERE id > ?{{group}}"
        whole = self._database.execute(query.format(keys="", group=""), (since_id,)).fetchone()
        last = self._database.execute("SELECT coalesce(max(id), 0) AS id FROM api_call").fetchone()
        by_system = self._database.execute(
            query.format(keys="system, ", group=" GROUP BY system ORDER BY system"), (since_id,)
        )
        by_path = self._database.execute(
            query.format(
                keys="system, method, pattern AS path, ", group=" GROUP BY system, method, pattern ORDER BY cost DESC"
            ),
            (since_id,),
        )
        return {
            **dict(whole),
            "last_id": last["id"],
            "by_system": {row["system"]: dict(row) for row in by_system},
            "by_path": [dict(row) for row in by_path],
        }
