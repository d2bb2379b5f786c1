"""What other people do in both systems while we are at work: they edit, create, delete, merge, convert, and prospects act."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any
from zlib import crc32

import requests

from tests.chaos.storage import Storage, Values
from tests.e2e.crm import Crms

_TOKEN = "pat-of-other-people"
_TIMEOUT_S = 10.0
_FORMS = ("Book a demo", "Book a demo", "Contact us", "Newsletter sign-up")
#: Fewer than this and nobody deletes or merges any more.
_FEWEST = 25
#: So many records of which somebody keeps changing our fields.
_CONTESTED = 3

#: What they do, and how often.
DEEDS = {
    "form": 30, "page": 10, "click": 5, "meeting": 4, "edit": 20, "our_field": 10, "create": 9, "delete": 5, "merge": 5, "convert": 3,
    "undelete": 1,
}  # fmt: skip


@dataclass
class Others:
    """The other people's hands. `edits` is what they wrote last by (record, field): nobody may undo it; `ours` the same in our
    fields, where it stands once these are frozen; of those in `doubtful` it is not known when they wrote, or whether. Records in
    `spared` are neither merged nor converted."""

    crms: Crms
    storage: Storage
    edits: dict[tuple[str, str], str] = field(default_factory=dict)
    ours: dict[tuple[str, str], Any] = field(default_factory=dict)
    doubtful: set[tuple[str, str]] = field(default_factory=set)
    spared: set[str] = field(default_factory=set)
    scores: Counter[str] = field(default_factory=Counter)  # record -> how often they wrote over our score
    deeds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    made: int = 0

    def settle_in(self) -> None:
        """They have a sign-in of their own."""
        self.crms.tell("act", action="issue_token", token=_TOKEN, scopes=_SCOPES)

    def act(self, random: Random) -> None:
        """One deed. What a system refuses, or a fault swallows, did not happen or may have: the storage knows."""
        deed = random.choices(list(DEEDS), list(DEEDS.values()))[0]
        try:
            getattr(self, f"_{deed}")(random, self.storage.people())
            self.deeds[deed] += 1
        except (AssertionError, requests.RequestException):
            self.refused[deed] += 1

    # --------------------------------------------------------------------------------------------- prospects

    def _form(self, random: Random, people: dict[str, Values]) -> None:
        email = self._email(random, people)
        self.crms.tell("act", action="submit_form", form=random.choice(_FORMS), email=email, values={})

    def _page(self, random: Random, people: dict[str, Values]) -> None:
        self.crms.tell("act", action="page_view", email=self._email(random, people))

    def _click(self, random: Random, people: dict[str, Values]) -> None:
        self.crms.tell("act", action="email_click", email=self._email(random, people))

    def _meeting(self, random: Random, people: dict[str, Values]) -> None:
        self.crms.tell("act", action="book_meeting", email=self._email(random, people))

    def _email(self, random: Random, people: dict[str, Values]) -> str:
        """Mostly of somebody whom Salesforce knows, too: then both systems are written."""
        known = sorted({values["Email"] for values in people.values() if values.get("Email")})
        known = [each for each in known if "@" in each and " " not in each] or ["nobody@example.com"]
        return str(random.choice(known[:12] if random.random() < 0.7 else known))

    # --------------------------------------------------------------------------------------------- users

    def _edit(self, random: Random, people: dict[str, Values]) -> None:
        record, value = random.choice(sorted(people)), f"{random.choice(_TITLES)} {random.randrange(1000)}"
        system, _, native = record.split("|")
        name = "Title" if system == "salesforce" else "jobtitle"
        self._write(record, native, {name: value}, random)
        self.edits[record, name] = value

    def _our_field(self, random: Random, people: dict[str, Values]) -> None:
        some = sorted(
            people, key=lambda record: crc32(record.encode())
        )  # mostly of the same few, whoever comes and goes
        record = random.choice(some[:_CONTESTED] if random.random() < 0.7 else some)
        system, _, native = record.split("|")
        ours = ("Grade__c", "Score__c") if system == "salesforce" else ("connector_grade", "connector_score")
        name = random.choice(ours)
        if name == ours[1]:
            self.scores[record] += 1
        value = "D" if name == ours[0] else random.choice((1, 12, 55))
        if not self._write(record, native, {name: value}, random):
            self.ours[record, name] = value

    def _write(self, record: str, native: str, values: Values, random: Random) -> bool:
        """Returns whether it is committed later."""
        for name in values:  # should it fail half-way, nothing is known
            self.edits.pop((record, name), None)
            self.ours.pop((record, name), None)
            self.doubtful.add((record, name))
        lag = {"lag_s": random.choice((20, 90))} if record.startswith("salesforce") and random.random() < 0.3 else {}
        if record.startswith("salesforce"):
            self.crms.tell("act", system="salesforce", action="update", id=native, values=values, **lag)
        else:
            self._hubspot("PATCH", f"contacts/{native}", {"properties": values})
        if not lag:
            self.doubtful -= {(record, name) for name in values}
        return bool(lag)

    def _create(self, random: Random, people: dict[str, Values]) -> None:
        self.made += 1
        name = f"Newman{self.made}"
        email = f"{name.lower()}@example-{random.randrange(9)}.com"
        if random.random() < 0.4 and people:
            email = self._email(random, people)
        if random.random() < 0.5:
            values = {"LastName": name, "Email": email, "Company": f"Newco {random.randrange(9)}", "Title": "VP Sales"}
            lag = {"lag_s": random.choice((20, 90))} if random.random() < 0.3 else {}
            self.crms.tell("act", system="salesforce", action="create", object="Lead", values=values, **lag)
        else:
            self._hubspot(
                "POST", "contacts", {"properties": {"lastname": name, "email": email, "jobtitle": "Director"}}
            )

    def _delete(self, random: Random, people: dict[str, Values]) -> None:
        if len(people) < _FEWEST:
            return
        record = random.choice(sorted(people))
        self._forget(record)
        system, _, native = record.split("|")
        if system == "salesforce":
            self.crms.tell("act", system=system, action="delete", id=native)
        else:
            self._hubspot("DELETE", f"contacts/{native}", None)

    def _undelete(self, random: Random, _: dict[str, Values]) -> None:
        query = "SELECT Id FROM sf_Contact WHERE IsDeleted = 1 AND MasterRecordId IS NULL ORDER BY Id"
        gone = [row["Id"] for row in self.storage.rows(query)]
        if gone:
            self.crms.tell("act", system="salesforce", action="undelete", id=random.choice(gone))

    def _merge(self, random: Random, people: dict[str, Values]) -> None:
        kind = random.choice(("salesforce|Contact", "salesforce|Lead", "hubspot|contacts"))
        found = [record for record in sorted(people.keys() - self.spared) if record.startswith(f"{kind}|")]
        if len(found) < 6:
            return
        first, second = random.sample(found, 2)
        self._forget(first)
        self._forget(second)
        winner, loser = first.split("|")[2], second.split("|")[2]
        if kind.startswith("salesforce"):
            self.crms.tell("act", system="salesforce", action="merge", winner=winner, loser=loser)
        else:
            self._hubspot("POST", "contacts/merge", {"primaryObjectId": winner, "objectIdToMerge": loser})

    def _convert(self, random: Random, people: dict[str, Values]) -> None:
        leads = [record for record in sorted(people.keys() - self.spared) if record.startswith("salesforce|Lead|")]
        if len(leads) > 3:
            lead = random.choice(leads)
            self._forget(lead)
            self.crms.tell("act", system="salesforce", action="convert_lead", id=lead.split("|")[2])

    def _forget(self, record: str) -> None:
        """It is no more, or holds what another one did."""
        self.doubtful |= {key for key in self.ours if key[0] == record}
        for written in (self.edits, self.ours):
            for key in [key for key in written if key[0] == record]:
                del written[key]

    def _hubspot(self, method: str, place: str, body: Any) -> None:
        """As another application would; some faults hit it, too."""
        answer = requests.request(
            method,
            f"{self.crms.urls['hubspot']}/crm/v3/objects/{place}",
            json=body,
            headers={"Authorization": f"Bearer {_TOKEN}"},
            timeout=_TIMEOUT_S,
        )
        assert answer.ok, answer.text
        assert method == "DELETE" or "json" in answer.headers["Content-Type"], "a page that somebody put in between"


_TITLES = ("Director of Sales", "VP Operations", "Assistant", "Head of Logistics", "Buyer")
_SCOPES = ["crm.objects.contacts.read", "crm.objects.contacts.write"]
