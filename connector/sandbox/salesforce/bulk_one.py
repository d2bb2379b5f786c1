"""Bulk API 1.0: `/services/async/{version}/job`, which older clients use, in JSON, XML and CSV.

Bulk API Developer Guide, "Create a New Job", "Add a Batch", "Get Results for a Batch": a batch has up to 10,000 records, each
written by itself in chunks of 200; refusals are 400 with `exceptionCode`. Batches are worked on as they come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from connector.sandbox.salesforce import bulk_one_formats as formats
from connector.sandbox.salesforce import collections
from connector.sandbox.salesforce.bulk_query import checked, columns
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.ids import native_id
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.recycling import erase
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.soql_parser import parse
from connector.sandbox.salesforce.soql_sql import Compiler

HARD_DELETE = "hardDelete"
OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete", "query", "queryAll")
MOST_RECORDS = 10_000
IN_CHUNK, MOST_IN_CHUNK = 100_000, 250_000
CHUNKED = "chunkSize"
"""Of a job that is cut by id: records in a part (told to nobody)."""

JOB_PREFIX, BATCH_PREFIX, RESULT_PREFIX = "750", "751", "752"
OPEN, CLOSED, ABORTED = "Open", "Closed", "Aborted"

_TABLES = """
CREATE TABLE IF NOT EXISTS sf_async_job (number INTEGER PRIMARY KEY, id TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sf_async_batch (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, job TEXT NOT NULL, body TEXT NOT NULL, request BLOB NOT NULL, result TEXT NOT NULL
);
"""
#: Where its ids begin: those of Bulk API 2.0 share the prefix and begin at one.
_FIRST = 62**5


def create_tables(org: Org) -> None:
    """Make the tables where they are missing."""
    org.database.executescript(_TABLES)


def refusal(error: RefusedError, headers: Mapping[str, str]) -> Answer:
    """The answer to a request that is refused."""
    code = {"INVALID_SESSION_ID": "InvalidSessionId", "REQUEST_LIMIT_EXCEEDED": "ExceededQuota"}.get(
        error.code, error.code
    )
    return formats.refused(headers, 400, {"exceptionCode": code, "exceptionMessage": error.message})


def dispatch(call: Call) -> Answer:
    """Answer a call: its path begins after the version, its body is as it came."""
    for method, pattern, work in _ROUTES:
        match = re.fullmatch(pattern, call.path)
        if match and method == call.method:
            return work(call, **match.groupdict())
    raise RefusedError("InvalidUrl", f"Destination URL not reset. The URL {call.path} is not one of Bulk API")


def create_job(call: Call) -> Answer:
    """`POST /job` -> 201."""
    given = formats.said_of_job(call)
    operation, one = given.get("operation"), call.org.schema.find(str(given.get("object") or ""))
    content = given.get("contentType") or formats.XML
    if operation not in OPERATIONS or content not in formats.CONTENT_TYPES:
        kinds = ", ".join(formats.CONTENT_TYPES)
        raise RefusedError(
            "InvalidJob",
            f"Unable to parse Job: operation is one of {', '.join(OPERATIONS)}, contentType one of {kinds}",
        )
    if one is None:
        raise RefusedError("InvalidEntity", f"Unable to find object: {given.get('object')}")
    if operation == "upsert" and one.find(str(given.get("externalIdFieldName") or "")) is None:
        raise RefusedError("InvalidJob", "External ID was blank for an upsert operation, or is no field")
    if operation == HARD_DELETE and not call.org.may_hard_delete(call.access.user_id):
        raise RefusedError("FeatureNotEnabled", "hardDelete operation requires special user profile permission")
    number = _next(call.org, "sf_async_job")
    body = {
        **({CHUNKED: size} if (size := _chunk_size(call, str(operation))) else {}),
        "id": native_id(JOB_PREFIX, number), "operation": operation, "object": one.name, "state": OPEN, "contentType": content,
        "externalIdFieldName": given.get("externalIdFieldName"),
        "concurrencyMode": "Serial" if given.get("concurrencyMode") in (1, "1", "Serial") else "Parallel",
        "createdById": call.access.user_id, "createdDate": call.org.now_text(), "apiVersion": float(call.version),
    }  # fmt: skip
    statement = "INSERT INTO sf_async_job (number, id, body) VALUES (?, ?, ?)"
    call.org.database.execute(statement, (number, body["id"], orjson.dumps(body).decode()))
    return formats.job(call, 201, _told(call, body), content)


def _chunk_size(call: Call, operation: str) -> int:
    """Records in a part, of a query that is cut by id (`Sforce-Enable-PKChunking: true; chunkSize=N`), else 0."""
    options = [part.strip().lower() for part in call.headers.get("sforce-enable-pkchunking", "").split(";")]
    sizes = [part.partition("=")[2].strip() for part in options if part.startswith("chunksize")]
    if options[0] in ("", "false") or not operation.startswith("query"):
        return 0
    if sizes and not (sizes[0].isdigit() and 0 < int(sizes[0]) <= MOST_IN_CHUNK):
        raise RefusedError("InvalidJob", f"chunkSize is a number up to {MOST_IN_CHUNK}")
    return int(sizes[0]) if sizes else IN_CHUNK


def read_job(call: Call, job: str) -> Answer:
    """`GET /job/{id}`."""
    body = _job(call, job)
    return formats.job(call, 200, _told(call, body), body["contentType"])


def change_job(call: Call, job: str) -> Answer:
    """`POST /job/{id}` `{"state": "Closed" | "Aborted"}`."""
    body, state = _job(call, job), formats.said_of_job(call).get("state")
    if state not in (CLOSED, ABORTED) or body["state"] != OPEN:
        raise RefusedError("InvalidJobState", f"Can't set the state of a job that is {body['state']} to {state}")
    body["state"] = state
    call.org.database.execute(
        "UPDATE sf_async_job SET body = ? WHERE id = ?", (orjson.dumps(body).decode(), body["id"])
    )
    return formats.job(call, 200, _told(call, body), body["contentType"])


def add_batch(call: Call, job: str) -> Answer:
    """`POST /job/{id}/batch`: a list of records, or SOQL -> 201."""
    body = _job(call, job)
    _demand_content(call, body)
    if body["state"] != OPEN:
        raise RefusedError("InvalidJobState", f"Batch can't be added to a job that is {body['state']}")
    is_query, size = body["operation"].startswith("query"), body.get(CHUNKED)
    try:
        result = _queried(call, body) if is_query else _written(call, body)
    except RefusedError as error:
        batch = _add(call, body, [], {"state": "Failed", "stateMessage": f"InvalidBatch : {error}"})
    else:
        failed = 0 if is_query else sum(not row["success"] for row in result)
        if size:
            batch = _add(call, body, [], {"state": "NotProcessed"})
            for part in _chunks(result, size):
                _add(call, body, part, {"state": "Completed", "numberRecordsProcessed": len(part)})
        else:
            done = {"state": "Completed", "numberRecordsProcessed": len(result), "numberRecordsFailed": failed}
            batch = _add(call, body, result, done)
    queued = {**batch, "state": "Queued", "numberRecordsProcessed": 0, "numberRecordsFailed": 0}
    return formats.batch(201, queued, body["contentType"])


def _chunks(result: list[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    """PK chunking: the result by growing id, in parts; none where there are no records."""
    rows = sorted(result, key=lambda row: str(row["attributes"]["url"]))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _add(call: Call, job: Mapping[str, Any], result: list[dict[str, Any]], said: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a batch."""
    number, now = _next(call.org, "sf_async_batch"), call.org.now_text()
    batch: dict[str, Any] = {
        "id": native_id(BATCH_PREFIX, number), "jobId": job["id"], "createdDate": now, "systemModstamp": now,
        "totalProcessingTime": 0, "apiActiveProcessingTime": 0, "apexProcessingTime": 0,
        "numberRecordsProcessed": 0, "numberRecordsFailed": 0, **said,
    }  # fmt: skip
    call.org.database.execute(
        "INSERT INTO sf_async_batch (number, id, job, body, request, result) VALUES (?, ?, ?, ?, ?, ?)",
        (
            number,
            batch["id"],
            job["id"],
            orjson.dumps(batch).decode(),
            call.body or b"",
            orjson.dumps(result).decode(),
        ),
    )
    return batch


def _demand_content(call: Call, job: Mapping[str, Any]) -> None:
    """A batch comes as its job said."""
    given = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    kinds = {formats.CONTENT_TYPES[content]: content for content in formats.CONTENT_TYPES}
    if kinds.get(given, job["contentType"]) != job["contentType"]:
        raise RefusedError("InvalidBatch", f"The content of a job's batches is {job['contentType']}, not {given}")


def list_batches(call: Call, job: str) -> Answer:
    """`GET /job/{id}/batch`."""
    body = _job(call, job)
    rows = call.org.database.execute("SELECT body FROM sf_async_batch WHERE job = ? ORDER BY number", (body["id"],))
    return formats.batches([orjson.loads(row["body"]) for row in rows], body["contentType"])


def read_batch(call: Call, job: str, batch: str) -> Answer:
    """`GET /job/{id}/batch/{id}`."""
    body = orjson.loads(_batch(call, job, batch)["body"])
    return formats.batch(200, body, _job(call, job)["contentType"])


def read_request(call: Call, job: str, batch: str) -> Answer:
    """`GET .../request`: what was sent."""
    kind = formats.CONTENT_TYPES[_job(call, job)["contentType"]]
    return Answer(200, headers={"Content-Type": kind}, pieces=iter([_batch(call, job, batch)["request"]]))


def read_result(call: Call, job: str, batch: str) -> Answer:
    """`GET .../result`: an outcome for each record; of a query, the ids of its results."""
    row, body = _batch(call, job, batch), _job(call, job)
    if body["operation"].startswith("query"):
        return formats.result_ids([native_id(RESULT_PREFIX, row["number"])], body["contentType"])
    return formats.outcomes(orjson.loads(row["result"]), body["contentType"])


def read_query_result(call: Call, job: str, batch: str, result: str) -> Answer:
    """`GET .../result/{id}`: the records of a query."""
    row = _batch(call, job, batch)
    if result != native_id(RESULT_PREFIX, row["number"]):
        raise RefusedError("InvalidBatch", f"No result of id {result}")
    text = row["request"].decode()
    names = [name for name, _ in columns(Compiler(call.org, call.access, text, parse(text)))]
    return formats.queried(orjson.loads(row["result"]), names, _job(call, job)["contentType"])


def _queried(call: Call, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = (call.body or b"").decode()
    columns(Compiler(call.org, call.access, text, checked(parse(text))))
    page = call.queries.run(text, call.reader, include_deleted=job["operation"] == "queryAll")
    found: list[dict[str, Any]] = list(page["records"])
    while not page["done"]:
        page = call.queries.more(page["nextRecordsUrl"].rpartition("/")[2], call.reader)
        found += page["records"]
    return found


def _written(call: Call, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    records = formats.records(call, call.org.object(job["object"]), job["contentType"])
    if len(records) > MOST_RECORDS:
        raise RefusedError("InvalidBatch", f"A batch has at most {MOST_RECORDS} records")
    results: list[dict[str, Any]] = []
    for start in range(0, len(records), collections.MAX_RECORDS):
        some = records[start : start + collections.MAX_RECORDS]
        readable = [each for each in some if not isinstance(each, RefusedError)]
        written = iter(_chunk(call, job, readable).body if readable else ())
        results += [
            {"success": False, "errors": [each.as_record_error()]} if isinstance(each, RefusedError) else next(written)
            for each in some
        ]
    is_new = job["operation"] == "insert"
    return [{"id": None, "created": is_new and row["success"], **row} for row in results]


def _chunk(call: Call, job: Mapping[str, Any], records: list[dict[str, Any]]) -> Answer:
    """Some records, by what writes collections."""
    if job["operation"] in ("delete", HARD_DELETE):
        ids = ",".join(str(each.get("Id", each.get("id"))) for each in records)
        answer = collections.delete_many(replace(call, method="DELETE", query={"ids": ids}))
        gone = [row["id"] for row in answer.body if row["success"]] if job["operation"] == HARD_DELETE else []
        for native in gone:
            erase(call.org, call.org.object(job["object"]), native)
        return answer
    typed = [
        {"attributes": {"type": job["object"]}, **{k: v for k, v in each.items() if k != "attributes"}}
        for each in records
    ]
    inner = replace(call, body={"records": typed})
    if job["operation"] == "upsert":
        return collections.upsert_many(inner, job["object"], job["externalIdFieldName"])
    return (collections.insert_many if job["operation"] == "insert" else collections.update_many)(inner)


def _told(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    rows = call.org.database.execute("SELECT body FROM sf_async_batch WHERE job = ?", (body["id"],)).fetchall()
    batches = [orjson.loads(row["body"]) for row in rows]
    counts = {name: sum(each[name] for each in batches) for name in ("numberRecordsProcessed", "numberRecordsFailed")}
    completed = sum(each["state"] == "Completed" for each in batches)
    shown = {name: value for name, value in body.items() if name != CHUNKED}
    return {
        **shown, **counts, "systemModstamp": body["createdDate"], "numberBatchesTotal": len(batches), "numberBatchesQueued": 0,
        "numberBatchesInProgress": 0, "numberBatchesCompleted": completed,
        "numberBatchesFailed": sum(each["state"] == "Failed" for each in batches), "numberRetries": 0,
    }  # fmt: skip


def _job(call: Call, job: str) -> dict[str, Any]:
    row = call.org.database.execute("SELECT body FROM sf_async_job WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise RefusedError("InvalidJob", f"Unable to find job: {job}")
    found: dict[str, Any] = orjson.loads(row["body"])
    return found


def _batch(call: Call, job: str, batch: str) -> Any:
    row = call.org.database.execute("SELECT * FROM sf_async_batch WHERE id = ? AND job = ?", (batch, job)).fetchone()
    if row is None:
        raise RefusedError("InvalidBatch", f"Unable to find batch: {batch}")
    return row


def _next(org: Org, table: str) -> int:
    return int(org.database.execute(f"SELECT coalesce(max(number), ?) + 1 FROM {table}", (_FIRST,)).fetchone()[0])


_ID = r"(?P<{}>[0-9A-Za-z]{{18}})"
_JOB = f"/job/{_ID.format('job')}"
_BATCH = f"{_JOB}/batch/{_ID.format('batch')}"
_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("POST", "/job/?", create_job),
    ("GET", f"{_JOB}/?", read_job),
    ("POST", f"{_JOB}/?", change_job),
    ("POST", f"{_JOB}/batch/?", add_batch),
    ("GET", f"{_JOB}/batch/?", list_batches),
    ("GET", f"{_BATCH}/?", read_batch),
    ("GET", f"{_BATCH}/request/?", read_request),
    ("GET", f"{_BATCH}/result/?", read_result),
    ("GET", f"{_BATCH}/result/{_ID.format('result')}/?", read_query_result),
)
