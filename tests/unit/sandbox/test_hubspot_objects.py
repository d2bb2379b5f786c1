"""Reading and writing records of the imitated HubSpot."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.unit.sandbox.hubspot_portal import Portal, portal

CONTACTS = "/crm/v3/objects/contacts"


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


def batch(hub: Portal, kind: str, action: str, inputs: list[dict[str, object]], status: int, **more: object) -> dict:
    return hub.call("POST", f"/crm/v3/objects/{kind}/batch/{action}", {"inputs": inputs, **more}, status)


@pytest.mark.parametrize("name", ["contacts", "contact", "0-1", "CONTACTS"])
@pytest.mark.parametrize("base", ["/crm/v3/objects", "/crm/objects/2026-09"])
def test_a_type_answers_to_all_its_names_in_both_versions(hub: Portal, base: str, name: str) -> None:
    record_id = hub.create(email="a@x.com")
    found = hub.call("GET", f"{base}/{name}/{record_id}", status=200)
    assert found["properties"]["email"] == "a@x.com"
    assert set(found) >= {"id", "createdAt", "updatedAt", "archived"}
    assert hub.call("GET", f"{base}/{name}", status=200)["results"][0]["id"] == record_id


def test_an_unknown_type_is_told_without_a_category(hub: Portal) -> None:
    answer = hub.call("GET", "/crm/v3/objects/butterflies", status=400)
    assert answer["message"] == "Unable to infer object type from: butterflies"
    assert "category" not in answer


def test_pages_follow_their_links_through_all_records_once(hub: Portal) -> None:
    made = {hub.create(email=f"p{number}@x.com") for number in range(7)}
    path, seen = f"{CONTACTS}?limit=3&after=0&properties=email,phone&properties=city&sort=ignored", []
    while path:
        page = hub.call("GET", path, status=200)
        seen += [each["id"] for each in page["results"]]
        assert page["results"][0]["properties"]["phone"] is None
        link = page.get("paging", {}).get("next", {}).get("link", "")
        assert not link or link.startswith(hub.url)
        path = link.removeprefix(hub.url)
    assert len(seen) == 7
    assert set(seen) == made
    assert hub.call("GET", f"{CONTACTS}?limit=101", status=400)["category"] == "VALIDATION_ERROR"


def test_an_unknown_property_is_left_out_of_reads_without_a_word(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    found = hub.properties("contacts", record_id, "email", "nonsense", "phone")
    assert set(found) == {"email", "phone", "createdate", "lastmodifieddate", "hs_object_id"}


def test_a_batch_read_lists_the_missing_in_one_error_of_a_207(hub: Portal) -> None:
    ids = [hub.create(email=f"r{number}@x.com") for number in range(5)]
    answer = batch(hub, "contacts", "read", [{"id": each} for each in [*ids, "1", "2", ids[0]]], 207)
    assert sorted(each["id"] for each in answer["results"]) == sorted(ids)
    assert [each["id"] for each in answer["results"]] != ids
    assert answer["numErrors"] == 1
    assert answer["errors"][0]["context"]["ids"] == ["1", "2"]
    assert batch(hub, "contacts", "read", [{"id": "R3@X.com"}], 200, idProperty="email")["results"][0]["id"] == ids[3]


def test_batches_end_at_a_hundred_and_a_body_without_inputs_does_nothing(hub: Portal) -> None:
    rows = [{"id": str(number), "properties": {}} for number in range(101)]
    for action in ("read", "create", "update", "upsert", "archive"):
        batch(hub, "contacts", action, rows, 400)
    answer = hub.call("POST", f"{CONTACTS}/batch/update", {"id": "1"}, 200)
    assert answer["status"] == "COMPLETE"
    assert answer["results"] == []


def test_an_update_moves_the_modified_date_and_answers_with_what_is_stored(hub: Portal) -> None:
    record_id = hub.create(email="A.B@X.com", lifecyclestage="customer")
    before = hub.properties("contacts", record_id, "email")
    hub.context.clock.shift(60)
    [row] = batch(
        hub,
        "contacts",
        "update",
        [{"id": record_id, "properties": {"lifecyclestage": "lead", "phone": "1"}, "objectWriteTraceId": "t"}],
        200,
    )["results"]
    assert row["properties"]["lifecyclestage"] == "customer"
    assert row["properties"]["phone"] == "1"
    assert row["objectWriteTraceId"] == "t"
    assert before["email"] == "a.b@x.com"
    assert row["properties"]["lastmodifieddate"] > before["lastmodifieddate"]


def test_a_lifecycle_stage_goes_back_only_after_it_was_cleared(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com", lifecyclestage="customer")
    path = f"{CONTACTS}/{record_id}"
    hub.call("PATCH", path, {"properties": {"lifecyclestage": ""}}, 200)
    answer = hub.call("PATCH", path, {"properties": {"lifecyclestage": "lead"}}, 200)
    assert answer["properties"]["lifecyclestage"] == "lead"


def test_wrong_values_refuse_the_whole_batch_with_their_codes(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    wrong = {
        "nonsense": ("1", "PROPERTY_DOESNT_EXIST"),
        "email": ("not an address", "INVALID_EMAIL"),
        "lifecyclestage": ("nobody", "INVALID_OPTION"),
        "followercount": ("1,000", "INVALID_INTEGER"),
        "closedate": ("soon", "INVALID_LONG"),
        "hs_email_open": ("1", "READ_ONLY_VALUE"),
    }
    rows = [{"id": record_id, "properties": {"phone": "1", **{name: value for name, (value, _) in wrong.items()}}}]
    answer = batch(hub, "contacts", "update", rows, 400)
    assert {each["context"]["propertyName"][0]: each["code"] for each in answer["errors"]} == {
        name: code for name, (_, code) in wrong.items()
    }
    listed = json.loads(answer["message"].removeprefix("Property values were not valid: "))
    assert {each["name"] for each in listed} == set(wrong)
    assert hub.properties("contacts", record_id, "phone")["phone"] is None


def test_with_a_trace_id_on_every_row_only_the_bad_rows_fail(hub: Portal) -> None:
    rows = [
        {"properties": {"email": f"t{number}@x.com", "closedate": "soon" if number == 1 else "0"}}
        for number in range(3)
    ]
    batch(hub, "contacts", "create", rows, 400)
    assert hub.search("contacts")["total"] == 0
    traced = [{**row, "objectWriteTraceId": f"t{number}"} for number, row in enumerate(rows)]
    answer = batch(hub, "contacts", "create", traced, 207)
    assert {each["objectWriteTraceId"] for each in answer["results"]} == {"t0", "t2"}
    assert answer["errors"][0]["context"]["objectWriteTraceId"] == ["t1"]
    assert answer["errors"][0]["errors"][0]["code"] == "INVALID_LONG"


def test_two_contacts_cannot_share_an_address(hub: Portal) -> None:
    first = hub.create(email="a@x.com")
    answer = hub.call("POST", CONTACTS, {"properties": {"email": "A@X.com "}}, 409)
    assert answer["category"] == "CONFLICT"
    assert answer["message"] == f"Contact already exists. Existing ID: {first}"
    untraced = batch(hub, "contacts", "create", [{"properties": {"email": "a@x.com"}}], 409)
    assert untraced["message"] == "Contact already exists"
    rows = [{"properties": {"email": each}, "objectWriteTraceId": each} for each in ("a@x.com", "b@x.com", "B@x.com")]
    traced = batch(hub, "contacts", "create", rows, 207)
    assert [each["objectWriteTraceId"] for each in traced["results"]] == ["b@x.com"]
    assert traced["errors"][0]["context"]["existingId"] == [first]


def test_an_update_writes_the_known_ids_and_lists_the_unknown(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    rows = [{"id": each, "properties": {"phone": "1"}} for each in (record_id, "1")]
    answer = batch(hub, "contacts", "update", rows, 207)
    assert [each["id"] for each in answer["results"]] == [record_id]
    assert answer["errors"][0]["context"]["ids"] == ["1"]
    silent = batch(hub, "contacts", "update", [{"id": "a@x.com", "properties": {"phone": "2"}}], 200)
    assert silent["results"] == []
    assert hub.properties("contacts", record_id, "phone")["phone"] == "1"


def test_a_batch_with_an_id_twice_is_refused(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    answer = batch(hub, "contacts", "update", [{"id": record_id, "properties": {}}] * 2, 400)
    assert answer["message"] == f"Duplicate IDs found in batch input: [{record_id}]. IDs must be unique"
    by_key = [{"id": record_id, "idProperty": "hs_object_id", "properties": {}}]
    assert "non-unique 0-1 property hs_object_id" in batch(hub, "contacts", "update", by_key, 400)["message"]


def test_an_upsert_says_which_rows_are_new(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    rows = [{"id": each, "idProperty": "email", "properties": {"city": "Rome"}} for each in ("A@x.com", "b@x.com")]
    answer = batch(hub, "contacts", "upsert", rows, 200)
    assert {each["id"] == record_id: each["new"] for each in answer["results"]} == {True: False, False: True}
    assert batch(hub, "contacts", "read", [{"id": "b@x.com"}], 200, idProperty="email")["results"]
    batch(hub, "contacts", "upsert", [{"id": record_id, "properties": {"city": "Bern"}}], 400)


def test_tasks_need_their_date_and_can_be_linked_at_once(hub: Portal) -> None:
    contact = hub.create(email="a@x.com")
    link = {"to": {"id": contact}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}]}
    without = [{"properties": {"hs_task_subject": "Call"}, "associations": [link]}]
    assert batch(hub, "tasks", "create", without, 400)["context"]["properties"] == ["hs_timestamp"]
    without[0]["properties"]["hs_timestamp"] = "1767225600000"  # type: ignore[index]
    [task] = batch(hub, "tasks", "create", without, 201)["results"]
    assert task["properties"]["hs_timestamp"] == "2026-01-01T00:00:00.000Z"
    found = hub.call("GET", f"{CONTACTS}/{contact}?associations=tasks", status=200)
    assert found["associations"]["tasks"]["results"] == [{"id": task["id"], "type": "contact_to_task"}]


def test_what_is_archived_leaves_search_and_list_and_frees_its_address(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    assert hub.raw("DELETE", f"{CONTACTS}/{record_id}").status_code == 204
    hub.call("GET", f"{CONTACTS}/{record_id}", status=404)
    assert hub.search("contacts")["total"] == 0
    [gone] = hub.call("GET", f"{CONTACTS}?archived=true", status=200)["results"]
    assert gone["archived"]
    assert gone["archivedAt"]
    assert hub.create(email="a@x.com") != record_id


def test_a_merge_mints_an_id_and_the_old_ids_lead_to_it(hub: Portal) -> None:
    first, second = hub.create(email="a@x.com", city="Rome"), hub.create(email="b@x.com", phone="1")
    company = hub.create("companies", name="Acme")
    hub.call("PUT", f"/crm/v4/objects/contacts/{second}/associations/default/companies/{company}", status=200)
    body = {"primaryObjectId": first, "objectIdToMerge": second}
    merged = hub.call("POST", f"{CONTACTS}/merge", body, 200)["id"]
    assert merged not in (first, second)
    names = ("email", "phone", "city", "hs_merged_object_ids", "hs_additional_emails")
    assert list(hub.properties("contacts", first, *names).values())[:5] == [
        "a@x.com",
        "1",
        "Rome",
        f"{first};{second}",
        "b@x.com",
    ]
    assert batch(hub, "contacts", "read", [{"id": second}], 200)["results"][0]["id"] == merged
    assert [each["id"] for each in hub.call("GET", CONTACTS)["results"]] == [merged]
    assert hub.call("GET", f"{CONTACTS}?archived=true")["results"] == []
    linked = hub.call("GET", f"/crm/v4/objects/contacts/{merged}/associations/companies", status=200)["results"]
    assert [each["label"] for each in linked[0]["associationTypes"]] == ["Primary", None]
    hub.call("POST", CONTACTS, {"properties": {"email": "b@x.com"}}, 409)


def test_an_erased_contact_is_nowhere(hub: Portal) -> None:
    record_id = hub.create(email="a@x.com")
    body = {"objectId": "a@x.com", "idProperty": "email"}
    assert hub.raw("POST", f"{CONTACTS}/gdpr-delete", json=body).status_code == 204
    hub.call("GET", f"{CONTACTS}/{record_id}?archived=true", status=404)
    assert hub.call("GET", f"{CONTACTS}?archived=true")["results"] == []


def test_a_stage_must_belong_to_the_pipeline(hub: Portal) -> None:
    hub.create("deals", dealname="One", pipeline="default", dealstage="closedwon", amount="12.5")
    body = {"properties": {"dealname": "Two", "dealstage": "nowhere"}}
    assert hub.call("POST", "/crm/v3/objects/deals", body, 400)["errors"][0]["code"] == "INVALID_OPTION"


def test_the_portal_keeps_its_own_properties_in_step(hub: Portal) -> None:
    deal = hub.create("deals", dealname="One", pipeline="default", dealstage="contractsent")
    names = ("hs_is_closed", "hs_is_closed_won")
    for stage, expected in (
        ("contractsent", ["false"] * 2),
        ("closedlost", ["true", "false"]),
        ("closedwon", ["true"] * 2),
    ):
        hub.call("PATCH", f"/crm/v3/objects/deals/{deal}", {"properties": {"dealstage": stage}}, 200)
        assert list(hub.properties("deals", deal, *names).values())[:2] == expected
    task = hub.create("tasks", hs_timestamp="0", hs_task_status="COMPLETED")
    assert hub.properties("tasks", task, "hs_task_completion_date")["hs_task_completion_date"]
    hub.call("PATCH", f"/crm/v3/objects/tasks/{task}", {"properties": {"hs_task_status": "NOT_STARTED"}}, 200)
    assert hub.properties("tasks", task, "hs_task_completion_date")["hs_task_completion_date"] is None


def test_a_refused_record_does_not_stop_the_others(hub: Portal) -> None:
    ids = [hub.create(email=f"f{number}@x.com") for number in range(3)]
    hub.context.faults.add({"system": "hubspot", "kind": "row_lock", "match": f"contacts {ids[1]}", "times": 1})
    rows = [{"id": each, "properties": {"phone": "1"}} for each in ids]
    answer = batch(hub, "contacts", "update", rows, 207)
    assert {each["id"] for each in answer["results"]} == {ids[0], ids[2]}
    assert answer["errors"][0]["category"] == "LOCKED"
    assert answer["errors"][0]["context"]["ids"] == [ids[1]]
    batch(hub, "contacts", "update", rows, 200)


def test_the_portals_workflow_fires_once_when_a_score_crosses(hub: Portal) -> None:
    group = "contactinformation"
    score = {"name": "connector_score", "label": "Score", "type": "number", "fieldType": "number", "groupName": group}
    hub.call("POST", "/crm/v3/properties/contacts", score, 201)
    hub.context.workflows.seed()
    record_id = hub.create(email="a@x.com", connector_score="10")
    for value in (75, 80):
        batch(hub, "contacts", "update", [{"id": record_id, "properties": {"connector_score": value}}], 200)
    assert hub.properties("contacts", record_id, "hs_lead_status")["hs_lead_status"] == "IN_PROGRESS"
    assert len(hub.context.workflows.firings()) == 1
