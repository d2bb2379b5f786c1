"""What goes with a record that is deleted, what comes back with it, and what keeps it where it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org

OPEN = {"StageName": "Prospecting", "CloseDate": "2027-01-01"}
WON = {"StageName": "Closed Won", "CloseDate": "2026-01-01"}
AT_TEN = {"ActivityDateTime": "2026-09-01T10:00:00Z", "DurationInMinutes": 30}
WITHOUT_BIN = ("OpportunityContactRole", "CampaignMember", "TaskRelation", "EventRelation")


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org(salesforce_session_s=10_000_000) as opened:
        yield opened


def customer(client: OrgClient) -> dict[str, str]:
    """An account with everything that hangs on it, by name."""
    made = {"Account": client.create("Account", Name="Acme")}
    made["Contact"] = client.create("Contact", LastName="Doe", AccountId=made["Account"])
    made["Opportunity"] = client.create("Opportunity", Name="Pumps", AccountId=made["Account"], **OPEN)
    made["Task of the contact"] = client.create("Task", Subject="Call", WhoId=made["Contact"])
    made["Task of the account"] = client.create("Task", Subject="Send", WhatId=made["Account"])
    made["Event of the opportunity"] = client.create("Event", Subject="Show", WhatId=made["Opportunity"], **AT_TEN)
    ids = {"OpportunityId": made["Opportunity"], "ContactId": made["Contact"]}
    made["OpportunityContactRole"] = client.create("OpportunityContactRole", Role="Influencer", **ids)
    campaign = client.create("Campaign", Name="Fair")
    made["CampaignMember"] = client.create("CampaignMember", CampaignId=campaign, ContactId=made["Contact"])
    return made


def kind(name: str) -> str:
    return name.split(" ", maxsplit=1)[0]


def live(client: OrgClient, made: dict[str, str]) -> set[str]:
    return {name for name, native in made.items() if exists(client, kind(name), native)}


def exists(client: OrgClient, name: str, native: str, *, every: bool = False) -> bool:
    return bool(client.query(f"SELECT Id FROM {name} WHERE Id = '{native}'", every=every)["totalSize"])


def told_deleted(client: OrgClient, name: str) -> set[str]:
    """What `/deleted` names, the minute that is under way among it."""
    client.context.clock.shift(61)
    now = client.admin("GET", "/health")["now"]
    window = {"start": f"{now[:10]}T00:00:00Z", "end": f"{now[:19]}Z"}
    answer = client.call("GET", f"/sobjects/{name}/deleted/", params=window)
    return {each["id"] for each in answer["deletedRecords"]}


def refused(client: OrgClient, name: str, native: str) -> tuple[str, str]:
    [error] = client.call("DELETE", f"/sobjects/{name}/{native}", status=400)
    return error["errorCode"], error["message"]


def undelete(client: OrgClient, native: str, status: int = 200) -> Any:
    return client.admin("POST", "/act", {"system": "salesforce", "action": "undelete", "id": native}, status)


def test_with_an_account_goes_what_hangs_on_it_and_comes_back_with_it(client: OrgClient) -> None:
    made = customer(client)
    relations = f"SELECT Id FROM TaskRelation WHERE TaskId = '{made['Task of the contact']}'"
    before = client.query(relations)["records"][0]["Id"]
    client.call("DELETE", f"/sobjects/Account/{made['Account']}", status=204)
    assert live(client, made) == set()
    in_bin = {name for name in made if exists(client, kind(name), made[name], every=True)}
    assert in_bin == {name for name in made if name not in WITHOUT_BIN}
    for name in in_bin:
        row = client.query(f"SELECT IsDeleted FROM {kind(name)} WHERE Id = '{made[name]}'", every=True)["records"][0]
        assert row["IsDeleted"] is True, name
    for name, native in made.items():
        assert native in told_deleted(client, kind(name)), name
    undelete(client, made["Account"])
    assert live(client, made) == set(made)
    assert client.field("OpportunityContactRole", made["OpportunityContactRole"], "Role") == "Influencer"
    assert client.query(relations)["records"][0]["Id"] == before
    for name, native in made.items():
        assert native not in told_deleted(client, kind(name)), name


def test_what_comes_back_shows_when(client: OrgClient) -> None:
    made = customer(client)
    client.call("DELETE", f"/sobjects/Account/{made['Account']}", status=204)
    gone_at = client.query(f"SELECT SystemModstamp FROM Task WHERE Id = '{made['Task of the contact']}'", every=True)
    client.context.clock.shift(60)
    undelete(client, made["Account"])
    for name, native in made.items():
        assert client.field(kind(name), native, "SystemModstamp") > gone_at["records"][0]["SystemModstamp"], name


@pytest.mark.parametrize("name", ["Lead", "Contact"])
def test_with_a_person_go_their_activities(client: OrgClient, name: str) -> None:
    native = client.lead() if name == "Lead" else client.create(name, LastName="Doe")
    task = client.create("Task", Subject="Call", WhoId=native)
    event = client.create("Event", Subject="Show", WhoId=native, **AT_TEN)
    client.call("DELETE", f"/sobjects/{name}/{native}", status=204)
    assert (exists(client, "Task", task), exists(client, "Event", event)) == (False, False)
    undelete(client, native)
    assert (client.field("Task", task, "WhoId"), client.field("Event", event, "WhoId")) == (native, native)


@pytest.mark.parametrize("name", ["Task", "Event"])
def test_an_activity_that_others_share_stays_with_them(client: OrgClient, name: str) -> None:
    first, second = (client.create("Contact", LastName=each) for each in ("A", "B"))
    native = client.create(name, Subject="Meet", WhoId=first, **(AT_TEN if name == "Event" else {}))
    client.create(f"{name}Relation", **{f"{name}Id": native, "RelationId": second})
    client.call("DELETE", f"/sobjects/Contact/{first}", status=204)
    related = f"SELECT RelationId FROM {name}Relation WHERE {name}Id = '{native}' ORDER BY RelationId"
    assert client.field(name, native, "WhoId") == second
    assert [row["RelationId"] for row in client.query(related)["records"]] == [second]
    undelete(client, first)
    assert client.field(name, native, "WhoId") == second
    assert [row["RelationId"] for row in client.query(related)["records"]] == [first, second]
    client.call("DELETE", f"/sobjects/Contact/{first}", status=204)
    client.call("DELETE", f"/sobjects/Contact/{second}", status=204)
    assert not exists(client, name, native)


def test_what_has_cases_or_won_opportunities_is_not_deleted(client: OrgClient) -> None:
    account = client.create("Account", Name="Acme")
    native = client.create("Contact", LastName="Doe", FirstName="Jo", Salutation="Mr.", AccountId=account)
    won = [client.create("Opportunity", Name=each, AccountId=account, **WON) for each in ("Pumps", "Valves")]
    start = "Your attempt to delete {} could not be completed because "
    opportunities = (
        "some opportunities in that account were closed won. The opportunities that could not be deleted are shown "
        "below.: Pumps, Valves\n"
    )
    assert refused(client, "Account", account) == ("DELETE_FAILED", start.format("Acme") + opportunities)
    for each in won:
        client.call("DELETE", f"/sobjects/Opportunity/{each}", status=204)
    case = client.create("Case", Subject="Leak", ContactId=native, AccountId=account)
    number = client.field("Case", case, "CaseNumber")
    cases = f"it is associated with the following cases.: {number}\n"
    assert refused(client, "Account", account) == ("DELETE_FAILED", start.format("Acme") + cases)
    assert refused(client, "Contact", native) == ("DELETE_FAILED", start.format("Mr. Jo Doe") + cases)
    client.call("PATCH", f"/sobjects/Case/{case}", {"AccountId": None}, 204, headers={"Sforce-Auto-Assign": "FALSE"})
    assert refused(client, "Account", account) == ("DELETE_FAILED", start.format("Mr. Jo Doe") + cases)
    assert exists(client, "Account", account)
    client.call("DELETE", f"/sobjects/Case/{case}", status=204)
    client.call("DELETE", f"/sobjects/Account/{account}", status=204)


def test_what_went_with_another_comes_back_only_with_that(client: OrgClient) -> None:
    made = customer(client)
    alone = client.create("Contact", LastName="Alone", AccountId=made["Account"])
    client.call("DELETE", f"/sobjects/Contact/{alone}", status=204)
    client.call("DELETE", f"/sobjects/Account/{made['Account']}", status=204)
    undelete(client, made["Contact"], 400)
    undelete(client, made["Account"])
    assert exists(client, "Contact", made["Contact"])
    assert not exists(client, "Contact", alone), "deleted by itself, before"
    undelete(client, alone)
    assert exists(client, "Contact", alone)


def test_what_hangs_on_two_comes_back_with_the_second(client: OrgClient) -> None:
    made = customer(client)
    task = client.create("Task", Subject="Both", WhoId=made["Contact"], WhatId=made["Opportunity"])
    both = {"OpportunityContactRole": made["OpportunityContactRole"], "Task": task}
    for name in ("Contact", "Opportunity"):
        client.call("DELETE", f"/sobjects/{name}/{made[name]}", status=204)
    undelete(client, made["Contact"])
    assert live(client, both) == set()
    undelete(client, made["Opportunity"])
    assert live(client, both) == set(both)
    related = client.query(f"SELECT RelationId FROM TaskRelation WHERE TaskId = '{task}'")["records"]
    assert {row["RelationId"] for row in related} == {made["Contact"], made["Opportunity"]}


def test_what_went_with_another_is_emptied_with_it(client: OrgClient) -> None:
    made = customer(client)
    client.call("DELETE", f"/sobjects/Account/{made['Account']}", status=204)
    client.context.clock.shift(16 * 86_400)
    undelete(client, made["Account"], 400)
    assert not any(exists(client, kind(name), native, every=True) for name, native in made.items())


def test_what_comes_back_takes_no_key_from_who_has_it_now(client: OrgClient) -> None:
    client.install()
    native = client.create("Contact", LastName="Doe")
    client.create("Task", Subject="Call", WhoId=native, Task_Key__c="one")
    client.call("DELETE", f"/sobjects/Contact/{native}", status=204)
    client.create("Task", Subject="Call", Task_Key__c="one")
    error = undelete(client, native, 400)
    assert "DUPLICATE_VALUE" in str(error)
    assert not exists(client, "Contact", native)


def test_the_descriptions_say_what_goes_along_and_what_keeps(client: OrgClient) -> None:
    said: dict[str, dict[str, tuple[bool, bool]]] = {}
    for name in ("Account", "Contact", "Lead", "Campaign", "Opportunity"):
        children = client.call("GET", f"/sobjects/{name}/describe")["childRelationships"]
        said[name] = {
            f"{each['childSObject']}.{each['field']}": (each["cascadeDelete"], each["restrictedDelete"])
            for each in children
        }
    account, contact = said["Account"], said["Contact"]
    goes, stays, keeps = (True, False), (False, False), (False, True)
    assert [
        account[each] for each in ("Contact.AccountId", "Opportunity.AccountId", "Task.WhatId", "Event.WhatId")
    ] == [goes] * 4
    assert [account["Case.AccountId"], contact["Case.ContactId"]] == [keeps, keeps]
    assert [account["Account.ParentId"], contact["Contact.ReportsToId"], account["Task.AccountId"]] == [stays] * 3
    assert [
        contact[each] for each in ("OpportunityContactRole.ContactId", "CampaignMember.ContactId", "Task.WhoId")
    ] == [goes] * 3
    assert [said["Lead"][each] for each in ("CampaignMember.LeadId", "Task.WhoId", "Event.WhoId")] == [goes] * 3
    assert said["Campaign"]["Opportunity.CampaignId"] == stays
    assert said["Opportunity"]["OpportunityContactRole.OpportunityId"] == goes
