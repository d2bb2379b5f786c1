"""What has no CRM object: marketing e-mail events, behavioural events, form submissions; and the portal's owners.

- `GET /email/public/v1/events` (scope `content`): sends, deliveries, opens, clicks, bounces of marketing e-mail, up to
  1,000 a page, an event is known by (created, id). HubSpot documentation "Email events API".
- `GET /events/v3/events`: behavioural events such as `e_visited_page`, and those that the portal defined itself, such as
  a product login, whose names are `pe<portal>_<name>`; Enterprise portals only. "Event analytics API".
- `GET /form-integrations/v1/submissions/forms/{guid}`: 50 a page, newest first; forms of blog comments refuse with
  FORM_TYPE_NOT_ALLOWED. "Form submissions".
- `GET /crm/v3/owners`: the people who own records. "Owners API".

The client library has none of the first three. Values are as HubSpot sends them, nested names flattened with dots.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import orjson

from connector.errors import ProtocolError, RecordRejected
from connector.model import Page, Request, Stream
from connector.sources.hubspot_client import Api, Json, next_after, results
from connector.sources.hubspot_objects import table
from connector.sources.hubspot_search import Horizons, instant_ms, looked_back_ms

EMAIL_EVENTS_PAGE = 1000
WEB_EVENTS_PAGE = 100
SUBMISSIONS_PAGE = 50
#: A window of events is read to its end before the cursor moves behind it. As long as the first pull usually goes back: a window
#: costs a call at least, and what a kill left goes on in its middle.
WINDOW_MS = int(timedelta(days=600).total_seconds() * 1000)
FORM_TYPE_NOT_ALLOWED = "FORM_TYPE_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A window of events that is being read: from when to when (None: until now), of which kinds, which of these is being
    read (its place among them), where it goes on, and when it was begun: what happened since may not be told any more."""

    start_ms: int
    end_ms: int | None
    kinds: tuple[str, ...]
    place: int = 0
    after: str | None = None
    begun_ms: int = 0


@dataclass(frozen=True, slots=True)
class EventPosition:
    """The cursor of a stream of events, in milliseconds: read up to, and settled up to (see hubspot_search); and the window
    that a kill left unfinished."""

    read_ms: int
    settled_ms: int
    going: Unfinished | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one call gave: events and where the next call goes on (None: the window is read)."""

    events: list[Any]
    after: str | None


#: (start of the window, its end or None for "until now", where to go on) -> events
Fetch = Callable[[int, int | None, str | None], Part]


def email_events(api: Api, request: Request, horizons: Horizons, since_ms: int) -> Iterator[Page]:
    """Events of marketing e-mails; the first read begins at `since_ms`."""

    def fetch(start_ms: int, end_ms: int | None, after: str | None) -> Part:
        params: dict[str, str | int] = {"startTimestamp": start_ms, "limit": EMAIL_EVENTS_PAGE}
        if end_ms is not None:
            params["endTimestamp"] = end_ms
        if after is not None:
            params["offset"] = after
        answer = api.get("/email/public/v1/events", **params)
        events = answer.get("events")
        if not isinstance(events, list):
            raise ProtocolError("the answer has no list of events", hint="HubSpot may have changed this API")
        return Part(events, str(answer["offset"]) if answer.get("hasMore") and answer.get("offset") else None)

    yield from _windows(request, {"": fetch}, horizons, since_ms, ("created", ("id", "created")))


def web_events(
    api: Api, request: Request, horizons: Horizons, since_ms: int, event_types: tuple[str, ...]
) -> Iterator[Page]:
    """Behavioural events of contacts; the first read begins at `since_ms`. Event types may have wildcards: `pe*`."""

    def fetching(event_type: str) -> Fetch:
        def fetch(start_ms: int, end_ms: int | None, after: str | None) -> Part:
            params: dict[str, str | int] = {
                "objectType": "contact",
                "eventType": event_type,
                "occurredAfter": _iso(start_ms),
                "limit": WEB_EVENTS_PAGE,
            }
            if end_ms is not None:
                params["occurredBefore"] = _iso(end_ms)
            if after is not None:
                params["after"] = after
            answer = api.get("/events/v3/events", **params)
            return Part(results(answer), next_after(answer))

        return fetch

    fetches = {event_type: fetching(event_type) for event_type in _existing(api, event_types)}
    yield from _windows(request, fetches, horizons, since_ms, ("occurredAt", ("id",)))


def _existing(api: Api, patterns: Sequence[str]) -> list[str]:
    """The event types that are meant; only wildcards cost a call."""
    plain = [pattern for pattern in patterns if "*" not in pattern]
    if len(plain) == len(patterns):
        return plain
    defined = api.get("/events/v3/events/event-types").get("eventTypes") or ()
    meant = sorted(str(name) for name in defined if any(fnmatchcase(str(name), pattern) for pattern in patterns))
    return list(dict.fromkeys([*plain, *meant]))


def owners(api: Api, request: Request, horizons: Horizons) -> Iterator[Page]:
    """Every owner, those who left too (`archived` is true)."""
    rows: list[Json] = []
    for is_archived in (False, True):
        after: str | None = None
        while True:
            answer = api.owners(after, is_archived=is_archived)
            rows += results(answer)
            after = next_after(answer)
            if after is None:
                break
    cursor = orjson.dumps({"read_ms": horizons.begun_ms()}).decode()
    yield _page(request.stream, rows, cursor, ("updatedAt", ("id",)), is_done=True)


def _windows(
    request: Request,
    fetches: Mapping[str, Fetch],
    horizons: Horizons,
    since_ms: int,
    names: tuple[str, tuple[str, ...]],
) -> Iterator[Page]:
    """Read window after window, the last one without an end; `names` are those of the instant and of the id's parts."""
    at = EventPosition(since_ms, since_ms) if request.cursor is None else _position(request.cursor)
    start_ms, kinds = looked_back_ms(at.read_ms, at.settled_ms, horizons), tuple(fetches)
    going = at.going if at.going and at.going.kinds == kinds and at.going.begun_ms else None
    if not fetches:
        yield _page(request.stream, [], _text(at), names, is_done=True)
        return
    while True:
        if going is None:
            now_ms = horizons.begun_ms()
            is_last = now_ms - start_ms <= WINDOW_MS
            going = Unfinished(start_ms, None if is_last else start_ms + WINDOW_MS, kinds)
        end_ms = going.end_ms
        for part, following in _parts(fetches, going):
            begun_ms = going.begun_ms or horizons.begun_ms()
            if following is not None:
                at = replace(at, going=replace(following, begun_ms=begun_ms))
            else:
                read_ms = begun_ms if end_ms is None else end_ms
                is_settling = going.start_ms <= at.settled_ms
                settled_ms = min(read_ms, begun_ms - horizons.settled_after_ms) if is_settling else 0
                at = EventPosition(read_ms, max(at.settled_ms, settled_ms))
            is_done = following is None and end_ms is None
            yield _page(request.stream, part.events, _text(at), names, is_done=is_done)
        if end_ms is None:
            return
        start_ms, going = end_ms, None


def _parts(fetches: Mapping[str, Fetch], going: Unfinished) -> Iterator[tuple[Part, Unfinished | None]]:
    """Every call's events in a window from where it stands, and where the next call goes on; None after the last one.

    Where the place that a kill left is refused, since nobody says how long it is good for, the window is read anew.
    """
    place, after, is_kept = going.place, going.after, going.after is not None
    while place < len(going.kinds):
        try:
            part = fetches[going.kinds[place]](going.start_ms, going.end_ms, after)
        except RecordRejected:
            if not is_kept:
                raise
            place, after, is_kept = 0, None, False
            continue
        after, is_kept = part.after, False
        place += after is None
        yield part, replace(going, place=place, after=after) if place < len(going.kinds) else None


def _position(cursor: str) -> EventPosition:
    try:
        held = orjson.loads(cursor)
        going = held.pop("going", None)
        kinds = tuple(going.pop("kinds")) if going else ()
        return EventPosition(**held, going=Unfinished(**going, kinds=kinds) if going else None)
    except (TypeError, AttributeError, KeyError, orjson.JSONDecodeError):
        raise ProtocolError(
            "the saved cursor is not one of ours", hint="run a full pull of this stream: `connector pull --full`"
        ) from None


def _text(position: EventPosition) -> str:
    return orjson.dumps({name: value for name, value in asdict(position).items() if value is not None}).decode()


def _iso(ms: int) -> str:
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ------------------------------------------------------------------------------------------------ form submissions


def form_submissions(api: Api, request: Request, horizons: Horizons) -> Iterator[Page]:
    """Every form's submissions, newest first, down to where the last look began, less the overlap; once in `settled_after`
    down to what was settled then, for submissions that HubSpot listed late. A page holds 50: that costs no further call
    but where more came in that time.

    The cursor holds for each form up to when it is read and settled, and for the one being read where to go on.
    """
    done: dict[str, EventPosition] = {}
    going: Json = {}
    if request.cursor is not None:
        done, going = _held_cursor(request.cursor)
    for form in _forms(api):
        resumes = going if going.get("form") == str(form["id"]) else {}
        yield from _submissions(api, request.stream, form, done, resumes=resumes, horizons=horizons)
    yield _page(request.stream, [], _held(done), ("submittedAt", ("id",)), is_done=True)


def _held_cursor(cursor: str) -> tuple[dict[str, EventPosition], Json]:
    try:
        held = orjson.loads(cursor)
        return {guid: EventPosition(*each) for guid, each in held["forms"].items()}, held.get("going") or {}
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ProtocolError(
            "the saved cursor is not one of ours", hint="run a full pull of this stream: `connector pull --full`"
        ) from None


def _forms(api: Api) -> Iterator[Json]:
    after: str | None = None
    while True:
        answer = api.forms(after)
        yield from results(answer)
        after = next_after(answer)
        if after is None:
            return


def _submissions(
    api: Api, stream: Stream, form: Json, done: dict[str, EventPosition], *, resumes: Json, horizons: Horizons
) -> Iterator[Page]:
    guid = str(form["id"])
    at = done.get(guid)
    going = resumes
    while True:
        after = going.get("after")
        params: dict[str, str | int] = {"limit": SUBMISSIONS_PAGE} | ({} if after is None else {"after": after})
        try:
            answer = api.get(f"/form-integrations/v1/submissions/forms/{guid}", **params)
        except RecordRejected as error:
            if error.code == FORM_TYPE_NOT_ALLOWED:
                return
            if not going or going is not resumes:
                raise
            going = {}  # the place that a kill left is not good any more
            continue
        if not going:
            down_to_ms = looked_back_ms(at.read_ms, at.settled_ms, horizons) if at else 0
            going = {"form": guid, "begun_ms": horizons.begun_ms(), "down_to_ms": down_to_ms}
        submissions = [row for row in results(answer) if _submitted_ms(row) >= going["down_to_ms"]]
        after = next_after(answer) if len(submissions) == len(results(answer)) else None
        if after is None:
            done[guid] = _settled(at, going["begun_ms"], going["down_to_ms"], horizons)
        going = going | {"after": after}
        if submissions:
            rows = [_submission(form, row) if isinstance(row, dict) else row for row in submissions]
            cursor = _held(done, going if after is not None else None)
            yield _page(stream, rows, cursor, ("submittedAt", ("id",)), is_done=False)
        if after is None:
            return


def _submitted_ms(row: Any) -> int:
    """When a form was sent; what does not tell is taken for new, so that it is looked at and told."""
    stamped = instant_ms(row.get("submittedAt")) if isinstance(row, dict) else None
    return sys.maxsize if stamped is None else stamped


def _settled(at: EventPosition | None, begun_ms: int, down_to_ms: int, horizons: Horizons) -> EventPosition:
    """Where a form stands after a look that read down to an instant."""
    before_ms = at.settled_ms if at else 0
    is_settling = down_to_ms <= before_ms
    return EventPosition(begun_ms, max(before_ms, begun_ms - horizons.settled_after_ms if is_settling else 0))


def _held(done: Mapping[str, EventPosition], going: Json | None = None) -> str:
    forms = {guid: [each.read_ms, each.settled_ms] for guid, each in done.items()}
    return orjson.dumps({"forms": forms} | ({"going": going} if going else {})).decode()


def _submission(form: Json, row: Json) -> Json:
    values = {value["name"]: value.get("value") for value in row.get("values") or () if isinstance(value, dict)}
    sent = orjson.dumps([form["id"], row.get("submittedAt"), row.get("pageUrl"), values], option=orjson.OPT_SORT_KEYS)
    own_id = row.get("conversionId") or hashlib.blake2b(sent, digest_size=12).hexdigest()
    return {
        "id": f"{form['id']}:{own_id}",
        "form.guid": form["id"],
        "form.name": form.get("name"),
        "submittedAt": row.get("submittedAt"),
        "pageUrl": row.get("pageUrl"),
        "email": values.get("email"),
        "values": values,
    }


# ------------------------------------------------------------------------------------------------ rows


def _page(stream: Stream, events: list[Any], cursor: str, names: tuple[str, tuple[str, ...]], *, is_done: bool) -> Page:
    instant, parts = names
    whole = [event for event in events if isinstance(event, dict) and all(event.get(part) for part in parts)]
    missing = f"an event has no {' and '.join(parts)}"
    rows = table(
        stream.object_type,
        [":".join(str(event[part]) for part in parts) for event in whole],
        [event.get("createdAt") or event.get(instant) for event in whole],
        [event.get(instant) for event in whole],
        [orjson.dumps(_flat(event)) for event in whole],
    )
    return Page(stream, rows, cursor, is_done, malformed=(missing,) * (len(events) - len(whole)))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Json:
    flat: Json = {}
    for name, part in value.items():
        if isinstance(part, dict):
            flat |= _flat(part, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = part
    return flat
