"""Jobs of Bulk API 2.0: how they are kept, what they say of themselves, and what may be done in which state.

Bulk API 2.0 Developer Guide, "Bulk API 2.0 Ingest" and "Bulk API 2.0 Query": results live seven days; every request is one API
call. Where the guide gives no code for a refusal, the ones recorded by clients are used (INVALIDJOB, INVALIDJOBSTATE,
INVALIDENTITY).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.salesforce.bulk_csv import DELIMITERS, LINE_ENDINGS, UnreadableError
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.ids import full_id, native_id, number_of
from connector.sandbox.salesforce.instants import instant_text, parse_instant
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError, not_found

JOB_PREFIX = "750"
RESULT_LIFE = timedelta(days=7)
DAY = timedelta(hours=24)
LISTED_JOBS = 1_000
READ_LINES = 5_000
"""Result lines that are held in memory at a time."""

OPEN, UPLOADED, RUNNING = "Open", "UploadComplete", "InProgress"
COMPLETE, FAILED, ABORTED = "JobComplete", "Failed", "Aborted"
ENDED = frozenset({COMPLETE, FAILED, ABORTED})

QUERY_PART, SUCCESS_PART, FAILURE_PART, UNPROCESSED_PART = range(4)
"""Which lines of a job: the result of a query; the rows of an ingest that succeeded, failed, were not reached."""

_TABLES = """
CREATE TABLE IF NOT EXISTS sf_job (
    number INTEGER PRIMARY KEY, is_query INTEGER NOT NULL, operation TEXT NOT NULL, object TEXT NOT NULL, query TEXT,
    key_name TEXT, assignment_rule_id TEXT, state TEXT NOT NULL, version TEXT NOT NULL, created_by_id TEXT NOT NULL,
    created_at TEXT NOT NULL, changed_at TEXT NOT NULL, line_ending TEXT NOT NULL, delimiter TEXT NOT NULL,
    processed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, took_ms INTEGER NOT NULL DEFAULT 0,
    batches INTEGER NOT NULL DEFAULT 0, error TEXT, header TEXT NOT NULL DEFAULT '',
    is_deleted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS sf_job_content (job INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sf_job_line (
    job INTEGER NOT NULL, part INTEGER NOT NULL, number INTEGER NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (job, part, number)
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Job:
    """A row of `sf_job`; `header` is the header line of its results."""

    number: int
    is_query: bool
    operation: str
    object: str
    query: str | None
    key_name: str | None
    assignment_rule_id: str | None
    state: str
    version: str
    created_by_id: str
    created_at: str
    changed_at: str
    line_ending: str
    delimiter: str
    processed: int = 0
    failed: int = 0
    took_ms: int = 0
    batches: int = 0
    error: str | None = None
    header: str = ""

    @property
    def id(self) -> str:
        """Its record id."""
        return native_id(JOB_PREFIX, self.number)

    @property
    def separators(self) -> tuple[str, str]:
        """Column delimiter and line ending."""
        return DELIMITERS[self.delimiter], LINE_ENDINGS[self.line_ending]


def create_tables(org: Org) -> None:
    """Make the tables of jobs where they are missing."""
    org.database.executescript(_TABLES)


def add(call: Call, *, is_query: bool, operation: str, object_name: str, **more: Any) -> Job:
    """Store a new job from the body's common keys; raises INVALIDJOB for a delimiter or line ending that is none."""
    body = call.body if isinstance(call.body, dict) else {}
    line_ending = _chosen(body, "lineEnding", "LF", LINE_ENDINGS)
    delimiter = _chosen(body, "columnDelimiter", "COMMA", DELIMITERS)
    content_type = _chosen(body, "contentType", "CSV", {"CSV": ""})
    assert content_type == "CSV"
    _drop_old(call.org)
    now = call.org.now_text()
    columns = {
        "is_query": int(is_query), "operation": operation, "object": object_name, "version": call.version,
        "created_by_id": call.access.user_id, "created_at": now, "changed_at": now, "line_ending": line_ending,
        "delimiter": delimiter, "state": UPLOADED if is_query else OPEN, **more,
    }  # fmt: skip
    cursor = call.org.database.execute(
        f"INSERT INTO sf_job ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", list(columns.values())
    )
    found = load(call.org, int(cursor.lastrowid or 0))
    assert found is not None
    return found


def _chosen(body: dict[str, Any], name: str, default: str, allowed: dict[str, str]) -> str:
    found = body.get(name) or default
    if found not in allowed:
        raise RefusedError("INVALIDJOB", f"InvalidJob : {name} must be one of {', '.join(allowed)}, not {found}")
    return str(found)


def _drop_old(org: Org) -> None:
    """Jobs and their results are gone after seven days."""
    oldest = instant_text(org.now() - RESULT_LIFE)
    rows = org.database.execute("SELECT number FROM sf_job WHERE created_at < ?", (oldest,)).fetchall()
    for row in rows:
        remove(org, row["number"])
        org.database.execute("DELETE FROM sf_job WHERE number = ?", (row["number"],))


def remove(org: Org, number: int) -> None:
    """Delete a job with its content and results; it still counts against the day's limits."""
    for table in ("sf_job_line", "sf_job_content"):
        org.database.execute(f"DELETE FROM {table} WHERE job = ?", (number,))
    org.database.execute("UPDATE sf_job SET is_deleted = 1 WHERE number = ?", (number,))


def load(org: Org, number: int) -> Job | None:
    """The job of this number."""
    row = org.database.execute("SELECT * FROM sf_job WHERE number = ? AND is_deleted = 0", (number,)).fetchone()
    return None if row is None else _job(row)


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    del values["is_deleted"]
    found = Job(**values)
    found.is_query = bool(found.is_query)
    return found


def job_of(call: Call, text: str, *, is_query: bool) -> Job:
    """The job that a path names; raises NOT_FOUND."""
    native = full_id(text)
    number = number_of(native) if native is not None and native.startswith(JOB_PREFIX) else None
    job = None if number is None else load(call.org, number)
    if job is None or job.is_query != is_query or job.created_at < instant_text(call.org.now() - RESULT_LIFE):
        raise not_found()
    return job


def save(org: Org, job: Job) -> None:
    """Write what changes as a job goes on."""
    job.changed_at = org.now_text()
    org.database.execute(
        "UPDATE sf_job SET state = ?, changed_at = ?, processed = ?, failed = ?, took_ms = ?, batches = ?, error = ?, "
        "header = ? WHERE number = ?",
        (
            job.state, job.changed_at, job.processed, job.failed, job.took_ms, job.batches, job.error, job.header,
            job.number,
        ),
    )  # fmt: skip


def start(org: Org, job: Job, run: Callable[[Org, Job], Coroutine[Any, Any, None]]) -> None:
    """Let a closed job run beside the requests (`run` raises nothing), as soon as it has waited its turn."""
    is_waiting = job.state in (UPLOADED, RUNNING) and job.number not in org.running
    due_at = parse_instant(job.changed_at) + timedelta(seconds=org.context.settings.salesforce_bulk_delay_s)
    if is_waiting and org.now() >= due_at:
        task = asyncio.get_running_loop().create_task(_run(org, job.number, run))
        org.running[job.number] = task
        task.add_done_callback(lambda _: org.running.pop(job.number, None))


def told(call: Call, job_id: str, run: Callable[[Org, Job], Coroutine[Any, Any, None]], *, is_query: bool) -> Answer:
    """`GET /jobs/{kind}/{id}`: what the job says of itself; one that has waited its turn begins."""
    job = job_of(call, job_id, is_query=is_query)
    start(call.org, job, run)
    return Answer(200, description(job))


async def _run(org: Org, number: int, run: Callable[[Org, Job], Coroutine[Any, Any, None]]) -> None:
    job = load(org, number)
    if job is None or job.state not in (UPLOADED, RUNNING):
        return
    began = time.perf_counter()
    try:
        await run(org, job)
        job.state = COMPLETE
    except (RefusedError, UnreadableError) as error:
        job.state, job.error = FAILED, str(error)
    with transaction(org.database):
        if not is_ended(org, number):
            job.took_ms = int((time.perf_counter() - began) * 1000)
            save(org, job)


def is_ended(org: Org, number: int) -> bool:
    """Whether somebody aborted or deleted the job meanwhile."""
    current = load(org, number)
    return current is None or current.state in ENDED


def description(job: Job, *, is_full: bool = True) -> dict[str, Any]:
    """What the API tells of a job; the answer to its creation has less (`is_full=False`)."""
    found: dict[str, Any] = {
        "id": job.id,
        "operation": job.operation,
        "object": job.object,
        "createdById": job.created_by_id,
        "createdDate": job.created_at,
        "systemModstamp": job.changed_at,
        "state": job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(job.version),
        "lineEnding": job.line_ending,
        "columnDelimiter": job.delimiter,
    }
    if not job.is_query:
        found["contentUrl"] = f"services/data/v{job.version}/jobs/ingest/{job.id}/batches"
        found |= {"externalIdFieldName": job.key_name} if job.key_name else {}
        found |= {"assignmentRuleId": job.assignment_rule_id} if job.assignment_rule_id else {}
    if not is_full:
        return found
    found |= {"jobType": "V2Query" if job.is_query else "V2Ingest", "retries": 0, "totalProcessingTime": job.took_ms}
    found["numberRecordsProcessed"] = job.processed
    if job.is_query:
        found["isPkChunkingSupported"] = True
    else:
        found |= {
            "numberRecordsFailed": job.failed, "apiActiveProcessingTime": job.took_ms, "apexProcessingTime": 0
        }  # fmt: skip
    if job.error is not None:
        found["errorMessage"] = job.error
    return found


def listing(call: Call, *, is_query: bool) -> Answer:
    """`GET /jobs/query`, `GET /jobs/ingest`: the jobs, newest first, 1,000 at a time."""
    last = call.query.get("queryLocator", "")
    if last and not last.isdigit():
        raise RefusedError("INVALID_QUERY_LOCATOR", "invalid query locator")
    oldest = instant_text(call.org.now() - RESULT_LIFE)
    rows = call.org.database.execute(
        "SELECT * FROM sf_job WHERE is_query = ? AND created_at >= ? AND number < ? AND is_deleted = 0 "
        "ORDER BY number DESC LIMIT ?",
        (int(is_query), oldest, int(last) if last else 2**62, LISTED_JOBS + 1),
    ).fetchall()
    shown = [_job(row) for row in rows[:LISTED_JOBS]]
    is_done = len(rows) <= LISTED_JOBS
    kind = "query" if is_query else "ingest"
    more = None if is_done else f"{call.base}/jobs/{kind}?queryLocator={shown[-1].number}"
    return Answer(200, {"done": is_done, "records": [_listed(job) for job in shown], "nextRecordsUrl": more})


def _listed(job: Job) -> dict[str, Any]:
    return description(job, is_full=False) | {"jobType": "V2Query" if job.is_query else "V2Ingest"}


def wrong_state(text: str) -> RefusedError:
    """The job is not in a state for this."""
    return RefusedError("INVALIDJOBSTATE", text)


def started_last_day(org: Org, *, is_query: bool) -> tuple[int, int, int]:
    """Jobs, batches and rows of the last 24 hours."""
    since = instant_text(org.now() - DAY)
    row = org.database.execute(
        "SELECT count(*), coalesce(sum(batches), 0), coalesce(sum(processed), 0) FROM sf_job "
        "WHERE is_query = ? AND created_at >= ?",
        (int(is_query), since),
    ).fetchone()
    return int(row[0]), int(row[1]), int(row[2])


def lines(org: Org, job: Job, part: int, first: int = 0, count: int | None = None) -> Iterator[bytes]:
    """The header line and `count` result lines from `first`, in pieces that fit into memory."""
    yield job.header.encode()
    end = first + count if count is not None else 2**62
    while first < end:
        rows = org.database.execute(
            "SELECT number, line FROM sf_job_line WHERE job = ? AND part = ? AND number >= ? AND number < ? "
            "ORDER BY number LIMIT ?",
            (job.number, part, first, end, READ_LINES),
        ).fetchall()
        if not rows:
            return
        first = rows[-1]["number"] + 1
        yield "".join([row["line"] for row in rows]).encode()
