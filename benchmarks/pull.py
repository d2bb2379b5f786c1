"""Pull, map and store contacts from a sandbox, against a bare loop that reads the same pages and writes them to a file.

    python benchmarks/pull.py [contacts] [--arm hubspot|salesforce|salesforce_bulk] [--profile]

The product's arm is `connector.steps.pull.pull` into fresh stores, after `install` (not timed) as in any house; the bare arm is a
`requests.Session`, the endpoint, fields and page size that our adapter uses, `.json()` (CSV: `csv.reader`), and each page's text into
one file. The sandbox runs in a process of its own with its rate limits off; seconds of the processor are those of this process.
Target: 60 % of the bare loop's rate.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _stage
from connector import pipeline
from connector.model import Request
from connector.sources import hubspot_objects, salesforce_reading
from connector.steps.pull import pull
from connector.steps.pulled import Pulled
from connector.steps.reads import fields_of
from connector.steps.setup import Progress, Setup

RACE = _stage.Race("contacts", "rows", "pull, map, store", limit=0.6)
STREAM = "contacts"
POLL_S = 0.2


def by_product(setup: Setup) -> Pulled:
    """Everything that a first `connector pull` does after its start."""
    with pipeline.running(setup, "pull") as moment, pipeline.connected(setup) as (systems, failures):
        pulled = pull(setup, systems, moment, Progress())
        problems = {**failures, **pulled.failures, **pulled.stream_failures}
        assert not problems, problems
    return pulled


def request(setup: Setup, system: str) -> Request:
    """What our adapter is asked for."""
    connected = setup.systems[system]
    stream = next(each for each in connected.streams() if each.name == STREAM)
    return Request(stream, fields_of(connected, stream))


def bare_hubspot(setup: Setup, url: str, file: Path) -> int:
    """The list of contacts, page by page."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {_stage.HUBSPOT_TOKEN}"
    wanted: dict[str, Any] = {
        "limit": 100,
        "properties": ",".join(hubspot_objects.properties(request(setup, "hubspot"))),
    }
    rows = 0
    with file.open("w") as out:
        while True:
            answer = session.get(f"{url}/crm/v3/objects/contacts", params=wanted)
            page = answer.json()
            out.write(answer.text)
            rows += len(page["results"])
            if "paging" not in page:
                return rows
            wanted["after"] = page["paging"]["next"]["after"]


def salesforce_session(setup: Setup, url: str) -> tuple[requests.Session, str, str]:
    """A session that is signed in, the path of the org's API, and the query of Contacts."""
    session = requests.Session()
    token = session.post(
        f"{url}/services/oauth2/token",
        data={
            "grant_type": "client_credentials", "client_id": _stage.SECRETS["SF_CLIENT_ID"],
            "client_secret": _stage.SECRETS["SF_CLIENT_SECRET"],
        },
    ).json()["access_token"]  # fmt: skip
    session.headers["Authorization"] = f"Bearer {token}"
    asked = request(setup, "salesforce")
    org = f"/services/data/v{setup.systems['salesforce'].connect.args[1].api_version}"  # type: ignore[attr-defined]
    allowed = {field["name"] for field in session.get(f"{url}{org}/sobjects/Contact/describe").json()["fields"]}
    hidden = [name for name in asked.fields if "." not in name and name not in allowed]
    soql = salesforce_reading.soql_of(asked.stream, asked.fields, None, hidden)
    return session, org, soql


def bare_salesforce(setup: Setup, url: str, file: Path) -> int:
    """The query of Contacts, page by page."""
    session, org, soql = salesforce_session(setup, url)
    path, rows = f"{org}/queryAll?q={quote(soql, safe='')}", 0
    with file.open("w") as out:
        while path:
            answer = session.get(url + path)
            page = answer.json()
            out.write(answer.text)
            rows += len(page["records"])
            path = page.get("nextRecordsUrl")
    return rows


def bare_salesforce_bulk(setup: Setup, url: str, file: Path) -> int:
    """The same query as a bulk job, result page by result page."""
    session, org, soql = salesforce_session(setup, url)
    wanted = {"operation": "queryAll", "query": soql.partition(" ORDER BY ")[0]}
    job = f"{url}{org}/jobs/query/{session.post(f'{url}{org}/jobs/query', json=wanted).json()['id']}"
    while session.get(job).json()["state"] != "JobComplete":
        time.sleep(POLL_S)
    rows, locator = 0, ""
    with file.open("w", newline="") as out:
        while locator != "null":
            answer = session.get(f"{job}/results", params={"locator": locator} if locator else {})
            answer.encoding = "utf-8"
            out.write(answer.text)
            rows += sum(1 for _ in csv.reader(io.StringIO(answer.text, newline=""))) - 1
            locator = answer.headers["Sforce-Locator"]
    return rows


#: arm -> the bare loop of it; `salesforce` is kept from going through Bulk API, `salesforce_bulk` made to.
BARE: dict[str, Callable[[Setup, str, Path], int]] = {
    "hubspot": bare_hubspot,
    "salesforce": bare_salesforce,
    "salesforce_bulk": bare_salesforce_bulk,
}
OPTIONS = {"salesforce": "bulk_from = 1_000_000_000", "salesforce_bulk": "bulk_from = 1_000"}


def compare(arm: str, contacts: int, turns: int, *, is_profiled: bool) -> None:
    """Bare loop and product, alternately; the better turn of each counts."""
    system = arm.partition("_")[0]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with _stage.sandbox(directory, **{f"{system}_contacts": contacts}) as addresses:
            bare, product = [], []
            for turn in range(turns):
                setup = _stage.installed(directory / f"turn-{turn}", addresses, arm, OPTIONS)
                rows, taken = _stage.timed(lambda: BARE[arm](setup, addresses[system], directory / "pages"))  # noqa: B023
                assert rows == contacts, rows
                bare.append(taken)
                pulled, taken = _stage.profiled(lambda: by_product(setup), is_profiled=is_profiled)  # noqa: B023
                assert pulled.counts[system, STREAM].applied == contacts, pulled.counts
                product.append(taken)
    RACE.tell(arm, contacts, bare, product)


if __name__ == "__main__":
    _stage.race(compare, BARE, 100_000, __doc__)
