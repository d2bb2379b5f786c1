"""Associations in the imitated HubSpot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector.sandbox.hubspot import association_api, linking
from connector.sandbox.hubspot.object_types import ASSOCIATION_TYPES
from connector.sandbox.hubspot.portal_types import PortalTypes
from tests.unit.sandbox.hubspot_portal import Portal, portal


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


def batch(hub: Portal, ends: str, action: str, inputs: list[dict[str, Any]], status: int, dated: bool = False) -> Any:
    base = "/crm/associations/2026-09" if dated else "/crm/v4/associations"
    return hub.call("POST", f"{base}/{ends}/batch/{action}", {"inputs": inputs}, status)


def pair(source: str, target: str, *type_ids: int) -> dict[str, Any]:
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": each} for each in type_ids]
    return {"from": {"id": source}, "to": {"id": target}, **({"types": types} if types else {})}


def type_ids(answer: Any) -> list[list[int]]:
    return [[each["typeId"] for each in to["associationTypes"]] for row in answer["results"] for to in row["to"]]


def test_every_kind_of_link_has_its_reverse() -> None:
    for link in ASSOCIATION_TYPES:
        reverse = {each.type_id: each for each in PortalTypes().links(link.to_type, link.from_type)}
        assert reverse[link.reverse_id].reverse_id == link.type_id


def test_the_first_company_becomes_the_primary_one_and_can_be_replaced(hub: Portal) -> None:
    contact = hub.create(email="a@x.com")
    first, second = hub.create("companies", name="One"), hub.create("companies", name="Two")
    batch(hub, "contacts/companies", "associate/default", [pair(contact, first)], 200)
    created = batch(hub, "contact/companies", "create", [pair(contact, second, 1)], 201)
    assert created["results"][0]["labels"] == ["Primary"]
    answer = batch(hub, "contacts/0-2", "read", [{"id": contact}], 200)
    assert type_ids(answer) == [[279], [1, 279]]
    assert answer["results"][0]["to"][0]["toObjectId"] == int(first)
    assert type_ids(batch(hub, "companies/contacts", "read", [{"id": second}], 200)) == [[2, 280]]
    listed = hub.call("GET", "/crm/v3/objects/contacts?associations=companies", status=200)["results"][0]
    assert listed["associations"]["companies"]["results"] == [
        {"id": first, "type": "contact_to_company_unlabeled"},
        {"id": second, "type": "contact_to_company"},
        {"id": second, "type": "contact_to_company_unlabeled"},
    ]


def test_a_contact_names_its_primary_company(hub: Portal) -> None:
    contact = hub.create(email="a@x.com")
    first, second = hub.create("companies", name="One"), hub.create("companies", name="Two")

    def named() -> str | None:
        return hub.properties("contacts", contact, "associatedcompanyid")["associatedcompanyid"]

    batch(hub, "companies/contacts", "associate/default", [pair(first, contact)], 200)
    assert named() == first
    batch(hub, "contacts/companies", "create", [pair(contact, second, 1)], 201)
    assert named() == second
    hub.raw("DELETE", f"/crm/v3/objects/companies/{second}")
    assert named() is None


def test_a_record_without_links_is_an_error_of_its_own_kind(hub: Portal) -> None:
    contact = hub.create(email="a@x.com")
    answer = batch(hub, "contacts/companies", "read", [{"id": contact}], 207)
    assert answer["results"] == []
    [error] = answer["errors"]
    assert error["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"
    assert error["message"] == f"No company is associated with contact {contact}."
    assert error["context"]["fromObjectId"] == [contact]


def test_many_links_come_in_pages_per_record(hub: Portal) -> None:
    contact = int(hub.create(email="a@x.com"))
    database = hub.context.database
    link = next(each for each in ASSOCIATION_TYPES if each.type_id == 203)
    count = association_api.LINKS_PER_PAGE + 20
    linking.insert(database, [row for to_id in range(1, count + 1) for row in linking.both_ways(link, contact, to_id)])
    seen: list[int] = []
    after = None
    while True:
        given = {"id": str(contact), **({"after": after} if after else {})}
        [row] = batch(hub, "contacts/tasks", "read", [given], 200)["results"]
        seen += [each["toObjectId"] for each in row["to"]]
        after = row.get("paging", {}).get("next", {}).get("after")
        if after is None:
            break
    assert seen == list(range(1, count + 1))


def test_dated_paths_write_the_other_id_as_text(hub: Portal) -> None:
    contact, company = hub.create(email="a@x.com"), hub.create("companies", name="One")
    batch(hub, "contacts/companies", "associate/default", [pair(contact, company)], 200, dated=True)
    answer = batch(hub, "contacts/companies", "read", [{"id": contact}], 200, dated=True)
    assert answer["results"][0]["to"][0]["toObjectId"] == company


def test_links_are_made_again_without_harm_and_removed(hub: Portal) -> None:
    contact, deal = hub.create(email="a@x.com"), hub.create("deals", dealname="One")
    for _ in range(2):
        batch(hub, "deals/contacts", "create", [pair(deal, contact, 3)], 201)
    assert type_ids(batch(hub, "contacts/deals", "read", [{"id": contact}], 200)) == [[4]]
    gone = [{"from": {"id": deal}, "to": [{"id": contact}]}]
    assert (
        hub.raw("POST", "/crm/v4/associations/deals/contacts/batch/archive", json={"inputs": gone}).status_code == 204
    )
    batch(hub, "contacts/deals", "read", [{"id": contact}], 207)


def test_unknown_kinds_and_records_are_refused(hub: Portal) -> None:
    contact, deal = hub.create(email="a@x.com"), hub.create("deals", dealname="One")
    batch(hub, "deals/contacts", "create", [pair(deal, contact, 204)], 400)
    answer = batch(hub, "deals/contacts", "create", [pair(deal, "1", 3), pair(deal, contact, 3)], 207)
    assert len(answer["results"]) == len(answer["errors"]) == 1
    batch(hub, "tasks/tasks", "read", [{"id": "1"}], 400)
    batch(hub, "deals/contacts", "read", [{"id": str(number)} for number in range(1001)], 400)
    batch(hub, "deals/contacts", "create", [pair(deal, contact, 3)] * 2001, 400)


def test_labels_are_listed(hub: Portal) -> None:
    answer = hub.call("GET", "/crm/v4/associations/contacts/companies/labels", status=200)
    assert {each["typeId"]: each["label"] for each in answer["results"]} == {1: "Primary", 279: None}


def test_older_clients_read_and_make_links_by_the_name_of_their_type(hub: Portal) -> None:
    person, company = hub.create(email="v3@x.com"), hub.create("companies", name="Acme")
    path = "/crm/v3/associations/contacts/companies/batch"
    pair = {"from": {"id": person}, "to": {"id": company}, "type": "contact_to_company"}
    assert hub.call("POST", f"{path}/create", {"inputs": [pair]}, 201)["results"] == [pair]
    answer = hub.call("POST", f"{path}/read", {"inputs": [{"id": person}, {"id": "1"}]}, 207)
    names = ["contact_to_company", "contact_to_company_unlabeled"]
    assert answer["results"] == [{"from": {"id": person}, "to": [{"id": company, "type": name} for name in names]}]
    assert answer["errors"][0]["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"
    hub.call("POST", f"{path}/create", {"inputs": [{**pair, "type": "dance"}]}, 400)
    assert hub.raw("POST", f"{path}/archive", json={"inputs": [pair]}).status_code == 204
    one = f"/crm/v3/objects/contacts/{person}/associations/companies"
    assert hub.call("GET", one, status=200)["results"] == [{"id": company, "type": names[1]}]
    assert hub.raw("DELETE", f"{one}/{company}/279").status_code == 204
    assert hub.call("GET", one, status=200)["results"] == []
    hub.call("PUT", f"{one}/{company}/1", status=200)
    assert len(hub.call("GET", one, status=200)["results"]) == 2


def test_a_record_with_many_links_is_followed_by_absolute_links_to_all_of_them(hub: Portal) -> None:
    company, many = hub.create("companies", name="Big"), 620
    inputs = {"system": "hubspot", "action": "import", "count": many, "properties": {"lastname": "N{n}"}}
    made = hub.call("POST", "/_sandbox/act", inputs, 200)
    people = range(int(made["first_id"]), int(made["last_id"]) + 1)
    pairs = {"inputs": [{"from": {"id": str(each)}, "to": {"id": company}} for each in people]}
    hub.call("POST", "/crm/v4/associations/contacts/companies/batch/associate/default", pairs, 200)
    shown = hub.call("GET", f"/crm/v3/objects/companies/{company}?associations=contacts", status=200)
    page, seen = shown["associations"]["contacts"], set()
    while True:
        seen |= {each["id"] for each in page["results"]}
        link = page.get("paging", {}).get("next", {}).get("link")
        if link is None:
            break
        assert link.startswith(hub.url)
        page = hub.call("GET", link.removeprefix(hub.url), status=200)
    assert seen == {str(each) for each in people}
    path = "/crm/v4/associations/companies/contacts/batch/read"
    first = hub.call("POST", path, {"inputs": [{"id": company}]}, 200)["results"][0]
    after = first["paging"]["next"]["after"]
    rest = hub.call("POST", path, {"inputs": [{"id": company, "after": after}]}, 200)["results"][0]
    assert len({each["toObjectId"] for each in [*first["to"], *rest["to"]]}) == many
    assert "paging" not in rest


def test_the_dated_versions_have_the_same_paths(hub: Portal) -> None:
    record_id = hub.create(email="dated@x.com")
    for version in ("2026-03", "2026-09"):
        assert hub.call("GET", f"/crm/objects/{version}/contacts/{record_id}", status=200)["id"] == record_id
        assert hub.call("GET", f"/crm/properties/{version}/contacts/email", status=200)["name"] == "email"
