"""The companies that Harbourline sells to: names, sizes, places, and the buying processes they went through."""

from __future__ import annotations

import random
from collections.abc import Sequence

from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import Company, Deal
from connector.sandbox.world.spelling import ascii_of, slug_of
from connector.sandbox.world.words import Country, words

#: How far the recorded past reaches.
HISTORY_S = 548 * DAY_S

_RELATIONS = ("customer", "won", "lost", "open", "prospect")
_RELATION_WEIGHTS = (16, 11, 10, 11, 52)
_LOCAL_PARTS = ("first.last", "f.last", "flast", "first")


def make_company(rng: random.Random, number: int, today: int, taken_names: set[str], owners: int) -> Company:
    """A company that no other has the name or the domain of."""
    lists = words()
    country = lists.countries[lists.country.pick(rng)]
    industry = lists.industry.pick(rng)
    stem = _stem_of(rng, country, industry["words"], taken_names)
    relation = rng.choices(_RELATIONS, _RELATION_WEIGHTS)[0]
    is_old = relation in ("customer", "lost") or rng.random() < 0.3
    known_since = today - int(rng.uniform(560, 1900) if is_old else rng.uniform(20, 900)) * DAY_S
    company = Company(
        number=number,
        name=f"{stem} {rng.choice(country.suffixes)}",
        domain=f"{slug_of(stem)}.example",
        country=country.code,
        city=rng.choice(country.cities),
        street=f"{rng.choice(country.streets)} {rng.randint(1, 180)}",
        industry=industry,
        employees=max(3, int(rng.lognormvariate(5.2, 1.4))),
        switchboard="",
        relation=relation,
        owner=rng.randrange(owners),
        known_since=known_since,
        local_part=rng.choices(_LOCAL_PARTS, (60, 20, 10, 10))[0],
    )
    company.switchboard = landline_of(country, company.city[3], number, 0)
    company.deals = _deals_of(rng, company, today)
    return company


def _stem_of(rng: random.Random, country: Country, nouns: Sequence[str], taken: set[str]) -> str:
    lists = words()
    for attempt in range(40):
        parts = [rng.choice(lists.stems), rng.choice(nouns)]
        if attempt > 3:
            parts.insert(1, rng.choice(lists.stems))
        if attempt > 12:
            parts.insert(2, rng.choice(country.cities)[0])
        stem = " ".join(parts)
        if slug_of(stem) not in taken:
            taken.add(slug_of(stem))
            return stem
    stem = f"{stem} {len(taken)}"
    taken.add(slug_of(stem))
    return stem


def landline_of(country: Country, area: str, company: int, extension: int) -> str:
    """The E.164 number of a company's switchboard (extension 0) or of a desk behind it."""
    size = 10 ** (country.landline_digits - 3)
    line = 2 * size + company * 7919 % (2 * size)
    return f"+{country.calling_code}{area}{line}{extension:02}"


def mailbox_of(style: str, given: str, family: str) -> str:
    """The local part of a work address in the company's style."""
    first, last = ascii_of(given).replace(" ", ""), ascii_of(family).replace(" ", "-")
    return {"first.last": f"{first}.{last}", "f.last": f"{first[:1]}.{last}", "flast": f"{first[:1]}{last}"}.get(
        style, first
    )


def _deals_of(rng: random.Random, company: Company, today: int) -> list[Deal]:
    relation, since = company.relation, company.known_since
    first = max(since, today - HISTORY_S) // DAY_S
    last = today // DAY_S
    amount = int(4_000 + company.employees**0.75 * rng.uniform(90, 260)) // 100 * 100
    deals = []
    if relation == "customer":
        opened = since // DAY_S + rng.randint(20, 60)
        closed = min(opened + rng.randint(40, 160), first - 1)
        deals.append(Deal(opened * DAY_S, max(closed, opened) * DAY_S, "won", amount, is_renewal=False))
        if rng.random() < 0.5:
            opened = rng.randint(first + 60, last - 20)
            closed = opened + rng.randint(15, 70)
            outcome = "open" if closed >= last else rng.choices(("won", "lost"), (80, 20))[0]
            deals.append(
                Deal(
                    opened * DAY_S,
                    max(closed, last + 5 if outcome == "open" else 0) * DAY_S,
                    outcome,
                    amount // 300 * 100,
                    is_renewal=True,
                )
            )
    elif relation in ("won", "lost"):
        closed = rng.randint(min(first + 90, last - 8), last - 5)
        opened = max(since // DAY_S, closed - rng.randint(35, 170))
        deals.append(Deal(opened * DAY_S, closed * DAY_S, relation, amount, is_renewal=False))
    elif relation == "open":
        opened = max(since // DAY_S, last - rng.randint(5, 140))
        deals.append(Deal(opened * DAY_S, (last + rng.randint(10, 120)) * DAY_S, "open", amount, is_renewal=False))
    return deals
