"""Composite graphs of the imitated org, and what composites undo, override and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org


@pytest.fixture(scope="module")
def server() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


def node(server: OrgClient, name: str, kind: str, **body: Any) -> dict[str, Any]:
    return {"method": "POST", "url": f"{server.base}/sobjects/{kind}", "referenceId": name, "body": body}


def test_each_graph_is_done_as_a_whole_or_not_at_all_for_one_call(server: OrgClient) -> None:
    good = [
        node(server, "acme", "Account", Name="Graph Acme"),
        node(server, "ann", "Contact", LastName="Ann", AccountId="@{acme.id}"),
    ]
    bad = [node(server, "umbra", "Account", Name="Graph Umbra"), node(server, "nobody", "Contact", FirstName="x")]
    before = server.admin("GET", "/calls")
    graphs = [{"graphId": "1", "compositeRequest": good}, {"graphId": "2", "compositeRequest": bad}]
    first, second = server.call("POST", "/composite/graph", {"graphs": graphs})["graphs"]
    assert server.admin("GET", f"/calls?since={before['last_id']}")["cost"] == 1
    assert (first["graphId"], first["isSuccessful"], second["isSuccessful"]) == ("1", True, False)
    created = first["graphResponse"]["compositeResponse"]
    assert server.field("Contact", created[1]["body"]["id"], "AccountId") == created[0]["body"]["id"]
    codes = [part["body"][0]["errorCode"] for part in second["graphResponse"]["compositeResponse"]]
    assert codes == ["PROCESSING_HALTED", "REQUIRED_FIELD_MISSING"]
    assert server.query("SELECT Id FROM Account WHERE Name LIKE 'Graph%'")["totalSize"] == 1


@pytest.mark.parametrize("url", ["/query?q=SELECT+Id+FROM+Lead", "/composite/sobjects", "/limits"])
def test_nodes_of_a_graph_are_single_records(server: OrgClient, url: str) -> None:
    nodes = [{"method": "GET", "url": server.base + url, "referenceId": "a"}]
    refused = server.call("POST", "/composite/graph", {"graphs": [{"graphId": "1", "compositeRequest": nodes}]}, 400)
    assert refused[0]["errorCode"], "a refusal has a code"


def test_a_graph_request_has_at_most_500_nodes(server: OrgClient) -> None:
    nodes = [node(server, f"n{number}", "Campaign", Name="x") for number in range(251)]
    graphs = [{"graphId": name, "compositeRequest": nodes} for name in ("1", "2")]
    assert server.call("POST", "/composite/graph", {"graphs": graphs}, 400)[0]["errorCode"] == "LIMIT_EXCEEDED"


@pytest.mark.parametrize("path", ["/composite", "/composite/batch", "/jobs/query", "/composite/graph"])
def test_a_subrequest_cannot_be_another_composite_or_a_job(server: OrgClient, path: str) -> None:
    asked = [{"method": "POST", "url": server.base + path, "referenceId": "a", "body": {}}]
    answer = server.call("POST", "/composite", {"compositeRequest": asked})["compositeResponse"][0]
    assert answer["httpStatusCode"] == 400


def test_an_outer_all_or_none_overrides_the_one_of_its_collections(server: OrgClient) -> None:
    records = [{"attributes": {"type": "Campaign"}, **values} for values in ({"Name": "Undone"}, {})]
    asked = {
        "method": "POST", "url": f"{server.base}/composite/sobjects", "referenceId": "a",
        "body": {"allOrNone": False, "records": records},
    }  # fmt: skip
    answer = server.call("POST", "/composite", {"allOrNone": True, "compositeRequest": [asked]})
    results = answer["compositeResponse"][0]["body"]
    codes = [result["errors"][0]["statusCode"] for result in results]
    assert codes == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]
    assert server.query("SELECT Id FROM Campaign WHERE Name = 'Undone'")["totalSize"] == 0


def test_a_rolled_back_upsert_goes_on_to_say_created(server: OrgClient) -> None:
    records = [
        {"attributes": {"type": "Contact"}, "Customer_Number__c": number, **name}
        for number, name in (("R1", {"LastName": "A"}), ("R2", {}))
    ]
    body = {"allOrNone": True, "records": records}
    results = server.call("PATCH", "/composite/sobjects/Contact/Customer_Number__c", body)
    assert results[0] == {
        "success": False,
        "created": True,
        "errors": [
            {
                "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                "message": results[0]["errors"][0]["message"],
                "fields": [],
            }
        ],
    }
