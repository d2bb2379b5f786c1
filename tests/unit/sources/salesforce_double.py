"""A Salesforce org in a few lines for unit tests: it answers composite calls from a script, over `responses`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson
import requests
import responses

from connector.model import Page, Request, StreamFailure, System
from connector.sources.salesforce import SalesforceOptions, connect

URL = "http://127.0.0.1:9"
PREFIX = "/services/data/v62.0/"
DATE = "Tue, 24 Nov 2026 14:00:00 GMT"

Part = Mapping[str, Any]
#: (status, body) of one subrequest
Reply = tuple[int, Any]


def options(**changes: Any) -> SalesforceOptions:
    given: dict[str, Any] = {"kind": "salesforce", "url": URL, "client_id": "id", "client_secret": "secret"}
    return SalesforceOptions.model_validate(given | changes)


def row(native_id: str, **fields: Any) -> dict[str, Any]:
    """A record of a query answer."""
    stamps = {"CreatedDate": "2026-01-01T00:00:00.000+0000", "SystemModstamp": "2026-11-01T10:00:00.000+0000"}
    return {"attributes": {"type": "Any", "url": "/x"}, "Id": native_id, "IsDeleted": False, **stamps, **fields}


def records(*rows: Mapping[str, Any], following: str | None = None, total: int | None = None) -> Reply:
    body = {"totalSize": len(rows) if total is None else total, "done": following is None, "records": list(rows)}
    return 200, body | ({"nextRecordsUrl": PREFIX + following} if following else {})


def refused(code: str, message: str = "no", status: int = 400) -> Reply:
    return status, [{"errorCode": code, "message": message}]


def described(*names: str, **types: str) -> Reply:
    """A describe answer: text fields, and others by type; `reference` fields end in Id and have a relationship."""
    fields = [{"name": name, "type": "string", "updateable": True, "length": 255} for name in names]
    for name, kind in types.items():
        link = {"relationshipName": name.removesuffix("Id"), "referenceTo": ["Lead", "Contact"]}
        fields.append({"name": name, "type": kind, "updateable": True} | (link if kind == "reference" else {}))
    return 200, {"fields": fields}


@dataclass
class Org:
    """`answer(part)` gives the reply to each subrequest; what was asked is kept."""

    answer: Callable[[Part], Reply]
    calls: list[list[Part]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"Date": DATE, "Sforce-Limit-Info": "api-usage=10/100"})

    def connect(self, **changes: Any) -> System:
        responses.post(f"{URL}/services/oauth2/token", json={"access_token": "token"})
        responses.add_callback("POST", f"{URL}{PREFIX}composite", self._composite)
        return connect("salesforce", options(**changes))

    def _composite(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        parts = orjson.loads(request.body or b"")["compositeRequest"]
        self.calls.append(parts)
        answered = []
        for part in parts:
            status, body = self.answer(part)
            answered.append({"referenceId": part["referenceId"], "httpStatusCode": status, "body": body})
        return 200, self.headers, orjson.dumps({"compositeResponse": answered})

    def asked(self) -> list[list[str]]:
        """Of each call, what its parts asked: SOQL, or the path."""
        return [[path_of(part).removeprefix("queryAll?q=") for part in call] for call in self.calls]


def path_of(part: Part) -> str:
    return unquote(str(part["url"]).removeprefix(PREFIX))


def pages(org: Org, *requests: Request) -> list[Page | StreamFailure]:
    """What reading gives for these requests."""
    return list(org.connect().source.pages(requests))


def page(org: Org, *requests: Request) -> Page:
    """The only page that reading gives."""
    (only,) = pages(org, *requests)
    assert isinstance(only, Page), only
    return only
