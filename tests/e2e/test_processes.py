"""Several processes, signals and the scheduler."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest

from tests.e2e import instant
from tests.e2e.crm import SECRETS, differing, eventually
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
    assert "stopped; what waits goes with the next run" in done.out
    assert "stopped after settling" in done.out
    assert house.state("SELECT count(*) FROM outbox WHERE status IN ('in_flight', 'unknown')") == [(0,)]
    assert house.state("SELECT status FROM run") == [("stopped",)]
    house.sync()
    assert differing(house.desired(), crms.written()) == []


def test_a_plan_that_is_told_to_stop_ends_its_run_and_leaves_the_former_plan_as_it_was(synced: World) -> None:
    house, crms = synced.house, synced.crms
    assert house.run("plan").code == 0
    former = (house.directory / "plan.json").read_bytes()
    crms.tell("faults", system="salesforce", kind="slow", seconds=3.0)
    mark = crms.mark()
    looking = house.start("plan", "--exit-code", is_fresh=True)
    crms.wait_for_call("hubspot", "contacts/search", mark)
    looking.process.send_signal(signal.SIGTERM)
    done = looking.end()
    assert done.code == 1, "nobody knows whether there are changes"
    assert "no plan was made before the stop" in done.err
    assert house.state("SELECT status, exit_code FROM run ORDER BY id DESC LIMIT 1") == [("stopped", 0)]
    assert (house.directory / "plan.json").read_bytes() == former


@pytest.mark.parametrize(("system", "what"), [("hubspot", "batch/update"), ("salesforce", "")])
def test_a_service_that_is_told_to_stop_while_a_system_answers_429_ends_soon_and_calls_it_neither_down_nor_refused(
    installed: World, system: str, what: str
) -> None:
    house, crms = installed.house, installed.crms
    crms.tell("faults", system=system, kind="status", status=429, match=what)
    service = house.start("run", is_fresh=True)
    eventually(lambda: crms.look("faults")[0]["hits"] > 1, "no 429 yet")
    service.process.send_signal(signal.SIGTERM)
    asked_s = time.monotonic()
    done = service.end()
    assert time.monotonic() - asked_s < 20
    assert done.code == 0, str(done)
    assert "stopped; what waits goes with the next run" in done.out
    assert house.state("SELECT count(*) FROM outbox WHERE status IN ('in_flight', 'unknown')") == [(0,)]
    assert house.state("SELECT status, exit_code FROM run") == [("stopped", 0)]
    assert house.state("SELECT kind FROM alert") == house.state("SELECT kind FROM pause") == []
    crms.mend()
    house.sync(now=instant.now(timedelta(minutes=1)).isoformat())  # what was not taken waits for some seconds
    assert differing(house.desired(), crms.written()) == []


def test_a_service_says_once_that_its_configuration_is_broken_goes_on_and_takes_the_mended_file(synced: World) -> None:
    house = synced.house
    house.edit('sync = "every 15 minutes"', 'sync = "every 1 second"\njitter_s = 0')
    service = house.start("run")
    service.wait_for("all that is ours to write is there")
    house.edit("rearm_below = 50", "rearm_below = 70")
    service.wait_for("going on with the last good one")
    service.wait_for(
        "all that is ours to write is there", times=service.said().out.count("all that is ours to write is there") + 2
    )
    assert service.said().err.count("tasks.call_hot_lead.rearm_below") == 1
    house.edit("rearm_below = 70", "rearm_below = 49")
    service.wait_for("the configuration is good again")
    service.process.send_signal(signal.SIGTERM)
    done = service.end()
    assert done.code == 0, str(done)
    assert done.err.count("going on with the last good one") == 1
    assert "Nothing was read" not in done.err


def test_a_service_takes_other_weights_stages_secrets_and_log_with_its_next_run(synced: World) -> None:
    house = synced.house
    house.edit('sync = "every 15 minutes"', 'sync = "every 1 second"\njitter_s = 0')
    service = house.start("run")
    service.wait_for("all that is ours to write is there")
    token = house.directory / "hubspot_token"
    token.write_text("another-token")  # the same file with the same text names it
    service.wait_for("hubspot was left out")
    token.write_text(SECRETS["hubspot_token"])
    fine = service.said().out.count("all that is ours to write is there")
    service.wait_for("all that is ours to write is there", times=fine + 1)
    house.edit('points = 10, text = "target country"', 'points = 30, text = "target country"')
    house.edit("[schedule]\n", '[[lifecycle.stages]]\nname = "Everybody"\n\n[log]\nlevel = "info"\n\n[schedule]\n')
    service.wait_for("moved")
    service.wait_for("config.changed")
    service.process.send_signal(signal.SIGTERM)
    assert service.end().code == 0
    held = house.desired()
    assert {fields["Stage__c"] for record, fields in held.items() if "salesforce|Contact" in record} == {"Everybody"}
    lines = house.mart("SELECT DISTINCT points FROM score_line WHERE text = 'target country'")
    assert [int(points) for (points,) in lines] == [30 * 10**9]


def test_another_schedule_holds_before_the_run_that_the_former_one_waits_for(synced: World) -> None:
    house = synced.house
    house.edit('sync = "every 15 minutes"', 'sync = "every 1 day"\njitter_s = 0')
    service = house.start("run")
    service.wait_for("running: sync every 1 day")
    house.edit('sync = "every 1 day"', 'sync = "every 1 second"')
    service.wait_for("from now on: sync every 1 second")
    service.wait_for("all that is ours to write is there")
    service.process.send_signal(signal.SIGTERM)
    assert service.end().code == 0
