"""The bench of the Salesforce adapter, against the sandbox. The hands act through the REST API, with plain `requests`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from pydantic import SecretStr

from connector.model import FieldSpec
from connector.sources.salesforce import SALESFORCE, SalesforceOptions, connect
from tests.contract.bench import Bench

CLIENT_ID, CLIENT_SECRET = "sandbox-consumer-key", "sandbox-consumer-secret"  # what the sandbox accepts
REFUSED_SECRET = "consumer-secret-refused-7c1e"
DATA = "/services/data/v62.0"
BATCH = 200
BULK_PAGE_ROWS = 100
#: When nearly every stream goes through bulk queries, a cycle is not cheap.
BULK_QUIET_CALLS = 100
TASK_KEY_SPEC = FieldSpec("Task", "Task_Key__c", "Task Key", "text", length=64, is_unique=True)


class OtherUser:
    """The org as somebody else uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        answer = self._session.post(f"{url}/services/oauth2/token", data=form, timeout=30)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        answer = self._session.request(method, self._url + path, json=body, params=params, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def create(self, texts: Sequence[str]) -> list[str]:
        made: list[str] = []
        for start in range(0, len(texts), BATCH):
            records = [{"attributes": {"type": "Contact"}, "LastName": text} for text in texts[start : start + BATCH]]
            answer = self.call("POST", f"{DATA}/composite/sobjects", {"allOrNone": True, "records": records})
            assert all(each["success"] for each in answer), answer
            made += [each["id"] for each in answer]
        return made

    def change(self, native_id: str, text: str) -> None:
        self.call("PATCH", f"{DATA}/sobjects/Contact/{native_id}", {"LastName": text})

    def delete(self, native_id: str) -> None:
        self.call("DELETE", f"{DATA}/sobjects/Contact/{native_id}")

    def tasks_with(self, key: str) -> int:
        soql = f"SELECT COUNT() FROM Task WHERE Task_Key__c = '{key}'"
        return int(self.call("GET", f"{DATA}/query", q=soql)["totalSize"])

    @contextmanager
    def fault(self, **rule: Any) -> Iterator[None]:
        made = self.call("POST", "/_sandbox/faults", {"system": "salesforce", **rule})
        yield
        self.call("DELETE", "/_sandbox/faults", id=str(made["id"]))


def salesforce_bench(url: str, **chosen: int) -> Bench:
    """A Salesforce system over the sandbox's org, with these options; a bulk query's pages hold a hundred records."""
    other = OtherUser(url)
    other.call("POST", "/_sandbox/limits", {"enabled": False, "salesforce_bulk_page_rows": BULK_PAGE_ROWS})
    given: dict[str, Any] = {"kind": "salesforce", "url": url, "client_id": CLIENT_ID, **chosen}
    options = SalesforceOptions(**given, client_secret=SecretStr(CLIENT_SECRET))
    refused = SalesforceOptions(**given, client_secret=SecretStr(REFUSED_SECRET))
    system = connect("salesforce", options)
    assert system.target is not None
    system.target.install([TASK_KEY_SPEC], is_dry=False)
    system.source.describe(["Contact", "Lead", "Task"])  # it is remembered: faults are to hit the writes alone
    counter = [int(other.call("GET", "/_sandbox/calls")["last_id"])]
    return Bench(
        adapter=SALESFORCE,
        system=system,
        people=next(stream for stream in SALESFORCE.streams if stream.name == "contacts"),
        text="LastName",
        create=other.create,
        change=other.change,
        delete=other.delete,
        settle=lambda: None,
        losing_replies=lambda: other.fault(kind="drop_after", match="(POST .*composite)|(PATCH .*jobs/ingest)"),
        refusing=lambda: other.fault(kind="drop_before", match="(POST|PATCH) .*composite"),
        tasks_with=other.tasks_with,
        spec=FieldSpec("Contact", f"Score_{counter[0]}__c", "Score", "number"),
        refused_token=lambda: connect("salesforce", refused),
        secrets=(CLIENT_SECRET, REFUSED_SECRET),
        shown=(options, refused),
        many=300,
        quiet_calls=BULK_QUIET_CALLS if chosen else 2,
        counter=counter,
    )
