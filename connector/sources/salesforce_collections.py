"""Salesforce writing: sObject collections of 200 rows, five of them in one composite call.

Facts this stands on (REST API Developer Guide, "sObject Collections", "Composite", "Assignment Rule Header", "Duplicate
Rule Header"; Object Reference, "Task"):
- A collection answers 200 even if every row failed: each row has its own result, in order.
- `Sforce-Auto-Assign` is TRUE unless we say otherwise, also for updates: a score would give a lead another owner.
- One collection takes rows of at most ten changes of type: so rows are sorted by type, by the account that is locked with
  them, and by the record that they are of or for, so that what locks the same parent shares a transaction.
- The same record twice in one collection is refused: so its second change goes into another one.
- A task is inserted with a unique key, never upserted: a replayed upsert would undo what a salesperson changed since. A
  replayed insert gives DUPLICATE_VALUE with the id of the task that is there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any
from urllib.parse import quote

from simple_salesforce import format_soql

from connector import http
from connector.errors import (
    AuthError,
    MissingPermission,
    ProtocolError,
    QuotaExhausted,
    RecordRejected,
    SystemUnavailable,
)
from connector.model import Change, Found, Outcome, Result, Task
from connector.sources import salesforce_outcomes as outcomes
from connector.sources import salesforce_values as values
from connector.sources.salesforce_rest import (
    MAX_COLLECTION,
    MAX_QUERIES,
    Answer,
    Described,
    Org,
    Subrequest,
    code_and_message,
    fields_of,
)
from connector.verdicts import Verdict

TASK_KEY = "Task_Key__c"
WRITE_HEADERS: Mapping[str, str] = {
    "Sforce-Auto-Assign": "FALSE",
    "Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=false; runAsCurrentUser=false",
}
MAX_SUBJECT = 255
MAX_BODY = 32_000
PRIORITIES: Mapping[str, str] = {"high": "High", "normal": "Normal", "low": "Low"}
#: A task's person goes into WhoId, everything else into WhatId.
WHO = ("Lead", "Contact")

#: How the ids of groups begin. A lead's owner may be a queue, which takes a task only where the org has it so.
QUEUE = "00G"
_QUEUE_HINT = (
    "its owner is a queue: the task goes to whoever takes the record, with the next sync; or name an owner in [tasks]"
)

SHORT_ID = 15
CHECKSUM_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

_EXISTING_ID = re.compile(r"record with id: ?([a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?)\b")


def long_id(native_id: str) -> str:
    """The 18 characters of a record id; messages tell 15. The last three spell which letters are capitals."""
    if len(native_id) != SHORT_ID:
        return native_id
    blocks = (native_id[at : at + 5] for at in range(0, SHORT_ID, 5))
    bits = (sum(1 << place for place, letter in enumerate(block) if letter.isupper()) for block in blocks)
    return native_id + "".join(CHECKSUM_LETTERS[number] for number in bits)


@dataclass(frozen=True, slots=True)
class _Row:
    """A change as a row of a collection."""

    change: Change
    body: Mapping[str, Any]


def write(org: Org, changes: Sequence[Change], described: Mapping[str, Described]) -> Iterator[Outcome]:
    """Deliver changes that their fields take, 1,000 rows a call: one outcome each. Raises as `Target.write` says."""
    rows = [_Row(change, _body(change, described)) for change in changes]
    collections = _collections(rows)
    for start in range(0, len(collections), MAX_QUERIES):
        yield from _sent(org, collections[start : start + MAX_QUERIES], is_first=start == 0)


def _body(change: Change, described: Mapping[str, Described]) -> dict[str, Any]:
    if change.task is not None:
        return _task_row(change, change.task)
    return values.field_row(change, described[change.object_type].fields)


def cut(changes: Sequence[Change]) -> list[list[Change]]:
    """Changes in what one call carries: five collections, updates apart from tasks, in the order of the changes."""
    parts: list[list[Change]] = []
    for is_task in (False, True):
        alike = [change for change in changes if (change.task is not None) is is_task]
        parts += _parts(alike)
    place = {change.key: at for at, change in enumerate(changes)}
    parts.sort(key=lambda part: place[part[0].key])
    groups = (parts[at : at + MAX_QUERIES] for at in range(0, len(parts), MAX_QUERIES))
    return [[change for part in group for change in part] for group in groups]


def count_calls(changes: Sequence[Change]) -> int:
    """How many calls `write` makes for them."""
    count = 0
    for is_task in (False, True):
        alike = [each for each in changes if (each.task is not None) is is_task]
        times = Counter(each.task.key if each.task else each.native_id for each in alike)
        layers = Counter(layer for several in times.values() for layer in range(several))
        count += sum(ceil(rows / MAX_COLLECTION) for rows in layers.values())
    return ceil(count / MAX_QUERIES)


def find(org: Org, changes: Sequence[Change]) -> list[Found]:
    """What the org holds for these changes: tasks by their key, deleted ones too; fields by the record's id."""
    tasks = [change for change in changes if change.task]
    by_type: dict[str, list[Change]] = {}
    for change in changes:
        if change.task is None:
            by_type.setdefault(change.object_type, []).append(change)
    found: dict[str, Found] = {}
    work: list[tuple[Subrequest, Sequence[Change]]] = [
        *((_task_query(part), part) for part in _parts(tasks)),
        *((_retrieve(name, part), part) for name, group in by_type.items() for part in _parts(group)),
    ]
    for start in range(0, len(work), MAX_QUERIES):
        group_of_work = work[start : start + MAX_QUERIES]
        answers, _ = org.composite([part for part, _ in group_of_work])
        for (asked, part), answer in zip(group_of_work, answers, strict=True):
            is_refused = answer.told.verdict is Verdict.REJECTED
            told = _asked_for_less(org, asked, part) if is_refused else None
            found |= {one.key: one for one in _found(org, part, told or answer)}
    return [found[change.key] for change in changes]


def _asked_for_less(org: Org, asked: Subrequest, changes: Sequence[Change]) -> Answer | None:
    """The answer once more without the fields that are gone or hidden by now: what was sent to one is not there. None where it is
    for something else that the org refuses."""
    if changes[0].task or not (known := org.described([changes[0].object_type], is_fresh=True)):
        return None
    (described,) = known.values()
    wanted = asked.body["fields"] if isinstance(asked.body, dict) else []
    seen = [name for name in wanted if name == "Id" or described.allows(name)]
    if seen == wanted:
        return None
    answers, _ = org.composite([replace(asked, body={**asked.body, "fields": seen})])
    return answers[0]


# ------------------------------------------------------------------------------------------------------------ sending


def _collections(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Rows in collections of 200: updates apart from inserts, sorted by type, no record or task key twice in one."""
    layers: dict[tuple[bool, int], list[_Row]] = {}
    seen: dict[str, int] = {}
    for row in rows:
        is_task = row.change.task is not None
        what = row.change.task.key if row.change.task else row.change.native_id
        layer = seen[what] = seen.get(what, -1) + 1
        layers.setdefault((is_task, layer), []).append(row)
    collections: list[list[_Row]] = []
    for _, layer_rows in sorted(layers.items(), key=lambda item: item[0]):
        layer_rows.sort(key=lambda row: (row.change.object_type, row.change.parent, row.change.native_id))
        collections += [layer_rows[at : at + MAX_COLLECTION] for at in range(0, len(layer_rows), MAX_COLLECTION)]
    return collections


def _sent(org: Org, collections: Sequence[Sequence[_Row]], *, is_first: bool) -> Iterable[Outcome]:
    rows = [row for collection in collections for row in collection]
    try:
        answers, _ = org.composite([_subrequest(collection) for collection in collections])
    except SystemUnavailable as error:
        result = Result.UNKNOWN if error.sent else Result.RETRY
        return [_outcome(row, result, message=str(error), request_id=error.request_id) for row in rows]
    except ProtocolError as error:
        return [_outcome(row, Result.UNKNOWN, message=str(error), request_id=error.request_id) for row in rows]
    except (AuthError, QuotaExhausted) as error:
        if is_first:
            raise
        result = Result.WAIT if isinstance(error, QuotaExhausted) else Result.STOP
        return [_outcome(row, result, message=str(error), hint=error.hint) for row in rows]
    return [
        outcome
        for collection, answer in zip(collections, answers, strict=True)
        for outcome in _settled(collection, answer)
    ]


def _subrequest(collection: Sequence[_Row]) -> Subrequest:
    method = "POST" if collection[0].change.task else "PATCH"
    body = {"allOrNone": False, "records": [row.body for row in collection]}
    return Subrequest("composite/sobjects", method, body, WRITE_HEADERS)


def _settled(collection: Sequence[_Row], answer: Answer) -> Iterable[Outcome]:
    """One outcome for each row of a collection that was answered."""
    if answer.told.verdict is not Verdict.OK or not isinstance(answer.body, list):
        code, message = code_and_message(answer.body)
        result, hint = outcomes.outcome_of(code, message)
        if not code or answer.told.verdict is Verdict.RETRY_IF_IDEMPOTENT:
            result = Result.UNKNOWN
        for row in collection:
            yield _outcome(row, result, code=code, message=message, hint=hint)
        return
    for number, row in enumerate(collection):
        yield _row_outcome(row, answer.body[number] if number < len(answer.body) else None)


def _row_outcome(row: _Row, said: Any) -> Outcome:
    if not isinstance(said, dict):
        return _outcome(row, Result.UNKNOWN, code=outcomes.NO_RESULT, message="the answer holds no result for this row")
    if said.get("success") is True:
        return _outcome(row, Result.ACCEPTED, native_id=said.get("id") if row.change.task else None)
    code, message = code_and_message(said.get("errors"))
    existing = _EXISTING_ID.search(message) if row.change.task and code == "DUPLICATE_VALUE" else None
    if existing and TASK_KEY in message:
        return _outcome(row, Result.UNCHANGED, native_id=long_id(existing.group(1)), code=code)
    result, hint = outcomes.outcome_of(code, message)
    if result is Result.REJECTED and str(row.body.get("OwnerId") or "").startswith(QUEUE):
        hint = _QUEUE_HINT
    return _outcome(row, result, code=code, message=message, hint=hint, fields=fields_of(said.get("errors")))


def _outcome(row: _Row, result: Result, **told: Any) -> Outcome:
    return outcomes.outcome(row.change, result, row.body.values(), **told)


# ------------------------------------------------------------------------------------------------------------ payloads


def _task_row(change: Change, task: Task) -> dict[str, Any]:
    link = "WhoId" if change.object_type in WHO else "WhatId"
    owner = {"OwnerId": task.owner} if task.owner else {}
    return {
        "attributes": {"type": "Task"},
        "Subject": task.subject[:MAX_SUBJECT],
        "Description": task.body[:MAX_BODY],
        "ActivityDate": task.due_at.date().isoformat(),
        "Priority": PRIORITIES.get(task.priority, "Normal"),
        link: change.native_id,
        TASK_KEY: task.key,
        **owner,
    }


# ------------------------------------------------------------------------------------------------------------ finding


def _parts(changes: Sequence[Change]) -> list[list[Change]]:
    return [list(changes[at : at + MAX_COLLECTION]) for at in range(0, len(changes), MAX_COLLECTION)]


def _task_query(changes: Sequence[Change]) -> Subrequest:
    keys = [change.task.key for change in changes if change.task]
    soql = format_soql("SELECT Id, Task_Key__c FROM Task WHERE Task_Key__c IN {keys}", keys=keys)
    return Subrequest(f"queryAll?q={quote(soql, safe='')}")


def _retrieve(object_type: str, changes: Sequence[Change]) -> Subrequest:
    fields = sorted({"Id", *(name for change in changes for name in change.fields)})
    ids = list(dict.fromkeys(change.native_id for change in changes))
    return Subrequest(f"composite/sobjects/{object_type}", "POST", {"ids": ids, "fields": fields})


def _found(org: Org, changes: Sequence[Change], answer: Answer) -> Iterator[Found]:
    if answer.told.verdict is not Verdict.OK:
        error = http.error_of(answer.told, org.system, status=answer.status)
        if isinstance(error, RecordRejected):
            hint = f"run `connector check {org.system}`"
            raise MissingPermission(str(error), hint=hint, system=org.system) from error
        raise error
    records = answer.body.get("records", ()) if isinstance(answer.body, dict) else answer.body or ()
    name = TASK_KEY if changes[0].task else "Id"
    by_name = {record[name]: record for record in records if record}
    for change in changes:
        record = by_name.get(change.task.key if change.task else change.native_id)
        if change.task:
            yield Found(change.key, native_id=record["Id"] if record else None)
        else:
            yield Found(change.key, values={field: record.get(field) for field in change.fields} if record else None)
