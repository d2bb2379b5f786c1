"""Records by the way to them, and the layouts of an object."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, org


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


def test_a_parent_is_read_changed_and_deleted_by_the_way_to_it(client: OrgClient) -> None:
    account = client.create("Account", Name="Acme")
    path = f"/sobjects/Contact/{client.create('Contact', LastName='Byte', AccountId=account)}"
    assert client.call("GET", f"{path}/Account")["Id"] == account
    read = client.call("GET", f"{path}/account", params={"fields": "Name"})
    assert (read["Name"], read["attributes"]["type"], "Website" in read) == ("Acme", "Account", False)
    assert client.call("GET", f"{path}/Account/Owner")["Name"] == "Integration User"
    assert (
        client.call("GET", f"{path}/Account", params={"fields": "Foo"}, status=400)[0]["errorCode"] == "INVALID_FIELD"
    )
    client.call("PATCH", f"{path}/Account", {"Name": "Apex"}, 204)
    assert client.field("Account", account, "Name") == "Apex"
    client.call("DELETE", f"{path}/Account", status=204)
    assert client.query("SELECT Id FROM Account WHERE Name = 'Apex'")["totalSize"] == 0


def test_children_come_as_a_query_brings_them(client: OrgClient) -> None:
    account = client.create("Account", Name="Acme")
    path = f"/sobjects/Account/{account}/Contacts"
    assert client.call("GET", path) == {"totalSize": 0, "done": True, "records": []}
    client.create("Contact", LastName="Byte", AccountId=account)
    (contact,) = client.call("GET", path)["records"]
    assert (contact["LastName"], contact["AccountId"]) == ("Byte", account)
    (contact,) = client.call("GET", path, params={"fields": "LastName,Account.Name"})["records"]
    assert (contact["LastName"], contact["Account"]["Name"], "Id" in contact) == ("Byte", "Acme", False)
    for fields in ("Foo", "Id FROM Lead"):
        assert client.call("GET", path, params={"fields": fields}, status=400)[0]["errorCode"] == "INVALID_FIELD"


def test_a_way_that_leads_nowhere_is_not_found(client: OrgClient) -> None:
    native = client.create("Contact", LastName="Null")
    for path in ("Account", "Foo", "ReportsTo/ReportsTo", "Account/Contacts"):
        assert client.call("GET", f"/sobjects/Contact/{native}/{path}", status=404)[0]["errorCode"] == "NOT_FOUND"
    assert client.call("GET", "/sobjects/Contact/0035g00000zzzzzAAA/Account", status=404)[0]["errorCode"] == "NOT_FOUND"


def test_an_object_has_one_layout_of_the_fields_that_the_user_sees(client: OrgClient) -> None:
    found = client.call("GET", "/sobjects/Lead/describe/layouts/")
    (layout,), (mapping,) = found["layouts"], found["recordTypeMappings"]
    assert mapping["layoutId"] == layout["id"]
    (section,) = layout["detailLayoutSections"]
    shown = [row["layoutItems"][0]["layoutComponents"][0]["value"] for row in section["layoutRows"]]
    assert shown == [field["name"] for field in client.call("GET", "/sobjects/Lead/describe")["fields"]]
    assert client.call("GET", mapping["urls"]["layout"]) == layout
    client.call("GET", "/sobjects/Lead/describe/layouts/012000000000001AAA", status=404)
    client.call("GET", "/sobjects/Foo/describe/layouts", status=404)


def test_no_compact_layout_is_set(client: OrgClient) -> None:
    url = client.call("GET", "/sobjects/Lead/describe")["urls"]["compactLayouts"]
    found = client.call("GET", url)
    assert (found["compactLayouts"], found["defaultCompactLayoutId"]) == ([], None)
    assert found["recordTypeCompactLayoutMappings"][0]["compactLayoutName"] == "SYSTEM"
