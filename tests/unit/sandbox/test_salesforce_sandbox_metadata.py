"""Deployments: fields and grants appear together or not at all, and nobody sees an ungranted field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.salesforce_org import GRADE, SCORE, TASK_KEY, OrgClient, custom_object, org, permission_set

LEAD = {"objects/Lead.object": custom_object(SCORE)}
GRANT = {"permissionsets/Connector.permissionset": permission_set("Lead.Score__c")}


@pytest.fixture
def client() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


def fields(client: OrgClient, kind: str) -> dict[str, dict[str, object]]:
    return {field["name"]: field for field in client.call("GET", f"/sobjects/{kind}/describe")["fields"]}


def test_a_deployed_field_is_invisible_and_unwritable_until_it_is_granted(client: OrgClient) -> None:
    native = client.lead()
    assert client.deploy(LEAD | GRANT)["status"] == "Succeeded"
    assert "Score__c" not in fields(client, "Lead")
    assert client.refusal("SELECT Score__c FROM Lead")[0] == "INVALID_FIELD"
    refused = client.call("PATCH", f"/sobjects/Lead/{native}", {"Score__c": 1}, 400)[0]
    assert refused["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    client.assign("Connector")
    assert fields(client, "Lead")["Score__c"]["updateable"] is True
    client.call("PATCH", f"/sobjects/Lead/{native}", {"Score__c": 1}, 204)
    granted = client.query("SELECT Id FROM PermissionSet WHERE Name = 'Connector'")["records"][0]["Id"]
    own = client.query(f"SELECT Id FROM PermissionSetAssignment WHERE PermissionSetId = '{granted}'")["records"]
    client.call("DELETE", f"/sobjects/PermissionSetAssignment/{own[0]['Id']}", status=204)
    assert "Score__c" not in fields(client, "Lead")


def test_a_field_granted_for_reading_only_is_read_only(client: OrgClient) -> None:
    readable = {"permissionsets/Connector.permissionset": permission_set("Lead.Score__c", editable=False)}
    client.deploy(LEAD | readable)
    client.assign("Connector")
    assert fields(client, "Lead")["Score__c"]["updateable"] is False
    assert client.query("SELECT Score__c FROM Lead")["totalSize"] == 0


def test_a_field_of_activities_stands_on_tasks_and_events(client: OrgClient) -> None:
    grants = permission_set("Task.Task_Key__c", "Event.Task_Key__c")
    client.deploy(
        {"objects/Activity.object": custom_object(TASK_KEY), "permissionsets/Connector.permissionset": grants}
    )
    client.assign("Connector")
    assert fields(client, "Task")["Task_Key__c"]["unique"] is True
    assert "Task_Key__c" in fields(client, "Event")


def test_a_deployment_that_fails_changes_nothing(client: OrgClient) -> None:
    bad = custom_object(SCORE + "<fields><fullName>X__c</fullName><label>X</label><type>Magic</type></fields>")
    result = client.deploy({"objects/Lead.object": bad} | GRANT)
    assert (result["status"], result["numberComponentErrors"]) == ("Failed", 1)
    assert result["details"]["componentFailures"][0]["fullName"] == "Lead.X__c"
    assert client.deploy(GRANT)["details"]["componentFailures"][0]["problem"].endswith("Lead.Score__c found")
    assert client.deploy(LEAD | GRANT)["success"]


def test_checking_only_changes_nothing(client: OrgClient) -> None:
    assert client.deploy(LEAD | GRANT, checkOnly=True)["success"]
    assert client.query("SELECT Id FROM PermissionSet WHERE Name = 'Connector'")["totalSize"] == 0
    assert not client.deploy(GRANT)["success"]


def test_deploying_the_same_again_changes_nothing_and_new_values_do(client: OrgClient) -> None:
    files = {"objects/Lead.object": custom_object(SCORE + GRADE)}
    first = client.deploy(files)["details"]["componentSuccesses"]
    again = client.deploy(files)["details"]["componentSuccesses"]
    assert [part["created"] for part in first] == [True, True]
    assert [(part["created"], part["changed"]) for part in again] == [(False, False)] * 2
    wider = GRADE.replace("</valueSetDefinition>", "<value><fullName>C</fullName></value></valueSetDefinition>")
    result = client.deploy({"objects/Lead.object": custom_object(wider)})
    assert [(part["created"], part["changed"]) for part in result["details"]["componentSuccesses"]] == [(False, True)]


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        (SCORE.replace("Score__c", "Score"), "Invalid custom field name"),
        (SCORE.replace("<precision>5</precision>", ""), "Must specify 'precision'"),
        (SCORE.replace("<label>Score</label>", ""), "Required field is missing: label"),
        (TASK_KEY.replace("64", "256"), "Must specify 'length'"),
    ],
)
def test_a_wrong_field_is_named_with_its_problem(client: OrgClient, element: str, problem: str) -> None:
    result = client.deploy({"objects/Lead.object": custom_object(element)})
    assert problem in result["details"]["componentFailures"][0]["problem"]


def test_a_field_of_tasks_must_be_deployed_on_activity(client: OrgClient) -> None:
    assert not client.deploy({"objects/Task.object": custom_object(TASK_KEY)})["success"]


def test_the_tooling_api_makes_a_field_too(client: OrgClient) -> None:
    metadata = {"label": "Score", "type": "Number", "precision": 5, "scale": 1}
    body = {"FullName": "Lead.Score__c", "Metadata": metadata}
    assert client.call("POST", "/tooling/sobjects/CustomField/", body, 201)["success"]
    assert (
        client.call("POST", "/tooling/sobjects/CustomField/", body, 400)[0]["errorCode"] == "DUPLICATE_DEVELOPER_NAME"
    )
    assert client.deploy(GRANT)["success"]


def test_a_body_that_is_no_deployment_is_refused(client: OrgClient) -> None:
    assert client.raw("POST", "/metadata/deployRequest", json={}).status_code == 415
    parts = {"json": (None, b"{}", "application/json"), "file": ("x.zip", b"no zip", "application/zip")}
    assert client.raw("POST", "/metadata/deployRequest", files=parts).status_code == 400
    assert client.raw("GET", "/metadata/deployRequest/0Af000000000000AAA").status_code == 404


def test_a_formula_field_shows_what_it_is_made_of_and_does_not_move_the_stamp(client: OrgClient) -> None:
    formula = "<type>Text</type><formula>Account.Industry</formula>"
    made = f"<fields><fullName>Branch__c</fullName><label>Branch</label>{formula}</fields>"
    bad = made.replace("Account.Industry", "Account.Nope").replace("Branch__c", "Bad__c")
    grant = {"permissionsets/Connector.permissionset": permission_set("Contact.Branch__c", editable=False)}
    assert client.deploy({"objects/Contact.object": custom_object(bad)})["success"] is False
    assert client.deploy({"objects/Contact.object": custom_object(made), **grant})["success"] is True
    client.assign("Connector")
    account = client.create("Account", Name="Acme", Industry="Banking")
    contact = client.create("Contact", LastName="Doe", AccountId=account)
    shown = fields(client, "Contact")["Branch__c"]
    assert (shown["calculated"], shown["calculatedFormula"], shown["updateable"]) == (True, "Account.Industry", False)
    assert shown["length"] == 1_300
    soql = "SELECT Id, Branch__c, SystemModstamp FROM Contact WHERE Branch__c = '{}'"
    before = client.query(soql.format("Banking"))["records"][0]
    client.admin("POST", "/clock", {"shift_s": 60})
    client.call("PATCH", f"/sobjects/Account/{account}", {"Industry": "Energy"}, 204)
    after = client.query(soql.format("Energy"))["records"][0]
    assert after["Id"] == contact
    assert after["SystemModstamp"] == before["SystemModstamp"]
    refused = client.call("PATCH", f"/sobjects/Contact/{contact}", {"Branch__c": "x"}, 400)[0]
    assert refused["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"


def test_a_text_carries_a_length_and_a_formula_that_gives_text_none(client: OrgClient) -> None:
    path, text = "/tooling/sobjects/CustomField", {"label": "Branch", "type": "Text"}
    refused = client.call("POST", path, {"FullName": "Contact.Branch__c", "Metadata": text}, 400)[0]
    assert "'length'" in refused["message"]
    formula = {**text, "formula": "Account.Industry"}
    client.call("POST", path, {"FullName": "Contact.Branch__c", "Metadata": formula}, 201)
