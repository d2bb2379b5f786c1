"""Whatever nonsense a client sends, the imitated HubSpot answers with an error of its own, never with a crash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.hubspot_portal import Portal, portal

NONSENSE: tuple[Any, ...] = (
    None, [], [1], "text", 7, {"inputs": 1}, {"inputs": [1]}, {"inputs": [{}]}, {"inputs": [{"id": None}]},
    {"inputs": [{"id": {}, "properties": {"email": {}}}]}, {"inputs": [{"id": "9" * 30, "properties": []}]},
    {"inputs": [{"id": "1", "idProperty": [], "properties": {"city": ["x"]}}]}, {"properties": [1]},
    {"inputs": [{"properties": {"email": "a@x.com"}, "associations": [{"to": 5, "types": [1]}]}]},
    {"inputs": [{"id": "1", "objectWriteTraceId": {}, "properties": {}}]}, {"inputs": [{"associations": 3}]},
    {"inputs": [{"from": 1, "to": 2, "types": 3}]}, {"inputs": [{"from": {"id": []}, "to": {"id": "x"}}]},
    {"filterGroups": 1}, {"filterGroups": [1]}, {"filters": [1]}, {"filters": [{"propertyName": "email"}]},
    {"filters": [{"propertyName": "email", "operator": "IN", "values": 1}]}, {"sorts": 1}, {"sorts": [[]]},
    {"limit": "x"}, {"after": {}}, {"properties": 1}, {"query": []}, {"propertiesWithHistory": 4},
    {"name": 1, "label": 2, "type": [], "fieldType": {}, "groupName": []}, {"options": 1},
    {"name": "x", "label": "x", "type": "number", "fieldType": "number", "groupName": "contactinformation", "options": [1]},
    {"primaryObjectId": [], "objectIdToMerge": {}}, {"objectId": [], "idProperty": {}}, {"displayOrder": "x"},
    {"name": "g", "label": "g", "displayOrder": "x"},
)  # fmt: skip
OBJECTS = "/crm/v3/objects/contacts"
LINKS = "/crm/v4/associations/contacts/companies/batch"
PROPERTIES = "/crm/v3/properties/contacts"
PATHS = (
    *(("POST", f"{OBJECTS}/batch/{action}") for action in ("read", "create", "update", "upsert", "archive")),
    *(("POST", f"{OBJECTS}{suffix}") for suffix in ("", "/search", "/merge", "/gdpr-delete")),
    ("PATCH", f"{OBJECTS}/1001"),
    *(("POST", f"{LINKS}/{action}") for action in ("read", "create", "associate/default", "archive", "labels/archive")),
    ("PUT", "/crm/v4/objects/contacts/1001/associations/companies/7"),
    *(
        ("POST", f"{PROPERTIES}{suffix}")
        for suffix in ("", "/groups", "/batch/read", "/batch/create", "/batch/archive")
    ),
    ("PATCH", f"{PROPERTIES}/mine"),
    ("PATCH", f"{PROPERTIES}/groups/contactinformation"),
    ("POST", "/oauth/v1/token"),
    *(("POST", f"/properties/v1/contacts/{each}") for each in ("properties", "groups")),
    ("PUT", "/properties/v1/contacts/properties/named/mine"),
    ("PUT", "/properties/v1/contacts/groups/named/contactinformation"),
)
ROWS = {"createdAt": 0, "updatedAt": 0}
WORLD = {
    "objects": {
        "contacts": [{"id": "1001", "properties": {"email": "z@x.com"}, **ROWS}],
        "companies": [{"id": "7", "properties": {"name": "Acme"}, **ROWS}],
    },
    "properties": {"contacts": [{"name": "mine", "type": "number", "fieldType": "number"}]},
}


@pytest.fixture(name="hub", scope="module")
def _hub() -> Iterator[Portal]:
    with portal(world=WORLD) as running:
        yield running


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_body_that_makes_no_sense_is_no_crash(hub: Portal, method: str, path: str) -> None:
    crashed = [body for body in NONSENSE if hub.raw(method, path, json=body).status_code >= 500]
    assert not crashed
    assert hub.raw(method, path, data=b"\xff{").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        f"{OBJECTS}?limit=x",
        f"{OBJECTS}?after=x",
        f"{OBJECTS}?associations=butterflies",
        f"{OBJECTS}?associations=contacts,tasks&properties=,,",
        f"{OBJECTS}/{'9' * 40}",
        f"{OBJECTS}/x?idProperty=city",
        "/crm/v3/owners?after=x&limit=-1",
        "/crm/v3/pipelines/notes",
        "/crm/v4/associations/notes/notes/labels",
        "/email/public/v1/events?offset=!&startTimestamp=soon",
        "/events/v3/events?after=%00&objectType=x&objectId=x",
        "/form-integrations/v1/submissions/forms/x?after=!",
        "/crm/v3/properties/butterflies",
    ],
)
def test_a_query_that_makes_no_sense_is_no_crash(hub: Portal, path: str) -> None:
    assert hub.raw("GET", path).status_code < 500
