"""The imitated CRMs as a test sees them: a process of its own, its admin endpoints, and what its records hold."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.e2e import forked, instant
from tests.e2e.forked import Forked

TIMEOUT_S = 60.0
#: A machine that is busy with other tests is slow, not wrong.
HAPPENS_WITHIN_S = 180.0
ASKED_EVERY_S = 0.01
#: Fixed and public credentials of the sandbox.
SECRETS = {
    "salesforce_client_id": "sandbox-consumer-key",
    "salesforce_client_secret": "sandbox-consumer-secret",
    "hubspot_token": "pat-sandbox-token",
}
SALESFORCE_FIELDS = ("Score__c", "Grade__c", "Stage__c", "Stage_Since__c", "Score_Reasons__c", "Person_Id__c")
HUBSPOT_FIELDS = tuple(
    f"connector_{name}" for name in ("score", "grade", "stage", "stage_since", "reasons", "person_id")
)
HUBSPOT_TASK_FIELDS = ("connector_task_key", "hs_task_subject", "hubspot_owner_id")
_REST = "/services/data/v62.0"

Values = dict[str, Any]


@dataclass
class Crms:
    """Both systems, in one process that ends with `stop`."""

    data: Path
    people: int
    urls: dict[str, str] = field(default_factory=dict)
    _process: Forked | None = None
    _token: str = ""

    def start(self) -> None:
        """Listen on two free ports; an empty data directory is filled first."""
        ready = self.data.parent / f"{self.data.name}.ready.json"
        ready.unlink(missing_ok=True)
        now = instant.now().isoformat()
        options = ["--data", str(self.data), "--people", str(self.people), "--seed", "7", "--now", now, "--no-limits"]
        log = self.data.parent / "crms.log"
        self._process = forked.start(
            "connector.sandbox.__main__", [*options, "--ready-file", str(ready)],
            at=self.data.parent, out=log, err=log, environment=os.environ,
        )  # fmt: skip
        eventually(lambda: ready.exists() or self._has_ended(), "the sandbox does not start")
        self.urls = {name: url for name, url in json.loads(ready.read_text()).items() if name != "pid"}

    def _has_ended(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.data.parent / "crms.log").read_text()
        return False

    def stop(self) -> None:
        """End the process; its data stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=TIMEOUT_S)

    # -------------------------------------------------------------------------------------------------- the admin's side

    def look(self, what: str, **query: Any) -> Any:
        """What an admin endpoint says: cast, counts, firings, truth, faults."""
        return self._answer(requests.get(self._admin(what), params=query, timeout=TIMEOUT_S))

    def tell(self, what: str, **body: Any) -> Any:
        """Change something by an admin endpoint: faults, act, clock, workflows."""
        return self._answer(requests.post(self._admin(what), json=body, timeout=TIMEOUT_S))

    def archive(self, native_id: str) -> None:
        """Somebody deletes a contact of HubSpot."""
        url = f"{self.urls['hubspot']}/crm/v3/objects/contacts/{native_id}"
        bearer = {"Authorization": f"Bearer {SECRETS['hubspot_token']}"}
        answer = requests.delete(url, headers=bearer, timeout=TIMEOUT_S)
        assert answer.status_code == 204, answer.text[:300]

    def pass_days(self, days: float) -> None:
        """Their clock goes forward; sessions do not live that long."""
        self.tell("clock", shift_s=days * 86_400)
        self._token = ""

    def pass_second(self) -> None:
        """What just happened shows: Salesforce's `/updated` leaves out the second that is under way."""
        self.pass_days(1 / 86_400)

    def mend(self) -> None:
        """No faults any more."""
        self._answer(requests.delete(self._admin("faults"), timeout=TIMEOUT_S))

    def mark(self) -> int:
        """A place in the log of calls, for `calls_of`."""
        return int(self.look("calls")["last_id"])

    def calls_of(self, system: str, since: int = 0) -> list[Values]:
        """The calls to one system after `since` that cost some of its quota, oldest first."""
        rows = self.look("calls", since=since, list=1)
        return [row for row in rows if row["system"] == system and row["cost"]]

    def wait_for_call(self, system: str, path: str, since: int) -> None:
        """Return as soon as a call whose path holds `path` was answered."""
        eventually(
            lambda: any(path in row["path"] for row in self.calls_of(system, since)),
            f"{system} is not asked for {path}",
        )

    def email_of(self, role: str) -> str:
        """The first e-mail address of a member of the cast."""
        return str(self.look("cast")[role]["emails"][0])

    # --------------------------------------------------------------------------------------------- what the records hold

    def written(self) -> dict[str, Values]:
        """Our output fields by record key, of all live people in both systems."""
        found: dict[str, Values] = {}
        for name in ("Lead", "Contact"):
            condition = " WHERE IsConverted = false" if name == "Lead" else ""
            for row in self.query(f"SELECT Id, {', '.join(SALESFORCE_FIELDS)} FROM {name}{condition}"):
                found[f"salesforce|{name}|{row['Id']}"] = {each: row[each] for each in SALESFORCE_FIELDS}
        for row in self.objects("contacts", HUBSPOT_FIELDS):
            found[f"hubspot|contacts|{row['id']}"] = {each: row["properties"].get(each) for each in HUBSPOT_FIELDS}
        return found

    def versions(self) -> dict[str, str]:
        """When each person and task last changed, by record key: the same twice means that nothing was written."""
        found = {}
        for name in ("Lead", "Contact", "Task"):
            for row in self.query(f"SELECT Id, SystemModstamp FROM {name}"):
                found[f"salesforce|{name}|{row['Id']}"] = row["SystemModstamp"]
        for name in ("contacts", "tasks"):
            for row in self.objects(name, ()):
                found[f"hubspot|{name}|{row['id']}"] = row["updatedAt"]
        return found

    def tasks(self) -> list[Values]:
        """The tasks that we made: system, key, subject, owner, who."""
        query = "SELECT Id, Task_Key__c, Subject, OwnerId, WhoId FROM Task WHERE Task_Key__c != null"
        made = [
            {"system": "salesforce", "key": row["Task_Key__c"], "subject": row["Subject"], "owner": row["OwnerId"],
             "who": row["WhoId"]}
            for row in self.query(query)
        ]  # fmt: skip
        for row in self.objects("tasks", HUBSPOT_TASK_FIELDS):
            values = row["properties"]
            if values.get("connector_task_key"):
                made.append(
                    {"system": "hubspot", "key": values["connector_task_key"], "subject": values["hs_task_subject"],
                     "owner": values["hubspot_owner_id"], "who": None}
                )  # fmt: skip
        return made

    def query(self, soql: str) -> list[Values]:
        """All rows of a SOQL query, asked as the integration user."""
        if not self._token:
            form = {
                "grant_type": "client_credentials", "client_id": SECRETS["salesforce_client_id"],
                "client_secret": SECRETS["salesforce_client_secret"],
            }  # fmt: skip
            answer = requests.post(self.urls["salesforce"] + "/services/oauth2/token", data=form, timeout=TIMEOUT_S)
            self._token = str(self._answer(answer)["access_token"])
        headers, rows = {"Authorization": f"Bearer {self._token}"}, []
        place, query = f"{_REST}/query", {"q": soql}
        while place:
            got = requests.get(self.urls["salesforce"] + place, params=query, headers=headers, timeout=TIMEOUT_S)
            answer = self._answer(got)
            rows += answer["records"]
            place, query = answer.get("nextRecordsUrl", ""), {}
        return rows

    def add_field(self, object_name: str, name: str, metadata: Values) -> None:
        """A custom field of the customer's own in Salesforce, which the integration user may edit."""
        (granted,) = self.query("SELECT Id FROM PermissionSet WHERE Name = 'Company_Fields'")
        full_name = f"{object_name}.{name}"
        grant = {"ParentId": granted["Id"], "SobjectType": object_name, "Field": full_name}
        for path, body in (
            ("tooling/sobjects/CustomField", {"FullName": full_name, "Metadata": metadata}),
            ("sobjects/FieldPermissions", {**grant, "PermissionsRead": True, "PermissionsEdit": True}),
        ):
            headers = {"Authorization": f"Bearer {self._token}"}
            place = f"{self.urls['salesforce']}{_REST}/{path}"
            self._answer(requests.post(place, json=body, headers=headers, timeout=TIMEOUT_S))

    def objects(self, name: str, properties: tuple[str, ...]) -> list[Values]:
        """All live objects of one type, with these properties."""
        headers = {"Authorization": f"Bearer {SECRETS['hubspot_token']}"}
        query: Values = {"limit": 100, "properties": ",".join(properties)}
        rows: list[Values] = []
        while True:
            place = f"{self.urls['hubspot']}/crm/v3/objects/{name}"
            answer = self._answer(requests.get(place, params=query, headers=headers, timeout=TIMEOUT_S))
            rows += answer["results"]
            after = answer.get("paging", {}).get("next", {}).get("after")
            if after is None:
                return rows
            query["after"] = after

    def delete_contact(self, native_id: str) -> None:
        """Somebody archives a contact in HubSpot."""
        place = f"{self.urls['hubspot']}/crm/v3/objects/contacts/{native_id}"
        headers = {"Authorization": f"Bearer {SECRETS['hubspot_token']}"}
        assert requests.delete(place, headers=headers, timeout=TIMEOUT_S).ok

    def _admin(self, what: str) -> str:
        return f"{self.urls['salesforce']}/_sandbox/{what}"

    @staticmethod
    def _answer(answer: requests.Response) -> Any:
        assert answer.ok, f"{answer.request.method} {answer.request.path_url}: {answer.status_code} {answer.text[:300]}"
        return answer.json()


def eventually(is_so: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is so; how long that takes is no promise."""
    until = time.monotonic() + HAPPENS_WITHIN_S
    while not is_so():
        assert time.monotonic() < until, otherwise
        time.sleep(ASKED_EVERY_S)


STAGE_DATES = ("Stage_Since__c", "connector_stage_since")
#: What a score may lose while a test is at work: who is computed anew then has another desired, and so little is not written.
DECAYED = 0.11


def differing(wanted: Mapping[str, Mapping[str, Any]], held: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The fields of `wanted` that `held` holds differently, as sentences; numbers and instants are compared as such."""
    return [
        f"{record} {name}: {held.get(record, {}).get(name)!r} instead of {value!r}"
        for record, fields in wanted.items()
        for name, value in fields.items()
        if not _is_same(value, held.get(record, {}).get(name))
    ]


def without_longer_stays(
    wanted: Mapping[str, Mapping[str, Any]], held: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """`wanted` without the beginnings of stages that `held` has for longer: such are left as they are."""
    return {
        record: {
            name: value
            for name, value in fields.items()
            if name not in STAGE_DATES or not str(held.get(record, {}).get(name) or "~")[:19] < str(value)[:19]
        }
        for record, fields in wanted.items()
    }


def _is_same(left: Any, right: Any) -> bool:
    if left in (None, "") or right in (None, ""):
        return left in (None, "") and right in (None, "")
    try:
        return abs(float(left) - float(right)) < DECAYED
    except ValueError:
        return _plain(str(left)) == _plain(str(right))


def _plain(text: str) -> str:
    """An instant without its zone's spelling and its milliseconds, which both systems write in their own way."""
    return text.replace("+0000", "Z").replace(".000Z", "Z")
