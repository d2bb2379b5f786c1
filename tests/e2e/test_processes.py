"""Several processes, signals and the scheduler."""

from __future__ import annotations

import signal

from tests.e2e.crm import differing, eventually
from tests.e2e.world import World


def test_a_second_process_says_busy_while_looking_stays_possible(synced: World) -> None:
    house, crms = synced.house, synced.crms
    crms.tell("faults", system="salesforce", kind="slow", seconds=6.0)
    mark = crms.mark()
    first = house.start("sync", is_fresh=True)
    crms.wait_for_call("hubspot", "contacts/search", mark)
    second = house.run("sync")
    assert second.code == 6, str(second)
    assert "another run" in second.err
    assert "Traceback" not in second.err
    looked = house.run("status")
    assert looked.code == 0
    crms.mend()
    assert first.end().code == 0


def test_a_service_that_is_told_to_stop_settles_what_is_in_flight_and_ends_with_0(installed: World) -> None:
    house, crms = installed.house, installed.crms
    crms.tell("faults", system="hubspot", kind="slow", match="batch/update", seconds=3.0)
    service = house.start("run", is_fresh=True)
    eventually(lambda: house.in_flight("hubspot") > 0, "nothing goes to hubspot")
    service.process.send_signal(signal.SIGTERM)
    done = service.end()
    assert done.code == 0, str(done)
    assert "stopped after settling" in done.out
    assert house.state("SELECT count(*) FROM outbox WHERE status IN ('in_flight', 'unknown')") == [(0,)]
    assert house.state("SELECT status FROM run") == [("stopped",)]
    house.sync()
    assert differing(house.desired(), crms.written()) == []


def test_a_service_goes_on_with_its_last_good_configuration(synced: World) -> None:
    house = synced.house
    house.edit('sync = "every 15 minutes"', 'sync = "every 1 second"\njitter_s = 0')
    service = house.start("run")
    service.wait_for("everything is as it should be")
    house.edit("rearm_below = 50", "rearm_below = 70")
    service.wait_for("going on with the last good one")
    said = service.said().out.count("everything is as it should be")
    service.wait_for("everything is as it should be", times=said + 1)
    service.process.send_signal(signal.SIGTERM)
    done = service.end()
    assert done.code == 0, str(done)
    assert done.out.count("everything is as it should be") > said
    assert "tasks.call_hot_lead.rearm_below" in done.err
