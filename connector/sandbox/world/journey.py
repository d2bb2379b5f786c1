"""The hidden journey behind the traces: where a person stood, when, and what happened on the way.

Nothing of this is written into a system; it only decides how often somebody reads, asks, meets and buys. People who buy
go through explore and engage first, so whoever looks at the traces can see a purchase coming.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from connector.sandbox.world.companies import HISTORY_S
from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import Deal, Moment, Person

#: How often something happens to a person of average liveliness in 30 days of a state.
RATES_PER_30_DAYS: dict[str, dict[str, float]] = {
    "unaware": {"page_view": 0.05, "todo": 0.01},
    "discover": {"page_view": 0.8, "newsletter": 0.06, "whitepaper": 0.05, "sales_email": 0.06, "call": 0.04},
    "explore": {
        "page_view": 2.2, "whitepaper": 0.22, "webinar": 0.16, "trade_show": 0.06, "sales_email": 0.3, "call": 0.12,
        "social": 0.06, "contact_us": 0.02, "todo": 0.05,
    },
    "engage": {
        "page_view": 3.6, "whitepaper": 0.2, "webinar": 0.15, "demo": 0.16, "contact_us": 0.06, "call": 0.5,
        "meeting": 0.25,
        "sales_email": 1.0, "reply": 0.5, "sms": 0.08, "social": 0.1, "note": 0.15, "todo": 0.2,
    },
    "buy": {
        "page_view": 2.6, "call": 0.8, "meeting": 0.7, "sales_email": 1.4, "reply": 0.9, "sms": 0.15, "note": 0.3,
        "todo": 0.35,
    },
    "retain": {
        "page_view": 0.4, "login": 2.4, "case": 0.1, "call": 0.08, "meeting": 0.05, "webinar": 0.03,
        "sales_email": 0.1, "reply": 0.05,
        "sms": 0.02,
    },
    "cool": {"page_view": 0.08, "sales_email": 0.03},
}  # fmt: skip

#: What a representative does; it falls into working hours.
AT_WORK = frozenset({"call", "meeting", "sales_email", "reply", "sms", "note", "todo", "case", "trade_show", "social"})


@dataclass(frozen=True, slots=True)
class Journey:
    """States in order of time: `starts[i]` is when `states[i]` began; the last one lasts until today."""

    starts: tuple[int, ...]
    states: tuple[str, ...]

    def state_at(self, at: int) -> str:
        """Where the person stood at an instant (the first state also for all time before it)."""
        return self.states[max(bisect_right(self.starts, at) - 1, 0)]


def journey_of(rng: random.Random, person: Person, today: int) -> Journey:
    """The person's way from the beginning of the recorded past, or from when she was first seen, until today."""
    start = max(person.first_seen_at, today - HISTORY_S)
    deals = person.company.deals
    if person.in_buying_group and deals and deals[-1].closed_at > today - HISTORY_S:
        steps = _steps_of_a_buyer(rng, person, deals[-1], start)
    elif person.company.relation in ("customer", "won"):
        won_at = deals[0].closed_at if deals else start
        steps = [(start, "discover"), (max(start, won_at), "retain")]
    else:
        steps = _steps_of_a_prospect(rng, start, today)
    starts, states = zip(*[step for step in steps if step[0] <= today], strict=True)
    return Journey(starts, states)


def _steps_of_a_buyer(rng: random.Random, person: Person, deal: Deal, start: int) -> list[tuple[int, str]]:
    opened = deal.opened_at
    before = "retain" if person.company.relation == "customer" else "unaware"
    explore = opened - int(rng.uniform(30, 70) * DAY_S)
    engage = opened - int(rng.uniform(6, 28) * DAY_S)
    steps = [
        (start, before), (explore - int(rng.uniform(30, 140) * DAY_S), "discover"), (explore, "explore"),
        (engage, "engage"),
        (opened + int(rng.uniform(2, 14) * DAY_S), "buy"),
    ]  # fmt: skip
    if deal.outcome != "open":
        steps.append((deal.closed_at, "retain" if deal.outcome == "won" or deal.is_renewal else "cool"))
    return sorted((max(at, start), state) for at, state in steps) if start > steps[1][0] else steps


def _steps_of_a_prospect(rng: random.Random, start: int, today: int) -> list[tuple[int, str]]:
    furthest = rng.choices(("unaware", "discover", "explore", "engage"), (38, 34, 20, 8))[0]
    steps, at = [(start, "unaware")], start
    for state, days in (("discover", (0, 120)), ("explore", (20, 140)), ("engage", (10, 60))):
        if steps[-1][1] == furthest:
            break
        at += int(rng.uniform(*days) * DAY_S)
        steps.append((at, state))
    if furthest != "unaware" and rng.random() < 0.75:
        steps.append((at + int(rng.uniform(15, 110) * DAY_S), "cool"))
    return [step for step in steps if step[0] <= today]


def moments_of(rng: random.Random, person: Person, journey: Journey, today: int) -> list[Moment]:
    """Everything that happened on the way but the marketing e-mails, in order of time."""
    moments = [
        Moment(kind, at)
        for state, (begin, end) in zip(journey.states, pairwise((*journey.starts, today)), strict=True)
        for kind, at in _happenings(rng, person, state, begin, end)
    ]
    moments.extend(_milestones(rng, person, today))
    moments.sort(key=lambda moment: (moment.at, moment.kind))
    return moments


def _happenings(rng: random.Random, person: Person, state: str, begin: int, end: int) -> Iterator[tuple[str, int]]:
    for kind, rate in RATES_PER_30_DAYS[state].items():
        if kind in ("login", "case") and not person.is_user:
            continue
        mean_gap_s = 30 * DAY_S / (rate * person.liveliness)
        at = begin + rng.expovariate(1.0) * mean_gap_s
        while at < end:
            moved = at_work(rng, int(at)) if kind in AT_WORK else int(at)
            if begin <= moved < end:
                yield kind, moved
            at += rng.expovariate(1.0) * mean_gap_s


def _milestones(rng: random.Random, person: Person, today: int) -> Iterator[Moment]:
    """What belongs to a buying process whatever the rates say: the demo request before it, the meetings in it."""
    if not (person.in_buying_group and person.company.deals):
        return
    deal = person.company.deals[-1]
    if deal.closed_at < today - HISTORY_S:
        return
    demo, meeting = {"won": (0.5, 0.9), "open": (0.4, 0.6), "lost": (0.25, 0.35)}[deal.outcome]
    end = min(deal.closed_at, today) - DAY_S
    if rng.random() < demo:
        yield Moment("demo", deal.opened_at - int(rng.uniform(0.5, 9) * DAY_S))
    if rng.random() < meeting and end > deal.opened_at:
        yield Moment("meeting", min(at_work(rng, rng.randint(deal.opened_at, end)), today - DAY_S // 2))
    if deal.outcome == "open" and rng.random() < 0.2:
        yield Moment("meeting", at_work(rng, today + rng.randint(1, 14) * DAY_S))


def at_work(rng: random.Random, at: int) -> int:
    """The same day, or the Friday before a weekend, at a quarter of an hour between 7:00 and 15:45 UTC."""
    day = at // DAY_S
    weekday = (day + 3) % 7  # the first day of 1970 was a Thursday
    return (day - max(weekday - 4, 0)) * DAY_S + 7 * 3600 + rng.randrange(36) * 900
