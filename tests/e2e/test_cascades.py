"""What a system deletes along with a record is followed, and so is what it brings back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.e2e import instant
from tests.e2e.world import World

SALESFORCE = {"system": "salesforce"}
#: `/deleted` tells whole minutes.
SHOWS_AFTER = timedelta(seconds=70)
RECORDS = ("person_record", "account_record", "opportunity_record", "contact_role_record", "activity")
CONSERVED = "pulled = applied + unchanged + filtered + quarantined"


def _make(world: World, sobject: str, **values: Any) -> str:
    return str(world.crms.tell("act", action="create", object=sobject, values=values, **SALESFORCE)["id"])


def _customer(world: World) -> dict[str, str]:
    """An account with somebody who scores, an opportunity and what happened."""
    at = instant.now(-timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    account = _make(world, "Account", Name="Cascade Pumps")
    who = {"LastName": "Falls", "FirstName": "Nia", "Email": "nia@cascade-pumps.example", "Title": "VP Operations"}
    contact = _make(world, "Contact", AccountId=account, **who)
    sale = {"Name": "Pumps", "StageName": "Prospecting", "CloseDate": "2030-01-01"}
    opportunity = _make(world, "Opportunity", AccountId=account, **sale)
    role = _make(world, "OpportunityContactRole", OpportunityId=opportunity, ContactId=contact, Role="Decision Maker")
    meeting = {"StartDateTime": at, "DurationInMinutes": 60}
    return {
        "account": account, "contact": contact, "opportunity": opportunity, "role": role,
        "call": _make(world, "Task", Subject="Call", Status="Completed", WhoId=contact, WhatId=opportunity),
        "meeting": _make(world, "Event", Subject="Demo", WhoId=contact, WhatId=account, **meeting),
        "member": _make(world, "CampaignMember", ContactId=contact, Status="Responded",
                        CampaignId=world.crms.query("SELECT Id FROM Campaign ORDER BY Id LIMIT 1")[0]["Id"]),
    }  # fmt: skip


def _live(world: World, made: dict[str, str]) -> set[str]:
    """What of this the mart knows to be there."""
    names = {native: name for name, native in made.items()}
    found: set[str] = set()
    for table in RECORDS:
        rows = world.house.mart(f"SELECT native_id FROM {table} WHERE deleted_at IS NULL AND system = 'salesforce'")
        found |= {names[native.split("|")[0]] for (native,) in rows if native.split("|")[0] in names}
    return found


def _known(world: World, contact: str) -> list[Any]:
    """Who the contact is, what counts for them, and what is to be written to them."""
    mart, record = world.house.mart, f"salesforce|Contact|{contact}"
    (person,) = next(iter(mart(f"SELECT owner_id FROM membership WHERE key = '{record}'")), (None,))
    return [
        person,
        mart(f"SELECT rule, events FROM score_line WHERE subject = '{person}' ORDER BY ALL"),
        mart(f"SELECT stage, entered_at::VARCHAR FROM stage_interval WHERE subject = '{person}' AND left_at IS NULL"),
        mart(f"SELECT field, value FROM desired WHERE record = '{record}' ORDER BY ALL"),
    ]


def _sync(world: World, later: timedelta) -> None:
    world.crms.pass_days(SHOWS_AFTER / timedelta(days=1))
    world.house.sync(now=instant.now(later).isoformat())
    assert world.house.state(f"SELECT * FROM run_step WHERE NOT ({CONSERVED})") == []


def test_an_account_that_takes_everything_along_is_gone_and_comes_back_as_it_was(synced: World) -> None:
    made = _customer(synced)
    _sync(synced, SHOWS_AFTER)
    known = _known(synced, made["contact"])
    assert _live(synced, made) == set(made)
    synced.crms.tell("act", action="delete", id=made["account"], **SALESFORCE)
    _sync(synced, 2 * SHOWS_AFTER)
    assert _live(synced, made) == set()
    synced.crms.tell("act", action="undelete", id=made["account"], **SALESFORCE)
    _sync(synced, 3 * SHOWS_AFTER)
    assert _live(synced, made) == set(made)
    assert _known(synced, made["contact"]) == known
