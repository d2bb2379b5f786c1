"""A power cut at any moment: run again, and everything is there, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.e2e.crm import differing, eventually
from tests.e2e.world import World

#: Our writes as the CRMs get them; Salesforce takes reads and writes at one address.
WRITES = {
    "salesforce": {"contains": '"method":"(POST|PATCH)","url":"[^"]*/composite/sobjects"'},
    "hubspot": {"match": "POST .*/batch/(update|create|upsert)"},
}
#: A write that is held is held until its sender has been killed.
HELD_S = 60


def _assert_complete(world: World) -> None:
    """Every desired value is there and ours, no task twice, no workflow fired twice on one record, every stream conserved."""
    house, crms = world.house, world.crms
    wanted = house.desired()
    assert len(wanted) > 100
    assert differing(wanted, crms.written()) == []
    keys = Counter(task["key"] for task in crms.tasks())
    assert [key for key, count in keys.items() if count > 1] == []
    fired = Counter((each["rule"], each["record_id"]) for each in crms.look("firings"))
    assert fired, "no workflow fired, so firing twice could not be seen"
    assert [key for key, count in fired.items() if count > 1] == []
    assert house.mart("SELECT record, field, ours, theirs FROM drift") == [], "our own writes are taken for somebody's"
    steps = house.state("SELECT run, stream, pulled, applied + unchanged + filtered + quarantined FROM run_step")
    assert [step for step in steps if step[2] != step[3]] == []
    assert (
        house.state("SELECT status, count(*) FROM outbox WHERE status NOT IN ('settled', 'superseded') GROUP BY 1")
        == []
    )


def _sync_until_quiet(world: World) -> None:
    """Syncs until one has nothing to plan and nothing in doubt; more than four are too many."""
    for _ in range(4):
        told = world.house.sync()
        if not told["planned"] and not any(each["waiting"] or each["unknown"] for each in told["delivered"]):
            return
    pytest.fail("four syncs did not come to rest")


def test_killed_while_pulling_and_computing_the_next_run_completes_everything(installed: World) -> None:
    house, crms = installed.house, installed.crms
    for system in WRITES:
        crms.tell("faults", system=system, kind="slow", seconds=0.3)
    mark = crms.mark()
    running = house.start("sync")
    crms.wait_for_call("hubspot", "objects/emails", mark)
    running.kill()
    crms.mend()
    for step in ("stage", "plan"):  # resolve and score are in the same transaction as stage
        running = house.start("sync")
        running.wait_for(f"{step:<9} ")
        running.kill()
        assert all(value is None for fields in crms.written().values() for value in fields.values()), step
    _sync_until_quiet(installed)
    _assert_complete(installed)
    dead = house.state("SELECT count(*) FROM run WHERE status = 'dead'")
    assert dead == [(3,)]


def _kill_before_the_write_arrives(world: World, system: str) -> None:
    house, crms = world.house, world.crms
    crms.tell("faults", system=system, kind="slow", **WRITES[system], seconds=HELD_S)
    running = house.start("sync")
    eventually(lambda: crms.look("faults")[0]["hits"] > 0, f"nothing goes to {system}")
    running.kill()
    crms.mend()


def _kill_before_the_reply_arrives(world: World, system: str) -> None:
    """The write took effect, and its sender never heard of it."""
    house, crms = world.house, world.crms
    before = crms.versions()
    crms.tell("faults", system=system, kind="drop_after", **WRITES[system])
    running = house.start("sync")
    eventually(lambda: crms.versions() != before and crms.look("faults")[0]["hits"] > 0, f"nothing reaches {system}")
    running.kill()
    crms.mend()


def test_killed_while_a_bulk_job_is_at_work_it_is_asked_by_its_id_and_no_row_goes_twice(installed: World) -> None:
    house, crms = installed.house, installed.crms
    house.edit("[systems.salesforce]\n", "[systems.salesforce]\nbulk_write_from = 20\n")
    crms.tell("faults", system="salesforce", kind="slow", match="GET .*/jobs/ingest/[^/]*$", seconds=HELD_S)
    mark = crms.mark()
    running = house.start("sync")
    eventually(
        lambda: any(
            call["method"] == "PATCH" and "jobs/ingest" in call["path"] for call in crms.calls_of("salesforce", mark)
        ),
        "no job is closed",
    )
    running.kill()
    crms.mend()
    doubted = "SELECT receipt, count(*) FROM outbox WHERE status = 'in_flight' AND receipt <> '' GROUP BY 1"
    [(job, rows)] = house.state(doubted)
    assert rows >= 20
    _sync_until_quiet(installed)
    _assert_complete(installed)
    told = house.state(
        "SELECT count(*), max(attempt) FROM outbox WHERE receipt = ? AND status IN ('settled', 'superseded')", job
    )
    assert told == [(rows, 1)], "a row of the job was sent a second time"


def _holds_values(world: World, system: str) -> bool:
    held = world.crms.written()
    return any(value is not None for record in held if record.startswith(system) for value in held[record].values())


@pytest.mark.parametrize("system", WRITES)
def test_killed_before_a_write_arrives_it_is_sent_again(installed: World, system: str) -> None:
    _kill_before_the_write_arrives(installed, system)
    assert installed.house.in_flight(system) > 50
    assert not _holds_values(installed, system)
    _sync_until_quiet(installed)
    _assert_complete(installed)


@pytest.mark.parametrize("system", WRITES)
def test_killed_before_a_reply_arrives_its_write_is_settled_by_reading(installed: World, system: str) -> None:
    house, crms = installed.house, installed.crms
    _kill_before_the_reply_arrives(installed, system)
    assert _holds_values(installed, system)
    # whether it was looked up before the kill is a race; it may have gone on with the next ones
    sent = "SELECT count(*) FROM outbox WHERE status IN ('in_flight', 'unknown', 'settled') AND system = ?"
    assert house.state(sent, system)[0][0] > 50
    held = crms.versions()
    _sync_until_quiet(installed)
    _assert_complete(installed)
    again = [
        record for record, version in crms.versions().items() if record.startswith(system) and version != held[record]
    ]
    assert len(again) < 10, "what was there already was written again"


@pytest.mark.parametrize("system", WRITES)
def test_a_lost_reply_without_a_kill_costs_nothing(installed: World, system: str) -> None:
    house, crms = installed.house, installed.crms
    crms.tell("faults", system=system, kind="drop_after", **WRITES[system], times=1)
    assert house.run("sync").code in (0, 4)
    assert crms.look("faults")[0]["hits"] == 1
    _sync_until_quiet(installed)
    _assert_complete(installed)


@pytest.mark.parametrize("kill", [_kill_before_the_write_arrives, _kill_before_the_reply_arrives])
def test_a_task_whose_maker_is_killed_is_made_once(synced: World, kill: Callable[[World, str], None]) -> None:
    crms = synced.crms
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})
    kill(synced, "salesforce")
    _sync_until_quiet(synced)
    _assert_complete(synced)
    assert len(crms.tasks()) == 1


@pytest.mark.parametrize(
    ("system", "kind", "field", "a_write"),
    [
        ("salesforce", "Contact", "Score__c", {"contains": '"method":"PATCH","url":"[^"]*/composite/sobjects"'}),
        ("hubspot", "contacts", "connector_score", {"match": "contacts/batch/update"}),
    ],
)
def test_a_write_whose_reply_is_lost_is_looked_up_in_the_same_sync_and_a_persons_edit_meanwhile_stands(
    synced: World, system: str, kind: str, field: str, a_write: dict[str, str]
) -> None:
    house, crms = synced.house, synced.crms
    [native_id] = [each[2] for each in crms.look("cast")["prospect"]["records"] if each[:2] == [system, kind]][:1]
    record = f"{system}|{kind}|{native_id}"
    before = float(crms.written()[record][field])
    crms.tell(
        "workflows",
        system=system,
        object_type=kind,
        name="hot",
        field=field,
        operator="crosses_up",
        value=str(before + 1),
    )
    house.config.write_text(
        house.config.read_text()
        + '\n[writeback]\nownership = { score = "defer" }\n[writeback.brakes]\nmax_overwritten_share = 1.0\n'
    )
    house.edit("points = 15", "points = 19")
    crms.tell("faults", system=system, kind="drop_after", times=1, **a_write)
    running = house.start("sync")
    eventually(lambda: crms.look("faults")[0]["hits"] == 1, "no reply was lost")
    edit = (
        {"action": "update", "values": {field: 1.5}}
        if system == "salesforce"
        else {"action": "edit", "properties": {field: "1.5"}}
    )
    crms.tell("act", system=system, id=native_id, **edit)
    assert running.end().code == 0, str(running.said())
    assert float(crms.written()[record][field]) == 1.5
    fired = [each for each in crms.look("firings") if (each["rule"], each["record_id"]) == ("hot", native_id)]
    assert len(fired) == 1, fired
    assert house.state("SELECT count(*) FROM outbox WHERE status IN ('in_flight', 'unknown')") == [(0,)]
