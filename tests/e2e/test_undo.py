"""A run can be taken back, where nobody has changed since what it wrote."""

from __future__ import annotations

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
