"""Bulk API 1.0 as clients of its time speak it: jobs in XML, batches in CSV and XML."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
import requests

from tests.unit.sandbox.salesforce_org import OrgClient, org

NAMESPACE = "http://www.force.com/2009/06/asyncapi/dataload"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
TYPES = {"CSV": "text/csv; charset=UTF-8", "XML": "application/xml; charset=UTF-8"}


@pytest.fixture(scope="module")
def server() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


class Older:
    """A client of Bulk API 1.0 that speaks XML."""

    def __init__(self, server: OrgClient) -> None:
        self.base = f"{server.url}/services/async/60.0/job"
        self.headers = {"X-SFDC-Session": str(server.session.headers["Authorization"]).partition(" ")[2]}

    def post(self, path: str, body: str, kind: str = "XML", status: int = 201) -> dict[str, str]:
        headers = {**self.headers, "Content-Type": TYPES[kind]}
        answer = requests.post(self.base + path, data=body.encode(), headers=headers, timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/xml"), answer.text
        return _flat(answer.text)

    def get(self, path: str) -> str:
        answer = requests.get(self.base + path, headers=self.headers, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.text

    def job(
        self, operation: str, content: str, status: int = 201, of: str = "Contact", more: str = ""
    ) -> dict[str, str]:
        said = f"<operation>{operation}</operation><object>{of}</object>{more}<contentType>{content}</contentType>"
        return self.post("", f'<?xml version="1.0"?><jobInfo xmlns="{NAMESPACE}">{said}</jobInfo>', status=status)

    def batch(self, job: str, body: str, kind: str) -> str:
        return f"/{job}/batch/{self.post(f'/{job}/batch', body, kind)['id']}"


def _flat(text: str) -> dict[str, str]:
    return {each.tag.removeprefix(f"{{{NAMESPACE}}}"): each.text or "" for each in ElementTree.fromstring(text).iter()}


@pytest.fixture
def older(server: OrgClient) -> Older:
    return Older(server)


def test_a_csv_batch_has_an_outcome_for_each_row(older: Older, server: OrgClient) -> None:
    job = older.job("insert", "CSV")
    assert (job["state"], job["contentType"], job["apiVersion"]) == ("Open", "CSV", "60.0")
    rows = 'LastName,HasOptedOutOfEmail,Birthdate\n"B, ""q""",true,2001-01-01\nA,maybe,\n,false,\n'
    path = older.batch(job["id"], rows, "CSV")
    closed = older.post(f"/{job['id']}", f'<jobInfo xmlns="{NAMESPACE}"><state>Closed</state></jobInfo>', status=200)
    assert (closed["numberRecordsProcessed"], closed["numberRecordsFailed"]) == ("3", "2")
    assert _flat(older.get(path))["state"] == "Completed"
    assert _flat(older.get(f"/{job['id']}/batch"))["numberRecordsFailed"] == "2"
    assert older.get(f"{path}/request") == rows
    told = list(csv.DictReader(io.StringIO(older.get(f"{path}/result"))))
    assert [(row["Success"], row["Created"], row["Error"].partition(":")[0]) for row in told] == [
        ("true", "true", ""),
        ("false", "false", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("false", "false", "REQUIRED_FIELD_MISSING"),
    ]
    made = server.query(f"SELECT LastName, HasOptedOutOfEmail, Birthdate FROM Contact WHERE Id = '{told[0]['Id']}'")
    assert [made["records"][0][name] for name in ("LastName", "HasOptedOutOfEmail", "Birthdate")] == [
        'B, "q"', True, "2001-01-01",
    ]  # fmt: skip


def test_what_is_deleted_for_good_needs_a_permission_and_is_in_no_recycle_bin(older: Older, server: OrgClient) -> None:
    gone = server.create("Contact", LastName="Doe")
    assert older.job("hardDelete", "CSV", status=400)["exceptionCode"] == "FeatureNotEnabled"
    server.create("PermissionSet", Name="Eraser", Label="Eraser", PermissionsBulkApiHardDelete=True)
    server.assign("Eraser")
    job = older.job("hardDelete", "CSV")["id"]
    place = older.batch(job, f"Id\n{gone}\n", "CSV")
    assert older.get(f"{place}/result").splitlines()[1].split(",")[1] == '"true"'
    found = server.call("GET", f"/queryAll?q=SELECT+Id+FROM+Contact+WHERE+Id='{gone}'")
    assert found["records"] == []


def test_an_xml_batch_clears_what_is_nil_and_leaves_what_is_empty(older: Older, server: OrgClient) -> None:
    native = server.create("Contact", LastName="X", FirstName="Al", Title="CEO", Customer_Number__c="XB1")
    key = "<externalIdFieldName>Customer_Number__c</externalIdFieldName>"
    job = older.job("upsert", "XML", more=key)
    changed = "<FirstName/><Title xsi:nil='true'/><LastName>X &amp; Y</LastName>"
    one = f"<sObject><Customer_Number__c>XB1</Customer_Number__c>{changed}</sObject><sObject><LastName>Z</LastName></sObject>"
    path = older.batch(job["id"], f'<sObjects xmlns="{NAMESPACE}" xmlns:xsi="{XSI}">{one}</sObjects>', "XML")
    results = ElementTree.fromstring(older.get(f"{path}/result"))
    told = [_flat(ElementTree.tostring(each, encoding="unicode")) for each in results]
    assert (told[0]["id"], told[0]["success"], told[0]["created"]) == (native, "true", "false")
    assert (told[1]["success"], told[1]["statusCode"]) == ("false", "MISSING_ARGUMENT")
    values = server.call("GET", f"/sobjects/Contact/{native}", params={"fields": "LastName,FirstName,Title"})
    assert [values[name] for name in ("LastName", "FirstName", "Title")] == ["X & Y", "Al", None]


def test_a_query_is_answered_in_the_format_of_its_job(older: Older, server: OrgClient) -> None:
    company = server.create("Account", Name="Acme")
    native = server.create("Contact", LastName="Quoted", AccountId=company)
    soql = f"SELECT Id, LastName, Account.Name, Title FROM Contact WHERE Id = '{native}'"
    for content in ("CSV", "XML"):
        path = older.batch(older.job("query", content)["id"], soql, content)
        ids = _flat(older.get(f"{path}/result"))
        text = older.get(f"{path}/result/{ids['result']}")
        if content == "CSV":
            (row,) = csv.DictReader(io.StringIO(text))
            assert row == {"Id": native, "LastName": "Quoted", "Account.Name": "Acme", "Title": ""}
        else:
            assert f"<Id>{native}</Id>" in text
            assert '<Title xsi:nil="true"/>' in text
            assert ">Acme</Name>" in text
    none = older.batch(older.job("query", "CSV")["id"], "SELECT Id FROM Contact WHERE LastName = 'Nobody'", "CSV")
    result = _flat(older.get(f"{none}/result"))["result"]
    assert older.get(f"{none}/result/{result}") == "Records not found for this query"


@pytest.mark.parametrize(
    "soql", ["SELECT COUNT() FROM Contact", "SELECT Id, (SELECT Id FROM Tasks) FROM Contact", "SELECT"]
)
def test_what_bulk_cannot_query_fails_its_batch(older: Older, soql: str) -> None:
    told = _flat(older.get(older.batch(older.job("query", "CSV")["id"], soql, "CSV")))
    assert told["state"] == "Failed"
    assert told["stateMessage"].startswith("InvalidBatch")


def test_refusals_come_in_xml_with_their_codes(older: Older) -> None:
    assert older.job("nope", "CSV", 400)["exceptionCode"] == "InvalidJob"
    assert older.job("insert", "ZIP", 400)["exceptionCode"] == "InvalidJob"
    assert older.job("insert", "CSV", 400, of="Nope")["exceptionCode"] == "InvalidEntity"
    assert older.post("", "<jobInfo", status=400)["exceptionCode"] == "InvalidJob"
    job = older.job("insert", "CSV")
    assert older.post(f"/{job['id']}/batch", "<sObjects/>", "XML", 400)["exceptionCode"] == "InvalidBatch"
    for body in ("Nope\n1\n", "", "LastName,FirstName\nA\n"):
        failed = _flat(older.get(older.batch(job["id"], body, "CSV")))
        assert failed["state"] == "Failed", body
    older.headers = {"X-SFDC-Session": "old"}
    assert older.job("insert", "CSV", 400)["exceptionCode"] == "InvalidSessionId"


def test_the_address_that_a_token_names_tells_who_it_is(server: OrgClient) -> None:
    known = server.call("GET", "/services/oauth2/userinfo")
    answer = server.session.get(known["sub"], timeout=10)
    told = answer.json()
    assert (answer.status_code, told["user_id"], told["username"]) == (
        200,
        known["user_id"],
        known["preferred_username"],
    )
    assert requests.get(known["sub"], timeout=10).status_code == 403
    assert server.call("GET", "")["identity"] == known["sub"]
    token = str(server.session.headers["Authorization"]).partition(" ")[2]
    by_address = requests.get(known["sub"], params={"format": "json", "oauth_token": token}, timeout=10)
    assert by_address.json()["user_id"] == known["user_id"]
    assert server.session.get(known["sub"][:-3] + "AAB", timeout=10).status_code == 403


def test_a_job_made_in_json_tells_its_csv_batches_in_xml(server: OrgClient, older: Older) -> None:
    headers = {**older.headers, "Content-Type": "application/json"}
    body = {"operation": "queryAll", "object": "Contact", "contentType": "CSV"}
    made = requests.post(older.base, headers=headers, json=body, timeout=10)
    assert made.headers["Content-Type"] == "application/json"
    path = older.batch(made.json()["id"], "SELECT Id FROM Contact", "CSV")
    answer = requests.get(older.base + path, headers=headers, timeout=10)
    assert (answer.headers["Content-Type"], _flat(answer.text)["state"]) == ("application/xml", "Completed")
    assert requests.get(f"{older.base}/{made.json()['id']}", headers=headers, timeout=10).json()["state"] == "Open"


def test_a_query_cut_by_id_has_a_batch_for_each_part(server: OrgClient, older: Older) -> None:
    for number in range(5):
        server.create("Campaign", Name=f"Cut {number}")
    older.headers |= {"Sforce-Enable-PKChunking": "true; chunkSize=2"}
    job = older.job("query", "CSV", of="Campaign")
    assert "chunkSize" not in job
    first = older.batch(job["id"], "SELECT Id FROM Campaign", "CSV")
    assert _flat(older.get(first))["state"] == "NotProcessed"
    listed = ElementTree.fromstring(older.get(f"/{job['id']}/batch"))
    told = [_flat(ElementTree.tostring(each, encoding="unicode")) for each in listed]
    assert [each["numberRecordsProcessed"] for each in told] == ["0", "2", "2", "1"]
    ids: list[str] = []
    for each in told[1:]:
        path = f"/{job['id']}/batch/{each['id']}/result"
        text = older.get(f"{path}/{_flat(older.get(path))['result']}")
        ids += [row["Id"] for row in csv.DictReader(io.StringIO(text))]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    older.headers |= {"Sforce-Enable-PKChunking": "chunkSize=250001"}
    assert older.job("query", "CSV", 400)["exceptionCode"] == "InvalidJob"
