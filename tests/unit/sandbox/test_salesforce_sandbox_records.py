"""Single records: describes, validation, upsert, deletes, and what the org does by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org

UNMOVED = {"Sforce-Auto-Assign": "FALSE"}


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        opened.install()
        yield opened


def error(client: OrgClient, method: str, path: str, body: Any, status: int = 400) -> tuple[str, str, list[str]]:
    found = client.call(method, path, body, status, headers=UNMOVED)[0]
    return found["errorCode"], found["message"], found.get("fields", [])


def test_a_record_is_made_changed_and_read(client: OrgClient) -> None:
    made = client.raw("POST", "/sobjects/Lead/", json={"LastName": "A", "Company": "B"}, headers=UNMOVED)
    assert made.status_code == 201
    native = made.json()["id"]
    assert made.headers["Location"] == f"/services/data/v62.0/sobjects/Lead/{native}"
    client.call("PATCH", f"/sobjects/lead/{native[:15]}", {"firstname": " Al ", "TITLE": ""}, 204, headers=UNMOVED)
    record = client.call("GET", f"/sobjects/Lead/{native}")
    assert (record["Name"], record["Title"], record["Status"]) == ("Al A", None, "Open - Not Contacted")
    assert record["OwnerId"] == record["CreatedById"]
    assert record["attributes"]["type"] == "Lead"


def test_a_record_that_changed_since_is_neither_read_nor_written_on_that_condition(client: OrgClient) -> None:
    path = f"/sobjects/Lead/{client.lead()}"
    before, after = "Mon, 02 Jan 2023 10:00:00 GMT", "Mon, 02 Jan 2090 10:00:00 GMT"
    for method, body in (("GET", None), ("PATCH", {"Title": "CEO"}), ("DELETE", None)):
        (told,) = client.call(method, path, body, 412, headers={"If-Unmodified-Since": before})
        assert told["errorCode"] == "PRECONDITION_FAILED"
    client.call("PATCH", path, {"Title": "CEO"}, 204, headers={"If-Unmodified-Since": after} | UNMOVED)
    assert client.call("GET", path)["Title"] == "CEO"


def test_each_write_moves_the_stamp_in_whole_seconds(client: OrgClient) -> None:
    native = client.lead()
    before = client.field("Lead", native, "SystemModstamp")
    client.context.clock.shift(5)
    client.call("PATCH", f"/sobjects/Lead/{native}", {"Title": "x"}, 204, headers=UNMOVED)
    after = client.field("Lead", native, "SystemModstamp")
    assert before < after
    assert after.endswith(".000+0000")
    assert client.field("Lead", native, "LastModifiedDate") == after


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"LastName": None}, "REQUIRED_FIELD_MISSING", "LastName"),
        ({"LastName": "x" * 81}, "STRING_TOO_LONG", "LastName"),
        ({"Email": "not an address"}, "INVALID_EMAIL_ADDRESS", "Email"),
        ({"Score__c": 100000}, "NUMBER_OUTSIDE_VALID_RANGE", "Score__c"),
        ({"Grade__c": "Z"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Grade__c"),
        ({"Name": "x"}, "INVALID_FIELD_FOR_INSERT_UPDATE", "Name"),
        ({"CreatedDate": "2020-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE", "CreatedDate"),
        ({"OwnerId": "003x"}, "MALFORMED_ID", "OwnerId"),
        ({"Foo": 1}, "INVALID_FIELD", None),
        ({"Score__c": "twelve"}, "JSON_PARSER_ERROR", None),
        ({"Score__c": "1,200"}, "JSON_PARSER_ERROR", None),
        ({"Title": 12}, "JSON_PARSER_ERROR", None),
        ({"DoNotCall": "yes"}, "JSON_PARSER_ERROR", None),
        ({"EmailBouncedDate": "yesterday"}, "JSON_PARSER_ERROR", None),
    ],
)
def test_a_value_that_does_not_fit_is_refused(client: OrgClient, values: dict[str, Any], code: str, field: str) -> None:
    found = error(client, "POST", "/sobjects/Lead", {"LastName": "a", "Company": "b", **values})
    assert found[0] == code
    assert found[2] == ([field] if field else [])


def test_an_unrestricted_picklist_takes_anything(client: OrgClient) -> None:
    assert client.field("Lead", client.lead(Rating="Lukewarm"), "Rating") == "Lukewarm"


def test_numbers_are_rounded_to_their_scale(client: OrgClient) -> None:
    assert client.field("Lead", client.lead(Score__c=71.26), "Score__c") == 71.3


def test_references_must_be_there_live_and_of_the_right_type(client: OrgClient) -> None:
    account, contact = client.create("Account", Name="A"), client.create("Contact", LastName="C")
    task = {"Subject": "x", "WhoId": account}
    assert error(client, "POST", "/sobjects/Task", task)[0] == "FIELD_INTEGRITY_EXCEPTION"
    missing = {"Subject": "x", "WhoId": "0035g0000zzzzzzAAA"}
    assert error(client, "POST", "/sobjects/Task", missing)[0] in ("MALFORMED_ID", "INVALID_CROSS_REFERENCE_KEY")
    client.call("DELETE", f"/sobjects/Contact/{contact}", status=204)
    assert error(client, "POST", "/sobjects/Task", {"Subject": "x", "WhoId": contact}, 404)[0] == "ENTITY_IS_DELETED"


def test_a_task_cannot_go_to_a_queue_or_an_inactive_user(client: OrgClient) -> None:
    queue = client.query("SELECT Id FROM Group")["records"][0]["Id"]
    assert error(client, "POST", "/sobjects/Task", {"OwnerId": queue})[0] == "FIELD_INTEGRITY_EXCEPTION"
    left = client.create("User", Username="l@x.example", LastName="L", Email="l@x.example", Alias="l", IsActive=False)
    assert error(client, "POST", "/sobjects/Task", {"OwnerId": left})[0] == "INACTIVE_OWNER_OR_USER"


def test_a_reference_may_be_given_by_an_external_id(client: OrgClient) -> None:
    contact = client.create("Contact", LastName="C", Customer_Number__c="C-7")
    opportunity = client.create("Opportunity", Name="O", StageName="Prospecting", CloseDate="2027-01-01")
    role = client.create("OpportunityContactRole", OpportunityId=opportunity, Contact={"Customer_Number__c": "C-7"})
    assert client.field("OpportunityContactRole", role, "ContactId") == contact
    values = {"OpportunityId": opportunity, "Contact": {"Customer_Number__c": "none"}}
    assert error(client, "POST", "/sobjects/OpportunityContactRole", values)[0] == "INVALID_FIELD"


def test_assignment_rules_take_a_lead_from_its_owner_unless_the_header_says_no(client: OrgClient) -> None:
    native = client.lead()
    mine = client.field("Lead", native, "OwnerId")
    client.call("PATCH", f"/sobjects/Lead/{native}", {"Score__c": 5}, 204, headers={"Sforce-Auto-Assign": "false"})
    assert client.field("Lead", native, "OwnerId") == mine
    client.call("PATCH", f"/sobjects/Lead/{native}", {"Score__c": 6}, 204)
    assert client.field("Lead", native, "OwnerId").startswith("00G")


def test_a_score_that_crosses_seventy_fires_the_orgs_flow_once(client: OrgClient) -> None:
    native = client.lead(Score__c=10)
    for score in (69, 80, 80, 90):
        client.call("PATCH", f"/sobjects/Lead/{native}", {"Score__c": score}, 204, headers=UNMOVED)
    assert client.field("Lead", native, "Status") == "Working - Contacted"
    fired = [row for row in client.admin("GET", "/firings") if row["record_id"] == native]
    assert len(fired) == 1


def test_upsert_creates_then_updates_then_cannot_tell_which(client: OrgClient) -> None:
    path = "/sobjects/Contact/Customer_Number__c/C-%2F9"
    assert client.call("PATCH", path, {"LastName": "A"}, 201)["created"] is True
    assert client.call("PATCH", path, {"LastName": "B"}, 200)["created"] is False
    old = path.replace("/sobjects", "/services/data/v40.0/sobjects")
    assert client.call("PATCH", old, {"LastName": "C"}, 204) is None
    assert client.call("GET", path)["LastName"] == "C"
    client.create("Contact", LastName="D", Customer_Number__c="c-/9")
    assert len(client.call("PATCH", path, {"LastName": "E"}, 300)) == 2
    assert error(client, "PATCH", path, {"LastName": "x", "Customer_Number__c": "y"})[0] == "INVALID_FIELD"
    assert client.raw("PATCH", "/sobjects/Contact/Title/x", json={"LastName": "y"}).status_code == 404


def test_a_record_is_deleted_by_the_value_of_a_key_unless_several_have_it(client: OrgClient) -> None:
    one, other, third = (client.create("Contact", LastName="Doe", Email=f"{name}@gone.example") for name in "abb")
    path = "/sobjects/Contact/Email"
    client.call("DELETE", f"{path}/a@gone.example", None, 204)
    assert client.call("GET", f"/sobjects/Contact/{one}", None, 404)[0]["errorCode"] == "ENTITY_IS_DELETED"
    assert len(client.call("DELETE", f"{path}/b@gone.example", None, 300)) == len((other, third))
    assert client.call("DELETE", f"{path}/a@gone.example", None, 404)[0]["errorCode"] == "NOT_FOUND"


def test_a_unique_key_is_refused_with_the_id_of_its_holder_until_that_is_deleted(client: OrgClient) -> None:
    native = client.create("Task", Subject="x", Task_Key__c="K")
    code, message, _ = error(client, "POST", "/sobjects/Task", {"Subject": "x", "Task_Key__c": "K"})
    assert code == "DUPLICATE_VALUE"
    assert message == f"duplicate value found: Task_Key__c duplicates value on record with id: {native[:15]}"
    assert client.create("Task", Subject="x", Task_Key__c="k")
    client.call("DELETE", f"/sobjects/Task/{native}", status=204)
    assert client.create("Task", Subject="x", Task_Key__c="K")


def test_what_is_gone_is_404_and_says_whether_it_ever_was(client: OrgClient) -> None:
    native = client.lead()
    client.call("DELETE", f"/sobjects/Lead/{native}", status=204)
    for method, body in (("GET", None), ("PATCH", {"Title": "x"}), ("DELETE", None)):
        assert error(client, method, f"/sobjects/Lead/{native}", body, 404)[0] == "ENTITY_IS_DELETED"
    assert error(client, "GET", "/sobjects/Lead/003000000000000AAA", None, 404)[0] == "NOT_FOUND"
    assert error(client, "GET", "/sobjects/Foo/describe", None, 404)[0] == "NOT_FOUND"
    assert error(client, "PUT", "/query", None, 405)[0] == "METHOD_NOT_ALLOWED"


def test_deleted_and_updated_list_ids_in_a_window(client: OrgClient) -> None:
    kept, gone = client.create("Campaign", Name="a"), client.create("Campaign", Name="b")
    member = client.create("CampaignMember", CampaignId=kept, LeadId=client.lead())
    for kind, native in (("Campaign", gone), ("CampaignMember", member)):
        client.call("DELETE", f"/sobjects/{kind}/{native}", status=204)
    client.context.clock.shift(120)
    now = datetime.now(UTC) + timedelta(seconds=client.context.clock.shift_s)
    window = {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    told = client.call("GET", "/sobjects/Campaign/deleted/", params=window)
    assert [row["id"] for row in told["deletedRecords"]] == [gone]
    assert told["latestDateCovered"] <= now.strftime("%Y-%m-%dT%H:%M:%S.999")
    assert client.call("GET", "/sobjects/Campaign/updated/", params=window)["ids"] == [kept]
    told = client.call("GET", "/sobjects/CampaignMember/deleted/", params=window)
    assert [row["id"] for row in told["deletedRecords"]] == [member]
    assert client.query("SELECT Id FROM CampaignMember", every=True)["totalSize"] == 0
    old = {**window, "start": (now - timedelta(days=40)).isoformat()}
    assert client.call("GET", "/sobjects/Campaign/deleted/", status=400, params=old)


def test_a_converted_lead_is_frozen_and_points_to_its_contact(client: OrgClient) -> None:
    native = client.lead(FirstName="Con", Email="con@x.example")
    task = client.create("Task", Subject="x", WhoId=native)
    act = {"system": "salesforce", "action": "convert_lead", "id": native, "with_opportunity": True}
    made = client.admin("POST", "/act", act)
    assert client.field("Lead", native, "ConvertedContactId") == made["contact"]
    assert client.field("Task", task, "WhoId") == made["contact"]
    assert error(client, "PATCH", f"/sobjects/Lead/{native}", {"Title": "x"})[0] == "CANNOT_UPDATE_CONVERTED_LEAD"
    frozen = {"Subject": "x", "WhoId": native}
    assert error(client, "POST", "/sobjects/Task", frozen)[0] == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_the_loser_of_a_merge_names_the_winner(client: OrgClient) -> None:
    winner, loser = client.create("Contact", LastName="W"), client.create("Contact", LastName="L")
    task = client.create("Task", Subject="x", WhoId=loser)
    client.admin("POST", "/act", {"system": "salesforce", "action": "merge", "winner": winner, "loser": loser})
    soql = f"SELECT IsDeleted, MasterRecordId FROM Contact WHERE Id = '{loser}'"
    gone = client.query(soql, every=True)["records"][0]
    assert (gone["IsDeleted"], gone["MasterRecordId"]) == (True, winner)
    assert client.field("Task", task, "WhoId") == winner


def test_an_event_knows_its_end_and_needs_a_start(client: OrgClient) -> None:
    native = client.create("Event", Subject="x", StartDateTime="2026-01-01T10:00:00+01:00", DurationInMinutes=30)
    assert client.field("Event", native, "EndDateTime") == "2026-01-01T09:30:00.000+0000"
    assert error(client, "POST", "/sobjects/Event", {"Subject": "x"})[0] == "REQUIRED_FIELD_MISSING"


def test_a_describe_field_has_all_57_keys_and_says_what_may_be_written(client: OrgClient) -> None:
    fields = {field["name"]: field for field in client.call("GET", "/sobjects/Lead/describe")["fields"]}
    assert {len(field) for field in fields.values()} == {57}
    assert (fields["LastName"]["nillable"], fields["LastName"]["length"], fields["LastName"]["byteLength"]) == (
        False,
        80,
        240,
    )
    assert fields["Email"]["idLookup"] is True
    assert fields["Name"]["updateable"] is False
    assert fields["Score__c"]["type"] == "double"
    assert [value["value"] for value in fields["Grade__c"]["picklistValues"]] == ["A", "B"]
    task = {field["name"]: field for field in client.call("GET", "/sobjects/Task/describe/")["fields"]}
    assert (task["Task_Key__c"]["unique"], task["Task_Key__c"]["externalId"]) == (True, True)


def test_an_unchanged_describe_is_304_until_something_changes(client: OrgClient) -> None:
    told = client.raw("GET", "/sobjects/Lead/describe").headers["Last-Modified"]
    headers = {"If-Modified-Since": told}
    assert client.raw("GET", "/sobjects/Lead/describe", headers=headers).status_code == 304
    assert client.raw("GET", "/sobjects", headers=headers).status_code == 304
    client.create("PermissionSet", Name="Any", Label="Any")
    assert client.raw("GET", "/sobjects/Lead/describe", headers=headers).status_code == 200


def test_record_counts_leave_empty_objects_out(client: OrgClient) -> None:
    client.lead()
    told = client.call("GET", "/limits/recordCount", params={"sObjects": "Lead,EmailMessage"})["sObjects"]
    assert [row["name"] for row in told] == ["Lead"]


def test_bodies_that_are_no_json_or_no_object_are_refused(client: OrgClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert (
        client.raw("POST", "/sobjects/Lead", data=b"{x", headers=headers).json()[0]["errorCode"] == "JSON_PARSER_ERROR"
    )
    assert client.raw("POST", "/sobjects/Lead", data=b"[]", headers=headers).status_code == 400
    assert client.raw("POST", "/sobjects/Lead", data=b"x", headers={"Content-Type": "text/css"}).status_code == 415


@pytest.mark.parametrize("kind", ["Task", "Event"])
def test_who_an_activity_is_with_is_among_its_relations(client: OrgClient, kind: str) -> None:
    def related(native: str) -> list[tuple[str, bool]]:
        rows = client.query(f"SELECT RelationId, IsWhat FROM {kind}Relation WHERE {kind}Id = '{native}'")["records"]
        return sorted((row["RelationId"], row["IsWhat"]) for row in rows)

    account = client.create("Account", Name="Acme")
    first, second = (client.create("Contact", LastName=name) for name in ("A", "B"))
    when = {"ActivityDateTime": "2026-09-01T10:00:00Z", "DurationInMinutes": 30} if kind == "Event" else {}
    native = client.create(kind, Subject="Call", WhoId=first, WhatId=account, **when)
    assert related(native) == sorted([(first, False), (account, True)])
    client.create(f"{kind}Relation", **{f"{kind}Id": native, "RelationId": second})
    client.call("PATCH", f"/sobjects/{kind}/{native}", {"WhoId": second}, 204)
    assert related(native) == sorted([(second, False), (account, True)])
    client.call("DELETE", f"/sobjects/{kind}/{native}", status=204)
    assert related(native) == []


def test_the_text_of_a_number_and_of_a_truth_is_taken_for_it(client: OrgClient) -> None:
    native = client.create("Account", Name="Texts", NumberOfEmployees="28", AnnualRevenue="2.5e3")
    assert (client.field("Account", native, "NumberOfEmployees"), client.field("Account", native, "AnnualRevenue")) == (
        28,
        2500,
    )
    person = client.create("Contact", LastName="Texts", HasOptedOutOfEmail="True")
    assert client.field("Contact", person, "HasOptedOutOfEmail") is True
