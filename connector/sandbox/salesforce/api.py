"""The REST API by path: which function answers what."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from connector.sandbox.context import SALESFORCE
from connector.sandbox.salesforce import (
    bulk_ingest,
    bulk_query,
    collections,
    composite,
    deployments,
    jobs,
    layouts,
    looking,
    metadata,
    records,
    relationships,
    search,
    tree,
)
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.refusal import RefusedError, not_found
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.seeding import ORGANIZATION_ID

VERSIONS = range(31, 69)

_SEASONS = ("Spring", "Summer", "Winter")


def versions() -> list[dict[str, str]]:
    """`GET /services/data`: every version with its release's name (v31.0 is Summer '14, three releases a year)."""
    found = []
    for number in VERSIONS:
        release = number - 30
        season, year = _SEASONS[release % 3], 14 + (release + 1) // 3
        label = f"{season} '{year}"
        found.append({"label": label, "url": f"/services/data/v{number}.0", "version": f"{number}.0"})
    return found


def _query(call: Call) -> Answer:
    text = call.query.get("q")
    if call.query.get("explain"):
        return looking.explain(call, call.query["explain"])
    if not text:
        raise RefusedError("MALFORMED_QUERY", "unexpected token: '<EOF>'")
    is_all = call.path.lower().startswith("/queryall")
    page = call.queries.run(text, call.reader, include_deleted=is_all)
    return Answer(200, page, records=len(page["records"]))


def _more(call: Call, cursor: str) -> Answer:
    page = call.queries.more(cursor, call.reader)
    return Answer(200, page, records=len(page["records"]))


def _limits(call: Call) -> Answer:
    settings = call.org.context.settings
    used = call.org.context.calls.used_last_day(SALESFORCE)
    most = {
        "DailyApiRequests": settings.salesforce_calls_per_day,
        "DailyBulkApiBatches": 15_000,
        "DailyBulkV2QueryJobs": 10_000,
        "DailyBulkV2QueryFileStorageMB": 976_562,
        "ConcurrentAsyncGetReportInstances": 200,
        "DataStorageMB": 1_024,
        "FileStorageMB": 1_024,
        "DailyDeliveredPlatformEvents": 25_000,
    }
    body = {name: {"Max": value, "Remaining": value} for name, value in most.items()}
    query_jobs = jobs.started_last_day(call.org, is_query=True)[0]
    batches = jobs.started_last_day(call.org, is_query=False)[1]
    taken = {"DailyApiRequests": used + 1, "DailyBulkApiBatches": batches, "DailyBulkV2QueryJobs": query_jobs}
    for name, count in taken.items():
        body[name]["Remaining"] = max(0, most[name] - count)
    return Answer(200, body)


def _record_count(call: Call) -> Answer:
    names = [name for name in call.query.get("sObjects", "").split(",") if name]
    wanted = [call.org.object(name) for name in names] if names else list(call.org.schema.objects.values())
    counted = [
        {
            "count": call.org.database.execute(
                f"SELECT count(*) AS n FROM {one.table} WHERE {_counted(one)}"
            ).fetchone()["n"],
            "name": one.name,
        }
        for one in wanted
    ]
    return Answer(200, {"sObjects": [each for each in counted if each["count"]]})


def _counted(one: SObject) -> str:
    """The counts leave out the recycle bin and archived activities."""
    return "IsDeleted = 0 AND IsArchived = 0" if one.is_activity else "IsDeleted = 0"


def _resources(call: Call) -> Answer:
    names = (
        "tooling", "metadata", "query", "queryAll", "recent", "search", "parameterizedSearch", "composite", "sobjects",
        "limits", "jobs",
    )  # fmt: skip
    whose = f"http://{call.headers.get('host', '')}/id/{ORGANIZATION_ID}/{call.access.user_id}"
    return Answer(200, {**{name: f"{call.base}/{name}" for name in names}, "identity": whose})


def _composite_index(call: Call) -> Answer:
    names = ("batch", "sobjects", "graph", "tree")
    return Answer(200, {name: f"{call.base}/composite/{name}" for name in names})


_OBJECT = r"(?P<name>\w+)"
_ID = r"(?P<text>[0-9A-Za-z]{15}|[0-9A-Za-z]{18})"
_PATH = r"(?P<path>\w+(?:/\w+)*)"
_JOB = r"(?P<job_id>[0-9A-Za-z]{15}|[0-9A-Za-z]{18})"

_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", "", _resources),
    ("GET", "/query|/queryall", _query),
    ("GET", r"/query(?:all)?/(?P<cursor>01g[\w-]+)", _more),
    ("GET", "/recent", looking.recent),
    ("GET", "/search", search.search),
    ("GET", "/parameterizedsearch", search.parameterized),
    ("POST", "/parameterizedsearch", search.parameterized),
    ("GET", "/limits", _limits),
    ("GET", "/limits/recordcount", _record_count),
    ("GET", "/sobjects", records.global_describe),
    ("GET", f"/sobjects/{_OBJECT}/describe", records.describe),
    ("GET", f"/sobjects/{_OBJECT}/describe/layouts", layouts.layouts),
    ("GET", rf"/sobjects/{_OBJECT}/describe/layouts/(?P<record_type>\w+)", layouts.layout_of),
    ("GET", f"/sobjects/{_OBJECT}/describe/compactlayouts", layouts.compact_layouts),
    ("GET", f"/sobjects/{_OBJECT}/deleted", records.deleted),
    ("GET", f"/sobjects/{_OBJECT}/updated", records.updated),
    ("GET", f"/sobjects/{_OBJECT}", records.basic_information),
    ("POST", f"/sobjects/{_OBJECT}", records.insert),
    ("GET", f"/sobjects/{_OBJECT}/{_ID}", records.read),
    ("PATCH", f"/sobjects/{_OBJECT}/{_ID}", records.change),
    ("DELETE", f"/sobjects/{_OBJECT}/{_ID}", records.remove),
    ("GET", f"/sobjects/{_OBJECT}/{_ID}/{_PATH}", relationships.read),
    ("PATCH", f"/sobjects/{_OBJECT}/{_ID}/{_PATH}", relationships.change),
    ("DELETE", f"/sobjects/{_OBJECT}/{_ID}/{_PATH}", relationships.remove),
    ("PATCH", rf"/sobjects/{_OBJECT}/(?P<key_name>\w+)/(?P<key>.+)", records.upsert),
    ("GET", rf"/sobjects/{_OBJECT}/(?P<key_name>\w+)/(?P<key>.+)", records.read_by_key),
    ("DELETE", rf"/sobjects/{_OBJECT}/(?P<key_name>\w+)/(?P<key>.+)", records.remove_by_key),
    ("GET", "/composite", _composite_index),
    ("POST", "/composite", lambda call: composite.composite(call, dispatch)),
    ("POST", "/composite/batch", lambda call: composite.batch(call, dispatch)),
    ("POST", "/composite/graph", lambda call: composite.graph(call, dispatch)),
    ("POST", f"/composite/tree/{_OBJECT}", tree.insert_tree),
    ("POST", "/composite/sobjects", collections.insert_many),
    ("PATCH", "/composite/sobjects", collections.update_many),
    ("DELETE", "/composite/sobjects", collections.delete_many),
    ("GET", f"/composite/sobjects/{_OBJECT}", collections.retrieve_many),
    ("POST", f"/composite/sobjects/{_OBJECT}", collections.retrieve_many),
    ("PATCH", rf"/composite/sobjects/{_OBJECT}/(?P<key_name>\w+)", collections.upsert_many),
    ("POST", "/jobs/query", bulk_query.create),
    ("GET", "/jobs/query", lambda call: jobs.listing(call, is_query=True)),
    ("GET", f"/jobs/query/{_JOB}", bulk_query.read),
    ("PATCH", f"/jobs/query/{_JOB}", bulk_query.change),
    ("DELETE", f"/jobs/query/{_JOB}", bulk_query.remove),
    ("GET", f"/jobs/query/{_JOB}/results", bulk_query.results),
    ("GET", f"/jobs/query/{_JOB}/resultpages", bulk_query.result_pages),
    ("POST", "/jobs/ingest", bulk_ingest.create),
    ("GET", "/jobs/ingest", lambda call: jobs.listing(call, is_query=False)),
    ("GET", f"/jobs/ingest/{_JOB}", bulk_ingest.read),
    ("PATCH", f"/jobs/ingest/{_JOB}", bulk_ingest.change),
    ("DELETE", f"/jobs/ingest/{_JOB}", bulk_ingest.remove),
    ("PUT", f"/jobs/ingest/{_JOB}/batches", bulk_ingest.upload),
    ("GET", f"/jobs/ingest/{_JOB}/successfulresults", bulk_ingest.successful),
    ("GET", f"/jobs/ingest/{_JOB}/failedresults", bulk_ingest.failed),
    ("GET", f"/jobs/ingest/{_JOB}/unprocessedrecords", bulk_ingest.unprocessed),
    ("POST", "/metadata/deployrequest", deployments.deploy),
    ("GET", r"/metadata/deployrequest/(?P<native>\w+)", deployments.deployment),
    ("POST", "/tooling/sobjects/customfield", metadata.tooling_field),
)
_COMPILED = tuple(
    (method, re.compile(f"(?:{pattern})/?", re.IGNORECASE), answer) for method, pattern, answer in _ROUTES
)


def dispatch(call: Call) -> Answer:
    """Answer a call; raises RefusedError (404 for an unknown path, 405 for a known one with another method)."""
    is_known = False
    for method, pattern, answer in _COMPILED:
        match = pattern.fullmatch(call.path)
        if match is None:
            continue
        if method == call.method or (method == "GET" and call.method == "HEAD"):
            arguments: dict[str, Any] = match.groupdict()
            return answer(call, **arguments)
        is_known = True
    if is_known:
        raise RefusedError(
            "METHOD_NOT_ALLOWED", f"HTTP Method '{call.method}' not allowed. Allowed are HEAD,GET,POST,PATCH"
        )
    raise not_found()
