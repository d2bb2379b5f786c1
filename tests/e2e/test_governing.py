"""What holds changes back, and what lets them go: brakes, budgets, owners, fights, records that are gone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.e2e import instant
from tests.e2e.crm import differing
from tests.e2e.world import World

BRAKES = "\n[writeback.brakes]\nmax_overwritten_share = 0.1\nmin_overwritten = 2\n"
#: What takes points from everybody: where it goes into the configuration, and it.
FIT = "[scoring.default]\nfit = ["
BAD_RULE = (FIT, FIT + '\n  { when = "person.email is not null", points = -7, text = "oops" },')
#: Two contacts of which something is held.
HELD_PAIRS = (
    "SELECT min(native_id), max(native_id) FROM outbox WHERE status = 'held' AND object_type = 'Contact'"
    " AND fields LIKE '%Score__c%oops%'"
)
SCORED = ("Score__c", "Grade__c", "Score_Reasons__c", "connector_score", "connector_grade", "connector_reasons")


def _later(days: float) -> str:
    return instant.now(timedelta(days=days)).isoformat()


def _prospects(world: World, system: str, kind: str) -> str:
    """The native id of the prospect's first record of a kind."""
    records = world.crms.look("cast")["prospect"]["records"]
    return str(next(each[2] for each in records if each[:2] == [system, kind]))


def _asks_for_a_demo(world: World) -> None:
    crms = world.crms
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})


def _owner(world: World, contact: str) -> str:
    return str(world.crms.query(f"SELECT OwnerId FROM Contact WHERE Id = '{contact}'")[0]["OwnerId"])


def _edits(world: World, contact: str, **values: Any) -> None:
    world.crms.tell("act", system="salesforce", action="update", id=contact, values=values)


def _scores(world: World) -> dict[str, dict[str, Any]]:
    """What the systems hold of our lane of scores, by record."""
    written = world.crms.written()
    return {record: {name: values.get(name) for name in SCORED} for record, values in written.items()}


def _held(world: World) -> int:
    return int(world.house.state("SELECT count(*) FROM outbox WHERE status = 'held'")[0][0])


def test_a_service_that_brakes_goes_on_with_its_other_lanes_and_says_so_until_somebody_decides(synced: World) -> None:
    house, crms = synced.house, synced.crms
    contact = _prospects(synced, "salesforce", "Contact")
    record = f"salesforce|Contact|{contact}"
    before = crms.written()
    house.config.write_text(house.config.read_text() + BRAKES)
    house.edit("points = 15", "points = 18")
    _asks_for_a_demo(synced)

    for _ in range(2):
        ran = house.run("run", "--once")
        assert "of the existing values of the score lane would change (limit 10%)" in ran.out, str(ran)
        assert "connector apply --held" in ran.out
        assert ran.code == 3, "it ends as its run did"
        assert "stopped" not in ran.out
    assert _held(synced) > 20
    assert [task["who"] for task in crms.tasks()] == [contact], "the lane of tasks goes on"
    held = crms.written()
    assert (before[record]["Stage__c"], held[record]["Stage__c"]) == ("Engage", "Buy"), "so does that of stages"
    assert held[record]["Score__c"] == before[record]["Score__c"], "which does not take the held fields along"
    told = house.run("status")
    assert "let go with `connector apply --held`" in told.out
    assert [each["kind"] for each in house.run("status", "--json").json()["alerts"]] == ["brake"]
    assert house.run("sync").code == 3
    looked = house.run("plan")
    assert "Nothing to write; `connector apply --held` lets go what is held." in looked.out, str(looked)
    let_go = house.run("plan", "--json").json()["let_go"]
    assert "salesforce 0 of" in looked.out
    assert f"{let_go['salesforce']} more once what is held is let go" in looked.out

    assert house.run("pause", "hubspot").code == 0
    looked = house.run("plan")
    assert "paused: they wait for `connector resume hubspot`" in looked.out, str(looked)
    assert "hubspot was left out: paused" in looked.out
    mark = crms.mark()
    applied = house.run("apply", "--held")
    assert applied.code == 0, str(applied)
    assert "hubspot was left out: paused" in applied.out
    made = sum(call["cost"] for call in crms.calls_of("salesforce", mark))
    [(summary,)] = house.state("SELECT summary FROM run ORDER BY id DESC LIMIT 1")
    assert made == let_go["salesforce"] + json.loads(summary)["calls"]["salesforce.read"]
    now = crms.written()
    assert now[record]["Score__c"] > held[record]["Score__c"]
    assert all(now[each] == held[each] for each in now if each.startswith("hubspot|"))
    assert house.run("resume", "hubspot").code == 0
    house.sync()
    assert differing(house.desired(), crms.written()) == []
    assert house.run("status", "--json").json()["alerts"] == []


def test_what_a_brake_holds_stays_held_as_days_pass_and_people_edit_until_the_rule_is_mended(synced: World) -> None:
    house, crms = synced.house, synced.crms
    before = _scores(synced)
    good = house.config.read_text()
    house.edit(*BAD_RULE)
    assert house.run("sync").code == 3
    held = _held(synced)
    assert held > 100
    assert _scores(synced) == before
    _edits(synced, _prospects(synced, "salesforce", "Contact"), Title="Chief Executive Officer")
    crms.pass_second()
    week = _later(7)
    looked = house.run("plan", now=week)
    ran = house.run("sync", now=week)
    assert ran.code == 3, str(ran)
    assert _held(synced) >= held
    assert len(house.state("SELECT DISTINCT native_id FROM outbox WHERE status = 'held' AND run > 3")) > 5, "news came"
    assert f"{_held(synced)} changes held: 54% of the existing values of the score lane" in ran.out, str(ran)
    assert f"held {_held(synced)} changes: 54% of the" in " ".join(looked.out.split()), str(looked)
    assert _scores(synced) == before, "nobody has decided"
    house.config.write_text(good)
    assert house.run("sync", now=week).code == 0, "who mends the rule has decided"
    assert _held(synced) == 0
    changed = [record for record, values in _scores(synced).items() if values != before[record]]
    assert 0 < len(changed) < 50, "what a week changed, and no more"


@pytest.mark.parametrize("word", ["--held", "--force"])
def test_what_is_held_is_let_go_but_for_what_somebody_has_edited_since(synced: World, word: str) -> None:
    house, crms = synced.house, synced.crms
    house.config.write_text(house.config.read_text() + '\n[writeback]\nownership = { score = "defer" }\n')
    house.edit(*BAD_RULE)
    assert house.run("sync").code == 3
    (edited, other), *_ = house.state(HELD_PAIRS)
    assert house.run("plan").code == 0
    _edits(synced, edited, Score__c=99.5)
    crms.pass_second()
    done = house.run("apply", word)
    assert done.code == 0, str(done)
    assert f"salesforce|Contact|{edited}: what was held of it is not wanted as it was" in done.err, str(done)
    assert done.err.count("planned anew") + done.err.count("plans it anew") == 1, str(done)
    now = crms.written()
    assert now[f"salesforce|Contact|{edited}"]["Score__c"] == 99.5
    assert "oops" not in now[f"salesforce|Contact|{edited}"]["Score_Reasons__c"]
    assert "oops" in now[f"salesforce|Contact|{other}"]["Score_Reasons__c"]
    assert _held(synced) == 0
    assert house.run("sync").code == 0
    now = crms.written()
    assert now[f"salesforce|Contact|{edited}"]["Score__c"] == 99.5, "a person's for now"
    assert "oops" in now[f"salesforce|Contact|{edited}"]["Score_Reasons__c"], "the rest was planned anew"


def test_a_held_task_is_made_once_and_only_while_what_asked_for_it_holds(synced: World) -> None:
    house, crms = synced.house, synced.crms
    task = '[tasks.mail]\nwhen = "score >= 60 and person.is_email_opted_out is not true"\nsubject = "Mail them"\n'
    house.config.write_text(house.config.read_text() + "\n[writeback.brakes]\nmax_tasks = 0\n\n" + task)
    house.sync()
    contact = _prospects(synced, "salesforce", "Contact")
    _asks_for_a_demo(synced)
    crms.tell("act", action="book_meeting", email=crms.email_of("prospect"))
    assert house.run("sync").code == 3
    assert len(_mails(synced)) == 1
    _edits(synced, contact, HasOptedOutOfEmail=True)
    assert house.run("apply", "--held").code == 0
    assert [each["subject"][:5] for each in crms.tasks()] == ["Call "], "nobody writes to somebody who has opted out"
    assert _mails(synced) == [("withdrawn", "its condition holds no longer")]
    for opted_out in (False, True, False):
        _edits(synced, contact, HasOptedOutOfEmail=opted_out)
        assert house.run("sync").code in (0, 3)
    assert [status for status, _ in _mails(synced)] == ["withdrawn", "withdrawn", "held"]
    assert house.run("apply", "--held").code == 0
    assert sorted(each["subject"][:5] for each in crms.tasks()) == ["Call ", "Mail "]
    _edits(synced, contact, HasOptedOutOfEmail=True)
    house.sync()
    _edits(synced, contact, HasOptedOutOfEmail=False)
    assert house.run("sync").code == 3
    house.config.write_text(house.config.read_text().replace(task, ""))
    house.sync()
    assert _mails(synced)[-1] == ("withdrawn", "the configuration has no such task any more")


def _mails(world: World) -> list[tuple[str, str]]:
    return world.house.state("SELECT status, held_because FROM outbox WHERE key LIKE 'mail-%' ORDER BY id")


def test_what_todays_calls_have_no_room_for_waits_is_shown_and_goes_by_itself(synced: World) -> None:
    house, crms = synced.house, synced.crms
    used = len(crms.calls_of("hubspot"))
    house.edit(
        "[schedule]\n", "[systems.hubspot.quota]\nstage = 0.25\ntask = 0.25\nscore = 0.25\nread = 1.0\n[schedule]\n"
    )
    crms.tell(
        "limits",
        enabled=True,
        hubspot_calls_per_day=used * 4,
        hubspot_searches_per_s=1_000,
        hubspot_calls_per_10_s=1_000,
    )
    _asks_for_a_demo(synced)

    looked = house.run("plan")
    assert "do not fit" in looked.out, str(looked)
    assert "from about" in looked.out, str(looked)
    cost = house.run("plan", "--json").json()["costs"]["hubspot"]
    assert (cost["budget"]["limit"], cost["budget"]["left"]["stage"]) == (used * 4, 0)
    assert sum(cost["waiting"].values()) > 0
    done = house.run("sync")
    assert done.code == 0, str(done)
    assert "wait for calls" in done.out
    assert "they go by themselves, from about" in done.out
    told = house.run("status", "--json").json()
    assert list(told["waits_for_calls"]) == ["hubspot"]
    wrong = differing(house.desired(), crms.written())
    assert wrong
    assert all(line.startswith("hubspot|") for line in wrong), "the other system is served"
    assert "waiting since run" in house.run("plan").out

    crms.tell("limits", enabled=True, hubspot_calls_per_day=used * 40)
    house.sync(now=instant.now(timedelta(minutes=6)).isoformat())  # every five minutes it is asked for the limit anew
    assert differing(house.desired(), crms.written()) == []
    assert house.run("status", "--json").json()["waits_for_calls"] == {}


def test_who_fights_over_a_field_is_named_and_a_persons_edit_stands_until_it_expires(synced: World) -> None:
    house, crms = synced.house, synced.crms
    contact = _prospects(synced, "salesforce", "Contact")
    record = f"salesforce|Contact|{contact}"
    ours = crms.written()[record]
    section = '\n[writeback]\ndefer_for = "2 days"\nownership = { "salesforce.Contact.grade" = "defer" }\n'
    house.config.write_text(house.config.read_text() + section + "\n[writeback.fights]\nedits = 2\n")

    _edits(synced, contact, Score__c=1, Grade__c="D")
    assert "are a person's for now (owner defer)" in house.run("plan").out
    house.sync()
    assert (crms.written()[record]["Score__c"], crms.written()[record]["Grade__c"]) == (ours["Score__c"], "D")
    _edits(synced, contact, Score__c=2)
    assert house.sync()["frozen"] == 1
    held = crms.written()[record]
    assert held["Score__c"] == 2, "changed again and again: frozen"
    told = house.run("status").out
    assert "frozen" in told, told
    assert f"we write {ours['Score__c']:g}" in told, told
    assert f"connector unfreeze '{record}'" in told
    mail = crms.query(f"SELECT Email FROM Contact WHERE Id = '{contact}'")[0]["Email"]
    assert house.run("unfreeze", mail, "--json").json() == {"released": 1}, "all of a person, as `explain` finds them"
    looked = house.run("plan").out
    assert "no longer frozen" in looked, looked
    assert looked.count(f"salesforce Contact {contact}") == 1, looked
    house.sync()
    assert crms.written()[record]["Score__c"] == ours["Score__c"]
    assert crms.written()[record]["Grade__c"] == "D"

    crms.pass_days(3)
    house.sync(now=_later(3))
    assert crms.written()[record]["Grade__c"] == ours["Grade__c"], "the edit has had its time"


def test_fields_of_the_customers_own_that_round_and_cut_our_values_are_written_once_and_no_fight(synced: World) -> None:
    house, crms = synced.house, synced.crms
    number = {"type": "Number", "precision": 3, "scale": 0, "label": "Their Score"}
    crms.add_field("Contact", "Their_Score__c", number)
    crms.add_field("Contact", "Their_Day__c", {"type": "Date", "label": "Their Day"})
    fields = '{ salesforce = { Contact = { score = "Their_Score__c", stage_since = "Their_Day__c" } } }'
    house.config.write_text(house.config.read_text() + f"\n[writeback]\nmin_points = 0\nfields = {fields}\n")
    house.sync()
    rows = crms.query("SELECT Id, Their_Score__c, Their_Day__c FROM Contact WHERE Their_Score__c != null")
    assert rows
    wanted = [value for held in house.desired().values() if (value := held.get("Their_Score__c"))]
    assert any("." in value for value in wanted), "no score of this world has a decimal"
    crms.pass_days(0.01)
    later = _later(0.01)
    house.sync(now=later)
    before = crms.versions()
    house.sync(now=later)
    assert crms.versions() == before
    assert house.mart("SELECT record, field, ours, theirs FROM drift") == []


@pytest.mark.parametrize("is_retried", [False, True])
def test_a_task_whose_record_was_merged_goes_to_its_survivor_once(synced: World, is_retried: bool) -> None:
    house, crms = synced.house, synced.crms
    loser = _prospects(synced, "salesforce", "Contact")
    email = crms.email_of("prospect")
    values = {"LastName": "Meyer", "FirstName": "Ann", "Email": email, "OwnerId": _owner(synced, loser)}
    made = crms.tell("act", system="salesforce", action="create", object="Contact", values=values)
    winner = made["id"]
    house.sync()
    _asks_for_a_demo(synced)
    assert house.run("plan").code == 0
    (who,) = [
        each["native_id"] for each in json.loads((house.directory / "plan.json").read_text())["changes"] if each["task"]
    ]
    gone, stays = (loser, winner) if who == loser else (winner, loser)
    running = house.start("sync")
    running.wait_for("resolve   ")
    crms.tell("act", system="salesforce", action="merge", winner=stays, loser=gone)
    running.end()
    assert crms.tasks() == []
    if is_retried:
        assert house.run("quarantine", "retry", "--kind", "change").code == 0
    looked = house.run("plan")
    assert f"the record is gone, now for Contact {stays}" in looked.out, str(looked)
    house.sync()
    house.sync()
    assert [task["who"] for task in crms.tasks()] == [stays]
    assert len(crms.tasks()) == 1
