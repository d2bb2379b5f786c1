"""The invented customers act as real ones do: many hardly ever, a few a lot, and who buys was engaged before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from connector.sandbox.world import LOGIN_EVENT, World, generate

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return generate(4000, 7, NOW)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("+0000", "Z"))


def _person_of(world: World) -> Mapping[str, str]:
    return {native_id: person for person, _, _, native_id in world.truth}


def _happened(world: World) -> dict[str, list[tuple[str, datetime]]]:
    """Person -> (kind, instant) of what somebody would call an activity."""
    person_of, found = _person_of(world), defaultdict(list)
    for native_id, kind, at in (*_in_salesforce(world), *_on_the_web(world), *_in_hubspot(world)):
        found[person_of[native_id]].append((kind, at))
    return found


def _in_salesforce(world: World) -> Iterator[tuple[str, str, datetime]]:
    for row in world.salesforce["Task"]:
        yield row["WhoId"], row["TaskSubtype"], _instant(row["CreatedDate"])
    for row in world.salesforce["Event"]:
        yield row["WhoId"], "meeting", _instant(row["StartDateTime"])
    for row in world.salesforce["CampaignMember"]:
        yield row["LeadOrContactId"], "campaign", _instant(row["CreatedDate"])


def _in_hubspot(world: World) -> Iterator[tuple[str, str, datetime]]:
    objects = {row["id"]: (kind, row) for kind, rows in world.hubspot.objects.items() for row in rows}
    for from_type, from_id, to_type, to_id, _ in world.hubspot.associations:
        if to_type == "contacts" and from_type != "deals":
            kind, row = objects[from_id]
            at = row["properties"].get("hs_timestamp") or row["createdAt"]
            yield to_id, "meeting" if kind == "meetings" else kind, _instant(at)


def _on_the_web(world: World) -> Iterator[tuple[str, str, datetime]]:
    by_address = {row["properties"]["email"]: row["id"] for row in world.hubspot.objects["contacts"]}
    for event in world.hubspot.events:
        yield event["objectId"], event["eventType"], _instant(event["occurredAt"])
    for event in world.hubspot.email_events:
        yield by_address[event["recipient"]], event["type"], datetime.fromtimestamp(event["created"] / 1000, UTC)
    names = {form["id"]: form["name"] for form in world.hubspot.forms}
    for form, submissions in world.hubspot.submissions.items():
        for one in submissions:
            address = next(value["value"] for value in one["values"] if value["name"] == "email")
            yield by_address[address], names[form], datetime.fromtimestamp(one["submittedAt"] / 1000, UTC)


def test_people_have_some_tens_of_activities_and_few_people_have_most_of_them(world: World) -> None:
    people = {person for person, *_ in world.truth}
    counts = sorted((len(found) for found in _happened(world).values()), reverse=True)
    assert 18 < sum(counts) / len(people) < 35
    assert sum(counts[: len(people) // 10]) / sum(counts) > 0.35


def _buyers(world: World, *, won: bool) -> dict[str, datetime]:
    """Person -> when her deal was opened, from roles in Salesforce and associations in HubSpot."""
    person_of, opened = _person_of(world), {}
    deals = {row["Id"]: row for row in world.salesforce["Opportunity"] if row["IsClosed"] and row["IsWon"] is won}
    for role in world.salesforce["OpportunityContactRole"]:
        if role["OpportunityId"] in deals:
            opened[person_of[role["ContactId"]]] = _instant(deals[role["OpportunityId"]]["CreatedDate"])
    return opened


def test_people_who_buy_were_engaged_before(world: World) -> None:
    start = NOW - timedelta(days=400)
    happened, won = _happened(world), {p: at for p, at in _buyers(world, won=True).items() if at > start}
    everybody = {person for person, *_ in world.truth}

    def share(kind: str, people: set[str], before: Mapping[str, datetime]) -> float:
        return sum(any(k == kind and at < before.get(p, NOW) for k, at in happened[p]) for p in people) / len(people)

    closing = {person: at + timedelta(days=200) for person, at in won.items()}
    assert len(won) > 40
    assert share("Book a demo", set(won), won) > 4 * share("Book a demo", everybody - set(won), {})
    assert share("meeting", set(won), closing) > 3 * share("meeting", everybody - set(won), {})


def test_buyers_of_won_deals_asked_for_more_demos_and_had_more_meetings_than_those_of_lost_ones(world: World) -> None:
    happened, recent = _happened(world), NOW - timedelta(days=400)

    def mean(kind: str, *, won: bool) -> float:
        people = [person for person, opened_at in _buyers(world, won=won).items() if opened_at > recent]
        return sum(one == kind for person in people for one, _ in happened[person]) / len(people)

    for kind in ("Book a demo", "meeting"):
        assert mean(kind, won=True) > 1.3 * mean(kind, won=False), kind


def test_only_customers_sign_in(world: World) -> None:
    users = {row["id"] for row in world.hubspot.objects["contacts"] if row["properties"]["app_user_id"]}
    logins = [event for event in world.hubspot.events if event["eventType"] == LOGIN_EVENT]
    assert len(logins) > 500
    assert {event["objectId"] for event in logins} <= users


def test_some_clicks_are_those_of_a_scanner_and_most_are_not(world: World) -> None:
    delivered: dict[str, int] = {}
    clicks = defaultdict(list)
    for event in world.hubspot.email_events:
        if event["type"] == "DELIVERED":
            delivered[event["sentBy"]["id"]] = event["created"]
        elif event["type"] == "CLICK":
            clicks[event["sentBy"]["id"], event["userAgent"]].append(event["created"])
    scanned = [key for key, times in clicks.items() if len(times) >= 4 and max(times) - delivered[key[0]] < 20_000]
    assert 50 < len(scanned) < len(clicks) / 2
    assert len({agent for _, agent in scanned}) == 2  # one that says what it is, one that poses as a browser


def test_nobody_gets_mailings_after_a_bounce_or_an_unsubscription(world: World) -> None:
    ended: dict[str, int] = {}
    for event in world.hubspot.email_events:
        if event["type"] == "SENT":
            assert event["created"] <= ended.get(event["recipient"], event["created"])
        elif event["type"] in ("BOUNCE", "STATUSCHANGE"):
            ended[event["recipient"]] = event["created"]
    assert len(ended) > 40


def test_a_message_that_bounced_was_neither_delivered_nor_read(world: World) -> None:
    fates = defaultdict(set)
    for event in world.hubspot.email_events:
        if event["type"] != "SENT":
            fates[event["sentBy"]["id"]].add(event["type"])
    assert all(fate == {"BOUNCE"} for fate in fates.values() if "BOUNCE" in fate)
    assert all("DELIVERED" in fate for fate in fates.values() if fate & {"OPEN", "CLICK"})


def test_the_vendors_sync_copied_some_meetings_within_two_minutes_and_under_the_same_title(world: World) -> None:
    person_of = _person_of(world)
    logged = {
        (person_of[row["WhoId"]], row["Subject"]): _instant(row["StartDateTime"]) for row in world.salesforce["Event"]
    }
    contacts = {a: b for kind, a, to, b, _ in world.hubspot.associations if kind == "meetings" and to == "contacts"}
    copies = 0
    for row in world.hubspot.objects["meetings"]:
        at = logged.get((person_of[contacts[row["id"]]], row["properties"]["hs_meeting_title"]))
        copies += at is not None and timedelta(0) <= _instant(row["properties"]["hs_timestamp"]) - at < timedelta(
            minutes=2
        )
    assert copies > 20


def test_every_stream_of_both_systems_has_something_to_read(world: World) -> None:
    assert all(world.salesforce.values())
    assert all(world.hubspot.objects.values())
    assert all(world.hubspot.submissions.values())
    assert {event["type"] for event in world.hubspot.email_events} >= {
        "SENT",
        "DELIVERED",
        "OPEN",
        "CLICK",
        "BOUNCE",
        "STATUSCHANGE",
    }


def test_events_come_in_order_of_time(world: World) -> None:
    assert all(a["created"] <= b["created"] for a, b in pairwise(world.hubspot.email_events))
    assert all(a["occurredAt"] <= b["occurredAt"] for a, b in pairwise(world.hubspot.events))
