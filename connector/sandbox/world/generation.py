"""`generate`: company by company, person by person, until the two systems hold as many person records as asked for."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from connector.sandbox.world import org, portal
from connector.sandbox.world.activities import record_moments, send_campaigns
from connector.sandbox.world.cast import add_cast
from connector.sandbox.world.companies import make_company
from connector.sandbox.world.deals import record_deals
from connector.sandbox.world.journey import journey_of, moments_of
from connector.sandbox.world.mailings import Marketing, prepare, send_all
from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import Company, Person, World
from connector.sandbox.world.oddities import add_nobodies, make_odd
from connector.sandbox.world.people import BUYING_FUNCTIONS, Taken, headcount_of, make_person
from connector.sandbox.world.records import Scene, register
from connector.sandbox.world.setting import set_up

#: The day of the world when the caller names none, so that tests need no clock.
DEFAULT_NOW = datetime(2026, 11, 24, tzinfo=UTC)


def generate(people: int = 4000, seed: int = 7, now: datetime = DEFAULT_NOW) -> World:
    """The company's customers and eighteen months of their traces, about `people` person records over both systems.

    The same arguments give the same bytes. Times are relative to `now` floored to its UTC day.
    """
    today = int(now.astimezone(UTC).timestamp()) // DAY_S * DAY_S
    with _no_collection():
        return _generate(people, seed, today)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of rows are made here and none is garbage: looking for garbage doubles the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _generate(people: int, seed: int, today: int) -> World:
    scene = Scene(random.Random(f"harbourline {seed}"), today)
    org.hire(scene.org, today)
    portal.hire(scene.portal, today)
    set_up(scene.portal, today)
    marketing = prepare(scene)
    taken = Taken()
    companies: list[Company] = []
    cast = add_cast(scene, marketing, taken, companies)
    while len(scene.truth) < people:
        company = make_company(scene.rng, len(companies) + 1, today, taken.names, len(scene.org.users))
        companies.append(company)
        _settle(scene, company, companies)
        _populate(scene, company, companies, taken, marketing)
        company.people.clear()  # later companies need its name and ids only
    _finish(scene)
    return World(scene.org.rows, scene.portal.world, scene.truth, scene.dirt, cast)


def _settle(scene: Scene, company: Company, earlier: list[Company]) -> None:
    """Give the company its rows in the systems that know it, under a parent where it has one."""
    parent = scene.rng.choice(earlier) if scene.chance(0.12) else company
    if company.relation != "prospect" or scene.chance(0.55):
        parent_id = parent.salesforce_id or None if parent is not company else None
        company.salesforce_id = org.add_account(scene.org, scene.rng, company, parent_id, scene.today)
    if not company.salesforce_id or scene.chance(0.85):
        parent_id = parent.hubspot_id or None if parent is not company else None
        company.hubspot_id = portal.add_company(scene.portal, scene.rng, company, parent_id, scene.today)


def _populate(scene: Scene, company: Company, earlier: list[Company], taken: Taken, marketing: Marketing) -> None:
    for _ in range(headcount_of(scene.rng, company)):
        company.people.append(make_person(scene.rng, company, scene.today, taken))
    make_odd(scene, company, earlier, taken)
    if company.deals:
        _choose_buyers(scene, company)
    for person in company.people:
        register(scene, person)
    add_nobodies(scene, company, taken)
    record_deals(scene, company)
    for person in company.people:
        live(scene, person, marketing)


def _choose_buyers(scene: Scene, company: Company) -> None:
    """Up to five people of the functions that buy: known for a while before the deal opened, and half-hearted if it is lost."""
    buyers = [person for person in company.people if person.function in BUYING_FUNCTIONS] or company.people
    opened_at = company.deals[-1].opened_at
    for person in buyers[: scene.rng.randint(1, 5)]:
        person.in_buying_group = True
        person.liveliness = max(person.liveliness, 0.6) * (0.45 if company.deals[-1].outcome == "lost" else 1.0)
        person.first_seen_at = min(person.first_seen_at, opened_at - int(scene.rng.uniform(60, 200)) * DAY_S)


def live(scene: Scene, person: Person, marketing: Marketing) -> None:
    """Let the person go through her journey, and write what the systems saw of it."""
    journey = journey_of(scene.rng, person, scene.today)
    record_moments(scene, person, moments_of(scene.rng, person, journey, scene.today), marketing)
    send_campaigns(scene, person, marketing)
    send_all(scene, person, journey, marketing)


def _finish(scene: Scene) -> None:
    """Put the streams of events into order of time, as the systems keep them."""
    world = scene.portal.world
    world.email_events.sort(key=lambda event: (event["created"], event["id"]))
    world.events.sort(key=lambda event: (event["occurredAt"], event["id"]))
    for submissions in world.submissions.values():
        submissions.sort(key=lambda one: (one["submittedAt"], one["conversionId"]))
