"""What the org does to its records between two syncs is followed, and a back-fill in bulk that was killed goes on."""

from __future__ import annotations

import re
from typing import Any

from tests.e2e.house import House
from tests.e2e.world import World

SALESFORCE = {"system": "salesforce"}
JOB = re.compile(r"/jobs/query/(750\w+)")


def _jobs(world: World, since: int) -> set[str]:
    """The bulk queries that were asked for after a place in the log of calls."""
    paths = [call["path"] for call in world.crms.calls_of("salesforce", since)]
    return {found[1] for path in paths if (found := JOB.search(path))}


def _act(world: World, action: str, **payload: Any) -> dict[str, str]:
    found: dict[str, str] = world.crms.tell("act", action=action, **payload, **SALESFORCE)
    return found


def test_a_conversion_and_a_merge_between_two_syncs_lead_to_the_record_that_goes_on(synced: World) -> None:
    house, crms = synced.house, synced.crms
    lead = crms.query("SELECT Id FROM Lead WHERE IsConverted = false AND Email != null ORDER BY Id LIMIT 1")[0]["Id"]
    winner, loser = (row["Id"] for row in crms.query("SELECT Id FROM Contact ORDER BY Id DESC LIMIT 2"))
    contact = _act(synced, "convert_lead", id=lead)["contact"]
    _act(synced, "merge", winner=winner, loser=loser)
    house.sync()
    person_of = dict(
        house.mart("SELECT split_part(key, '|', 3), owner_id FROM membership WHERE key LIKE 'salesforce|%'")
    )
    assert person_of[contact] == person_of[lead]
    state = house.mart(f"SELECT is_converted FROM person_record WHERE native_id = '{lead}'")
    assert state == [(True,)]
    (merged,) = house.mart(f"SELECT merged_into, deleted_at IS NULL FROM person_record WHERE native_id = '{loser}'")
    assert merged == (f"salesforce|Contact|{winner}", False)
    desired = {record.split("|")[2] for record in house.desired() if record.startswith("salesforce|")}
    assert contact in desired
    assert not {lead, loser} & desired, "a converted lead or a merged record is to be written"


def test_a_bulk_back_fill_that_was_killed_goes_on_with_the_jobs_that_it_had_begun(installed: World) -> None:
    house, crms = installed.house, installed.crms
    house.edit('kind = "salesforce"\n', 'kind = "salesforce"\nbulk_from = 1\n')
    crms.tell("limits", enabled=False, salesforce_bulk_page_rows=20)
    begun = crms.mark()
    running = house.start("pull")
    crms.wait_for_call("salesforce", "/results", begun)
    running.kill()
    before, mark = _jobs(installed, begun), crms.mark()
    house.run("pull")
    assert before & _jobs(installed, mark), "every job was made anew"
    for name in ("Lead", "Contact"):
        there = {row["Id"] for row in crms.query(f"SELECT Id FROM {name}")}
        ours = house.mart(f"SELECT native_id FROM person_record WHERE object_type = '{name}' AND deleted_at IS NULL")
        assert sorted(one for (one,) in ours) == sorted(there)
    pulled = house.state("SELECT status FROM run_step WHERE system = 'salesforce' AND run = 2")
    assert {status for (status,) in pulled} == {"done"}


def _results(house: House, contact: str) -> list[str]:
    """What became of the changes of fields that were sent to a contact."""
    query = "SELECT d.result FROM delivery d JOIN outbox o ON o.id = d.outbox WHERE o.native_id = ? AND o.lane != 'task' ORDER BY d.id"
    return [result for (result,) in house.state(query, contact)]


def test_what_a_write_did_not_find_is_asked_for_by_the_next_pull_and_not_sent_again_before(synced: World) -> None:
    house, crms = synced.house, synced.crms
    email = crms.email_of("prospect")
    [contact] = [row["id"] for row in crms.objects("contacts", ("email",)) if row["properties"]["email"] == email]
    record = f"hubspot|contacts|{contact}"
    before = len(_results(house, contact))
    crms.tell("act", action="submit_form", form="Book a demo", email=email, values={})
    crms.delete_contact(contact)
    house.sync()
    assert _results(house, contact)[before:] == ["conflict"]
    crms.tell("faults", system="hubspot", kind="not_json", match="search")
    assert house.run("sync").code == 4
    crms.mend()
    assert _results(house, contact)[before:] == ["conflict"], "it was not read since"
    house.sync()
    assert _results(house, contact)[before:] == ["conflict"], "it is gone"
    assert house.mart(f"SELECT deleted_at IS NULL FROM person_record WHERE key = '{record}'") == [(False,)]
