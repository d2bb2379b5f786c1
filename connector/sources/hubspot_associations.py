"""Associations of records that changed, by the v4 batch read: which company, which contacts, which deals.

1,000 ids a call (changelog 2025-02-10 "Batch read limit for associations"). A record with none gives an error
`NO_ASSOCIATIONS_FOUND` in a 207 answer, which means an empty list. A record with many carries `paging.next.after`: its
further pages are asked for with the others', or edges would be lost. `toObjectId` comes as a number or as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.sources.hubspot_client import Api, Json, told

IDS_PER_CALL = 1000

_ALL = ("contacts", "companies", "deals")
#: object type -> the types whose ids go into `native` as `associations.<type>`
OF: Mapping[str, tuple[str, ...]] = {
    "contacts": ("companies",),
    "deals": ("contacts", "companies"),
    "tickets": _ALL,
    "calls": _ALL,
    "emails": _ALL,
    "meetings": _ALL,
    "notes": _ALL,
    "tasks": _ALL,
    "communications": _ALL,
}

#: The association types that HubSpot defines from a task to a record (documentation "Associations", type ids).
TASK_TO: Mapping[str, int] = {"contacts": 204, "companies": 192, "deals": 216, "tickets": 230}

PRIMARY = "Primary"


def associated(api: Api, from_type: str, to_type: str, ids: Sequence[str]) -> dict[str, list[str]]:
    """The ids of `to_type` that each record is associated with, the primary one first; every one of `ids` is a key.

    Raises Untold for any other error than that a record has none or is gone: an edge that was not told must not look like
    one that is not there.
    """
    found: dict[str, list[str]] = {record_id: [] for record_id in ids}
    todo: list[Json] = [{"id": record_id} for record_id in found]
    while todo:
        batch, todo = todo[:IDS_PER_CALL], todo[IDS_PER_CALL:]
        answer = api.associated(from_type, to_type, batch)
        for row in told(answer, f"associations of {from_type} with {to_type}"):
            record_id = str(row["from"]["id"])
            targets = found.setdefault(record_id, [])
            for target in row["to"]:
                if _is_primary(target):
                    targets.insert(0, str(target["toObjectId"]))
                else:
                    targets.append(str(target["toObjectId"]))
            after = ((row.get("paging") or {}).get("next") or {}).get("after")
            if after:
                todo.append({"id": record_id, "after": str(after)})
    return found


def _is_primary(target: Json) -> bool:
    return any(kind.get("label") == PRIMARY for kind in target.get("associationTypes") or ())
