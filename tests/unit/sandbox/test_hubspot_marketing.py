"""Forms, e-mail events, behavioural events and what a prospect does in the imitated HubSpot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.sandbox.hubspot import act, marketing
from tests.unit.sandbox.hubspot_portal import Portal, portal

START_MS = 1_767_225_600_000
DEMO = "5f0a2d6c-0000-4000-8000-000000000001"


def world() -> dict[str, Any]:
    return {
        "forms": [{"id": DEMO, "name": "Book a demo"}],
        "submissions": {
            DEMO: [
                {
                    "conversionId": str(number),
                    "submittedAt": START_MS + number // 2,
                    "values": [{"name": "email", "value": "a@x.com"}],
                }
                for number in range(120)
            ]
        },
        "email_events": [
            {
                "id": str(number),
                "created": START_MS + number // 3,
                "type": "CLICK" if number % 5 == 0 else "OPEN",
                "recipient": "A@x.com",
            }
            for number in range(25)
        ],
        "events": [
            {
                "id": str(number),
                "objectType": "CONTACT",
                "objectId": str(7 + number % 2),
                "eventType": "e_visited_page",
                "occurredAt": START_MS + number,
                "properties": {"hs_url": "https://x.example"},
            }
            for number in range(10)
        ],
    }


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal(world=world()) as running:
        yield running


def test_submissions_come_newest_first_and_each_once(hub: Portal) -> None:
    [form] = hub.call("GET", "/marketing/v3/forms/", status=200)["results"]
    path = f"/form-integrations/v1/submissions/forms/{form['id']}?limit=50"
    seen: list[dict[str, Any]] = []
    after = ""
    while True:
        page = hub.call("GET", f"{path}&after={after}", status=200)
        seen += page["results"]
        after = page.get("paging", {}).get("next", {}).get("after")
        if not after:
            break
    times = [each["submittedAt"] for each in seen]
    assert times == sorted(times, reverse=True)
    assert {each["conversionId"] for each in seen} == {str(number) for number in range(120)}
    hub.call("GET", f"{path[:-2]}51", status=400)
    hub.call("GET", "/form-integrations/v1/submissions/forms/nowhere", status=404)
    marketing.save_forms(hub.context.database, [{"id": "b", "name": "Comments", "formType": "blog_comment"}])
    refused = hub.call("GET", "/form-integrations/v1/submissions/forms/b", status=400)
    assert refused["errors"][0]["code"] == "FORM_TYPE_NOT_ALLOWED"


def test_email_events_are_paged_by_offset_and_bounded_by_time(hub: Portal) -> None:
    path = "/email/public/v1/events?limit=4"
    seen: list[str] = []
    offset = ""
    while True:
        page = hub.call("GET", f"{path}&offset={offset}", status=200)
        seen += [each["id"] for each in page["events"]]
        offset = page["offset"]
        if not page["hasMore"]:
            break
    assert sorted(seen, key=int) == [str(number) for number in range(25)]
    assert len(seen) == 25
    bounded = f"&startTimestamp={START_MS + 1}&endTimestamp={START_MS + 1}"
    assert {each["id"] for each in hub.call("GET", path + bounded)["events"]} == {"3", "4", "5"}
    clicks = hub.call("GET", "/email/public/v1/events?eventType=CLICK&limit=1000&recipient=a@x.com")["events"]
    assert len(clicks) == 5


def test_behavioural_events_can_be_narrowed_down_and_paged(hub: Portal) -> None:
    path = "/events/v3/events?objectType=contact&eventType=e_visited_page"
    mine = hub.call("GET", f"{path}&objectId=7&occurredAfter=2026-01-01T00:00:00.004Z", status=200)["results"]
    assert [each["id"] for each in mine] == ["8", "6", "4"]
    page = hub.call("GET", f"{path}&limit=6&sort=occurredAt", status=200)
    after = page["paging"]["next"]["after"]
    rest = hub.call("GET", f"{path}&limit=6&sort=occurredAt&after={after}", status=200)
    assert [each["id"] for each in page["results"] + rest["results"]] == [str(number) for number in range(10)]
    assert "paging" not in rest
    dated = path.replace("/events/v3/events", "/events/event-occurrences/2026-03")
    assert len(hub.call("GET", dated, status=200)["results"]) == len(page["results"] + rest["results"])


def test_a_form_makes_or_moves_the_contact_and_keeps_the_submission(hub: Portal) -> None:
    payload = {"action": "submit_form", "form": "book a demo", "email": "New@x.com", "values": {"city": "Rome"}}
    first = act(hub.context, payload)
    again = act(hub.context, payload | {"values": {"city": "Bern", "hs_email_open": "9", "unknown": "1"}})
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert first["contact_id"] == again["contact_id"]
    found = hub.properties(
        "contacts", first["contact_id"], "email", "city", "num_conversion_events", "recent_conversion_event_name"
    )
    assert found["email"] == "new@x.com"
    assert found["city"] == "Bern"
    assert found["num_conversion_events"] == "2"
    assert "Book a demo" in found["recent_conversion_event_name"]
    newest = hub.call("GET", f"/form-integrations/v1/submissions/forms/{DEMO}?limit=1")["results"][0]
    assert {"name": "email", "value": "new@x.com", "objectTypeId": "0-1"} in newest["values"]


def test_a_prospect_can_do_the_other_things_too(hub: Portal) -> None:
    def do(action: str) -> dict[str, Any]:
        answer = hub.raw("POST", "/_sandbox/act", json={"system": "hubspot", "action": action, "email": "p@x.com"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    contact = do("page_view")["contact_id"]
    for action in ("login", "email_click"):
        assert do(action)["contact_id"] == contact
    meeting = do("book_meeting")["meeting_id"]
    found = hub.properties("contacts", contact, "hs_analytics_num_page_views", "hs_email_click")
    assert (found["hs_analytics_num_page_views"], found["hs_email_click"]) == ("1", "1")
    kinds = [each["eventType"] for each in hub.call("GET", f"/events/v3/events?objectId={contact}")["results"]]
    assert sorted(kinds) == ["e_visited_page", "pe4711_product_login"]
    linked = hub.call("GET", f"/crm/v3/objects/contacts/{contact}?associations=meetings")["associations"]
    assert linked["meetings"]["results"][0]["id"] == meeting


@pytest.mark.parametrize(
    "payload",
    [{"action": "dance"}, {"action": "login"}, {"action": "submit_form", "form": "none", "email": "a@x.com"}],
)
def test_what_nobody_can_do_is_an_error_that_says_why(hub: Portal, payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be one of|is needed|no form"):
        act(hub.context, payload)
