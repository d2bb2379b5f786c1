"""Pages of CRM objects: records as columns, with the ids they are associated with, and tombstones.

A record that absorbed others lists them in `hs_merged_object_ids`; absorbed ids vanish without being archived, so each
of them becomes a tombstone that names its survivor (HubSpot knowledge base "Merge records"). An archived record comes
back from the archived list for 90 days. A record erased under GDPR is in neither and answers 404: it is missed when
everything is listed anew (`hubspot_refresh`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pyarrow as pa

from connector.errors import MissingPermission, RecordRejected
from connector.model import Page, Request, Stream
from connector.sources import hubspot_associations as associations
from connector.sources import hubspot_search as search
from connector.sources.hubspot_client import Api
from connector.sources.hubspot_records import MERGED, Record, extended, told
from connector.sources.hubspot_refresh import listed, younger
from connector.sources.hubspot_search import Found, Horizons, Position, Wanted, instant_ms
from connector.sources.parallel import interleaved
from connector.tables import BOOL, INSTANT, PAGE, TEXT

#: Rows of one of our pages: what one association call takes.
BLOCK_ROWS = associations.IDS_PER_CALL
#: Vendor pages that are asked for while the ones before become rows: one of our pages.
PAGES_AHEAD = 10
#: Requested fields with this prefix are ids of associated records: `associations.companies`.
ASSOCIATED = "associations."
#: Objects whose records can be merged.
MERGEABLE = frozenset({"contacts", "companies", "deals", "tickets"})
#: What reading asks for by itself, and does without.
TOLERATED = (MERGED, search.BY_ID)


def read(api: Api, request: Request, horizons: Horizons, own: Collection[str] = ()) -> Iterator[Page]:
    """One stream of CRM objects, from its cursor to its present end. `own`: properties that we write, and may not be there yet."""
    stream = request.stream
    start = search.position(request.cursor)
    wanted = Wanted(stream.object_type, properties(request), stream.cursor_field)
    found = interleaved([partial(_found, api, request, wanted, start, horizons)], threads=1, ahead=PAGES_AHEAD)
    linked = [
        to_type for to_type in associations.OF.get(stream.object_type, ()) if ASSOCIATED + to_type in request.fields
    ]
    asked = set(wanted.properties) - {stream.modified_by, *TOLERATED, *own}
    shown = Shown(api, stream.object_type, asked, start.hidden)
    yield from last_is_done(_page(api, stream, linked, block, shown) for block in _blocks(found))


class Shown:
    """Which of the properties that are asked for the portal has and shows.

    An answer holds all that were asked for, unset ones as null; a property that is archived, or that our scopes do not reach, it just
    leaves out: that must not look like a value that is not there. Looked up among the definitions where an answer lacks one.
    """

    def __init__(self, api: Api, object_type: str, asked: Collection[str], hidden: Sequence[str]) -> None:
        self._api, self._object_type, self._asked = api, object_type, frozenset(asked)
        self._known: frozenset[str] | None = None
        self.hidden = tuple(name for name in hidden if name in asked)  # the others are not missed any more
        self.is_back = False  # one that was hidden is shown

    def look(self, records: Sequence[Record]) -> None:
        """Look at an answer's first record."""
        if not records:
            return
        missing = self._asked - orjson.loads(bytes(records[0].properties)).keys()
        if missing and self._known is None:
            self._known = self._defined()
        hidden = tuple(sorted(missing - (self._known or frozenset())))
        self.is_back |= not set(self.hidden) <= set(hidden)
        self.hidden = hidden

    def _defined(self) -> frozenset[str]:
        """The properties that there are; where we may not know them, nothing is taken to be hidden."""
        try:
            return frozenset(str(each["name"]) for each in self._api.properties(self._object_type))
        except (MissingPermission, RecordRejected):
            return self._asked


def _found(api: Api, request: Request, wanted: Wanted, start: Position, horizons: Horizons) -> Iterator[Found]:
    """What is new, and everything anew where that is due; the back-fill is such a reading itself."""
    if not start.read_ms:
        yield from listed(api, wanted, start, horizons, request.held)
        return
    at = start
    for found in search.read(api, wanted, start, horizons):
        at = found.position
        yield found
    is_due = horizons.begun_ms() - at.refreshed_ms >= horizons.refresh_every_ms
    if not (is_due or at.refreshing):
        return
    if wanted.object_type in MERGEABLE:
        yield from listed(api, wanted, at, horizons, request.held)
    else:
        yield from younger(api, wanted, at, horizons)


def properties(request: Request) -> list[str]:
    """The properties to ask for: those of the request, and those that reading itself needs."""
    own = {request.stream.cursor_field} | ({MERGED} if request.stream.object_type in MERGEABLE else set())
    asked = {field for field in request.fields if not field.startswith(ASSOCIATED)}
    return sorted(asked | own)


def last_is_done(pages: Iterable[Page]) -> Iterator[Page]:
    """The same pages, the last of them marked as the stream's end."""
    held: Page | None = None
    for page in pages:
        if held is not None:
            yield held
        held = page
    if held is not None:
        yield replace(held, done=True)


def _blocks(pages: Iterable[Found]) -> Iterator[list[Found]]:
    """Vendor pages gathered until they fill an association call; live and archived ones apart."""
    block: list[Found] = []
    rows = 0
    for page in pages:
        is_full = rows + len(page.records) > BLOCK_ROWS
        if block and (is_full or block[-1].is_archived != page.is_archived):
            yield block
            block, rows = [], 0
        block.append(page)
        rows += len(page.records)
    if block:
        yield block


def _page(api: Api, stream: Stream, linked: Sequence[str], block: Sequence[Found], shown: Shown) -> Page:
    records = [record for page in block for record in page.records]
    is_archived, at = block[-1].is_archived, block[-1].position
    if not is_archived:
        shown.look(records)
    # what is shown again is read anew of all: it may have changed meanwhile
    at = replace(at, hidden=shown.hidden, refreshed_ms=0 if shown.is_back else at.refreshed_ms)
    native = _natives(api, stream.object_type, () if is_archived else linked, records)
    vanished = [each for page in block for each in page.vanished]
    return Page(
        stream,
        _rows(stream, records, native, vanished, is_archived=is_archived),
        str(at),
        done=False,
        malformed=tuple(reason for page in block for reason in page.malformed),
        total=block[0].total,
        hidden=shown.hidden,
    )


def _natives(api: Api, object_type: str, linked: Sequence[str], records: Sequence[Record]) -> list[bytes]:
    """The native fields of each record: its properties, and the ids of the `linked` types that it is associated with."""
    if not linked or not records:
        return [bytes(record.properties) for record in records]
    ids = [record.id for record in records]
    found = {ASSOCIATED + each: associations.associated(api, object_type, each, ids) for each in linked}
    return [extended(record, {name: links[record.id] for name, links in found.items()}) for record in records]


def _rows(
    stream: Stream,
    records: Sequence[Record],
    native: list[bytes],
    vanished: Sequence[tuple[str, str | None]],
    *,
    is_archived: bool,
) -> pa.Table:
    says = told(records, stream.cursor_field)
    changed = [each.modified or record.updated_at for each, record in zip(says, records, strict=True)]
    gone: list[tuple[str, Any, str | None]] = [(record_id, None, survivor) for record_id, survivor in vanished]
    if stream.object_type in MERGEABLE:
        for each, record, at in zip(says, records, changed, strict=True):
            if each.merged:
                absorbed = [one for one in str(each.merged).split(";") if one and one != record.id]
                gone += [(one, at, record.id) for one in absorbed]
    return table(
        stream.object_type,
        [record.id for record in records] + [record_id for record_id, _, _ in gone],
        [record.created_at for record in records] + [None] * len(gone),
        changed + [at for _, at, _ in gone],
        native + [b"{}"] * len(gone),
        deleted=[is_archived] * len(records) + [True] * len(gone),
        survivors=[None] * len(records) + [survivor for _, _, survivor in gone],
    )


def table(
    object_type: str,
    ids: Sequence[str],
    created: Sequence[Any],
    modified: Sequence[Any],
    native: Sequence[bytes],
    *,
    deleted: Sequence[bool] | None = None,
    survivors: Sequence[str | None] | None = None,
) -> pa.Table:
    """Columns of `tables.PAGE`. Instants are ISO 8601 text, milliseconds or None; `native` holds JSON."""
    size = len(ids)
    return pa.table(
        [
            pa.array(ids, TEXT),
            pa.array([object_type] * size, TEXT),
            instants(created),
            instants(modified),
            pa.array(deleted if deleted is not None else [False] * size, BOOL),
            pa.array(survivors if survivors is not None else [None] * size, TEXT),
            pa.array(native, TEXT),
        ],
        schema=PAGE,
    )


def instants(values: Sequence[Any]) -> pa.Array[Any]:
    """ISO 8601 texts as instants; other forms of an instant are understood too, anything else is null."""
    try:
        return pa.array(values, TEXT).cast(INSTANT)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        stamps = [instant_ms(value) for value in values]
        return pa.array([None if ms is None else ms * 1000 for ms in stamps], pa.int64()).cast(INSTANT)
