"""What only SOAP can do: converting leads, merging, the recycle bin; and signing in by it."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
import requests

from tests.unit.sandbox.salesforce_org import OrgClient, org

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
PARTNER, ENTERPRISE = "urn:partner.soap.sforce.com", "urn:enterprise.soap.sforce.com"
CONVERTED = "<convertedStatus>Closed - Converted</convertedStatus>"


@pytest.fixture(scope="module")
def server() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


class Caller:
    """A client of the SOAP API, of the partner WSDL unless said otherwise."""

    def __init__(self, server: OrgClient, namespace: str = PARTNER, version: str = "60.0") -> None:
        self.namespace = namespace
        self.url = f"{server.url}/services/Soap/{'u' if namespace == PARTNER else 'c'}/{version}"
        self.session = str(server.session.headers["Authorization"]).partition(" ")[2]

    def ask(self, name: str, inner: str = "", status: int = 200) -> list[dict[str, list[str]]]:
        """The results, each as its texts by name; of a fault one, with its code."""
        header = f"<t:SessionHeader><t:sessionId>{self.session}</t:sessionId></t:SessionHeader>" if self.session else ""
        text = (
            f'<?xml version="1.0"?><e:Envelope xmlns:e="{SOAP}" xmlns:t="{self.namespace}" xmlns="{self.namespace}" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            f"<e:Header>{header}</e:Header><e:Body><{name}>{inner}</{name}></e:Body></e:Envelope>"
        )
        headers = {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'}
        answer = requests.post(self.url, data=text.encode(), headers=headers, timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (status, "text/xml"), (
            answer.text
        )
        root = ElementTree.fromstring(answer.text)
        tops = root.iter(f"{{{self.namespace}}}result") if status == 200 else root.iter(f"{{{SOAP}}}Fault")
        return [_texts(each) for each in tops]


def _texts(element: ElementTree.Element) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in element.iter():
        found.setdefault(each.tag.rpartition("}")[2], []).append(each.text or "")
    return found


@pytest.fixture(params=[PARTNER, ENTERPRISE])
def caller(server: OrgClient, request: pytest.FixtureRequest) -> Caller:
    return Caller(server, request.param)


def test_a_lead_becomes_a_contact_an_account_and_a_deal(server: OrgClient, caller: Caller) -> None:
    lead = server.lead(LastName="Convert", Company="Convertible", Email="c@x.com")
    call = server.create("Task", Subject="Call", WhoId=lead, Status="Completed")
    [told] = caller.ask("convertLead", f"<leadConverts>{CONVERTED}<leadId>{lead}</leadId></leadConverts>")
    assert (told["success"], told["leadId"]) == (["true"], [lead])
    contact, account, deal = told["contactId"][0], told["accountId"][0], told["opportunityId"][0]
    names = "IsConverted,ConvertedContactId,ConvertedAccountId,ConvertedOpportunityId,Status"
    frozen = server.call("GET", f"/sobjects/Lead/{lead}", params={"fields": names})
    assert [frozen[name] for name in names.split(",")] == [True, contact, account, deal, "Closed - Converted"]
    assert server.field("Contact", contact, "Email") == "c@x.com"
    assert server.field("Task", call, "WhoId") == contact
    refused = server.call("PATCH", f"/sobjects/Lead/{lead}", {"Title": "x"}, 400)
    assert refused[0]["errorCode"] == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_a_conversion_takes_what_is_there_and_each_fails_alone(server: OrgClient, caller: Caller) -> None:
    company = server.create("Account", Name="There")
    contact = server.create("Contact", LastName="There", AccountId=company)
    first, second = server.lead(), server.lead()
    given = [
        f"{CONVERTED}<leadId>{first}</leadId><accountId>{company}</accountId><contactId>{contact}</contactId>"
        "<doNotCreateOpportunity>true</doNotCreateOpportunity>",
        f"<convertedStatus>Nope</convertedStatus><leadId>{second}</leadId>",
        f"{CONVERTED}<leadId>{company}</leadId>",
        CONVERTED,
    ]
    told = caller.ask("convertLead", "".join(f"<leadConverts>{each}</leadConverts>" for each in given))
    assert [each["success"] for each in told] == [["true"], ["false"], ["false"], ["false"]]
    assert (told[0]["contactId"], told[0]["accountId"], told[0]["opportunityId"]) == ([contact], [company], [""])
    assert [each["statusCode"] for each in told[1:]] == [
        ["INVALID_STATUS"], ["INVALID_CROSS_REFERENCE_KEY"], ["REQUIRED_FIELD_MISSING"],
    ]  # fmt: skip
    assert server.field("Lead", second, "IsConverted") is False
    [again] = caller.ask("convertLead", f"<leadConverts>{CONVERTED}<leadId>{first}</leadId></leadConverts>")
    assert again["statusCode"] == ["CANNOT_UPDATE_CONVERTED_LEAD"]


def test_a_merge_keeps_the_master_and_leads_the_others_to_it(server: OrgClient, caller: Caller) -> None:
    master, *others = (server.create("Contact", LastName=f"Merge {number}") for number in range(3))
    task = server.create("Task", Subject="Call", WhoId=others[0])
    losers = "".join(f"<recordToMergeIds>{each}</recordToMergeIds>" for each in others)
    record = f'<masterRecord xsi:type="sObject"><type>Contact</type><Id>{master}</Id><Title>CEO</Title></masterRecord>'
    [told] = caller.ask("merge", f"<request>{record}{losers}</request>")
    assert (told["success"], told["id"], told["mergedRecordIds"]) == (["true"], [master], others)
    assert task in told["updatedRelatedIds"]
    assert server.field("Contact", master, "Title") == "CEO"
    gone = server.query(
        f"SELECT IsDeleted, MasterRecordId FROM Contact WHERE Id IN ('{others[0]}','{others[1]}')", every=True
    )
    assert {(row["IsDeleted"], row["MasterRecordId"]) for row in gone["records"]} == {(True, master)}
    [again] = caller.ask("merge", f"<mergeRequests>{record}{losers}</mergeRequests>")
    assert again["statusCode"] == ["ENTITY_IS_DELETED"]
    lead = server.lead()
    [mixed] = caller.ask("merge", f"<request>{record}<recordToMergeIds>{lead}</recordToMergeIds></request>")
    assert mixed["statusCode"] == ["INVALID_OPERATION"]


def test_what_is_in_the_bin_comes_back_or_goes_for_good(server: OrgClient, caller: Caller) -> None:
    back, lost, alive = (server.create("Contact", LastName="Bin") for _ in range(3))
    for each in (back, lost):
        server.call("DELETE", f"/sobjects/Contact/{each}", status=204)
    [one, two] = caller.ask("undelete", f"<ids>{back}</ids><ids>{alive}</ids>")
    assert (one["success"], two["statusCode"]) == (["true"], ["UNDELETE_FAILED"])
    assert server.field("Contact", back, "LastName") == "Bin"
    [gone, wrong] = caller.ask("emptyRecycleBin", f"<ids>{lost}</ids><ids>{alive}</ids>")
    assert (gone["success"], wrong["success"]) == (["true"], ["false"])
    assert server.query(f"SELECT Id FROM Contact WHERE Id = '{lost}'", every=True)["totalSize"] == 0
    [malformed] = caller.ask("undelete", "<ids>nonsense</ids>")
    assert malformed["statusCode"] == ["MALFORMED_ID"]


def test_a_session_of_soap_opens_both_apis_until_it_is_ended(server: OrgClient) -> None:
    caller = Caller(server)
    caller.session = ""
    who = "<username>integration@northwind.example</username><password>{}</password>"
    [fault] = caller.ask("login", who.format("wrong"), 500)
    assert fault["exceptionCode"] == ["INVALID_LOGIN"]
    [told] = caller.ask("login", who.format("sandbox-password"))
    caller.session, caller.url = told["sessionId"][0], told["serverUrl"][0]
    assert told["userName"] == ["integration@northwind.example"]
    assert caller.ask("getUserInfo")[0]["userId"] == told["userId"][:1]
    assert caller.ask("getServerTimestamp")[0]["timestamp"][0].endswith("Z")
    headers = {"Authorization": f"Bearer {caller.session}"}
    limits = f"{server.url}{server.base}/limits"
    assert requests.get(limits, headers=headers, timeout=10).status_code == 200
    caller.ask("logout")
    [fault] = caller.ask("getUserInfo", status=500)
    assert fault["exceptionCode"] == ["INVALID_SESSION_ID"]
    assert requests.get(limits, headers=headers, timeout=10).status_code == 401


@pytest.mark.parametrize("name", ["nope", "describeSObjects"])
def test_what_is_not_served_says_so(server: OrgClient, name: str) -> None:
    [fault] = Caller(server).ask(name, status=500)
    assert fault["exceptionCode"] == ["INVALID_OPERATION"]


def test_login_is_gone_from_version_65_on_and_the_rest_is_not(server: OrgClient) -> None:
    caller = Caller(server, version="65.0")
    [fault] = caller.ask("login", "<username>a</username><password>b</password>", 500)
    assert fault["exceptionCode"] == ["UNSUPPORTED_API_VERSION"]
    assert caller.ask("getUserInfo")[0]["organizationName"] == ["Sandbox"]


@pytest.mark.parametrize("body", ["", "<x", "<a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"])
def test_no_envelope_is_a_fault(server: OrgClient, body: str) -> None:
    answer = requests.post(Caller(server).url, data=body, timeout=10)
    assert (answer.status_code, "INVALID_OPERATION" in answer.text) == (500, True)
