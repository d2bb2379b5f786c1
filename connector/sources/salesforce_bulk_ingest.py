"""Salesforce Bulk API 2.0, ingest: updates of many records of one object as one job, uploaded as one CSV.

Facts this stands on (Bulk API 2.0 Developer Guide, "Create a Job", "Upload Job Data", "Upload Complete", "Get Job Info",
"Get Job Successful Record Results", "Prepare CSV Files", "Limits"):
- A job is created, gets its whole CSV in one upload, and is closed; before that nothing of it is written. Then the server
  works on it by itself, in batches of 10,000 rows side by side, and keeps what became of each row for seven days.
- A job has no place for a mark of ours: that one is asked for is kept before, so that one whose id nobody heard is found in the
  list of jobs, by who made it, when and for what, and is aborted. Nothing can have been uploaded to it.
- Its id is kept before the upload. Whatever breaks then, the job is asked: one that was not closed is aborted, one that was
  is waited for. No row is sent a second time before the first answer is known.
- Results come in any order with the columns that were sent: they are matched by `Id`, so no record may stand twice in a job.
- CSV: UTF-8, at most 150 MB in base64, which is 100 MB of text. An empty value leaves a field alone, `#N/A` clears it; so a text
  that reads `#N/A` cannot be sent.
- No header for duplicate rules: what one stops goes again by collection. Assignment rules run only where a job names one.
- Each request is an API call; 15,000 batches and 150 million rows in 24 hours, shared with every client of the org.
- Rows of batches side by side that lock the same account fail ("Record Locking Cheat Sheet", Salesforce Developers Blog): so the
  contacts of one account stand in one batch.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv

from connector import clock, http, tables
from connector.errors import ConnectorError, MissingPermission, ProtocolError, RecordRejected, SystemUnavailable
from connector.model import Change, FieldSchema, Keep, Lane, Outcome, Result, Value
from connector.sources import salesforce_metadata
from connector.sources import salesforce_outcomes as outcomes
from connector.sources import salesforce_values as values
from connector.sources.salesforce_rest import Org

#: Calls of a job in which nothing is refused, whatever its size: to create, upload, close, ask once, and read its successes.
JOB_CALLS = 5
#: A job is asked after these waits whether it is done, so that no more than a third of the time goes by unnoticed; after five
#: minutes it is left to the next delivery.
WAITS_S = (1.0, 1.6, 2.6, 4.1, 6.6, 10.5, 16.8, 26.8, 43.0, 68.7, 110.0)
#: A job tells how many rows it has done. Where by its pace it will be done before it would be asked, it is asked then: so often.
EARLY_ASKS = 2
EARLIEST_S = 0.3
ASK_AGAIN_S = 60.0
#: What stands for the id of a job until it is heard; how much earlier a job may seem to be made than it was asked for, by clocks
#: that differ, and how much later, by a call that was sent again.
OPENING = "opening|"
EARLIER, OPENED_WITHIN = timedelta(minutes=2), timedelta(minutes=15)
MAX_JOB_ROWS = 100_000
MAX_JOB_BYTES = 100_000_000
BATCH_ROWS = 10_000
NULL = "#N/A"
#: A duplicate rule stopped the row, which only a header that this API does not have lets pass.
DUPLICATES = "DUPLICATES_DETECTED"
UNPROCESSED = "UNPROCESSED"
CSV_HEADERS: Mapping[str, str] = {"Content-Type": "text/csv; charset=UTF-8"}
RESULT_HEADERS: Mapping[str, str] = {"Accept": "text/csv"}
_ROW_BYTES = 24  # of a row's id and separators
_ENDED = ("JobComplete", "Failed", "Aborted")


# ------------------------------------------------------------------------------------------------------------ cutting


def jobs(changes: Sequence[Change], bulk_from: int) -> list[list[Change]]:
    """Those of the changes that go as jobs: of each object type from `bulk_from` on, no record twice, as much as one takes."""
    times = Counter(change.native_id for change in changes)
    by_type: dict[str, list[Change]] = {}
    for change in changes:
        if times[change.native_id] == 1 and _can_go(change):
            by_type.setdefault(change.object_type, []).append(change)
    parts = (part for alike in by_type.values() if len(alike) >= bulk_from for part in _parts(alike))
    return [part for part in parts if len(part) >= bulk_from]


def is_job(batch: Sequence[Change], bulk_from: int) -> bool:
    """Whether a batch is one that `jobs` made."""
    return (
        len(batch) >= bulk_from
        and len({change.object_type for change in batch}) == 1
        and len({change.native_id for change in batch}) == len(batch)
        and all(map(_can_go, batch))
    )


def _can_go(change: Change) -> bool:
    return change.task is None and change.lane is not Lane.CONSENT and NULL not in change.fields.values()


def _parts(alike: Sequence[Change]) -> Iterator[list[Change]]:
    """Equal parts that one job takes each."""
    size = sum(_ROW_BYTES + sum(len(str(value).encode()) + 3 for value in each.fields.values()) for each in alike)
    count = max(
        -(-len(alike) // MAX_JOB_ROWS), -(-size // (MAX_JOB_BYTES // 2))
    )  # half: parts are alike by rows, not bytes
    rows = -(-len(alike) // count)
    return (list(alike[start : start + rows]) for start in range(0, len(alike), rows))


def by_parent(changes: Sequence[Change], size: int = BATCH_ROWS) -> list[Change]:
    """The changes in an order in which those of one parent stand together, and on one side of each multiple of `size`.

    Where only larger groups are left than there is room for, one stands on both sides.
    """
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.parent or change.native_id, []).append(change)
    by_size: dict[int, list[list[Change]]] = {}
    for group in groups.values():
        by_size.setdefault(len(group), []).append(group)
    ordered: list[Change] = []
    while by_size:
        room = size - len(ordered) % size
        taken = max((each for each in by_size if each <= room), default=max(by_size))
        ordered += by_size[taken].pop()
        if not by_size[taken]:
            del by_size[taken]
    return ordered


# ------------------------------------------------------------------------------------------------------------ a job


def write(
    org: Org, changes: Sequence[Change], fields: Mapping[str, FieldSchema], keep: Keep
) -> dict[str, Outcome] | None:
    """Deliver changes of one object type as one job: outcomes by key; None when the org takes no job, and nothing was sent.

    Raises AuthError and QuotaExhausted while nothing can have been written.
    """
    content = _content(by_parent(changes), fields)
    if len(content) > MAX_JOB_BYTES:
        return None
    keep(_opening(org, changes[0].object_type))
    try:
        job = _create(org, changes[0].object_type)
    except (RecordRejected, MissingPermission):  # such as EXCEEDEDQUOTA: the day's batches are used up
        keep("")
        return None
    except (SystemUnavailable, ProtocolError) as error:  # an open job without data, at worst
        is_certain = isinstance(error, SystemUnavailable) and not error.sent
        return _all(changes, Result.RETRY if is_certain else Result.UNKNOWN, error)
    keep(job)
    if failed := _handed_in(org, job, content):
        return _all(changes, *failed)
    try:
        return _told(org, job, _awaited(org, job, len(changes)), changes)
    except ConnectorError as error:
        return _all(changes, Result.UNKNOWN, error)


def ask(org: Org, job: str, changes: Sequence[Change]) -> dict[str, Outcome]:
    """What became of the changes of a job, by key, as far as it tells: it may be gone, and may not have had them all."""
    if job.startswith(OPENING):
        _abort_unheard(org, job)
        text = "the id of its bulk job was never heard, so nothing was uploaded to it"
        return {change.key: Outcome(change.key, Result.RETRY, message=text) for change in changes}
    try:
        said = _state(org, job)
        if said.get("state") == "Open":
            if _is_aborted(org, job):
                return {
                    change.key: Outcome(change.key, Result.RETRY, message="its bulk job was never closed")
                    for change in changes
                }
            said = _state(org, job)
    except RecordRejected:  # seven days are over, or somebody deleted it
        return {}
    found = _told(org, job, said, changes)
    return {key: outcome for key, outcome in found.items() if outcome.code != outcomes.NO_RESULT}


def _opening(org: Org, object_type: str) -> str:
    """What is kept of a job before it is asked for: for what, and when by the server's clock."""
    at = clock.now() + timedelta(seconds=org.clock_skew_s)
    return f"{OPENING}{object_type}|{at.isoformat(timespec='seconds')}"


def _abort_unheard(org: Org, opening: str) -> None:
    """Abort the jobs that our user made then for this object and that are still open. One that is left does no harm."""
    object_type, _, told_at = opening.removeprefix(OPENING).partition("|")
    since = datetime.fromisoformat(told_at) - EARLIER
    try:
        our_id = salesforce_metadata.user(org).get("user_id")
        for job in _listed(org):
            is_alike = (job.get("state"), job.get("object"), job.get("operation")) == ("Open", object_type, "update")
            made_at = datetime.fromisoformat(str(job.get("createdDate")))
            if is_alike and job.get("createdById") == our_id and since <= made_at <= since + OPENED_WITHIN:
                _is_aborted(org, str(job["id"]))
    except (RecordRejected, MissingPermission):
        return


def _listed(org: Org) -> Iterator[Mapping[str, Any]]:
    path = "jobs/ingest?jobType=V2Ingest"
    while path:
        said: Any = org.rest.restful(path)
        yield from said.get("records", ())
        following = said.get("nextRecordsUrl")
        path = str(following).removeprefix(org.prefix) if following and not said.get("done", True) else ""


def _create(org: Org, object_type: str) -> str:
    body = {
        "object": object_type,
        "operation": "update",
        "contentType": "CSV",
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    response = org.session.post(f"{org.rest.base_url}jobs/ingest", data=orjson.dumps(body), headers=org.rest.headers)
    said = http.parse(response, org.system)
    if not isinstance(said, dict) or not said.get("id"):
        raise ProtocolError("a bulk job was taken without an id", system=org.system)
    return str(said["id"])


def _handed_in(org: Org, job: str, content: bytes) -> tuple[Result, ConnectorError] | None:
    """Upload and close. What that means for the rows and why, where it did not succeed.

    Raises AuthError and QuotaExhausted, which leave the job open.
    """
    path, headers = f"{org.rest.base_url}jobs/ingest/{job}/batches", {**org.rest.headers, **CSV_HEADERS}
    try:
        org.session.put(path, data=content, headers=headers)
    except (SystemUnavailable, ProtocolError, RecordRejected, MissingPermission) as error:
        return Result.RETRY if _is_aborted(org, job) else Result.UNKNOWN, error
    try:
        _set_state(org, job, "UploadComplete")
    except RecordRejected:
        return None  # an attempt before this one closed it, or somebody aborted it: its state tells
    except (SystemUnavailable, ProtocolError, MissingPermission) as error:
        return Result.UNKNOWN, error
    return None


def _set_state(org: Org, job: str, state: str) -> None:
    body = orjson.dumps({"state": state})
    org.session.patch(f"{org.rest.base_url}jobs/ingest/{job}", data=body, headers=org.rest.headers)


def _is_aborted(org: Org, job: str) -> bool:
    """Abort a job that is not closed; whether it certainly is aborted now, so that no row of it is ever written."""
    try:
        _set_state(org, job, "Aborted")
    except ConnectorError:
        return False
    return True


def _state(org: Org, job: str) -> dict[str, Any]:
    said = org.rest.restful(f"jobs/ingest/{job}")
    return said if isinstance(said, dict) else {}


def _awaited(org: Org, job: str, rows: int) -> dict[str, Any]:
    """What a job of so many rows says when it is done, or when we stop waiting."""
    said: dict[str, Any] = {}
    early, done, rows_per_s = EARLY_ASKS, 0, 0.0
    for wait_s in WAITS_S:
        rest_s = wait_s
        while rest_s > 0:
            left_s = max((rows - done) / rows_per_s, EARLIEST_S) if rows_per_s > 0 and early else rest_s
            early -= left_s < rest_s
            pause_s = min(left_s, rest_s)
            clock.wait(pause_s)
            rest_s -= pause_s
            said = _state(org, job)
            if said.get("state") in _ENDED or clock.is_ending():  # else it is asked again by the next run
                return said
            before, done = done, int(said.get("numberRecordsProcessed") or 0)
            rows_per_s = (done - before) / pause_s
    return said


# ------------------------------------------------------------------------------------------------------------ outcomes


def _told(org: Org, job: str, said: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Outcome]:
    """One outcome for each change, from the three results of a job that is done."""
    state = said.get("state")
    if state not in _ENDED:
        text = f"bulk job {job} is {state}; it is asked again"
        return {
            each.key: Outcome(each.key, Result.UNKNOWN, message=text, retry_after_s=ASK_AGAIN_S) for each in changes
        }
    written = set(_rows(org, job, "successfulResults", ("Id",))["Id"])
    refused: dict[str, str] = {}
    if said.get("numberRecordsFailed") != 0:
        failed = _rows(org, job, "failedResults", ("Id", "sf__Error"))
        refused = dict(zip(failed["Id"], failed["sf__Error"], strict=True))
    left: set[str] = set()
    if state != "JobComplete":
        left = set(_rows(org, job, "unprocessedrecords", ("Id",))["Id"])
    why = str(said.get("errorMessage") or f"bulk job {job} is {state}")
    found: dict[str, Outcome] = {}
    for change in changes:
        if change.native_id in written:
            found[change.key] = Outcome(change.key, Result.ACCEPTED)
        elif change.native_id in refused:
            found[change.key] = _refused(change, refused[change.native_id])
        elif change.native_id in left:
            found[change.key] = Outcome(change.key, Result.RETRY, code=UNPROCESSED, message=why)
        else:
            message = "the results of the bulk job hold none for this row"
            found[change.key] = Outcome(change.key, Result.UNKNOWN, code=outcomes.NO_RESULT, message=message)
    return found


def _refused(change: Change, error: str) -> Outcome:
    """The outcome of a row from its `sf__Error`, `CODE:message:fields --`. What a duplicate rule stopped can go otherwise."""
    code, _, message = error.partition(":")
    said, colon, named = message.removesuffix("--").rpartition(":")
    if not (colon and message.endswith("--")):
        said, named = message, ""
    message = said
    fields = tuple(name.strip() for name in named.split(",") if name.strip() in change.fields)
    result, hint = outcomes.outcome_of(code, message)
    if code == DUPLICATES:
        result, hint = Result.RETRY, ""
    return outcomes.outcome(
        change, result, change.fields.values(), code=code, message=message, hint=hint, fields=fields
    )


def _all(changes: Sequence[Change], result: Result, error: ConnectorError) -> dict[str, Outcome]:
    code = error.code if isinstance(error, RecordRejected) else ""
    return {
        each.key: Outcome(each.key, result, None, code, str(error), error.hint, error.request_id) for each in changes
    }


# ------------------------------------------------------------------------------------------------------------ CSV


def _content(changes: Sequence[Change], fields: Mapping[str, FieldSchema]) -> bytes:
    """The rows as CSV; a field that a change does not set is empty, which leaves it alone."""
    names = list(dict.fromkeys(name for change in changes for name in change.fields))
    kinds = {name: fields[name].type for name in names}
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Id", *names])
    for change in changes:
        sent = change.fields
        row = [_text(values.as_native(sent[name], kinds[name])) if name in sent else "" for name in names]
        writer.writerow([change.native_id, *row])
    return out.getvalue().encode()


def _text(value: Value) -> str:
    if value is None or value == "":
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _rows(org: Org, job: str, part: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Some columns of one of a job's results. Raises ProtocolError when they are not there."""
    response = org.session.get(f"{org.rest.base_url}jobs/ingest/{job}/{part}", headers=dict(RESULT_HEADERS))
    if not response.content.strip():
        return {name: [] for name in names}
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(response.content),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(names),
                column_types=dict.fromkeys(names, tables.TEXT),
                include_missing_columns=True,  # of a job that never had a row
            ),
        )
    except pa.ArrowInvalid as error:
        raise ProtocolError(
            f"the {part} of a bulk job are not the CSV that they should be", system=org.system
        ) from error
    rows: dict[str, list[str]] = table.to_pydict()
    return rows
