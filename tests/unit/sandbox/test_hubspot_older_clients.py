"""The imitated HubSpot as clients of v1 and v2 read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.sandbox.hubspot import issue_private_token
from tests.unit.sandbox.hubspot_portal import Portal, portal

WHEN = "2026-11-01T10:00:00Z"


@pytest.fixture
def hub() -> Iterator[Portal]:
    with portal(world={"owners": [{"id": "1", "email": "o@x.com"}]}) as made:
        yield made


def paged(hub: Portal, path: str, rows: str, more: str, offset: str, asked: str) -> list[dict[str, object]]:
    """All rows, by following the page's own offset."""
    found: list[dict[str, object]] = []
    after = 0
    while True:
        page = hub.call("GET", f"{path}&{asked}={after}", status=200)
        found += page[rows]
        if not page[more]:
            return found
        assert page[offset] != after
        after = page[offset]


def test_companies_and_deals_are_paged_and_read_with_values_in_their_old_shape(hub: Portal) -> None:
    companies = [hub.create("companies", name=f"C{number}") for number in range(3)]
    rows = paged(
        hub, "/companies/v2/companies/paged?limit=2&properties=name", "companies", "has-more", "offset", "offset"
    )
    assert [(str(row["companyId"]), row["properties"]["name"]["value"]) for row in rows] == [  # type: ignore[index]
        (each, f"C{number}") for number, each in enumerate(companies)
    ]
    one = hub.call("GET", f"/companies/v2/companies/{companies[0]}", status=200)
    assert one["properties"]["createdate"]["value"].isdigit()
    hub.call("DELETE", f"/crm/v3/objects/companies/{companies[2]}", status=204)
    hub.call("GET", f"/companies/v2/companies/{companies[2]}", status=404)
    recent = hub.call("GET", "/companies/v2/companies/recent/modified?count=1", status=200)
    assert (recent["results"][0]["companyId"], recent["hasMore"], recent["total"]) == (int(companies[1]), True, 2)

    person = hub.create(email="a@x.com")
    link = {"to": {"id": person}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]}
    given = {"properties": {"dealname": "D", "dealstage": "closedwon"}, "associations": [link]}
    deal = int(hub.call("POST", "/crm/v3/objects/deals", given, 201)["id"])
    path = "/deals/v1/deal/paged?limit=250&includeAssociations=true&properties=dealname"
    [row] = paged(hub, path, "deals", "hasMore", "offset", "offset")
    assert (row["dealId"], row["associations"]["associatedVids"]) == (deal, [int(person)])  # type: ignore[index]
    assert hub.call("GET", "/deals/v1/deal/recent/modified", status=200)["results"][0]["dealId"] == deal
    assert hub.call("GET", f"/deals/v1/deal/{deal}", status=200)["properties"]["dealname"]["value"] == "D"


def test_contacts_are_paged_by_id_read_newest_first_and_found_by_address(hub: Portal) -> None:
    people = [hub.create(email=f"{number}@x.com") for number in range(3)]
    path = "/contacts/v1/lists/all/contacts/all?count=2&property=email"
    rows = paged(hub, path, "contacts", "has-more", "vid-offset", "vidOffset")
    assert [str(row["vid"]) for row in rows] == people
    path, seen = "/contacts/v1/lists/recently_updated/contacts/recent?count=2", []
    page = hub.call("GET", path, status=200)
    seen += page["contacts"]
    page = hub.call("GET", f"{path}&vidOffset={page['vid-offset']}&timeOffset={page['time-offset']}", status=200)
    seen += page["contacts"]
    assert ([str(row["vid"]) for row in seen], page["has-more"]) == (people[::-1], False)
    found = hub.call("GET", "/contacts/v1/contact/email/1@X.com/profile", status=200)
    assert found == hub.call("GET", f"/contacts/v1/contact/vid/{people[1]}/profile", status=200)
    assert found["identity-profiles"][0]["identities"][0]["value"] == "1@x.com"
    hub.call("GET", "/contacts/v1/contact/email/nobody@x.com/profile", status=404)
    hub.call("GET", "/contacts/v1/lists/all/contacts/all?count=0", status=400)


def test_engagements_of_all_types_come_in_one_stream_whatever_shares_a_millisecond(hub: Portal) -> None:
    person = hub.create(email="a@x.com")
    link = [{"to": {"id": person}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}]}]
    row = {"properties": {"hs_timestamp": WHEN, "hs_task_subject": "Call"}, "associations": link}
    made = hub.call("POST", "/crm/v3/objects/tasks/batch/create", {"inputs": [row] * 3}, 201)["results"]
    note = hub.create("notes", hs_timestamp=WHEN, hs_note_body="Hello", hubspot_owner_id="1")
    base = "/engagements/v1/engagements"
    every = {int(note), *(int(each["id"]) for each in made)}
    for path, asked in ((f"{base}/paged?limit=2", "offset"), (f"{base}/modified/after?limit=2", "after")):
        rows = paged(hub, path, "results", "hasMore", asked, asked)
        assert sorted(each["engagement"]["id"] for each in rows) == sorted(every)  # type: ignore[index]
    newest = hub.call("GET", f"{base}/recent/modified?count=1", status=200)
    assert newest["total"] == 4
    told = hub.call("GET", f"{base}/{note}", status=200)
    assert (told["engagement"]["type"], told["engagement"]["ownerId"], told["metadata"]) == (
        "NOTE",
        1,
        {"body": "Hello"},
    )
    task = hub.call("GET", f"{base}/{made[0]['id']}", status=200)
    assert (task["associations"]["contactIds"], task["metadata"]["subject"]) == ([int(person)], "Call")
    hub.call("GET", f"{base}/recent/modified?count=100&offset=9950", status=400)
    hub.call("GET", f"{base}/1", status=404)


def test_owners_are_the_bare_list(hub: Portal) -> None:
    [owner] = hub.call("GET", "/owners/v2/owners", status=200)
    assert (owner["ownerId"], owner["email"]) == (1, "o@x.com")
    assert hub.call("GET", "/owners/v2/owners?email=other@x.com", status=200) == []


def test_engagements_have_times_in_milliseconds_and_addresses_as_objects(hub: Portal) -> None:
    mail = {"hs_email_subject": "Hi", "hs_email_direction": "EMAIL", "hs_timestamp": WHEN}
    headers = '{"from": {"email": "me@x.com", "firstName": "Me"}, "to": [{"email": "a@x.com"}, {"email": "b@x.com"}]}'
    hub.create(
        "meetings", hs_timestamp=WHEN, hs_meeting_start_time=WHEN, hs_meeting_end_time=WHEN, hs_meeting_title="M"
    )
    hub.create("calls", hs_timestamp=WHEN, hs_call_duration="61000")
    hub.create("emails", hs_email_headers=headers, **mail)
    rows = hub.call("GET", "/engagements/v1/engagements/paged?limit=10", status=200)["results"]
    by_type = {row["engagement"]["type"]: row["metadata"] for row in rows}
    assert by_type["MEETING"]["startTime"] == by_type["MEETING"]["endTime"] == 1_793_527_200_000
    assert by_type["CALL"]["durationMilliseconds"] == 61_000


def test_what_connectors_read_beside_records_has_its_old_shape() -> None:
    event = {
        "created": 1_793_000_000_000,
        "recipient": "a@x.com",
        "appId": 113,
        "emailCampaignId": 7,
        "subject": "News",
    }
    events = [
        {**event, "id": str(number), "type": kind} for number, kind in enumerate(("SENT", "OPEN", "STATUSCHANGE"))
    ]
    field = {"name": "email", "label": "E-mail", "required": True, "fieldType": "email"}
    form = {"id": "f-1", "name": "Demo", "fieldGroups": [{"fields": [field]}]}
    with portal(world={"email_events": events, "forms": [form]}) as hub:
        [shown] = hub.call("GET", "/forms/v2/forms", status=200)
        assert (shown["guid"], shown["formFieldGroups"][0]["fields"][0]["name"], shown["updatedAt"] > 0) == (
            "f-1",
            "email",
            True,
        )
        assert hub.call("GET", "/forms/v2/forms/f-1", status=200) == shown
        hub.call("GET", "/forms/v2/forms/none", status=404)
        page = hub.call("GET", "/email/public/v1/campaigns/by-id?limit=500", status=200)
        assert (page["hasMore"], [(each["id"], each["appId"]) for each in page["campaigns"]]) == (False, [(7, 113)])
        one = hub.call("GET", "/email/public/v1/campaigns/7", status=200)
        assert (one["subject"], one["counters"]) == ("News", {"sent": 1, "open": 1, "statuschange": 1})
        hub.call("GET", "/email/public/v1/campaigns/8", status=404)
        [change] = hub.call("GET", "/email/public/v1/subscriptions/timeline?limit=10", status=200)["timeline"]
        assert (change["recipient"], change["changes"][0]["causedByEvent"]["id"]) == ("a@x.com", "2")
        [mailing] = hub.call("GET", "/marketing-emails/v1/emails/with-statistics", status=200)["objects"]
        assert (mailing["id"], mailing["stats"]["counters"]["open"]) == (7, 1)
        kinds = hub.call("GET", "/email/public/v1/subscriptions", status=200)["subscriptionDefinitions"]
        assert all(isinstance(each["id"], int) and each["name"] for each in kinds)
        [pipeline] = hub.call("GET", "/deals/v1/pipelines", status=200)
        won = [each["stageId"] for each in pipeline["stages"] if each["closedWon"]]
        assert (pipeline["pipelineId"], won) == ("default", ["closedwon"])
        assert hub.call("GET", "/automation/v3/workflows", status=200) == {"workflows": []}


def test_the_paths_of_v4_read_records_too(hub: Portal) -> None:
    record_id = hub.create("tickets", subject="S", hs_pipeline_stage="1")
    assert [each["id"] for each in hub.call("GET", "/crm/v4/objects/tickets?limit=100", status=200)["results"]] == [
        record_id
    ]
    assert hub.call("GET", f"/crm/v4/objects/tickets/{record_id}", status=200)["id"] == record_id


@pytest.mark.parametrize(
    "kind", ["product", "line_item", "quote", "lead", "deal_split", "feedback_submissions", "goal_targets", "form"]
)
def test_connectors_find_properties_of_every_standard_type(hub: Portal, kind: str) -> None:
    found = hub.call("GET", f"/properties/v2/{kind}/properties", status=200)
    assert {"hs_object_id", "hs_lastmodifieddate"} <= {each["name"] for each in found}


FIRST = ("/properties/v1/companies", "/companies/v2")
OLDER = (*((path, "PUT", "PUT") for path in FIRST), ("/properties/v2/company", "PATCH", "PATCH"))


@pytest.mark.parametrize(("path", "change", "change_group"), OLDER)
def test_properties_and_groups_are_read_and_written_by_their_older_paths(
    hub: Portal, path: str, change: str, change_group: str
) -> None:
    [name] = [each for each in hub.call("GET", f"{path}/properties", status=200) if each["name"] == "name"]
    assert name == hub.call("GET", f"{path}/properties/named/name", status=200)
    assert (name["readOnlyValue"], name["readOnlyDefinition"], name["deleted"]) == (False, True, False)
    assert isinstance(name["createdAt"], int)

    group = {"name": "mine", "displayName": "Mine", "displayOrder": 3}
    made = hub.call("POST", f"{path}/groups", group, 200)
    assert made == {**group, "hubspotDefined": False, "properties": []}
    hub.call("POST", f"{path}/groups", group, 409)
    options = [{"label": "A", "value": "a", "displayOrder": 0}]
    given = {"name": "tier", "label": "Tier", "groupName": "mine", "type": "enumeration", "fieldType": "select"}
    tier = hub.call("POST", f"{path}/properties", {**given, "options": options}, 200)
    assert (tier["label"], tier["options"][0]["value"], tier["readOnlyDefinition"]) == ("Tier", "a", False)
    hub.call("POST", f"{path}/properties", {**given, "options": options}, 409)
    changed = hub.call(change, f"{path}/properties/named/tier", {**given, "label": "Level"}, 200)
    assert changed["label"] == hub.call("GET", "/crm/v3/properties/companies/tier", status=200)["label"] == "Level"

    hub.call(change_group, f"{path}/groups/named/mine", {"displayName": "Ours"}, 200)
    whole = hub.call("GET", f"{path}/groups/named/mine?includeProperties=true", status=200)
    assert (whole["displayName"], [each["name"] for each in whole["properties"]]) == ("Ours", ["tier"])
    everything = {each["name"]: each for each in hub.call("GET", f"{path}/groups?includeProperties=true", status=200)}
    assert (everything["mine"], everything["companyinformation"]["hubspotDefined"]) == (whole, True)

    for kind, one in (("properties", "tier"), ("groups", "mine")):
        assert hub.raw("DELETE", f"{path}/{kind}/named/{one}").status_code == 204
        hub.call("GET", f"{path}/{kind}/named/{one}", status=404)
    assert "tier" not in {each["name"] for each in hub.call("GET", f"{path}/properties", status=200)}


def test_an_older_path_of_properties_needs_the_scopes_of_its_type(hub: Portal) -> None:
    issue_private_token(hub.context.database, "pat-narrow", ["crm.schemas.deals.read"])
    headers = {"Authorization": "Bearer pat-narrow"}
    for path in ("/deals/v1/properties", "/properties/v1/deals/properties"):
        assert hub.raw("GET", path, headers=headers).status_code == 200
        assert hub.raw("POST", path, headers=headers, json={}).status_code == 403
    for path in ("/contacts/v2/properties", "/properties/v2/contact/groups"):
        assert hub.raw("GET", path, headers=headers).status_code == 403


def test_what_is_sold_is_written_and_linked_to_its_deal(hub: Portal) -> None:
    hub.call("POST", "/crm/v3/objects/products", {"properties": {"price": "1"}}, 400)
    product = hub.create("products", name="Turbine", price="10")
    deal = hub.create("deals", dealname="D", dealstage="closedwon")
    line = hub.create("0-8", name="Turbine", quantity="2", hs_product_id=product)
    path = f"/crm/v4/objects/line_items/{line}/associations/default/deals/{deal}"
    hub.call("PUT", path, status=200)
    [seen] = hub.call("GET", f"/crm/v4/objects/deals/{deal}/associations/line_items", status=200)["results"]
    assert (seen["toObjectId"], [each["typeId"] for each in seen["associationTypes"]]) == (int(line), [19])


def test_links_that_two_types_cannot_have_are_none_in_a_list(hub: Portal) -> None:
    goal = hub.create("goal_targets", hs_goal_name="G")
    path = "/crm/v3/objects/goal_targets?associations="
    [seen] = hub.call("GET", f"{path}companies,conversations", status=200)["results"]
    assert (seen["id"], "associations" in seen) == (goal, False)
    hub.call("GET", f"{path}butterflies", status=400)


def test_nobody_asked_about_is_nobody_answered(hub: Portal) -> None:
    for path in ("/crm/v4/associations/leads/companies/batch/read", "/crm/v3/associations/company/contact/batch/read"):
        assert hub.call("POST", path, {"inputs": []}, 200)["results"] == []
    for path in ("/companies/v2/companies", "/deals/v1/deal", "/engagements/v1/engagements"):
        assert hub.call("GET", f"{path}/recent/modified?count=250", status=200)["results"] == []
        hub.call("GET", f"{path}/recent/modified?count=0", status=400)


def test_a_search_for_lists_gives_no_more_than_five_hundred(hub: Portal) -> None:
    for number in range(3):
        hub.call(
            "POST", "/crm/v3/lists", {"name": f"L{number}", "objectTypeId": "0-1", "processingType": "MANUAL"}, 200
        )
    assert len(hub.call("POST", "/crm/v3/lists/search", {"count": 1000}, 200)["lists"]) == 3
    assert hub.call("POST", "/crm/v3/lists/search", {"count": 2}, 200)["hasMore"] is True
    hub.call("POST", "/crm/v3/lists/search", {"count": -1}, 400)
