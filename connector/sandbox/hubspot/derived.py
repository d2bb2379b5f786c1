"""The read-only properties that the portal itself keeps in step with what is written.

Sources: https://knowledge.hubspot.com/properties/hubspots-default-deal-properties (closed, won, probability) and
https://developers.hubspot.com/docs/api-reference/crm-tasks-v3/guide (completion).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType

DONE = "COMPLETED"
STAGES: Mapping[str, str] = {
    "contacts": "lifecyclestage",
    "companies": "lifecyclestage",
    "deals": "dealstage",
    "tickets": "hs_pipeline_stage",
}


def derived(
    database: sqlite3.Connection, kind: ObjectType, before: Mapping[str, str], changes: Mapping[str, str], now_ms: int
) -> dict[str, str]:
    """What follows from `changes` to a record as it was `before` them; an empty text clears."""
    after = {**before, **changes}
    times = _stage_times(kind, before, changes, now_ms)
    if kind.name == "deals" and ("dealstage" in changes or "pipeline" in changes):
        return times | _deal(database, after)
    if kind.name == "tasks" and "hs_task_status" in changes:
        is_done = after.get("hs_task_status") == DONE
        done_at = after.get("hs_task_completion_date") or iso(now_ms)
        return {"hs_task_completion_date": done_at if is_done else "", "hs_task_is_completed": str(int(is_done))}
    if kind.name == "contacts" and "email" in changes:
        return times | {"hs_email_domain": changes["email"].rpartition("@")[2]}
    return times


def _stage_times(
    kind: ObjectType, before: Mapping[str, str], changes: Mapping[str, str], now_ms: int
) -> dict[str, str]:
    """When the new stage was entered and the old one left: properties that no list shows, to be read by name."""
    name = STAGES.get(kind.name, "")
    old, new = before.get(name, ""), changes.get(name)
    if new is None or new == old:
        return {}
    entered = {f"hs_v2_date_entered_{new}": iso(now_ms), f"hs_v2_date_exited_{new}": ""} if new else {}
    return entered | ({f"hs_v2_date_exited_{old}": iso(now_ms)} if old else {})


def _deal(database: sqlite3.Connection, after: Mapping[str, str]) -> dict[str, str]:
    row = database.execute(
        "SELECT body FROM hubspot_pipeline WHERE object_type = 'deals' AND id = ?",
        (after.get("pipeline") or "default",),
    ).fetchone()
    stages = orjson.loads(row["body"])["stages"] if row is not None else []
    metadata: Mapping[str, Any] = next(
        (stage["metadata"] for stage in stages if stage["id"] == after.get("dealstage")), {}
    )
    probability = str(metadata.get("probability", ""))
    is_closed = str(metadata.get("isClosed", "")).lower() == "true"
    is_won = is_closed and probability not in ("", "0", "0.0")
    return {
        "hs_is_closed": str(is_closed).lower(),
        "hs_is_closed_won": str(is_won).lower(),
        "hs_deal_stage_probability": probability,
    }
