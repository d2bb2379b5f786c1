"""The people at those companies: who they truly are, before any system wrote a part of it down."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from connector.sandbox.world.companies import mailbox_of
from connector.sandbox.world.marks import DAY_S, hex_of
from connector.sandbox.world.model import Company, Person
from connector.sandbox.world.spelling import ascii_of, slug_of
from connector.sandbox.world.words import Country, words

#: Functions that take part in buying warehouse software.
BUYING_FUNCTIONS = frozenset({"operations", "it", "procurement", "finance", "general_management"})


@dataclass(slots=True)
class Taken:
    """What may exist only once."""

    names: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)
    people: int = 0

    def free_email(self, local: str, domain: str) -> str:
        """This address, or the next free one with a number; it is taken now."""
        email, number = f"{local}@{domain}", 2
        while email in self.emails:
            email, number = f"{local}{number}@{domain}", number + 1
        self.emails.add(email)
        return email

    def free_handle(self, handle: str) -> str:
        """This handle, or the next free one with a number; it is taken now."""
        free, number = handle, 2
        while free in self.handles:
            free, number = f"{handle}{number}", number + 1
        self.handles.add(free)
        return free


def headcount_of(rng: random.Random, company: Company) -> int:
    """How many people of a company Harbourline came to know: more at big companies and at those with a deal."""
    base = rng.lognormvariate(1.1, 0.8) * (1 + min(company.employees, 5000) / 1500)
    return max(1, min(60, int(base * (1.6 if company.relation != "prospect" else 1.0))))


def make_person(rng: random.Random, company: Company, today: int, taken: Taken) -> Person:
    """One more person of a company, unlike all others in every identifier."""
    lists = words()
    country = lists.countries[company.country]
    culture = country.cultures.pick(rng)
    title = lists.title.pick(rng)
    name = (rng.choice(lists.given[culture]), rng.choice(lists.family[culture]))
    job = (rng.choice(title["names"]), title["function"], title["seniority"])
    return person_named(rng, company, taken, name, today=today, job=job)


def person_named(
    rng: random.Random, company: Company, taken: Taken, name: tuple[str, str], *, today: int, job: tuple[str, str, str]
) -> Person:
    """A person with a given name and a job (title, function, seniority); everything else is drawn."""
    given, family = name
    country = words().countries[company.country]
    taken.people += 1
    number = taken.people
    is_customer = company.relation in ("customer", "won")
    is_user = is_customer and job[1] in ("operations", "it") and rng.random() < 0.6
    oldest = max(company.known_since, today - 1500 * DAY_S)
    return Person(
        id=f"P{number:07}",
        given=given,
        family=family,
        company=company,
        title=job[0],
        function=job[1],
        seniority=job[2],
        work_email=taken.free_email(mailbox_of(company.local_part, given, family), company.domain),
        personal_email=taken.free_email(_nickname(rng, given, family), rng.choice(country.free_mail)),
        mobile=mobile_of(country, number),
        linkedin=taken.free_handle(f"{slug_of(given)}-{slug_of(family)}"),
        twitter=taken.free_handle(f"{ascii_of(given)[:1]}{slug_of(family).replace('-', '')}"[:13]),
        cookie=hex_of(rng, 32),
        device=hex_of(rng, 40),
        liveliness=min(rng.lognormvariate(-0.35, 0.95), 14.0),
        is_user=is_user,
        customer_number=f"HL-{200_000 + number}" if is_customer and rng.random() < 0.7 else "",
        user_id=f"u{number * 7919:09d}" if is_user else "",
        first_seen_at=int(rng.uniform(oldest, today - 2 * DAY_S)),
    )


def mobile_of(country: Country, number: int) -> str:
    """The mobile number of the `number`-th person, in E.164; no two people share one by chance."""
    prefixes, size = country.mobile_prefixes, 10**country.mobile_digits
    spread = number * 104_729 % (size * len(prefixes))
    prefix, line = prefixes[spread // size], f"{spread % size:0{country.mobile_digits}}"
    if country.code == "US":  # exchange 555 is kept for invented numbers
        line = f"555{number * 7919 % 10_000:04}"
        prefix = prefixes[(number // 10_000 + number) % len(prefixes)]
    return f"+{country.calling_code}{prefix}{line}"


def _nickname(rng: random.Random, given: str, family: str) -> str:
    first, last = ascii_of(given).replace(" ", ""), slug_of(family).replace("-", "")
    return rng.choice(
        (
            f"{first}.{last}.example",
            f"{first}{last}.sample{rng.randint(60, 99)}",
            f"{last}.{first}.hl{rng.randint(1, 99)}",
        )
    )
