"""The people of the demo's story are what the story says, in every world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import phonenumbers
import pytest

from connector.sandbox.world import CastMember, World, generate

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


@pytest.fixture(scope="module", params=[(60, 1), (800, 7)], ids=["small", "large"])
def world(request: pytest.FixtureRequest) -> World:
    people, seed = request.param
    return generate(people, seed, NOW)


def _row(world: World, record: tuple[str, str, str]) -> dict[str, Any]:
    system, object_type, native_id = record
    if system == "hubspot":
        return next(row["properties"] for row in world.hubspot.objects[object_type] if row["id"] == native_id)
    return next(row for row in world.salesforce[object_type] if row["Id"] == native_id)


def _shown(world: World, member: CastMember, *names: str) -> set[str]:
    values = [_row(world, record).get(name) for record in member.records for name in names]
    return {value for value in values if value}


def _mobiles(world: World, member: CastMember, region: str) -> set[str]:
    written = _shown(world, member, "MobilePhone", "mobilephone")
    return {
        phonenumbers.format_number(phonenumbers.parse(one, region), phonenumbers.PhoneNumberFormat.E164)
        for one in written
    }


def test_the_records_of_each_member_are_hers_in_the_truth(world: World) -> None:
    truth = {(system, kind, native_id): person for person, system, kind, native_id in world.truth}
    for member in world.cast.values():
        assert {truth[record] for record in member.records} == {member.person}
        assert sum(person == member.person for person in truth.values()) == len(member.records)
        emails = {email.lower() for email in _shown(world, member, "Email", "email")}
        assert emails == set(member.emails)


def test_the_prospect_is_in_both_systems_and_owned_by_somebody_who_is_active(world: World) -> None:
    ann = world.cast["prospect"]
    contact = _row(world, ann.records[0])
    owner = next(user for user in world.salesforce["User"] if user["Id"] == contact["OwnerId"])
    account = next(row for row in world.salesforce["Account"] if row["Id"] == contact["AccountId"])
    assert (ann.name, contact["Title"], account["NumberOfEmployees"]) == ("Ann Meyer", "VP Operations", 620)
    assert owner["IsActive"]
    assert not contact["HasOptedOutOfEmail"]
    assert len({record[:2] for record in ann.records}) == 3
    assert len(_mobiles(world, ann, "DE")) == 1
    assert len(_shown(world, ann, "MobilePhone", "mobilephone")) == 2


def test_the_prospect_is_warm_and_has_not_asked_for_a_demo(world: World) -> None:
    ann = world.cast["prospect"]
    names = {form["id"]: form["name"] for form in world.hubspot.forms}
    filled = {
        names[form]
        for form, submissions in world.hubspot.submissions.items()
        for one in submissions
        if {"name": "email", "value": ann.emails[0], "objectTypeId": "0-1"} in one["values"]
    }
    clicks = [one for one in world.hubspot.email_events if one["type"] == "CLICK" and one["recipient"] == ann.emails[0]]
    contact_id = ann.records[0][2]
    assert filled == {"Newsletter sign-up", "Whitepaper: Warehouse sensors that pay", "Webinar registration"}
    assert len(clicks) == 2
    assert any(task["WhoId"] == contact_id and task["TaskSubtype"] == "Call" for task in world.salesforce["Task"])
    assert not any(event["WhoId"] == contact_id for event in world.salesforce["Event"])


def test_the_customer_bought_and_signs_in(world: World) -> None:
    lars = world.cast["customer"]
    contact = _row(world, lars.records[0])
    won = {
        row["Id"]
        for row in world.salesforce["Opportunity"]
        if row["IsWon"] and row["AccountId"] == contact["AccountId"]
    }
    won |= {row["id"] for row in world.hubspot.objects["deals"] if row["properties"]["hs_is_closed_won"] == "true"}
    assert won
    assert contact["Customer_Number__c"] == "HL-100017"
    recent = (NOW - timedelta(days=60)).strftime("%Y-%m-%d")
    contact_id = lars.records[1][2]
    assert any(one["objectId"] == contact_id and one["occurredAt"] > recent for one in world.hubspot.events)


def test_the_job_changer_shares_mobile_and_profile_between_two_companies(world: World) -> None:
    claire = world.cast["job_changer"]
    assert _mobiles(world, claire, "FR") == {"+33639984217"}
    assert len({email.partition("@")[2] for email in claire.emails}) == 2
    assert {one.rstrip("/").rpartition("/")[2] for one in _shown(world, claire, "LinkedIn__c", "hs_linkedin_url")} == {
        "claire-fontaine"
    }


def test_the_family_shares_one_phone_and_nothing_else(world: World) -> None:
    one, other = world.cast["family_a"], world.cast["family_b"]
    assert one.person != other.person
    assert _mobiles(world, one, "DE") == _mobiles(world, other, "DE")
    assert not set(one.emails) & set(other.emails)


def test_the_namesakes_share_a_name_a_company_and_its_switchboard(world: World) -> None:
    one, other = world.cast["namesake_a"], world.cast["namesake_b"]
    assert one.name == other.name
    assert one.person != other.person
    assert _shown(world, one, "AccountId") == _shown(world, other, "AccountId")
    assert _shown(world, one, "Phone") == _shown(world, other, "Phone", "phone")
    assert not set(one.emails) & set(other.emails)
