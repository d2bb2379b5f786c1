"""What HubSpot does with writes that look as if they worked, and what the portal itself adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.hubspot_portal import Portal, portal

CONTACTS = "/crm/v3/objects/contacts"
DATED = "/crm/objects/2026-09"


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


def act(hub: Portal, action: str, **payload: Any) -> Any:
    return hub.call("POST", "/_sandbox/act", {"system": "hubspot", "action": action, **payload}, 200)


@pytest.mark.parametrize("values", [{"city": "Rome"}, {"lifecyclestage": "lead"}, {"email": "A@x.com"}, {}])
def test_a_write_that_changes_nothing_succeeds_and_leaves_the_modified_date(
    hub: Portal, values: dict[str, str]
) -> None:
    record_id = hub.create(email="a@x.com", city="Rome", lifecyclestage="customer")
    before = hub.properties("contacts", record_id, "city", "lifecyclestage")
    hub.context.clock.shift(60)
    body = {"inputs": [{"id": record_id, "properties": values, "objectWriteTraceId": "1"}]}
    answer = hub.call("POST", f"{CONTACTS}/batch/update", body, 200)
    assert [each["id"] for each in answer["results"]] == [record_id]
    assert "errors" not in answer
    assert hub.properties("contacts", record_id, "city", "lifecyclestage") == before


def test_two_spellings_of_an_address_are_one_record_of_an_upsert(hub: Portal) -> None:
    rows = [{"id": each, "idProperty": "email", "properties": {}} for each in ("a@x.com", "A@X.com")]
    answer = hub.call("POST", f"{CONTACTS}/batch/upsert", {"inputs": rows}, 400)
    assert answer["message"].startswith("Duplicate IDs found in batch input")


def test_a_traced_upsert_writes_the_good_rows_and_names_the_bad(hub: Portal) -> None:
    rows = [
        {"id": f"{n}@x.com", "idProperty": "email", "properties": {"followercount": n}, "objectWriteTraceId": n}
        for n in ("1", "two", "3")
    ]
    answer = hub.call("POST", f"{CONTACTS}/batch/upsert", {"inputs": rows}, 207)
    assert {each["objectWriteTraceId"]: each["new"] for each in answer["results"]} == {"1": True, "3": True}
    [error] = answer["errors"]
    assert error["category"] == "VALIDATION_ERROR"
    assert error["context"]["objectWriteTraceId"] == ["two"]
    assert error["errors"][0]["code"] == "INVALID_INTEGER"
    assert answer["numErrors"] == 1
    untraced = [{name: each[name] for name in ("id", "idProperty", "properties")} for each in rows]
    assert hub.call("POST", f"{CONTACTS}/batch/upsert", {"inputs": untraced}, 400)["category"] == "VALIDATION_ERROR"


def test_a_second_record_with_a_unique_value_is_refused_and_told_of_the_first(hub: Portal) -> None:
    key = {
        "name": "key",
        "label": "Key",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
        "hasUniqueValue": True,
    }
    hub.call("POST", "/crm/v3/properties/contacts", key, 201)
    first, second = hub.create(email="a@x.com", key="7"), hub.create(email="b@x.com")
    answer = hub.call("PATCH", f"{CONTACTS}/{second}", {"properties": {"key": "7"}}, 400)
    assert answer["errors"][0]["code"] == "CONFLICTING_UNIQUE_VALUE"
    assert f"{first} already has that value" in answer["message"]
    taken = hub.call("PATCH", f"{CONTACTS}/{second}", {"properties": {"email": "a@x.com"}}, 409)
    assert taken["category"] == "CONFLICT"
    assert taken["correlationId"]


def test_the_dated_version_holds_writes_to_the_portals_rules_and_the_numbered_one_does_not(hub: Portal) -> None:
    act(hub, "demand", objects="contacts", property="country")
    act(hub, "demand", objects="contacts", property="jobtitle", when={"lifecyclestage": "customer"})
    body = {"properties": {"email": "a@x.com"}}
    refused = hub.call("POST", f"{DATED}/contacts", body, 400)
    assert refused["errors"][0]["code"] == "MISSING_REQUIRED_PROPERTY"
    record_id = hub.create(email="a@x.com")
    hub.call("PATCH", f"{DATED}/contacts/{record_id}", {"properties": {"city": "Rome"}}, 200)
    update = {"inputs": [{"id": record_id, "properties": {"lifecyclestage": "customer"}}]}
    refused = hub.call("POST", f"{DATED}/contacts/batch/update", update, 400)
    assert refused["errors"][0]["code"] == "MISSING_CONDITIONAL_REQUIRED_PROPERTY"
    assert refused["errors"][0]["context"]["propertyName"] == ["jobtitle"]
    hub.call("POST", f"{CONTACTS}/batch/update", update, 200)


def test_the_times_of_stages_are_read_by_name_and_no_list_shows_them(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com", lifecyclestage="lead")
    hub.context.clock.shift(60)
    hub.call("PATCH", f"{CONTACTS}/{record_id}", {"properties": {"lifecyclestage": "customer"}}, 200)
    names = ("hs_v2_date_entered_lead", "hs_v2_date_exited_lead", "hs_v2_date_entered_customer")
    lead, left, customer = (hub.properties("contacts", record_id, *names)[name] for name in names)
    assert lead < left == customer
    listed = hub.call("GET", "/crm/v3/properties/contacts", status=200)["results"]
    assert not [each for each in listed if each["name"] in names]


def test_calculated_counts_follow_links_and_leave_the_modified_date(hub: Portal) -> None:
    company, people = hub.create("companies", name="Acme"), [hub.create(email=f"{n}@x.com") for n in range(3)]
    before = hub.properties("companies", company, "num_associated_contacts")
    hub.context.clock.shift(60)
    pairs = {"inputs": [{"from": {"id": each}, "to": {"id": company}} for each in people]}
    path = "/crm/v4/associations/contacts/companies/batch"
    hub.call("POST", f"{path}/associate/default", pairs, 200)
    after = hub.properties("companies", company, "num_associated_contacts")
    assert after == {**before, "num_associated_contacts": "3"}
    gone = {"inputs": [{"from": {"id": people[0]}, "to": [{"id": company}]}]}
    assert hub.raw("POST", f"{path}/archive", json=gone).status_code == 204
    assert hub.properties("companies", company, "num_associated_contacts")["num_associated_contacts"] == "2"
