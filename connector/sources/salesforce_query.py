"""Salesforce reading: SOQL through queryAll, five first pages in a call, later pages by nextRecordsUrl; much of it in bulk.

Facts this stands on (REST API Developer Guide, "QueryAll", "Query More Results", "sObject Get Deleted"; SOAP API
Developer Guide, "merge()"):
- SystemModstamp is set inside a transaction that may run ten minutes before it commits, and compares in whole seconds.
  So a read goes on from the server's clock at the last read's first page, less ten minutes, with `>=`. What is read
  twice is compared by what it says: two changes of one second share a stamp, so (Id, SystemModstamp) cannot tell them.
- Long transactions inside the instance may commit hours late (Knowledge Article 000199029). So once a day a read goes
  back to the day before, and asks /deleted what was deleted since, which knows what left the recycle bin, too.
- queryAll also gives deleted, merged and archived rows. A merged loser carries MasterRecordId, a converted lead
  ConvertedContactId.
- A nextRecordsUrl lives two days, so a read that was killed goes on in the middle.
- Campaign members and contact roles know no recycle bin: what was deleted is told by /deleted alone, which looks back 15
  days, ignores seconds, rides in the same composite and says up to when it is complete.
- A field that field-level security hides fails its whole query with INVALID_FIELD.
- A formula's value changes without moving SystemModstamp: where one is read, everything is read anew at intervals.
- A query rides in the body of a composite: the limit of 16,384 bytes for an address does not bind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import quote

import orjson
import pyarrow as pa

from connector import clock, http, log, tables
from connector.errors import (
    AuthError,
    ConnectorError,
    MissingPermission,
    ProtocolError,
    QuotaExhausted,
    RecordRejected,
    SystemUnavailable,
    TransientError,
)
from connector.model import Page, Request, StreamFailure
from connector.retries import pause
from connector.sources import salesforce_bulk as bulk
from connector.sources import salesforce_probe as probe
from connector.sources.salesforce_reading import (
    DELETED_WITHIN,
    NOT_KNOWN,
    SETTLED_AFTER,
    SHARED,
    TOLD_DELETED,
    Habits,
    Reading,
    begin,
    cursor,
    formulate,
    hidden_of,
    keep_held,
    literal,
    take_shown,
    wanted,
)
from connector.sources.salesforce_rest import MAX_QUERIES, MAX_SUBREQUESTS, Answer, Org, Queried, Subrequest
from connector.sources.salesforce_rows import deleted_rows, instants, rows_of
from connector.verdicts import Verdict

#: A part that failed for a passing reason is asked for again so often, with growing waits.
ATTEMPTS = 4
FIRST_WAIT_S = 1.0
#: A query that names an unseen field is made again after a look at the description, and after a fresh one.
MAX_LOOKS = 2
EXPIRED_CURSOR = "INVALID_QUERY_LOCATOR"
UNSEEN_OBJECT = "INVALID_TYPE"
UNSEEN_FIELD = ("INVALID_FIELD", UNSEEN_OBJECT)
TOO_SLOW = "QUERY_TIMEOUT"
#: /deleted tells no more than 600,000 ids.
TOO_MANY_DELETED = "EXCEEDED_ID_LIMIT"
#: /deleted ignores seconds, so that a bound of 15 days ago lies before them and is refused as a whole; clocks differ, too.
_BORDER = timedelta(minutes=5)
#: What Bulk API cannot select: compound fields and files.
NOT_IN_BULK = ("other",)

_log = log.get(__name__)


def pages(org: Org, requests: Sequence[Request], habits: Habits) -> Iterator[Page | StreamFailure]:
    """Read every stream to its present end. Five queries share a call, those with the most rows to come first; what is
    too much for that becomes a bulk query, on which the server works while the others are read."""
    begun = [begin(org, request, habits) for request in requests]
    yield from (_absent(reading, reading.absent_at) for reading in begun if reading.absent_at)
    begun = [reading for reading in begun if not reading.absent_at]
    in_bulk = [reading for reading in begun if reading.job is not None]
    with closing(_Calls(org)) as calls:
        yield from _read(org, begun, in_bulk, calls)


def _read(org: Org, begun: Sequence[Reading], in_bulk: list[Reading], calls: _Calls) -> Iterator[Page | StreamFailure]:
    readings, probed = _parted(org, [reading for reading in begun if reading.job is None])
    object_types = [reading.object_type for reading in begun]
    while readings or in_bulk or probed:
        if not readings and not probed:
            following = in_bulk.pop(0)
            yield from _in_bulk(org, following)
            if not following.is_over:  # to be read anew, or its other part comes next
                readings.append(following)
            continue
        readings.sort(key=lambda reading: -reading.remaining)
        calls.is_alone = len(readings) == 1
        for reading, answer, asked_at in _asked(org, readings, probed, calls):
            said = _taken(org, reading, answer, asked_at, object_types)
            if said is None:
                continue
            if reading.job is not None:
                in_bulk.append(reading)
            if isinstance(said, StreamFailure) or reading.is_over or reading.job is not None:
                readings.remove(reading)
            yield said
        for reading in probed:
            if not take_shown(org, reading) and probe.is_quiet(reading, _parent(begun, reading)):
                reading.first_page_at = reading.quiet_at
                yield _page(org, reading, tables.PAGE.empty_table(), (), 0)
            else:
                readings.append(reading)
        probed = []


def _parted(org: Org, begun: Sequence[Reading]) -> tuple[list[Reading], list[Reading]]:
    """Those that are queried in any case, as many as the first call has room for at least, and those that are probed."""
    probed = [reading for reading in begun if probe.is_probed(org, reading)]
    sure = [reading for reading in begun if reading not in probed]
    room = max(0, MAX_QUERIES - len(sure))
    return sure + probed[:room], probed[room:]


def _parent(begun: Sequence[Reading], reading: Reading) -> Reading | None:
    """The reading of the activities that this one's records take part in."""
    return next((one for one in begun if one.object_type == SHARED.get(reading.object_type)), None)


def _absent(reading: Reading, at: str) -> Page:
    """The end of a stream whose object is not there, which its adapter takes to be possible."""
    said = orjson.dumps({**reading.saved, "absent_at": at}).decode()
    return Page(reading.stream, tables.PAGE.empty_table(), said, done=True)


# ---------------------------------------------------------------------------------------------------------------- calls


class _Calls:
    """The composite calls of a read. Of a stream that is read alone the next page comes while the rows of one are read."""

    def __init__(self, org: Org) -> None:
        self.is_alone = False
        self._org = org
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._ahead: tuple[Subrequest, Future[tuple[list[Answer], datetime]]] | None = None

    def ask(self, asked: Sequence[Subrequest]) -> tuple[list[Answer], datetime]:
        """See `Org.composite`."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and list(asked) == [ahead[0]]:
            return ahead[1].result()
        return self._org.composite(asked)

    def follow(self, reading: Reading, answer: Answer) -> None:
        """Ask for the page after this one, if it is sure to be wanted."""
        told = answer.body
        if not self.is_alone or not isinstance(told, Queried) or told.done or not told.next_records_url:
            return
        if reading.next_path is not None or told.total_size <= reading.habits.bulk_from:
            part = Subrequest(told.next_records_url.removeprefix(self._org.prefix), is_query=True)
            self._ahead = part, self._pool.submit(self._org.composite, [part])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _asked(
    org: Org, readings: Sequence[Reading], probed: Sequence[Reading], calls: _Calls
) -> Iterator[tuple[Reading, Answer, datetime]]:
    """Ask for the next page of the first ones, and in the same call for what goes with a first page, as far as there is room
    also of those that wait for theirs. Gives the queries' answers."""
    group, waiting = readings[:MAX_QUERIES], [one for one in readings[MAX_QUERIES:] if one.first_page_at is None]
    new = [reading for reading in group if reading.first_page_at is None]
    questions = {id(one): probe.asking(org, one) for one in probed}
    room = MAX_SUBREQUESTS - len(group) - sum(map(len, questions.values()))
    unknown = _unknown(org, (*new, *probed))
    losing = _losing(new, probed, room, room - len(unknown))
    unknown = _unknown(org, (*new, *probed, *waiting))[: room - len(losing)]
    asked = [
        *(Subrequest(_path(one), is_query=True) for one in group),
        *(Subrequest(_deleted_path(org, one)) for one in losing),
        *(org.describing(name) for name in unknown),
        *(question for asked in questions.values() for question in asked),
    ]
    answers, asked_at = calls.ask(asked)
    if len(group) == 1:
        calls.follow(group[0], answers[0])
    extra = iter(answers[len(group) :])
    for reading in losing:
        _take_deletions(org, reading, next(extra), asked_at)
    for name in unknown:
        org.note_description(name, next(extra))
    for reading in probed:
        probe.take(reading, [next(extra) for _ in questions[id(reading)]], asked_at)
    for reading, answer in zip(group, answers, strict=False):
        yield reading, answer, asked_at


def _unknown(org: Org, readings: Sequence[Reading]) -> list[str]:
    """The objects whose description is wanted and has not been asked for."""
    wished = dict.fromkeys(name for one in readings for name in one.to_describe)
    return [name for name in wished if org.remembered(name) is None]


def _losing(new: Sequence[Reading], probed: Sequence[Reading], most: int, room: int) -> list[Reading]:
    """Whose deletions are asked for now, `most` at most. More than `room`, which descriptions leave, only of those that are queried
    and of half of the others: they take turns, who has waited longest first, so that none waits for longer than one read."""
    due, others = ([one for one in each if one.deleted_low and one.deletions is None] for each in (new, probed))
    others.sort(key=lambda one: one.deletions_asked)
    return [*due, *others][: min(most, max(room, len(due) + (len(others) + 1) // 2))]


def _path(reading: Reading) -> str:
    return reading.next_path or f"queryAll?q={quote(reading.query, safe='')}"


def _taken(
    org: Org, reading: Reading, answer: Answer, asked_at: datetime, object_types: Sequence[str]
) -> Page | StreamFailure | None:
    """The page of an answer, or the failure that ends its stream, or None when it is to be asked for again, or otherwise."""
    if answer.told.verdict is not Verdict.OK:
        return _refused(org, reading, answer, object_types)
    told = answer.body
    if not isinstance(told, Queried):
        error = ProtocolError("the answer to a query holds no records", system=org.system)
        return StreamFailure(reading.stream, error)
    if reading.first_page_at is None and take_shown(org, reading):
        return None
    total = told.total_size
    if reading.first_page_at is None:
        reading.first_page_at = literal(asked_at)
        if reading.object_type in TOLD_DELETED and not reading.deleted_low:
            reading.deleted_low = literal(asked_at - SETTLED_AFTER)
    is_first = reading.next_path is None
    reading.total = total if is_first else reading.total
    if is_first and total > reading.habits.bulk_from and (begun := _begun_in_bulk(org, reading, total)):
        return begun
    if reading.remaining == NOT_KNOWN:
        reading.remaining = total
    reading.attempts = 0
    rows, malformed = rows_of(reading.object_type, reading.request.fields, bytes(told.records))
    reading.remaining -= rows.num_rows + len(malformed)
    following = None if told.done else told.next_records_url
    reading.next_path = following.removeprefix(org.prefix) if following else None
    return _page(org, reading, rows, malformed, total)


def _page(org: Org, reading: Reading, rows: pa.Table, malformed: tuple[str, ...], total: int | None) -> Page:
    if reading.deletions is not None:
        rows, reading.deletions = tables.together([rows, reading.deletions]), None
    if reading.sweep is not None:
        reading.sweep.alive += rows["native_id"].chunks
        rows, total = rows.slice(0, 0), None
    if reading.next_path is None and reading.job is None:
        gone = reading.end_part()
        if gone is not None and gone.num_rows:
            _log.warning("pull.deletions_found", system=org.system, stream=reading.stream.name, records=gone.num_rows)
            rows = gone
    return Page(reading.stream, rows, cursor(org, reading), reading.is_over, malformed, total, hidden_of(reading))


def _refused(org: Org, reading: Reading, answer: Answer, object_types: Sequence[str]) -> Page | StreamFailure | None:
    told = answer.told
    if told.code == EXPIRED_CURSOR and reading.next_path:
        _log.info("pull.cursor_expired", system=org.system, stream=reading.stream.name)
        reading.restart()
        return None
    if told.code == UNSEEN_OBJECT and reading.stream.optional:
        reading.is_over = True
        return _absent(reading, literal(clock.now()))
    if told.code in UNSEEN_FIELD and reading.looks < MAX_LOOKS:
        reading.looks += 1
        before, name = reading.soql, reading.object_type
        own = [name, SHARED[name]] if name in SHARED else [name]
        is_unseen = any(org.remembered(each) is None for each in own)
        if is_unseen or org.remembered(name) is reading.described:  # nobody looked since this query was made
            is_old = reading.described is not None
            org.described(own if is_old else [*object_types, *own], is_fresh=is_old)
        formulate(org, reading)
        if reading.soql != before:
            reading.restart()
            return None
    error: ConnectorError = http.error_of(told, org.system, status=answer.status)
    if told.verdict in (Verdict.AUTH, Verdict.REFRESH, Verdict.QUOTA):
        raise error
    if isinstance(error, TransientError) and reading.attempts < ATTEMPTS - 1:
        pause(FIRST_WAIT_S * 2**reading.attempts)
        reading.attempts += 1
        return None
    if told.code == TOO_SLOW and (begun := _begun_in_bulk(org, reading, None)):
        return begun
    return StreamFailure(reading.stream, error)


# ----------------------------------------------------------------------------------------------------------------- bulk


def _begun_in_bulk(org: Org, reading: Reading, total: int | None) -> Page | None:
    """Have the server begin with a bulk query, and give its place to be kept; None where it does not take the query."""
    if not reading.may_bulk or float(org.rest.sf_version) < bulk.SINCE_VERSION:
        return None
    reading.kinds = _kinds(org, reading)
    names = [name for name in wanted(reading.stream, reading.request.fields) if name not in reading.hidden]
    if any(reading.kinds.get(name) in NOT_IN_BULK for name in names):
        return None
    try:
        job, at = bulk.create(org, reading.query.partition(" ORDER BY ")[0])
    except (RecordRejected, MissingPermission, SystemUnavailable) as error:
        _log.info("pull.bulk_refused", system=org.system, stream=reading.stream.name, error=str(error))
        reading.may_bulk = False
        return None
    _log.info("pull.bulk_begun", system=org.system, stream=reading.stream.name, records=total)
    reading.job, reading.next_path = bulk.Place(job), None
    reading.first_page_at = literal(at) if reading.sweep is None else reading.first_page_at
    return replace(_page(org, reading, tables.PAGE.empty_table(), (), total), is_place=True)


def _kinds(org: Org, reading: Reading) -> Mapping[str, str]:
    """The types of the fields, those of a record that this one points to included (`Task.IsClosed`)."""
    known = org.described([reading.object_type]).get(reading.object_type)
    if known is None:
        return {}
    prefixes = {name.partition(".")[0] for name in reading.request.fields if "." in name}
    alone = {name: to[0] for name, to in known.relationships.items() if name in prefixes and len(to) == 1}
    pointed = org.described(list(alone.values()))
    kinds = {name: each.type for name, each in known.fields.items()}
    for relationship, target in alone.items():
        fields = pointed[target].fields if target in pointed else {}
        kinds |= {f"{relationship}.{name}": each.type for name, each in fields.items()}
    return kinds


def _in_bulk(org: Org, reading: Reading) -> Iterator[Page | StreamFailure]:
    """The results of a bulk query. Without a job afterwards and not at its end, the reading is to begin anew."""
    assert reading.job is not None
    is_resumed, given = not reading.kinds, reading.job.rows
    try:
        reading.kinds = reading.kinds or _kinds(org, reading)
        for part in bulk.parts(org, reading.object_type, reading.job, reading.kinds):
            if part is None:  # so that whoever reads may end, and sees that we are there
                yield _page(org, reading, tables.PAGE.empty_table(), (), None)
                continue
            reading.job = None if part.is_last else part.place
            total = None if part.total is None else part.total - given
            yield _page(org, reading, part.rows, part.malformed, total)
    except bulk.Lost as error:
        _log.warning("pull.bulk_lost", system=org.system, stream=reading.stream.name, error=str(error))
        reading.may_bulk = is_resumed  # one of ours that failed is not tried again
        reading.restart()
    except (AuthError, QuotaExhausted):
        raise
    except ConnectorError as error:
        reading.is_over = True
        yield StreamFailure(reading.stream, error)


# ------------------------------------------------------------------------------------------------------------ deletions


def _deleted_path(org: Org, reading: Reading) -> str:
    now = clock.now() + timedelta(seconds=org.clock_skew_s)
    start = max(datetime.fromisoformat(reading.deleted_low or ""), now - DELETED_WITHIN + _BORDER)
    end = max(now, start + timedelta(minutes=1))  # our clock may be behind
    return f"sobjects/{reading.object_type}/deleted/?start={literal(start)}&end={literal(end)}"


def _take_deletions(org: Org, reading: Reading, answer: Answer, asked_at: datetime) -> None:
    """Deletions become rows of the first page. Where they were not told, they are asked for again by the next read."""
    reading.deletions_asked = literal(asked_at)
    if answer.told.verdict is not Verdict.OK or not isinstance(answer.body, dict):
        if answer.told.code == TOO_MANY_DELETED:
            keep_held(reading)
        _log.warning("pull.deletions_not_told", system=org.system, stream=reading.stream.name, code=answer.told.code)
        return
    gone = [one for one in answer.body.get("deletedRecords", ()) if isinstance(one, dict) and one.get("id")]
    reading.deletions = deleted_rows(reading.object_type, gone)
    covered = instants(pa.array([answer.body.get("latestDateCovered")], tables.TEXT))[0].as_py() or asked_at
    reading.deleted_low = literal(min(covered, asked_at - SETTLED_AFTER))
