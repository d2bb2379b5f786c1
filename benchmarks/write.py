"""Deliver field changes to a sandbox, against a bare loop that sends the same payloads in the same batches and reads the answers.

    python benchmarks/write.py [changes] [--arm hubspot|salesforce|salesforce_bulk] [--profile]

The product's arm is `connector.steps.deliver.deliver`: the changes are in the outbox; each batch is marked in flight, sent, and has
one outcome for each change kept; then what was accepted goes into the mart's observed values. The bare arm is a `requests.Session`
with payloads that lie ready. Each change has five fields of one contact. The sandbox runs in a process of its own with its rate limits
off; seconds of the processor are those of this process, and of the sandbox's. Target: 60 % of the bare loop's rate.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _stage
from connector import clock, pipeline, writeback
from connector.dispatch import Delivered
from connector.model import Change, Lane
from connector.plan import Plan, Totals
from connector.sources import hubspot_batch
from connector.sources.salesforce_bulk_ingest import MAX_JOB_ROWS, NULL
from connector.sources.salesforce_collections import WRITE_HEADERS
from connector.steps.deliver import deliver
from connector.steps.pulled import Pulled
from connector.steps.setup import Progress, Setup

RACE = _stage.Race("changes of five fields", "changes", "deliver, settle", limit=0.6)
POLL_S = 0.2
GRADES, STAGES = ("A", "B", "C"), ("Explore", "Engage", "Buy")
OBJECTS = {"hubspot": "contacts", "salesforce": "Contact"}

Session = tuple[requests.Session, str]


def values(number: int, turn: int) -> dict[str, Any]:
    """Our outputs for a contact, other ones in each turn."""
    return {
        "score": (number + 7 * turn) % 100,
        "grade": GRADES[(number + turn) % 3],
        "stage": STAGES[(number + turn) % 3],
        "stage_since": f"2026-11-{(number + turn) % 28 + 1:02d}T08:00:00Z",
        "reasons": f'+ "VP" or above; + demo request, {turn + 1} Nov; − unsubscribed {number}',
    }


def changes(setup: Setup, system: str, ids: Sequence[str], turn: int) -> list[Change]:
    """A change of one record each, as the plan would make it."""
    object_type = OBJECTS[system]
    names = setup.systems[system].outputs[object_type]
    made = []
    for number, native_id in enumerate(ids):
        fields = {names[output]: value for output, value in values(number, turn).items()}
        account = f"{system}|Account|{number // 7}"
        made.append(
            Change(
                f"{turn}-{number}",
                system,
                object_type,
                native_id,
                Lane.SCORE,
                fields,
                dict.fromkeys(fields),
                parent=account,
            )
        )
    return made


# ------------------------------------------------------------------------------------------------------------ bare loops


def payloads_hubspot(work: Sequence[Change]) -> list[Any]:
    """A hundred records a call."""
    size = hubspot_batch.BATCH_SIZE
    return [{"inputs": hubspot_batch._inputs(work[at : at + size])} for at in range(0, len(work), size)]


def send_hubspot(session: Session, payloads: Sequence[Any]) -> int:
    """Batch after batch."""
    http, url = session
    done = 0
    for body in payloads:
        done += len(http.post(f"{url}/crm/v3/objects/contacts/batch/update", json=body).json()["results"])
    return done


def payloads_salesforce(work: Sequence[Change]) -> list[Any]:
    """Five collections of 200 a call."""
    rows = [{"attributes": {"type": "Contact"}, "Id": each.native_id, **each.fields} for each in work]
    lots = [{"allOrNone": False, "records": rows[at : at + 200]} for at in range(0, len(rows), 200)]
    parts = [
        {
            "method": "PATCH", "url": f"{ORG}/composite/sobjects", "referenceId": f"r{number % 5}",
            "httpHeaders": dict(WRITE_HEADERS), "body": lot,
        }
        for number, lot in enumerate(lots)
    ]  # fmt: skip
    return [{"compositeRequest": parts[at : at + 5]} for at in range(0, len(parts), 5)]


def send_salesforce(session: Session, payloads: Sequence[Any]) -> int:
    """Composite after composite."""
    http, url = session
    done = 0
    for body in payloads:
        said = http.post(f"{url}{ORG}/composite", json=body).json()["compositeResponse"]
        done += sum(row["success"] for part in said for row in part["body"])
    return done


def payloads_salesforce_bulk(work: Sequence[Change]) -> list[Any]:
    """One CSV a job."""
    made = []
    for start in range(0, len(work), MAX_JOB_ROWS):
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["Id", *work[0].fields])
        for each in work[start : start + MAX_JOB_ROWS]:
            writer.writerow([each.native_id, *(NULL if value is None else value for value in each.fields.values())])
        made.append(out.getvalue().encode())
    return made


def send_salesforce_bulk(session: Session, payloads: Sequence[Any]) -> int:
    """Job after job: create, upload, close, ask, read what succeeded."""
    http, url = session
    done = 0
    wanted = {"object": "Contact", "operation": "update", "contentType": "CSV", "lineEnding": "LF"}
    for content in payloads:
        job = f"{url}{ORG}/jobs/ingest/{http.post(f'{url}{ORG}/jobs/ingest', json=wanted).json()['id']}"
        http.put(f"{job}/batches", data=content, headers={"Content-Type": "text/csv"}).raise_for_status()
        http.patch(job, json={"state": "UploadComplete"}).raise_for_status()
        while http.get(job).json()["state"] != "JobComplete":
            time.sleep(POLL_S)
        answer = http.get(f"{job}/successfulResults")
        answer.encoding = "utf-8"
        done += sum(1 for _ in csv.reader(io.StringIO(answer.text, newline=""))) - 1
    return done


ORG = "/services/data/v62.0"
#: arm -> its payloads and how they are sent; `salesforce` is kept from making jobs, `salesforce_bulk` made to.
BARE: dict[str, tuple[Callable[[Sequence[Change]], list[Any]], Callable[[Session, Sequence[Any]], int]]] = {
    "hubspot": (payloads_hubspot, send_hubspot),
    "salesforce": (payloads_salesforce, send_salesforce),
    "salesforce_bulk": (payloads_salesforce_bulk, send_salesforce_bulk),
}
OPTIONS = {"salesforce": "bulk_write_from = 1_000_000_000", "salesforce_bulk": "bulk_write_from = 1_000"}


def signed_in(arm: str, url: str) -> Session:
    """A session with a token."""
    http = requests.Session()
    token = _stage.HUBSPOT_TOKEN
    if arm != "hubspot":
        form = {
            "grant_type": "client_credentials", "client_id": _stage.SECRETS["SF_CLIENT_ID"],
            "client_secret": _stage.SECRETS["SF_CLIENT_SECRET"],
        }  # fmt: skip
        token = http.post(f"{url}/services/oauth2/token", data=form).json()["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"
    return http, url


def ids_of(arm: str, count: int) -> list[str]:
    """The ids of the contacts."""
    if arm == "hubspot":
        return [str(_stage.hubspot_contact(number)["id"]) for number in range(count)]
    return [str(_stage.salesforce_contact(number)["Id"]) for number in range(count)]


# ------------------------------------------------------------------------------------------------------------ the product


def by_product(setup: Setup) -> Delivered:
    """What `connector apply` does once its plan is in the outbox."""
    with pipeline.running(setup, "apply") as moment, pipeline.connected(setup) as (systems, failures):
        [delivered] = deliver(setup, systems, Pulled(), moment, Progress())
        assert not failures, failures
        assert delivered.error is None, delivered
    return delivered


def compare(arm: str, count: int, turns: int, *, is_profiled: bool) -> None:
    """Bare loop and product, alternately; the better turn of each counts."""
    system = arm.partition("_")[0]
    prepare, send = BARE[arm]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with _stage.sandbox(directory, **{f"{system}_contacts": count}) as addresses:
            setup, session = (
                _stage.installed(directory / "house", addresses, arm, OPTIONS),
                signed_in(arm, addresses[system]),
            )
            ids, sandbox = ids_of(arm, count), int(addresses["pid"])
            bare, product, calls = [], [], 0
            for turn in range(turns):
                payloads = prepare(changes(setup, system, ids, 2 * turn))
                done, taken = _stage.timed(lambda: send(session, payloads), sandbox=sandbox)  # noqa: B023
                assert done == count, done
                bare.append(taken)
                work = changes(setup, system, ids, 2 * turn + 1)
                writeback.enqueue(setup.state, Plan(tuple(work), {}, Totals()), run=1, now=clock.now())
                delivered, taken = _stage.profiled(lambda: by_product(setup), is_profiled=is_profiled, sandbox=sandbox)
                assert delivered.accepted == count, delivered
                product.append(taken)
                calls = delivered.calls
    RACE.tell(arm, count, bare, product, f"   {calls:,} calls")


if __name__ == "__main__":
    _stage.race(compare, BARE, 20_000, __doc__)
