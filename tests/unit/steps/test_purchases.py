"""A person buys what they take part in once, by however many records, roles and systems it is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector import app, config, pipeline
from connector.mart import Mart
from connector.steps import events
from connector.steps.setup import Moment, Progress, Setup
from connector.summary import Summary
from tests.unit.steps.two_systems import NOW, opened, tell

CONFIG = """
[scoring.default]
engagement = [{ on = "purchased", points = 10 }]
"""
#: The same deal, as both systems tell it.
DEAL = {
    "dealname": " acme  WMS", "amount": "18600", "deal_currency_code": "EUR", "hs_is_closed": "true", "hs_is_closed_won": "true",
    "closedate": "2026-11-01T22:30:00.000Z",
}  # fmt: skip
OPPORTUNITY = {
    "Name": "Acme WMS", "Amount": 18600, "IsClosed": True, "IsWon": True, "CloseDate": "2026-11-02",
    "LastStageChangeDate": "2026-11-09T10:00:00.000+0000",
}  # fmt: skip


class House:
    """A house that reads what it is told, computes, and says what each person bought, by their name."""

    def __init__(self, setup: Setup, mart: Mart) -> None:
        self.setup, self.mart, self.run = setup, mart, 0

    def tell(self, system: str, stream: str, native_id: str, *, is_deleted: bool = False, **native: Any) -> None:
        self.run += 1
        now = NOW + timedelta(minutes=self.run)
        tell(self.mart, system, stream, native_id, native, at=now, run=self.run, is_deleted=is_deleted)

    def bought(self) -> dict[str, int]:
        self.run += 1
        moment = Moment(self.run, NOW + timedelta(minutes=self.run))
        pipeline.compute(self.setup, self.mart, moment, Progress(), Summary(self.run))
        query = "SELECT first_name, events FROM score_line JOIN person ON subject = person.key WHERE rule LIKE '%purchased%'"
        return dict(self.mart.connection.execute(query).fetchall())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path, CONFIG) as (setup, mart):
        yield House(setup, mart)


def contact(house: House, native_id: str, name: str, email: str) -> None:
    house.tell("hubspot", "contacts", native_id, firstname=name, lastname="Meyer", email=email)


def deal(house: House, native_id: str, *contacts: str, **other: str) -> None:
    house.tell("hubspot", "deals", native_id, **{**DEAL, **other, "associations.contacts": list(contacts)})


def sold_in_salesforce(house: House, **other: Any) -> None:
    """An opportunity in which Ann takes part in two roles."""
    house.tell("salesforce", "contacts", "003A", FirstName="Ann", LastName="Meyer", Email="ann@acme.example")
    house.tell("salesforce", "opportunities", "006A", **{**OPPORTUNITY, **other})
    for role in ("00KA", "00KB"):
        house.tell("salesforce", "contact_roles", role, OpportunityId="006A", ContactId="003A", Role=role)


def test_one_contact_in_two_roles_buys_once(house: House) -> None:
    sold_in_salesforce(house)
    assert house.bought() == {"Ann": 1}


def test_two_contacts_of_one_deal_buy_once_when_they_are_one_person_and_once_each_when_they_are_not(
    house: House,
) -> None:
    contact(house, "1", "Ann", "ann@acme.example")
    contact(house, "2", "Bob", "bob@acme.example")
    deal(house, "7", "1", "2")
    assert house.bought() == {"Ann": 1, "Bob": 1}
    contact(house, "2", "Ann", "ann@acme.example")
    assert house.bought() == {"Ann": 1}
    contact(house, "2", "Bob", "bob@acme.example")
    assert house.bought() == {"Ann": 1, "Bob": 1}


@pytest.mark.parametrize(
    ("other", "events"),
    [
        ({}, 1),
        ({"Name": "ACME WMS"}, 1),
        ({"CurrencyIsoCode": "EUR"}, 1),
        ({"CurrencyIsoCode": "USD"}, 2),
        ({"Name": "Acme extension"}, 2),
        ({"Amount": 18600.5}, 2),
        ({"CloseDate": "2026-11-03"}, 2),
    ],
)
def test_a_deal_that_both_systems_hold_is_bought_once_and_one_that_only_looks_like_it_twice(
    house: House, other: dict[str, Any], events: int
) -> None:
    sold_in_salesforce(house, **other)
    contact(house, "1", "Ann", "ann@acme.example")
    deal(house, "7", "1")
    assert house.bought() == {"Ann": events}


def test_two_deals_of_one_system_that_look_alike_are_two(house: House) -> None:
    contact(house, "1", "Ann", "ann@acme.example")
    deal(house, "7", "1")
    deal(house, "8", "1")
    assert house.bought() == {"Ann": 2}


def test_when_the_deal_that_counts_changes_or_goes_the_other_one_counts_at_once(house: House) -> None:
    sold_in_salesforce(house)
    contact(house, "1", "Ann", "ann@acme.example")
    deal(house, "7", "1")
    assert house.bought() == {"Ann": 1}
    deal(house, "7", "1", amount="20000")
    assert house.bought() == {"Ann": 2}
    deal(house, "7", "1")
    assert house.bought() == {"Ann": 1}
    house.tell("hubspot", "deals", "7", is_deleted=True)
    assert house.bought() == {"Ann": 1}


def test_what_an_older_version_counted_twice_is_folded_anew_by_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold_in_salesforce(house)
    assert house.bought() == {"Ann": 1}
    house.mart.connection.execute("UPDATE engagement_day SET events = 2")
    monkeypatch.setattr(events, "RULES", events.RULES + 1)
    house.setup = app.build(config.load(house.setup.directory / "connector.toml"))
    assert house.bought() == {"Ann": 1}
