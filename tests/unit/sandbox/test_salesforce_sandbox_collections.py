"""Many at once: collections, composites, batches, and what each of them counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org

UNMOVED = {"Sforce-Auto-Assign": "FALSE"}
BASE = "/services/data/v62.0"


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        opened.install()
        yield opened


@pytest.fixture(autouse=True)
def _clean(client: OrgClient) -> Iterator[None]:
    yield
    client.admin("DELETE", "/faults")


def rows(kind: str, *values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"attributes": {"type": kind}, **each} for each in values]


def send(client: OrgClient, method: str, records: list[dict[str, Any]], path: str = "", **more: Any) -> list[Any]:
    body = {"allOrNone": False, "records": records, **more}
    return list(client.call(method, f"/composite/sobjects{path}", body, headers=UNMOVED))


def codes(results: list[Any]) -> list[str | None]:
    return [None if result["success"] else result["errors"][0]["statusCode"] for result in results]


def composite(client: OrgClient, *parts: dict[str, Any], **more: Any) -> list[Any]:
    body = {"compositeRequest": [{"referenceId": f"r{number}", **part} for number, part in enumerate(parts)], **more}
    return list(client.call("POST", "/composite", body)["compositeResponse"])


def test_each_record_has_its_own_result_in_order(client: OrgClient) -> None:
    native = client.lead()
    gone = client.lead()
    client.call("DELETE", f"/sobjects/Lead/{gone}", status=204)
    results = send(
        client,
        "PATCH",
        rows("Lead", {"Id": native, "Title": "x"}, {"id": gone, "Title": "x"}, {"Title": "x"}, {"Id": "bad"})
        + rows("Contact", {"Id": native, "Title": "x"})
        + rows("Foo", {"Id": native}),
    )
    assert codes(results) == [
        None,
        "ENTITY_IS_DELETED",
        "MISSING_ARGUMENT",
        "MALFORMED_ID",
        "MALFORMED_ID",
        "INVALID_TYPE",
    ]
    assert results[0] == {"id": native, "success": True, "errors": []}
    assert "id" not in results[2]


def test_the_same_record_twice_in_one_collection_is_refused_once(client: OrgClient) -> None:
    native = client.lead()
    results = send(client, "PATCH", rows("Lead", {"Id": native, "Title": "a"}, {"Id": native[:15], "Title": "b"}))
    assert codes(results) == [None, "DUPLICATE_VALUE"]


def test_all_or_none_undoes_all(client: OrgClient) -> None:
    records = rows("Task", {"Subject": "x", "Task_Key__c": "one"}, {"Subject": "y", "WhoId": "bad"})
    results = send(client, "POST", records, allOrNone=True)
    assert codes(results) == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "MALFORMED_ID"]
    assert client.query("SELECT Id FROM Task WHERE Task_Key__c = 'one'")["totalSize"] == 0


def test_upsert_by_key_tells_what_it_created_and_refuses_a_key_twice(client: OrgClient) -> None:
    path = "/Contact/Customer_Number__c"
    first = send(client, "PATCH", rows("Contact", {"LastName": "a", "Customer_Number__c": "U1"}), path)
    keyed = [{"LastName": "b", "Customer_Number__c": key} for key in ("U1", "U2", "U3", "u3")]
    second = send(client, "PATCH", rows("Contact", *keyed), path)
    assert first[0]["created"] is True
    assert second[0] == {"id": first[0]["id"], "success": True, "errors": [], "created": False}
    assert codes(second) == [None, None, "DUPLICATE_VALUE", "DUPLICATE_VALUE"]
    assert second[2]["errors"][0]["message"].startswith("Duplicate external id specified")


def test_an_upsert_by_id_makes_no_record_of_an_id_that_is_none(client: OrgClient) -> None:
    records = [
        {"attributes": {"type": "Lead"}, "Id": native, "LastName": "Doe", "Company": "Acme"}
        for native in ("00Q-no-such-id", "0035g0000000001AAA", None)
    ]
    told = client.call("PATCH", "/composite/sobjects/Lead/Id", {"records": records})
    assert [row["success"] for row in told] == [False, False, True]
    assert {row["errors"][0]["statusCode"] for row in told[:2]} == {"MALFORMED_ID"}


def test_two_hundred_records_are_taken_and_one_more_is_not(client: OrgClient) -> None:
    records = rows("Campaign", *({"Name": str(number)} for number in range(201)))
    assert len(send(client, "POST", records[:200])) == 200
    assert client.raw("POST", "/composite/sobjects", json={"records": records}).status_code == 400


def test_more_than_ten_changes_of_type_are_refused(client: OrgClient) -> None:
    pair = rows("Campaign", {"Name": "x"}) + rows("Account", {"Name": "x"})
    assert len(send(client, "POST", pair * 5)) == 10
    assert client.raw("POST", "/composite/sobjects", json={"records": pair * 6}).status_code == 400


def test_retrieving_keeps_the_order_and_leaves_null_for_what_is_not_there(client: OrgClient) -> None:
    first, second = client.lead(LastName="a"), client.lead(LastName="b")
    ids = [second, "00Q5g0000zzzzzzAAA", first[:15]]
    for answer in (
        client.call("POST", "/composite/sobjects/Lead", {"ids": ids, "fields": ["LastName"]}),
        client.call("GET", "/composite/sobjects/Lead", params={"ids": ",".join(ids), "fields": "LastName"}),
    ):
        assert [row and row["LastName"] for row in answer] == ["b", None, "a"]


def test_deleting_many(client: OrgClient) -> None:
    native = client.lead()
    results = client.call("DELETE", "/composite/sobjects", params={"ids": f"{native},{native},x", "allOrNone": "false"})
    assert codes(results) == [None, "ENTITY_IS_DELETED", "MALFORMED_ID"]


def test_record_faults_hit_single_rows_of_a_collection(client: OrgClient) -> None:
    ids = [client.lead() for _ in range(3)]
    client.fault("row_lock", match=ids[1], times=1)
    changes = rows("Lead", *({"Id": native, "Title": "x"} for native in ids))
    assert codes(send(client, "PATCH", changes)) == [None, "UNABLE_TO_LOCK_ROW", None]
    assert codes(send(client, "PATCH", changes)) == [None, None, None]


def test_a_composite_is_one_call_and_its_parts_fail_alone(client: OrgClient) -> None:
    native = client.lead()
    before = client.admin("GET", "/calls")["last_id"]
    answers = composite(
        client,
        {"method": "GET", "url": f"{BASE}/query?q=SELECT Id FROM Lead WHERE Id = '{native}'"},
        {"method": "GET", "url": f"{BASE}/sobjects/Lead/@{{r0.records[0].Id}}?fields=LastName"},
        {"method": "GET", "url": f"{BASE}/query?q=SELECT+Foo+FROM+Lead"},
        {
            "method": "PATCH",
            "url": f"{BASE}/sobjects/Lead/{native}",
            "body": {"Title": "@{r1.LastName}"},
            "httpHeaders": UNMOVED,
        },
        {"method": "GET", "url": f"{BASE}/sobjects/Lead/@{{r0.records[7].Id}}"},
    )
    assert [answer["httpStatusCode"] for answer in answers] == [200, 200, 400, 204, 400]
    assert answers[2]["body"][0]["errorCode"] == "INVALID_FIELD"
    assert client.field("Lead", native, "Title") == "Doe"
    made = client.admin("GET", f"/calls?since={before}")
    assert made["by_path"][0] | {"calls": 1, "cost": 1} == made["by_path"][0]


def test_the_headers_of_a_subrequest_hold_for_it_alone(client: OrgClient) -> None:
    native = client.lead()
    mine = client.field("Lead", native, "OwnerId")
    part = {"method": "PATCH", "url": f"{BASE}/sobjects/Lead/{native}", "body": {"Title": "x"}}
    composite(client, {**part, "httpHeaders": UNMOVED})
    assert client.field("Lead", native, "OwnerId") == mine
    composite(client, part)
    assert client.field("Lead", native, "OwnerId") != mine


def test_an_all_or_none_composite_undoes_its_parts(client: OrgClient) -> None:
    native = client.lead()
    good = {"method": "PATCH", "url": f"{BASE}/sobjects/Lead/{native}", "body": {"Title": "x"}}
    answers = composite(client, good, {"method": "GET", "url": f"{BASE}/nowhere"}, allOrNone=True)
    assert answers[0]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert client.field("Lead", native, "Title") is None


@pytest.mark.parametrize("is_all_or_none", [False, True])
def test_a_part_that_refers_to_nothing_says_so_and_only_all_or_none_speaks_of_undoing(
    client: OrgClient, is_all_or_none: bool
) -> None:
    bad = {"method": "PATCH", "url": f"{BASE}/sobjects/Lead/{client.lead()}", "body": {"Nope__c": 1}}
    after = {"method": "GET", "url": f"{BASE}/sobjects/Lead/@{{r0.id}}"}
    answers = composite(client, bad, after, allOrNone=is_all_or_none)
    [error] = answers[1]["body"]
    assert (answers[1]["httpStatusCode"], error["errorCode"]) == (400, "PROCESSING_HALTED")
    undone = "The transaction was rolled back since another operation in the same transaction failed."
    unknown = "Invalid reference specified. No value for r0.id found in r0."
    assert error["message"] == (undone if is_all_or_none else unknown)
    query = {"method": "GET", "url": f"{BASE}/query?q=SELECT Id FROM Lead WHERE Name = 'nobody'"}
    record = {"method": "GET", "url": f"{BASE}/sobjects/Lead/@{{r0.records[0].Id}}"}
    [error] = composite(client, query, record, allOrNone=is_all_or_none)[1]["body"]
    told = "Invalid reference specified. No value for r0.records[0].Id found in r0."
    assert (error["errorCode"], error["message"]) == ("PROCESSING_HALTED", told)


@pytest.mark.parametrize("what", ["26 parts", "6 queries", "id twice", "bad id", "no list", "inherited header"])
def test_a_composite_that_breaks_a_rule_is_refused_whole(client: OrgClient, what: str) -> None:
    limits = {"method": "GET", "url": f"{BASE}/limits"}
    query = {"method": "GET", "url": f"{BASE}/queryAll?q=SELECT Id FROM Lead"}
    collection = {"method": "POST", "url": f"{BASE}/composite/sobjects", "body": {"records": []}}
    parts = {
        "26 parts": [{**limits, "referenceId": f"r{number}"} for number in range(26)],
        "6 queries": [{**(query if number % 2 else collection), "referenceId": f"r{number}"} for number in range(6)],
        "id twice": [{**limits, "referenceId": "r"}] * 2,
        "bad id": [{**limits, "referenceId": "r-1"}],
        "no list": {},
        "inherited header": [{**limits, "referenceId": "r", "httpHeaders": {"Authorization": "x"}}],
    }[what]
    answer = client.raw("POST", "/composite", json={"compositeRequest": parts})
    assert answer.status_code == 400
    assert answer.json()[0]["errorCode"]


def test_each_part_of_a_batch_counts(client: OrgClient) -> None:
    before = client.admin("GET", "/calls")["last_id"]
    requests = [{"method": "GET", "url": "v62.0/limits"}, {"method": "GET", "url": "v62.0/sobjects/Nope"}]
    told = client.call("POST", "/composite/batch", {"batchRequests": requests})
    assert told["hasErrors"] is True
    assert [result["statusCode"] for result in told["results"]] == [200, 404]
    assert client.admin("GET", f"/calls?since={before}")["cost"] == 2
