"""Words are found in records, and records are made with their children."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        company = opened.create("Account", Name="Northwind Turbines")
        opened.create("Contact", FirstName="Ann", LastName="Meyer", Email="ann@x.com", AccountId=company)
        opened.create("Contact", FirstName="Bo", LastName="Meyerhold", Phone="030 5550100", Title="Turbines")
        opened.lead(FirstName="Ann", LastName="Turing", Company="Acme")
        yield opened


def names(found: Any) -> list[str]:
    return [each["Name"] for each in found["searchRecords"]]


def find(client: OrgClient, sosl: str, status: int = 200) -> Any:
    return client.call("GET", "/search/", status=status, params={"q": sosl})


def test_words_are_found_in_the_fields_that_are_named(client: OrgClient) -> None:
    returning = "RETURNING Contact(Id, Name), Lead(Id, Name)"
    assert names(find(client, f"FIND {{meyer}} {returning}")) == ["Ann Meyer"]
    assert names(find(client, f"FIND {{Meyer*}} {returning}")) == ["Ann Meyer", "Bo Meyerhold"]
    assert names(find(client, f"FIND {{ann}} IN NAME FIELDS {returning}")) == ["Ann Meyer", "Ann Turing"]
    assert names(find(client, f"FIND {{Turbines}} IN NAME FIELDS {returning}")) == []
    assert names(find(client, f"FIND {{ann@x.com}} IN EMAIL FIELDS {returning}")) == ["Ann Meyer"]
    assert names(find(client, f'FIND {{"030 5550100"}} IN PHONE FIELDS {returning}')) == ["Bo Meyerhold"]
    assert names(find(client, f"FIND {{Meyer OR Turing}} {returning}")) == ["Ann Meyer", "Ann Turing"]
    assert names(find(client, f"FIND {{Ann Turing}} {returning}")) == ["Ann Turing"]


def test_what_follows_the_fields_is_soql_and_without_objects_all_are_searched(client: OrgClient) -> None:
    sosl = "FIND {Meyer*} RETURNING Contact(Name, Account.Name WHERE Email = null ORDER BY Name DESC LIMIT 5)"
    assert names(find(client, sosl)) == ["Bo Meyerhold"]
    assert names(find(client, "FIND {Meyer*} RETURNING Contact(Name ORDER BY Name DESC) LIMIT 1")) == ["Bo Meyerhold"]
    every = find(client, "FIND {Turbines}")["searchRecords"]
    assert sorted(each["attributes"]["type"] for each in every) == ["Account", "Contact"]
    assert all(set(each) == {"attributes", "Id"} for each in every)
    older = client.raw("GET", "/services/data/v36.0/search", params={"q": "FIND {Turbines}"}).json()
    assert len(older) == 2


@pytest.mark.parametrize(
    ("sosl", "code"),
    [
        ("FIND Meyer", "MALFORMED_SEARCH"),
        ("", "MALFORMED_SEARCH"),
        ("FIND {M}", "MALFORMED_SEARCH"),
        ("FIND {*}", "MALFORMED_SEARCH"),
        ("FIND {Meyer} IN SOME FIELDS", "MALFORMED_SEARCH"),
        ("FIND {Meyer} RETURNING Contact(Id", "MALFORMED_SEARCH"),
        ("FIND {Meyer} RETURNING Nope", "INVALID_TYPE"),
        ("FIND {Meyer} RETURNING TaskRelation", "INVALID_TYPE"),
        ("FIND {Meyer} RETURNING Contact(Nope)", "INVALID_FIELD"),
        ("FIND {Meyer} RETURNING Contact(Id WHERE Nope = 1)", "INVALID_FIELD"),
        ("FIND {Meyer} RETURNING Contact(Id LIMIT 3000)", "MALFORMED_SEARCH"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(client: OrgClient, sosl: str, code: str) -> None:
    assert find(client, sosl, 400)[0]["errorCode"] == code


def test_a_search_by_parameters_finds_the_same(client: OrgClient) -> None:
    params = {"q": "Meyer*", "sobject": "Contact", "Contact.fields": "Id,Name", "Contact.limit": "1"}
    assert names(client.call("GET", "/parameterizedSearch", params=params)) == ["Ann Meyer"]
    body = {
        "q": "Ann", "in": "NAME", "fields": ["Name"], "overallLimit": 5,
        "sobjects": [{"name": "Contact", "where": "Email != null"}, {"name": "Lead", "fields": ["Id", "Name", "Company"]}],
    }  # fmt: skip
    found = client.call("POST", "/parameterizedSearch", body)
    assert names(found) == ["Ann Meyer", "Ann Turing"]
    assert found["searchRecords"][1]["Company"] == "Acme"
    assert client.call("POST", "/parameterizedSearch", {"sobjects": []}, 400)[0]["errorCode"] == "MISSING_ARGUMENT"


def node(kind: str, reference: str, **values: Any) -> dict[str, Any]:
    return {"attributes": {"type": kind, "referenceId": reference}, **values}


def test_a_tree_is_made_with_its_children(client: OrgClient) -> None:
    people = [node("Contact", "c1", LastName="Tree"), node("Contact", "c2", LastName="Branch")]
    deals = [node("Opportunity", "o1", Name="Deal", StageName="Prospecting", CloseDate="2030-01-01")]
    root = node("Account", "a1", Name="Root", Contacts={"records": people}, Opportunities={"records": deals})
    made = client.call("POST", "/composite/tree/Account", {"records": [root]}, 201)
    ids = {each["referenceId"]: each["id"] for each in made["results"]}
    assert (made["hasErrors"], list(ids)) == (False, ["a1", "c1", "c2", "o1"])
    assert client.field("Contact", ids["c2"], "AccountId") == ids["a1"]


def test_of_a_tree_that_fails_nothing_is_made(client: OrgClient) -> None:
    people = [node("Contact", "good", LastName="Leaf"), node("Contact", "bad", FirstName="x")]
    tree = [node("Account", "fine", Name="Undone", Contacts={"records": people}), node("Account", "nameless")]
    told = client.call("POST", "/composite/tree/Account", {"records": tree}, 400)
    assert told["hasErrors"] is True
    assert [(each["referenceId"], each["errors"][0]["statusCode"]) for each in told["results"]] == [
        ("bad", "REQUIRED_FIELD_MISSING"), ("nameless", "REQUIRED_FIELD_MISSING"),
    ]  # fmt: skip
    assert client.query("SELECT COUNT() FROM Account WHERE Name = 'Undone'")["totalSize"] == 0


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ([], "INVALID_INPUT"),
        ([{"Name": "x"}], "INVALID_INPUT"),
        ([node("Account", "a", Name="x"), node("Account", "a", Name="y")], "INVALID_INPUT"),
        ([node("Contact", "a", LastName="x")], "INVALID_INPUT"),
        ([node("Nope", "a")], "INVALID_TYPE"),
        ([node("Account", f"a{number}", Name="x") for number in range(201)], "INVALID_INPUT"),
        ([node("Account", "a", Name="x", Nopes={"records": []})], "INVALID_FIELD"),
    ],
)
def test_a_tree_that_makes_no_sense_is_refused(client: OrgClient, tree: list[dict[str, Any]], code: str) -> None:
    assert client.call("POST", "/composite/tree/Account", {"records": tree}, 400)[0]["errorCode"] == code


def test_a_query_is_explained_without_being_run(client: OrgClient) -> None:
    soql = "SELECT Id FROM Contact WHERE LastName LIKE 'Meyer%'"
    told = client.call("GET", "/query/", params={"explain": soql})
    [plan] = told["plans"]
    assert (told["sourceQuery"], plan["sobjectType"], plan["cardinality"]) == (soql, "Contact", 2)
    assert plan["sobjectCardinality"] >= plan["cardinality"]
    for wrong, code in (("SELECT", "MALFORMED_QUERY"), ("SELECT Nope FROM Contact", "INVALID_FIELD")):
        assert client.call("GET", "/query", status=400, params={"explain": wrong})[0]["errorCode"] == code


def test_what_was_worked_on_last_comes_first(client: OrgClient) -> None:
    native = client.lead(LastName="Latest")
    client.admin("POST", "/clock", {"shift_s": 5})
    client.call("PATCH", f"/sobjects/Lead/{native}", {"Title": "x"}, 204)
    [first] = client.call("GET", "/recent", params={"limit": "1"})
    assert (first["Id"], first["Name"], first["attributes"]["type"]) == (native, "Latest", "Lead")
    assert len(client.call("GET", "/recent")) > 1
    client.call("GET", "/recent", status=400, params={"limit": "201"})
