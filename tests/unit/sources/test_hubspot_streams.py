"""Pages of HubSpot's streams: tombstones, associations, events, forms, owners; and what is malformed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from connector.errors import RecordRejected
from connector.model import Page, Request
from connector.sources import hubspot_associations as associations
from connector.sources import hubspot_events as events
from connector.sources import hubspot_objects as objects
from connector.sources.hubspot import HUBSPOT
from connector.sources.hubspot_records import Listing
from connector.sources.hubspot_search import Horizons
from connector.tables import PAGE
from tests.unit.sources.hubspot_portal import Portal, page_of

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
HORIZONS = Horizons(begun_ms=lambda: NOW_MS, overlap_ms=30_000, settled_after_ms=3_600_000, deletes_every_ms=DAY_MS)
STREAMS = {stream.name: stream for stream in HUBSPOT.streams}

Json = dict[str, Any]


def rows_of(pages: Sequence[Page]) -> list[Json]:
    return [row | {"native": orjson.loads(row["native"])} for page in pages for row in page.rows.to_pylist()]


# ------------------------------------------------------------------------------------------------ objects


class Listed:
    """A portal that lists these records, and knows who is associated with whom."""

    def __init__(self, records: list[Any], linked: dict[str, list[Json]] | None = None) -> None:
        self.records, self.linked, self.asked = records, linked or {}, []
        self.known = ["dealname", "email", "jobtitle", "lastmodifieddate"]
        self.looks = 0

    def properties(self, object_type: str) -> list[Json]:
        self.looks += 1
        return [{"name": name} for name in self.known]

    def search(self, *_: Any, **__: Any) -> Listing:
        return page_of({"results": self.records})

    def listed(self, *_: Any, **__: Any) -> Listing:
        return page_of({"results": self.records})

    def associated(self, from_type: str, to_type: str, inputs: Sequence[Json]) -> Json:
        self.asked.append((from_type, to_type, list(inputs)))
        rows = []
        for each in inputs:
            targets = self.linked.get(each["id"], [])
            start = int(each.get("after", 0))
            row: Json = {"from": {"id": each["id"]}, "to": targets[start : start + 2]}
            if len(targets) > start + 2:
                row["paging"] = {"next": {"after": str(start + 2)}}
            rows += [row] if targets else []
        return {"results": rows, "errors": [{"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"}]}


def contact(record_id: str, **properties: Any) -> Json:
    values = {"lastmodifieddate": "2025-11-04T12:06:46.802Z", **properties}
    return {"id": record_id, "createdAt": "2025-11-04T03:44:52.657Z", "updatedAt": None, "properties": values}


def read(api: Any, stream: str, *fields: str) -> list[Page]:
    return list(objects.read(api, Request(STREAMS[stream], fields), HORIZONS))


def test_a_record_becomes_a_row_with_its_instants_and_its_values() -> None:
    [page] = read(Listed([contact("1", email="a@b.example")]), "contacts", "email")
    assert page.rows.schema.equals(PAGE)
    assert page.done
    [row] = rows_of([page])
    assert row["native_id"] == "1"
    assert row["created_at"] == datetime(2025, 11, 4, 3, 44, 52, 657000, tzinfo=UTC)
    assert row["modified_at"] == datetime(2025, 11, 4, 12, 6, 46, 802000, tzinfo=UTC)
    assert row["native"]["email"] == "a@b.example"


def test_an_association_that_was_not_told_does_not_look_like_one_that_is_not_there() -> None:
    portal = Listed([contact("1")])
    told = {"results": [], "errors": [{"category": "INTERNAL_ERROR", "message": "try later"}]}
    portal.associated = lambda *_: told  # type: ignore[method-assign]
    with pytest.raises(RecordRejected, match="companies were not told: try later"):
        read(portal, "contacts", "associations.companies")
    told["errors"] = [{"category": "OBJECT_NOT_FOUND"}]
    assert rows_of(read(portal, "contacts", "associations.companies"))[0]["native"]["associations.companies"] == []


def test_a_property_that_the_portal_leaves_out_is_named_until_it_is_shown_and_then_everything_is_read_anew() -> None:
    shown = contact("1", email="a@b.example", jobtitle=None)
    portal = Listed([shown])

    def after(cursor: str | None) -> Page:
        request = Request(STREAMS["contacts"], ("email", "jobtitle", "their_score", "connector_score"), cursor)
        [page] = objects.read(portal, request, HORIZONS, ("connector_score",))  # type: ignore[arg-type]
        return page

    portal.known.append("their_score")  # not in the answer, but the portal has it: there is no value
    assert (after(None).hidden, portal.looks) == ((), 1)
    portal.known.remove("their_score")
    first = after(None)
    assert first.hidden == ("their_score",)
    portal.records = []
    quiet = after(first.cursor)
    assert (quiet.hidden, portal.looks) == (("their_score",), 2)
    assert orjson.loads(quiet.cursor or "")["refreshed_ms"] != 0
    shown["properties"]["their_score"] = "7"
    portal.records = [shown]
    back = after(quiet.cursor)
    assert (back.hidden, orjson.loads(back.cursor or "")["refreshed_ms"]) == ((), 0)
    assert "hidden" not in orjson.loads(back.cursor or "")
    portal.records = []
    request = Request(STREAMS["contacts"], ("email",), quiet.cursor)
    [unasked] = objects.read(portal, request, HORIZONS)  # type: ignore[arg-type]
    assert unasked.hidden == (), "nobody asks for it any more"


def test_absorbed_records_become_tombstones_that_name_their_survivor() -> None:
    [page] = read(Listed([contact("9", hs_merged_object_ids="7;8;9")]), "contacts")
    told = [(row["native_id"], row["is_deleted"], row["merged_into"]) for row in rows_of([page])]
    assert told == [("9", False, None), ("7", True, "9"), ("8", True, "9")]


def test_a_page_holds_no_more_rows_than_one_association_call_takes() -> None:
    pages = read(Portal(dict.fromkeys(range(1, 2501), NOW_MS)), "contacts")
    assert [page.rows.num_rows for page in pages] == [1000, 1000, 500]
    assert [page.done for page in pages] == [False, False, True]


def test_what_is_no_record_is_told_and_the_others_are_kept() -> None:
    [page] = read(
        Listed([None, {"properties": {}}, {"id": "3"}, {"id": 4, "properties": {}}, contact("1")]), "contacts"
    )
    assert [row["native_id"] for row in rows_of([page])] == ["1"]
    assert len(page.malformed) == 4


def test_an_instant_that_is_none_does_not_cost_the_page() -> None:
    odd = contact("1", lastmodifieddate="1762229092657") | {"createdAt": "the day before"}
    [row] = rows_of(read(Listed([odd]), "contacts"))
    assert row["created_at"] is None
    assert row["modified_at"] == datetime(2025, 11, 4, 4, 4, 52, 657000, tzinfo=UTC)


def test_associations_are_read_in_one_call_a_pair_for_what_is_asked_only() -> None:
    deals = [contact(str(number), hs_lastmodifieddate="2025-11-04T12:06:46.802Z") for number in range(900)]
    api = Listed(deals, {"3": [{"toObjectId": 51}, {"toObjectId": "52"}]})
    [page] = read(api, "deals", "dealname", "associations.contacts")
    assert [(pair[0], pair[1], len(pair[2])) for pair in api.asked] == [("deals", "contacts", 900)]
    rows = rows_of([page])
    assert rows[3]["native"]["associations.contacts"] == ["51", "52"]
    assert rows[4]["native"]["associations.contacts"] == []
    assert "associations.companies" not in rows[3]["native"]


def test_every_page_of_a_records_associations_is_read_and_the_primary_comes_first() -> None:
    primary = {"toObjectId": 5, "associationTypes": [{"typeId": 279, "label": None}, {"typeId": 1, "label": "Primary"}]}
    api = Listed([], {"1": [{"toObjectId": number} for number in range(1, 5)] + [primary]})
    found = associations.associated(api, "contacts", "companies", ["1", "2"])  # type: ignore[arg-type]
    assert found == {"1": ["5", "1", "2", "3", "4"], "2": []}
    assert len(api.asked) == 3


# ------------------------------------------------------------------------------------------------ events


class Events:
    """A portal's e-mail events and form submissions, newest first, two a page."""

    def __init__(self, stamps: list[int]) -> None:
        self.stamps = stamps
        self.calls: list[tuple[str, Json]] = []
        self.refused: set[str] = set()

    def get(self, path: str, **params: Any) -> Json:
        self.calls.append((path, params))
        if path == "/email/public/v1/events":
            end = params.get("endTimestamp", 10**15)
            shown = [ms for ms in sorted(self.stamps, reverse=True) if params["startTimestamp"] <= ms <= end]
            start = int(params.get("offset", 0))
            sent = [
                {"id": f"e{ms}", "created": ms, "type": "OPEN", "sentBy": {"created": ms - 5}} for ms in shown[start:]
            ]
            return {"events": sent[:2], "hasMore": len(sent) > 2, "offset": str(start + 2)}
        guid = path.rsplit("/", 1)[1]
        if guid in self.refused:
            raise RecordRejected("no", code="FORM_TYPE_NOT_ALLOWED")
        start = int(params.get("after", 0))
        shown = sorted(self.stamps, reverse=True)[start:]
        values = [{"name": "email", "value": "a@b.example"}, {"name": "firstname", "value": "Ann"}]
        sent = [{"submittedAt": ms, "values": values, "pageUrl": "https://x.example"} for ms in shown]
        more = {"paging": {"next": {"after": str(start + 2)}}} if len(sent) > 2 else {}
        return {"results": sent[:2], **more}

    def forms(self, after: str | None) -> Json:
        return {"results": [{"id": "f1", "name": "Demo request"}, {"id": "f2", "name": "Newsletter"}]}


def email_pages(api: Events, cursor: str | None, now_ms: int = NOW_MS) -> list[Page]:
    horizons = Horizons(lambda: now_ms, HORIZONS.overlap_ms, HORIZONS.settled_after_ms, DAY_MS)
    request = Request(STREAMS["email_events"], (), cursor)
    return list(events.email_events(api, request, horizons, NOW_MS - 100 * DAY_MS))  # type: ignore[arg-type]


def test_events_are_read_window_by_window_and_the_cursor_moves_behind_a_window_that_is_read() -> None:
    stamps = [NOW_MS - days * DAY_MS for days in (99, 95, 50, 49, 48, 1)]
    api = Events(stamps)
    pages = email_pages(api, None)
    assert sorted(int(row["native_id"].split(":")[1]) for row in rows_of(pages)) == sorted(stamps)
    assert [page.done for page in pages] == [False] * (len(pages) - 1) + [True]
    for cut in range(1, len(pages) + 1):
        resumed = email_pages(api, pages[cut - 1].cursor)
        assert {row["native_id"] for row in rows_of(pages[:cut] + resumed)} == {f"e{ms}:{ms}" for ms in stamps}


def test_a_quiet_look_at_the_events_is_one_call_and_nested_names_are_flat() -> None:
    api = Events([NOW_MS - DAY_MS])
    pages = email_pages(api, None)
    assert rows_of(pages)[0]["native"]["sentBy.created"] == NOW_MS - DAY_MS - 5
    api.calls.clear()
    assert rows_of(email_pages(api, pages[-1].cursor, NOW_MS + 60_000)) == []
    assert len(api.calls) == 1


def test_an_event_that_comes_late_is_read_by_the_look_that_settles() -> None:
    api = Events([])
    cursor = email_pages(api, None)[-1].cursor
    api.stamps.append(NOW_MS - 50_000)
    soon = email_pages(api, cursor, NOW_MS + 600_000)
    assert rows_of(soon) == []
    assert len(rows_of(email_pages(api, soon[-1].cursor, NOW_MS + 3_700_000))) == 1


def test_an_event_without_an_id_is_told() -> None:
    class Nameless(Events):
        def get(self, path: str, **params: Any) -> Json:
            return {"events": [{"created": NOW_MS}, "event"], "hasMore": False}

    pages = email_pages(Nameless([]), None)
    assert sum(len(page.malformed) for page in pages) == 2 * len(pages)


def form_pages(api: Events, cursor: str | None, now_ms: int = NOW_MS) -> list[Page]:
    horizons = Horizons(lambda: now_ms, HORIZONS.overlap_ms, HORIZONS.settled_after_ms, DAY_MS)
    request = Request(STREAMS["form_submissions"], (), cursor)
    return list(events.form_submissions(api, request, horizons))  # type: ignore[arg-type]


def test_submissions_are_read_down_to_those_that_were_read() -> None:
    api = Events([NOW_MS - days * DAY_MS for days in range(1, 8)])
    pages = form_pages(api, None)
    rows = rows_of(pages)
    assert len(rows) == len({row["native_id"] for row in rows}) == 14
    assert rows[0]["native"] == {
        "id": rows[0]["native_id"],
        "form.guid": "f1",
        "form.name": "Demo request",
        "submittedAt": NOW_MS - DAY_MS,
        "pageUrl": "https://x.example",
        "email": "a@b.example",
        "values.email": "a@b.example",
        "values.firstname": "Ann",
    }
    api.calls.clear()
    api.stamps.append(NOW_MS)
    new = {row["native"]["submittedAt"] for row in rows_of(form_pages(api, pages[-1].cursor))}
    assert new == {NOW_MS}
    assert len(api.calls) == 2


def test_a_submission_that_is_listed_late_is_read_by_the_look_that_settles_and_no_call_is_added() -> None:
    api = Events([NOW_MS - days * DAY_MS for days in range(1, 8)])
    cursor = form_pages(api, None)[-1].cursor
    api.stamps.append(NOW_MS - 50_000)  # sent before the first look, listed after it
    soon = form_pages(api, cursor, NOW_MS + 600_000)
    assert rows_of(soon) == []
    api.calls.clear()
    settling = form_pages(api, soon[-1].cursor, NOW_MS + 3_700_000)
    assert [row["native"]["submittedAt"] for row in rows_of(settling)] == [NOW_MS - 50_000] * 2
    assert len(api.calls) == 2
    assert rows_of(form_pages(api, settling[-1].cursor, NOW_MS + 4_300_000)) == []


def test_a_submission_that_is_no_object_is_told_and_the_others_are_read() -> None:
    class Odd(Events):
        def get(self, path: str, **params: Any) -> Json:
            return {"results": ["odd", *super().get(path, **params)["results"]]}

    pages = form_pages(Odd([NOW_MS - DAY_MS]), None)
    assert len(rows_of(pages)) == 2
    assert sum(len(page.malformed) for page in pages) == 2


def test_a_quiet_look_at_the_forms_is_one_call_each() -> None:
    api = Events([NOW_MS - days * DAY_MS for days in range(1, 8)])
    cursor = form_pages(api, None)[-1].cursor
    api.calls.clear()
    form_pages(api, cursor)
    assert len(api.calls) == 2


def test_submissions_can_be_resumed_from_the_cursor_of_any_page() -> None:
    api = Events([NOW_MS - days * DAY_MS for days in range(1, 8)])
    pages = form_pages(api, None)
    everything = {row["native_id"] for row in rows_of(pages)}
    for cut in range(1, len(pages) + 1):
        resumed = form_pages(api, pages[cut - 1].cursor)
        assert {row["native_id"] for row in rows_of(pages[:cut] + resumed)} == everything
        assert resumed[-1].cursor == pages[-1].cursor


@pytest.mark.parametrize("read", [email_pages, form_pages])
def test_a_place_that_a_kill_left_and_that_is_refused_is_read_from_its_beginning(read: Any) -> None:
    class Forgetful(Events):
        refuses = False

        def get(self, path: str, **params: Any) -> Json:
            if self.refuses and {"offset", "after"} & params.keys():
                self.refuses = False
                raise RecordRejected("bad offset", code="VALIDATION_ERROR")
            return super().get(path, **params)

    api = Forgetful([NOW_MS - days * DAY_MS for days in range(1, 8)])
    whole = read(api, None)
    api.refuses = True
    resumed = read(api, whole[1].cursor)
    assert not api.refuses
    assert {row["native_id"] for row in rows_of(whole[:2] + resumed)} == {row["native_id"] for row in rows_of(whole)}
    assert resumed[-1].cursor == whole[-1].cursor
    api.get = lambda *_, **__: (_ for _ in ()).throw(RecordRejected("no", code="OTHER"))  # type: ignore[method-assign]
    for cursor in (None, whole[1].cursor):
        with pytest.raises(RecordRejected):
            read(api, cursor)


def test_a_form_that_shows_no_submissions_does_not_stop_the_others() -> None:
    api = Events([NOW_MS - DAY_MS])
    api.refused.add("f1")
    assert {row["native"]["form.guid"] for row in rows_of(form_pages(api, None))} == {"f2"}


@pytest.mark.parametrize("name", ["email_events", "form_submissions", "web_events"])
def test_streams_of_events_are_optional_and_asked_for_more_rarely(name: str) -> None:
    assert STREAMS[name].optional
    assert STREAMS[name].every


def test_behavioural_events_of_every_meant_type_are_read() -> None:
    class Some:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def get(self, path: str, **params: Any) -> Json:
            if path.endswith("/event-types"):
                return {"eventTypes": ["e_visited_page", "e_opened_email", "pe4711_product_login"]}
            self.asked.append(params["eventType"])
            after = params.get("after")
            event = {"id": f"{params['eventType']}{after}", "occurredAt": "2026-11-04T03:44:52.657Z", "objectId": "5"}
            return {"results": [event], **({} if after else {"paging": {"next": {"after": "1"}}})}

    portal = Some()
    cursor = orjson.dumps({"read_ms": NOW_MS, "settled_ms": NOW_MS}).decode()
    request = Request(STREAMS["web_events"], (), cursor)
    pages = list(events.web_events(portal, request, HORIZONS, 0, ("e_visited_page", "pe*")))  # type: ignore[arg-type]
    assert portal.asked == ["e_visited_page", "e_visited_page", "pe4711_product_login", "pe4711_product_login"]
    assert len({row["native_id"] for row in rows_of(pages)}) == 4
    assert [page.done for page in pages] == [False, False, False, True]
    assert pages[-1].cursor == cursor
    for cut in (1, 2, 3):
        portal.asked.clear()
        again = Request(STREAMS["web_events"], (), pages[cut - 1].cursor)
        resumed = list(events.web_events(portal, again, HORIZONS, 0, ("e_visited_page", "pe*")))  # type: ignore[arg-type]
        assert len(portal.asked) == 4 - cut
        assert resumed[-1].cursor == cursor
    other = list(events.web_events(portal, again, HORIZONS, 0, ("e_visited_page",)))  # type: ignore[arg-type]
    assert len(rows_of(other)) == 2


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_what_happens_after_a_kill_is_read_however_late_the_read_goes_on(cut: int) -> None:
    """Of the kinds that were read by then, and of the one that was being read, newest first."""

    class Two:
        def __init__(self) -> None:
            self.stamps = [("a", NOW_MS - day * DAY_MS) for day in (1, 2, 3)] + [("b", NOW_MS - DAY_MS)]

        def get(self, path: str, **params: Any) -> Json:
            since_ms = datetime.fromisoformat(params["occurredAfter"]).timestamp() * 1000
            mine = sorted((ms for kind, ms in self.stamps if kind == params["eventType"]), reverse=True)
            start, mine = int(params.get("after", 0)), [ms for ms in mine if ms >= since_ms]
            shown = [{"id": f"{params['eventType']}{ms}", "occurredAt": ms} for ms in mine[start : start + 2]]
            return {"results": shown, **({"paging": {"next": {"after": start + 2}}} if mine[start + 2 :] else {})}

    def pages(cursor: str | None, now_ms: int) -> list[Page]:
        horizons = Horizons(lambda: now_ms, HORIZONS.overlap_ms, HORIZONS.settled_after_ms, DAY_MS)
        request = Request(STREAMS["web_events"], (), cursor)
        return list(events.web_events(portal, request, horizons, NOW_MS - 100 * DAY_MS, ("a", "b")))  # type: ignore[arg-type]

    portal = Two()
    read = pages(None, NOW_MS)[:cut]
    portal.stamps += [("a", NOW_MS + 60_000), ("b", NOW_MS + 60_000)]
    for hours in (5, 6):  # the read goes on, and the next one
        read += pages(read[-1].cursor, NOW_MS + hours * 3_600_000)
    assert {row["native_id"] for row in rows_of(read)} == {f"{kind}{ms}" for kind, ms in portal.stamps}


def test_a_portal_without_any_meant_event_type_has_a_page_that_is_done() -> None:
    class Some:
        def get(self, path: str, **params: Any) -> Json:
            return {"eventTypes": ["e_visited_page"]}

    request = Request(STREAMS["web_events"], ())
    [page] = events.web_events(Some(), request, HORIZONS, NOW_MS - DAY_MS, ("pe*",))  # type: ignore[arg-type]
    assert page.done
    assert not page.rows.num_rows


def test_owners_who_left_are_told_with_those_who_are_there() -> None:
    class Some:
        def owners(self, after: str | None, *, is_archived: bool) -> Json:
            owner = {
                "id": "2" if is_archived else "1",
                "archived": is_archived,
                "updatedAt": "2025-11-04T03:44:52.657Z",
            }
            return {"results": [owner]}

    pages = list(events.owners(Some(), Request(STREAMS["owners"], ()), HORIZONS))  # type: ignore[arg-type]
    assert [(row["native_id"], row["native"]["archived"]) for row in rows_of(pages)] == [("1", False), ("2", True)]
