"""The org serves simple-salesforce, which builds https URLs and is led to loopback by an adapter."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from tests.unit.sandbox.salesforce_org import CLIENT, NAMESPACE, OrgClient, custom_object, org


class ToLoopback(HTTPAdapter):
    """Sends what is meant for https to a plain-http address."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        request.url = urlunsplit(("http", self.target, *parts[2:]))
        return super().send(request, *args, **kwargs)


@pytest.fixture(scope="module")
def server() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


@pytest.fixture
def library(server: OrgClient) -> Salesforce:
    target = urlsplit(server.url).netloc
    session = requests.Session()
    for name in (target, "acme.my.salesforce.com"):
        session.mount(f"https://{name}", ToLoopback(target))
    return Salesforce(
        consumer_key=CLIENT[0], consumer_secret=CLIENT[1], domain="acme.my", session=session, version="60.0"
    )


def test_records_come_and_go(library: Salesforce) -> None:
    made = library.Lead.create({"LastName": "Zed", "Company": "Acme"})
    assert made["success"]
    assert library.Lead.get(made["id"])["Name"] == "Zed"
    assert library.Lead.update(made["id"], {"FirstName": "Al"}) == 204
    assert library.Lead.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        library.Lead.get(made["id"])
    assert library.Contact.upsert("Customer_Number__c/Z1", {"LastName": "Up"}) == 201
    assert library.Contact.upsert("Customer_Number__c/Z1", {"LastName": "Up"}) == 200
    assert library.Contact.get_by_custom_id("Customer_Number__c", "Z1")["LastName"] == "Up"


def test_queries_page_to_the_end(library: Salesforce) -> None:
    for start in range(0, 2_200, 200):
        records = [{"attributes": {"type": "Campaign"}, "Name": f"{start + number}"} for number in range(200)]
        library.restful("composite/sobjects", method="POST", json={"records": records})
    assert len({row["Name"] for row in library.query_all_iter("SELECT Name FROM Campaign")}) == 2_200
    assert library.query("SELECT COUNT() FROM Campaign")["totalSize"] == 2_200
    assert library.api_usage["api-usage"].total == 100_000


def test_an_expired_session_is_renewed(library: Salesforce, server: OrgClient) -> None:
    server.admin("POST", "/act", {"system": "salesforce", "action": "expire_sessions"})
    assert library.query("SELECT Id FROM User")["totalSize"] == 2
    server.sign_in()


def test_describes_limits_and_errors_are_understood(library: Salesforce) -> None:
    assert library.describe()["maxBatchSize"] == 200
    assert library.Lead.describe()["name"] == "Lead"
    assert library.limits()["DailyApiRequests"]["Max"] == 100_000
    with pytest.raises(SalesforceMalformedRequest):
        library.query("SELECT Foo FROM Lead")


def test_bulk_jobs_insert_upsert_and_read_records(library: Salesforce, tmp_path: Path) -> None:
    people = [{"LastName": f"Bulk {number}", "Customer_Number__c": f"K{number}"} for number in range(7)]
    (done,) = library.bulk2.Contact.insert(records=people, wait=0)
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (7, 0)
    assert len(library.bulk2.Contact.get_successful_records(done["job_id"]).splitlines()) == 8
    changed = [{"Customer_Number__c": "K1", "FirstName": "A"}, {"Customer_Number__c": "K9", "LastName": "New"}]
    (done,) = library.bulk2.Contact.upsert(records=changed, external_id_field="Customer_Number__c", wait=0)
    every = library.bulk2.Contact.get_all_ingest_records(done["job_id"])
    assert [row["Customer_Number__c"] for row in every["successfulRecords"]] == ["K1", "K9"]
    assert (every["failedRecords"], every["unprocessedRecords"]) == ([], [])
    query = "SELECT Id, Customer_Number__c FROM Contact WHERE Customer_Number__c LIKE 'K%'"
    pages = list(library.bulk2.Contact.query(query, max_records=3, wait=0))
    assert [len(page.splitlines()) for page in pages] == [4, 4, 3]
    files = library.bulk2.Contact.download(query, path=str(tmp_path), max_records=5)
    assert [found["number_of_records"] for found in files] == [5, 3]
    gone = [{"Id": line.split(",")[0].strip('"')} for page in pages for line in page.splitlines()[1:]]
    (done,) = library.bulk2.Contact.delete(records=gone, wait=0)
    assert done["numberRecordsFailed"] == 0
    deleted = next(iter(library.bulk2.Contact.query_all(query + " AND IsDeleted = true", wait=0)))
    assert len(deleted.splitlines()) == 9


def test_a_password_signs_in_by_oauth_and_by_soap_until_soap_is_gone(server: OrgClient) -> None:
    target = urlsplit(server.url).netloc
    session = requests.Session()
    session.mount("https://login.salesforce.com", ToLoopback(target))
    session.mount(f"https://{target}", ToLoopback(target))
    given: dict[str, Any] = {"username": "integration@northwind.example", "password": "sandbox-password"}
    app = {"consumer_key": CLIENT[0], "consumer_secret": CLIENT[1]}
    by_oauth = Salesforce(**given, **app, session=session)
    by_soap = Salesforce(**given, security_token="T", session=session)
    for signed_in in (by_oauth, by_soap):
        assert signed_in.query("SELECT Id FROM User")["totalSize"] == 2
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        Salesforce(**given | {"password": "wrong"}, security_token="", session=session)
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid_grant"):
        Salesforce(**given | {"password": "wrong"}, **app, session=session)
    with pytest.raises(SalesforceAuthenticationFailed, match="UNSUPPORTED_API_VERSION"):
        Salesforce(**given, security_token="", session=session, version="65.0")


def test_bulk_api_of_the_first_generation_writes_and_reads_records(library: Salesforce, server: OrgClient) -> None:
    contacts = library.bulk.Contact
    made = contacts.insert([{"LastName": "One", "Customer_Number__c": "B1"}, {"FirstName": "Nameless"}])
    assert [(row["success"], row["created"]) for row in made] == [(True, True), (False, False)]
    assert made[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    again = [{"LastName": "Uno", "Customer_Number__c": "B1"}, {"LastName": "Two", "Customer_Number__c": "B2"}]
    told = contacts.upsert(again, "Customer_Number__c", batch_size=1, use_serial=True)
    assert [row["created"] for row in told] == [False, True]
    assert contacts.update([{"Id": told[1]["id"], "FirstName": "Al"}])[0]["success"]
    soql = "SELECT Id, LastName, FirstName FROM Contact WHERE Customer_Number__c LIKE 'B%' ORDER BY Customer_Number__c"
    assert [(row["LastName"], row["FirstName"]) for row in contacts.query(soql)] == [("Uno", None), ("Two", "Al")]
    assert all(row["success"] for row in contacts.delete([{"Id": row["id"]} for row in told]))
    assert len(contacts.query_all(soql)) == 2
    base = f"{server.url}/services/async/60.0/job"
    refused = requests.post(base, headers={"X-SFDC-Session": "old"}, json={}, timeout=10)
    assert (refused.status_code, refused.json()["exceptionCode"]) == (400, "InvalidSessionId")
    headers = {"X-SFDC-Session": str(library.session_id)}
    job = {"operation": "insert", "object": "Nope", "contentType": "JSON"}
    assert requests.post(base, headers=headers, json=job, timeout=10).json()["exceptionCode"] == "InvalidEntity"
    job = requests.post(base, headers=headers, json={**job, "object": "Contact"}, timeout=10).json()
    requests.post(f"{base}/{job['id']}", headers=headers, json={"state": "Closed"}, timeout=10)
    late = requests.post(f"{base}/{job['id']}/batch", headers=headers, json=[], timeout=10)
    assert (late.status_code, late.json()["exceptionCode"]) == (400, "InvalidJobState")


def _zip(name: str, text: str) -> io.BytesIO:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("package.xml", f"<Package {NAMESPACE}><version>62.0</version></Package>")
        archive.writestr(name, text)
    return packed


def test_a_package_is_deployed_and_asked_for_by_soap(library: Salesforce) -> None:
    field = "<fields><fullName>{}</fullName><label>F</label><type>Text</type><length>{}</length></fields>"
    good = _zip("objects/Account.object", custom_object(field.format("By_Soap__c", 9)))
    bad = _zip("objects/Account.object", custom_object(field.format("Too_Long__c", 9_999)))
    checked = library.deploy(good, sandbox=True, checkOnly=True)
    assert library.checkDeployStatus(checked["asyncId"])["state"] == "Succeeded"
    told = library.deploy(good, sandbox=False)
    assert told["state"] == "Queued"
    done = library.checkDeployStatus(told["asyncId"])
    assert (done["state"], done["deployment_detail"]["failed_count"]) == ("Succeeded", "0")  # type: ignore[index]
    failed = library.checkDeployStatus(library.deploy(bad, sandbox=False)["asyncId"])
    errors = failed["deployment_detail"]["errors"]  # type: ignore[index]
    assert (failed["state"], errors[0]["type"]) == ("Failed", "CustomField")  # type: ignore[index]
    with pytest.raises(SalesforceGeneralError, match="INVALID_ZIP"):
        library.deploy(io.BytesIO(b"no zip"), sandbox=False)
    with pytest.raises(SalesforceGeneralError, match="INVALID_CROSS_REFERENCE_KEY"):
        library.checkDeployStatus("0AfQQ0000000000YAX")


def test_words_are_looked_for(library: Salesforce) -> None:
    made = library.Contact.create({"LastName": "Findable"})
    assert library.search("FIND {Findable} RETURNING Contact(Id)")["searchRecords"][0]["Id"] == made["id"]
    assert library.quick_search("Findable")["searchRecords"][0]["Id"] == made["id"]


def test_a_query_may_say_what_its_records_are_for(library: Salesforce) -> None:
    for word in ("VIEW", "REFERENCE", "UPDATE"):
        assert library.query(f"SELECT Id FROM User LIMIT 1 FOR {word}")["totalSize"] == 1
    with pytest.raises(SalesforceMalformedRequest):
        library.query("SELECT Id FROM User LIMIT 1 FOR FUN")
