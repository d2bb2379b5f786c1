"""Reading CRM objects: the back-fill by list, changes by search, deletions by the archived list, the rest by listing anew.

Why the back-fill lists instead of searching: list pages are not held to 5 calls a second (190 in 10 s at 100 rows are
twice the rows of search), they are read from the database and not from an index that lags, and they are in order of id,
so a change during the read cannot move a row behind us. What changed meanwhile is found by the first search, which
starts before the list. More properties than a URL takes are read by search, in the same order.

Why search goes by growing `hs_object_id` and never by `after`: `after` is an offset into an order by time that changes
while we read. A row that is touched moves to the end and shifts an unread row into the part that was already read.
Each page therefore asks for what was modified since, with an id above the last one's: a row that is touched keeps its
place. HubSpot's cap of 10,000 results for a query never comes into play, any number of records may share one
millisecond (imports and pipeline edits stamp thousands at once), no row comes twice, and N rows take N / 200 calls.

Two horizons: each pass looks back `overlap` behind the beginning of the last one, since the index lags by moments; once
in `settled_after` it looks back to what was settled then, for rows whose index lagged longer.

What no modified date shows (calculated properties, associations, erased records) is found by listing everything anew,
once in `refresh_every`: see `hubspot_refresh`, which lists for the back-fill, too.

Sources: HubSpot's developer documentation, "CRM search" (200 rows a page, 10,000 results, 5 calls a second, indexing
delay) and "Usage guidelines"; the shifting of offsets follows from both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import orjson

from connector.errors import ProtocolError
from connector.sources.hubspot_client import CHANGED_HINT, Api, Json
from connector.sources.hubspot_records import Listing, Record

SEARCH_PAGE = 200
#: A GET with a longer query is refused with 414 (seen above 8,000 characters); such records are read by search.
QUERY_CHARACTERS = 6000
#: Searching from the very beginning of time is answered with 500; no record is this old.
BEGINNING_MS = 1
BY_ID = "hs_object_id"
#: When an activity was made.
CREATED = "hs_createdate"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S = 86_400


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    since = instant - _EPOCH
    return (since.days * _DAY_S + since.seconds) * 1000 + since.microseconds // 1000


def instant_ms(value: Any) -> int | None:
    """A HubSpot instant (ISO 8601 text, or milliseconds as text or number) in milliseconds; None when it is neither."""
    try:
        text = str(value)
        if text.isdigit():
            return int(text)
        instant = datetime.fromisoformat(text)
        return milliseconds(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class Horizons:
    """How far back this pass looks, in milliseconds.

    `begun_ms` tells when the pass began by the server's clock, as far as its answers have told that clock until now.
    """

    begun_ms: Callable[[], int]
    overlap_ms: int
    settled_after_ms: int
    deletes_every_ms: int
    refresh_every_ms: int = sys.maxsize
    refresh_activities_ms: int = 0


def looked_back_ms(read_ms: int, settled_ms: int, horizons: Horizons) -> int:
    """From where a pass has to read: shortly behind the last one or, when that is due, from what was settled."""
    is_due = horizons.begun_ms() - settled_ms >= 2 * horizons.settled_after_ms
    behind_ms = read_ms - horizons.overlap_ms
    return max(min(settled_ms, behind_ms) if is_due else behind_ms, BEGINNING_MS)


@dataclass(frozen=True, slots=True)
class Going:
    """A part of a pass that has not come to its end: when it began, after which id it goes on, how many rows it gave."""

    begun_ms: int
    after: str
    rows: int
    from_ms: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading one object type stands: the stream's cursor. Milliseconds of the server's clock.

    read_ms       everything modified before was read, but for stragglers of the index; 0 before the back-fill's end
    settled_ms    everything modified before was read late enough to be complete
    deletes_ms    when the archived records were read last
    refreshed_ms  when everything was listed last
    listing, searching, archiving, refreshing   what goes on after a kill
    hidden        properties that were asked for and that the portal did not show
    """

    read_ms: int = 0
    settled_ms: int = 0
    deletes_ms: int = 0
    refreshed_ms: int = 0
    listing: Going | None = None
    searching: Going | None = None
    archiving: Going | None = None
    refreshing: Going | None = None
    hidden: Sequence[str] = ()

    def __str__(self) -> str:
        return orjson.dumps({name: value for name, value in asdict(self).items() if value not in (None, ())}).decode()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read: an object type, its properties, and which of them holds the instant of the last change."""

    object_type: str
    properties: Sequence[str]
    modified: str

    @property
    def fits_url(self) -> bool:
        """Whether the properties can be asked for by GET."""
        return len(",".join(self.properties)) <= QUERY_CHARACTERS


def position(cursor: str | None) -> Position:
    """The position that a cursor holds; the start of the back-fill for None.

    Raises ProtocolError for a cursor that is not ours.
    """
    if cursor is None:
        return Position()
    try:
        held = orjson.loads(cursor)
        parts = {name: Going(**value) for name, value in held.items() if isinstance(value, dict)}
        return Position(**{**held, **parts})
    except (TypeError, AttributeError, orjson.JSONDecodeError):
        raise ProtocolError(
            "the saved cursor is not one of ours", hint="run a full pull of this stream: `connector pull --full`"
        ) from None


@dataclass(frozen=True, slots=True)
class Found:
    """Records of one vendor page and the position to save after them; `malformed`: why some of the page are no records.
    `vanished`: ids that no list has any more, each with the record that absorbed it, where one did."""

    records: list[Record]
    position: Position
    is_archived: bool = False
    total: int | None = None
    malformed: tuple[str, ...] = ()
    vanished: tuple[tuple[str, str | None], ...] = ()


def read(api: Api, wanted: Wanted, start: Position, horizons: Horizons) -> Iterator[Found]:
    """Read from `start` to the present end what changed and what was archived. Before that comes the back-fill."""
    at = start
    for found in _changed(api, wanted, start, horizons):
        at = found.position
        yield found
    if at.archiving or horizons.begun_ms() - at.deletes_ms >= horizons.deletes_every_ms:
        yield from _archived(api, wanted.object_type, at, horizons)


def rows_before(going: Going | None) -> int:
    """How many rows were read before this pass, of the part that it goes on with."""
    return going.rows if going else 0


def page_by_id(api: Api, wanted: Wanted, after: str | None) -> Listing:
    """The next records of all that there are, by growing id; `after` says where to go on (None: that was the last page)."""
    if wanted.fits_url:
        return api.listed(wanted.object_type, wanted.properties, after)
    return by_id(api.search(wanted.object_type, _query(wanted, BEGINNING_MS, after or "")), after or "")


def count(api: Api, object_type: str) -> int | None:
    """How many records there are, for whoever watches a long read: the list does not tell."""
    return api.search(object_type, {"limit": 1}).total


def _changed(api: Api, wanted: Wanted, start: Position, horizons: Horizons) -> Iterator[Found]:
    resumed = start.searching
    from_ms = resumed.from_ms if resumed else looked_back_ms(start.read_ms, start.settled_ms, horizons)
    after = resumed.after if resumed else ""
    before = rows_before(resumed)
    while True:
        page = by_id(api.search(wanted.object_type, _query(wanted, from_ms, after)), after)
        begun_ms = resumed.begun_ms if resumed else horizons.begun_ms()
        total = before - rows_before(resumed) + page.total if page.total is not None else None
        before += len(page.records)
        if page.after is None:
            settled_ms = begun_ms - horizons.settled_after_ms if from_ms <= start.settled_ms else 0
            at = replace(start, searching=None, read_ms=begun_ms, settled_ms=max(start.settled_ms, settled_ms))
        else:
            after = page.after
            at = replace(start, searching=Going(begun_ms, after, before, from_ms))
        yield Found(page.records, at, total=total, malformed=page.malformed)
        if page.after is None:
            return


def created_since(api: Api, wanted: Wanted, since_ms: int, after: str) -> Listing:
    """One page of the records made since an instant, by growing id."""
    return by_id(api.search(wanted.object_type, _query(wanted, since_ms, after, CREATED)), after)


def _query(wanted: Wanted, from_ms: int, after: str, by: str = "") -> Json:
    filters: list[Json] = [{"propertyName": by or wanted.modified, "operator": "GTE", "value": str(from_ms)}]
    if after:
        filters.append({"propertyName": BY_ID, "operator": "GT", "value": after})
    return {
        "filterGroups": [{"filters": filters}],
        "sorts": [{"propertyName": BY_ID, "direction": "ASCENDING"}],
        "properties": list(wanted.properties),
        "limit": SEARCH_PAGE,
    }


def _archived(api: Api, object_type: str, start: Position, horizons: Horizons) -> Iterator[Found]:
    """What was archived since the last look. The list knows no filter and no order by time: all of it is read."""
    going = start.archiving
    while True:
        page = api.listed(object_type, (BY_ID,), going.after if going else None, is_archived=True)
        begun_ms = going.begun_ms if going else horizons.begun_ms()
        records = [row for row in page.records if _archived_ms(row) >= start.deletes_ms - ARCHIVE_OVERLAP_MS]
        going = None if page.after is None else Going(begun_ms, page.after, rows_before(going) + len(records))
        at = replace(start, archiving=going, deletes_ms=start.deletes_ms if going else begun_ms)
        yield Found(records, at, is_archived=True, malformed=page.malformed)
        if going is None:
            return


#: The server stamps a deletion with its own clock, which its answers tell in whole seconds.
ARCHIVE_OVERLAP_MS = 60_000


def _archived_ms(row: Record) -> int:
    stamped = instant_ms(row.archived_at)
    return sys.maxsize if stamped is None else stamped


def by_id(page: Listing, after: str) -> Listing:
    """The page of a search by growing id above `after`, with the id to go on from.

    Raises ProtocolError when it is not the last one and its ids do not grow: reading would miss some, or never end.
    """
    if page.after is None:
        return page
    ids = [int(row.id) for row in page.records if row.id.isdigit()]
    if not ids or ids[0] <= int(after or 0) or any(one >= other for one, other in pairwise(ids)):
        raise ProtocolError("a search by growing id does not go on", hint=CHANGED_HINT)
    return replace(page, after=str(ids[-1]))
