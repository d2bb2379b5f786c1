"""A power cut at any moment: run again, and everything is there, once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.e2e.crm import differing, eventually
from tests.e2e.world import World

#: Where the CRMs take our writes.
WRITES = {"salesforce": "POST .*/composite", "hubspot": "POST .*/batch/(update|create|upsert)"}
SLOW_S = 1.5
#: What a run says when it has read everything, and has not yet written anything.
PULLED = "resolve   "


def _assert_complete(world: World) -> None:
    """Every desired value is there, no task twice, no workflow fired twice on one record, every stream conserved."""
    house, crms = world.house, world.crms
    wanted = house.desired()
    assert len(wanted) > 100
    assert differing(wanted, crms.written()) == []
    keys = Counter(task["key"] for task in crms.tasks())
    assert [key for key, count in keys.items() if count > 1] == []
    fired = Counter((each["rule"], each["record_id"]) for each in crms.look("firings"))
    assert fired, "no workflow fired, so firing twice could not be seen"
    assert [key for key, count in fired.items() if count > 1] == []
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
    for path in ("contacts/search", "emails"):
        mark = crms.mark()
        running = house.start("sync")
        crms.wait_for_call("hubspot", path, mark)
        running.kill()
    crms.mend()
    for step in ("resolve", "score", "stage", "plan"):
        running = house.start("sync")
        running.wait_for(f"{step:<9} ")
        running.kill()
        assert all(value is None for fields in crms.written().values() for value in fields.values()), step
    _sync_until_quiet(installed)
    _assert_complete(installed)
    dead = house.state("SELECT count(*) FROM run WHERE status = 'dead'")
    assert dead == [(6,)]


@pytest.mark.parametrize("system", WRITES)
def test_killed_while_delivering_nothing_is_lost_and_nothing_comes_twice(installed: World, system: str) -> None:
    house, crms = installed.house, installed.crms
    running = house.start("sync")
    running.wait_for(PULLED)
    crms.tell("faults", system=system, kind="slow", match=WRITES[system], seconds=SLOW_S)
    running.wait_for("deliver   ")
    _wait_for_flight(installed, system)
    running.kill()
    crms.mend()
    assert house.in_flight(system) > 0
    _sync_until_quiet(installed)
    _assert_complete(installed)


def _wait_for_flight(world: World, system: str) -> None:
    eventually(lambda: world.house.in_flight(system) > 0, f"nothing goes to {system}")


@pytest.mark.parametrize("system", WRITES)
def test_a_lost_reply_to_a_write_is_settled_by_reading(installed: World, system: str) -> None:
    house, crms = installed.house, installed.crms
    running = house.start("sync")
    running.wait_for(PULLED)
    crms.tell("faults", system=system, kind="drop_after", match=WRITES[system], times=1)
    running.end()
    assert sum(fault["hits"] for fault in crms.look("faults")) == 1
    _sync_until_quiet(installed)
    _assert_complete(installed)


def test_a_task_whose_reply_is_lost_with_its_maker_is_made_once(synced: World) -> None:
    house, crms = synced.house, synced.crms
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})
    running = house.start("sync")
    running.wait_for(PULLED)
    crms.tell("faults", system="salesforce", kind="slow", match=WRITES["salesforce"], seconds=SLOW_S)
    _wait_for_flight(synced, "salesforce")
    running.kill()
    eventually(lambda: len(crms.tasks()) == 1, "the CRM does not take what was on its way")
    crms.mend()
    _sync_until_quiet(synced)
    _assert_complete(synced)
    assert len(crms.tasks()) == 1
