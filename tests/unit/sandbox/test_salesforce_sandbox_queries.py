"""SOQL of the imitated org: what it finds, how it pages, what it refuses and in which words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        account = opened.create("Account", Name="Acme", Website="acme.example", BillingCity="Ulm", BillingCountry="DE")
        ada = opened.create("Contact", LastName="Byte", FirstName="Ada", Email="Ada@Acme.example", AccountId=account)
        opened.create("Contact", LastName="Null")
        lead = opened.lead(LastName="Reed", Title="50% off_er", NumberOfEmployees=10)
        opened.create("Task", Subject="Call", WhoId=ada, Status="Completed")
        opened.create("Task", Subject="Write", WhoId=lead, ActivityDate="2026-01-05")
        opened.create("Task", Subject="Nobody")
        opened.create("Case", Subject="Broken", ContactId=ada)
        yield opened


def found(client: OrgClient, soql: str, column: str = "LastName") -> list[str]:
    return [record[column] for record in client.query(soql)["records"]]


def test_a_query_skips_two_thousand_records_and_not_one_more(client: OrgClient) -> None:
    assert found(client, "SELECT LastName FROM Contact LIMIT 5 OFFSET 2000") == []
    code, message = client.refusal("SELECT Id FROM Contact LIMIT 5 OFFSET 2001")
    assert (code, message) == ("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("Email = 'ada@acme.EXAMPLE'", ["Byte"]),
        ("Email != 'ada@acme.example'", ["Null"]),
        ("Email = null", ["Null"]),
        ("Email <> NULL", ["Byte"]),
        ("FirstName IN ('ada', null)", ["Byte", "Null"]),
        ("FirstName NOT IN ('Ada')", ["Null"]),
        ("LastName LIKE 'b%' OR (LastName = 'Null' AND NOT Email = 'x')", ["Byte", "Null"]),
        ("Account.Name = 'ACME' AND IsDeleted = false", ["Byte"]),
        ("Account.Owner.LastName = 'User'", ["Byte"]),
        ("CreatedDate = TODAY AND SystemModstamp >= LAST_N_DAYS:2", ["Byte", "Null"]),
        ("CreatedDate < TODAY", []),
        ("Id IN (SELECT ContactId FROM Case)", ["Byte"]),
        ("Id NOT IN (SELECT ContactId FROM Case WHERE Subject = 'Broken')", ["Null"]),
    ],
)
def test_conditions_hold_as_in_soql(client: OrgClient, where: str, names: list[str]) -> None:
    assert found(client, f"SELECT LastName FROM Contact WHERE {where} ORDER BY LastName") == names


@pytest.mark.parametrize("literal", ["{}Z", "{}+00:00", "{}.000Z", "{}.000+0000"])
def test_instants_are_taken_in_every_spelling(client: OrgClient, literal: str) -> None:
    at = literal.format("2020-01-01T00:00:00")
    assert len(found(client, f"SELECT LastName FROM Contact WHERE SystemModstamp >= {at}")) == 2
    assert found(client, f"SELECT LastName FROM Contact WHERE SystemModstamp < {at}") == []


def test_wildcards_can_be_escaped(client: OrgClient) -> None:
    assert found(client, r"SELECT LastName FROM Lead WHERE Title LIKE '50\% off\_er'") == ["Reed"]
    assert found(client, r"SELECT LastName FROM Lead WHERE Title LIKE '50\% offx%'") == []


def test_numbers_order_limit_and_offset(client: OrgClient) -> None:
    assert found(client, "SELECT LastName FROM Lead WHERE NumberOfEmployees >= 10") == ["Reed"]
    assert found(client, "SELECT LastName FROM Contact ORDER BY Email") == ["Null", "Byte"]
    assert found(client, "SELECT LastName FROM Contact ORDER BY Email DESC NULLS LAST") == ["Byte", "Null"]
    assert found(client, "SELECT LastName FROM Contact ORDER BY LastName LIMIT 1 OFFSET 1") == ["Null"]


def test_a_record_has_its_attributes_and_nested_parents(client: OrgClient) -> None:
    record = client.query("SELECT LastName, Account.Name, Account.Owner.Name FROM Contact ORDER BY LastName")[
        "records"
    ][0]
    assert record["attributes"]["type"] == "Contact"
    assert record["attributes"]["url"].startswith("/services/data/v62.0/sobjects/Contact/003")
    assert record["Account"]["attributes"]["type"] == "Account"
    assert record["Account"]["Name"] == "Acme"
    assert record["Account"]["Owner"]["Name"] == "Integration User"
    nobody = client.query("SELECT Account.Name FROM Contact WHERE LastName = 'Null'")["records"][0]
    assert nobody["Account"] is None


def test_a_polymorphic_parent_tells_its_type(client: OrgClient) -> None:
    records = client.query("SELECT Subject, Who.Type, Who.Name FROM Task ORDER BY Subject")["records"]
    assert [record["Who"] and (record["Who"]["Type"], record["Who"]["Name"]) for record in records] == [
        ("Contact", "Ada Byte"),
        None,
        ("Lead", "Reed"),
    ]
    soql = "SELECT TYPEOF Who WHEN Contact THEN Email WHEN Lead THEN Company END FROM Task ORDER BY Subject"
    first, second, third = (record["Who"] for record in client.query(soql)["records"])
    assert (first["Email"], second, third["Company"]) == ("Ada@Acme.example", None, "Acme")


def test_child_subqueries_give_rows_or_null(client: OrgClient) -> None:
    records = client.query("SELECT LastName, (SELECT Subject FROM Tasks) FROM Contact ORDER BY LastName")["records"]
    assert [task["Subject"] for task in records[0]["Tasks"]["records"]] == ["Call"]
    assert records[1]["Tasks"] is None
    by_path = client.query("SELECT Name, (SELECT LastName FROM Account.Contacts) FROM Account")["records"][0]
    assert [contact["LastName"] for contact in by_path["Contacts"]["records"]] == ["Byte"]


def test_child_subqueries_have_children_of_their_own(client: OrgClient) -> None:
    soql = "SELECT Name, (SELECT LastName, (SELECT Subject FROM Tasks) FROM Contacts) FROM Account"
    (contact,) = client.query(soql)["records"][0]["Contacts"]["records"]
    assert contact["LastName"] == "Byte"
    assert [task["Subject"] for task in contact["Tasks"]["records"]] == ["Call"]
    body = client.call("GET", "/services/data/v57.0/query", params={"q": soql}, status=400)
    assert "more than 1 level away" in body[0]["message"]


def test_a_compound_address_is_an_object(client: OrgClient) -> None:
    address = client.query("SELECT BillingAddress FROM Account")["records"][0]["BillingAddress"]
    assert (address["city"], address["country"], address["street"]) == ("Ulm", "DE", None)


def test_counts_and_groups(client: OrgClient) -> None:
    assert client.query("SELECT COUNT() FROM Task") == {"totalSize": 3, "done": True, "records": []}
    counted = client.query("SELECT Status, COUNT(Id) many FROM Task GROUP BY Status ORDER BY Status")["records"]
    assert [(row["Status"], row["many"]) for row in counted] == [("Completed", 1), ("Not Started", 2)]
    assert client.query("SELECT COUNT(Id), MAX(NumberOfEmployees) FROM Lead")["records"][0]["expr1"] == 10
    by_day = client.query("SELECT DAY_ONLY(CreatedDate) d, COUNT(Id) FROM Task GROUP BY DAY_ONLY(CreatedDate)")
    assert by_day["records"][0]["expr0"] == 3


def test_deleted_rows_are_in_query_all_only(client: OrgClient) -> None:
    native = client.create("Contact", LastName="Gone")
    client.call("DELETE", f"/sobjects/Contact/{native}", status=204)
    soql = f"SELECT IsDeleted FROM Contact WHERE Id = '{native[:15]}'"
    assert client.query(soql)["totalSize"] == 0
    assert client.query(soql, every=True)["records"][0]["IsDeleted"] is True


def test_pages_follow_the_cursor_can_be_read_again_and_hold_every_row_once(client: OrgClient) -> None:
    names = [f"N{number:04d}" for number in range(430)]
    for start in range(0, len(names), 200):
        rows = [{"attributes": {"type": "Campaign"}, "Name": name} for name in names[start : start + 200]]
        client.call("POST", "/composite/sobjects", {"records": rows})
    headers = {"Sforce-Query-Options": "batchSize=200"}
    params = {"q": "SELECT Name FROM Campaign ORDER BY Name DESC"}
    page = client.call("GET", "/query/", params=params, headers=headers)
    assert page["nextRecordsUrl"].endswith("-200")
    seen = [record["Name"] for record in page["records"]]
    client.create("Campaign", Name="N0000a")
    while not page["done"]:
        again = client.call("GET", page["nextRecordsUrl"])
        page = client.call("GET", page["nextRecordsUrl"])
        assert again == page
        assert page["totalSize"] == 430
        seen += [record["Name"] for record in page["records"]]
    assert seen == names[::-1]


def test_a_cursor_ends_after_two_days_and_an_unknown_one_is_refused(client: OrgClient) -> None:
    rows = [{"attributes": {"type": "Account"}, "Name": f"A{number}"} for number in range(200)]
    client.call("POST", "/composite/sobjects", {"records": rows})
    headers = {"Sforce-Query-Options": "batchSize=10"}
    page = client.call("GET", "/query", params={"q": "SELECT Id FROM Account"}, headers=headers)
    client.context.clock.shift(2 * 86_400 + 60)
    client.sign_in()
    for cursor in (page["nextRecordsUrl"], "/query/01g5g00000zzzzzAAA-200"):
        assert client.call("GET", cursor, status=400)[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
    client.context.clock.shift_s = 0.0
    client.sign_in()


@pytest.mark.parametrize(
    ("soql", "code", "text"),
    [
        ("SELECT Id FORM Lead", "MALFORMED_QUERY", "unexpected token: 'FORM'"),
        ("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        (
            "SELECT Id FROM Lead WHERE Name = 'a' AND Name = 'b' OR Name = 'c'",
            "MALFORMED_QUERY",
            "unexpected token: 'OR'",
        ),
        ("SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01T00:00:00 00:00", "MALFORMED_QUERY", None),
        ('SELECT Id FROM Lead WHERE Name = "a"', "MALFORMED_QUERY", "unexpected token: '\"'"),
        ("SELECT Foo FROM Lead", "INVALID_FIELD", "No such column 'Foo' on entity 'Lead'. "),
        ("SELECT Foo.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Foo' in field path. "),
        ("SELECT Id, (SELECT Id FROM Foos) FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Foos'"),
        ("SELECT Id FROM Foo", "INVALID_TYPE", "sObject type 'Foo' is not supported. "),
        ("SELECT Id FROM Lead WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: x"),
        (
            "SELECT Id FROM Lead WHERE CreatedDate > '2026-01-01'",
            "INVALID_FIELD",
            "value of filter criterion for field",
        ),
        ("SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01", "INVALID_FIELD", "value of filter criterion for field"),
        ("SELECT Id FROM Lead WHERE NumberOfEmployees = '5'", "INVALID_FIELD", "value of filter criterion for field"),
        (
            "SELECT Id FROM Lead WHERE Name = 5",
            "INVALID_FIELD",
            "value of filter criterion for field 'Name' must be of",
        ),
        ("SELECT Id FROM Lead WHERE Description = 'x'", "INVALID_FIELD", "field 'Description' can not be filtered"),
        ("SELECT Id FROM Lead ORDER BY Description", "INVALID_FIELD", "field 'Description' can not be sorted"),
    ],
)
def test_what_is_refused_is_refused_in_the_vendors_words(
    client: OrgClient, soql: str, code: str, text: str | None
) -> None:
    assert client.refusal(soql)[0] == code
    assert text is None or client.refusal(soql)[1].startswith(text)


def test_an_error_shows_the_place(client: OrgClient) -> None:
    message = client.query("SELECT Foo FROM Lead", status=400)[0]["message"]
    assert message.startswith("\nSELECT Foo FROM Lead\n       ^\nERROR at Row:1:Column:8\n")


def test_a_uri_that_is_too_long_is_refused(client: OrgClient) -> None:
    assert client.raw("GET", "/query", params={"q": "SELECT Id FROM Lead" + " " * 17_000}).status_code == 414
    assert client.raw("GET", "/query?q=x", headers={"X": "a" * 16_400}).status_code == 431


def test_having_picks_groups_by_what_they_add_up_to(client: OrgClient) -> None:
    groups = "SELECT Status, COUNT(Id) many FROM Task WHERE Subject != 'x' GROUP BY Status"
    assert found(client, f"{groups} HAVING COUNT(Id) > 1", "Status") == ["Not Started"]
    assert found(client, f"{groups} HAVING COUNT(Id) = 1 AND Status LIKE 'C%'", "Status") == ["Completed"]
    assert found(client, f"{groups} HAVING MAX(Subject) >= 'Write' ORDER BY Status", "Status") == ["Not Started"]
    assert client.refusal("SELECT Id FROM Task HAVING COUNT(Id) > 1")[0] == "MALFORMED_QUERY"
    assert client.refusal("SELECT Status FROM Task WHERE COUNT(Id) > 1 GROUP BY Status")[0] == "MALFORMED_QUERY"


def test_who_a_mail_is_from_comes_with_it(client: OrgClient) -> None:
    person = client.query("SELECT Id FROM Contact WHERE LastName = 'Byte'")["records"][0]["Id"]
    mail = client.create("EmailMessage", Subject="Hello", Incoming=True, Status="1")
    client.create("EmailMessageRelation", EmailMessageId=mail, RelationId=person, RelationType="FromAddress")
    soql = f"SELECT Id, (SELECT RelationId FROM EmailMessageRelations) FROM EmailMessage WHERE Id = '{mail}'"
    (record,) = client.query(soql)["records"]
    assert [each["RelationId"] for each in record["EmailMessageRelations"]["records"]] == [person]


def test_a_scope_keeps_what_is_of_the_user_and_its_mode_is_no_matter(client: OrgClient) -> None:
    owner = client.create("User", Username="o@x.example", LastName="Other", Email="o@x.example", Alias="other")
    client.create("Campaign", Name="Zoe's", OwnerId=owner)
    client.create("Campaign", Name="Zelda's")
    assert found(client, "SELECT Name FROM Campaign USING SCOPE mine WHERE Name > 'Z'", "Name") == ["Zelda's"]
    every = "SELECT Name FROM Campaign c USING SCOPE Everything WHERE Name > 'Z' WITH {} ORDER BY Name LIMIT 5"
    for mode in ("SECURITY_ENFORCED", "USER_MODE"):
        assert found(client, every.format(mode), "Name") == ["Zelda's", "Zoe's"]
    assert client.refusal("SELECT Name FROM Campaign USING SCOPE team")[0] == "INVALID_QUERY_SCOPE"
    assert client.refusal("SELECT Name FROM User USING SCOPE mine")[0] == "INVALID_QUERY_SCOPE"
    assert client.refusal("SELECT Name FROM Campaign WITH DATA")[0] == "MALFORMED_QUERY"
    scopes = [scope["name"] for scope in client.call("GET", "/sobjects/Campaign/describe")["supportedScopes"]]
    assert scopes == ["everything", "mine"]
