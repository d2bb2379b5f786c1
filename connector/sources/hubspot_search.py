"""Reading CRM objects: the back-fill by list, changes by search, deletions by the archived list.

Why the back-fill lists instead of searching: list pages are not held to 5 calls a second (190 in 10 s at 100 rows are
twice the rows of search), they are read from the database and not from an index that lags, and they are in order of id,
so a change during the read cannot move a row behind us. What changed meanwhile is found by the first search, which
starts before the list.

Why search pages restart from the last row instead of following `after`: `after` is an offset into an order that changes
while we read. A row that is touched moves to the end and shifts an unread row into the part that was already read. Each
page therefore asks for what was modified at or after the last row's millisecond; so the cap of 10,000 results for a
query never comes into play either. A millisecond that fills a whole page (imports and pipeline edits stamp thousands of
records at once) is read by growing `hs_object_id`.

Two horizons: each pass looks back `overlap` behind the last one, since the index lags by moments; once in
`settled_after` it looks back to what was settled then, for rows whose index lagged longer.

Sources: HubSpot's developer documentation, "CRM search" (200 rows a page, 10,000 results, 5 calls a second, indexing
delay) and "Usage guidelines"; the shifting of offsets follows from both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from connector.errors import ProtocolError
from connector.sources.hubspot_client import Api, Json, next_after, results

SEARCH_PAGE = 200
#: A GET with a longer query is refused with 414 (seen above 8,000 characters); such a back-fill searches.
QUERY_CHARACTERS = 6000
#: Searching from the very beginning of time is answered with 500; no record is this old.
BEGINNING_MS = 1


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def instant_ms(value: Any) -> int | None:
    """A HubSpot instant (ISO 8601 text, or milliseconds as text or number) in milliseconds; None when it is neither."""
    try:
        text = str(value)
        return int(text) if text.isdigit() else milliseconds(datetime.fromisoformat(text))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class Horizons:
    """How far back this pass looks, in milliseconds. `now_ms` is the server's time at its start."""

    now_ms: int
    overlap_ms: int
    settled_after_ms: int
    deletes_every_ms: int


def looked_back_ms(read_ms: int, settled_ms: int, horizons: Horizons) -> int:
    """From where a pass has to read: shortly behind the last one or, when that is due, from what was settled."""
    is_due = horizons.now_ms - settled_ms >= 2 * horizons.settled_after_ms
    behind_ms = read_ms - horizons.overlap_ms
    return max(min(settled_ms, behind_ms) if is_due else behind_ms, BEGINNING_MS)


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading one object type stands: the stream's cursor. Milliseconds of the server's clock.

    read_ms      everything modified before was read, but for stragglers of the index
    settled_ms   everything modified before was read late enough to be complete
    deletes_ms   when the archived records were read last
    listing      while the back-fill goes on: the list's `after` ("" at its start)
    inside       while one millisecond is read by id: the last id of `read_ms`
    """

    read_ms: int
    settled_ms: int
    deletes_ms: int
    listing: str | None = None
    inside: str | None = None

    def __str__(self) -> str:
        held = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return orjson.dumps({name: value for name, value in held.items() if value is not None}).decode()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read: an object type, its properties, and which of them holds the instant of the last change."""

    object_type: str
    properties: Sequence[str]
    modified: str


def position(cursor: str | None, horizons: Horizons) -> Position:
    """The position that a cursor holds; the start of the back-fill for None.

    Raises ProtocolError for a cursor that is not ours.
    """
    if cursor is None:
        now_ms = horizons.now_ms
        return Position(now_ms, now_ms - horizons.settled_after_ms, now_ms, listing="")
    try:
        return Position(**orjson.loads(cursor))
    except (TypeError, orjson.JSONDecodeError):
        raise ProtocolError(
            "the saved cursor is not one of ours", hint="run a full pull of this stream: `connector pull --full`"
        ) from None


@dataclass(frozen=True, slots=True)
class Found:
    """Records of one vendor page and the position to save after them."""

    records: list[Any]
    position: Position
    is_archived: bool = False
    total: int | None = None


def read(api: Api, wanted: Wanted, start: Position, horizons: Horizons) -> Iterator[Found]:
    """Everything since `start`, page by page."""
    now = start
    if start.listing is not None and len(",".join(wanted.properties)) > QUERY_CHARACTERS:
        now = replace(start, read_ms=BEGINNING_MS, settled_ms=BEGINNING_MS, listing=None)
    if now.listing is not None:
        yield from _listed(api, wanted, now)
        return
    for found in _changed(api, wanted, now, horizons):
        now = found.position
        yield found
    if horizons.now_ms - now.deletes_ms >= horizons.deletes_every_ms:
        yield from _archived(api, wanted.object_type, now, horizons.now_ms)


def _listed(api: Api, wanted: Wanted, start: Position) -> Iterator[Found]:
    after: str | None = start.listing or None
    answer = api.listed(wanted.object_type, wanted.properties, after)
    total = _count(api, wanted.object_type) if next_after(answer) else None
    while True:
        after = next_after(answer)
        yield Found(results(answer), replace(start, listing=after), total=total)
        if after is None:
            return
        answer = api.listed(wanted.object_type, wanted.properties, after)


def _count(api: Api, object_type: str) -> int | None:
    """How many records there are, for whoever watches a long back-fill: the list does not tell."""
    total = api.search(object_type, {"limit": 1}).get("total")
    return total if isinstance(total, int) else None


def _changed(api: Api, wanted: Wanted, start: Position, horizons: Horizons) -> Iterator[Found]:
    settled_to_ms = horizons.now_ms - horizons.settled_after_ms
    from_ms, inside = start.read_ms, start.inside
    if inside is None:
        from_ms = looked_back_ms(start.read_ms, start.settled_ms, horizons)
    is_settling = from_ms <= start.settled_ms
    settled_ms = start.settled_ms
    seen: frozenset[str] = frozenset()
    is_over = False
    while not is_over:
        answer = api.search(wanted.object_type, _query(wanted, from_ms, inside))
        rows = results(answer)
        has_more = next_after(answer) is not None
        fresh = [row for row in rows if not (isinstance(row, dict) and row.get("id") in seen)]
        seen = frozenset()
        last_ms = _last_ms(rows, wanted.modified, from_ms)
        if inside is not None:
            from_ms, inside = (from_ms, _last_id(rows, inside)) if has_more else (from_ms + 1, None)
        elif has_more and last_ms == from_ms:
            inside, fresh = "0", []
        else:
            seen = frozenset(row["id"] for row in rows if _ms(row, wanted.modified) == last_ms and "id" in row)
            from_ms, is_over = last_ms, not has_more
        read_ms = max(from_ms, horizons.now_ms, start.read_ms) if is_over else from_ms
        if is_settling:
            settled_ms = max(settled_ms, min(read_ms, settled_to_ms))
        at = replace(start, read_ms=read_ms, inside=inside, settled_ms=settled_ms)
        yield Found(fresh, at, total=answer.get("total"))


def _query(wanted: Wanted, from_ms: int, inside: str | None) -> Json:
    filters: list[Json] = [{"propertyName": wanted.modified, "operator": "GTE", "value": str(from_ms)}]
    order = wanted.modified
    if inside is not None:
        filters = [
            {"propertyName": wanted.modified, "operator": "EQ", "value": str(from_ms)},
            {"propertyName": "hs_object_id", "operator": "GT", "value": inside},
        ]
        order = "hs_object_id"
    return {
        "filterGroups": [{"filters": filters}],
        "sorts": [{"propertyName": order, "direction": "ASCENDING"}],
        "properties": list(wanted.properties),
        "limit": SEARCH_PAGE,
    }


def _archived(api: Api, object_type: str, start: Position, now_ms: int) -> Iterator[Found]:
    """What was archived since the last look. The list knows no filter and no order by time: all of it is read."""
    after: str | None = None
    while True:
        answer = api.listed(object_type, ("hs_object_id",), after, is_archived=True)
        after = next_after(answer)
        rows = [row for row in results(answer) if _archived_ms(row) >= start.deletes_ms - ARCHIVE_OVERLAP_MS]
        yield Found(rows, start if after else replace(start, deletes_ms=now_ms), is_archived=True)
        if after is None:
            return


#: The server stamps a deletion with its own clock, we the look with the earlier of both.
ARCHIVE_OVERLAP_MS = 60_000


def _archived_ms(row: Any) -> int:
    stamped = instant_ms(row.get("archivedAt")) if isinstance(row, dict) else None
    return sys.maxsize if stamped is None else stamped


def _ms(row: Any, modified: str) -> int | None:
    properties = row.get("properties") if isinstance(row, dict) else None
    return instant_ms(properties.get(modified)) if isinstance(properties, dict) else None


def _last_ms(rows: Sequence[Any], modified: str, from_ms: int) -> int:
    """The instant of the last row that tells one; never before `from_ms`, so that reading always goes on."""
    return max((ms for row in reversed(rows) if (ms := _ms(row, modified)) is not None), default=from_ms)


def _last_id(rows: Sequence[Any], inside: str) -> str:
    """The highest id of the page. Raises ProtocolError when it is not beyond `inside`, or reading would never end."""
    ids = (str(row.get("id")) for row in rows if isinstance(row, dict))
    last = max((int(record_id) for record_id in ids if record_id.isdigit()), default=0)
    if last <= int(inside):
        raise ProtocolError("a search by growing id does not go on", hint="HubSpot may have changed its search")
    return str(last)
