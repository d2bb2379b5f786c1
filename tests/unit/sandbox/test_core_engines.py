"""The core's engines: calls are counted, faults hit as often as they should, workflows fire on the crossing only."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connector.sandbox.calls import CallLog, path_pattern
from connector.sandbox.clock import SandboxClock
from connector.sandbox.context import Context, make_context
from connector.sandbox.database import open_database, transaction
from connector.sandbox.faults import Faults


@pytest.fixture
def context() -> Context:
    return make_context(open_database(None))


def test_paths_are_grouped_without_ids_numbers_and_cursors() -> None:
    base = "/services/data/v62.0"
    assert path_pattern(f"{base}/sobjects/Lead/00Q5g0000000001EAA") == f"{base}/sobjects/Lead/{{id}}"
    assert path_pattern(f"{base}/query/01g5g0000000001AAA-2000") == f"{base}/query/{{cursor}}"
    assert path_pattern("/crm/v3/objects/contacts/51?x=1") == "/crm/v3/objects/contacts/{id}"
    assert path_pattern(f"{base}/sobjects/FieldPermissions/") == f"{base}/sobjects/FieldPermissions"


def test_a_summary_adds_up_calls_costs_and_records_since_an_id(context: Context) -> None:
    context.calls.record("salesforce", "GET", "/a/1", 200, records=5)
    before = context.calls.summary()["last_id"]
    context.calls.record("salesforce", "GET", "/a/2", 200, cost=3, records=7)
    context.calls.record("hubspot", "GET", "/b", 429, cost=0)
    after = context.calls.summary(before)
    assert (after["calls"], after["cost"], after["records"]) == (2, 3, 7)
    assert after["by_system"]["salesforce"]["cost"] == 3
    assert context.calls.summary()["calls"] == 3


def test_calls_of_more_than_a_day_ago_are_not_in_the_quota(context: Context) -> None:
    context.calls.record("salesforce", "GET", "/a", 200, cost=5)
    context.clock.shift(timedelta(hours=25).total_seconds())
    context.calls.record("salesforce", "GET", "/a", 200, cost=2)
    assert context.calls.used_last_day("salesforce") == 2


def test_a_restart_knows_what_was_used_before(context: Context) -> None:
    context.calls.record("salesforce", "GET", "/a", 200, cost=5)
    context.calls.flush()
    assert CallLog(context.database, SandboxClock()).used_last_day("salesforce") == 5


def test_a_fault_hits_as_often_as_it_says_and_only_what_it_matches() -> None:
    faults = Faults()
    faults.add({"system": "salesforce", "kind": "status", "match": "^POST .*composite", "times": 2})
    hits = [bool(faults.for_request("salesforce", "POST", "/x/composite")) for _ in range(4)]
    assert hits == [True, True, False, False]
    assert not faults.for_request("hubspot", "POST", "/x/composite")
    assert not faults.for_request("salesforce", "GET", "/x/composite")


def test_a_fault_can_look_at_what_is_sent() -> None:
    faults = Faults()
    assert not faults.looks_inside("salesforce")
    faults.add({"system": "salesforce", "kind": "slow", "match": "composite$", "contains": '"PATCH"'})
    assert faults.looks_inside("salesforce")
    assert not faults.looks_inside("hubspot")
    assert faults.for_request("salesforce", "POST", "/x/composite", '{"method": "PATCH"}')
    assert not faults.for_request("salesforce", "POST", "/x/composite", '{"method": "GET"}')
    assert not faults.for_request("salesforce", "POST", "/x", '{"method": "PATCH"}')


def test_a_share_hits_about_that_part_and_the_same_part_again_with_the_same_seed() -> None:
    def hits(seed: int) -> list[int]:
        faults = Faults()
        faults.add({"system": "salesforce", "kind": "row_lock", "share": 0.25, "seed": seed})
        return sorted(faults.record_errors("salesforce", "Lead", [str(n) for n in range(400)]))

    assert 60 < len(hits(1)) < 140
    assert hits(1) == hits(1) != hits(2)


def test_record_faults_leave_other_records_alone() -> None:
    faults = Faults()
    faults.add({"system": "salesforce", "kind": "reject_record", "match": "^Lead b$", "code": "STRING_TOO_LONG"})
    errors = faults.record_errors("salesforce", "Lead", ["a", "b", None])
    assert {index: code for index, (code, _) in errors.items()} == {1: "STRING_TOO_LONG"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"system": None}, "system must be one of salesforce, hubspot"),
        ({"system": "salesforc"}, "system must be one of salesforce, hubspot"),
        ({"kind": "fire"}, "kind must be one of status, slow"),
        ({"a": 1}, "a is none of system, kind, match"),
        ({"status": "abc"}, "status must be a whole number"),
        ({"status": 99}, "status must be from 200 to 599"),
        ({"seconds": "1"}, "seconds must be a number"),
        ({"times": 0}, "times must be from 1 to inf"),
        ({"share": 2}, "share must be from 0 to 1"),
        ({"match": "("}, "match is no regular expression"),
        ({"match": None}, "match must be a text"),
        ({"system": "x", "kind": "y"}, "hubspot; kind must"),
    ],
)
def test_a_fault_that_could_never_hit_is_refused(spec: dict[str, object], said: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=said):
        faults.add({"system": "hubspot", "kind": "status"} | spec)
    assert faults.rules() == []
    assert faults.add({"system": "hubspot", "kind": "status", "times": None, "code": None}).id == 1


def test_a_workflow_fires_when_the_line_is_crossed_and_not_when_the_same_value_comes_again(context: Context) -> None:
    context.workflows.seed()
    fire = context.workflows.on_update
    assert fire("salesforce", "Lead", "a", {"Score__c": 60}, {"Score__c": 80}) == {"Status": "Working - Contacted"}
    assert fire("salesforce", "Lead", "a", {"Score__c": 80}, {"Score__c": 80}) == {}
    assert fire("salesforce", "Lead", "a", {"Score__c": 80}, {"Title": "x"}) == {}
    assert fire("salesforce", "Lead", "b", {"Score__c": None}, {"Score__c": 69.9}) == {}
    assert fire("hubspot", "contacts", "1", {"connector_score": "9"}, {"connector_score": "70"}) == {
        "hs_lead_status": "IN_PROGRESS"
    }
    assert [row["record_id"] for row in context.workflows.firings()] == ["a", "1"]


def test_other_operators_fire_on_the_change_only(context: Context) -> None:
    rule = {"system": "s", "object_type": "o", "name": "n", "field": "f", "operator": "changes_to", "value": "A"}
    context.workflows.add(rule)
    assert context.workflows.watches("s", "o")
    context.workflows.on_update("s", "o", "1", {"f": "B"}, {"f": "A"})
    context.workflows.on_update("s", "o", "1", {"f": "A"}, {"f": "A"})
    assert len(context.workflows.firings()) == 1


def test_a_nested_transaction_that_fails_undoes_itself_only(context: Context) -> None:
    def add(person: str) -> None:
        context.database.execute("INSERT INTO truth VALUES (?, 's', 'o', 'n')", (person,))

    def fail() -> None:
        with transaction(context.database):
            add("undone")
            raise RuntimeError

    with transaction(context.database):
        add("kept")
        with pytest.raises(RuntimeError):
            fail()
    assert [row["person"] for row in context.database.execute("SELECT person FROM truth")] == ["kept"]
