"""Salesforce reading: SOQL through queryAll, five first pages in a call, later pages by nextRecordsUrl.

Facts this stands on (REST API Developer Guide, "QueryAll", "Query More Results"; SOAP API Developer Guide, "merge()"):
- SystemModstamp is set inside a transaction that may run ten minutes before it commits, and compares in whole seconds.
  So a read goes on from the server's clock at the last read's first page, less ten minutes, with `>=`; what is read
  twice changes nothing when it is merged.
- queryAll also gives deleted, merged and archived rows. A merged loser carries MasterRecordId, a converted lead
  ConvertedContactId.
- A nextRecordsUrl lives two days, so a read that was killed goes on in the middle.
- Campaign members and contact roles know no recycle bin: what was deleted is told by /deleted alone, which looks back 15
  days, ignores seconds, rides in the same composite and says up to when it is complete.
- A field that field-level security hides fails its whole query with INVALID_FIELD.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from connector import clock, http, log, tables
from connector.errors import ConnectorError, ProtocolError, TransientError
from connector.model import Page, Request, Stream, StreamFailure, Verdict
from connector.sources.salesforce_rest import MAX_QUERIES, Answer, Described, Org, Subrequest

SETTLED_AFTER = timedelta(minutes=10)
#: A part that failed for a passing reason is asked for again so often, with growing waits.
ATTEMPTS = 4
FIRST_WAIT_S = 1.0
#: A query that names an unseen field is made again after a look at the description, and after a fresh one.
MAX_LOOKS = 2
#: A standard field that was found hidden is left out for so long without a look. Custom ones may be created any minute.
HIDDEN_FOR = timedelta(days=1)
EXPIRED_CURSOR = "INVALID_QUERY_LOCATOR"
UNSEEN_FIELD = ("INVALID_FIELD", "INVALID_TYPE")

#: What is read beside the fields asked for, where the object has it.
ALWAYS = ("Id", "CreatedDate", "SystemModstamp")
WITHOUT_DELETION = ("User",)
WITHOUT_BIN = ("CampaignMember", "OpportunityContactRole")
DELETED_WITHIN = timedelta(days=15)
MERGEABLE = ("Lead", "Contact", "Account")

_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")
_INSTANT = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(\+0000|Z)$"
_NOT_KNOWN = 1 << 62

_log = log.get(__name__)


@dataclass
class _Reading:
    """One stream on its way to its present end."""

    request: Request
    soql: str = ""
    low: str | None = None  # SystemModstamp from which we read; None: from the beginning
    first_page_at: str | None = None
    deleted_low: str | None = None  # from when deletions without a recycle bin are asked for
    deletions: pa.Table | None = None  # to go out with the first page
    next_path: str | None = None
    remaining: int = _NOT_KNOWN  # rows to come
    attempts: int = 0
    described: Described | None = None  # what the query was made with
    looks: int = 0
    hidden: tuple[str, ...] = ()
    hidden_at: str = ""

    @property
    def stream(self) -> Stream:
        return self.request.stream


def pages(org: Org, requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
    """Read every stream to its present end. Five queries share a call, those with the most rows to come first."""
    readings = [_started(org, request) for request in requests]
    object_types = [request.stream.object_type for request in requests]
    while readings:
        readings.sort(key=lambda reading: -reading.remaining)
        group = readings[:MAX_QUERIES]
        losing = [reading for reading in group if reading.first_page_at is None and reading.deleted_low]
        asked = [*(Subrequest(_path(one)) for one in group), *(Subrequest(_deleted_path(org, one)) for one in losing)]
        answers, asked_at = org.composite(asked)
        for reading, answer in zip(losing, answers[len(group) :], strict=True):
            _take_deletions(org, reading, answer, asked_at)
        for reading, answer in zip(group, answers[: len(group)], strict=True):
            said = _taken(org, reading, answer, asked_at, object_types)
            if said is None:
                continue
            if isinstance(said, StreamFailure) or said.done:
                readings.remove(reading)
            yield said


def soql_of(stream: Stream, fields: Sequence[str], low: str | None, hidden: Collection[str] = ()) -> str:
    """The query of a stream: what was asked for, with what tells identity, change and deletion, but nothing hidden."""
    names = [name for name in _wanted(stream, fields) if name not in hidden]
    where = f" WHERE SystemModstamp >= {low}" if low else ""
    return f"SELECT {', '.join(names)} FROM {stream.object_type}{where} ORDER BY SystemModstamp, Id"  # noqa: S608 _NAME


def _wanted(stream: Stream, fields: Sequence[str]) -> list[str]:
    wanted = dict.fromkeys((*ALWAYS, *_telling(stream.object_type), *fields))
    return [name for name in wanted if _NAME.fullmatch(name)]


def _telling(object_type: str) -> tuple[str, ...]:
    return (
        *(() if object_type in WITHOUT_DELETION else ("IsDeleted",)),
        *(("MasterRecordId",) if object_type in MERGEABLE else ()),
        *(("ConvertedContactId",) if object_type == "Lead" else ()),
    )


def _started(org: Org, request: Request) -> _Reading:
    saved = orjson.loads(request.cursor) if request.cursor else {}
    reading = _Reading(request, low=saved.get("low"))
    if request.stream.object_type in WITHOUT_BIN:
        reading.deleted_low = saved.get("deleted_low", reading.low)
    if saved.get("hidden") and clock.now() - datetime.fromisoformat(saved["hidden_at"]) < HIDDEN_FOR:
        reading.hidden, reading.hidden_at = tuple(saved["hidden"]), saved["hidden_at"]
    _formulate(org, reading)
    if saved.get("of") == _fingerprint(reading.soql):
        reading.next_path, reading.first_page_at = saved.get("next"), saved.get("at")
    return reading


def _formulate(org: Org, reading: _Reading) -> None:
    """Make the query; a description that somebody asked for says what is hidden, else what the last read found."""
    stream, fields = reading.stream, reading.request.fields
    reading.described = org.remembered(stream.object_type)
    if reading.described is not None:
        allows = reading.described.allows
        reading.hidden = tuple(name for name in _wanted(stream, fields) if not allows(name))
        reading.hidden_at = _literal(clock.now())
    reading.soql = soql_of(stream, fields, reading.low, reading.hidden)


def _path(reading: _Reading) -> str:
    return reading.next_path or f"queryAll?q={quote(reading.soql, safe='')}"


def _taken(
    org: Org, reading: _Reading, answer: Answer, asked_at: datetime, object_types: Sequence[str]
) -> Page | StreamFailure | None:
    """The page of an answer, or the failure that ends its stream, or None when it is to be asked for again."""
    if answer.told.verdict is not Verdict.OK:
        return _refused(org, reading, answer, object_types)
    body = answer.body
    if not isinstance(body, dict) or not isinstance(body.get("records"), list):
        error = ProtocolError("the answer to a query holds no records", system=org.system)
        return StreamFailure(reading.stream, error)
    if reading.first_page_at is None:
        reading.first_page_at = _literal(asked_at)
        if reading.stream.object_type in WITHOUT_BIN and not reading.deleted_low:
            reading.deleted_low = _literal(asked_at - SETTLED_AFTER)
    if reading.remaining == _NOT_KNOWN:
        reading.remaining = int(body.get("totalSize") or 0)
    reading.attempts = 0
    reading.remaining -= len(body["records"])
    rows, malformed = rows_of(reading.stream.object_type, reading.request.fields, body["records"])
    if reading.deletions is not None:
        rows, reading.deletions = pa.concat_tables([rows, reading.deletions]), None
    is_done = bool(body.get("done", True)) or not body.get("nextRecordsUrl")
    reading.next_path = None if is_done else str(body["nextRecordsUrl"]).removeprefix(org.prefix)
    return Page(reading.stream, rows, _cursor(reading), is_done, malformed, body.get("totalSize"))


def _refused(org: Org, reading: _Reading, answer: Answer, object_types: Sequence[str]) -> StreamFailure | None:
    told = answer.told
    if told.code == EXPIRED_CURSOR and reading.next_path:
        _log.info("pull.cursor_expired", system=org.system, stream=reading.stream.name)
        reading.next_path = reading.first_page_at = None
        return None
    if told.code in UNSEEN_FIELD and reading.looks < MAX_LOOKS:
        reading.looks += 1
        before, name = reading.soql, reading.stream.object_type
        if org.remembered(name) is reading.described:  # nobody looked since this query was made
            is_old = reading.described is not None
            org.described([name] if is_old else object_types, is_fresh=is_old)
        _formulate(org, reading)
        if reading.soql != before:
            reading.next_path = reading.first_page_at = None
            return None
    error: ConnectorError = http.error_of(told, org.system, status=answer.status)
    if told.verdict in (Verdict.AUTH, Verdict.REFRESH, Verdict.QUOTA):
        raise error
    if isinstance(error, TransientError) and reading.attempts < ATTEMPTS - 1:
        clock.sleep(FIRST_WAIT_S * 2**reading.attempts)
        reading.attempts += 1
        return None
    return StreamFailure(reading.stream, error)


def _cursor(reading: _Reading) -> str:
    """Where to go on: from `low`, or in the middle of a read that began at `at`."""
    assert reading.first_page_at is not None
    if reading.next_path is None:
        settled = datetime.fromisoformat(reading.first_page_at) - SETTLED_AFTER
        saved: dict[str, Any] = {"low": _literal(settled)}
    else:
        saved = {"at": reading.first_page_at, "next": reading.next_path, "of": _fingerprint(reading.soql)}
        if reading.low:
            saved["low"] = reading.low
    if reading.deleted_low:
        saved["deleted_low"] = reading.deleted_low
    hidden = [name for name in reading.hidden if not name.endswith("__c")]
    if hidden:
        saved |= {"hidden": hidden, "hidden_at": reading.hidden_at}
    return orjson.dumps(saved).decode()


def _deleted_path(org: Org, reading: _Reading) -> str:
    now = clock.now() + timedelta(seconds=org.clock_skew_s)
    start = max(datetime.fromisoformat(reading.deleted_low or ""), now - DELETED_WITHIN)
    end = max(now, start + timedelta(minutes=1))  # our clock may be behind
    return f"sobjects/{reading.stream.object_type}/deleted/?start={_literal(start)}&end={_literal(end)}"


def _take_deletions(org: Org, reading: _Reading, answer: Answer, asked_at: datetime) -> None:
    """Deletions become rows of the first page. Where they were not told, they are asked for again by the next read."""
    if answer.told.verdict is not Verdict.OK or not isinstance(answer.body, dict):
        _log.warning("pull.deletions_not_told", system=org.system, stream=reading.stream.name, code=answer.told.code)
        return
    gone = [one for one in answer.body.get("deletedRecords", ()) if isinstance(one, dict) and one.get("id")]
    reading.deletions = _deleted_rows(reading.stream.object_type, gone)
    covered = _instants([answer.body.get("latestDateCovered")])[0].as_py() or asked_at
    reading.deleted_low = _literal(min(covered, asked_at - SETTLED_AFTER))


def _deleted_rows(object_type: str, gone: Sequence[Mapping[str, str]]) -> pa.Table:
    count = len(gone)
    return pa.Table.from_arrays(
        [
            pa.array([one["id"] for one in gone], tables.TEXT),
            pa.repeat(pa.scalar(object_type, tables.TEXT), count),
            pa.nulls(count, tables.INSTANT),
            _instants([one.get("deletedDate") for one in gone]),
            pa.repeat(pa.scalar(True, tables.BOOL), count),
            pa.nulls(count, tables.TEXT),
            pa.repeat(pa.scalar("{}", tables.TEXT), count),
        ],
        schema=tables.PAGE,
    )


def _fingerprint(soql: str) -> str:
    return blake2b(soql.encode(), digest_size=8).hexdigest()


def _literal(instant: datetime) -> str:
    """A SOQL datetime literal, in whole seconds."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rows_of(object_type: str, fields: Sequence[str], records: Sequence[Any]) -> tuple[pa.Table, tuple[str, ...]]:
    """Records of a query answer as `tables.PAGE`, and why some could not become rows."""
    good = [record for record in records if isinstance(record, dict) and isinstance(record.get("Id"), str)]
    malformed = ("a record without an Id",) * (len(records) - len(good))
    nested = _nested(fields)
    for record in good:
        record.pop("attributes", None)
        for relationship, names in nested.items():
            inner = record.pop(relationship, None)
            for dotted, path in names:
                record[dotted] = _inside(inner, path)
    count = len(good)
    deleted = pa.array([record.get("IsDeleted") is True for record in good], tables.BOOL)
    masters = pa.array([record.get("MasterRecordId") for record in good], tables.TEXT)
    return pa.Table.from_arrays(
        [
            pa.array([record["Id"] for record in good], tables.TEXT),
            pa.repeat(pa.scalar(object_type, tables.TEXT), count),
            _instants([record.get("CreatedDate") for record in good]),
            _instants([record.get("SystemModstamp") for record in good]),
            deleted,
            pc.if_else(deleted, masters, pa.scalar(None, tables.TEXT)),
            pa.array([orjson.dumps(record) for record in good], tables.TEXT),
        ],
        schema=tables.PAGE,
    ), malformed


def _nested(fields: Sequence[str]) -> dict[str, list[tuple[str, list[str]]]]:
    nested: dict[str, list[tuple[str, list[str]]]] = {}
    for name in fields:
        relationship, *path = name.split(".")
        if path:
            nested.setdefault(relationship, []).append((name, path))
    return nested


def _inside(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _instants(values: Sequence[str | None]) -> pa.Array[Any]:
    """`2026-09-01T00:00:00.000+0000` (always UTC in REST answers) as instants; what has another form is unknown."""
    texts = pa.array(values, tables.TEXT)
    usual = pc.if_else(pc.match_substring_regex(texts, _INSTANT), texts, None)
    plain = pc.replace_substring_regex(usual, r"(\+0000|Z)$", "")
    try:
        instants: pa.Array[Any] = pc.assume_timezone(plain.cast(pa.timestamp("us")), "UTC")
    except pa.ArrowInvalid:  # a day that its month does not have
        return pa.array([_instant(text) for text in plain.to_pylist()], tables.INSTANT)
    return instants


def _instant(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None
