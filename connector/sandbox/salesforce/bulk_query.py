"""Bulk API 2.0 queries: `/jobs/query`.

Bulk API 2.0 Developer Guide, "Bulk API 2.0 Query": results in CSV, page by page with `Sforce-Locator` (which can be read again
while the job exists), or the links of five pages at a time (`resultPages`, from v58.0, in the version that created the job); 204
while there are no results. GROUP BY, OFFSET, TYPEOF, aggregates, compound fields and child subqueries are refused.

The result is taken when the job runs, in slices, so that other requests are answered in between.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from array import array

import orjson

from connector.sandbox.database import transaction
from connector.sandbox.salesforce import jobs
from connector.sandbox.salesforce.bulk_csv import quoted_line, sql_line
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.jobs import ABORTED, COMPLETE, ENDED, RUNNING, Job, job_of
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.records import object_body
from connector.sandbox.salesforce.refusal import RefusedError, not_found
from connector.sandbox.salesforce.soql_parser import Operand, Query, TypeOf, parse
from connector.sandbox.salesforce.soql_sql import Compiler, Resolved, refuse_twice
from connector.sandbox.salesforce.soql_where import sql_where

MAX_JOBS_PER_DAY = 10_000
RESULT_PAGES_FROM_VERSION = 58.0
LINKED_PAGES = 5
SLICE_ROWS = 10_000
"""Rows that are written between two other requests."""


def create(call: Call) -> Answer:
    """`POST /jobs/query`."""
    body = object_body(call)
    operation, text = body.get("operation"), body.get("query")
    if operation not in ("query", "queryAll"):
        raise RefusedError("INVALIDJOB", "InvalidJob : operation must be query or queryAll")
    if not isinstance(text, str) or not text.strip():
        raise RefusedError("INVALIDJOB", "InvalidJob : No query specified")
    if (
        jobs.started_last_day(call.org, is_query=True)[0] >= MAX_JOBS_PER_DAY
        and call.org.context.settings.are_limits_on
    ):
        raise RefusedError("EXCEEDEDQUOTA", "ExceededQuota : Max number of Bulk V2 query jobs per 24 hrs exceeded")
    compiler = Compiler(call.org, call.access, text, checked(parse(text)))
    selected = columns(compiler)
    sql_where(compiler, include_deleted=True)
    compiler.sql_order()
    job = jobs.add(call, is_query=True, operation=operation, object_name=compiler.source.name, query=text)
    job.header = quoted_line([name for name, _ in selected], *job.separators)
    jobs.save(call.org, job)
    jobs.start(call.org, job, _run)
    return Answer(200, jobs.description(job, is_full=False))


def checked(query: Query) -> Query:
    """Refuse what Bulk API cannot query."""
    if query.is_count or query.group_by or any(isinstance(item, Operand) and item.function for item in query.items):
        raise RefusedError("API_ERROR", "Aggregate Relationships not supported in Bulk V2 Query with CSV content type")
    if any(isinstance(item, Query) for item in query.items):
        raise RefusedError("API_ERROR", "Nested Query not supported in Bulk V2 Query with CSV content type")
    if any(isinstance(item, TypeOf) for item in query.items):
        raise RefusedError("API_ERROR", "TypeOf expressions not supported in Bulk V2 Query with CSV content type")
    if query.offset:
        raise RefusedError("API_ERROR", "Offset not supported in Bulk V2 Query with CSV content type")
    return query


def columns(compiler: Compiler) -> list[tuple[str, Resolved]]:
    """Header name and SQL of each selected field."""
    found = []
    for item in compiler.query.items:
        assert isinstance(item, Operand)
        resolved = compiler.resolve(item)
        if resolved.field.type == "address":
            raise RefusedError("API_ERROR", "Selecting compound data not supported in Bulk Query")
        found.append((".".join([*compiler.path(item)[:-1], resolved.field.name]), resolved))
    refuse_twice([name for name, _ in found])
    return found


async def _run(org: Org, job: Job) -> None:
    """Take the result: which rows first, then their lines, slice by slice."""
    statement, rows = _prepare(org, job)
    org.database.execute("DELETE FROM sf_job_line WHERE job = ?", (job.number,))
    job.state, job.processed = RUNNING, 0
    for first in range(0, len(rows), SLICE_ROWS):
        await asyncio.sleep(0)
        with transaction(org.database):
            if jobs.is_ended(org, job.number):
                return
            slice_json = orjson.dumps(rows[first : first + SLICE_ROWS].tolist()).decode()
            job.processed += org.database.execute(statement, (job.number, job.processed - 1, slice_json)).rowcount
            jobs.save(org, job)


def _prepare(org: Org, job: Job) -> tuple[str, array[int]]:
    """The statement that writes the lines of some rows, and all rows of the result in order."""
    text = str(job.query)
    access = org.access(job.created_by_id)
    lines_compiler = Compiler(org, access, text, parse(text))
    selected = [(resolved.sql, resolved.field) for _, resolved in columns(lines_compiler)]
    statement = (
        "INSERT INTO sf_job_line (job, part, number, line) "
        f"SELECT ?, {jobs.QUERY_PART}, ? + row_number() OVER (), {sql_line(selected, *job.separators)} "
        f"FROM json_each(?) page CROSS JOIN {lines_compiler.source.table} t ON t.rowid = page.value "
        f"{' '.join(lines_compiler.joins)}"
    )
    compiler = Compiler(org, access, text, parse(text))
    where = sql_where(compiler, include_deleted=job.operation == "queryAll")
    order = compiler.sql_order()
    cursor = org.database.cursor()
    cursor.row_factory = None
    rows = array("q")
    statement_of_rows = f"SELECT t.rowid{compiler.sql_from()}{where}{order}{compiler.sql_limit()}"
    rows.extend(row[0] for row in cursor.execute(statement_of_rows, compiler.parameters))
    return statement, rows


def read(call: Call, job_id: str) -> Answer:
    """`GET /jobs/query/{id}`."""
    return jobs.told(call, job_id, _run, is_query=True)


def change(call: Call, job_id: str) -> Answer:
    """`PATCH /jobs/query/{id}` `{"state": "Aborted"}`."""
    job = job_of(call, job_id, is_query=True)
    if object_body(call).get("state") != ABORTED:
        raise jobs.wrong_state("Query jobs can only be set to Aborted")
    if job.state in ENDED:
        raise jobs.wrong_state("Aborting already Completed Job not allowed")
    job.state = ABORTED
    jobs.save(call.org, job)
    return Answer(200, jobs.description(job, is_full=False))


def remove(call: Call, job_id: str) -> Answer:
    """`DELETE /jobs/query/{id}`: only when it has ended."""
    job = job_of(call, job_id, is_query=True)
    if job.state not in ENDED:
        raise jobs.wrong_state("The job must be JobComplete, Aborted or Failed to be deleted")
    jobs.remove(call.org, job.number)
    return Answer(204)


def results(call: Call, job_id: str) -> Answer:
    """`GET /jobs/query/{id}/results[?maxRecords=N][&locator=L]`: 204 while there are none."""
    job = job_of(call, job_id, is_query=True)
    _check_version(call, job)
    if job.state != COMPLETE:
        return Answer(204)
    first = _position(call.query.get("locator", ""), job.processed)
    most = call.query.get("maxRecords", "")
    if most and (not most.isdigit() or int(most) < 1):
        raise RefusedError("INVALID_FIELD", "maxRecords must be a positive number")
    page_rows = call.org.context.settings.salesforce_bulk_page_rows
    count = min(int(most) if most else page_rows, job.processed - first)
    end = first + count
    headers = {
        "Sforce-NumberOfRecords": str(count),
        "Sforce-Locator": _locator(end) if end < job.processed else "null",
    }
    content = jobs.lines(call.org, job, jobs.QUERY_PART, first, count)
    return Answer(200, headers=headers, records=count, pieces=content)


def result_pages(call: Call, job_id: str) -> Answer:
    """`GET /jobs/query/{id}/resultPages`: the links of up to five pages, to be read at the same time."""
    job = job_of(call, job_id, is_query=True)
    if float(call.version) < RESULT_PAGES_FROM_VERSION:
        raise not_found()
    _check_version(call, job)
    if job.state != COMPLETE:
        return Answer(204)
    first = _position(call.query.get("locator", ""), job.processed)
    page_rows = call.org.context.settings.salesforce_bulk_page_rows
    starts = list(range(first, max(job.processed, first + 1), page_rows))
    path = f"{call.base}/jobs/query/{job.id}"
    is_done = len(starts) <= LINKED_PAGES
    return Answer(
        200,
        {
            "resultPages": [{"resultUrl": f"{path}/results?locator={_locator(at)}"} for at in starts[:LINKED_PAGES]],
            "nextRecordsUrl": None if is_done else f"{path}/resultPages?locator={_locator(starts[LINKED_PAGES])}",
            "done": is_done,
        },
    )


def _check_version(call: Call, job: Job) -> None:
    if call.version != job.version:
        raise RefusedError(
            "VERSION_CONFLICT", f"Use the API version that created the job to get its results: {job.version}"
        )


def _locator(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def _position(locator: str, rows: int) -> int:
    """Where a locator points to; raises INVALID_QUERY_LOCATOR."""
    if locator in ("", "null"):
        return 0
    try:
        text = base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        text = ""
    if not text.isdigit() or int(text) > rows or _locator(int(text)) != locator:
        raise RefusedError("INVALID_QUERY_LOCATOR", "invalid query locator")
    return int(text)
