"""Search in the imitated HubSpot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.hubspot_portal import Portal, portal

START_MS = 1_767_225_600_000


def world(count: int) -> dict[str, Any]:
    """Contacts a second apart, numbered from 1001."""
    rows = [
        {
            "id": str(1001 + number),
            "properties": {
                "email": f"p{number}@x.com",
                "firstname": "Ann" if number % 2 else "Bob",
                "jobtitle": "Head of Sales-Operations" if number == 3 else None,
                "followercount": number,
                "hs_legal_basis": "Not applicable" if number == 4 else "",
            },
            "createdAt": START_MS,
            "updatedAt": START_MS + number * 1000,
            "archived": number == 0,
        }
        for number in range(count)
    ]
    return {"objects": {"contacts": rows}}


@pytest.fixture(name="hub", scope="module")
def _hub() -> Iterator[Portal]:
    with portal(world=world(12)) as running:
        yield running


def numbers(hub: Portal, *filters: dict[str, Any], **body: Any) -> list[int]:
    """The numbers of the contacts that match, in the order of the answer."""
    answer = hub.search("contacts", filterGroups=[{"filters": list(filters)}], limit=200, **body)
    assert answer["total"] == len(answer["results"])
    return [int(each["id"]) - 1001 for each in answer["results"]]


def one(name: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"propertyName": name, "operator": operator, "value": value, **more}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (one("lastmodifieddate", "GTE", str(START_MS + 9000)), [9, 10, 11]),
        (one("lastmodifieddate", "GT", "2026-01-01T00:00:09Z"), [10, 11]),
        (one("lastmodifieddate", "BETWEEN", START_MS + 1000, highValue=START_MS + 2000), [1, 2]),
        (one("hs_object_id", "GTE", "1010"), [9, 10, 11]),
        (one("followercount", "LT", "3"), [1, 2]),
        (one("email", "EQ", "P5@X.com"), [5]),
        (one("email", "IN", values=["p5@x.com", "P7@x.com"]), [5, 7]),
        (one("firstname", "NEQ", "ann"), [2, 4, 6, 8, 10]),
        (one("firstname", "NOT_IN", values=["bob"]), [1, 3, 5, 7, 9, 11]),
        (one("jobtitle", "CONTAINS_TOKEN", "sales"), [3]),
        (one("jobtitle", "CONTAINS_TOKEN", "oper*"), [3]),
        (one("jobtitle", "CONTAINS_TOKEN", "ale"), []),
        (one("jobtitle", "HAS_PROPERTY"), [3]),
        (one("hs_legal_basis", "EQ", "Not applicable"), [4]),
        (one("jobtitle", "NOT_HAS_PROPERTY"), [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_each_operator_finds_what_it_says(hub: Portal, given: dict[str, Any], expected: list[int]) -> None:
    assert numbers(hub, given) == expected


def test_groups_are_alternatives_and_filters_are_joined(hub: Portal) -> None:
    groups = [
        {"filters": [one("firstname", "EQ", "Ann"), one("followercount", "LTE", 3)]},
        {"filters": [one("followercount", "EQ", 8)]},
    ]
    found = hub.search("contacts", filterGroups=groups)["results"]
    assert [int(each["id"]) - 1001 for each in found] == [1, 3, 8]


def test_filters_are_accepted_without_groups_and_an_empty_search_finds_all(hub: Portal) -> None:
    assert hub.search("contacts", filters=[one("email", "EQ", "p5@x.com")])["total"] == 1
    everything = hub.search("0-1")
    assert everything["total"] == 11
    assert len(everything["results"]) == 10


def test_sorted_pages_hold_every_record_once(hub: Portal) -> None:
    sorts = [{"propertyName": "lastmodifieddate", "direction": "DESCENDING"}]
    seen: list[str] = []
    after: Any = 0
    while after is not None:
        page = hub.search("contacts", sorts=sorts, limit=4, after=after)
        seen += [each["properties"]["hs_object_id"] for each in page["results"]]
        following = page.get("paging", {}).get("next", {})
        assert "link" not in following
        after = following.get("after")
    assert seen == [str(1001 + number) for number in range(11, 0, -1)]


def test_text_is_searched_in_the_usual_properties(hub: Portal) -> None:
    assert hub.search("contacts", query="p5@x")["total"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"after": "9900", "limit": 200},
        {"filters": [one("nonsense", "EQ", "1")]},
        {"filters": [one("email", "SOUNDS_LIKE", "1")]},
        {"filters": [one("lastmodifieddate", "GTE", "soon")]},
        {"filterGroups": [{"filters": [one("email", "EQ", "1")] * 7}]},
        {"filterGroups": [{"filters": [one("email", "EQ", "1")]}] * 6},
        {"sorts": ["email", "firstname"]},
        {"query": "x" * 3001},
    ],
)
def test_what_cannot_be_searched_is_refused(hub: Portal, body: dict[str, Any]) -> None:
    assert hub.search("contacts", 400, **body)["status"] == "error"


def test_a_search_from_the_beginning_of_time_is_an_error_of_hubspots_own(hub: Portal) -> None:
    for value in ("0", "1970-01-01T00:00:00Z"):
        since = {"propertyName": "lastmodifieddate", "operator": "GTE", "value": value}
        assert hub.search("contacts", 500, filters=[since])["message"] == "internal error"
    since = {"propertyName": "lastmodifieddate", "operator": "GTE", "value": "1"}
    assert hub.search("contacts", 200, filters=[since])["total"] > 0


def test_links_can_be_searched_for() -> None:
    links = [("contacts", 1002, "companies", 7, 279)]
    companies = [{"id": "7", "properties": {"name": "Acme"}, "createdAt": START_MS, "updatedAt": START_MS}]
    with portal(world={"objects": world(3)["objects"] | {"companies": companies}, "associations": links}) as hub:
        assert numbers(hub, one("associations.company", "EQ", "7")) == [1]


def test_a_record_is_found_only_after_the_index_lag() -> None:
    with portal(index_lag_s=5.0) as hub:
        record_id = hub.create(email="a@x.com")
        assert hub.search("contacts")["total"] == 0
        hub.call("GET", f"/crm/v3/objects/contacts/{record_id}", status=200)
        hub.context.clock.shift(6)
        assert hub.search("contacts")["total"] == 1


def test_until_then_a_search_finds_the_record_as_it_was() -> None:
    with portal(index_lag_s=5.0) as hub:
        record_id = hub.create(email="a@x.com", city="Rome")
        hub.context.clock.shift(6)
        for city in ("Bern", "Oslo"):
            hub.call("PATCH", f"/crm/v3/objects/contacts/{record_id}", {"properties": {"city": city}}, 200)
        for city in ("Rome", "Oslo"):
            filters = [one("city", "EQ", city)]
            answer = hub.search("contacts", filters=filters, properties=["city"], sorts=["lastmodifieddate"])
            assert [each["properties"]["city"] for each in answer["results"]] == [city]
            hub.context.clock.shift(6)
        hub.raw("DELETE", f"/crm/v3/objects/contacts/{record_id}")
        assert hub.search("contacts")["total"] == 0


def test_the_total_is_counted_anew_after_a_write() -> None:
    with portal() as hub:
        for expected in (1, 2, 3):
            hub.create(email=f"{expected}@x.com")
            assert hub.search("contacts")["total"] == expected


def test_paging_by_modified_date_uses_an_index(hub: Portal) -> None:
    plan = hub.context.database.execute(
        "EXPLAIN QUERY PLAN SELECT id FROM hubspot_contacts WHERE (archived_ms IS NULL) AND (modified_ms >= ?)"
        " ORDER BY modified_ms ASC, id LIMIT 200",
        (START_MS,),
    ).fetchall()
    assert [row["detail"] for row in plan] == [
        "SEARCH hubspot_contacts USING COVERING INDEX hubspot_contacts_modified (modified_ms>?)"
    ]
    by_email = hub.context.database.execute(
        "EXPLAIN QUERY PLAN SELECT id FROM hubspot_contacts WHERE json_extract(properties, '$.email') = ?"
        " COLLATE NOCASE",
        ("a@x.com",),
    ).fetchall()
    assert "USING INDEX hubspot_contacts_email" in by_email[0]["detail"]


def test_a_sort_may_be_a_name_and_a_minus_turns_it_round(hub: Portal) -> None:
    assert numbers(hub, sorts=["followercount"]) == list(range(1, 12))
    assert numbers(hub, sorts=["-followercount"]) == list(range(11, 0, -1))
