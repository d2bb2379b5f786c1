"""A plan only looks; apply writes what the plan said, and nothing that changed since."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.crm import differing
from tests.e2e.world import World


def _promised(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a plan by record key."""
    promised: dict[str, dict[str, Any]] = {}
    for change in plan["changes"]:
        record = f"{change['system']}|{change['object_type']}|{change['native_id']}"
        promised.setdefault(record, {}).update(change["fields"])
    return promised


@pytest.mark.parametrize("bulk_write_from", [15_000, 20])
def test_a_plan_writes_nothing_and_apply_writes_exactly_what_it_said(pulled: World, bulk_write_from: int) -> None:
    house, crms = pulled.house, pulled.crms
    house.edit("[systems.salesforce]\n", f"[systems.salesforce]\nbulk_write_from = {bulk_write_from}\n")
    house.edit('token = "file:hubspot_token"', 'token = "file:hubspot_token"\nportal_id = 4711')  # one more call
    before = crms.versions()
    looked = house.run("plan", "--json", "--exit-code")
    assert looked.code == 10, str(looked)
    assert crms.versions() == before
    assert house.state("SELECT count(*) FROM outbox") == [(0,)]
    plan = looked.json()
    promised = _promised(plan)
    assert len(promised) > 100
    besides = {name: plan[name] for name in ("calls", "costs", "let_go", "again", "aside", "unready", "left_behind")}
    assert plan["unready"] == []
    assert plan == json.loads((house.directory / "plan.json").read_text()) | besides

    mark = crms.mark()
    applied = house.run("apply", "--json")
    assert applied.code == 0, str(applied)
    counted = {name: len(crms.calls_of(name, mark)) for name in ("salesforce", "hubspot")}
    held = crms.written()
    assert differing(promised, held) == []
    after = crms.versions()
    written = {record for record in after if after[record] != before.get(record)}
    assert written == set(promised)
    for each in applied.json()["delivered"]:
        told, asking = plan["calls"][each["system"]], plan["costs"][each["system"]]["asking"]
        reading = applied.json()["calls"][f"{each['system']}.read"]
        assert each["calls"] == counted[each["system"]] - reading
        assert told <= each["calls"] <= told + asking, "the plan states the calls that are made"
        assert (asking > 0) is (each["system"] == "salesforce" and bulk_write_from == 20)

    again = house.run("apply")
    assert again.code == 0, str(again)
    assert f"run {applied.json()['run']} wrote it already" in again.err
    assert crms.versions() == after


def test_a_sync_after_an_applied_plan_has_nothing_to_write_over(pulled: World) -> None:
    house, crms = pulled.house, pulled.crms
    assert house.run("plan").code == house.run("apply").code == 0
    applied = crms.versions()
    done = house.sync()
    assert done["planned"] == 0
    assert crms.versions() == applied


def test_apply_refuses_by_name_what_somebody_edited_or_deleted_since_the_plan(pulled: World) -> None:
    house, crms = pulled.house, pulled.crms
    assert house.run("plan").code == 0
    ids = [row["Id"] for row in crms.query("SELECT Id FROM Contact ORDER BY Id LIMIT 2")]
    contact, gone = (f"salesforce|Contact|{each}" for each in ids)
    crms.tell("act", system="salesforce", action="delete", id=ids[1])
    crms.tell("act", system="salesforce", action="update", id=contact.split("|")[2], values={"Score__c": 99.5})
    crms.pass_second()
    done = house.run("apply")
    assert done.code == 0, str(done)
    assert f"{contact}: its values changed since the plan was made" in done.err
    assert f"{gone}: it was deleted, merged or converted since the plan was made" in done.err
    held = crms.written()
    assert held[contact]["Score__c"] == 99.5
    assert held[contact]["Grade__c"] is None
    others = [record for record, fields in held.items() if record != contact and fields.get("Score__c") is not None]
    assert len(others) > 50


def test_apply_writes_nothing_to_a_system_that_it_cannot_read(pulled: World) -> None:
    house, crms = pulled.house, pulled.crms
    assert house.run("plan").code == 0
    crms.tell("faults", system="hubspot", kind="gone")
    done = house.run("apply", "--json")
    assert done.code == 4, str(done)
    crms.mend()
    held = crms.written()
    written = {record.split("|")[0] for record, fields in held.items() if any(value for value in fields.values())}
    assert written == {"salesforce"}
    refused = [line for line in done.json()["refused"] if "hubspot could not be read" in line]
    assert len(refused) > 50
    assert house.run("apply").code == 0
    assert {each["system"] for each in crms.calls_of("hubspot") if "batch/update" in each["path"]} == {"hubspot"}


def test_a_plan_made_with_another_configuration_is_refused(synced: World) -> None:
    house = synced.house
    assert house.run("plan").code == 0
    house.edit("points = 25", "points = 26")
    before = synced.crms.versions()
    done = house.run("apply")
    assert done.code == 2, str(done)
    assert "made with another configuration" in done.err
    assert synced.crms.versions() == before


def test_a_plan_that_is_applied_arms_triggers_and_is_what_explain_tells(pulled: World) -> None:
    house, crms = pulled.house, pulled.crms
    assert house.run("plan").code == 0
    assert house.run("apply").code == 0
    email = crms.email_of("prospect")
    told = house.run("explain", email, "--json").json()
    crms.tell("act", action="submit_form", form="Book a demo", email=email, values={})
    crms.tell("act", action="book_meeting", email=email)
    planned = house.run("plan", "--json").json()["changes"]
    assert [each["task"]["subject"][:9] for each in planned if each["task"]] == ["Call Ann:"]
    assert house.run("apply").code == 0
    assert len(crms.tasks()) == 1
    again = house.run("explain", email, "--json").json()
    assert again[0]["score"]["score"] > told[0]["score"]["score"]
    house.sync()
    assert len(crms.tasks()) == 1
    assert differing(house.desired(), crms.written()) == []
