"""`/composite` and `/composite/batch`: several requests in one, the former as a single API call.

REST API Developer Guide, "Composite", "Batch": 25 subrequests, five of them queries or collections; each subrequest of a batch
counts. The codes of requests that are refused as a whole are not documented; those here are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from connector.sandbox.database import transaction
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.records import listed, object_body
from connector.sandbox.salesforce.refusal import RefusedError

MAX_SUBREQUESTS = 25
MAX_HEAVY_SUBREQUESTS = 5
"""Of the subrequests at most five may be queries or collections."""

Dispatch = Callable[[Call], Answer]

_HEAVY = re.compile(r"^/(query|queryAll|composite/sobjects)(/|$|\?)", re.IGNORECASE)
_URL = re.compile(r"^/services/data/v(\d+\.\d)(/.*)$")
_REFERENCE = re.compile(r"@\{([A-Za-z0-9_]+)((?:\.[A-Za-z0-9_]+|\[\d+\])*)\}")
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]")
_REFERENCE_ID = re.compile(r"^[A-Za-z0-9_]+$")
_INHERITED_HEADERS = frozenset({"accept", "authorization", "content-type"})

HALTED = RefusedError(
    "PROCESSING_HALTED", "The transaction was rolled back since another operation in the same transaction failed."
)


class _HaltError(Exception):
    """Leaves the transaction of an all-or-none composite."""


def composite(call: Call, dispatch: Dispatch) -> Answer:
    """`POST /composite`; raises RefusedError when the request as a whole is malformed."""
    body = object_body(call)
    subrequests = listed(body, "compositeRequest", dict)
    if not subrequests:
        raise RefusedError("JSON_PARSER_ERROR", "compositeRequest must be a list with at least one subrequest")
    _check(subrequests)
    answers: dict[str, Answer] = {}
    all_or_none = body.get("allOrNone") is True
    try:
        with transaction(call.org.database):
            for subrequest in subrequests:
                answers[subrequest["referenceId"]] = _subrequest(call, subrequest, answers, dispatch)
            if all_or_none and any(_has_failed(answer) for answer in answers.values()):
                raise _HaltError
    except _HaltError:
        call.org.rolled_back()
        halted = Answer(400, [HALTED.as_rest()])
        answers = {name: answer if _has_failed(answer) else halted for name, answer in answers.items()}
    parts = [
        {
            "body": answer.body,
            "httpHeaders": dict(answer.headers),
            "httpStatusCode": answer.status,
            "referenceId": name,
        }
        for name, answer in answers.items()
    ]
    return Answer(200, {"compositeResponse": parts}, records=sum(answer.records for answer in answers.values()))


def _has_failed(answer: Answer) -> bool:
    if answer.status >= 400:
        return True
    is_collection = isinstance(answer.body, list) and answer.body and isinstance(answer.body[0], dict)
    return bool(is_collection) and any(result.get("success") is False for result in answer.body)


def _check(subrequests: list[dict[str, Any]]) -> None:
    if len(subrequests) > MAX_SUBREQUESTS:
        raise RefusedError("LIMIT_EXCEEDED", f"The request can't contain more than {MAX_SUBREQUESTS} operations")
    names: set[str] = set()
    heavy = 0
    for each in subrequests:
        if not _has_texts(each, "method", "url", "referenceId"):
            raise RefusedError("JSON_PARSER_ERROR", "each subrequest needs method, url and referenceId")
        name = each["referenceId"]
        if not _REFERENCE_ID.match(name):
            raise RefusedError("INVALID_INPUT", f"Invalid reference ID '{name}'")
        if name in names:
            raise RefusedError("INVALID_INPUT", f"Duplicate reference ID '{name}'")
        names.add(name)
        match = _URL.match(each["url"])
        heavy += bool(match and _HEAVY.match(match.group(2)))
        headers = each.get("httpHeaders") or {}
        if not isinstance(headers, dict):
            raise RefusedError("JSON_PARSER_ERROR", "httpHeaders must be an object")
        repeated = _INHERITED_HEADERS & {header.lower() for header in headers}
        if repeated:
            raise RefusedError("INVALID_INPUT", f"Headers can't be set on a subrequest: {', '.join(sorted(repeated))}")
    if heavy > MAX_HEAVY_SUBREQUESTS:
        raise RefusedError(
            "LIMIT_EXCEEDED",
            f"The request can't contain more than {MAX_HEAVY_SUBREQUESTS} query or sObject Collections operations",
        )


def _has_texts(each: dict[str, Any], *names: str) -> bool:
    return all(isinstance(each.get(name), str) for name in names)


def _subrequest(call: Call, subrequest: dict[str, Any], answers: dict[str, Answer], dispatch: Dispatch) -> Answer:
    try:
        resolved = _resolve(subrequest, answers)
        inner = subcall(call, resolved["method"], resolved["url"], resolved.get("body"), resolved.get("httpHeaders"))
        return dispatch(inner)
    except RefusedError as error:
        return Answer(error.status, [error.as_rest()])


def subcall(call: Call, method: str, url: str, body: Any, headers: dict[str, str] | None) -> Call:
    """The call of a subrequest. Raw spaces in the URL are allowed; `+` is a space, as everywhere in a query string."""
    match = _URL.match(url)
    if match is None:
        raise RefusedError(
            "INVALID_INPUT", f"The URL of a subrequest must begin with /services/data/vXX.X/: {url[:80]}"
        )
    path, _, query = match.group(2).partition("?")
    own = {name.lower(): str(value) for name, value in (headers or {}).items()}
    return replace(
        call,
        version=match.group(1),
        method=method.upper(),
        path=unquote(path),
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=own,
        body=body,
    )


def _resolve(value: Any, answers: dict[str, Answer]) -> Any:
    """Replace `@{reference.path}` by what the answer of that subrequest holds."""
    if isinstance(value, dict):
        return {name: _resolve(inner, answers) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, answers) for inner in value]
    if not isinstance(value, str) or "@{" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        return _referenced(whole, answers)
    return _REFERENCE.sub(lambda match: str(_referenced(match, answers)), value)


def _referenced(match: re.Match[str], answers: dict[str, Answer]) -> Any:
    name = match.group(1)
    if name not in answers:
        raise RefusedError("INVALID_INPUT", f"Invalid reference specified. No reference ID {name}")
    found: Any = answers[name].body
    if answers[name].status >= 400:
        raise HALTED
    for key, index in _STEP.findall(match.group(2)):
        try:
            found = found[int(index)] if index else found[key]
        except (KeyError, IndexError, TypeError):
            step = index or key
            raise RefusedError(
                "INVALID_INPUT", f"Invalid reference specified. No value for {step} found in {name}"
            ) from None
    return found


def batch(call: Call, dispatch: Dispatch) -> Answer:
    """`POST /composite/batch`: each subrequest counts as a call."""
    body = object_body(call)
    requests = listed(body, "batchRequests", dict)
    if not requests or not all(_has_texts(each, "method", "url") for each in requests):
        raise RefusedError("JSON_PARSER_ERROR", "batchRequests must be a list with at least one subrequest")
    if len(requests) > MAX_SUBREQUESTS:
        raise RefusedError("LIMIT_EXCEEDED", f"A batch can't contain more than {MAX_SUBREQUESTS} subrequests")
    results: list[dict[str, Any]] = []
    records, has_halted = 0, False
    for each in requests:
        if has_halted:
            error = RefusedError("BATCH_PROCESSING_HALTED", "Batch processing halted per request")
            results.append({"statusCode": 412, "result": [error.as_rest()]})
            continue
        try:
            inner = subcall(call, each["method"], f"/services/data/{each['url']}", each.get("richInput"), {})
            answer = dispatch(inner)
        except RefusedError as error:
            answer = Answer(error.status, [error.as_rest()])
        results.append({"statusCode": answer.status, "result": answer.body})
        records += answer.records
        has_halted = answer.status >= 400 and body.get("haltOnError") is True
    has_errors = any(result["statusCode"] >= 400 for result in results)
    return Answer(200, {"hasErrors": has_errors, "results": results}, records=records, cost=len(requests))
