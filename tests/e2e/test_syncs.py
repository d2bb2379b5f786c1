"""Sync after sync: quiet when nothing happened, and once for each thing that did."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from tests.e2e import instant
from tests.e2e.crm import differing
from tests.e2e.world import World

#: What a cycle without news may cost: one composite call for the streams of Salesforce and one to settle them, one search
#: for each polled object type of HubSpot.
QUIET_CALLS = {"salesforce": 2, "hubspot": 10}
PROSPECT = "prospect"


def _later(days: float) -> str:
    return instant.now(timedelta(days=days)).isoformat()


def _prospects_contact(world: World) -> str:
    """The record key of the prospect's contact in Salesforce."""
    records = world.crms.look("cast")[PROSPECT]["records"]
    return "|".join(next(record for record in records if record[1] == "Contact"))


def _asks_for_a_demo(world: World) -> None:
    email = world.crms.email_of(PROSPECT)
    world.crms.tell("act", action="submit_form", form="Book a demo", email=email, values={})


def test_a_second_sync_writes_nothing_and_costs_few_calls(synced: World) -> None:
    house, crms = synced.house, synced.crms
    house.edit('streams = { "hubspot.form_submissions" = "0.01 seconds" }\n', "")
    before, firings, mark = crms.versions(), crms.look("firings"), crms.mark()
    done = house.run("sync")
    assert done.code == 0, str(done)
    assert "all that is ours to write is there" in done.out
    assert "nothing to write" in done.out
    for system, most in QUIET_CALLS.items():
        calls = crms.calls_of(system, mark)
        assert 0 < len(calls) <= most, f"{system} was called {len(calls)} times: {Counter(c['pattern'] for c in calls)}"
    assert crms.versions() == before
    assert crms.look("firings") == firings
    assert crms.tasks() == []


def test_what_a_sync_wrote_is_what_the_mart_wants_and_every_count_adds_up(synced: World) -> None:
    house = synced.house
    assert differing(house.desired(), synced.crms.written()) == []
    steps = house.state("SELECT stream, pulled, applied, unchanged, filtered, quarantined FROM run_step")
    assert sum(pulled for _, pulled, *_ in steps) > 1_000
    assert [stream for stream, pulled, *parts in steps if pulled != sum(parts)] == []


def test_a_demo_request_raises_the_score_moves_the_stage_and_makes_one_task(synced: World) -> None:
    house, crms, record = synced.house, synced.crms, _prospects_contact(synced)
    contact = record.split("|")[2]
    owner = crms.query(f"SELECT OwnerId FROM Contact WHERE Id = '{contact}'")[0]["OwnerId"]
    before, fired = crms.written()[record], len(crms.look("firings"))
    _asks_for_a_demo(synced)

    assert house.sync()["fired"] == 1
    after = crms.written()[record]
    assert after["Score__c"] > before["Score__c"] + 20
    assert (before["Stage__c"], after["Stage__c"]) == ("Engage", "Buy")
    (task,) = crms.tasks()
    assert (task["system"], task["owner"], task["who"]) == ("salesforce", owner, contact)
    assert task["subject"].startswith("Call Ann: ")
    new = crms.look("firings")[fired:]
    assert ("salesforce", contact) in {(each["system"], each["record_id"]) for each in new}
    assert max(Counter((each["rule"], each["record_id"]) for each in new).values()) == 1

    house.sync()
    quiet = house.sync()
    assert (quiet["fired"], quiet["planned"]) == (0, 0)
    assert crms.tasks() == [task]
    assert crms.look("firings")[fired:] == new


def test_a_day_that_passes_rewrites_nobody_for_less_than_the_smallest_step(synced: World) -> None:
    before = synced.crms.written()
    synced.crms.pass_days(1)
    told = synced.house.sync(now=_later(1))
    after = synced.crms.written()
    changed = [record for record in after if after[record] != before[record]]
    assert len(changed) == told["planned"] < len(after) / 4
    for record in changed:
        was, now = before[record], after[record]
        score = next(name for name in was if name in ("Score__c", "connector_score"))
        moved = abs(float(now[score]) - float(was[score]))
        others = [name for name in was if name != score and was[name] != now[name]]
        assert moved >= 2 or others, f"{record} was written for {moved} points"


def test_without_a_smallest_step_scores_are_written_to_the_tenth_and_so_whoever_fades_is_due(synced: World) -> None:
    house, crms = synced.house, synced.crms
    house.config.write_text(house.config.read_text() + "\n[writeback]\nmin_points = 0\n")
    house.sync()
    engaged = "SELECT subject FROM score WHERE engagement > 10 * 1e9"
    soon = f"SELECT subject FROM due WHERE due_at < TIMESTAMPTZ '{_later(3)}'"
    assert house.mart(f"SELECT count(*) FROM ({engaged})")[0][0] > 5
    assert house.mart(f"{engaged} EXCEPT {soon}") == []
    crms.pass_days(3)
    before = crms.written()
    house.sync(now=_later(3))
    assert sum(before[record] != now for record, now in crms.written().items()) > 5


def test_half_a_year_of_quiet_let_scores_fall_stages_go_back_and_tasks_be_made_again(synced: World) -> None:
    house, crms, record = synced.house, synced.crms, _prospects_contact(synced)
    _asks_for_a_demo(synced)
    house.sync()
    hot = crms.written()[record]
    assert len(crms.tasks()) == 1

    crms.pass_days(200)
    house.sync(now=_later(200))
    cold = crms.written()[record]
    assert cold["Score__c"] < hot["Score__c"] - 15
    assert (hot["Stage__c"], cold["Stage__c"]) == ("Buy", "Engage")
    assert len(crms.tasks()) == 1

    _asks_for_a_demo(synced)
    house.sync(now=_later(200.01))
    assert len({task["key"] for task in crms.tasks()}) == len(crms.tasks()) == 2


def test_a_house_without_any_scoring_model_goes_on_and_leaves_the_scores_as_they_are(synced: World) -> None:
    house, crms = synced.house, synced.crms
    text, before = house.config.read_text(), crms.written()
    begin = text.index("[scoring.default]")
    house.config.write_text(text[:begin] + text[text.index("\n[", begin) :])
    assert house.sync()["planned"] == 0
    assert crms.written() == before


def test_a_prospect_whose_contact_shows_later_than_their_form_has_a_task_as_soon_as_it_does_and_one_only(
    synced: World,
) -> None:
    house, crms = synced.house, synced.crms
    house.edit("score crosses 60", "score crosses 20")
    house.edit("rearm_below = 50", "")
    house.edit('system = "salesforce"', 'system = "hubspot"')
    house.sync()
    made = len(crms.tasks())
    crms.tell("limits", enabled=False, index_lag_s=300)
    crms.tell("act", action="submit_form", form="Book a demo", email="frida@newco-gmbh.example", values={})
    assert (house.sync()["fired"], len(crms.tasks())) == (0, made), "there is nobody yet whose task it could be"
    crms.pass_days(0.01)
    assert (house.sync(now=_later(0.01))["fired"], len(crms.tasks())) == (1, made + 1)
    crms.pass_days(1)
    assert (house.sync(now=_later(1.01))["fired"], len(crms.tasks())) == (0, made + 1)


def test_a_sync_with_a_clock_that_was_ahead_arms_no_trigger_a_second_time(synced: World) -> None:
    house, crms = synced.house, synced.crms
    _asks_for_a_demo(synced)
    house.sync(now=_later(0.01))
    tasks = crms.tasks()
    assert len(tasks) == 1
    house.sync(now=_later(200))
    armed = house.mart("SELECT count(*) FROM trigger WHERE is_armed AND subject != ''")
    assert armed != [(0,)], "it would fire again in that time to come"
    house.sync(now=_later(0.02))
    assert crms.tasks() == tasks
