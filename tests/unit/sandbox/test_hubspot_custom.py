"""What a portal makes for itself: custom objects and labels of links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hubspot import HubSpot

from tests.unit.sandbox.hubspot_portal import TOKEN, Portal, portal

MACHINE: dict[str, Any] = {
    "name": "machine",
    "labels": {"singular": "Machine", "plural": "Machines"},
    "primaryDisplayProperty": "serial",
    "requiredProperties": ["serial"],
    "searchableProperties": ["serial"],
    "properties": [
        {"name": "serial", "label": "Serial", "type": "string", "fieldType": "text", "hasUniqueValue": True},
        {"name": "price", "label": "Price", "type": "number", "fieldType": "number"},
    ],
    "associatedObjects": ["CONTACT", "0-2"],
}
SCHEMAS = "/crm/v3/schemas"


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


@pytest.fixture(name="machines")
def _machines(hub: Portal) -> str:
    return str(hub.call("POST", SCHEMAS, MACHINE, 201)["objectTypeId"])


def test_a_custom_object_is_made_with_its_properties_and_its_links(hub: Portal, machines: str) -> None:
    told = hub.call("GET", f"{SCHEMAS}/{machines}", status=200)
    assert (told["fullyQualifiedName"], told["labels"]["plural"], told["archived"]) == (
        "p4711_machine",
        "Machines",
        False,
    )
    names = {each["name"] for each in told["properties"]}
    assert {"serial", "price", "hs_object_id", "hubspot_owner_id"} <= names
    assert {each["toObjectTypeId"]: each["name"] for each in told["associations"]} == {
        "0-1": "machine_to_contact", "0-2": "machine_to_company", "0-27": "machine_to_task", "0-46": "machine_to_note",
        "0-47": "machine_to_meeting", "0-48": "machine_to_call", "0-49": "machine_to_email",
    }  # fmt: skip
    assert [each["name"] for each in hub.call("GET", SCHEMAS)["results"]] == ["machine"]
    for name in ("p4711_machine", "p_machine", "machine"):
        assert hub.call("GET", f"/crm-object-schemas/v3/schemas/{name}", status=200)["objectTypeId"] == machines


@pytest.mark.parametrize("name", ["p4711_machine", "type id"])
def test_its_records_are_written_read_searched_and_linked_as_all_others(hub: Portal, machines: str, name: str) -> None:
    kind = machines if name == "type id" else name
    record_id = hub.create(kind, serial="A1", price="10.5")
    person = hub.create(email="ann@x.com")
    assert hub.properties(kind, record_id, "serial", "price") | {"serial": "A1"} == hub.properties(
        kind, record_id, "serial", "price"
    )
    found = hub.search(kind, filterGroups=[{"filters": [{"propertyName": "serial", "operator": "EQ", "value": "A1"}]}])
    assert [each["id"] for each in found["results"]] == [record_id]
    assert hub.search(kind, query="a1")["total"] == 1
    lacking = hub.call("POST", f"/crm/v3/objects/{kind}", {"properties": {"price": "1"}}, 400)
    assert "required" in lacking["message"]
    hub.call("POST", f"/crm/v3/objects/{kind}", {"properties": {"serial": "A1"}}, 400)
    row = {"id": "A1", "idProperty": "serial", "properties": {"price": "11"}}
    body = hub.call("POST", f"/crm/v3/objects/{kind}/batch/upsert", {"inputs": [row]}, 200)
    assert [(each["id"], each["new"]) for each in body["results"]] == [(record_id, False)]
    [there] = hub.call("GET", f"/crm/v4/associations/{kind}/contacts/labels")["results"]
    assert (there["category"], there["label"]) == ("USER_DEFINED", None)
    link = [{"associationCategory": there["category"], "associationTypeId": there["typeId"]}]
    path = f"/crm/v4/objects/{kind}/{record_id}/associations/contacts"
    hub.call("PUT", f"{path}/{person}", link, 201)
    assert [each["toObjectId"] for each in hub.call("GET", path)["results"]] == [int(person)]
    listed = hub.call("GET", f"/crm/objects/2026-09/{kind}?associations=contacts,calls,conversations", status=200)[
        "results"
    ]
    assert listed[0]["associations"]["contacts"]["results"][0]["id"] == person
    hub.call("POST", f"/crm/v3/objects/{kind}/batch/archive", {"inputs": [{"id": record_id}]}, 204)
    assert hub.call("GET", f"/crm/v3/objects/{kind}")["results"] == []


def test_a_schema_changes_and_goes_only_without_records(hub: Portal, machines: str) -> None:
    path = f"{SCHEMAS}/{machines}"
    more = {"name": "room", "label": "Room", "type": "string", "fieldType": "text", "groupName": "machine_information"}
    hub.call("POST", f"/crm/v3/properties/{machines}", more, 201)
    changed = hub.call(
        "PATCH", path, {"requiredProperties": ["serial", "room"], "labels": {"singular": "M", "plural": "Ms"}}, 200
    )
    assert (changed["requiredProperties"], changed["labels"]["plural"]) == (["serial", "room"], "Ms")
    hub.call("PATCH", path, {"requiredProperties": ["nope"]}, 400)
    record_id = hub.create(machines, serial="B", room="2")
    assert hub.call("DELETE", path, status=400)["subCategory"] == "OBJECT_TYPE_HAS_RECORDS"
    hub.call("DELETE", f"/crm/v3/objects/{machines}/{record_id}", status=204)
    hub.call("DELETE", path, status=204)
    hub.call("GET", path, status=404)
    hub.call("GET", f"/crm/v3/objects/{machines}", status=400)
    assert [each["name"] for each in hub.call("GET", f"{SCHEMAS}?archived=true")["results"]] == ["machine"]
    assert hub.call("POST", SCHEMAS, MACHINE, 409)["category"] == "OBJECT_ALREADY_EXISTS"
    hub.call("DELETE", f"{path}?archived=true", status=204)
    again = hub.call("POST", SCHEMAS, MACHINE, 201)["objectTypeId"]
    assert hub.call("GET", f"/crm/v3/objects/{again}")["results"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "1st"},
        {"labels": {"singular": "x"}},
        {"properties": []},
        {"requiredProperties": ["nope"]},
        {"primaryDisplayProperty": "nope"},
        {"associatedObjects": ["butterflies"]},
        {"properties": [{"name": "serial", "label": "S", "type": "bool", "fieldType": "text"}]},
    ],
)
def test_a_schema_that_makes_no_sense_is_refused_and_leaves_nothing(hub: Portal, wrong: dict[str, Any]) -> None:
    hub.call("POST", SCHEMAS, {**MACHINE, **wrong}, 400)
    assert hub.call("GET", SCHEMAS)["results"] == []
    hub.call("GET", "/crm/v3/objects/p4711_machine", status=400)


def test_custom_objects_have_scopes_of_their_own(hub: Portal, machines: str) -> None:
    hub.call(
        "POST",
        "/_sandbox/act",
        {"system": "hubspot", "action": "issue_token", "token": "pat-few", "scopes": ["crm.objects.contacts.read"]},
    )
    hub.session.headers["Authorization"] = "Bearer pat-few"
    refused = hub.call("GET", f"/crm/v3/objects/{machines}", status=403)
    assert refused["context"]["requiredGranularScopes"] == ["crm.objects.custom.read"]
    assert hub.call("POST", SCHEMAS, MACHINE, 403)["category"] == "MISSING_SCOPES"


def test_what_a_portal_made_is_there_after_a_restart(tmp_path: Path) -> None:
    with portal(tmp_path) as hub:
        machines = hub.call("POST", SCHEMAS, MACHINE, 201)["objectTypeId"]
        record_id = hub.create(machines, serial="A1")
        hub.call("POST", "/crm/v4/associations/contacts/deals/labels", {"name": "x", "label": "Signer"}, 200)
    with portal(tmp_path) as hub:
        assert hub.properties(machines, record_id, "serial")["serial"] == "A1"
        hub.call("POST", f"/crm/v3/objects/{machines}", {"properties": {"serial": "A1"}}, 400)
        assert "Signer" in [
            each["label"] for each in hub.call("GET", "/crm/v4/associations/contacts/deals/labels")["results"]
        ]


def test_an_unknown_path_or_method_is_told_as_json(hub: Portal) -> None:
    assert hub.call("GET", "/crm/v3/nonsense/x", status=404)["message"] == "resource not found"
    assert hub.call("PUT", "/crm/v3/objects/contacts", {}, 405)["status"] == "error"


def test_a_label_of_the_portals_own_stands_beside_the_ordinary_link(hub: Portal) -> None:
    person, company = hub.create(email="ann@x.com"), hub.create("companies", name="Acme")
    labels = "/crm/v4/associations/contacts/companies/labels"
    made = hub.call("POST", labels, {"name": "buyer", "label": "Buyer"}, 200)["results"]
    assert [(each["category"], each["label"]) for each in made] == [("USER_DEFINED", "Buyer")] * 2
    assert made[0] in hub.call("GET", labels)["results"]
    assert made[1] in hub.call("GET", "/crm/v4/associations/companies/contacts/labels")["results"]
    row = {
        "from": {"id": person}, "to": {"id": company},
        "types": [{"associationCategory": "USER_DEFINED", "associationTypeId": made[0]["typeId"]}],
    }  # fmt: skip
    told = hub.call("POST", "/crm/v4/associations/contacts/companies/batch/create", {"inputs": [row]}, 201)
    assert told["results"][0]["labels"] == ["Buyer"]

    def shown(a: str, b: str, record_id: str) -> list[str | None]:
        read = hub.call("POST", f"/crm/v4/associations/{a}/{b}/batch/read", {"inputs": [{"id": record_id}]})
        return [each["label"] for each in read["results"][0]["to"][0]["associationTypes"]]

    assert set(shown("contacts", "companies", person)) == {"Primary", None, "Buyer"}
    assert set(shown("companies", "contacts", company)) == {"Primary", None, "Buyer"}
    hub.call("PUT", labels, {"associationTypeId": made[0]["typeId"], "label": "Chief buyer"}, 204)
    assert "Chief buyer" in shown("contacts", "companies", person)
    hub.call("POST", labels, {"name": "again", "label": "chief BUYER"}, 400)
    hub.call("DELETE", f"{labels}/{made[0]['typeId']}", status=204)
    assert set(shown("contacts", "companies", person)) == {"Primary", None}
    hub.call("DELETE", f"{labels}/{made[0]['typeId']}", status=404)


def test_a_pair_of_labels_tells_the_two_ends_apart(hub: Portal) -> None:
    boss, other = hub.create(email="boss@x.com"), hub.create(email="other@x.com")
    labels = "/crm/v4/associations/contacts/contacts/labels"
    given = {"name": "manager_employee", "label": "Manager", "inverseLabel": "Employee"}
    made = hub.call("POST", labels, given, 200)["results"]
    assert [each["label"] for each in made] == ["Manager", "Employee"]
    link = [{"associationCategory": "USER_DEFINED", "associationTypeId": made[0]["typeId"]}]
    hub.call("PUT", f"/crm/v4/objects/contacts/{boss}/associations/contacts/{other}", link, 201)
    for record_id, label in ((boss, "Manager"), (other, "Employee")):
        [seen] = hub.call("GET", f"/crm/v4/objects/contacts/{record_id}/associations/contacts")["results"]
        assert {each["label"] for each in seen["associationTypes"]} == {None, label}


@pytest.mark.parametrize("given", [{}, {"name": "x"}, {"name": "1x", "label": "X"}, {"label": "X"}])
def test_a_label_without_a_name_is_refused(hub: Portal, given: dict[str, Any]) -> None:
    labels = "/crm/v4/associations/contacts/deals/labels"
    before = hub.call("GET", labels)
    assert hub.call("POST", labels, given, 400)["category"] == "VALIDATION_ERROR"
    assert hub.call("GET", labels) == before


def test_what_hubspot_defined_is_not_changed(hub: Portal) -> None:
    labels = "/crm/v4/associations/contacts/companies/labels"
    before = hub.call("GET", labels)
    hub.call("PUT", labels, {"associationTypeId": 1, "label": "Main"}, 400)
    hub.call("DELETE", f"{labels}/279", status=400)
    hub.call("POST", "/crm/v4/associations/contacts/butterflies/labels", {"name": "x", "label": "X"}, 400)
    assert hub.call("GET", labels) == before


def test_the_python_client_makes_them(hub: Portal) -> None:
    client = HubSpot(access_token=TOKEN, host=hub.url)
    made = client.crm.schemas.core_api.create(MACHINE)
    assert [each.name for each in client.crm.schemas.core_api.get_all(archived=False).results] == ["machine"]
    row = client.crm.objects.basic_api.create(made.object_type_id, {"properties": {"serial": "C"}})
    assert (
        client.crm.objects.basic_api.get_by_id(made.object_type_id, row.id, properties=["serial"]).properties["serial"]
        == "C"
    )
    link = {"fromObjectTypeId": made.object_type_id, "toObjectTypeId": "0-3", "name": "machine_deal"}
    told = client.crm.schemas.core_api.create_association(made.object_type_id, link)
    client.crm.schemas.core_api.archive_association(made.object_type_id, told.id)
    definitions = client.crm.associations.v4.schema.definitions_api
    label = definitions.create("contacts", "deals", {"name": "signer", "label": "Signer"}).results[0]
    definitions.update("contacts", "deals", {"associationTypeId": label.type_id, "label": "Signed"})
    assert "Signed" in [each.label for each in definitions.get_all("contacts", "deals").results]
    definitions.remove("contacts", "deals", label.type_id)
