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


def test_a_contact_whose_address_somebody_has_now_cannot_be_restored(hub: Portal) -> None:
    gone = hub.create(email="A@x.com")
    hub.raw("DELETE", f"{CONTACTS}/{gone}")
    successor = hub.create(email="a@x.com")
    restore = {"system": "hubspot", "action": "restore", "objects": "contacts", "id": gone}
    assert successor in hub.call("POST", "/_sandbox/act", restore, 400)["error"]
    assert ids(hub) == [successor]
    hub.call("PATCH", f"{CONTACTS}/{successor}", {"properties": {"email": "b@x.com"}}, 200)
    hub.call("POST", "/_sandbox/act", restore, 200)
    assert hub.call("GET", f"{CONTACTS}/a@x.com?idProperty=email", status=200)["id"] == gone


def test_a_record_can_be_restored_for_ninety_days(hub: Portal) -> None:
    early, late = hub.create(email="a@x.com"), hub.create(email="b@x.com")
    for each in (early, late):
        hub.raw("DELETE", f"{CONTACTS}/{each}")
    hub.context.clock.shift(89 * 86_400)
    act(hub, "restore", objects="contacts", id=early)
    hub.context.clock.shift(2 * 86_400)
    given = {"system": "hubspot", "action": "restore", "objects": "contacts", "id": late}
    assert "90 days" in hub.call("POST", "/_sandbox/act", given, 400)["error"]


def linked(hub: Portal, kind: str, record_id: str, other: str) -> list[str]:
    found = hub.call("GET", f"/crm/v4/objects/{kind}/{record_id}/associations/{other}", status=200)["results"]
    return [str(each["toObjectId"]) for each in found]


def link(hub: Portal, contact: str, kind: str, *to_ids: str) -> None:
    for each in to_ids:
        hub.call("PUT", f"/crm/v4/objects/contacts/{contact}/associations/default/{kind}/{each}", {}, 200)


def company_of(hub: Portal, contact: str) -> str | None:
    found = hub.properties("contacts", contact, "associatedcompanyid")["associatedcompanyid"]
    return None if found is None else str(found)


def test_a_restored_record_has_its_links_again_unless_the_other_end_is_gone(hub: Portal) -> None:
    contact, friend = hub.create(email="a@x.com"), hub.create(email="b@x.com")
    first, second, merged = (hub.create("companies", name=each) for each in ("first", "second", "third"))
    kept, erased = hub.create("deals", dealname="kept"), hub.create("deals", dealname="erased")
    note = hub.create("notes", hs_timestamp="2026-01-01T00:00:00Z")
    link(hub, contact, "companies", first, second, merged)
    link(hub, contact, "deals", kept, erased)
    link(hub, contact, "notes", note)
    link(hub, friend, "deals", kept)
    hub.raw("DELETE", f"{CONTACTS}/{contact}")
    assert hub.properties("deals", kept, "num_associated_contacts")["num_associated_contacts"] == "1"
    hub.raw("POST", "/crm/v3/objects/deals/gdpr-delete", json={"objectId": erased})
    body = {"primaryObjectId": hub.create("companies", name="fourth"), "objectIdToMerge": merged}
    new = hub.call("POST", "/crm/v3/objects/companies/merge", body, 200)["id"]
    act(hub, "restore", objects="contacts", id=contact)
    assert sorted(linked(hub, "contacts", contact, "companies")) == sorted([first, second, new])
    assert linked(hub, "contacts", contact, "deals") == [kept]
    assert linked(hub, "notes", note, "contacts") == [contact]
    assert company_of(hub, contact) == first
    assert hub.properties("deals", kept, "num_associated_contacts")["num_associated_contacts"] == "2"


def test_two_linked_records_that_were_archived_are_linked_once_both_are_restored(hub: Portal) -> None:
    contact, company = hub.create(email="a@x.com"), hub.create("companies", name="first")
    link(hub, contact, "companies", company)
    hub.raw("DELETE", f"{CONTACTS}/{contact}")
    hub.raw("DELETE", f"/crm/v3/objects/companies/{company}")
    act(hub, "restore", objects="contacts", id=contact)
    assert linked(hub, "contacts", contact, "companies") == []
    act(hub, "restore", objects="companies", id=company)
    assert (linked(hub, "contacts", contact, "companies"), company_of(hub, contact)) == ([company], company)


def test_a_restored_company_takes_no_other_ones_place(hub: Portal) -> None:
    contact = hub.create(email="a@x.com")
    first, second = (hub.create("companies", name=each) for each in ("first", "second"))
    link(hub, contact, "companies", first)
    hub.raw("DELETE", f"/crm/v3/objects/companies/{first}")
    assert company_of(hub, contact) is None
    link(hub, contact, "companies", second)
    act(hub, "restore", objects="companies", id=first)
    assert sorted(linked(hub, "contacts", contact, "companies")) == sorted([first, second])
    assert company_of(hub, contact) == second


def test_links_of_what_is_erased_come_back_with_nobody(hub: Portal) -> None:
    contact, company = hub.create(email="a@x.com"), hub.create("companies", name="first")
    link(hub, contact, "companies", company)
    hub.raw("DELETE", f"{CONTACTS}/{contact}")
    hub.raw("POST", f"{CONTACTS}/gdpr-delete", json={"objectId": contact})
    for table in ("hubspot_link", "hubspot_former_link"):
        assert hub.context.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


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
