"""Delivering to an imitated portal of one's own: what it is said to cost is what is counted, and a task is made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from connector import clock, http
from connector.cost import cost
from connector.errors import QuotaExhausted
from connector.model import Change, Lane, Outcome, Page, Request, Result, System, Task
from connector.plan import batches
from connector.sources.hubspot import HUBSPOT, HubSpotOptions, connect
from connector.sources.hubspot_properties import TASK_KEY
from connector.sources.hubspot_tasks import LATE_COMMIT, PLAIN_FOR
from connector.sources.hubspot_values import remembered_of
from tests.contract.bench import DUE
from tests.contract.hubspot_bench import QUICK, TASK_KEY_SPEC
from tests.unit.sandbox.hubspot_portal import TOKEN, Portal, portal

PORTAL_ID = 4711
STAGE = "lifecyclestage"
WORDS = {True: "unique", False: "plain"}


@pytest.fixture
def hub() -> Iterator[Portal]:
    with portal() as made:
        yield made


def connected(hub: Portal, **more: Any) -> System:
    return connect("hubspot", HubSpotOptions(token=SecretStr(TOKEN), url=hub.url, **QUICK, **more))


def install_key(hub: Portal, *, is_unique: bool) -> None:
    allowed = {"system": "hubspot", "action": "allow_unique_on_activities", "is_allowed": is_unique}
    hub.call("POST", "/_sandbox/act", allowed, 200)
    system = connected(hub)
    assert system.target is not None
    system.target.install([TASK_KEY_SPEC], is_dry=False)
    system.close()


def task(key: str, record_id: str, object_type: str = "contacts") -> Change:
    made = Task(key, "Call Ann", "Because", DUE, "high", None)
    return Change(f"task-{key}", "hubspot", object_type, record_id, Lane.TASK, task=made)


def stage(record_id: str, before: str, after: str) -> Change:
    values: dict[str, Any] = {"fields": {STAGE: after}, "before": {STAGE: before}}
    return Change(f"stage-{record_id}", "hubspot", "contacts", record_id, Lane.STAGE, **values)


def written(system: System, lots: Sequence[Sequence[Change]]) -> list[Outcome]:
    assert system.target is not None
    return [outcome for lot in lots for outcome in system.target.write(lot)]


def tasks_of(hub: Portal) -> list[str]:
    """The keys of all tasks, from the list, which does not lag."""
    rows = hub.call("GET", f"/crm/v3/objects/tasks?limit=100&properties={TASK_KEY}", status=200)["results"]
    return [row["properties"][TASK_KEY] for row in rows]


def test_an_instant_is_written_as_its_day_where_the_property_holds_dates(hub: Portal) -> None:
    day = {"name": "their_day", "label": "Day", "type": "date", "fieldType": "date", "groupName": "contactinformation"}
    hub.call("POST", "/crm/v3/properties/contacts", day, 201)
    made = hub.call("POST", "/crm/v3/objects/contacts", {"properties": {"lastname": "Doe"}}, 201)
    change = Change("k", "hubspot", "contacts", made["id"], Lane.STAGE, fields={"their_day": "2026-09-01T09:12:33Z"})
    (outcome,) = written(connected(hub), [[change]])
    assert outcome.result is Result.ACCEPTED, outcome
    found = hub.call("GET", f"/crm/v3/objects/contacts/{made['id']}?properties=their_day", status=200)
    assert found["properties"]["their_day"] == "2026-09-01"


@pytest.mark.parametrize("is_unique", [True, False], ids=WORDS.get)
def test_the_calls_that_are_stated_are_those_that_the_portal_counts(hub: Portal, *, is_unique: bool) -> None:
    install_key(hub, is_unique=is_unique)
    people = [hub.create(email=f"{number}@x.com", lifecyclestage="customer") for number in range(3)]
    hub.create("tasks", hs_timestamp="2026-11-24T09:30:00Z")
    changes = [
        *(task(f"before{place}", each) for place, each in enumerate(people)),
        *(stage(each, "customer", "lead") for each in people),
    ]
    system = connected(hub, portal_id=PORTAL_ID, lifecycle_backward=True)
    assert {each.result for each in written(system, [[task("older", people[0])]])} == {Result.ACCEPTED}
    system.close()

    system = connected(hub, portal_id=PORTAL_ID, lifecycle_backward=True)
    assert system.count_calls is not None
    told = cost(changes, HUBSPOT.capabilities, None, system.count_calls)
    mark = hub.call("GET", "/_sandbox/calls", status=200)["last_id"]
    asked = system.calls()
    remembered_of.cache_clear()  # applied by another process
    fresh = connected(hub, portal_id=PORTAL_ID, lifecycle_backward=True)
    assert fresh.learned is not None
    assert system.learned is not None
    fresh.learned.recall(system.learned.kept())
    outcomes = written(fresh, batches(changes, HUBSPOT.capabilities))
    assert {each.result for each in outcomes} == {Result.ACCEPTED}
    counted = hub.call("GET", f"/_sandbox/calls?since={mark}&list=1", status=200)
    assert told.total == sum(row["cost"] for row in counted) == fresh.calls()
    assert dict(told.calls) == {"stage": 4, "task": 2 if is_unique else 3}
    assert asked <= 2, "stating it asks for the properties, and for nothing else"
    system.close()
    fresh.close()


def test_without_our_property_a_task_costs_the_call_that_finds_out(hub: Portal) -> None:
    person = hub.create(email="a@x.com")
    system = connected(hub)
    assert system.count_calls is not None
    assert cost([task("a", person)], HUBSPOT.capabilities, None, system.count_calls).total == 1
    before = system.calls()
    [told] = written(connected(hub), [[task("a", person)]])
    assert told.result is Result.REJECTED
    assert system.calls() == before
    system.close()


def fault(hub: Portal, kind: str) -> None:
    rule = {"system": "hubspot", "kind": kind, "match": "POST .*tasks/batch/create", "times": 1}
    hub.call("POST", "/_sandbox/faults", rule, 200)


@pytest.mark.parametrize("is_unique", [True, False], ids=WORDS.get)
def test_a_task_whose_reply_is_lost_is_found_and_made_once_while_the_index_lags(
    hub: Portal, *, is_unique: bool
) -> None:
    install_key(hub, is_unique=is_unique)
    person = hub.create(email="a@x.com")
    hub.context.settings.index_lag_s = 3_600
    target = connected(hub).target
    assert target is not None
    fault(hub, "drop_after")
    [told] = target.write([task("a", person)])
    assert told.result is Result.UNKNOWN
    [found] = target.find([task("a", person)])
    assert found.native_id is not None
    [again] = target.write([task("a", person)])
    assert (again.result, again.native_id) == (Result.UNCHANGED, found.native_id)
    assert tasks_of(hub) == ["a"]


@pytest.mark.parametrize("is_unique", [True, False], ids=WORDS.get)
def test_a_task_whose_record_is_gone_is_told_apart_from_one_that_is_refused(hub: Portal, *, is_unique: bool) -> None:
    install_key(hub, is_unique=is_unique)
    stays, archived = hub.create(email="a@x.com"), hub.create(email="b@x.com")
    hub.call("DELETE", f"/crm/v3/objects/contacts/{archived}", status=204)
    rule = {"system": "hubspot", "kind": "reject_record", "match": "^tasks ", "times": 9}
    hub.call("POST", "/_sandbox/faults", rule, 200)
    target = connected(hub).target
    assert target is not None
    told = target.write([task("a", stays), task("b", archived)])
    assert [each.result for each in told] == [Result.REJECTED, Result.CONFLICT]


def test_where_a_key_is_not_unique_a_task_that_may_still_be_made_is_waited_for(
    hub: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_key(hub, is_unique=False)
    person = hub.create(email="a@x.com")
    target, receipts = connected(hub).target, list[str]()
    assert target is not None
    fault(hub, "drop_before")
    [told] = target.write([task("a", person)], receipts.append)
    assert told.result is Result.UNKNOWN
    sent = replace(task("a", person), receipt=receipts[-1])
    [soon] = target.find([sent])
    assert (soon.native_id, soon.is_certain) == (None, False)
    later = clock.now() + LATE_COMMIT
    monkeypatch.setattr(clock, "now", lambda: later)
    [then] = target.find([sent])
    assert (then.native_id, then.is_certain) == (None, True)
    link = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}
    late = {"hs_timestamp": "2026-11-24T09:30:00Z", TASK_KEY: "a"}
    body = {"properties": late, "associations": [{"to": {"id": person}, "types": [link]}]}
    made = hub.call("POST", "/crm/v3/objects/tasks", body, 201)["id"]
    assert target.find([sent])[0].native_id == made
    [again] = target.write([sent])
    assert (again.result, tasks_of(hub)) == (Result.UNCHANGED, ["a"])


def read_before(hub: Portal) -> list[Request]:
    """What is asked of the streams of CRM objects after everything in them was read."""
    hub.create(email="a@x.com")
    system = connected(hub)
    requests = [Request(stream, ("hs_object_id",)) for stream in HUBSPOT.streams if not stream.every]
    cursors = {page.stream: page.cursor for page in system.source.pages(requests) if isinstance(page, Page)}
    system.close()
    return [replace(request, cursor=cursors[request.stream]) for request in requests]


def test_an_account_whose_search_limit_is_a_fifth_of_ours_is_read_whole(hub: Portal) -> None:
    requests, system = read_before(hub), connected(hub)
    assert len(requests) > http.Retries().attempts * 1.5
    hub.call(
        "POST", "/_sandbox/limits", {"enabled": True, "hubspot_searches_per_s": 1, "hubspot_calls_per_10_s": 1000}, 200
    )
    mark = hub.call("GET", "/_sandbox/calls", status=200)["last_id"]
    pages = list(system.source.pages(requests))
    assert {page.stream for page in pages if isinstance(page, Page) and page.done} == {each.stream for each in requests}
    counted = hub.call("GET", f"/_sandbox/calls?since={mark}&list=1", status=200)
    refused = [row for row in counted if row["status"] == 429]
    assert refused, "the limit was felt"
    assert len(refused) <= 3 * len(requests), "each read feels it a few times, not at every call"
    system.close()


def test_a_portal_whose_daily_calls_are_used_up_is_asked_once_by_the_next_run_and_read_when_they_start_anew(
    hub: Portal,
) -> None:
    requests = read_before(hub)

    def limited(calls_per_day: int) -> int:
        limits = {"enabled": True, "hubspot_calls_per_day": calls_per_day, "hubspot_searches_per_s": 1000}
        hub.call("POST", "/_sandbox/limits", limits, 200)
        return int(hub.call("GET", "/_sandbox/calls", status=200)["last_id"])

    def run(kept: str) -> str:
        system = connected(hub)
        assert system.governor is not None
        system.governor.recall(kept)
        try:
            list(system.source.pages(requests))
        finally:
            kept = system.governor.kept()
            system.close()
        return kept

    limited(1)
    system = connected(hub)
    assert system.governor is not None
    with pytest.raises(QuotaExhausted):
        list(system.source.pages(requests))
    kept = system.governor.kept()
    for _ in range(2):
        mark = limited(1)
        again = connected(hub)
        assert again.governor is not None
        again.governor.recall(kept)
        with pytest.raises(QuotaExhausted, match="daily limit"):
            list(again.source.pages(requests))
        with pytest.raises(QuotaExhausted):
            again.governor.admit("consent", 1)
        kept = again.governor.kept()
        assert len(hub.call("GET", f"/_sandbox/calls?since={mark}&list=1", status=200)) == 1
        again.close()
    limited(1_000_000)
    assert '"refusal":""' in run(kept)
    system.close()


# ------------------------------------------------------------------------------------------------ what is known from before


def made_anew(hub: Portal, *, is_unique: bool) -> None:
    """An admin archives the property, and somebody installs it anew."""
    hub.call("DELETE", f"/crm/v3/properties/tasks/{TASK_KEY}", status=204)
    install_key(hub, is_unique=is_unique)
    remembered_of.cache_clear()


def learned(hub: Portal) -> tuple[str, str]:
    """What a connection that made a task hands to the next one, in another process; and the record of that task."""
    person, system = hub.create(email="first@x.com"), connected(hub)
    assert system.learned is not None
    [told] = written(system, [[task("first", person)]])
    assert told.result is Result.ACCEPTED
    system.close()
    remembered_of.cache_clear()
    return system.learned.kept(), person


def again(hub: Portal, kept: str) -> System:
    system = connected(hub)
    assert system.learned is not None
    system.learned.recall(kept)
    return system


def mark(hub: Portal) -> int:
    return int(hub.call("GET", "/_sandbox/calls", status=200)["last_id"])


def asked(hub: Portal, since: int) -> int:
    """How often somebody asked for the properties of tasks."""
    rows = hub.call("GET", f"/_sandbox/calls?since={since}&list=1", status=200)
    return sum(row["method"] == "GET" and "properties" in row["pattern"] for row in rows)


def test_that_the_key_is_not_unique_is_not_asked_again_for_a_day(hub: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    install_key(hub, is_unique=False)
    kept, person = learned(hub)
    begun = mark(hub)
    assert written(again(hub, kept), [[task("a", person)]])[0].result is Result.ACCEPTED
    assert asked(hub, begun) == 0
    tomorrow = clock.now() + PLAIN_FOR
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    assert written(again(hub, kept), [[task("b", person)]])[0].result is Result.ACCEPTED
    assert asked(hub, begun) == 1


def test_installing_hands_on_how_the_key_is_held(hub: Portal) -> None:
    system = connected(hub)
    assert system.target is not None
    assert system.learned is not None
    system.target.install([TASK_KEY_SPEC], is_dry=True)
    assert system.learned.kept() == ""
    system.target.install([replace(TASK_KEY_SPEC, is_unique=False)], is_dry=False)
    assert system.learned.kept() != ""


def test_a_unique_key_that_was_made_anew_without_doubles_no_task(hub: Portal) -> None:
    install_key(hub, is_unique=True)
    kept, person = learned(hub)
    made_anew(hub, is_unique=False)
    [told] = written(again(hub, kept), [[task("first", person)]])
    assert (told.result, tasks_of(hub)) == (Result.UNCHANGED, ["first"])


def test_a_key_that_was_archived_since_is_found_out_by_the_refusal(hub: Portal) -> None:
    install_key(hub, is_unique=False)
    kept, _ = learned(hub)
    people = [hub.create(email=f"{number}@x.com") for number in range(40)]
    hub.call("DELETE", f"/crm/v3/properties/tasks/{TASK_KEY}", status=204)
    begun, system = mark(hub), again(hub, kept)
    told = written(system, [[task(f"n{place}", each) for place, each in enumerate(people)]])
    assert {each.result for each in told} == {Result.REJECTED}
    assert all("connector install" in each.hint for each in told)
    assert asked(hub, begun) == 1
    assert mark(hub) - begun < 10, "the batch is not cut into its tasks"
    assert system.learned is not None
    assert system.learned.kept() == ""


def test_a_key_that_is_unique_by_now_is_found_out_by_the_refusal_of_a_task_that_another_record_has(hub: Portal) -> None:
    install_key(hub, is_unique=False)
    kept, person = learned(hub)
    made_anew(hub, is_unique=True)
    [made] = written(connected(hub), [[task("second", person)]])
    remembered_of.cache_clear()
    [told] = written(again(hub, kept), [[task("second", hub.create(email="b@x.com"))]])
    assert (told.result, told.native_id) == (Result.UNCHANGED, made.native_id)
    assert sorted(tasks_of(hub)) == ["first", "second"]
