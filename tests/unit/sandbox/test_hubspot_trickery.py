"""What makes reading HubSpot hard, in the imitated portal: index lag, ties, the 10,000 results, merges, erasure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.hubspot_portal import Portal, portal

CONTACTS = "/crm/v3/objects/contacts"
MANY = 12_000
AT_MS = 1_767_225_600_000
BY_CHANGE = [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}]


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


def act(hub: Portal, action: str, **payload: Any) -> Any:
    return hub.call("POST", "/_sandbox/act", {"system": "hubspot", "action": action, **payload}, 200)


def ids(hub: Portal, **body: Any) -> list[str]:
    return [each["id"] for each in hub.search("contacts", **body)["results"]]


@pytest.fixture(name="crowd", scope="module")
def _crowd() -> Iterator[Portal]:
    with portal() as running:
        act(running, "import", count=MANY, at=AT_MS, properties={"email": "p{n}@x.com", "city": "Rome"})
        yield running


def test_an_import_gives_all_its_records_one_instant(crowd: Portal) -> None:
    same = [{"propertyName": "lastmodifieddate", "operator": "EQ", "value": str(AT_MS)}]
    assert crowd.search("contacts", filters=same)["total"] == MANY
    assert crowd.call("GET", f"{CONTACTS}/p7@x.com?idProperty=email&properties=city", status=200)["id"]


def test_records_of_one_instant_come_in_no_order_but_once_on_the_pages_of_a_query(crowd: Portal) -> None:
    pages = [ids(crowd, sorts=BY_CHANGE, limit=200, after=start) for start in (0, 200, 400)]
    seen = [record_id for page in pages for record_id in page]
    assert len(set(seen)) == 600
    assert seen != sorted(seen, key=int)
    rome = [{"propertyName": "city", "operator": "EQ", "value": "Rome"}]
    assert ids(crowd, sorts=BY_CHANGE, limit=200, filters=rome) != pages[0]


def test_past_the_ten_thousandth_result_a_search_is_refused_and_by_id_all_are_reached(crowd: Portal) -> None:
    assert crowd.search("contacts", limit=200, after=9_800, sorts=BY_CHANGE)["paging"]["next"]["after"] == "10000"
    refused = crowd.search("contacts", 400, limit=200, after=10_000, sorts=BY_CHANGE)
    assert refused["message"] == "There was a problem with the request."
    last, seen = "0", 0
    while True:
        beyond = [{"propertyName": "hs_object_id", "operator": "GT", "value": last}]
        found = ids(crowd, filters=beyond, sorts=[{"propertyName": "hs_object_id"}], limit=200)
        if not found:
            break
        seen, last = seen + len(found), found[-1]
    assert seen == MANY


def test_with_a_spread_of_the_lag_what_was_written_later_may_be_found_earlier() -> None:
    with portal(index_lag_s=1.0, index_lag_spread_s=60.0) as hub:
        made = [hub.create(email=f"p{number}@x.com") for number in range(12)]
        found: list[str] = []
        for _ in range(62):
            hub.context.clock.shift(1)
            found += [each for each in ids(hub, limit=200) if each not in found]
        assert sorted(found) == sorted(made)
        assert found != made


def test_the_lag_can_be_switched_while_the_portal_runs(hub: Portal) -> None:
    hub.call("POST", "/_sandbox/limits", {"enabled": False, "index_lag_s": 30, "index_lag_spread_s": 5}, 200)
    hub.create(email="a@x.com")
    assert hub.search("contacts")["total"] == 0
    hub.call("POST", "/_sandbox/limits", {"enabled": False, "index_lag_s": 0, "index_lag_spread_s": 0}, 200)
    assert hub.search("contacts")["total"] == 1


def test_a_merge_is_told_in_both_properties_and_a_second_one_follows_on(hub: Portal) -> None:
    first, second, third = (hub.create(email=f"{each}@x.com") for each in "abc")
    merge = f"{CONTACTS}/merge"
    once = hub.call("POST", merge, {"primaryObjectId": first, "objectIdToMerge": second}, 200)["id"]
    twice = hub.call("POST", merge, {"primaryObjectId": third, "objectIdToMerge": once}, 200)["id"]
    found = hub.properties("contacts", first, "email", "hs_merged_object_ids", "hs_calculated_merged_vids")
    assert found["hs_object_id"] == twice
    assert found["email"] == "c@x.com"
    assert set(found["hs_merged_object_ids"].split(";")) == {first, second, third, once}
    vids = dict(each.split(":") for each in found["hs_calculated_merged_vids"].split(";"))
    assert set(vids) == {first, second, third, once}
    for absorbed in (first, second, third, once):
        assert hub.call("GET", f"{CONTACTS}/{absorbed}", status=200)["id"] == twice
    assert hub.call("GET", f"{CONTACTS}?archived=true")["results"] == []
    assert ids(hub) == [twice]


def test_a_further_address_finds_its_contact_by_key_and_by_search(hub: Portal) -> None:
    first, second = hub.create(email="a@x.com"), hub.create(email="b@x.com")
    merged = hub.call("POST", f"{CONTACTS}/merge", {"primaryObjectId": first, "objectIdToMerge": second}, 200)["id"]
    assert hub.call("GET", f"{CONTACTS}/B@x.com?idProperty=email", status=200)["id"] == merged
    body = {"inputs": [{"id": "b@x.com"}], "idProperty": "email"}
    assert hub.call("POST", f"{CONTACTS}/batch/read", body, 200)["results"][0]["id"] == merged
    further = [{"propertyName": "hs_additional_emails", "operator": "EQ", "value": "b@x.com"}]
    assert ids(hub, filters=further) == [merged]
    assert ids(hub, filters=[{"propertyName": "email", "operator": "EQ", "value": "b@x.com"}]) == []


def test_merged_companies_keep_both_domains(hub: Portal) -> None:
    pair = [hub.create("companies", name=each, domain=f"{each}.com") for each in ("a", "b")]
    body = {"primaryObjectId": pair[0], "objectIdToMerge": pair[1]}
    merged = hub.call("POST", "/crm/v3/objects/companies/merge", body, 200)["id"]
    found = hub.properties("companies", merged, "domain", "hs_additional_domains")
    assert (found["domain"], found["hs_additional_domains"]) == ("a.com", "b.com")


def test_what_is_archived_is_read_only_where_it_is_asked_for(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    hub.raw("DELETE", f"{CONTACTS}/{record_id}")
    path, body = f"{CONTACTS}/batch/read", {"inputs": [{"id": record_id}]}
    assert hub.call("POST", path, body, 207)["errors"][0]["context"]["ids"] == [record_id]
    [found] = hub.call("POST", f"{path}?archived=true", body, 200)["results"]
    assert found["archived"] is True
    assert found["archivedAt"]
    assert hub.call("GET", f"{CONTACTS}/{record_id}?archived=true", status=200)["id"] == record_id
    act(hub, "restore", objects="contacts", id=record_id)
    assert ids(hub) == [record_id]
    assert hub.call("GET", f"{CONTACTS}/a@x.com?idProperty=email", status=200)["id"] == record_id


def test_an_erased_person_takes_events_and_submissions_along_and_may_come_back(hub: Portal) -> None:
    made = act(hub, "page_view", email="a@x.com")["contact_id"]
    act(hub, "email_click", email="a@x.com")
    act(hub, "email_click", email="b@x.com")
    body = {"objectId": made}
    assert hub.raw("POST", f"{CONTACTS}/gdpr-delete", json=body).status_code == 204
    assert hub.raw("POST", f"{CONTACTS}/gdpr-delete", json=body).status_code == 404
    unknown = {"objectId": "nobody@x.com", "idProperty": "email"}
    assert hub.raw("POST", f"{CONTACTS}/gdpr-delete", json=unknown).status_code == 204
    assert hub.call("GET", "/events/v3/events", status=200)["results"] == []
    events = hub.call("GET", "/email/public/v1/events", status=200)["events"]
    assert {each["recipient"] for each in events} == {"b@x.com"}
    assert hub.create(email="a@x.com") != made


def test_editing_a_pipeline_moves_the_modified_date_of_all_its_deals(hub: Portal) -> None:
    deals = [hub.create("deals", dealname=each) for each in "ab"]
    hub.context.clock.shift(60)
    at = act(hub, "touch", objects="deals")["at"]
    assert {hub.properties("deals", each, "dealname")["hs_lastmodifieddate"] for each in deals} == {at}


def test_a_record_names_the_user_who_changed_it_last_and_for_an_app_the_one_who_installed_it(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    assert hub.properties("contacts", record_id, "hs_updated_by_user_id")["hs_updated_by_user_id"] == "1"
    act(hub, "edit", id=record_id, properties={"firstname": "Ann"}, user=11_203)
    edited = hub.properties("contacts", record_id, "firstname", "hs_updated_by_user_id")
    assert (edited["firstname"], edited["hs_updated_by_user_id"]) == ("Ann", "11203")
    refused = {"system": "hubspot", "action": "edit", "id": record_id, "properties": {"email": "nobody"}}
    assert "is invalid" in hub.call("POST", "/_sandbox/act", refused, 400)["error"]


def test_a_calculated_property_changes_and_the_modified_date_does_not(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    before = hub.properties("contacts", record_id, "hubspotscore")
    hub.context.clock.shift(60)
    act(hub, "set_hidden", objects="contacts", id=record_id, properties={"hubspotscore": 40})
    after = hub.properties("contacts", record_id, "hubspotscore")
    assert after == {**before, "hubspotscore": "40"}
