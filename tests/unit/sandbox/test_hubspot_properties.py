"""Properties, groups, pipelines and owners of the imitated HubSpot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.sandbox.hubspot import allow_unique_on_activities
from tests.unit.sandbox.hubspot_portal import Portal, portal


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


def new(name: str = "connector_score", kind: str = "number", field: str = "number", **more: Any) -> dict[str, Any]:
    whole = {"name": name, "label": name, "type": kind, "fieldType": field, "groupName": "contactinformation"}
    return whole | more


def create(hub: Portal, status: int, object_type: str = "contacts", **given: Any) -> Any:
    return hub.call("POST", f"/crm/v3/properties/{object_type}", new(**given), status)


@pytest.mark.parametrize("path", ["/crm/v3/properties/{0}", "/crm/properties/2026-09/{0}"])
def test_properties_are_listed_in_every_version(hub: Portal, path: str) -> None:
    listed = {each["name"]: each for each in hub.call("GET", path.format("contacts"), status=200)["results"]}
    assert listed["email"]["type"] == "string"
    assert listed["lastmodifieddate"]["modificationMetadata"]["readOnlyValue"]
    assert [each["value"] for each in listed["lifecyclestage"]["options"]][:2] == ["subscriber", "lead"]


def test_a_property_can_be_made_written_and_put_away(hub: Portal) -> None:
    group = {"name": "connector", "label": "Connector", "displayOrder": 1}
    hub.call("POST", "/crm/v3/properties/contacts/groups", group, 201)
    hub.call("POST", "/crm/v3/properties/contacts/groups", {"name": "last", "label": "Last", "displayOrder": None}, 201)
    assert hub.call("POST", "/crm/v3/properties/contacts/groups", group, 409)["category"] == "OBJECT_ALREADY_EXISTS"
    made = create(hub, 201, groupName="connector")
    assert made["modificationMetadata"] == {"archivable": True, "readOnlyDefinition": False, "readOnlyValue": False}
    again = create(hub, 409, groupName="connector")
    assert (again["category"], again["subCategory"]) == (
        "OBJECT_ALREADY_EXISTS",
        "Properties.PROPERTY_WITH_NAME_EXISTS",
    )
    record_id = hub.create(email="a@x.com", connector_score=41.5)
    assert hub.properties("contacts", record_id, "connector_score")["connector_score"] == "41.5"
    hub.raw("DELETE", "/crm/v3/properties/contacts/connector_score")
    hub.call("GET", "/crm/v3/properties/contacts/connector_score", status=404)
    body = {"properties": {"connector_score": "1"}}
    hub.call("PATCH", f"/crm/v3/objects/contacts/{record_id}", body, 400)
    create(hub, 201, groupName="connector")
    hub.call("PATCH", f"/crm/v3/objects/contacts/{record_id}", body, 200)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "Bad Name"},
        {"name": "hs_mine"},
        {"groupName": "nowhere"},
        {"field": "text"},
        {"label": ""},
        {"kind": "enumeration", "field": "select"},
        {"kind": "bool", "field": "booleancheckbox"},
        {"kind": "bool", "field": "booleancheckbox", "options": [{"value": "yes"}, {"value": "no"}]},
    ],
)
def test_a_definition_that_hubspot_would_refuse_is_refused(hub: Portal, given: dict[str, Any]) -> None:
    assert create(hub, 400, **given)["category"] == "VALIDATION_ERROR"


def test_options_are_replaced_as_a_whole(hub: Portal) -> None:
    create(hub, 201, name="grade", kind="enumeration", field="select", options=[{"value": "A"}, {"value": "B"}])
    hub.call("PATCH", "/crm/v3/properties/contacts/grade", {"options": [{"value": "C", "label": "C"}]}, 200)
    hub.create(email="a@x.com", grade="C")
    body = {"properties": {"email": "b@x.com", "grade": "A"}}
    assert hub.call("POST", "/crm/v3/objects/contacts", body, 400)["errors"][0]["code"] == "INVALID_OPTION"
    hub.call("PATCH", "/crm/v3/properties/contacts/email", {"label": "Mail"}, 400)


def test_a_unique_property_identifies_records_and_is_held_by_one(hub: Portal) -> None:
    create(hub, 201, name="customer", kind="string", field="text", hasUniqueValue=True)
    first, second = hub.create(email="a@x.com", customer="C1"), hub.create(email="b@x.com")
    taken = hub.call("PATCH", f"/crm/v3/objects/contacts/{second}", {"properties": {"customer": "C1"}}, 400)
    assert taken["errors"][0]["code"] == "CONFLICTING_UNIQUE_VALUE"
    rows = [{"id": each, "idProperty": "customer", "properties": {"city": "Rome"}} for each in ("C1", "C2")]
    answer = hub.call("POST", "/crm/v3/objects/contacts/batch/upsert", {"inputs": rows}, 200)
    assert {each["new"]: each["id"] == first for each in answer["results"]} == {False: True, True: False}
    body = {"inputs": [{"id": "x", "idProperty": "city", "properties": {}}]}
    assert "non-unique" in hub.call("POST", "/crm/v3/objects/contacts/batch/upsert", body, 400)["message"]
    body = {"filters": [{"propertyName": "customer", "operator": "EQ", "value": "C1"}]}
    assert hub.search("contacts", **body)["total"] == 1


def test_uniqueness_on_tasks_is_refused_unless_the_portal_allows_it(hub: Portal) -> None:
    given = new("connector_task_key", "string", "text", groupName="task_information", hasUniqueValue=True)
    hub.call("POST", "/crm/v3/properties/tasks", given, 400)
    allow_unique_on_activities(hub.context, is_allowed=True)
    hub.call("POST", "/crm/v3/properties/tasks", given, 201)
    row = {"id": "k1", "idProperty": "connector_task_key", "properties": {"hs_timestamp": "0"}}
    for is_new in (True, False):
        answer = hub.call("POST", "/crm/v3/objects/tasks/batch/upsert", {"inputs": [row]}, 200)
        assert answer["results"][0]["new"] is is_new


def test_batches_of_properties_report_row_by_row(hub: Portal) -> None:
    path = "/crm/v3/properties/contacts/batch"
    answer = hub.call("POST", f"{path}/create", {"inputs": [new("one"), new("two", field="text")]}, 207)
    assert [each["name"] for each in answer["results"]] == ["one"]
    assert answer["errors"][0]["context"] == {"name": ["two"]}
    answer = hub.call("POST", f"{path}/read", {"archived": False, "inputs": [{"name": "one"}, {"name": "two"}]}, 207)
    assert [each["name"] for each in answer["results"]] == ["one"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"kind": "date", "field": "date", "value": "1767225600000"}, "2026-01-01"),
        ({"kind": "date", "field": "date", "value": "1767225600001"}, None),
        ({"kind": "datetime", "field": "date", "value": "2026-01-01T02:00:00+02:00"}, "2026-01-01T00:00:00.000Z"),
        ({"kind": "bool", "field": "booleancheckbox", "value": True}, "true"),
        ({"kind": "bool", "field": "booleancheckbox", "value": "yes"}, None),
        ({"kind": "enumeration", "field": "checkbox", "value": "b;a;b"}, "b;a"),
        ({"kind": "enumeration", "field": "checkbox", "value": "a;z"}, None),
    ],
)
def test_values_are_kept_in_hubspots_form(hub: Portal, given: dict[str, Any], stored: str | None) -> None:
    value = given.pop("value")
    names = {"bool": ("true", "false"), "enumeration": ("a", "b")}.get(given["kind"], ())
    create(hub, 201, name="mine", options=[{"value": each} for each in names], **given)
    status = 201 if stored else 400
    answer = hub.call("POST", "/crm/v3/objects/contacts", {"properties": {"mine": value}}, status)
    assert stored is None or answer["properties"]["mine"] == stored


def test_a_leading_semicolon_adds_to_the_chosen_options(hub: Portal) -> None:
    options = [{"value": each} for each in "abc"]
    create(hub, 201, name="mine", kind="enumeration", field="checkbox", options=options)
    record_id = hub.create(email="a@x.com", mine="a")
    answer = hub.call("PATCH", f"/crm/v3/objects/contacts/{record_id}", {"properties": {"mine": ";c"}}, 200)
    assert answer["properties"]["mine"] == "a;c"


def test_pipelines_and_owners_are_served() -> None:
    owners = [{"id": str(number), "email": f"o{number}@x.com", "firstName": "O"} for number in (1, 2, 3)]
    with portal(world={"owners": owners}) as hub:
        for path in ("/crm/v3/pipelines/deals", "/crm/pipelines/2026-09/0-3"):
            [deals] = hub.call("GET", path, status=200)["results"]
            assert [each["metadata"]["isClosed"] for each in deals["stages"]].count("true") == 2
        [stages] = hub.call("GET", "/crm/v3/pipelines/contacts", status=200)["results"]
        assert stages["stages"][0]["id"] == "subscriber"
        page = hub.call("GET", "/crm/v3/owners/?limit=2", status=200)
        assert [each["id"] for each in page["results"]] == ["1", "2"]
        rest = hub.call("GET", f"/crm/v3/owners?after={page['paging']['next']['after']}", status=200)
        assert [each["id"] for each in rest["results"]] == ["3"]
        assert hub.call("GET", "/crm/v3/owners?email=O2@x.com", status=200)["results"][0]["id"] == "2"
        hub.call("GET", "/crm/v3/owners/9", status=404)


def test_a_restart_has_the_same_data(tmp_path: Path) -> None:
    with portal(tmp_path) as hub:
        create(hub, 201)
        record_id = hub.create(email="a@x.com", connector_score=3)
    with portal(tmp_path) as hub:
        assert hub.properties("contacts", record_id, "connector_score")["connector_score"] == "3"
        assert hub.create(email="b@x.com") != record_id
        hub.call("POST", "/crm/v3/objects/contacts", {"properties": {"email": "a@x.com"}}, 409)
