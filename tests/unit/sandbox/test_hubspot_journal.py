"""The webhooks journal: what happened is fetched by offset, with a token of the app itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.unit.sandbox.hubspot_portal import Portal, portal

JOURNAL, SUBSCRIPTIONS = "/webhooks-journal/journal/2026-03", "/webhooks-journal/subscriptions/2026-03"
SECRET = {"client_id": "sandbox-client-id", "client_secret": "sandbox-client-secret"}
CONTACTS = {"subscriptionType": "OBJECT", "objectTypeId": "0-1", "portalId": 4711}
EVERYTHING = ["CREATE", "UPDATE", "DELETE", "MERGE", "RESTORE"]


class Reader:
    """The app that reads the journal of a portal."""

    def __init__(self, hub: Portal, scope: str = "") -> None:
        self.hub = hub
        form = {"grant_type": "client_credentials", **SECRET, **({"scope": scope} if scope else {})}
        told = requests.post(f"{hub.url}/oauth/2026-03/token", data=form, timeout=10).json()
        self.headers = {"Authorization": f"Bearer {told['access_token']}"}

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = requests.request(method, self.hub.url + path, json=body, headers=self.headers, timeout=10)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def subscribe(self, **more: Any) -> Any:
        return self.call("POST", SUBSCRIPTIONS, {**CONTACTS, "actions": EVERYTHING, **more}, 201)

    def events(self, since: str = "0") -> list[dict[str, Any]]:
        """The events behind an offset, file by file; the addresses need no token."""
        files = self.call("GET", f"{JOURNAL}/batch/{since}/next/100")["results"]
        read = [requests.get(each["url"], timeout=10).json() for each in files]
        assert [each["offset"] for each in read] == [each["currentOffset"] for each in files]
        return [event for each in read for event in each["journalEvents"]]


@pytest.fixture(name="hub")
def _hub() -> Iterator[Portal]:
    with portal() as running:
        yield running


def test_what_happens_to_records_is_in_the_journal_in_order(hub: Portal) -> None:
    reader = Reader(hub)
    before = hub.create(email="before@x.com")
    reader.subscribe()
    first, second = hub.create(email="a@x.com"), hub.create(email="b@x.com")
    hub.call("PATCH", f"/crm/v3/objects/contacts/{before}", {"properties": {"city": "Rome"}}, 200)
    merge = {"primaryObjectId": first, "objectIdToMerge": second}
    survivor = hub.call("POST", "/crm/v3/objects/contacts/merge", merge, 200)["id"]
    hub.call("DELETE", f"/crm/v3/objects/contacts/{before}", status=204)
    hub.create("companies", name="Acme")
    events = reader.events()
    assert [(each["action"], str(each["objectId"])) for each in events] == [
        ("CREATE", first), ("CREATE", second), ("UPDATE", before), ("MERGE", survivor), ("DELETE", before),
    ]  # fmt: skip
    assert events[2]["propertyChanges"]["city"] == "Rome"
    assert {(each["portalId"], each["objectTypeId"], each["type"]) for each in events} == {(4711, "0-1", "object")}
    assert [str(each) for each in events[3]["mergedObjectIds"]] == [first, second]


def test_offsets_lead_on_and_the_end_is_no_content(hub: Portal) -> None:
    reader = Reader(hub)
    reader.subscribe()
    assert reader.call("GET", f"{JOURNAL}/earliest", status=204) is None
    for number in range(3):
        hub.create(email=f"{number}@x.com")
    first = reader.call("GET", f"{JOURNAL}/earliest")
    second = reader.call("GET", f"{JOURNAL}/offset/{first['currentOffset']}/next")
    latest = reader.call("GET", f"{JOURNAL}/latest")
    assert int(first["currentOffset"]) < int(second["currentOffset"]) < int(latest["currentOffset"])
    assert reader.call("GET", f"{JOURNAL}/offset/{latest['currentOffset']}/next", status=204) is None
    assert len(reader.call("GET", f"{JOURNAL}/batch/earliest/2")["results"]) == 2
    newest = reader.call("GET", f"{JOURNAL}/batch/latest/2")["results"]
    assert [each["currentOffset"] for each in newest] == [second["currentOffset"], latest["currentOffset"]]
    assert len(reader.events(second["currentOffset"])) == 1
    hub.call("POST", "/_sandbox/clock", {"shift_s": 600}, 200)
    assert requests.get(first["url"], timeout=10).status_code == 404
    hub.call("POST", "/_sandbox/clock", {"shift_s": 3 * 86_400}, 200)
    assert Reader(hub).call("GET", f"{JOURNAL}/batch/earliest/100")["results"] == []


def test_a_subscription_says_which_properties_records_and_links_are_wanted(hub: Portal) -> None:
    reader = Reader(hub)
    ann, bob, acme = hub.create(email="ann@x.com"), hub.create(email="bob@x.com"), hub.create("companies", name="Acme")
    reader.subscribe(actions=["UPDATE"], properties=["city"], objectIds=[int(ann)])
    reader.subscribe(subscriptionType="ASSOCIATION", actions=["ASSOCIATION_ADDED", "ASSOCIATION_REMOVED"])
    reader.subscribe(subscriptionType="GDPR_PRIVACY_DELETION", actions=None)
    for record_id, name in ((ann, "city"), (ann, "phone"), (bob, "city")):
        hub.call("PATCH", f"/crm/v3/objects/contacts/{record_id}", {"properties": {name: "1"}}, 200)
    [change] = reader.events()
    assert (str(change["objectId"]), change["propertyChanges"]) == (ann, {"city": "1"})
    link = f"/crm/v4/objects/contacts/{ann}/associations/companies/{acme}"
    hub.call("PUT", link.replace("/associations/", "/associations/default/"), status=200)
    hub.call("DELETE", link, status=204)
    older = f"/crm/v3/objects/contacts/{ann}/associations/companies/{acme}/contact_to_company_unlabeled"
    hub.call("PUT", older, status=200)
    hub.call("POST", "/crm/v3/objects/contacts/gdpr-delete", {"objectId": bob}, 204)
    told = [
        (each["type"], each.get("action"), str(each["objectId"]), each.get("toObjectId"))
        for each in reader.events()[1:]
    ]
    assert told == [
        ("association", "ASSOCIATION_ADDED", ann, int(acme)),
        ("association", "ASSOCIATION_REMOVED", ann, int(acme)),
        ("association", "ASSOCIATION_ADDED", ann, int(acme)),
        ("gdpr_privacy_deletion", None, bob, None),
    ]


def test_subscriptions_are_listed_and_removed(hub: Portal) -> None:
    reader = Reader(hub)
    made = reader.subscribe()
    path = f"{SUBSCRIPTIONS}/{made['id']}"
    assert reader.call("GET", SUBSCRIPTIONS)["results"] == [made] == [reader.call("GET", path)]
    reader.call("DELETE", path, status=204)
    reader.call("GET", path, status=404)
    hub.create(email="a@x.com")
    assert reader.events() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"subscriptionType": "NOPE"}, {"actions": []}, {"actions": ["NOPE"]}, {"portalId": 1},
        {"objectTypeId": "9-9"}, {"objectTypeId": None}, {"subscriptionType": "GDPR_PRIVACY_DELETION", "actions": ["CREATE"]},
    ],
)  # fmt: skip
def test_a_subscription_that_makes_no_sense_is_refused(hub: Portal, wrong: dict[str, Any]) -> None:
    reader = Reader(hub)
    before = reader.call("GET", SUBSCRIPTIONS)
    reader.call("POST", SUBSCRIPTIONS, {**CONTACTS, "actions": ["CREATE"], **wrong}, 400)
    assert reader.call("GET", SUBSCRIPTIONS) == before


def test_only_a_token_of_the_app_opens_the_journal_and_it_opens_nothing_else(hub: Portal) -> None:
    assert hub.call("GET", f"{JOURNAL}/earliest", status=403)["category"] == "MISSING_SCOPES"
    reader = Reader(hub, "developer.webhooks_journal.read")
    reader.call("GET", f"{JOURNAL}/earliest", status=204)
    reader.call("POST", SUBSCRIPTIONS, {**CONTACTS, "actions": ["CREATE"]}, 403)
    reader.call("GET", "/crm/v3/objects/contacts", status=403)
    for count in ("0", "101", "x"):
        reader.call("GET", f"{JOURNAL}/batch/0/next/{count}", status=400)
    reader.call("GET", f"{JOURNAL}/batch/x/next/1", status=400)
    form = {"grant_type": "client_credentials", **SECRET, "scope": "crm.objects.contacts.read"}
    refused = requests.post(f"{hub.url}/oauth/2026-03/token", data=form, timeout=10)
    assert (refused.status_code, refused.json()["status"]) == (400, "BAD_SCOPE")
