"""The formats of Bulk API 1.0: what is sent and answered as JSON, XML or CSV.

Bulk API Developer Guide, "Create a New Job", "Prepare Data Files", "Get Results for a Batch", "Handle Failed Records in Batches":
a batch is what its job's `contentType` says and is told so (in XML for CSV); jobs and errors are told as they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import orjson

from connector.sandbox.salesforce.bulk_csv import (
    Columns,
    Content,
    UnreadableError,
    check_header,
    error_text,
    quoted_line,
    typed,
)
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject

JSON, XML, CSV = "JSON", "XML", "CSV"
NAMESPACE = "http://www.force.com/2009/06/asyncapi/dataload"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
CONTENT_TYPES = {JSON: "application/json", XML: "application/xml", CSV: "text/csv"}
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_NIL = f"{{{INSTANCE}}}nil"
_NOT_FOUND = "Records not found for this query"

Parsed = dict[str, Any] | RefusedError


def wants_xml(headers: Mapping[str, str], content: str) -> bool:
    """Whether a job or an error is told in XML: as it was asked for, else as the job's content is."""
    said = f"{headers.get('content-type', '')} {headers.get('accept', '')}".lower()
    if "json" in said:
        return False
    return "xml" in said or "csv" in said or content != JSON


def said_of_job(call: Call) -> dict[str, Any]:
    """What a request says of a job; raises InvalidJob."""
    if "xml" in call.headers.get("content-type", "").lower():
        return {_local(each): each.text or "" for each in _root(call.body, "jobInfo", "InvalidJob")}
    return dict(_json(call.body, dict, "InvalidJob"))


def job(call: Call, status: int, body: Mapping[str, Any], content: str) -> Answer:
    """A job, in the format of the request."""
    if not wants_xml(call.headers, content):
        return _as_json(status, dict(body))
    return document(status, f'<jobInfo xmlns="{NAMESPACE}">{_elements(body)}</jobInfo>')


def batch(status: int, body: Mapping[str, Any], content: str) -> Answer:
    """A batch, in the format of its job: of a CSV job in XML, whatever the request says."""
    if content == JSON:
        return _as_json(status, dict(body))
    return document(status, f'<batchInfo xmlns="{NAMESPACE}">{_elements(body)}</batchInfo>')


def batches(listed: Sequence[Mapping[str, Any]], content: str) -> Answer:
    """The batches of a job."""
    if content == JSON:
        return _as_json(200, {"batchInfo": list(listed)})
    inner = "".join(f"<batchInfo>{_elements(each)}</batchInfo>" for each in listed)
    return document(200, f'<batchInfoList xmlns="{NAMESPACE}">{inner}</batchInfoList>')


def refused(headers: Mapping[str, str], status: int, body: Mapping[str, str]) -> Answer:
    """A refusal; JSON where nothing says that it is to be XML."""
    if not wants_xml(headers, JSON):
        return _as_json(status, dict(body))
    return document(status, f'<error xmlns="{NAMESPACE}">{_elements(body)}</error>')


def document(status: int, text: str) -> Answer:
    """An answer in XML."""
    return Answer(status, headers={"Content-Type": "application/xml"}, pieces=iter([f"{_HEAD}{text}".encode()]))


def records(call: Call, one: SObject, content: str) -> list[Parsed]:
    """The records of a batch; one with a value that cannot be read is its refusal. Raises InvalidBatch."""
    if content == JSON:
        rows = _json(call.body, list, "InvalidBatch")
        if not all(isinstance(each, dict) for each in rows):
            raise RefusedError("InvalidBatch", "A batch is a list of records")
        return list(rows)
    visible = frozenset(field.name for field in call.access.visible(one))
    if content == XML:
        return [_from_xml(one, each) for each in _root(call.body, "sObjects", "InvalidBatch")]
    try:
        body = call.body or b""
        rows = Content(body, "COMMA", "CRLF" if b"\r\n" in body[: body.find(b"\n") + 1] else "LF")
        check_header(one, rows.header, visible)
        columns = Columns(one, rows.header)
        return [_from_csv(columns, each) for each in rows.rows()]
    except UnreadableError as error:
        raise RefusedError("InvalidBatch", str(error).partition(" : ")[2]) from None


def outcomes(results: Sequence[Mapping[str, Any]], content: str) -> Answer:
    """What became of each record of a batch."""
    if content == JSON:
        return _as_json(200, list(results))
    if content == CSV:
        return _as_csv([["Id", "Success", "Created", "Error"], *map(_outcome_line, results)])
    inner = "".join(f"<result>{_outcome_elements(each)}</result>" for each in results)
    return document(200, f'<results xmlns="{NAMESPACE}">{inner}</results>')


def result_ids(ids: Sequence[str], content: str) -> Answer:
    """The ids of a query's results."""
    if content == JSON:
        return _as_json(200, list(ids))
    inner = "".join(f"<result>{each}</result>" for each in ids)
    return document(200, f'<result-list xmlns="{NAMESPACE}">{inner}</result-list>')


def queried(rows: Sequence[Mapping[str, Any]], names: Sequence[str], content: str) -> Answer:
    """The records of a query; `names` are the fields that were selected."""
    if content == JSON:
        return _as_json(200, list(rows))
    if content == CSV:
        if not rows:
            return Answer(200, headers={"Content-Type": "text/csv"}, pieces=iter([_NOT_FOUND.encode()]))
        return _as_csv([names, *([_text(_inside(row, name)) for name in names] for row in rows)])
    inner = "".join(f'<records xsi:type="sObject">{_record_elements(row)}</records>' for row in rows)
    return document(200, f'<queryResult xmlns="{NAMESPACE}" xmlns:xsi="{INSTANCE}">{inner}</queryResult>')


def _as_json(status: int, body: Any) -> Answer:
    return Answer(status, body, headers={"Content-Type": CONTENT_TYPES[JSON]})


def _as_csv(lines: Sequence[Sequence[str]]) -> Answer:
    pieces: Iterator[bytes] = (quoted_line(line, ",", "\n").encode() for line in lines)
    return Answer(200, headers={"Content-Type": "text/csv"}, pieces=pieces)


def _json(body: Any, kind: type, code: str) -> Any:
    try:
        found = orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, kind):
        raise RefusedError(code, "Unable to parse the body as JSON")
    return found


def _root(body: Any, name: str, code: str) -> ElementTree.Element:
    try:
        if b"<!DOCTYPE" in (body or b"") or b"<!ENTITY" in (body or b""):
            raise ElementTree.ParseError
        root = ElementTree.fromstring(body or b"")  # noqa: S314
    except ElementTree.ParseError:
        raise RefusedError(code, "Unable to parse the body as XML") from None
    if _local(root) != name:
        raise RefusedError(code, f"The body must be a {name}, not a {_local(root)}")
    return root


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _from_csv(columns: Columns, row: list[str]) -> Parsed:
    try:
        return columns.values(row)
    except RefusedError as error:
        return error


def _from_xml(one: SObject, element: ElementTree.Element) -> Parsed:
    """The values of an `sObject`: an empty one is left alone, `xsi:nil` is null, `<Account><sObject>` points to a record."""
    found: dict[str, Any] = {}
    try:
        for each in element:
            name, field = _local(each), one.find(_local(each))
            if len(each):
                found[name] = {_local(inner): inner.text for inner in each[0] if _local(inner) != "type"}
            elif each.get(_NIL, "").lower() in ("true", "1"):
                found[name] = None
            elif name != "type" and each.text:
                found[name] = typed(field, each.text) if field is not None else each.text
    except RefusedError as error:
        return error
    return found


def _elements(body: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{escape(_text(value))}</{name}>" for name, value in body.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else str(value)
    return f"{text[:-5]}Z" if text.endswith(".000+0000") else text


def _outcome_line(result: Mapping[str, Any]) -> list[str]:
    errors = [
        error_text(RefusedError(each["statusCode"], each["message"], tuple(each["fields"])))
        for each in result["errors"]
    ]
    return [str(result["id"] or ""), _text(result["success"]), _text(result["created"]), " ".join(errors)]


def _outcome_elements(result: Mapping[str, Any]) -> str:
    errors = "".join(
        f"<errors>{''.join(f'<fields>{name}</fields>' for name in each['fields'])}"
        f"{_elements({'message': each['message'], 'statusCode': each['statusCode']})}</errors>"
        for each in result["errors"]
    )
    return errors + _elements({"id": result["id"], "success": result["success"], "created": result["created"]})


def _record_elements(row: Mapping[str, Any]) -> str:
    parts = [f"<type>{row['attributes']['type']}</type>"]
    for name, value in row.items():
        if isinstance(value, dict) and "attributes" in value:
            parts.append(f'<{name} xsi:type="sObject">{_record_elements(value)}</{name}>')
        elif value is None:
            parts.append(f'<{name} xsi:nil="true"/>')
        elif name != "attributes":
            parts.append(f"<{name}>{escape(_text(value))}</{name}>")
    return "".join(parts)


def _inside(row: Any, name: str) -> Any:
    for part in name.split("."):
        row = next((value for key, value in row.items() if key.lower() == part.lower()), None) if row else None
    return row
