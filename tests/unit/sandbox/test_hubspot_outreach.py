"""Lists, communication preferences and users of the imitated HubSpot, asked as its own client and its page ask them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hubspot import HubSpot

from tests.unit.sandbox.hubspot_portal import TOKEN, Portal, portal
from tests.unit.sandbox.test_hubspot_webhooks import listener, subscribe

PREFERENCES = "/communication-preferences/{version}"
VERSIONS = pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])


@pytest.fixture
def hub() -> Iterator[Portal]:
    with portal() as made:
        yield made


def test_the_vendors_client_makes_a_list_finds_it_and_reads_who_is_on_it_page_by_page(hub: Portal) -> None:
    people = [hub.create(email=f"{number}@x.com") for number in range(3)]
    lists = HubSpot(access_token=TOKEN, host=hub.url).crm.lists
    made = lists.lists_api.create({"name": "Fair 2026", "objectTypeId": "0-1", "processingType": "MANUAL"}).list
    told = lists.memberships_api.add_and_remove(
        made.list_id, {"recordIdsToAdd": [*people, "999"], "recordIdsToRemove": []}
    )
    assert told.records_ids_added == people
    assert told.record_ids_missing == ["999"]
    found = lists.lists_api.do_search({"query": "fair"})
    assert [(each.list_id, each.additional_properties["hs_list_size"]) for each in found.lists] == [(made.list_id, "3")]
    first = lists.memberships_api.get_page(made.list_id, limit=2)
    second = lists.memberships_api.get_page(made.list_id, limit=2, after=first.paging.next.after)
    assert [each.record_id for each in [*first.results, *second.results]] == people
    lists.memberships_api.add_and_remove(made.list_id, {"recordIdsToAdd": [], "recordIdsToRemove": people[:1]})
    joined = lists.memberships_api.get_page_ordered_by_added_to_list_date(made.list_id)
    assert [each.record_id for each in joined.results] == people[1:]
    again = {"name": "Fair 2026", "objectTypeId": "0-1", "processingType": "MANUAL"}
    refused = hub.call("POST", "/crm/v3/lists", again, 400)
    assert refused["subCategory"] == "ILS.DUPLICATE_LIST_NAMES"
    assert hub.call("GET", "/crm/v3/lists/77", status=404)["category"] == "OBJECT_NOT_FOUND"


def test_a_list_by_filters_holds_whom_they_find_and_is_named_removed_and_restored(hub: Portal) -> None:
    ann, bob, cem = (
        hub.create(email=f"{name}@x.com", city=city) for name, city in (("a", "Ulm"), ("b", "Bonn"), ("c", "Ulm"))
    )
    lists = HubSpot(access_token=TOKEN, host=hub.url).crm.lists

    def branch(*filters: dict[str, object]) -> dict[str, object]:
        inner = {
            "filterBranchType": "AND",
            "filterBranchOperator": "AND",
            "filterBranches": [],
            "filters": list(filters),
        }
        return {"filterBranchType": "OR", "filterBranchOperator": "OR", "filters": [], "filterBranches": [inner]}

    def where(name: str, operator: str, **values: object) -> dict[str, object]:
        operation = {
            "operationType": "MULTISTRING",
            "operator": operator,
            "includeObjectsWithNoValueSet": False,
            **values,
        }
        return {"filterType": "PROPERTY", "property": name, "operation": operation}

    in_ulm = branch(where("city", "IS_EQUAL_TO", values=["Ulm"]), where("email", "IS_KNOWN"))
    given = {"name": "In Ulm", "objectTypeId": "0-1", "processingType": "DYNAMIC"}
    made = lists.lists_api.create({**given, "filterBranch": in_ulm}).list
    assert [each.record_id for each in lists.memberships_api.get_page(made.list_id).results] == [ann, cem]
    hub.call("PATCH", f"/crm/v3/objects/contacts/{bob}", {"properties": {"city": "Ulm"}}, 200)
    assert lists.memberships_api.get_page(made.list_id).total == 3
    assert [each.list_id for each in lists.memberships_api.get_lists("0-1", bob).results] == [made.list_id]
    hub.call("PUT", f"/crm/v3/lists/{made.list_id}/memberships/add", [ann], 400)
    hub.call("POST", "/crm/v3/lists", given, 400)
    wrong = {**given, "name": "Odd", "filterBranch": branch(where("city", "IS_ODD", values=["1"]))}
    assert hub.call("POST", "/crm/v3/lists", wrong, 400)["subCategory"] == "ILS.INVALID_FILTER_DEFINITION"

    assert lists.lists_api.update_name(made.list_id, list_name="Ulm").updated_list.name == "Ulm"
    assert lists.lists_api.get_by_name("ulm", "0-1", include_filters=True).list.list_id == made.list_id
    assert [each.list_id for each in lists.lists_api.get_all(list_ids=[made.list_id, "77"]).lists] == [made.list_id]
    lists.lists_api.remove(made.list_id)
    hub.call("GET", f"/crm/v3/lists/{made.list_id}", status=404)
    lists.lists_api.restore(made.list_id)
    by_hand = lists.lists_api.create({**given, "name": "By hand", "processingType": "MANUAL"}).list.list_id
    lists.memberships_api.add(by_hand, [ann, bob])
    lists.memberships_api.remove_all(by_hand)
    assert lists.memberships_api.get_page(by_hand).total == 0


def test_a_list_may_name_other_lists_and_what_its_records_are_linked_to(hub: Portal) -> None:
    ann, bob, cem = (hub.create(email=f"{name}@x.com") for name in "abc")
    acme = hub.create("companies", name="Acme", domain="acme.com")
    for person in (ann, bob):
        hub.call("PUT", f"/crm/v4/objects/contacts/{person}/associations/default/companies/{acme}", status=200)

    def listed(name: str, status: int = 200, filters: object = (), branches: object = ()) -> str:
        inner = {"filterBranchType": "AND", "filters": list(filters), "filterBranches": list(branches)}  # type: ignore[call-overload]
        branch = {"filterBranchType": "OR", "filters": [], "filterBranches": [inner]}
        given = {"name": name, "objectTypeId": "0-1", "processingType": "DYNAMIC", "filterBranch": branch}
        made = hub.call("POST", "/crm/v3/lists", given, status)
        return str(made["list"]["listId"]) if status == 200 else str(made["subCategory"])

    def members(number: str) -> list[str]:
        return [each["recordId"] for each in hub.call("GET", f"/crm/v3/lists/{number}/memberships")["results"]]

    named = {"filterType": "PROPERTY", "property": "name", "operation": {"operator": "IS_EQUAL_TO", "values": ["Acme"]}}
    linked = {"filterBranchType": "ASSOCIATION", "objectTypeId": "0-2", "associationTypeId": 279, "filters": [named]}
    at_acme = listed("At Acme", branches=[linked])
    assert members(at_acme) == [ann, bob]
    manual = {"name": "By hand", "objectTypeId": "0-1", "processingType": "MANUAL"}
    by_hand = hub.call("POST", "/crm/v3/lists", manual, 200)["list"]["listId"]
    hub.call("PUT", f"/crm/v3/lists/{by_hand}/memberships/add", [bob, cem], 200)
    both = [{"filterType": "IN_LIST", "listId": each, "operator": "IN_LIST"} for each in (at_acme, by_hand)]
    assert members(listed("Both", filters=both)) == [bob]
    only = listed("Only by hand", filters=[both[1], {**both[0], "operator": "NOT_IN_LIST"}])
    assert members(only) == [cem]
    known = hub.call("GET", f"/crm/v3/lists/{only}?includeFilters=true")["list"]["filterBranch"]
    path = f"/crm/v3/lists/{at_acme}/update-list-filters"
    assert hub.call("PUT", path, {"filterBranch": known}, 400)["subCategory"] == "ILS.INVALID_FILTER_DEFINITION"
    via = {"filterType": "IN_LIST", "listId": only, "operator": "IN_LIST"}
    inner = {"filterBranchType": "AND", "filters": [via]}
    round_about = {"filterBranch": {"filterBranchType": "OR", "filterBranches": [inner]}}
    assert "itself" in hub.call("PUT", path, round_about, 400)["message"]
    hub.call("DELETE", f"/crm/v3/lists/{at_acme}", status=204)
    assert members(only) == [bob, cem]
    changed = hub.call("PUT", f"/crm/v3/lists/{only}/update-list-filters", {"filterBranch": {**known, "filterBranches": [
        {"filterBranchType": "AND", "filters": [both[1]]}
    ]}}, 200)["updatedList"]  # fmt: skip
    assert (changed["listVersion"], members(only)) == (2, [bob, cem])
    hub.call("PUT", f"/crm/v3/lists/{by_hand}/update-list-filters", {"filterBranch": known}, 400)
    invalid = "ILS.INVALID_FILTER_DEFINITION"
    assert listed("No list", 400, [{**both[0], "listId": "99"}]) == invalid
    assert listed("No link", 400, branches=[{**linked, "associationTypeId": 4}]) == invalid
    assert listed("Events", 400, branches=[{"filterBranchType": "UNIFIED_EVENTS"}]) == invalid
    assert listed("Too many", 400, [named] * 61) == invalid


@VERSIONS
def test_an_opt_out_is_told_by_kind_of_mail_and_of_everything_and_the_contact_shows_it(
    hub: Portal, version: str
) -> None:
    base, record_id = PREFERENCES.format(version=version), hub.create(email="ann@x.com")
    kinds = hub.call("GET", f"{base}/definitions", status=200)["results"]
    one, path = int(kinds[0]["id"]), f"{base}/statuses/Ann@x.com"
    assert {each["status"] for each in hub.call("GET", f"{path}?channel=EMAIL", status=200)["results"]} == {
        "NOT_SPECIFIED"
    }
    body = {"channel": "EMAIL", "subscriptionId": one, "statusState": "UNSUBSCRIBED"}
    assert hub.call("POST", path, body, 200)["setStatusSuccessReason"] == "UNSUBSCRIBED_SUCCESSFULLY"
    assert hub.call("POST", path, body, 200)["setStatusSuccessReason"] == "NO_STATUS_CHANGE"
    hub.call("POST", path, {**body, "statusState": "SUBSCRIBED"}, 400)
    assert hub.call("GET", f"{path}/unsubscribe-all?channel=EMAIL", status=200)["results"] == []
    assert hub.properties("contacts", record_id, "hs_email_optout")["hs_email_optout"] is None
    wide = hub.call("POST", f"{path}/unsubscribe-all?channel=EMAIL", status=200)["results"]
    assert [(each["status"], each["wideStatusType"]) for each in wide] == [("UNSUBSCRIBED", "PORTAL_WIDE")]
    assert {each["status"] for each in hub.call("GET", f"{path}?channel=EMAIL", status=200)["results"]} == {
        "UNSUBSCRIBED"
    }
    assert hub.properties("contacts", record_id, "hs_email_optout")["hs_email_optout"] == "true"


def test_batches_of_addresses_are_answered_row_by_row(hub: Portal) -> None:
    base = PREFERENCES.format(version="2026-03") + "/statuses/batch"
    body = {"inputs": ["ann@x.com", "no address"]}
    told = hub.call("POST", f"{base}/unsubscribe-all?channel=EMAIL", body, 207)
    assert (told["numErrors"], len(told["results"])) == (1, 1)
    read = hub.call("POST", f"{base}/unsubscribe-all/read?channel=EMAIL", {"inputs": ["ann@x.com", "bo@x.com"]}, 200)
    assert [len(each["wideStatuses"]) for each in read["results"]] == [1, 0]
    one = hub.call("POST", f"{base}/read?channel=EMAIL", {"inputs": ["bo@x.com"]}, 200)["results"][0]
    assert {each["status"] for each in one["statuses"]} == {"NOT_SPECIFIED"}
    hub.call("POST", f"{base}/read?channel=EMAIL", {"inputs": [f"{n}@x.com" for n in range(101)]}, 400)
    hub.call("POST", f"{base}/read", {"inputs": ["bo@x.com"]}, 400)


def test_a_token_without_the_scope_is_told_which_one_it_needs(hub: Portal) -> None:
    hub.call(
        "POST", "/_sandbox/act", {"system": "hubspot", "action": "issue_token", "token": "pat-x", "scopes": []}, 200
    )
    hub.session.headers["Authorization"] = "Bearer pat-x"
    for path, scope in (("/crm/v3/lists/1", "crm.lists.read"), ("/settings/v3/users", "settings.users.read")):
        assert hub.call("GET", path, status=403)["context"]["requiredGranularScopes"] == [scope]


def test_pipelines_of_old_and_the_users_have_the_shape_of_their_paths(hub: Portal) -> None:
    [pipeline] = hub.call("GET", "/crm-pipelines/v1/pipelines/deals", status=200)["results"]
    assert (pipeline["pipelineId"], pipeline["objectType"], pipeline["default"]) == ("default", "DEAL", True)
    assert {"stageId", "label", "displayOrder", "active", "metadata", "createdAt"} <= pipeline["stages"][0].keys()
    assert isinstance(pipeline["createdAt"], int)
    assert hub.call("GET", "/settings/v3/users", status=200) == {"results": []}


def test_a_user_is_found_by_id_and_by_address() -> None:
    with portal() as hub:
        owner = {
            "id": "64",
            "userId": 7,
            "email": "ann@x.com",
            "firstName": "Ann",
            "lastName": "Lee",
            "archived": False,
        }
        hub.context.database.execute(
            "INSERT INTO hubspot_owner (id, body, archived) VALUES (64, ?, 0)", (json.dumps(owner),)
        )
        for path in ("/settings/v3/users/7", "/settings/users/2026-03/ann@x.com?idProperty=EMAIL"):
            assert hub.call("GET", path, status=200)["email"] == "ann@x.com"
        hub.call("GET", "/settings/v3/users/8", status=404)


def test_a_letter_is_an_activity_that_is_linked_to_a_person_at_once(hub: Portal) -> None:
    person = hub.create(email="letter@x.com")
    kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 453}
    body = {
        "properties": {"hs_timestamp": "2026-09-01T00:00:00Z", "hs_postal_mail_body": "Dear Ann"},
        "associations": [{"to": {"id": person}, "types": [kind]}],
    }
    letter = hub.call("POST", "/crm/v3/objects/postal_mail", body, 201)["id"]
    path = "/crm/v4/associations/contacts/postal_mail/batch/read"
    (found,) = hub.call("POST", path, {"inputs": [{"id": person}]}, 200)["results"]
    (to,) = found["to"]
    assert (str(to["toObjectId"]), to["associationTypes"][0]["typeId"]) == (letter, 454)


def test_a_link_that_is_made_or_taken_away_is_told_by_webhook_from_each_end() -> None:
    with portal() as hub, listener() as (url, arrived):
        subscribe(hub, url, "contact.associationChange", "company.associationChange")
        person, company = hub.create(email="a@x.com"), hub.create("companies", name="Acme")
        path = f"/crm/v4/objects/contacts/{person}/associations/companies/{company}"
        hub.call("PUT", path.replace("/associations/", "/associations/default/"), status=200)
        made = {each["subscriptionType"]: each for each in json.loads(arrived.get(timeout=10)[1])}
        told = made["contact.associationChange"]
        assert (told["fromObjectId"], told["toObjectId"]) == (int(person), int(company))
        assert (told["associationType"], told["associationRemoved"]) == ("CONTACT_TO_COMPANY", False)
        assert made["company.associationChange"]["associationType"] == "COMPANY_TO_CONTACT"
        hub.call("DELETE", path, status=204)
        assert {each["associationRemoved"] for each in json.loads(arrived.get(timeout=10)[1])} == {True}
