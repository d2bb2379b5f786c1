"""What the benchmarks stand on: invented contacts, a sandbox in a process of its own, a fresh configuration, stopwatches."""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import multiprocessing
import os
import pstats
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from connector import app, cli, clock, config, doctor, pipeline
from connector.cli import starter
from connector.sources.salesforce_collections import long_id
from connector.steps.setup import Setup

READY_WITHIN_S = 60.0
HUBSPOT_TOKEN = "pat-sandbox-token"
SECRETS = {
    "SF_CLIENT_ID": "sandbox-consumer-key",
    "SF_CLIENT_SECRET": "sandbox-consumer-secret",
    "HUBSPOT_TOKEN": HUBSPOT_TOKEN,
}

#: Without HubSpot's limits (19 calls a second are 1,900 contacts), which the sandbox does not keep either.
HUBSPOT_UNPACED = """url = "{url}"
calls_per_10_s = 1_000_000
searches_per_s = 1_000_000
associations_per_s = 1_000_000
token = "env:HUBSPOT_TOKEN"
"""

GIVEN = ("Anna", "Bo", "Chloé", "David", "Élodie", "Farid", "Grace", "Hiro", "Ines", "Jürgen", "Kofi")
FAMILY = (
    "Meyer",
    "O'Neil",
    "García",
    "Nowak",
    "Smith",
    "Sørensen",
    "Kim",
    "Rossi",
    "van Dijk",
    "Öztürk",
    "Patel",
    "Lee",
    "Brown",
)
TITLES = (
    "VP Sales",
    "Head of Marketing",
    "Software Engineer",
    "CFO",
    "Sales Manager",
    "Account Executive",
    "Director of IT",
)
COUNTRIES = ("Germany", "United States", "France", "United Kingdom", "Norway")
STAGES = ("subscriber", "lead", "marketingqualifiedlead", "opportunity", "customer")
SOURCES = ("ORGANIC_SEARCH", "PAID_SEARCH", "EMAIL_MARKETING", "REFERRALS", "DIRECT_TRAFFIC")


# ------------------------------------------------------------------------------------------------------------ stopwatches


@dataclass(frozen=True)
class Taken:
    """Seconds of some work: of the clock, and of the processor for this process (all threads) and for the sandbox."""

    wall_s: float
    cpu_s: float
    sandbox_s: float | None = None

    def __str__(self) -> str:
        beside = "" if self.sandbox_s is None else f" {self.sandbox_s:7.2f} s CPU of the sandbox"
        return f"{self.wall_s:7.2f} s wall {self.cpu_s:7.2f} s CPU{beside}"


def timed(work: Callable[[], Any], *, sandbox: int | None = None) -> tuple[Any, Taken]:
    """The result of some work and what it took, also of the sandbox with this process id."""
    wall_s, cpu_s, beside_s = time.perf_counter(), time.process_time(), _cpu_s(sandbox)
    result = work()
    taken_s = None if beside_s is None else (_cpu_s(sandbox) or beside_s) - beside_s
    return result, Taken(time.perf_counter() - wall_s, time.process_time() - cpu_s, taken_s)


def _cpu_s(process: int | None) -> float | None:
    """Seconds of the processor that another process has had, where the system tells."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def profiled(work: Callable[[], Any], *, is_profiled: bool, sandbox: int | None = None) -> tuple[Any, Taken]:
    """The same; prints where the time went when that is asked for."""
    profile = cProfile.Profile()
    done = timed(lambda: profile.runcall(work) if is_profiled else work(), sandbox=sandbox)
    if is_profiled:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    return done


def peak_mb() -> float:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_text() -> str:
    """How busy the machine is with others."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


# ------------------------------------------------------------------------------------------------------------ races


@dataclass(frozen=True)
class Race:
    """A bare loop against the product: what is counted, and the least part of the loop's rate that the product is to have."""

    what: str  # "contacts"
    unit: str  # "rows"
    product: str  # "pull, map, store"
    limit: float

    def tell(self, arm: str, count: int, bare: Sequence[Taken], product: Sequence[Taken], more: str = "") -> None:
        """Print both and their ratio; the better turn of each counts."""
        loop, ours = (min(turns, key=lambda each: each.wall_s) for turns in (bare, product))
        print(f"{arm}, {count:,} {self.what} ({load_text()}, {clock.now():%H:%M} UTC)")
        for name, taken, note in (("bare loop", loop, ""), (self.product, ours, more)):
            print(f"  {name:<20}{taken}   {count / taken.wall_s:7,.0f} {self.unit}/s{note}")
        ratio = loop.wall_s / ours.wall_s
        print(f"  {'ratio of rates':<20}{ratio:7.0%}   (at least {self.limit:.0%})   peak memory {peak_mb():,.0f} MB")


def race(compare: Callable[..., None], arms: Iterable[str], count: int, doc: str | None) -> None:
    """The command line of a race: `compare(arm, count, turns, is_profiled=)` for each arm that is asked for, or for all."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("count", nargs="?", type=int, default=count)
    parser.add_argument("--arm", choices=sorted(arms), action="append")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="print what the product's thread does")
    options = parser.parse_args()
    for arm in options.arm or sorted(arms):
        compare(arm, options.count, options.turns, is_profiled=options.profile)


# ------------------------------------------------------------------------------------------------------------ contacts


def phone(number: int) -> str:
    """Three of four in E.164, as systems store what they can read; the rest as people type it."""
    digits = f"{20_000_000 + number * 7 % 70_000_000:08d}"
    return f"+4930{digits}" if number % 4 else f"+49 (30) {digits[:4]}-{digits[4:]}"


def hubspot_contact(number: int) -> dict[str, Any]:
    """A contact as HubSpot's API would give it, 27 of the mapped properties filled."""
    given, family = GIVEN[number % len(GIVEN)], FAMILY[number % len(FAMILY)]
    account = number // 7
    modified = f"2026-{number % 9 + 1:02d}-{number % 28 + 1:02d}T08:{number % 60:02d}:17.{number % 1000:03d}Z"
    properties = {
        "email": f"person{number}@firm{account}.example", "phone": phone(number), "mobilephone": phone(number * 3 + 1),
        "firstname": given, "lastname": family, "jobtitle": TITLES[number % len(TITLES)], "company": f"Firm {account} GmbH",
        "country": COUNTRIES[number % len(COUNTRIES)], "state": "Berlin", "city": "Berlin", "zip": f"{10_000 + number % 4_000}",
        "address": f"Hauptstraße {number % 200}", "hs_language": "de", "date_of_birth": f"19{number % 40 + 60}-03-{number % 28 + 1:02d}",
        "hs_analytics_source": SOURCES[number % len(SOURCES)], "hs_lead_status": "OPEN", "lifecyclestage": STAGES[number % len(STAGES)],
        "hubspot_owner_id": f"{64_492_900 + number % 20}", "associatedcompanyid": f"{9_100_000_000 + account}",
        "hs_email_optout": "true" if number % 20 == 0 else "false", "hs_linkedin_url": f"https://www.linkedin.com/in/person{number}/",
        "twitterhandle": f"@person{number}", "hs_facebookid": f"{7_000_000_000 + number}", "web_cookie": f"GA1.2.{number * 7919 % 10**9}",
        "push_device_id": f"device-{number * 104_729 % 10**9}", "customer_number": f"C-{number}", "app_user_id": f"user-{number}",
        "createdate": "2024-05-01T08:00:00.000Z", "lastmodifieddate": modified,
    }  # fmt: skip
    return {
        "id": str(51_400 + number), "properties": properties, "createdAt": "2024-05-01T08:00:00.000Z", "updatedAt": modified,
        "archived": False,
    }  # fmt: skip


def salesforce_contact(number: int) -> dict[str, Any]:
    """A Contact with native field names, as the sandbox is seeded with it."""
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    native_id = "".join(letters[number // 62**place % 62] for place in range(8, -1, -1))
    modified = f"2026-{number % 9 + 1:02d}-{number % 28 + 1:02d}T08:{number % 60:02d}:17.000+0000"
    return {
        "Id": long_id(f"003QQ0{native_id}"), "Email": f"person{number}@firm{number // 7}.example", "Phone": phone(number),
        "MobilePhone": phone(number * 3 + 1), "HomePhone": phone(number * 5 + 2), "OtherPhone": phone(number * 11 + 3),
        "FirstName": GIVEN[number % len(GIVEN)], "LastName": FAMILY[number % len(FAMILY)], "Title": TITLES[number % len(TITLES)],
        "MailingCountry": COUNTRIES[number % len(COUNTRIES)], "MailingState": "Berlin", "MailingCity": "Berlin",
        "MailingPostalCode": f"{10_000 + number % 4_000}", "MailingStreet": f"Hauptstraße {number % 200}",
        "Birthdate": f"19{number % 40 + 60}-03-{number % 28 + 1:02d}", "LeadSource": "Web", "HasOptedOutOfEmail": number % 20 == 0,
        "DoNotCall": number % 50 == 0, "LinkedIn__c": f"https://www.linkedin.com/in/person{number}/", "Twitter__c": f"person{number}",
        "Web_Cookie__c": f"GA1.2.{number * 7919 % 10**9}", "Push_Device_Id__c": f"device-{number * 104_729 % 10**9}",
        "Customer_Number__c": f"C-{number}", "User_Id__c": f"user-{number}", "CreatedDate": "2024-05-01T08:00:00.000+0000",
        "LastModifiedDate": modified, "SystemModstamp": modified,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ sandbox


def _seed(directory: Path, hubspot_contacts: int, salesforce_contacts: int) -> None:
    from connector.sandbox import hubspot
    from connector.sandbox.database import transaction
    from connector.sandbox.salesforce.org import org_of
    from connector.sandbox.salesforce.seeding import load_rows
    from connector.sandbox.server import Options, open_context
    from connector.sandbox.world.setting import CUSTOM_CONTACT_PROPERTIES

    context = open_context(Options(data=directory, people=0))
    custom = [
        {"name": name, "label": label, "type": "string", "fieldType": "text"}
        for name, label in CUSTOM_CONTACT_PROPERTIES
    ]
    with transaction(context.database):
        contacts = (hubspot_contact(number) for number in range(hubspot_contacts))
        hubspot.load(context, {"properties": {"contacts": custom}, "objects": {"contacts": contacts}})
        load_rows(org_of(context), {"Contact": [salesforce_contact(number) for number in range(salesforce_contacts)]})
    context.database.close()


@contextmanager
def sandbox(
    directory: Path,
    *,
    hubspot_contacts: int = 0,
    salesforce_contacts: int = 0,
    people: int = 0,
    now: datetime | None = None,
) -> Iterator[dict[str, str]]:
    """A sandbox in a process of its own with rate limits off, its addresses and its `pid`; with these contacts, or a world of
    `people`; with `now` its history ends then, and its clock goes on from there."""
    data, ready = directory / "sandbox", directory / "sandbox.json"
    if not people:  # in a process of its own, so that our memory stays ours
        seeding = multiprocessing.get_context("spawn").Process(
            target=_seed, args=(data, hubspot_contacts, salesforce_contacts)
        )
        seeding.start()
        seeding.join()
        assert seeding.exitcode == 0, "the sandbox could not be seeded"
    command = [
        sys.executable,
        "-m",
        "connector.sandbox",
        "--data",
        str(data),
        "--people",
        str(people),
        "--ready-file",
        str(ready),
    ]
    command += ["--no-limits"] if now is None else ["--no-limits", "--now", now.isoformat()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + READY_WITHIN_S
        while not ready.exists():
            assert process.poll() is None, "the sandbox did not start"
            assert time.monotonic() < until, "the sandbox takes too long to start"
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


# ------------------------------------------------------------------------------------------------------------ the product


def configured(directory: Path, addresses: dict[str, str], kinds: Sequence[str] = ("salesforce", "hubspot")) -> Path:
    """The file that `connector init` writes, pointed at the sandbox; the secrets are in the environment from now on."""
    os.environ.update(SECRETS)
    text = starter.text(kinds, url=addresses.get("salesforce", ""), region="DE", every="15 minutes")
    if "hubspot" in kinds:
        text = text.replace('token = "env:HUBSPOT_TOKEN"', HUBSPOT_UNPACED.format(url=addresses["hubspot"]))
        text += """
[mapping.hubspot.contacts.identifiers]
cookie = ["web_cookie"]
device = ["push_device_id"]
customer_number = ["customer_number"]
user_id = ["app_user_id"]
"""
    if "salesforce" in kinds:
        text += """
[mapping.salesforce.contacts.identifiers]
cookie = ["Web_Cookie__c"]
device = ["Push_Device_Id__c"]
customer_number = ["Customer_Number__c"]
user_id = ["User_Id__c"]
"""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "connector.toml"
    file.write_text(text)
    return file


def house(file: Path) -> Setup:
    """The product as the command line builds it."""
    gc.set_threshold(cli.OBJECTS_BEFORE_A_COLLECTION)
    return app.build(config.load(file))


def installed(directory: Path, addresses: dict[str, str], arm: str, options: Mapping[str, str]) -> Setup:
    """The product, its options as an arm wants them (`salesforce_bulk`: the system's name comes first), with our fields installed."""
    system = arm.partition("_")[0]
    file = configured(directory, addresses, [system])
    if arm in options:
        section = f"[systems.{system}]"
        file.write_text(file.read_text().replace(section, f"{section}\n{options[arm]}"))
    setup = house(file)
    with pipeline.connected(setup) as (systems, _):
        steps = doctor.install(setup, setup.systems[system], systems[system], is_dry=False)
        assert not [step for step in steps if step.step == "failed"], steps
    return setup
