"""The bench of the HubSpot adapter, against the sandbox. The hands act through HubSpot's own API, with plain `requests`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests
from pydantic import SecretStr

from connector.model import FieldSpec, Stream
from connector.sources.hubspot import HUBSPOT, HubSpotOptions, connect
from connector.sources.hubspot_client import ApiVersion
from connector.sources.hubspot_properties import TASK_KEY
from tests.contract.bench import Bench

TOKEN = "pat-sandbox-token"  # what the sandbox accepts
REFUSED_TOKEN = "pat-refused-7c1e"
BATCH = 100
#: The server tells its time in whole seconds.
SECOND_S = 1.2
TASK_KEY_SPEC = FieldSpec("tasks", TASK_KEY, "Task Key", "text", length=64, is_unique=True)
#: An index without lag, and limits that do not slow the suite.
QUICK = {"calls_per_10_s": 100_000, "searches_per_s": 100_000, "associations_per_s": 100_000}


class Portal:
    """The portal as somebody else uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {TOKEN}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._session.request(method, self._url + path, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def create(self, texts: Sequence[str]) -> list[str]:
        made: dict[str, str] = {}
        for start in range(0, len(texts), BATCH):
            inputs = [{"properties": {"lastname": text}} for text in texts[start : start + BATCH]]
            for row in self.call("POST", "/crm/v3/objects/contacts/batch/create", {"inputs": inputs})["results"]:
                made[row["properties"]["lastname"]] = row["id"]
        return [made[text] for text in texts]

    def change(self, native_id: str, text: str) -> None:
        self.call("PATCH", f"/crm/v3/objects/contacts/{native_id}", {"properties": {"lastname": text}})

    def delete(self, native_id: str) -> None:
        self.call("DELETE", f"/crm/v3/objects/contacts/{native_id}")

    def tasks_with(self, key: str) -> int:
        filters = [{"propertyName": TASK_KEY, "operator": "EQ", "value": key}]
        return int(self.call("POST", "/crm/v3/objects/tasks/search", {"filterGroups": [{"filters": filters}]})["total"])

    @contextmanager
    def fault(self, **rule: Any) -> Iterator[None]:
        made = self.call("POST", "/_sandbox/faults", {"system": "hubspot", **rule})
        yield
        self.call("DELETE", f"/_sandbox/faults?id={made['id']}")


def hubspot_bench(url: str, api_version: ApiVersion = "v3") -> Bench:
    """A HubSpot system over the sandbox's portal."""
    portal = Portal(url)
    portal.call("POST", "/_sandbox/limits", {"enabled": False, "index_lag_s": 0})
    options = HubSpotOptions(
        token=SecretStr(TOKEN),
        url=url,
        api_version=api_version,
        overlap=timedelta(0),
        deletes_every=timedelta(0),
        **QUICK,
    )
    system = connect("hubspot", options)
    assert system.target is not None
    system.target.install([TASK_KEY_SPEC], is_dry=False)
    counter = [int(portal.call("GET", "/_sandbox/calls")["last_id"])]
    polled = [stream for stream in HUBSPOT.streams if not stream.every]

    @contextmanager
    def forbidding() -> Iterator[Stream]:
        companies = next(stream for stream in HUBSPOT.streams if stream.name == "companies")
        with portal.fault(kind="status", status=403, code="MISSING_SCOPES", match="/companies"):
            yield companies

    return Bench(
        adapter=HUBSPOT,
        system=system,
        people=HUBSPOT.streams[0],
        text="lastname",
        create=portal.create,
        change=portal.change,
        delete=portal.delete,
        settle=lambda: None,
        losing_replies=lambda: portal.fault(kind="drop_after", match="POST .*batch/(update|create)"),
        refusing=lambda: portal.fault(kind="drop_before", match="POST .*batch/(update|create)"),
        tasks_with=portal.tasks_with,
        spec=FieldSpec("contacts", f"connector_score_{counter[0]}", "Score", "number"),
        forbidding=forbidding,
        refused_token=lambda: connect("hubspot", HubSpotOptions(token=SecretStr(REFUSED_TOKEN), url=url)),
        secrets=(TOKEN, REFUSED_TOKEN),
        shown=(options, HubSpotOptions(token=SecretStr(REFUSED_TOKEN), url=url)),
        calm=lambda: time.sleep(SECOND_S),
        many=1100,
        quiet_calls=2 * len(polled),  # one search, and one look at the archive, which is due at once here
        counter=counter,
    )
