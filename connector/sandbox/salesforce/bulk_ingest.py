"""Bulk API 2.0 ingest: `/jobs/ingest`.

Bulk API 2.0 Developer Guide, "Bulk API 2.0 Ingest": one upload of CSV, then `UploadComplete`; rows are written in chunks of 200, each
by itself; what became of them stands in successfulResults, failedResults and unprocessedrecords. The content may have 100 MB
(150 MB in base64). Assignment rules run only with `assignmentRuleId`; hardDelete needs the permission "Bulk API Hard Delete".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import orjson

from connector.sandbox.context import SALESFORCE
from connector.sandbox.database import transaction
from connector.sandbox.salesforce import jobs
from connector.sandbox.salesforce.bulk_csv import (
    Columns,
    Content,
    UnreadableError,
    check_header,
    error_text,
    quoted_line,
)
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.jobs import ABORTED, ENDED, OPEN, RUNNING, UPLOADED, Job, job_of
from connector.sandbox.salesforce.multipart import multipart
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.records import object_body
from connector.sandbox.salesforce.recycling import erase
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import Field, SObject
from connector.sandbox.salesforce.writing import Author, delete, matches, update
from connector.sandbox.salesforce.writing import create as create_record

OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
MAX_CONTENT_BYTES = 150_000_000
MAX_MULTIPART_CHARACTERS = 100_000
MAX_BATCHES_PER_DAY = 15_000
MAX_ROWS_PER_DAY = 150_000_000
BATCH_ROWS = 10_000
CHUNK_ROWS = 200


def create(call: Call) -> Answer:
    """`POST /jobs/ingest`, with JSON, or multipart with the content (parts `job` and `content`)."""
    content = None
    if isinstance(call.body, bytes):
        parts = multipart(call.body, call.headers.get("content-type", ""))
        content = parts.get("content")
        call = replace(call, body=_json(parts.get("job", b"")))
        if content is None or len(content.decode("utf-8", "replace")) > MAX_MULTIPART_CHARACTERS:
            raise RefusedError(
                "INVALIDJOB", f"InvalidJob : Multipart needs a part named content of at most {MAX_MULTIPART_CHARACTERS}"
            )
    body = object_body(call)
    one = _object(call, body)
    operation = body["operation"]
    job = jobs.add(
        call,
        is_query=False,
        operation=operation,
        object_name=one.name,
        key_name=body.get("externalIdFieldName"),
        assignment_rule_id=body.get("assignmentRuleId"),
    )
    if content is not None:
        _store(call.org, job, content)
        job.state = UPLOADED
        jobs.save(call.org, job)
        jobs.start(call.org, job, _run)
    return Answer(200, jobs.description(job, is_full=False))


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RefusedError("JSON_PARSER_ERROR", "The part named job is not JSON") from None


def _object(call: Call, body: dict[str, Any]) -> SObject:
    """The object of a new job; raises INVALIDJOB, INVALIDENTITY and FEATURENOTENABLED."""
    operation = body.get("operation")
    if operation not in OPERATIONS:
        raise RefusedError("INVALIDJOB", f"InvalidJob : operation must be one of {', '.join(OPERATIONS)}")
    one = call.org.schema.find(str(body.get("object") or ""))
    if one is None:
        raise RefusedError("INVALIDENTITY", f"InvalidEntity : Unable to find object: {body.get('object')}")
    if operation == "hardDelete" and not call.org.may_hard_delete(call.access.user_id):
        raise RefusedError(
            "FEATURENOTENABLED",
            "hardDelete operation requires special user profile permission, please contact your system administrator",
        )
    if operation == "upsert":
        name = str(body.get("externalIdFieldName") or "")
        field = one.find(name)
        if field is None or not field.is_id_lookup or not call.access.sees(one, field):
            raise RefusedError(
                "INVALIDJOB", f"InvalidJob : Field name provided, {name} does not match an External ID for {one.name}"
            )
    if call.org.context.settings.are_limits_on:
        _, batches, rows = jobs.started_last_day(call.org, is_query=False)
        if batches >= MAX_BATCHES_PER_DAY or rows >= MAX_ROWS_PER_DAY:
            raise RefusedError("EXCEEDEDQUOTA", "ExceededQuota : The allowed number of batches or records is used up")
    return one


def upload(call: Call, job_id: str) -> Answer:
    """`PUT /jobs/ingest/{id}/batches`: the whole content, once."""
    job = job_of(call, job_id, is_query=False)
    if job.state != OPEN:
        raise jobs.wrong_state(f"Can't upload data to a job in state {job.state}")
    if not isinstance(call.body, bytes):
        raise RefusedError("UNSUPPORTED_MEDIA_TYPE", "The content of a job is text/csv")
    known = call.org.database.execute("SELECT 1 FROM sf_job_content WHERE job = ?", (job.number,)).fetchone()
    if known is not None:
        raise RefusedError(
            "CLIENTINPUTERROR",
            f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the current Job then create "
            "a new Job and make sure you only do 'PUT' once on a given Job.",
        )
    if len(call.body) > MAX_CONTENT_BYTES:
        raise RefusedError("CLIENTINPUTERROR", f"ClientInputError : The content exceeds {MAX_CONTENT_BYTES} bytes")
    _store(call.org, job, call.body)
    return Answer(201)


def _store(org: Org, job: Job, content: bytes) -> None:
    org.database.execute("INSERT INTO sf_job_content (job, body) VALUES (?, ?)", (job.number, content))


def read(call: Call, job_id: str) -> Answer:
    """`GET /jobs/ingest/{id}`."""
    return jobs.told(call, job_id, _run, is_query=False)


def change(call: Call, job_id: str) -> Answer:
    """`PATCH /jobs/ingest/{id}` `{"state": "UploadComplete" | "Aborted"}`."""
    job = job_of(call, job_id, is_query=False)
    state = object_body(call).get("state")
    if state == UPLOADED:
        if job.state != OPEN:
            raise jobs.wrong_state("Closing already Completed Job not allowed")
    elif state == ABORTED:
        if job.state in ENDED:
            raise jobs.wrong_state("Aborting already Completed Job not allowed")
    else:
        raise jobs.wrong_state("The state of a job can only be set to UploadComplete or Aborted")
    job.state = str(state)
    jobs.save(call.org, job)
    jobs.start(call.org, job, _run)
    return Answer(200, jobs.description(job, is_full=False))


def remove(call: Call, job_id: str) -> Answer:
    """`DELETE /jobs/ingest/{id}`: not while it takes content, and not while it runs."""
    job = job_of(call, job_id, is_query=False)
    if job.state in (OPEN, RUNNING):
        raise jobs.wrong_state(f"A job that is {job.state} can't be deleted")
    jobs.remove(call.org, job.number)
    return Answer(204)


async def _run(org: Org, job: Job) -> None:
    """Write the rows chunk by chunk; a chunk and what is noted of it are one transaction, so a restart goes on after it."""
    content = _content(org, job)
    if content is None:
        return
    writer = _Writer(org, job, content.header)
    rows = islice(content.rows(), job.processed, None)
    job.state = RUNNING
    while chunk := list(islice(rows, CHUNK_ROWS)):
        await asyncio.sleep(0)
        with transaction(org.database):
            if jobs.is_ended(org, job.number):
                return
            writer.write(chunk, job)
            job.batches = -(-job.processed // BATCH_ROWS)
            jobs.save(org, job)


def _content(org: Org, job: Job) -> Content | None:
    row = org.database.execute("SELECT body FROM sf_job_content WHERE job = ?", (job.number,)).fetchone()
    return None if row is None else Content(row["body"], job.delimiter, job.line_ending)


class _Writer:
    """Writes the rows of one job and notes the outcome of each."""

    def __init__(self, org: Org, job: Job, header: list[str]) -> None:
        self._org = org
        self._job = job
        self._one = org.object(job.object)
        access = org.access(job.created_by_id)
        check_header(self._one, header, frozenset(field.name for field in access.visible(self._one)))
        is_removal = job.operation in ("delete", "hardDelete")
        if is_removal and header and [name.lower() for name in header] != ["id"]:
            raise UnreadableError(f"InvalidBatch : The '{job.operation}' batch must contain only ids")
        key = {"insert": "", "upsert": job.key_name}.get(job.operation, "Id")
        if header and key and key.lower() not in [name.lower() for name in header]:
            raise UnreadableError(f"InvalidBatch : Field name not found : {key}")
        self._author = Author(access, job.assignment_rule_id is not None)
        self._columns = Columns(self._one, header)
        self._key: Field | None = self._one.find(str(job.key_name)) if job.operation == "upsert" else None

    def write(self, chunk: list[list[str]], job: Job) -> None:
        """Write some rows; each fails by itself."""
        parsed = [self._parsed(row) for row in chunk]
        natives = [None if isinstance(each, RefusedError) else full_id(each.get("Id")) for each in parsed]
        faults = self._org.context.faults.record_errors(SALESFORCE, self._one.name, natives)
        keys = self._keys(parsed)
        lines = []
        for index, (row, values) in enumerate(zip(chunk, parsed, strict=True)):
            try:
                if isinstance(values, RefusedError):
                    raise values
                if index in faults:
                    raise RefusedError(*faults[index])
                if keys and keys.count(keys[index]) > 1:
                    text = f"Duplicate external id specified: {values.get(str(self._job.key_name))}"
                    raise RefusedError("DUPLICATE_VALUE", text)
                native, is_created = self._one_row(values)
                told = [native, "true" if is_created else "false", *row]
                part = jobs.SUCCESS_PART
            except RefusedError as error:
                job.failed += 1
                told, part = [natives[index] or "", error_text(error), *row], jobs.FAILURE_PART
            lines.append((job.number, part, job.processed, quoted_line(told, *job.separators)))
            job.processed += 1
        self._org.database.executemany("INSERT INTO sf_job_line VALUES (?, ?, ?, ?)", lines)

    def _parsed(self, row: list[str]) -> dict[str, Any] | RefusedError:
        try:
            return self._columns.values(row)
        except RefusedError as error:
            return error

    def _keys(self, parsed: list[dict[str, Any] | RefusedError]) -> list[str]:
        """The keys of an upsert, to find those that come twice in a chunk."""
        if self._key is None or self._key.name == "Id":
            return []
        name = self._key.name
        return [
            f"#{index}" if isinstance(values, RefusedError) or not values.get(name) else str(values[name]).lower()
            for index, values in enumerate(parsed)
        ]

    def _one_row(self, values: dict[str, Any]) -> tuple[str, bool]:
        """Write one row; gives its id and whether it is new."""
        org, author, one = self._org, self._author, self._one
        if self._job.operation == "insert":
            return create_record(org, author, one, values), True
        if self._key is not None and self._key.name != "Id":
            return self._upsert(values, self._key)
        given = values.pop("Id", None)
        native = full_id(given)
        if given is None:
            if self._key is not None:
                return create_record(org, author, one, values), True
            raise RefusedError("MISSING_ARGUMENT", f"Id not specified in a {self._job.operation} call")
        if native is None or native[:3] != one.prefix:
            raise RefusedError("MALFORMED_ID", f"{one.label} ID: id value of incorrect type: {given}", ("Id",))
        if self._job.operation == "delete":
            delete(org, author, one, native)
        elif self._job.operation == "hardDelete":
            delete(org, author, one, native)
            erase(org, one, native)
        else:
            update(org, author, one, native, values)
        return native, False

    def _upsert(self, values: dict[str, Any], key: Field) -> tuple[str, bool]:
        value = values.get(key.name)
        if value is None:
            raise RefusedError("MISSING_ARGUMENT", f"{key.name} not specified")
        found = matches(self._org, self._one, key, value)
        if len(found) > 1:
            text = f"{key.name}: more than one record found for external id field: [{', '.join(found)}]"
            raise RefusedError("DUPLICATE_EXTERNAL_ID", text)
        if not found:
            return create_record(self._org, self._author, self._one, values), True
        rest = {name: given for name, given in values.items() if name != key.name}
        update(self._org, self._author, self._one, found[0], rest)
        return found[0], False


def _results(call: Call, job_id: str, part: int, *first_names: str) -> Answer:
    job = job_of(call, job_id, is_query=False)
    if job.state not in ENDED:
        return Answer(204)
    content = None
    try:
        content = _content(call.org, job)
    except UnreadableError:
        first_names = first_names[:2]
    names = [*first_names, *(content.header if content is not None else [])]
    job.header = quoted_line(names, *job.separators) if names else ""
    return Answer(200, pieces=jobs.lines(call.org, job, part))


def successful(call: Call, job_id: str) -> Answer:
    """`GET .../successfulResults`."""
    return _results(call, job_id, jobs.SUCCESS_PART, "sf__Id", "sf__Created")


def failed(call: Call, job_id: str) -> Answer:
    """`GET .../failedResults`."""
    return _results(call, job_id, jobs.FAILURE_PART, "sf__Id", "sf__Error")


def unprocessed(call: Call, job_id: str) -> Answer:
    """`GET .../unprocessedrecords`: the rows of a job that was aborted or failed before they were reached."""
    job = job_of(call, job_id, is_query=False)
    if job.state not in ENDED:
        return Answer(204)
    return Answer(200, pieces=_unprocessed(call.org, job))


def _unprocessed(org: Org, job: Job) -> Iterator[bytes]:
    try:
        content = _content(org, job)
        if content is None:
            return
        yield quoted_line(content.header, *job.separators).encode()
        rows = islice(content.rows(), job.processed, None)
        while chunk := list(islice(rows, jobs.READ_LINES)):
            yield "".join(quoted_line(row, *job.separators) for row in chunk).encode()
    except UnreadableError:
        return
