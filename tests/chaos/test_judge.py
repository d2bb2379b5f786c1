"""The judge of chaos sees what it is there for: a bug planted in a small world that is right, one at a time, and named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connector.mart import MartSection, open_mart
from connector.state import StateSection, open_state
from tests.chaos.judge import UNDO, Crossings, Judge, Purged, unlike
from tests.chaos.others import Others
from tests.chaos.storage import Storage
from tests.e2e.crm import Crms
from tests.e2e.house import House

CONTACT, LEAD, PERSON = "salesforce|Contact|003A", "salesforce|Lead|00QB", "hubspot|contacts|11"
_AT = "2026-11-24 12:00:00.000000"
_PEOPLE = (
    "Id TEXT, IsDeleted INT, IsConverted INT, Email TEXT, Title TEXT, Score__c REAL, Grade__c TEXT, Stage__c TEXT, "
)
_CRMS = f"""
CREATE TABLE sf_Contact ({_PEOPLE} Stage_Since__c TEXT, Score_Reasons__c TEXT, Person_Id__c TEXT);
CREATE TABLE sf_Lead ({_PEOPLE} Stage_Since__c TEXT, Score_Reasons__c TEXT, Person_Id__c TEXT, ConvertedContactId TEXT);
CREATE TABLE sf_Task (Id TEXT, IsDeleted INT, WhoId TEXT, Subject TEXT, ActivityDate TEXT, Task_Key__c TEXT);
CREATE TABLE hubspot_contacts (id INT, properties TEXT, archived_ms INT);
CREATE TABLE hubspot_tasks (id INT, properties TEXT, archived_ms INT);
CREATE TABLE hubspot_link (from_type TEXT, from_id INT, to_type TEXT, to_id INT);
CREATE TABLE hubspot_merged (object_type TEXT, old_id INT, new_id INT);
CREATE TABLE workflow_firing (id INTEGER PRIMARY KEY, rule TEXT, system TEXT, object_type TEXT, record_id TEXT, at TEXT, detail TEXT);
INSERT INTO sf_Contact (Id, IsDeleted, Email, Title, Score__c, Grade__c) VALUES ('003A', 0, 'ann@x.de', 'VP', 30, 'B');
INSERT INTO sf_Lead (Id, IsDeleted, IsConverted, Email, Title, Score__c, Grade__c) VALUES ('00QB', 0, 0, 'bob@x.de', 'Buyer', 12, 'D');
INSERT INTO sf_Task VALUES ('00T1', 0, '003A', 'Call Ann', '2026-11-26', 'call-1');
INSERT INTO hubspot_tasks VALUES (21, '{{"connector_task_key": "greet-1", "hs_task_subject": "Greet"}}', NULL);
INSERT INTO hubspot_link VALUES ('tasks', 21, 'contacts', 11);
INSERT INTO workflow_firing VALUES (1, 'gets warm', 'salesforce', 'Contact', '003A', '', 'over 25');
"""
_STATE = f"""
INSERT INTO run (id, command, status, started_at, computed_at, config_fingerprint, summary)
  VALUES (1, 'sync', 'done', '{_AT}', '{_AT}', '', '{{}}');
INSERT INTO run_step (run, step, system, stream, pulled, applied, unchanged, filtered, quarantined, calls, status, message)
  VALUES (1, 'pull', 'hubspot', 'contacts', 4, 1, 1, 1, 1, 1, 'done', '');
"""
_OUTBOX = (
    "INSERT INTO outbox (key, run, system, object_type, native_id, lane, fields, before, task, reason, status, held_because, attempt, "
    "created_at) VALUES ('{key}', 1, 'salesforce', 'Contact', '003A', '{lane}', '{fields}', '{{}}', '{{}}', '', '{status}', '', 1, "
    f"'{_AT}')"
)
_FREEZE = (
    f"INSERT INTO freeze VALUES ('{CONTACT}|Grade__c', 'salesforce', '{CONTACT}', 'Grade__c', "
    f"'{{by}}', '', '{_AT}', '2026-{{until}} 00:00:00')"
)
_RECORD = "INSERT INTO person_record (key, system, object_type, native_id, email) VALUES ('{key}', 'hubspot', 'contacts', '', '{email}')"
_DESIRED = "INSERT INTO desired (key, record, field, value) VALUES ('{record}|{name}', '{record}', '{name}', {value})"
_WANTED = [
    (CONTACT, "Score__c", "'30.4'"), (CONTACT, "Grade__c", "'B'"), (LEAD, "Score__c", "'12'"), (LEAD, "Grade__c", "'D'"),
    (PERSON, "connector_score", "'30'"), (PERSON, "connector_stage", "NULL"),
]  # fmt: skip
_MART = [
    *(_RECORD.format(key=record, email="") for record in (CONTACT, LEAD, PERSON)),
    *(_DESIRED.format(record=record, name=name, value=value) for record, name, value in _WANTED),
    f"INSERT INTO desired_task (key, record) VALUES ('call-1', '{CONTACT}'), ('greet-1', '{PERSON}')",
]


class Small:
    """A world in three files, in which everything is right."""

    def __init__(self, folder: Path) -> None:
        self.files = {"crms": folder / "sandbox.db", "state": folder / "state.sqlite", "mart": folder / "mart.duckdb"}
        house, storage = House(folder), Storage(self.files["crms"])
        self.others, self.crossings = Others(Crms(folder, 0), storage), Crossings()
        self.judge = Judge(house, storage, self.others, self.crossings)
        open_state(StateSection(path="state.sqlite"), folder).engine.dispose()
        with open_mart(MartSection(path="mart.duckdb"), folder):
            pass
        person = {"email": "ann@x.de", "jobtitle": "VP", "connector_score": "30"}
        self.do("crms", _CRMS)
        self.do("crms", f"INSERT INTO hubspot_contacts VALUES (11, '{json.dumps(person)}', NULL)")
        self.do("state", _STATE)
        self.do("mart", *_MART)
        self.others.edits[CONTACT, "Title"] = "VP"
        self.crossings.follow(self.judge.desired())

    def do(self, place: str, *statements: str) -> None:
        """Change what a file holds, behind everybody's back."""
        if place == "mart":
            with duckdb.connect(str(self.files[place])) as mart:
                for statement in statements:
                    mart.execute(statement)
            return
        with closing(sqlite3.connect(self.files[place])) as connection:
            for statement in statements:
                connection.executescript(statement)
            connection.commit()

    def violations(self) -> list[str]:
        """What the judge sees."""
        return self.judge.violations(self.judge.look())


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_nothing_is_wrong_where_all_is_right(small: Small) -> None:
    assert small.violations() == []


_TASK = "INSERT INTO sf_Task SELECT '00T2', {gone}, WhoId, Subject, ActivityDate, {key} FROM sf_Task"
#: Bug -> file, statement, and what the judge says of it.
PLANTED = {
    "a write that was lost": ("crms", "UPDATE sf_Contact SET Grade__c = NULL", f"{CONTACT} Grade__c: None instead of 'B'"),
    "a write to another record": ("crms", "UPDATE sf_Lead SET Score__c = 30", f"{LEAD} Score__c: 30.0 instead of '12'"),
    "a score that is stale by more than is let go": ("crms", "UPDATE sf_Contact SET Score__c = 28", "28.0 instead of '30.4'"),
    "a stale score beside a stale grade": (
        "crms", "UPDATE sf_Contact SET Score__c = 29, Grade__c = 'C'", f"{CONTACT} Score__c: 29.0 instead of '30.4'",
    ),
    "somebody's edit that is overwritten": ("crms", "UPDATE sf_Contact SET Title = 'Buyer'", "though somebody wrote 'VP'"),
    "a task that was made twice": ("crms", _TASK.format(gone=0, key="Task_Key__c"), "task call-1: made 2 times"),
    "a task that was made twice, one in the bin": ("crms", _TASK.format(gone=1, key="Task_Key__c"), "task call-1: made 2 times"),
    "the same task under two keys": ("crms", _TASK.format(gone=0, key="'call-2'"), "there 2 times"),
    "a task that was never made": ("crms", "DELETE FROM hubspot_tasks", f"task greet-1 for {PERSON}: desired, not made"),
    "a workflow that fired twice": (
        "crms", "INSERT INTO workflow_firing SELECT 2, rule, system, object_type, record_id, at, detail FROM workflow_firing",
        f"{CONTACT}: 'gets warm' fired 2 times for 1 crossings",
    ),
    "a record that was never read": (
        "crms", "INSERT INTO sf_Lead SELECT '00QC', IsDeleted, IsConverted, Email, Title, 0, '', '', '', '', '', NULL FROM sf_Lead",
        "salesforce|Lead|00QC: live in its system, not in the mart",
    ),
    "a deletion that was missed": ("crms", "UPDATE sf_Lead SET IsDeleted = 1", f"{LEAD}: live in the mart, not in its system"),
    "a record of which nothing is desired": (
        "mart", f"DELETE FROM desired WHERE record = '{LEAD}'", f"{LEAD}: live, and nothing is desired of it",
    ),
    "a wrong line of conservation": (
        "state", "UPDATE run_step SET unchanged = 0", "run 1 hubspot contacts: 4 pulled, 3 accounted for",
    ),
    "a change that is never settled": (
        "state", _OUTBOX.format(key="c1", lane="score", fields="{}", status="in_flight"), "outbox c1 of salesforce 003A: still in_flight",
    ),
    "a run that never ended": ("state", "UPDATE run SET status = 'running'", "run 1: never ended"),
    "a row that is there twice": ("mart", "INSERT INTO desired_task SELECT * FROM desired_task LIMIT 1", "desired_task: 3 rows with 2"),
    "work that is left": ("mart", "INSERT INTO dirty (key) VALUES ('person|x')", "mart dirty: person|x is left"),
}  # fmt: skip


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_seen_and_named(small: Small, bug: str) -> None:
    place, statement, said = PLANTED[bug]
    small.do(place, statement)
    found = small.violations()
    assert any(said in line for line in found), found
    assert len(found) <= 2, found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sf_Contact SET Score__c = 29",  # less than is written
        "UPDATE sf_Contact SET Stage_Since__c = '2026-01-01'",  # nobody desires one here
    ],
)
def test_what_is_not_written_on_purpose_is_no_violation(small: Small, statement: str) -> None:
    small.do("crms", statement)
    assert small.violations() == []


def test_a_task_whose_run_was_taken_back_before_it_was_made_is_missed_by_nobody(small: Small) -> None:
    small.do("crms", "DELETE FROM hubspot_tasks")
    small.do("state", _OUTBOX.format(key="greet-1", lane="task", fields="{}", status="withdrawn"))
    assert small.violations() == []


def _fight(small: Small) -> None:
    small.do("state", _FREEZE.format(by="Bo in salesforce", until="12-01"))
    small.others.ours[CONTACT, "Grade__c"] = "D"


def _undone(small: Small) -> None:
    small.do("state", _FREEZE.format(by=UNDO, until="12-01"))
    small.do(
        "state",
        *(
            _OUTBOX.format(key=f"undo-{grade}", lane="stage", fields=json.dumps({"Grade__c": grade}), status="settled")
            for grade in "CD"
        ),
    )


@pytest.mark.parametrize("freeze", [_fight, _undone])
def test_a_frozen_field_holds_what_was_left_there_and_the_others_what_is_desired(
    small: Small, freeze: Callable[[Small], None]
) -> None:
    freeze(small)
    [line] = small.violations()
    assert f"{CONTACT} Grade__c: 'B', though it is frozen with ['D']" in line
    small.do("crms", "UPDATE sf_Contact SET Grade__c = 'D'")
    assert small.violations() == []
    small.do("crms", "UPDATE sf_Contact SET Score__c = 3")
    assert small.violations() == [f"{CONTACT} Score__c: 3.0 instead of '30.4'"]
    small.do("state", "UPDATE freeze SET until_at = '2026-11-01 00:00:00'")
    assert f"{CONTACT} Grade__c: 'D' instead of 'B'" in small.violations()


_FIRED = (
    "INSERT INTO workflow_firing (rule, system, object_type, record_id, at, detail) "
    "VALUES ('gets warm', 'hubspot', 'contacts', '{id}', '', '')"
)
_SENT = (
    "INSERT INTO outbox (id, key, run, system, object_type, native_id, lane, fields, before, task, reason, status, held_because, "
    "attempt, created_at) VALUES ({id}, 'c', 1, 'hubspot', 'contacts', '{native}', 'score', '{fields}', '{{}}', '{{}}', '', 'settled', "
    f"'', 1, '{_AT}'); INSERT INTO delivery (outbox, run, attempt, result, code, message, hint, request_id, at, is_applied) "
    f"VALUES ({{id}}, 1, 1, 'conflict', '', '', '', '', '{_AT}', 0)"
)


def test_a_score_that_was_on_its_way_to_a_merged_record_may_make_its_survivor_fire_once(small: Small) -> None:
    late = f"{PERSON}: 'gets warm' fired 2 times for 1 crossings"
    small.do("crms", *[_FIRED.format(id=11)] * 2)
    assert any(late in line for line in small.violations()), "nothing was merged"
    small.do("crms", "INSERT INTO hubspot_merged VALUES ('contacts', 12, 11), ('contacts', 13, 11)")
    assert any(late in line for line in small.violations()), "nothing was on its way"
    small.do("state", _SENT.format(id=1, native=13, fields='{"connector_score": 12}'))
    small.do("state", _SENT.format(id=2, native=99, fields='{"connector_score": 27}'))
    assert any(late in line for line in small.violations()), "it was below the line, or another's"
    small.do("state", *[_SENT.format(id=number, native=12, fields='{"connector_score": 27}') for number in (3, 4)])
    assert small.violations() == []
    small.do("crms", _FIRED.format(id=11))
    assert any("fired 3 times for 2 crossings" in line for line in small.violations()), "it was sent once more"
    small.do(
        "crms", "DELETE FROM workflow_firing WHERE record_id = '11'", *[_FIRED.format(id=each) for each in (11, 11, 13)]
    )
    assert len(small.violations()) == 1, "one that was on its way makes one record fire, not each that it became"


def test_who_was_purged_is_known_nowhere_and_may_be_anything_in_the_systems(small: Small) -> None:
    small.judge.purged.records.add(LEAD)
    small.judge.purged.emails.add("bob@x.de")
    found = small.violations()
    assert all(f"mart {name}: it still has {LEAD}, who was purged" in found for name in ("person_record", "desired"))
    small.do("mart", f"DELETE FROM person_record WHERE key = '{LEAD}'", f"DELETE FROM desired WHERE record = '{LEAD}'")
    again = "INSERT INTO sf_Lead SELECT '00QC', 0, 0, Email, Title, 0, '', '', '', '', '', NULL FROM sf_Lead"
    small.do("crms", again)
    assert small.violations() == [], "a new record with the address is kept out, too"
    small.do("mart", _RECORD.format(key="hubspot|contacts|99", email="bob@x.de"))
    assert "mart person_record: it still has bob@x.de, who was purged" in small.violations()


def test_who_was_purged_is_known_by_what_the_house_reads() -> None:
    purged = Purged(marks={"cyd-e"})
    assert purged.has("hubspot|contacts|1", {"hs_linkedin_url": "http://de.linkedin.com/in/cyd-e/"})
    assert not purged.has(
        "salesforce|Contact|1", {"LinkedIn__c": "http://de.linkedin.com/in/cyd-e/", "Email": "x@y.de"}
    )


def test_a_deleted_record_of_somebody_who_was_purged_is_known_by_what_it_was_deleted_with(small: Small) -> None:
    small.judge.purged.emails.add("cyd@x.de")
    for number, email in ((12, "cyd@x.de"), (13, "dan@x.de")):
        small.do("crms", f"INSERT INTO hubspot_contacts VALUES ({number}, '{json.dumps({'email': email})}', 1)")
    small.judge.know_departed()
    assert small.judge.purged.records == {"hubspot|contacts|12"}


def test_a_lead_that_became_a_contact_which_was_purged_is_theirs(small: Small) -> None:
    small.judge.purged.records.add(CONTACT)
    into = "INSERT INTO sf_Lead (Id, IsDeleted, IsConverted, ConvertedContactId) VALUES ('{}', 0, 1, '{}')"
    small.do("crms", into.format("00QD", "003A"), into.format("00QE", "003X"))
    small.judge.know_departed()
    assert small.judge.purged.records == {CONTACT, "salesforce|Lead|00QD"}


def test_a_lead_stays_theirs_although_its_contact_was_merged_into_anothers_since(small: Small) -> None:
    small.judge.purged.records.add(CONTACT)
    small.do(
        "crms", "INSERT INTO sf_Lead (Id, IsDeleted, IsConverted, ConvertedContactId) VALUES ('00QD', 0, 1, '003A')"
    )
    small.judge.know_leads()
    assert small.judge.purged.records == {CONTACT}, "a house may not have read it yet"
    small.do("crms", "UPDATE sf_Lead SET ConvertedContactId = '003X'")
    small.judge.know_departed()
    assert small.judge.purged.records == {CONTACT, "salesforce|Lead|00QD"}


def test_a_house_that_knows_otherwise_than_a_fresh_one_is_told_by_key_and_field() -> None:
    def record(key: str, **values: Any) -> dict[str, dict[str, Any]]:
        return {f"person_record {key}": {"key": key, "email": "None", **values}}

    ours = {**record("a", title="VP"), **record("b"), "activity v1": {"key": "v1", "record": "a"}}
    fresh = {
        **record("a", title="Buyer"),
        **record("c"),
        **record("d", email="bob@x.de"),
        "activity v2": {"key": "v2", "record": "d"},
        "activity v3": {"key": "v3", "record": "deleted since"},
    }
    assert unlike(ours, fresh, Purged(records={"deleted since"}, emails={"bob@x.de"})) == [
        "activity v1: only in ours", "person_record b: only in ours", "person_record c: only in a fresh house",
        "person_record a title: 'VP' here, 'Buyer' in a fresh house",
    ]  # fmt: skip


def test_a_meeting_of_somebody_who_was_deleted_is_nobodys_to_a_house_that_asks_afterwards() -> None:
    def meeting(number: int, record: str | None) -> dict[str, dict[str, Any]]:
        key = f"hubspot|meetings|{number}|{record or ''}"
        return {f"activity {key}": {"key": key, "kind": "meeting_held", "record": str(record)}}

    gone, alive = "hubspot|contacts|1", "hubspot|contacts|2"
    ours = meeting(1, gone) | meeting(2, gone) | meeting(2, alive) | meeting(3, "hubspot|contacts|3")
    fresh = meeting(1, None) | meeting(2, alive) | meeting(3, None)
    assert unlike(ours, fresh, Purged(), {gone}) == [
        "activity hubspot|meetings|3|: only in a fresh house",
        "activity hubspot|meetings|3|hubspot|contacts|3: only in ours",
    ], "nobody knows 3 to be deleted"
    fresh = meeting(1, None) | meeting(2, alive) | meeting(4, gone)
    ours = meeting(2, alive)
    assert unlike(ours, fresh, Purged(records={gone}), {gone}) == [], "who was purged before is known by nothing"
