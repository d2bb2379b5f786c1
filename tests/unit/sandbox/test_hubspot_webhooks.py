"""Webhooks of the imitated HubSpot: subscribed with its own client, signed so that its own client accepts them."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hubspot import HubSpot
from hubspot.utils.signature import Signature

from connector.sandbox.hubspot.delivering import signatures
from tests.unit.sandbox.hubspot_portal import Portal, portal

APP, SECRET = 31_415, "sandbox-client-secret"
CONTACTS = "/crm/v3/objects/contacts"


@contextmanager
def listener(*statuses: int) -> Iterator[tuple[str, queue.Queue[tuple[dict[str, str], bytes]]]]:
    """Where webhooks arrive; the first ones are answered with `statuses`, the others with 200."""
    arrived: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
    waiting = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(waiting.pop(0) if waiting else 200)
            self.end_headers()
            arrived.put(({**self.headers, "path": self.path}, body))

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks?kind=%21crm&x=%7Ea", arrived
    finally:
        server.shutdown()
        server.server_close()


def subscribe(hub: Portal, url: str, *events: str, name: str | None = None) -> None:
    hooks = HubSpot(api_key="sandbox-developer-key", host=hub.url).webhooks
    hooks.settings_api.configure(APP, {"targetUrl": url, "throttling": {"maxConcurrentRequests": 5}})
    for event in events:
        changed = {"propertyName": name} if event.endswith("propertyChange") else {}
        hooks.subscriptions_api.create(APP, {"eventType": event, "active": True, **changed})


def test_events_arrive_signed_as_the_vendors_own_client_checks_it() -> None:
    with portal() as hub, listener() as (url, arrived):
        subscribe(hub, url, "contact.creation", "contact.propertyChange", "contact.deletion", name="city")
        record_id = hub.create(email="a@x.com", city="Rome")
        headers, body = arrived.get(timeout=10)
        events = {each["subscriptionType"]: each for each in json.loads(body)}
        assert set(events) == {"contact.creation", "contact.propertyChange"}
        change = events["contact.propertyChange"]
        assert (change["objectId"], change["propertyName"], change["propertyValue"]) == (int(record_id), "city", "Rome")
        assert {change["portalId"], change["appId"], change["attemptNumber"]} == {4711, APP, 0}
        text = body.decode()
        assert Signature.is_valid(headers["X-HubSpot-Signature"], SECRET, text, signature_version="v1")
        assert url.endswith(headers["path"]), "it is requested as it is signed"
        decoded = url.replace("%21", "!")
        assert Signature.is_valid(
            headers["X-HubSpot-Signature-v3"],
            SECRET,
            text,
            http_uri=decoded,
            http_method="POST",
            signature_version="v3",
            timestamp=headers["X-HubSpot-Request-Timestamp"],
        )
        hub.raw("DELETE", f"{CONTACTS}/{record_id}")
        [gone] = json.loads(arrived.get(timeout=10)[1])
        assert gone["subscriptionType"] == "contact.deletion"


@pytest.mark.parametrize("query", ["", "?kind=crm"])
def test_an_address_without_a_path_is_signed_with_the_slash_that_is_requested(query: str) -> None:
    with portal() as hub, listener() as (url, arrived):
        host = url.partition("/hooks")[0]
        subscribe(hub, host + query, "contact.creation")
        hub.create(email="a@x.com")
        headers, body = arrived.get(timeout=10)
        assert headers["path"] == f"/{query}"
        at_ms = int(headers["X-HubSpot-Request-Timestamp"])
        signed = signatures(SECRET, "POST", f"{host}/{query}", body, at_ms)["v3"]
        assert headers["X-HubSpot-Signature-v3"] == signed


def test_settings_that_are_put_again_stay_as_old_as_they_are() -> None:
    with portal() as hub:
        path = f"/webhooks/v3/{APP}/settings?hapikey=sandbox-developer-key"
        first = hub.call("PUT", path, {"targetUrl": "https://x.example"}, 200)
        hub.call("POST", "/_sandbox/clock", {"shift_s": 60}, 200)
        again = hub.call("PUT", path, {"targetUrl": "https://y.example"}, 200)
        assert (again["createdAt"], again["updatedAt"] > first["updatedAt"]) == (first["createdAt"], True)
        assert hub.call("GET", path, status=200) == again


def test_merges_and_erasures_are_told() -> None:
    with portal() as hub, listener() as (url, arrived):
        subscribe(hub, url, "contact.merge", "contact.deletion", "contact.privacyDeletion")
        pair = [int(hub.create(email=f"{each}@x.com")) for each in "ab"]
        merge = {"primaryObjectId": str(pair[0]), "objectIdToMerge": str(pair[1])}
        new_id = int(hub.call("POST", f"{CONTACTS}/merge", merge, 200)["id"])
        [told] = json.loads(arrived.get(timeout=10)[1])
        assert (told["primaryObjectId"], told["mergedObjectIds"], told["newObjectId"]) == (pair[0], pair, new_id)
        hub.raw("POST", f"{CONTACTS}/gdpr-delete", json={"objectId": str(new_id)})
        told = json.loads(arrived.get(timeout=10)[1])
        assert {each["subscriptionType"]: each["objectId"] for each in told} == {
            "contact.deletion": new_id,
            "contact.privacyDeletion": new_id,
        }
        gone = hub.create(email="c@x.com")
        hub.raw("DELETE", f"{CONTACTS}/{gone}")
        assert json.loads(arrived.get(timeout=10)[1])[0]["subscriptionType"] == "contact.deletion"
        hub.raw("POST", f"{CONTACTS}/gdpr-delete", json={"objectId": gone})
        [erased] = json.loads(arrived.get(timeout=10)[1])
        assert erased["subscriptionType"] == "contact.privacyDeletion", "it was deleted before"


def test_an_event_says_whether_a_user_an_app_an_import_or_a_form_changed_the_record() -> None:
    with portal(world={"forms": [{"guid": "f", "name": "Demo"}]}) as hub, listener() as (url, arrived):
        subscribe(hub, url, "contact.creation", "contact.propertyChange", "contact.restore", name="city")

        def told() -> set[tuple[str, str, str | None]]:
            events = json.loads(arrived.get(timeout=10)[1])
            return {(each["subscriptionType"], each["changeSource"], each.get("sourceId")) for each in events}

        def act(action: str, **given: Any) -> Any:
            return hub.call("POST", "/_sandbox/act", {"system": "hubspot", "action": action, **given}, 200)

        record_id = hub.create(email="a@x.com")
        assert told() == {("contact.creation", "INTEGRATION", str(APP))}
        act("edit", id=record_id, properties={"city": "Rome"}, user=11_203)
        assert told() == {("contact.propertyChange", "CRM_UI", "userId:11203")}
        act("import", count=2, properties={"email": "p{n}@x.com", "city": "Oslo"})
        assert told() == {("contact.creation", "IMPORT", None), ("contact.propertyChange", "IMPORT", None)}
        act("submit_form", email="b@x.com", form="Demo", values={})
        assert told() == {("contact.creation", "FORM", None)}
        hub.raw("DELETE", f"{CONTACTS}/{record_id}")
        act("restore", objects="contacts", id=record_id)
        assert told() == {("contact.restore", "CRM_UI", "userId:1")}


def test_what_is_not_taken_is_sent_again_with_its_attempt() -> None:
    with portal(hubspot_webhook_retry_s=0.01) as hub, listener(500) as (url, arrived):
        subscribe(hub, url, "contact.creation")
        hub.create(email="a@x.com")
        attempts = [json.loads(arrived.get(timeout=10)[1])[0]["attemptNumber"] for _ in range(2)]
        assert attempts == [0, 1]


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_each_version_of_the_signature_is_the_vendors(version: str) -> None:
    now_ms = int(time.time() * 1000)
    url, body = "https://app.example/hooks", b'[{"eventId":1}]'
    made = signatures(SECRET, "POST", url, body, now_ms)
    whole = {"http_uri": url, "http_method": "POST", "timestamp": str(now_ms), "signature_version": version}
    assert Signature.is_valid(made[version], SECRET, body.decode(), **whole)
    assert not Signature.is_valid(made[version], "other", body.decode(), **whole)


def test_subscriptions_take_the_developers_key_and_make_sense_or_are_refused() -> None:
    with portal() as hub:
        path = f"/webhooks/v3/{APP}/subscriptions"
        hub.call("POST", path, {"eventType": "contact.creation"}, 401)
        keyed = f"{path}?hapikey=sandbox-developer-key"
        for body in ({"eventType": "contact.dance"}, {"eventType": "contact.propertyChange"}):
            hub.call("POST", keyed, body, 400)
        made = hub.call("POST", keyed, {"eventType": "contact.creation"}, 201)
        hub.call("POST", keyed, {"eventType": "contact.creation"}, 409)
        many, inputs = keyed.replace("?", "/batch/update?"), [{"id": int(made["id"]), "active": True}]
        [changed] = hub.call("POST", many, {"inputs": inputs}, 200)["results"]
        assert (changed["id"], changed["active"]) == (made["id"], True)
        mixed = hub.call(
            "POST", many, {"inputs": [{"id": made["id"], "active": False}, {"id": 99, "active": True}]}, 207
        )
        assert (mixed["results"][0]["active"], mixed["errors"][0]["context"]) == (False, {"ids": ["99"]})
        hub.call("POST", many.partition("?")[0], {"inputs": inputs}, 401)
        for address in (
            "ftp://x.example",
            "https://x.example/a b",
            "https://",
            "https:///a",
            "https://[",
            "https://x:y",
        ):
            hub.call("PUT", f"/webhooks/v3/{APP}/settings?hapikey=sandbox-developer-key", {"targetUrl": address}, 400)
        one = keyed.replace("?", f"/{made['id']}?")
        assert hub.call("PATCH", one, {"active": True}, 200)["active"] is True
        assert hub.raw("DELETE", one).status_code == 204
        assert hub.call("GET", keyed, status=200)["results"] == []
