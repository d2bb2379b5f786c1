"""What the invented company promises to whoever measures against it: the same every time, sound, and dirty as told."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector.sandbox.hubspot.object_types import ASSOCIATION_TYPES
from connector.sandbox.salesforce.ids import KEY_PREFIXES, full_id
from connector.sandbox.world import World, generate

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
PEOPLE = 4000

_DIGEST = """
import hashlib, json
from datetime import UTC, datetime
from connector.sandbox.world import generate
world = generate(600, 3, datetime(2026, 11, 24, 15, 30, tzinfo=UTC))
text = json.dumps([world.salesforce, {n: getattr(world.hubspot, n) for n in world.hubspot.__slots__}, world.truth, world.dirt])
print(hashlib.sha256(text.encode()).hexdigest(), world.cast)
"""


@pytest.fixture(scope="module")
def world() -> World:
    return generate(PEOPLE, 7, NOW)


def _kinds(world: World) -> Counter[str]:
    return Counter(kind for kind, *_ in world.dirt)


def _rows(world: World, sobject: str) -> dict[str, dict[str, Any]]:
    return {row["Id"]: row for row in world.salesforce[sobject]}


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("+0000", "Z"))


# ------------------------------------------------------------------------------------------------------- the same again


def test_two_processes_with_other_hash_seeds_make_the_same_bytes() -> None:
    def digest(seed: str) -> str:
        run = [sys.executable, "-c", _DIGEST]
        return subprocess.run(run, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout

    assert digest("1") == digest("2")


def test_another_seed_makes_another_world_with_the_same_cast() -> None:
    one, other = generate(300, 1, NOW), generate(300, 2, NOW)
    assert one.salesforce["Contact"] != other.salesforce["Contact"]
    assert one.cast == other.cast


def test_the_hour_of_the_day_changes_nothing() -> None:
    early, late = generate(300, 7, NOW.replace(hour=0)), generate(300, 7, NOW.replace(hour=23))
    assert early == late
    assert generate(300, 7, NOW + timedelta(days=1)) != early


@pytest.mark.parametrize("days", [0, 1, 200, 2000])
def test_the_newest_traces_are_of_the_day_before_whenever_the_world_is_made(days: int) -> None:
    now = NOW + timedelta(days=days)
    newest = generate(1000, 7, now).hubspot.events[-1]["occurredAt"]
    assert timedelta(0) < now - _instant(newest) < timedelta(days=3)


def test_the_number_of_people_is_the_number_of_person_records_over_both_systems(world: World) -> None:
    records = len(world.salesforce["Contact"]) + len(world.salesforce["Lead"]) + len(world.hubspot.objects["contacts"])
    assert PEOPLE <= records <= PEOPLE * 1.03
    assert len(generate(0, 7, NOW).truth) < 30  # the cast alone


# ------------------------------------------------------------------------------------------------------- sound


def test_every_person_record_has_exactly_one_true_person(world: World) -> None:
    keys = [(system, kind, native_id) for _, system, kind, native_id in world.truth]
    existing = [("salesforce", kind, row["Id"]) for kind in ("Contact", "Lead") for row in world.salesforce[kind]]
    existing += [("hubspot", "contacts", row["id"]) for row in world.hubspot.objects["contacts"]]
    assert sorted(keys) == sorted(existing)
    assert {tuple(entry[1:]) for entry in world.dirt} <= set(keys)


def test_salesforce_ids_are_unique_and_carry_their_prefix_and_checksum(world: World) -> None:
    for sobject, rows in world.salesforce.items():
        ids = [row["Id"] for row in rows]
        assert len(set(ids)) == len(ids)
        assert all(full_id(one[:15]) == one and one.startswith(KEY_PREFIXES[sobject]) for one in ids)


def test_every_salesforce_reference_leads_to_a_row(world: World) -> None:
    existing = {row["Id"] for rows in world.salesforce.values() for row in rows}
    for rows in world.salesforce.values():
        for row in rows:
            for name, value in row.items():
                if name.endswith("Id") and name != "Id" and value is not None:
                    assert value in existing, name


def test_every_hubspot_association_joins_two_objects_by_a_type_id_that_exists(world: World) -> None:
    ids = {kind: {row["id"] for row in rows} for kind, rows in world.hubspot.objects.items()}
    known = {(one.from_type, one.to_type, one.type_id) for one in ASSOCIATION_TYPES}
    for from_type, from_id, to_type, to_id, type_id in world.hubspot.associations:
        assert from_id in ids[from_type]
        assert to_id in ids[to_type]
        assert (from_type, to_type, type_id) in known
    assert len(set(world.hubspot.associations)) == len(world.hubspot.associations)


def test_hubspot_ids_are_unique_and_owners_forms_and_contacts_of_events_exist(world: World) -> None:
    hubspot = world.hubspot
    ids = [row["id"] for rows in hubspot.objects.values() for row in rows]
    assert len(set(ids)) == len(ids)
    owners, contacts = {owner["id"] for owner in hubspot.owners}, {row["id"] for row in hubspot.objects["contacts"]}
    for rows in hubspot.objects.values():
        assert {row["properties"].get("hubspot_owner_id") for row in rows} <= owners | {None}
    assert {event["objectId"] for event in hubspot.events} <= contacts
    assert set(hubspot.submissions) == {form["id"] for form in hubspot.forms}


def test_no_record_is_made_or_changed_in_the_future_or_changed_before_it_was_made(world: World) -> None:
    for rows in world.salesforce.values():
        for row in rows:
            assert (
                row["CreatedDate"] <= row["LastModifiedDate"] <= row["SystemModstamp"] <= "2026-11-24T00:00:00.000+0000"
            )
    for rows in world.hubspot.objects.values():
        for row in rows:
            assert row["createdAt"] <= row["updatedAt"] <= "2026-11-24T00:00:01.000Z"
    assert all(event["created"] < NOW.timestamp() * 1000 for event in world.hubspot.email_events)


def test_an_address_belongs_to_one_live_hubspot_contact(world: World) -> None:
    addresses = Counter(
        address
        for row in world.hubspot.objects["contacts"]
        if not row["archived"]
        for address in (row["properties"]["email"], *(row["properties"]["hs_additional_emails"] or "").split(";"))
        if address
    )
    assert {address: count for address, count in addresses.items() if count > 1 and "@" in address} == {}
    assert all(address == address.lower() for address in addresses if "@" in address)


def test_companies_use_reserved_domains_only(world: World) -> None:
    assert all(
        (row["properties"]["domain"] or "x.example").endswith(".example") for row in world.hubspot.objects["companies"]
    )


# ------------------------------------------------------------------------------------------------------- believable


def test_about_half_of_the_people_are_known_to_both_systems_and_many_have_several_records(world: World) -> None:
    systems = defaultdict(set)
    records: Counter[str] = Counter()
    for person, system, *_ in world.truth:
        systems[person].add(system)
        records[person] += 1
    share = sum(len(found) == 2 for found in systems.values()) / len(systems)
    assert 0.35 < share < 0.65
    assert 1.4 < len(world.truth) / len(systems) < 2.0
    assert max(records.values()) >= 4


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("email_case", 0.03, 0.12), ("personal_email", 0.05, 0.18), ("plus_address", 0.01, 0.05), ("missing_email", 0.02, 0.08),
        ("shared_mailbox", 0.005, 0.06), ("switchboard", 0.08, 0.4), ("placeholder", 0.003, 0.03), ("namesake", 0.002, 0.03),
        ("family_phone", 0.003, 0.03), ("job_changer", 0.01, 0.06), ("former_company", 0.005, 0.03), ("converted", 0.02, 0.12),
        ("merged", 0.01, 0.06), ("deleted", 0.003, 0.03), ("opted_out", 0.02, 0.08), ("bounced", 0.01, 0.06),
        ("unknown_title", 0.01, 0.06), ("broken_email", 0.0004, 0.01), ("duplicate", 0.01, 0.06),
    ],
)  # fmt: skip
def test_each_kind_of_dirt_appears_at_its_rate(world: World, kind: str, least: float, most: float) -> None:
    assert least < _kinds(world)[kind] / len(world.truth) < most


def test_dirt_is_what_it_is_called(world: World) -> None:
    people, contacts, leads = (
        {(system, kind, native_id): person for person, system, kind, native_id in world.truth},
        _rows(world, "Contact"), _rows(world, "Lead"),
    )  # fmt: skip
    portal = {row["id"]: row for row in world.hubspot.objects["contacts"]}
    assert people
    for kind, system, object_type, native_id in world.dirt:
        row = portal[native_id] if system == "hubspot" else {"Contact": contacts, "Lead": leads}[object_type][native_id]
        if kind == "email_case":
            assert row["Email"] != row["Email"].lower()
        elif kind == "plus_address":
            assert "+" in row["properties"]["email"]
        elif kind == "deleted":
            assert row["archived"] if system == "hubspot" else row["IsDeleted"]
        elif kind == "converted":
            assert row["IsConverted"]
            assert people[system, "Contact", row["ConvertedContactId"]] == people[system, "Lead", native_id]
        elif kind == "merged" and system == "salesforce":
            winner = row["MasterRecordId"]
            assert row["IsDeleted"]
            assert people[system, object_type, winner] == people[system, object_type, native_id]
        elif kind == "opted_out":
            assert row["properties"]["hs_email_optout"] == "true" if system == "hubspot" else row["HasOptedOutOfEmail"]


def test_a_family_phone_is_on_two_people_and_a_job_changers_mobile_at_two_companies(world: World) -> None:
    digits = _mobile_digits(world)
    holders = defaultdict(set)
    for (person, _), number in digits.items():
        holders[number].add(person)
    families = [found for found in holders.values() if len(found) == 2]
    assert len(families) >= 5
    old = [
        (system, object_type, native_id)
        for kind, system, object_type, native_id in world.dirt
        if kind == "former_company"
    ]
    person_of = {(system, kind, native_id): person for person, system, kind, native_id in world.truth}
    again = [key for key in old if sum(person == person_of[key] for person, _ in digits) >= 2]
    assert len(again) > len(old) / 2


def _mobile_digits(world: World) -> dict[tuple[str, str], str]:
    contacts, leads = _rows(world, "Contact"), _rows(world, "Lead")
    portal = {row["id"]: row for row in world.hubspot.objects["contacts"]}
    found = {}
    for person, _, kind, native_id in world.truth:
        if kind == "contacts":
            mobile = portal[native_id]["properties"]["mobilephone"]
        else:
            mobile = (contacts if kind == "Contact" else leads)[native_id]["MobilePhone"]
        if mobile:
            found[person, native_id] = "".join(letter for letter in mobile if letter.isdigit())[-7:]
    return found


def test_mobiles_are_written_in_many_notations(world: World) -> None:
    mobiles = [row["MobilePhone"] for row in world.salesforce["Contact"] if row["MobilePhone"]]
    for sign in ("+", "00", "0", "("):
        assert any(mobile.startswith(sign) for mobile in mobiles), sign
    assert any("/" in mobile for mobile in mobiles)
    assert any("(0)" in mobile for mobile in mobiles)


def test_countries_are_written_in_many_ways(world: World) -> None:
    written = Counter(row["MailingCountry"] for row in world.salesforce["Contact"])
    assert written["Germany"] > written["Deutschland"] > 0
    assert len(written) > 30


def test_accounts_form_hierarchies_without_a_circle(world: World) -> None:
    parents = {row["Id"]: row["ParentId"] for row in world.salesforce["Account"]}
    assert 0.05 < sum(parent is not None for parent in parents.values()) / len(parents) < 0.2
    for account in parents:
        above, steps = account, 0
        while parents[above] is not None:
            above, steps = parents[above], steps + 1
            assert steps < 20
