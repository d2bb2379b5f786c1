"""Listing everything: at first, and anew for what changes without a modified date and what vanishes without a trace.

Calculated properties and associations do not change a record's modified date (estuary/connectors issue 3515). A record
that is erased under GDPR is in no list and answers 404; one that was merged away while we did not look vanishes too
(HubSpot knowledge base "Perform a GDPR delete", "Merge records"). So every record is listed again once in
`refresh_every`, and an id that we hold and the list does not is asked for by batch read: it is there after all (made
meanwhile), lives on in another record, or is gone. So it is with the first listing of all, of activities too: whoever
lets go of the cursor (a full pull, another mapping) forgets from when deletions are to be told, and holds records.

Activities are many and hardly change once they are old, so of them only the younger ones are read anew, for what was
linked to them or calculated since: at most 20,000 of a type, 100 calls. They cannot be merged, their archived ones are in
the archived list like all others, and an erased person's go with the person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from connector.sources import hubspot_search as search
from connector.sources.hubspot_client import Api, told
from connector.sources.hubspot_records import MERGED, Listing
from connector.sources.hubspot_search import Found, Going, Horizons, Position, Wanted

READ_AT_ONCE = 100
#: Of a type, in one reading anew.
MOST_ACTIVITIES = 20_000
_NO_END = 2**63 - 1


def listed(
    api: Api, wanted: Wanted, start: Position, horizons: Horizons, held: Callable[[], pa.Array[Any]] | None
) -> Iterator[Found]:
    """Every record by growing id, with the ids that we hold and HubSpot no longer has: the back-fill until it was done, later
    everything anew. `held` gives the ids that we hold."""
    ours = _sorted(held()) if held else np.empty(0, np.int64)
    resumed = start.refreshing if start.read_ms else start.listing
    going, total = resumed, None
    above = _id(going.after) if going else 0
    while True:
        page = search.page_by_id(api, wanted, going.after if going else None)
        if page.after is not None and total is None:
            total = search.count(api, wanted.object_type)
        begun_ms = going.begun_ms if going else horizons.begun_ms()
        vanished = _vanished(api, wanted.object_type, _absent(ours, page, above))
        above = max(_listed(page), default=above)
        before = search.rows_before(going)
        going = None if page.after is None else Going(begun_ms, page.after, before + len(page.records))
        left = None if total is None else max(total - search.rows_before(resumed), 0)
        at = _at(start, going, begun_ms, horizons)
        yield Found(page.records, at, total=left, malformed=page.malformed, vanished=vanished)
        if going is None:
            return


def _at(start: Position, going: Going | None, begun_ms: int, horizons: Horizons) -> Position:
    """The position behind a page of the list; at its end everything was read when it began."""
    if start.read_ms:
        return replace(start, refreshing=going, refreshed_ms=start.refreshed_ms if going else begun_ms)
    if going:
        return replace(start, listing=going)
    return Position(begun_ms, begun_ms - horizons.settled_after_ms, begun_ms, begun_ms)


def younger(api: Api, wanted: Wanted, start: Position, horizons: Horizons) -> Iterator[Found]:
    """Every activity that was made in the last `refresh_activities_ms`, by growing id; of too many the youngest."""
    going = start.refreshing
    begun_ms = going.begun_ms if going else horizons.begun_ms()
    since_ms = going.from_ms if going else max(begun_ms - horizons.refresh_activities_ms, search.BEGINNING_MS)
    while True:
        page = search.created_since(api, wanted, since_ms, going.after if going else "")
        if going is None and (page.total or 0) > MOST_ACTIVITIES:
            since_ms = begun_ms - (begun_ms - since_ms) // 2
            continue
        before = going.rows if going else 0
        going = None if page.after is None else Going(begun_ms, page.after, before + len(page.records), since_ms)
        at = replace(start, refreshing=going, refreshed_ms=start.refreshed_ms if going else begun_ms)
        yield Found(page.records, at, malformed=page.malformed)
        if going is None:
            return


def _sorted(ids: pa.Array[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.sort(ids.cast(pa.int64()).to_numpy(zero_copy_only=False))


def _id(after: str) -> int | None:
    """The id that a place in the list stands for; HubSpot's own example of a place is none."""
    return int(after) if after.isdigit() else None


def _listed(page: Listing) -> set[int]:
    return {int(row.id) for row in page.records if row.id.isdigit()}


def _absent(ours: np.ndarray[Any, np.dtype[np.int64]], page: Listing, above: int | None) -> list[str]:
    """The ids that we hold in the part of the list that this page covers, and that are not on it. After which id it begins is
    not known (None) of the first page after a kill, where places are no ids: then it begins with its own first one."""
    listed = _listed(page)
    above = min(listed, default=_NO_END) if above is None else above
    up_to = max(listed, default=above) if page.after is not None else _NO_END
    first, last = np.searchsorted(ours, [above, up_to], side="right")
    return [str(each) for each in ours[first:last].tolist() if each not in listed]


def _vanished(api: Api, object_type: str, ids: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """Those of `ids` that are gone, each with its survivor or None. An answer under another id is that of the survivor. Raises
    Untold where one is not told."""
    found: list[tuple[str, str | None]] = []
    for start in range(0, len(ids), READ_AT_ONCE):
        part = ids[start : start + READ_AT_ONCE]
        body = {"inputs": [{"id": each} for each in part], "properties": [MERGED]}
        rows = told(api.batch(object_type, "read", body), object_type)
        there = {str(row["id"]) for row in rows}
        into = {
            absorbed: str(row["id"]) for row in rows for absorbed in (row["properties"].get(MERGED) or "").split(";")
        }
        found += [(each, into.get(each)) for each in part if each not in there]
    return tuple(found)
