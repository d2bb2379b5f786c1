"""SOQL that a real org refuses is refused by the imitated one, too, by the same code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org

MALFORMED, NO_FIELD, NO_OPERATOR = "MALFORMED_QUERY", "INVALID_FIELD", "INVALID_QUERY_FILTER_OPERATOR"


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


@pytest.mark.parametrize(
    ("soql", "code", "text"),
    [
        ("SELECT Id FROM Lead GROUP BY Status", MALFORMED, "Field must be grouped or aggregated: Id"),
        ("SELECT Status, COUNT(Id) FROM Lead", MALFORMED, "Field must be grouped or aggregated: Status"),
        (
            "SELECT Status FROM Lead GROUP BY Status HAVING Title = 'x'",
            MALFORMED,
            "Field must be grouped or aggregated: Title",
        ),
        (
            "SELECT Status FROM Lead GROUP BY Status ORDER BY Title",
            MALFORMED,
            "Ordered field must be grouped or aggregated: Title",
        ),
        ("SELECT Id FROM Lead ORDER BY COUNT(Id)", MALFORMED, "Field must be grouped or aggregated: Id"),
        (
            "SELECT Description FROM Lead GROUP BY Description",
            NO_FIELD,
            "field 'Description' can not be grouped in a query call",
        ),
        (
            "SELECT CreatedDate FROM Lead GROUP BY CreatedDate",
            NO_FIELD,
            "field 'CreatedDate' can not be grouped in a query call",
        ),
        (
            "SELECT COUNT(Id) FROM Lead LIMIT 1",
            MALFORMED,
            "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
        ),
        ("SELECT COUNT(Id) a, MAX(Name) a FROM Lead", MALFORMED, "duplicate alias: a"),
        ("SELECT COUNT() FROM Lead GROUP BY Status", MALFORMED, "unexpected token: 'GROUP'"),
        ("SELECT COUNT() FROM Lead ORDER BY Id", MALFORMED, "unexpected token: 'ORDER'"),
        ("SELECT Title t FROM Lead", MALFORMED, "only aggregate expressions use field aliasing"),
        ("SELECT SUM(Title) FROM Lead", MALFORMED, "field Title does not support aggregate operator SUM"),
        ("SELECT COUNT(IsDeleted) FROM Lead", MALFORMED, "field IsDeleted does not support aggregate operator COUNT"),
        (
            "SELECT Id FROM Lead WHERE DAY_ONLY(Title) = TODAY",
            MALFORMED,
            "field Title does not support function DAY_ONLY",
        ),
        (
            "SELECT Id, (SELECT COUNT() FROM Contacts) FROM Account",
            MALFORMED,
            "only root queries support aggregate expressions",
        ),
    ],
)
def test_groups_hold_only_what_is_one_in_each(client: OrgClient, soql: str, code: str, text: str) -> None:
    assert client.refusal(soql) == (code, text)


@pytest.mark.parametrize(
    ("soql", "name"),
    [
        ("SELECT Id, Id FROM Lead", "Id"),
        ("SELECT Id, lead.id FROM Lead", "id"),
        ("SELECT Owner.Name, Owner.Name FROM Lead", "Owner.Name"),
        ("SELECT FIELDS(ALL), Id FROM Lead LIMIT 3", "Id"),
        ("SELECT Id, (SELECT Id FROM Contacts), (SELECT Id FROM Contacts) FROM Account", "Contacts"),
        ("SELECT TYPEOF Who WHEN Lead THEN Id END, TYPEOF who WHEN Contact THEN Id END FROM Task", "who"),
    ],
)
def test_nothing_is_selected_twice(client: OrgClient, soql: str, name: str) -> None:
    assert client.query(soql, status=400) == [
        {"message": f"duplicate field selected: {name}", "errorCode": "INVALID_FIELD"}
    ]


@pytest.mark.parametrize("items", ["Who.Type, {}", "{}, Who.Name", "task.WHO.Name, {}", "{}, toLabel(Who.Type)"])
def test_by_type_nothing_is_selected_of_a_relationship_of_which_other_fields_are(client: OrgClient, items: str) -> None:
    by_type = "TYPEOF Who WHEN Contact THEN Email END"
    code, text = client.refusal(f"SELECT Id, {items.format(by_type)} FROM Task")
    assert (code, "Who" in text) == (MALFORMED, True)
    client.query(f"SELECT Id, What.Name, {by_type} FROM Task WHERE Who.Type = 'Contact' ORDER BY Who.Name")


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (
            "AccountId IN (SELECT Id FROM Account WHERE OwnerId IN (SELECT Id FROM User))",
            "Nesting of semi join sub-selects is not supported",
        ),
        (
            "Title = 'x' OR AccountId IN (SELECT Id FROM Account)",
            "Semi join sub-selects are not allowed with the 'OR' operator",
        ),
        (
            "NOT AccountId IN (SELECT Id FROM Account)",
            "Semi join sub-selects are only allowed at the top level WHERE expressions",
        ),
        (
            "Id IN (SELECT ReportsToId FROM Contact)",
            "The inner and outer selects should not be on the same object type",
        ),
        ("Id IN (SELECT WhoId FROM Task)", "Entity 'Task' is not supported for semi join inner selects"),
        ("Id IN (SELECT Name FROM Account)", "Semi join sub-selects can only query id fields, cannot use: 'Name'"),
        ("Title IN (SELECT Id FROM Account)", "Semi join sub-selects can only query id fields, cannot use: 'Title'"),
        (
            "OwnerId IN (SELECT Id FROM Account)",
            "The selected field 'Id' in the subquery and the left operand field 'OwnerId' in the where expression in the "
            "outer query should point to the same object type",
        ),
        ("AccountId IN (SELECT Id FROM Account ORDER BY Name)", "unexpected token: 'ORDER'"),
        ("AccountId IN (SELECT COUNT() FROM Account)", "unexpected token: ')'"),
        (" AND ".join(3 * ["AccountId IN (SELECT Id FROM Account)"]), "Maximum 2 semi join sub-selects are allowed"),
    ],
)
def test_semi_joins_compare_ids_beside_and(client: OrgClient, where: str, text: str) -> None:
    assert client.refusal(f"SELECT Id FROM Contact WHERE {where}") == (MALFORMED, text)


@pytest.mark.parametrize(
    ("where", "code", "text"),
    [
        ("IsDeleted LIKE 'x'", NO_OPERATOR, "invalid operator on boolean field"),
        ("IsDeleted > FALSE", NO_OPERATOR, "invalid operator on boolean field"),
        ("OwnerId LIKE '005%'", NO_OPERATOR, "invalid operator on id field"),
        ("CreatedDate LIKE '2026%'", NO_OPERATOR, "invalid operator on dateTime field"),
        (
            "Birthdate = 2026-13-45",
            NO_FIELD,
            "value of filter criterion for field 'Birthdate' must be of type date and",
        ),
        ("Title = TRUE", NO_FIELD, "value of filter criterion for field 'Title' must be of type string and should be"),
        ("Title = TODAY", NO_FIELD, "value of filter criterion for field 'Title' must be of type string and should be"),
        ("CreatedDate = SOMEDAY", MALFORMED, "unexpected token: 'SOMEDAY'"),
        ("Title IN ()", MALFORMED, "unexpected token: ')'"),
        (
            f"{'ReportsTo.' * 6}Title = 'x'",
            MALFORMED,
            "SOQL statements cannot query foreign key relationships more than 5 levels away",
        ),
    ],
)
def test_an_operator_and_a_value_fit_the_field(client: OrgClient, where: str, code: str, text: str) -> None:
    found = client.refusal(f"SELECT Id FROM Contact WHERE {where}")
    assert found[0] == code
    assert found[1].startswith(text)


def test_numbers_and_texts_have_an_end(client: OrgClient) -> None:
    assert client.refusal("SELECT COUNT() FROM Lead LIMIT 99999999999999999999")[0] == MALFORMED
    assert client.refusal("SELECT Id FROM Lead LIMIT -1")[0] == MALFORMED
    body = {"operation": "query", "query": f"SELECT Id FROM Lead WHERE Title = '{'x' * 100_000}'"}
    assert client.call("POST", "/jobs/query", body, status=400)[0]["errorCode"] == MALFORMED


def test_a_bulk_query_selects_nothing_twice(client: OrgClient) -> None:
    body = {"operation": "query", "query": "SELECT Id, id FROM Lead"}
    assert client.call("POST", "/jobs/query", body, status=400)[0]["message"] == "duplicate field selected: Id"
