"""`/composite`, `/composite/graph` and `/composite/batch`: several requests in one; the first two are one API call.

REST API Developer Guide, "Composite", "Composite Graph", "Batch": 25 subrequests, five of them queries or collections; each
subrequest of a batch counts. The codes of requests that are refused as a whole are not documented; those here are ours.
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
MAX_GRAPHS, MAX_NODES = 75, 500
MAX_HEAVY_SUBREQUESTS = 5
"""Of the subrequests at most five may be queries or collections."""

Dispatch = Callable[[Call], Answer]

_HEAVY = re.compile(r"^/(query|queryAll|composite/sobjects)(/|$|\?)", re.IGNORECASE)
_COLLECTION = re.compile(r"^/composite/sobjects/?($|/\w+/\w+/?$)", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"^/(jobs|metadata|tooling|composite/(batch|graph|tree)|composite/?$)", re.IGNORECASE)
_SINGLE_RECORD = re.compile(r"^/services/data/v\d+\.\d/sobjects/\w+(/|$)", re.IGNORECASE)
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
    subrequests = _listed_subrequests(body)
    _check(subrequests, MAX_SUBREQUESTS)
    answers = _run(call, subrequests, dispatch, all_or_none=body.get("allOrNone") is True)
    return Answer(200, _parts(answers), records=sum(answer.records for answer in answers.values()))


def _listed_subrequests(body: dict[str, Any]) -> list[dict[str, Any]]:
    subrequests: list[dict[str, Any]] = listed(body, "compositeRequest", dict)
    if not subrequests:
        raise RefusedError("JSON_PARSER_ERROR", "compositeRequest must be a list with at least one subrequest")
    return subrequests


def _run(call: Call, subrequests: list[dict[str, Any]], dispatch: Dispatch, *, all_or_none: bool) -> dict[str, Answer]:
    """The answers by reference id; all that was done is undone when one fails and all-or-none is asked for."""
    answers: dict[str, Answer] = {}
    try:
        with transaction(call.org.database):
            for subrequest in subrequests:
                answer = _subrequest(call, subrequest, answers, dispatch, all_or_none=all_or_none)
                answers[subrequest["referenceId"]] = answer
            if all_or_none and any(_has_failed(answer) for answer in answers.values()):
                raise _HaltError
    except _HaltError:
        call.org.rolled_back()
        halted = Answer(400, [HALTED.as_rest()])
        answers = {name: answer if _has_failed(answer) else halted for name, answer in answers.items()}
    return answers


def _parts(answers: dict[str, Answer]) -> dict[str, Any]:
    parts = [
        {
            "body": answer.body,
            "httpHeaders": dict(answer.headers),
            "httpStatusCode": answer.status,
            "referenceId": name,
        }
        for name, answer in answers.items()
    ]
    return {"compositeResponse": parts}


def graph(call: Call, dispatch: Dispatch) -> Answer:
    """`POST /composite/graph`: each graph is done as a whole or not at all; its nodes are single records."""
    graphs = listed(object_body(call), "graphs", dict)
    if not graphs or not all(_has_texts(each, "graphId") for each in graphs):
        raise RefusedError("JSON_PARSER_ERROR", "graphs must be a list of graphs with a graphId each")
    if len({each["graphId"] for each in graphs}) < len(graphs):
        raise RefusedError("INVALID_INPUT", "Duplicate graph ID")
    nodes = [_listed_subrequests(each) for each in graphs]
    if len(graphs) > MAX_GRAPHS or sum(map(len, nodes)) > MAX_NODES:
        raise RefusedError(
            "LIMIT_EXCEEDED", f"A payload can't contain more than {MAX_GRAPHS} graphs or {MAX_NODES} nodes"
        )
    told, records = [], 0
    for each, subrequests in zip(graphs, nodes, strict=True):
        _check(subrequests, MAX_NODES)
        if not all(_SINGLE_RECORD.match(node["url"]) for node in subrequests):
            raise RefusedError("INVALID_INPUT", "The nodes of a graph must be sObject rows")
        answers = _run(call, subrequests, dispatch, all_or_none=True)
        is_successful = not any(_has_failed(answer) for answer in answers.values())
        told.append({"graphId": each["graphId"], "graphResponse": _parts(answers), "isSuccessful": is_successful})
        records += sum(answer.records for answer in answers.values())
    return Answer(200, {"graphs": told}, records=records)


def _has_failed(answer: Answer) -> bool:
    if answer.status >= 400:
        return True
    is_collection = isinstance(answer.body, list) and answer.body and isinstance(answer.body[0], dict)
    return bool(is_collection) and any(result.get("success") is False for result in answer.body)


def _check(subrequests: list[dict[str, Any]], most: int) -> None:
    if len(subrequests) > most:
        raise RefusedError("LIMIT_EXCEEDED", f"The request can't contain more than {most} operations")
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


def _subrequest(
    call: Call, subrequest: dict[str, Any], answers: dict[str, Answer], dispatch: Dispatch, *, all_or_none: bool
) -> Answer:
    try:
        resolved = _resolve(subrequest, answers)
        inner = subcall(call, resolved["method"], resolved["url"], resolved.get("body"), resolved.get("httpHeaders"))
        if _UNSUPPORTED.match(inner.path):
            raise RefusedError("INVALID_INPUT", f"The resource can't be used in a subrequest: {inner.path[:80]}")
        if all_or_none and _COLLECTION.match(inner.path):
            inner = _all_or_none(inner)
        with transaction(call.org.database):
            return dispatch(inner)
    except RefusedError as error:
        is_undone = all_or_none and any(_has_failed(answer) for answer in answers.values())
        told = HALTED if is_undone and error.code == HALTED.code else error
        return Answer(told.status, [told.as_rest()])


def _all_or_none(inner: Call) -> Call:
    """An all-or-none request overrides what its collections say."""
    if isinstance(inner.body, dict):
        return replace(inner, body={**inner.body, "allOrNone": True})
    return replace(inner, query={**inner.query, "allOrNone": "true"})


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
    for key, index in _STEP.findall(match.group(2)):
        try:
            found = found[int(index)] if index else found[key]
        except (KeyError, IndexError, TypeError):
            text = f"Invalid reference specified. No value for {name}{match.group(2)} found in {name}."
            raise RefusedError(HALTED.code, text) from None
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
