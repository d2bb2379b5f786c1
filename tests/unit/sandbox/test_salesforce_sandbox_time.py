"""What time, other people and rules do to the records of the imitated org: late commits, locks, the recycle bin, permissions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from connector.sandbox.salesforce.org import org_of
from connector.sandbox.salesforce.seeding import load_rows
from tests.unit.sandbox.salesforce_org import OrgClient, org


@pytest.fixture
def server() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


def act(server: OrgClient, action: str, status: int = 200, **payload: Any) -> Any:
    return server.admin("POST", "/act", {"system": "salesforce", "action": action, **payload}, status)


def limits(server: OrgClient, **settings: Any) -> None:
    server.admin("POST", "/limits", {"enabled": True, **settings})


def shift(server: OrgClient, seconds: float) -> None:
    server.admin("POST", "/clock", {"shift_s": seconds})
    server.sign_in()


def test_a_late_commit_shows_a_record_with_the_stamp_of_when_it_was_written(server: OrgClient) -> None:
    limits(server, salesforce_commit_lag_s=300)
    late = act(server, "create", object="Lead", values={"LastName": "Late", "Company": "Acme"})["id"]
    known = server.lead(LastName="Prompt")
    written_at = server.field("Lead", known, "SystemModstamp")
    act(server, "update", id=known, values={"Title": "Boss"})
    assert server.query("SELECT Id FROM Lead", every=True)["totalSize"] == 1
    assert server.field("Lead", known, "Title") is None
    shift(server, 301)
    rows = server.query("SELECT Id, Title, SystemModstamp, CreatedDate FROM Lead ORDER BY LastName")["records"]
    assert [row["Id"] for row in rows] == [late, known]
    assert rows[1]["Title"] == "Boss"
    fresh = server.lead(LastName="Fresh")
    assert written_at <= rows[0]["SystemModstamp"] < server.field("Lead", fresh, "SystemModstamp")
    assert rows[0]["CreatedDate"] == rows[0]["SystemModstamp"]


def test_a_late_commit_is_not_stamped_before_a_change_of_the_same_record_that_others_have_seen(
    server: OrgClient,
) -> None:
    lead = server.lead()
    act(server, "delete", id=lead, lag_s=120)
    shift(server, 60)
    act(server, "update", id=lead, values={"Title": "Boss"})
    seen_at = server.field("Lead", lead, "SystemModstamp")
    shift(server, 61)
    [row] = server.query("SELECT IsDeleted, SystemModstamp FROM Lead", every=True)["records"]
    assert row["IsDeleted"] is True
    assert row["SystemModstamp"] >= seen_at


def test_latest_date_covered_stops_at_the_oldest_open_transaction(server: OrgClient) -> None:
    lead = server.lead()
    act(server, "delete", id=lead, lag_s=600)
    shift(server, 180)
    now = server.admin("GET", "/health")["now"]
    start = server.field("Lead", lead, "CreatedDate")
    window = {"start": start.replace("+0000", "Z"), "end": now[:19] + "Z"}
    found = server.call("GET", "/sobjects/Lead/deleted/", params=window)
    assert found["deletedRecords"] == []
    assert found["latestDateCovered"] < now[:16]


def test_a_late_change_that_is_refused_is_refused_at_once(server: OrgClient) -> None:
    act(server, "create", 400, object="Lead", values={"LastName": "No company"}, lag_s=60)
    shift(server, 61)
    assert server.query("SELECT Id FROM Lead")["totalSize"] == 0


def test_the_recycle_bin_gives_back_for_fifteen_days_and_is_emptied_then(server: OrgClient) -> None:
    back, gone = server.lead(), server.lead()
    for lead in (back, gone):
        server.call("DELETE", f"/sobjects/Lead/{lead}", status=204)
    act(server, "undelete", id=back)
    assert server.field("Lead", back, "IsDeleted") is False
    shift(server, 14 * 86_400)
    assert server.query("SELECT Id FROM Lead WHERE IsDeleted = true", every=True)["totalSize"] == 1
    shift(server, 2 * 86_400)
    assert server.query("SELECT Id FROM Lead", every=True)["totalSize"] == 1
    act(server, "undelete", 400, id=gone)


def test_a_merge_and_a_conversion_leave_their_traces(server: OrgClient) -> None:
    winner, loser = server.lead(LastName="A"), server.lead(LastName="B")
    task = server.create("Task", Subject="Call", WhoId=loser)
    act(server, "merge", winner=winner, loser=loser)
    row = server.query(f"SELECT IsDeleted, MasterRecordId FROM Lead WHERE Id = '{loser}'", every=True)["records"][0]
    assert (row["IsDeleted"], row["MasterRecordId"]) == (True, winner)
    assert server.field("Task", task, "WhoId") == winner
    campaign = server.create("Campaign", Name="Fair")
    member = server.create("CampaignMember", CampaignId=campaign, LeadId=winner)
    made = act(server, "convert_lead", id=winner, with_opportunity=True)
    lead = server.call("GET", f"/sobjects/Lead/{winner}")
    assert lead["IsConverted"] is True
    assert [lead[f"Converted{name}Id"] for name in ("Contact", "Account", "Opportunity")] == [
        made["contact"],
        made["account"],
        made["opportunity"],
    ]
    assert server.field("Task", task, "WhoId") == made["contact"]
    assert server.field("CampaignMember", member, "ContactId") == made["contact"]
    refused = server.call("PATCH", f"/sobjects/Lead/{winner}", {"Title": "x"}, 400)
    assert refused[0]["errorCode"] == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_a_field_can_be_hidden_or_made_read_only_for_a_user_and_describe_says_that_it_changed(
    server: OrgClient,
) -> None:
    lead = server.lead(Phone="123")
    first = server.raw("GET", "/sobjects/Lead/describe")
    told = {"If-Modified-Since": first.headers["Last-Modified"]}
    same = server.raw("GET", "/sobjects/Lead/describe", headers=told)
    assert (same.status_code, same.content) == (304, b"")
    act(server, "field_security", field="Lead.Phone", access="none")
    after = server.raw("GET", "/sobjects/Lead/describe", headers=told)
    assert "Phone" not in [field["name"] for field in after.json()["fields"]]
    assert server.refusal("SELECT Phone FROM Lead")[0] == "INVALID_FIELD"
    assert "Phone" not in server.call("GET", f"/sobjects/Lead/{lead}")
    act(server, "field_security", field="Lead.Phone", access="read")
    assert server.field("Lead", lead, "Phone") == "123"
    refused = server.call("PATCH", f"/sobjects/Lead/{lead}", {"Phone": "4"}, 400)[0]
    assert (refused["errorCode"], refused["fields"]) == ("INVALID_FIELD_FOR_INSERT_UPDATE", ["Phone"])
    act(server, "field_security", field="Lead.Phone", access="edit")
    server.call("PATCH", f"/sobjects/Lead/{lead}", {"Phone": "4"}, 204)


def test_duplicate_rules_refuse_unless_saving_is_allowed_and_blocking_ones_always(server: OrgClient) -> None:
    server.lead(Email="a@b.example")
    again = {"LastName": "Twin", "Company": "Acme", "Email": "A@b.example"}
    allow = {"Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=false; runAsCurrentUser=false"}
    act(server, "duplicate_rule", object="Lead", field="Email", on_match="alert")
    assert server.call("POST", "/sobjects/Lead", again, 400)[0]["errorCode"] == "DUPLICATES_DETECTED"
    subrequest = {"method": "POST", "url": f"{server.base}/sobjects/Lead", "referenceId": "a", "body": again}
    for headers, status in (({}, 400), (allow, 201)):
        body = {"compositeRequest": [{**subrequest, "httpHeaders": headers}]}
        answer = server.call("POST", "/composite", body, headers=allow)["compositeResponse"][0]
        assert answer["httpStatusCode"] == status
    act(server, "duplicate_rule", object="Lead", field="Email", on_match="block")
    assert server.call("POST", "/sobjects/Lead", again, 400, headers=allow)[0]["errorCode"] == "DUPLICATES_DETECTED"
    act(server, "duplicate_rule", object="Lead", field="Email", on_match=None)
    server.call("POST", "/sobjects/Lead", again, 201)


def test_writes_to_children_of_one_parent_at_the_same_time_lock_each_other_out(server: OrgClient) -> None:
    account, other = server.create("Account", Name="Acme"), server.create("Account", Name="Umbra")
    people = [server.create("Contact", LastName=str(n), AccountId=account if n < 2 else other) for n in range(4)]
    limits(server, salesforce_chunk_s=0.4)

    def write(native: str) -> Any:
        record = {"attributes": {"type": "Contact"}, "Id": native, "Title": "x"}
        return server.call("PATCH", "/composite/sobjects", {"records": [record]})[0]

    with ThreadPoolExecutor(2) as pool:
        same = list(pool.map(write, people[:2]))
        apart = list(pool.map(write, people[1:3]))
    assert sorted(each["success"] for each in same) == [False, True]
    locked = next(each for each in same if not each["success"])
    assert locked["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"
    assert account in locked["errors"][0]["message"]
    assert all(each["success"] for each in apart)


def test_counts_leave_out_what_is_deleted(server: OrgClient) -> None:
    server.lead()
    server.call("DELETE", f"/sobjects/Lead/{server.lead()}", status=204)
    found = server.call("GET", "/limits/recordCount", params={"sObjects": "Lead,Contact"})
    assert found == {"sObjects": [{"count": 1, "name": "Lead"}]}


def test_seeding_refuses_a_field_that_the_object_does_not_have(server: OrgClient) -> None:
    with pytest.raises(ValueError, match="Lead has no fields IsEmailBounced"):
        load_rows(org_of(server.context), {"Lead": [{"Id": "00Q", "IsEmailBounced": True}]})


def test_a_method_can_be_overridden_as_older_clients_do(server: OrgClient) -> None:
    lead = server.lead()
    server.call("POST", f"/sobjects/Lead/{lead}?_HttpMethod=PATCH", {"Title": "Boss"}, 204)
    assert server.field("Lead", lead, "Title") == "Boss"


def test_who_else_takes_part_in_a_task_is_gone_without_a_trace_but_in_the_list_of_deletions(server: OrgClient) -> None:
    first, second = (server.create("Contact", LastName=name) for name in "AB")
    lead = server.lead()
    task = server.create("Task", Subject="Call", WhoId=first)
    server.create("TaskRelation", TaskId=task, RelationId=second)
    for relation, code in ((second, "DUPLICATE_VALUE"), (lead, "FIELD_INTEGRITY_EXCEPTION")):
        refused = server.call("POST", "/sobjects/TaskRelation", {"TaskId": task, "RelationId": relation}, 400)
        assert refused[0]["errorCode"] == code
    soql = f"SELECT Id, RelationId, Relation.Type FROM TaskRelation WHERE TaskId = '{task}'"
    rows = server.query(soql)["records"]
    assert {(row["RelationId"], row["Relation"]["Type"]) for row in rows} == {(first, "Contact"), (second, "Contact")}
    server.call("DELETE", f"/sobjects/TaskRelation/{rows[0]['Id']}", status=204)
    assert server.query(soql, every=True)["totalSize"] == 1
    shift(server, 120)
    now = server.admin("GET", "/health")["now"][:19] + "Z"
    start = server.field("Task", task, "CreatedDate").replace("+0000", "Z")
    told = server.call("GET", "/sobjects/TaskRelation/deleted/", params={"start": start, "end": now})
    assert [each["id"] for each in told["deletedRecords"]] == [rows[0]["Id"]]
