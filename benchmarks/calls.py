"""API calls used against the arithmetic minimum: a back-fill, a quiet cycle and a normal one, on both systems.

    python benchmarks/calls.py [people] [edits] [contacts]

The minimum is computed here, from how many records there are and how many go into a page (`Minimum`), and knows nothing of how
the connector reads; calls are counted in the sandbox's own log. The worlds live at one fixed instant, at which a task is made in the
normal cycle, so that each run meets the same. Cycles are made in one process, as `connector run` does. Ends with 1 when a cycle uses
more than 5 % above the minimum.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import requests

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _stage
from benchmarks.quiet_cycle import CONNECTOR, OVERLAP_S, spawned
from connector import cli, clock

ALLOWED = 0.05
INSTANT = "2026-11-28T20:00:00+00:00"
# Salesforce, REST API Developer Guide, "Composite" and "sObject Collections": five queries or collections a call, 2,000
# rows a page, 200 rows a collection.
IN_A_CALL, REQUESTS, ROWS, IN_A_COLLECTION = 5, 25, 2_000, 200
STREAMS = (
    "Lead", "Contact", "Account", "Opportunity", "OpportunityContactRole", "Task", "Event", "CampaignMember", "Campaign", "Case",
    "EmailMessage", "TaskRelation", "EventRelation",
)  # fmt: skip
DAILY = ("User",)
# Bulk API 2.0 Developer Guide: a job, a look at its state, the list of five result pages at a time, and each of them.
BULK_FROM, BULK_ROWS, BULK_LISTED = 20_000, 50_000, 5
# HubSpot, "CRM search", "Objects", "Associations", "Email events", "Event analytics", "Forms": rows of a page.
FOUND, LISTED, ASSOCIATED, BATCH, MAILS, EVENTS, SUBMITTED = 200, 100, 1_000, 100, 1_000, 100, 50
TYPES = ("contacts", "companies", "deals", "tickets", "calls", "emails", "meetings", "notes", "tasks", "communications")
#: Kinds of association that the shipped mapping reads, by the type that they are read from.
ASSOCIATIONS: Mapping[str, int] = {
    "deals": 2, "tickets": 2, "calls": 3, "emails": 3, "meetings": 3, "notes": 3, "tasks": 3, "communications": 3,
}  # fmt: skip


@dataclass
class Minimum:
    """The fewest calls that a cycle can do with, part by part."""

    parts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.parts.values())


def pages(rows: int, size: int) -> int:
    """Pages of so many rows; an empty answer is a page, too."""
    return max(ceil(rows / size), 1)


def salesforce(rows: Mapping[str, int], *, asked: int, updates: int, tasks: int) -> Minimum:
    """`rows` to read by object. Pages of one object follow one another; five objects share a call. `asked`: how many objects
    there are to look at; those without news are asked for in a call that takes 25 requests of any kind."""
    each = [pages(count, ROWS) for count in rows.values()]
    collections = ceil(updates / IN_A_COLLECTION) + ceil(tasks / IN_A_COLLECTION)
    read = max([1, *each, ceil(sum(each) / IN_A_CALL), ceil(asked / REQUESTS)])
    return Minimum({"read": read, "write": ceil(collections / IN_A_CALL)})


def in_bulk(contacts: int) -> Minimum:
    """So many contacts and nothing else, through one bulk query; the first pages of all objects tell that they are so many."""
    results = pages(contacts, BULK_ROWS)
    job = {"job": 2, "results": ceil(results / BULK_LISTED) + results}
    return Minimum({"read": ceil(len((*STREAMS, *DAILY)) / IN_A_CALL)} | job)


def hubspot(rows: Mapping[str, int], *, size: int, updates: int, tasks: int) -> Minimum:
    """`rows` to read by type, in pages of `size`; associations of what is read, by a thousand.

    The portal takes no unique key on tasks. Of a task that was made, a copy of our own store that is older and was put back says that
    it was never sent: so which tasks a record has, and their keys, are read before one is made (`look`). How the portal holds the
    key is not counted: that could be known from before.
    """
    return Minimum(
        {
            "read": sum(pages(rows.get(name, 0), size) for name in TYPES),
            "associations": sum(ceil(rows.get(name, 0) / ASSOCIATED) * kinds for name, kinds in ASSOCIATIONS.items()),
            "look": 2 * ceil(tasks / BATCH),
            "write": ceil(updates / BATCH) + ceil(tasks / BATCH),
        }
    )


# ------------------------------------------------------------------------------------------------------------ the stage


@dataclass
class Crms:
    """The sandbox, as its operator and as another client of both systems."""

    urls: Mapping[str, str]
    token: str = ""

    def look(self, what: str, **query: Any) -> Any:
        """What an admin endpoint says."""
        return self._answer(requests.get(f"{self.urls['salesforce']}/_sandbox/{what}", params=query, timeout=60))

    def tell(self, what: str, **body: Any) -> Any:
        """Change something by an admin endpoint."""
        return self._answer(requests.post(f"{self.urls['salesforce']}/_sandbox/{what}", json=body, timeout=60))

    def hubspot(self, path: str, body: Any = None) -> Any:
        """A call to HubSpot: a POST when there is a body."""
        headers = {"Authorization": f"Bearer {_stage.HUBSPOT_TOKEN}"}
        method = "GET" if body is None else "POST"
        return self._answer(
            requests.request(method, self.urls["hubspot"] + path, json=body, headers=headers, timeout=60)
        )

    def salesforce(self, path: str, body: Any = None) -> Any:
        """A call to Salesforce: a PATCH when there is a body."""
        if not self.token:
            form = {
                "grant_type": "client_credentials", "client_id": _stage.SECRETS["SF_CLIENT_ID"],
                "client_secret": _stage.SECRETS["SF_CLIENT_SECRET"],
            }  # fmt: skip
            answer = requests.post(f"{self.urls['salesforce']}/services/oauth2/token", data=form, timeout=60)
            self.token = self._answer(answer)["access_token"]
        headers, method = {"Authorization": f"Bearer {self.token}"}, "GET" if body is None else "PATCH"
        url = f"{self.urls['salesforce']}/services/data/v62.0{path}"
        return self._answer(requests.request(method, url, json=body, headers=headers, timeout=60))

    @staticmethod
    def _answer(answer: requests.Response) -> Any:
        assert answer.ok, f"{answer.request.method} {answer.request.path_url}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def ids(self, system: str, count: int) -> list[str]:
        """Native ids of contacts."""
        if system == "salesforce":
            return [row["Id"] for row in self.salesforce(f"/query?q=SELECT+Id+FROM+Contact+LIMIT+{count}")["records"]]
        found: list[str] = []
        after = ""
        while len(found) < count:
            answer = self.hubspot(f"/crm/v3/objects/contacts?limit=100{after}")
            found += [row["id"] for row in answer["results"]]
            after = f"&after={answer['paging']['next']['after']}" if "paging" in answer else ""
            if not after:
                break
        return found[:count]

    def edit(self, count: int) -> dict[str, int]:
        """Somebody moves so many contacts of each system to another country; how many there were."""
        mine, theirs = self.ids("salesforce", count), self.ids("hubspot", count)
        for start in range(0, len(mine), 200):
            rows = [
                {"attributes": {"type": "Contact"}, "Id": each, "MailingCountry": "Norway", "Title": "VP Sales"}
                for each in mine[start : start + 200]
            ]
            self.salesforce("/composite/sobjects", {"allOrNone": False, "records": rows})
        for start in range(0, len(theirs), 100):
            inputs = [
                {"id": each, "properties": {"country": "Norway", "jobtitle": "VP Sales"}}
                for each in theirs[start : start + 100]
            ]
            self.hubspot("/crm/v3/objects/contacts/batch/update", {"inputs": inputs})
        return {"salesforce": len(mine), "hubspot": len(theirs)}

    def rest_of_hubspot(self) -> dict[str, int]:
        """The fewest calls that read what has no object: owners (those who left apart), forms, events by their type."""
        forms = [form["id"] for form in self.hubspot("/marketing/v3/forms?limit=100")["results"]]
        kinds = self.hubspot("/events/v3/events/event-types")["eventTypes"]
        mails = self._count("/email/public/v1/events?limit=1000", "events", "offset")
        seen = [
            self._count(f"/events/v3/events?objectType=contact&limit=100&eventType={kind}", "results", "after")
            for kind in kinds
        ]
        sent = [
            self._count(f"/form-integrations/v1/submissions/forms/{form}?limit=50", "results", "after")
            for form in forms
        ]
        return {
            "owners": 2,
            "forms": pages(len(forms), LISTED) + sum(pages(rows, SUBMITTED) for rows in sent),
            "e-mail events": pages(mails, MAILS),
            "web events": 1 + sum(pages(rows, EVENTS) for rows in seen),
        }

    def _count(self, path: str, rows: str, further: str) -> int:
        count, after = 0, ""
        while True:
            answer = self.hubspot(path + after)
            count += len(answer[rows])
            following = (
                answer.get("offset") if answer.get("hasMore") else answer.get("paging", {}).get("next", {}).get("after")
            )
            if not following:
                return count
            after = f"&{further}={following}"


def run(file: Path, *words: str) -> Any:
    """A command with `--json`, in this process; what it printed."""
    said = StringIO()
    environment = {"CONNECTOR_CONFIG": str(file)}
    with (
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", ["connector", *words, "--json"]),
        redirect_stdout(said),
    ):
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{words}: exit code {end.code}\n{said.getvalue()}") from end
    return orjson.loads(said.getvalue())


def cycle(crms: Crms, file: Path, title: str, verb: str = "sync") -> tuple[Any, dict[str, Counter[str]]]:
    """One run: what it says it did, and its calls by system and path."""
    last = crms.look("calls")["last_id"]
    said, taken = _stage.timed(lambda: run(file, verb))
    print(f"\n{title}: {taken}")
    made: dict[str, Counter[str]] = {"salesforce": Counter(), "hubspot": Counter()}
    for row in crms.look("calls", since=last, list=1):
        if row["cost"]:
            made[row["system"]][f"{row['method']} {row['pattern']}"] += 1
    return said, made


def judged(system: str, made: Counter[str], least: Minimum) -> bool:
    """Print one system's figures; whether they are within what is allowed."""
    used, ratio = made.total(), made.total() / least.total
    parts = " + ".join(f"{name} {calls}" for name, calls in least.parts.items() if calls)
    print(f"  {system:10} {used:4} calls, at least {least.total:4} ({parts}): {ratio - 1:+.1%}")
    for path, count in made.most_common():
        print(f"     {count:4} {path}")
    return ratio <= 1 + ALLOWED


def written(summary: Mapping[str, Any], system: str) -> dict[str, int]:
    """How many records were updated, and how many tasks made."""
    for each in summary["delivered"]:
        if each["system"] == system:
            return {"updates": each["accepted"] - each["tasks"], "tasks": each["tasks"]}
    return {"updates": 0, "tasks": 0}


def cycles(place: Path, people: int, edits: int) -> list[bool]:
    """A back-fill, a quiet cycle and a normal one in a world of `people`."""
    fits: list[bool] = []
    with _stage.sandbox(place, people=people, now=clock.now()) as addresses:
        crms, file = Crms(addresses), _stage.configured(place, addresses)
        with file.open("a") as config:
            config.write("\n[writeback.brakes]\nmax_overwritten_share = 1.0\nmax_tasks_per_owner = 100\n")
        print(f"{people:,} people, {_stage.load_text()}")
        spawned(*CONNECTOR, "install", "--yes", file=file)
        counts, rest = crms.look("counts"), crms.rest_of_hubspot()

        said, made = cycle(crms, file, "back-fill")
        rows = {name: counts["salesforce"][name] for name in (*STREAMS, *DAILY)}
        fits.append(
            judged(
                "salesforce", made["salesforce"], salesforce(rows, asked=len(STREAMS), **written(said, "salesforce"))
            )
        )
        least = hubspot(counts["hubspot"], size=LISTED, **written(said, "hubspot"))
        fits.append(judged("hubspot", made["hubspot"], Minimum(least.parts | rest)))

        time.sleep(OVERLAP_S)
        cycle(crms, file, "what our own writes made of it")
        time.sleep(OVERLAP_S)
        said, made = cycle(crms, file, "quiet")
        fits.append(judged("salesforce", made["salesforce"], salesforce({}, asked=len(STREAMS), updates=0, tasks=0)))
        fits.append(judged("hubspot", made["hubspot"], hubspot({}, size=FOUND, updates=0, tasks=0)))

        edited = crms.edit(edits)
        said, made = cycle(crms, file, f"normal: {edits} contacts of each edited by others")
        rows = {"Contact": edited["salesforce"]}
        fits.append(
            judged(
                "salesforce", made["salesforce"], salesforce(rows, asked=len(STREAMS), **written(said, "salesforce"))
            )
        )
        least = hubspot({"contacts": edited["hubspot"]}, size=FOUND, **written(said, "hubspot"))
        fits.append(judged("hubspot", made["hubspot"], least))
    return fits


def bulk(place: Path, contacts: int) -> bool:
    """A back-fill of Salesforce that is too large for single queries."""
    with _stage.sandbox(place, salesforce_contacts=contacts, now=clock.now()) as addresses:
        crms, file = Crms(addresses), _stage.configured(place, addresses, ("salesforce",))
        spawned(*CONNECTOR, "install", "--yes", file=file)
        _, made = cycle(crms, file, f"back-fill of {contacts:,} contacts in bulk", "pull")
    return judged("salesforce", made["salesforce"], in_bulk(contacts))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", nargs="?", type=int, default=1_000)
    parser.add_argument("edits", nargs="?", type=int, default=300)
    parser.add_argument("contacts", nargs="?", type=int, default=60_000, help=f"more than {BULK_FROM:,}")
    options = parser.parse_args()
    os.environ["CONNECTOR_NOW"] = INSTANT
    with tempfile.TemporaryDirectory() as place:
        fits = cycles(Path(place), options.people, options.edits)
    with tempfile.TemporaryDirectory() as place:
        fits.append(bulk(Path(place), options.contacts))
    print(f"\n{sum(fits)} of {len(fits)} within {ALLOWED:.0%} of the minimum")
    return 0 if all(fits) else 1


if __name__ == "__main__":
    sys.exit(main())
