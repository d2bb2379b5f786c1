"""Salesforce REST API: one org through simple-salesforce, its composite resource, its descriptions, its verdicts.

simple-salesforce builds URLs and headers, reads the usage header and quotes SOQL; everything goes out through
`connector.http`, because the library sends no time-out, drops per-call headers when it refreshes, can recurse without
bound on a 401, and asks for pretty-printed JSON that is a third larger. Parsing is orjson's.

One POST to /composite counts as one API call whatever it carries: up to 25 requests, up to 5 of them queries or
collections (REST API Developer Guide: "Composite", "API Request Limits and Allocations", "Status Codes and Error
Responses").
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
import orjson
import requests
from simple_salesforce import Salesforce

from connector import clock, http
from connector.errors import AuthError, MissingPermission, ProtocolError, RecordRejected
from connector.model import FieldSchema
from connector.pacing import Usage
from connector.verdicts import Classified, Verdict

MAX_SUBREQUESTS = 25
MAX_QUERIES = 5  # of the subrequests, counting queries and collections together
MAX_COLLECTION = 200  # rows

#: Error codes of whole answers: (verdict, hint). What is not here is judged by its status.
CODES: Mapping[str, tuple[Verdict, str]] = {
    "INVALID_SESSION_ID": (Verdict.REFRESH, ""),
    "REQUEST_LIMIT_EXCEEDED": (
        Verdict.QUOTA,
        "the org's daily API calls are used up; they free themselves over the next 24 hours",
    ),
    "API_DISABLED_FOR_ORG": (Verdict.AUTH, "give the user the permission `API Enabled`; some editions have no API"),
    "API_CURRENTLY_DISABLED": (Verdict.AUTH, "the org's API is switched off; ask its administrator"),
    "INSUFFICIENT_ACCESS": (Verdict.FORBIDDEN, ""),
    "UNABLE_TO_LOCK_ROW": (Verdict.RETRY, ""),
    "UNABLE_TO_LOCK_RECORD": (Verdict.RETRY, ""),
    "TOO_MANY_APEX_REQUESTS": (Verdict.RETRY, ""),
    "QUERY_TIMEOUT": (Verdict.RETRY_IF_IDEMPOTENT, ""),
    "REQUEST_RUNNING_TOO_LONG": (Verdict.RETRY_IF_IDEMPOTENT, ""),
    "SERVER_UNAVAILABLE": (Verdict.RETRY_IF_IDEMPOTENT, ""),
    "API_TEMPORARILY_UNAVAILABLE": (Verdict.RETRY_IF_IDEMPOTENT, ""),
    "UNKNOWN_EXCEPTION": (Verdict.RETRY_IF_IDEMPOTENT, ""),
    "UNSUPPORTED_API_VERSION": (Verdict.PROTOCOL, "set `api_version` to one that the org offers"),
}
#: Some 401 are not an old token: a new one would be refused the same way.
NOT_EXPIRED = ("not valid for use with the REST API", "not attached to Agent")
PERMISSION_HINT = "give the user the permission set `Connector`"
#: Statuses that mean the same whatever the code; 406 and 420 come from the edge, with HTML.
STATUSES: Mapping[int, tuple[Verdict, str]] = {
    401: (Verdict.REFRESH, ""),
    403: (Verdict.FORBIDDEN, PERMISSION_HINT),
    429: (Verdict.RETRY, ""),
    **dict.fromkeys((406, 420, 500, 502, 503, 504), (Verdict.RETRY_IF_IDEMPOTENT, "")),
}
#: A write inside a composite, as `Org.composite` writes it; within a value the quotes would be escaped.
_WRITE = re.compile(rb'"method":"(?:POST|PATCH)","url":"[^"]*/composite/sobjects"')

#: describe's field types -> ours
TYPES: Mapping[str, str] = {
    "string": "text",
    "textarea": "long_text",
    "double": "number",
    "currency": "number",
    "percent": "number",
    "int": "integer",
    "long": "integer",
    "boolean": "bool",
    "date": "date",
    "datetime": "datetime",
    "picklist": "picklist",
    "combobox": "picklist",
    "multipicklist": "multi_picklist",
    "email": "email",
    "phone": "phone",
    "url": "url",
    "reference": "reference",
    "id": "id",
}
#: What can be read through a relationship: from the object `Name` where it points to several object types.
NAME_FIELDS: Mapping[str, str] = {"Id": "id", "Name": "text", "Type": "text", "Email": "email"}
TARGET_FIELDS: Mapping[str, str] = {"Id": "id", "Name": "text"}


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    """What an answer means, by the vendor's error code first. Nothing defaults to being sent again."""
    if status < 400:
        return Classified(Verdict.OK)
    code, message = code_and_message(body)
    unknown = Verdict.REJECTED if code and status < 500 else Verdict.PROTOCOL
    verdict, hint = CODES.get(code) or STATUSES.get(status) or (unknown, "")
    if verdict is Verdict.REFRESH and any(text in message for text in NOT_EXPIRED):
        verdict, hint = Verdict.AUTH, "allow the connected app to use the REST API"
    told = headers.get("retry-after", "")
    retry_after_s = float(told) if told.isdigit() else None
    return Classified(verdict, code, message or f"Salesforce answered {status}", retry_after_s, hint)


def code_and_message(body: Any) -> tuple[str, str]:
    """The error code and message of an error body: a list of REST errors, or a single object."""
    said = body[0] if isinstance(body, list) and body else body
    if not isinstance(said, dict):
        return "", ""
    code = said.get("errorCode") or said.get("statusCode") or said.get("exceptionCode") or said.get("error") or ""
    message = said.get("message") or said.get("exceptionMessage") or said.get("error_description") or ""
    return str(code), str(message)


def fields_of(body: Any) -> tuple[str, ...]:
    """The fields that the first error of an error body is about."""
    said = body[0] if isinstance(body, list) and body else body
    names = said.get("fields") if isinstance(said, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def usage(headers: Mapping[str, str]) -> Usage | None:
    """The org's API calls of the last 24 hours, from `Sforce-Limit-Info: api-usage=10018/100000; api-bursts=1/750`."""
    told = Salesforce.parse_api_usage(headers.get("sforce-limit-info", "")).get("api-usage")
    return Usage(told.used, told.total) if told else None


def is_idempotent(request: requests.PreparedRequest) -> bool:
    """Whether a call whose answer was lost may be sent again: reads, and what concerns a bulk job by its id. Never a write of
    records: somebody may have written the record since, and a workflow of the org would fire twice."""
    method, path = request.method or "", (request.url or "").split("?")[0]
    if method in ("GET", "HEAD") or path.endswith("/jobs/ingest"):  # a second job without data does nothing
        return True
    if "/jobs/" in path:
        return method in ("PATCH", "DELETE")
    if not path.endswith("/composite"):
        return False
    body = request.body if isinstance(request.body, bytes) else (request.body or "").encode()
    return not _WRITE.search(body)


@dataclass(frozen=True, slots=True)
class Subrequest:
    """One request inside a composite. `path` is below `/services/data/vNN.0/`; the answer to a query is `Queried`."""

    path: str
    method: str = "GET"
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_query: bool = False


class Queried(msgspec.Struct, frozen=True, rename="camel"):
    """A page of a query's answer; its records stay the bytes that were sent."""

    records: msgspec.Raw
    total_size: int = 0
    done: bool = True
    next_records_url: str | None = None


class _Part(msgspec.Struct):
    reference_id: str = msgspec.field(name="referenceId")
    status: int = msgspec.field(name="httpStatusCode")
    body: msgspec.Raw = msgspec.Raw(b"null")
    headers: dict[str, Any] | None = msgspec.field(name="httpHeaders", default=None)


class _Composite(msgspec.Struct):
    parts: list[_Part] = msgspec.field(name="compositeResponse")


_as_queried = msgspec.json.Decoder(Queried).decode
_as_composite = msgspec.json.Decoder(_Composite).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """What one subrequest came to. `told` is the verdict on it, as if it had been an answer of its own."""

    status: int
    body: Any
    told: Classified
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Described:
    """An object as our credentials see it: its fields, and its relationships with the object types they point to."""

    fields: Mapping[str, FieldSchema]
    relationships: Mapping[str, tuple[str, ...]]

    def allows(self, name: str) -> bool:
        """Whether `name` (`Title`, `Who.Type`) can be selected as far as this object can tell."""
        first, _, rest = name.partition(".")
        return name in self.fields or (rest != "" and first in self.relationships)


#: What this process has been told about objects, with its Last-Modified, by credentials and object. The date covers
#: changes of permissions, too (REST API Developer Guide, "Conditional Requests", "Describe Global").
_SEEN: dict[tuple[str, ...], tuple[str, Described]] = {}


class Org:
    """One Salesforce org. Safe to share between threads."""

    def __init__(self, system: str, url: str, api_version: str, session: http.Session, *, user: str = "") -> None:
        self.system = system
        self.identity = (url, api_version, user)  # whose eyes see it
        self.session = session
        self.rest = Salesforce(instance_url=url, session_id="", session=session, version=api_version)
        self.rest.headers.pop("X-PrettyPrint")
        self.rest.headers.pop("Authorization")
        self.rest.parse_result_to_json = partial(http.parse, system=system)
        self.prefix = f"/services/data/v{api_version}/"
        self.clock_skew_s = 0.0  # the server's clock less ours, as the last composite call showed it
        self._described: dict[str, Described | None] = {}
        self._lock = threading.Lock()

    def composite(self, subrequests: Sequence[Subrequest]) -> tuple[list[Answer], datetime]:
        """Send up to 25 subrequests (5 of them queries or collections) as one call.

        Gives one answer for each, in order, and an instant of the server's clock, in whole seconds, that lies before
        the first of them was worked on. Raises as `http.session` says; parts that failed do not raise.
        """
        body = {
            "allOrNone": False,
            "collateSubrequests": False,
            "compositeRequest": [self._as_json(number, part) for number, part in enumerate(subrequests)],
        }
        started_s = clock.monotonic_s()
        try:
            response = self.session.post(
                f"{self.rest.base_url}composite", data=orjson.dumps(body), headers=self.rest.headers
            )
        except MissingPermission as error:  # not a part, the door itself
            raise AuthError(str(error), hint=error.hint, system=self.system) from error
        except RecordRejected as error:
            hint = "is `url` an org and `api_version` one that it offers?"
            raise ProtocolError(f"the composite call was refused: {error}", hint=hint, system=self.system) from error
        took = timedelta(seconds=math.ceil(clock.monotonic_s() - started_s))
        answered_at = server_time(response)
        self.clock_skew_s = (answered_at - clock.now()).total_seconds()
        by_id = {part.reference_id: part for part in self._parts(response)}
        answers = [self._answer(by_id.get(f"r{number}"), asked) for number, asked in enumerate(subrequests)]
        return answers, answered_at - took

    def _parts(self, response: requests.Response) -> list[_Part]:
        try:
            response.content.decode()  # what stays bytes is not looked at otherwise
            return _as_composite(response.content).parts
        except ValueError:
            http.parse(response, self.system)  # raises for what is no JSON
            return []

    def described(self, object_types: Sequence[str], *, is_fresh: bool = False) -> Mapping[str, Described]:
        """The objects as our credentials see them; invisible ones are absent. Remembered while we are connected."""
        with self._lock:
            wanted = [name for name in dict.fromkeys(object_types) if is_fresh or name not in self._described]
            for start in range(0, len(wanted), MAX_SUBREQUESTS):
                group = wanted[start : start + MAX_SUBREQUESTS]
                answers, _ = self.composite([self.describing(name) for name in group])
                for name, answer in zip(group, answers, strict=True):
                    self._described[name] = self._as_described(name, answer)
            return {name: known for name in object_types if (known := self._described.get(name)) is not None}

    def describing(self, object_type: str) -> Subrequest:
        """The request for an object's description: only if it changed since this process saw it."""
        seen = _SEEN.get((*self.identity, object_type))
        headers = {"If-Modified-Since": seen[0]} if seen else {}
        return Subrequest(f"sobjects/{object_type}/describe", headers=headers)

    def note_description(self, object_type: str, answer: Answer) -> None:
        """Remember a description that came beside something else; one that did not come is asked for when needed."""
        is_told = answer.status == HTTPStatus.NOT_MODIFIED or (
            isinstance(answer.body, dict) and "fields" in answer.body
        )
        if is_told and answer.told.verdict is Verdict.OK:
            with self._lock:
                self._described[object_type] = self._as_described(object_type, answer)

    def remembered(self, object_type: str) -> Described | None:
        """The description of an object if it has been asked for already; no call is made."""
        return self._described.get(object_type)

    def forget(self) -> None:
        """Drop the remembered descriptions: fields have been created or granted."""
        with self._lock:
            self._described.clear()

    def _as_json(self, number: int, part: Subrequest) -> dict[str, Any]:
        made = {"method": part.method, "url": self.prefix + part.path, "referenceId": f"r{number}"}
        if part.headers:
            made["httpHeaders"] = dict(part.headers)  # type: ignore[assignment]  # the value of this key is an object
        if part.body is not None:
            made["body"] = part.body
        return made

    def _answer(self, part: _Part | None, asked: Subrequest) -> Answer:
        if part is None:
            raise ProtocolError(
                "an answer to a part of the composite call is missing",
                hint="something between us and Salesforce may answer in its place; try again, then look at the log",
                system=self.system,
            )
        if asked.is_query and part.status < HTTPStatus.BAD_REQUEST:
            with suppress(msgspec.ValidationError):
                queried = _as_queried(part.body)
                if memoryview(queried.records)[0] == ord("["):
                    return Answer(part.status, queried, Classified(Verdict.OK), part.headers or {})
        body = orjson.loads(bytes(part.body))
        return Answer(part.status, body, classify(part.status, {}, body), part.headers or {})

    def _as_described(self, object_type: str, answer: Answer) -> Described | None:
        told, key = answer.told, (*self.identity, object_type)
        if answer.status == HTTPStatus.NOT_MODIFIED and key in _SEEN:
            return _SEEN[key][1]
        if told.verdict is Verdict.OK and isinstance(answer.body, dict):
            described = as_described(answer.body)
            if changed_at := answer.headers.get("Last-Modified"):
                _SEEN[key] = (changed_at, described)
            return described
        if told.verdict in (Verdict.REJECTED, Verdict.FORBIDDEN):  # 404 NOT_FOUND: not there, or not for us
            return None
        raise http.error_of(told, self.system, status=answer.status)


def as_described(body: Mapping[str, Any]) -> Described:
    """A describe answer in our terms, with what its relationships can give under dotted names."""
    fields: dict[str, FieldSchema] = {}
    relationships: dict[str, tuple[str, ...]] = {}
    for told in body.get("fields", ()):
        fields[told["name"]] = _field(told)
        if told.get("relationshipName"):
            relationships[told["relationshipName"]] = tuple(told.get("referenceTo") or ())
    for relationship, targets in relationships.items():
        for name, kind in (NAME_FIELDS if len(targets) > 1 else TARGET_FIELDS).items():
            dotted = f"{relationship}.{name}"
            fields[dotted] = FieldSchema(dotted, kind, is_writable=False)
    return Described(fields, relationships)


def _field(told: Mapping[str, Any]) -> FieldSchema:
    return FieldSchema(
        name=told["name"],
        type=TYPES.get(told.get("type", ""), "other"),
        label=told.get("label") or "",
        is_writable=bool(told.get("updateable")),
        length=told.get("length") or None,
        options=tuple(value["value"] for value in told.get("picklistValues") or () if value.get("active", True)),
        is_restricted=bool(told.get("restrictedPicklist")),
        is_unique=bool(told.get("unique")),
        is_calculated=bool(told.get("calculated")),
        precision=told.get("precision") or None,
        scale=told.get("scale") or 0,
    )


def server_time(response: requests.Response) -> datetime:
    """The server's clock when it answered, in whole seconds; ours where the header is missing or odd."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return clock.now().replace(microsecond=0)
