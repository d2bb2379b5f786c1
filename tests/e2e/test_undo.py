"""A run can be taken back, where nobody has changed since what it wrote."""

from __future__ import annotations

from datetime import timedelta

from tests.e2e import instant
from tests.e2e.crm import eventually
from tests.e2e.world import World


def _first(world: World) -> int:
    """The run that wrote everything; the one after it had nothing to write."""
    [(run,)] = world.house.state("SELECT DISTINCT run FROM outbox")
    return int(run)


def test_undo_restores_what_was_there_and_names_what_somebody_changed_since(synced: World) -> None:
    house, crms = synced.house, synced.crms
    run = _first(synced)
    contact = f"salesforce|Contact|{crms.query('SELECT Id FROM Contact ORDER BY Id LIMIT 1')[0]['Id']}"
    assert crms.written()[contact]["Score__c"] is not None
    crms.tell("act", system="salesforce", action="update", id=contact.split("|")[2], values={"Score__c": 99.5})
    undone = house.run("undo", str(run), "--json")
    assert undone.code == 0, str(undone)
    kept = [line for line in undone.json()["kept"] if "somebody changed it since" in line]
    assert len(kept) == 1
    held = crms.written()
    assert held[contact]["Score__c"] == 99.5
    others = [
        value for record in held if record != contact for value in held[record].values() if value not in (None, "")
    ]
    assert others == []
    house.sync()
    edited = held.pop(contact)
    now = crms.written()
    assert now.pop(contact) != edited, "the edit was not restored, so its field is ours as ever"
    assert now == held, "what was restored stays until it is released"
    assert house.run("unfreeze", "--all", "--json").json()["released"] > 0
    house.sync()
    assert crms.written()[contact]["Grade__c"] is not None


def test_undo_that_was_killed_half_way_is_run_again_and_ends_what_it_began(synced: World) -> None:
    house, crms = synced.house, synced.crms
    run = _first(synced)
    crms.tell("faults", system="salesforce", kind="slow", match="POST .*/composite", seconds=1.5)
    running = house.start("undo", str(run))
    eventually(lambda: house.in_flight("salesforce") > 0, "nothing is restored in salesforce")
    running.kill()
    crms.mend()
    assert any(
        fields["Score__c"] is not None for record, fields in crms.written().items() if record.startswith("sales")
    )
    again = house.run("undo", str(run), "--json")
    assert again.code == 0, str(again)
    assert again.json()["kept"] == []
    assert [record for record, fields in crms.written().items() if any(fields.values())] == []
    assert "0 values of 0 records would be restored" in house.run("undo", str(run), "--dry-run").out


def test_what_a_refusal_kept_from_being_taken_back_waits_for_it_whatever_a_sync_wants_meanwhile(
    synced: World,
) -> None:
    house, crms = synced.house, synced.crms
    run = _first(synced)
    contact = crms.query("SELECT Id FROM Contact ORDER BY Id LIMIT 1")[0]["Id"]
    crms.tell("faults", system="salesforce", kind="reject_record", match=f"Contact {contact}")
    assert house.run("undo", str(run)).code == 0
    crms.mend()
    assert [each["count"] for each in house.run("quarantine", "--json").json()] == [1]
    house.sync()
    left = [record for record, fields in crms.written().items() if any(fields.values())]
    assert left == [f"salesforce|Contact|{contact}"]
    assert house.run("quarantine", "retry").code == 0
    house.sync()
    assert [record for record, fields in crms.written().items() if any(fields.values())] == []
    assert house.run("quarantine", "--json").json() == []


def test_what_undo_could_not_restore_at_once_gives_way_to_who_changes_it_meanwhile(synced: World) -> None:
    house, crms = synced.house, synced.crms
    run = _first(synced)
    locked, refused = (row["Id"] for row in crms.query("SELECT Id FROM Contact ORDER BY Id LIMIT 2"))
    lead = crms.query("SELECT Id FROM Lead WHERE IsConverted = false AND Email != null ORDER BY Id LIMIT 1")[0]["Id"]
    crms.tell("act", system="salesforce", action="convert_lead", id=lead)
    crms.tell("faults", system="salesforce", kind="row_lock", match=f"Contact {locked}")
    crms.tell("faults", system="salesforce", kind="reject_record", match=f"Contact {refused}")
    values = {record: sum(value is not None for value in fields.values()) for record, fields in crms.written().items()}
    undone = house.run("undo", str(run), "--json").json()
    assert undone["waiting"] == values[f"salesforce|Contact|{locked}"]
    kept = [line for line in undone["kept"] if f"salesforce Lead {lead}" in line]
    assert kept
    assert all(line.endswith("the record was converted, and takes nothing any more") for line in kept)
    assert [refused in line and "set aside" in line for line in undone["kept"] if line not in kept] == (
        [True] * values[f"salesforce|Contact|{refused}"]
    )
    crms.mend()
    for contact in (locked, refused):
        crms.tell("act", system="salesforce", action="update", id=contact, values={"Score__c": 99.5})
    assert house.run("quarantine", "retry").code == 0
    later = instant.now(timedelta(minutes=10)).isoformat()
    told = house.run("sync", now=later)
    assert f"salesforce Contact {locked} Score__c: somebody changed it since" in told.out, str(told)
    left = {record.split("|")[2]: fields for record, fields in crms.written().items() if any(fields.values())}
    assert [left[contact].pop("Score__c") for contact in (locked, refused)] == [99.5, 99.5]
    assert not any(left[locked].values())
    assert not any(left[refused].values())
    [person] = house.run("explain", locked, "--json").json()
    withdrawn = [each["held_because"] for each in person["writes"] if each["status"] == "withdrawn"]
    assert withdrawn == ["somebody changed it since"]


def test_an_undo_that_is_taken_back_leaves_nothing_frozen_and_what_was_there(synced: World) -> None:
    house, crms = synced.house, synced.crms
    before = crms.written()
    undone = house.run("undo", str(_first(synced)), "--json").json()
    again = house.run("undo", str(undone["run"]), "--json").json()
    assert (again["restored"], again["waiting"], again["kept"]) == (undone["restored"], 0, [])
    assert crms.written() == before
    assert house.run("status", "--json").json()["frozen"] == []
    assert house.sync()["planned"] == 0
    assert crms.written() == before


def test_what_undo_could_not_read_it_leaves_alone_and_says_so(synced: World) -> None:
    house, crms = synced.house, synced.crms
    run = _first(synced)
    before = crms.written()
    crms.tell("faults", system="hubspot", kind="gone")
    told = house.run("undo", str(run), "--json").json()
    crms.mend()
    lines = [line for line in told["kept"] if "hubspot could not be read" in line]
    assert len(lines) > 50
    held = crms.written()
    assert {record for record in held if held[record] == before[record]} == {
        record for record in held if record.startswith("hubspot")
    }
    assert house.run("undo", str(run), "--json").json()["restored"] > 50
    assert [record for record, fields in crms.written().items() if any(fields.values())] == []


def test_what_a_run_has_not_written_yet_goes_no_more_once_the_run_is_taken_back(synced: World) -> None:
    house, crms = synced.house, synced.crms
    first = _first(synced)
    assert house.run("undo", str(first)).code == 0
    house.run("unfreeze", "--all")
    contact = crms.query("SELECT Id FROM Contact ORDER BY Id LIMIT 1")[0]["Id"]
    crms.tell("faults", system="salesforce", kind="reject_record", match=f"Contact {contact}")
    assert house.run("pause", "hubspot").code == 0
    house.sync("--full")
    crms.mend()
    run = house.state("SELECT max(run) FROM outbox")[0][0]
    waiting = house.state("SELECT count(*) FROM outbox WHERE status IN ('pending', 'quarantined')")[0][0]
    assert waiting > 50
    undone = house.run("undo", str(run), "--json").json()
    assert undone["withdrawn"] == waiting
    house.run("resume", "hubspot")
    assert house.run("quarantine", "--kind", "change", "--json").json() == []
    house.sync("--full")
    assert [record for record, fields in crms.written().items() if any(fields.values())] == []
