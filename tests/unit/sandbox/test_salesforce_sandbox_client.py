"""The org serves simple-salesforce, which builds https URLs and is led to loopback by an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

from tests.unit.sandbox.salesforce_org import CLIENT, OrgClient, org


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
