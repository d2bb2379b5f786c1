"""Salesforce Bulk API 2.0, query: what a REST query would need too many pages for, as CSV in result pages side by side.

Facts this stands on (Bulk API 2.0 Developer Guide, "Create a Query Job", "Get Results for a Query Job", "Get Parallel
Results for a Query Job", "Limits"):
- A job is made, worked on by the server, and asked for its state; its results stay for seven days under locators that
  can be read again. So a read that was killed goes on at its locator.
- resultPages (API version 58 and later) gives the addresses of up to five result pages at a time, to be fetched in
  parallel; how large a page is the server decides. So a page goes through a file that has no name, not through memory,
  and is read while it comes.
- Every page repeats the header row; `Sforce-NumberOfRecords` counts its records.
- Results must be asked for with the API version of the job (else 409).
- No ORDER BY (it forbids the server to cut the query), no compound fields, no TYPEOF, no aggregates.
- Each HTTP request is an API call.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import orjson
import pyarrow as pa
import pyarrow.csv

from connector import clock, http, tables
from connector.errors import ConnectorError, ProtocolError, RecordRejected, SystemUnavailable
from connector.sources.arriving import Arriving
from connector.sources.salesforce_rest import Org, server_time
from connector.sources.salesforce_rows import rows_of_csv

#: The first API version with resultPages.
SINCE_VERSION = 58.0
#: Result pages on their way while one is read; resultPages names five at a time.
PAGES_AHEAD = 4
#: The server is asked for a job's state after these waits: small jobs are done at once, large ones take minutes.
FIRST_POLL_S = 0.5
POLL_GROWTH = 0.5  # of what was waited till then
MAX_POLL_S = 15.0
#: A job that is not done by then is left alone; the next read asks for it again.
JOB_WITHIN_S = 3600.0
#: CSV is parsed in pieces of this size, some 5,000 records; no record is larger (a field holds 32,000 characters at most
#: through this API, a record 400,000).
BLOCK_BYTES = 2 << 20
CSV_HEADERS: Mapping[str, str] = {"Accept": "text/csv"}
_RUNNING = ("Open", "UploadComplete", "InProgress")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a read of a job's results is: `skip` records of result page `page` (0 for the first) are given already.

    `locator` is that page's own, `rows` counts the records given in all.
    """

    job: str
    page: int = 0
    locator: str = ""
    skip: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a job, where they end, whether that is the end of all, and how many records the job has."""

    rows: pa.Table
    place: Place
    is_last: bool
    total: int | None
    malformed: tuple[str, ...] = ()


class Lost(ConnectorError):
    """The job or its results are not there any more, or it failed: the read has to begin anew."""


def create(org: Org, soql: str) -> tuple[str, datetime]:
    """Have the server begin with a query, deleted rows included.

    Gives the job's id and an instant of the server's clock before it. Raises RecordRejected or MissingPermission when
    the query is not one for this API.
    """
    started_s = clock.monotonic_s()
    body = orjson.dumps({"operation": "queryAll", "query": soql})
    response = org.session.post(f"{org.rest.base_url}jobs/query", data=body, headers=org.rest.headers)
    took = timedelta(seconds=ceil(clock.monotonic_s() - started_s))
    said = http.parse(response, org.system)
    if not isinstance(said, dict) or not said.get("id"):
        raise ProtocolError("a bulk query was taken without an id", system=org.system)
    return str(said["id"]), server_time(response) - took


def parts(org: Org, object_type: str, place: Place, kinds: Mapping[str, str]) -> Iterator[Part | None]:
    """The results of a job from a place on; None each time that it is not done yet.

    Raises Lost when they cannot be had, and SystemUnavailable when the job takes longer than an hour.
    """
    try:
        total = yield from _awaited(org, place.job)
        with closing(_fetched(org, place)) as pages:
            for at, page, coming, is_last in pages:
                given = at.skip
                for rows, malformed in _parsed(org, object_type, page, kinds, at.skip):
                    given += rows.num_rows + len(malformed)
                    place = replace(at, skip=given, rows=place.rows + rows.num_rows + len(malformed))
                    yield Part(rows, place, False, total, malformed)
                count = coming.result()
                if count is not None and given != count:
                    raise ProtocolError(f"a result page told {count:,} records and held {given:,}", system=org.system)
                if is_last:
                    empty = tables.PAGE.empty_table()
                    yield Part(empty, replace(at, skip=given, rows=place.rows), True, total)
    except RecordRejected as error:  # 404: seven days are over, or somebody deleted it; 409: another API version
        raise Lost(str(error), system=org.system) from error


# ---------------------------------------------------------------------------------------------------------------- state


def _awaited(org: Org, job: str) -> Generator[None, None, int | None]:
    """Wait for a job. Returns how many records it found."""
    wait_s, waited_s = FIRST_POLL_S, 0.0
    while True:
        said: dict[str, Any] = org.rest.restful(f"jobs/query/{job}") or {}
        state = said.get("state")
        if state == "JobComplete":
            count: int | None = said.get("numberRecordsProcessed")
            return count
        if state not in _RUNNING:
            raise Lost(f"the bulk query is {state}: {said.get('errorMessage') or 'no reason told'}", system=org.system)
        if waited_s >= JOB_WITHIN_S:
            raise SystemUnavailable(
                f"the bulk query {job} is not done after {JOB_WITHIN_S / 3600:.0f} h",
                hint="see Setup, Bulk Data Load Jobs; the next run asks for it again",
                system=org.system,
            )
        yield
        clock.wait(wait_s)
        waited_s += wait_s
        wait_s = min(waited_s * POLL_GROWTH, MAX_POLL_S)


# ------------------------------------------------------------------------------------------------------------ downloads


def _locators(org: Org, place: Place) -> Iterator[tuple[int, str, bool]]:
    """(number, locator, whether it is the last) of each result page from a place on."""
    path, number = f"jobs/query/{place.job}/resultPages", 0
    while path:
        said: Any = org.rest.restful(path)
        urls = [str(each["resultUrl"]) for each in said.get("resultPages", ())]
        following = said.get("nextRecordsUrl") or said.get("nextRecordUrl")  # the guide's text and its example differ
        path = "" if said.get("done", True) or not following else str(following).removeprefix(org.prefix)
        for at, url in enumerate(urls):
            locator = (parse_qs(urlsplit(url).query).get("locator") or [""])[0]
            if number == place.page and place.locator:
                locator = place.locator  # the one that is known to be good
            if number >= place.page:
                yield number, locator, not path and at == len(urls) - 1
            number += 1
    if number <= place.page:
        raise Lost("the results of the bulk query are not those that were read before", system=org.system)


def _fetched(org: Org, place: Place) -> Generator[tuple[Place, Arriving, Future[int | None], bool], None, None]:
    """Each result page in order: where it begins, its CSV while it comes, its count of records in the end, whether it is the last."""
    fetching: deque[tuple[Place, Arriving, Future[int | None], bool]] = deque()
    pool = ThreadPoolExecutor(PAGES_AHEAD, thread_name_prefix="bulk")
    try:
        for number, locator, is_last in _locators(org, place):
            at = replace(place, page=number, locator=locator, skip=place.skip if number == place.page else 0)
            page = Arriving(org.system)
            fetching.append((at, page, pool.submit(_download, org, at, page), is_last))
            while fetching and (is_last or len(fetching) >= PAGES_AHEAD):
                with closing(fetching[0][1]):
                    yield fetching[0]
                fetching.popleft()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for _, page, coming, _ in fetching:
            coming.add_done_callback(lambda _, page=page: page.close())  # type: ignore[misc]


def _download(org: Org, at: Place, page: Arriving) -> int | None:
    locator = f"?locator={quote(at.locator, safe='')}" if at.locator else ""
    try:
        url = f"{org.rest.base_url}jobs/query/{at.job}/results{locator}"
        headers = http.download(org.session, url, page, system=org.system, headers={**org.rest.headers, **CSV_HEADERS})
    except BaseException as error:
        page.end(error)
        raise
    page.end()
    count = headers.get("Sforce-NumberOfRecords", "")
    return int(count) if count.isdigit() else None


# -------------------------------------------------------------------------------------------------------------- parsing


def _parsed(
    org: Org, object_type: str, page: Arriving, kinds: Mapping[str, str], skip: int
) -> Iterator[tuple[pa.Table, tuple[str, ...]]]:
    """The records of a CSV page as `tables.PAGE`, some thousands at a time, without the first `skip`."""
    names = page.first_line()
    if not names.strip():
        return
    columns = next(csv.reader([names.decode()]))
    source: Any = pa.PythonFile(page, "r")  # type: ignore[arg-type]  # the stub wants a class that this is not
    try:
        reader = pyarrow.csv.open_csv(
            source,
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, tables.TEXT),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
        for batch in reader:
            rest = batch.slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - rest.num_rows
            if rest.num_rows:
                yield rows_of_csv(object_type, rest, kinds)
    except pa.ArrowInvalid as error:
        raise ProtocolError("a result page is not the CSV that it should be", system=org.system) from error
