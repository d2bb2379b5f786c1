"""`generate`: company by company, person by person, until the two systems hold as many person records as asked for."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from connector.sandbox.world import org, portal
from connector.sandbox.world.companies import make_company
from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import Company, World
from connector.sandbox.world.people import BUYING_FUNCTIONS, Taken, headcount_of, make_person
from connector.sandbox.world.records import Scene, register

#: The day of the world when the caller names none, so that tests need no clock.
DEFAULT_NOW = datetime(2026, 11, 24, tzinfo=UTC)


def generate(people: int = 4000, seed: int = 7, now: datetime = DEFAULT_NOW) -> World:
    """The company's customers and eighteen months of their traces, about `people` person records over both systems.

    The same arguments give the same bytes. Times are relative to `now` floored to its UTC day.
    """
    today = int(now.astimezone(UTC).timestamp()) // DAY_S * DAY_S
    scene = Scene(random.Random(f"harbourline {seed}"), today)
    org.hire(scene.org, today)
    portal.hire(scene.portal, today)
    taken = Taken()
    companies: list[Company] = []
    while len(scene.truth) < people:
        company = make_company(scene.rng, len(companies) + 1, today, taken.names, len(scene.org.users))
        companies.append(company)
        _settle(scene, company, companies)
        _populate(scene, company, taken)
    return World(scene.org.rows, scene.portal.world, scene.truth, scene.dirt, {})


def _settle(scene: Scene, company: Company, earlier: list[Company]) -> None:
    """Give the company its rows in the systems that know it, under a parent where it has one."""
    if company.relation != "prospect" or scene.chance(0.55):
        parent = scene.rng.choice(earlier) if scene.chance(0.12) else company
        parent_id = parent.salesforce_id or None if parent is not company else None
        company.salesforce_id = org.add_account(scene.org, scene.rng, company, parent_id, scene.today)
    if not company.salesforce_id or scene.chance(0.85):
        company.hubspot_id = portal.add_company(scene.portal, scene.rng, company, scene.today)


def _populate(scene: Scene, company: Company, taken: Taken) -> None:
    for _ in range(headcount_of(scene.rng, company)):
        company.people.append(make_person(scene.rng, company, scene.today, taken))
    if company.deals:
        buyers = [person for person in company.people if person.function in BUYING_FUNCTIONS] or company.people
        for person in buyers[: scene.rng.randint(1, 5)]:
            person.in_buying_group = True
    for person in company.people:
        register(scene, person)
