"""A CRM that is gone, refuses, is busy, or rejects: the other one is served, and what waited is delivered later."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.e2e import instant
from tests.e2e.crm import differing, without_longer_stays
from tests.e2e.house import Done
from tests.e2e.world import World


def _wanted(world: World, system: str) -> dict[str, dict[str, str | None]]:
    return {record: fields for record, fields in world.house.desired().items() if record.startswith(f"{system}|")}


def _sync_while_hubspot_goes(world: World) -> Done:
    """A sync of which HubSpot is gone as soon as it was read."""
    running = world.house.start("sync")
    running.wait_for("resolve   ")
    world.crms.tell("faults", system="hubspot", kind="gone")
    return running.end()


def test_one_crm_gone_in_the_middle_leaves_the_other_served_and_is_made_up_for(installed: World) -> None:
    house, crms = installed.house, installed.crms
    done = _sync_while_hubspot_goes(installed)
    assert done.code == 4, str(done)
    assert "hubspot stopped taking changes" in done.out, str(done)
    crms.mend()
    held = crms.written()
    assert differing(_wanted(installed, "salesforce"), held) == []
    assert all(fields["connector_score"] is None for record, fields in held.items() if record.startswith("hubspot|"))
    house.sync(now=instant.now(timedelta(minutes=1)).isoformat())  # what was not taken waits for some seconds
    assert differing(house.desired(), crms.written()) == []


def test_records_that_could_not_be_read_are_not_written_over_as_somebody_may_have_changed_them(synced: World) -> None:
    house, crms = synced.house, synced.crms
    deferring = '\n[writeback.ownership]\n"hubspot.contacts.stage" = "defer"\n'
    house.config.write_text(house.config.read_text() + deferring)
    house.sync()
    cast = crms.look("cast")["prospect"]
    contact = next(
        native_id for system, kind, native_id in cast["records"] if (system, kind) == ("hubspot", "contacts")
    )
    before = crms.written()
    theirs = {"connector_stage": "Discover"}
    crms.tell("act", action="edit", objects="contacts", id=contact, properties=theirs, user="2")
    crms.tell("act", action="submit_form", form="Book a demo", email=cast["emails"][0], values={})
    crms.tell("faults", system="hubspot", kind="status", status=500, match="contacts/search")
    done = house.run("sync")
    assert done.code == 4, str(done)
    assert "of contacts wait" in done.out, str(done)
    held = crms.written()
    moved = [record for record in held if held[record] != before[record]]
    assert any(record.startswith("salesforce|") for record in moved), "the other system is served"
    assert [record for record in moved if record.startswith("hubspot|")] == [f"hubspot|contacts|{contact}"]
    crms.mend()
    house.sync()
    held = crms.written()[f"hubspot|contacts|{contact}"]
    assert held["connector_stage"] == "Discover", "a person's edit stands"
    assert held["connector_score"] != before[f"hubspot|contacts|{contact}"]["connector_score"]


@pytest.mark.parametrize(("refused", "other"), [("hubspot", "salesforce"), ("salesforce", "hubspot")])
def test_a_refused_token_is_named_and_the_other_crm_is_served(installed: World, refused: str, other: str) -> None:
    house, crms = installed.house, installed.crms
    secret = {"hubspot": "hubspot_token", "salesforce": "salesforce_client_secret"}[refused]
    # What comes with a whole CRM may change more of the other's values than a brake lets pass, and some by very little.
    section = "\n[writeback]\nmin_points = 0\nbrakes = { max_overwritten_share = 1.0 }\n"
    house.config.write_text(house.config.read_text() + section)
    good = (house.directory / secret).read_text()
    (house.directory / secret).write_text("not-this-one")
    done = house.run("sync")
    assert done.code == 4, str(done)
    assert f"{refused} was left out" in done.out
    assert f"connector check {refused}" in done.out
    assert "not-this-one" not in done.out + done.err
    assert len(_wanted(installed, other)) > 50
    assert differing(_wanted(installed, other), crms.written()) == []
    (house.directory / secret).write_text(good)
    house.sync()
    assert len(_wanted(installed, refused)) > 50
    held = crms.written()
    assert differing(without_longer_stays(house.desired(), held), held) == []


def test_storms_of_refusals_and_failures_are_waited_out(installed: World) -> None:
    house, crms = installed.house, installed.crms
    for system, status in (("hubspot", 429), ("hubspot", 502), ("salesforce", 503)):
        crms.tell("faults", system=system, kind="status", status=status, share=0.3, seed=11, times=4)
    crms.tell("faults", system="hubspot", kind="drop_before", share=0.2, seed=5, times=2)
    house.sync()
    assert sum(fault["hits"] for fault in crms.look("faults")) >= 6
    crms.mend()
    assert differing(house.desired(), crms.written()) == []


def test_a_hidden_field_is_named_keeps_what_was_known_and_is_read_again_when_it_is_shown(synced: World) -> None:
    house, crms = synced.house, synced.crms
    one, other = (row["Id"] for row in crms.query("SELECT Id FROM Contact WHERE Title != null ORDER BY Id LIMIT 2"))

    def titles() -> dict[str, str]:
        return dict(house.mart("SELECT native_id, title FROM person_record WHERE object_type = 'Contact'"))

    before = titles()
    crms.tell("act", system="salesforce", action="field_security", field="Contact.Title", access="none")
    crms.tell("act", system="salesforce", action="update", id=one, values={"LastName": "Renamed"})
    crms.tell("act", system="salesforce", action="update", id=other, values={"Title": "Head of Logistics"})
    house.sync()
    assert titles() == before
    assert house.mart(f"SELECT last_name FROM person_record WHERE native_id = '{one}'") == [("Renamed",)]
    assert "Contact does not show us Title" in house.run("quarantine").out
    crms.tell("act", system="salesforce", action="field_security", field="Contact.Title", access="edit")
    assert "does not show us" not in str(house.run("sync"))
    assert titles() == before | {other: "Head of Logistics"}
    assert "does not show us" not in house.run("quarantine").out


def test_a_record_that_is_refused_is_set_aside_with_its_cause_and_the_rest_is_written(installed: World) -> None:
    house, crms = installed.house, installed.crms
    contact = crms.query("SELECT Id FROM Contact ORDER BY Id LIMIT 1")[0]["Id"]
    locked = crms.query("SELECT Id FROM Contact ORDER BY Id DESC LIMIT 1")[0]["Id"]
    crms.tell("faults", system="salesforce", kind="reject_record", match=f"Contact {contact}")
    crms.tell("faults", system="salesforce", kind="row_lock", match=f"Contact {locked}", times=1)
    house.sync()
    told = house.run("status", "--json").json()
    assert [(each["system"], each["count"]) for each in told["quarantine"]] == [("salesforce", 1)], told["quarantine"]
    assert "validation rule" in told["quarantine"][0]["reason"]
    assert "validation rule" in house.run("status").out
    house.sync(now=instant.now(timedelta(minutes=1)).isoformat())  # what was locked waits for some seconds
    refused = {line.split(" ")[0] for line in differing(house.desired(), crms.written())}
    assert refused == {f"salesforce|Contact|{contact}"}
    cause = next(each["id"] for each in house.run("quarantine", "--json").json() if "validation rule" in each["reason"])
    retried = house.run("quarantine", "retry", str(cause), "--json")
    assert retried.code == 0, str(retried)
    house.sync()
    assert {line.split(" ")[0] for line in differing(house.desired(), crms.written())} == refused, "refused once more"
    crms.mend()
    house.run("quarantine", "retry", str(cause))
    assert "waiting since run" in house.run("plan").out
    house.sync()
    assert differing(house.desired(), crms.written()) == []
    assert house.run("status", "--json").json()["quarantine"] == []


def test_a_task_that_is_refused_goes_to_the_next_owner_of_its_record(synced: World) -> None:
    house, crms = synced.house, synced.crms
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})
    crms.tell("faults", system="salesforce", kind="reject_record", match="^Task", times=1)
    house.sync()
    house.sync()
    assert crms.tasks() == []
    [(record, owner)] = house.state("SELECT native_id, json_extract(task, '$.owner') FROM outbox WHERE lane = 'task'")
    other = crms.query(f"SELECT Id FROM User WHERE IsActive = true AND Id != '{owner}' LIMIT 1")[0]["Id"]
    crms.tell("act", system="salesforce", action="update", id=record, values={"OwnerId": other})
    crms.pass_second()
    told = house.run("plan", "--json").json()
    assert [each["why"] for each in told["again"]] == ["refused before: the record has another owner now"]
    assert told["aside"] == 0, house.state("SELECT key, reason FROM quarantine WHERE is_open")
    house.sync()
    assert [(task["who"], task["owner"]) for task in crms.tasks()] == [(record, other)]
    assert "nothing is set aside" in house.run("quarantine", "--kind", "change").out


def test_a_task_that_is_refused_for_its_owner_goes_to_them_once_they_are_active_again(synced: World) -> None:
    house, crms = synced.house, synced.crms
    theirs = [native for system, _, native in crms.look("cast")["prospect"]["records"] if system == "salesforce"]
    rows = [row for kind in ("Contact", "Lead") for row in crms.query(f"SELECT Id, OwnerId FROM {kind}")]
    owners = {row["OwnerId"] for row in rows if row["Id"] in theirs}
    for owner in owners:
        crms.tell("act", system="salesforce", action="update", id=owner, values={"IsActive": False})
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})
    house.sync()
    assert "INACTIVE_OWNER_OR_USER" in house.run("quarantine").out
    crms.pass_days(1)
    for owner in owners:
        crms.tell("act", system="salesforce", action="update", id=owner, values={"IsActive": True})
    later = instant.now(timedelta(days=1, minutes=5)).isoformat()
    assert "refused before: its owner was changed since, and is active" in house.run("plan", now=later).out
    house.sync(now=later)
    assert [task["owner"] in owners for task in crms.tasks()] == [True]
    assert "nothing is set aside" in house.run("quarantine", "--kind", "change").out


def test_a_record_that_was_not_there_when_it_was_written_to_is_looked_for_by_the_next_run(synced: World) -> None:
    house, crms = synced.house, synced.crms
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})
    [gone] = [native for system, _, native in crms.look("cast")["prospect"]["records"] if system == "hubspot"][:1]
    crms.archive(gone)
    first = house.sync()
    assert sum(each["conflicts"] for each in first["delivered"]) == 1
    house.sync()
    assert house.mart(f"SELECT deleted_at IS NOT NULL FROM person_record WHERE native_id = '{gone}'") == [(True,)]
    assert house.sync()["planned"] == 0


def test_a_field_that_does_not_take_its_value_holds_back_no_other_of_its_record(installed: World) -> None:
    house, crms = installed.house, installed.crms
    crms.add_field("Contact", "Short__c", {"type": "Text", "length": 40, "label": "Short"})
    named = '\n[writeback.fields.salesforce.Contact]\nreasons = "Short__c"\n'
    house.config.write_text(house.config.read_text() + named)
    house.sync()
    desired = house.desired()
    held = {row["Id"]: row["Short__c"] for row in crms.query("SELECT Id, Short__c FROM Contact")}
    long = {name for name, fields in desired.items() if len(fields.get("Short__c") or "") > 40}
    assert long
    for name, fields in desired.items():
        if "Short__c" in fields:
            assert held[name.split("|")[2]] == (None if name in long else fields.pop("Short__c") or None)
            fields.pop("Short__c", None)
    assert differing(desired, crms.written()) == [], "all else is written, also of those records"
    aside = house.state("SELECT record, code FROM quarantine WHERE is_open")
    assert set(aside) == {(name, "STRING_TOO_LONG") for name in long}
    assert f"{len(long)} waiting, held or set aside already" in house.run("sync").out
    house.edit(named, "")
    house.sync()
    assert differing(house.desired(), crms.written()) == []
    assert house.run("quarantine", "--json").json() == []
