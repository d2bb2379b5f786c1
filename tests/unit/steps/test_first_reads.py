"""A system that is read for the first time after others makes no tasks for what is long past."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector import pipeline
from connector.mart import Mart
from connector.state.models import Poll
from connector.steps import portions
from connector.steps.setup import Moment, Progress, Setup
from connector.summary import Summary
from tests.unit.steps.two_systems import NOW, opened, tell

CONFIG = """
[tasks.call]
when = "person.seniority = 'c_level'"
subject = "Call"
"""


class House:
    """A house that reads contacts as they are told, and computes: who gets a task, by their first name."""

    def __init__(self, setup: Setup, mart: Mart) -> None:
        self.setup, self.mart, self.at = setup, mart, NOW

    def tell(self, system: str, stream: str, native_id: str, **native: Any) -> None:
        self.at += timedelta(minutes=1)
        tell(self.mart, system, stream, native_id, native, at=self.at)

    def salesforce(self, name: str, title: str = "") -> None:
        email = f"{name.lower()}@acme.example"
        self.tell("salesforce", "contacts", name, FirstName=name, LastName="Meyer", Email=email, Title=title)

    def hubspot(self, name: str, title: str = "") -> None:
        email = f"{name.lower()}@acme.example"
        self.tell("hubspot", "contacts", name, firstname=name, lastname="Meyer", email=email, jobtitle=title)

    def fired(self, *ended: str, is_killed: bool = False) -> list[str]:
        """Compute in a run that read these systems to their end."""
        state, self.at = self.setup.state, self.at + timedelta(minutes=1)
        run = state.start_run("sync", self.at, "")
        for system in ended:
            for stream in self.setup.systems[system].streams():
                key = f"{system}|{stream.name}"
                state.set_polls([Poll(key=key, system=system, stream=stream.name, polled_at=self.at, run=run)])
        moment = Moment(run, self.at)
        pipeline.compute(self.setup, self.mart, moment, Progress(), Summary(run))
        if not is_killed:
            pipeline.remember(self.setup, self.mart, moment)
        query = "SELECT first_name FROM trigger JOIN person ON subject = person.key WHERE run = ? AND fired_at = ? ORDER BY 1"
        return [name for (name,) in self.mart.connection.execute(query, [run, self.at]).fetchall()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Ann and Bob are known from Salesforce, where neither is a chief; HubSpot was not read yet."""
    with opened(tmp_path, CONFIG) as (setup, mart):
        house = House(setup, mart)
        house.salesforce("Ann")
        house.salesforce("Bob")
        assert house.fired("salesforce") == []
        yield house


@pytest.mark.parametrize("portion", [1, 1000], ids=["in portions", "at once"])
def test_a_system_that_is_read_after_the_others_makes_no_tasks_for_the_past_and_tasks_for_what_happens_from_then_on(
    house: House, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "RECORDS", portion)
    house.hubspot("Ann", "CEO")
    house.hubspot("Cara", "CEO")
    house.hubspot("Dan")
    house.salesforce("Bob", "CEO")  # whom HubSpot does not know
    assert house.fired("salesforce", "hubspot") == ["Bob"]
    house.hubspot("Dan", "CEO")
    house.hubspot("Eve", "CEO")
    assert house.fired("hubspot") == ["Dan", "Eve"]


def test_a_first_read_that_was_cut_off_makes_no_tasks_when_it_is_gone_on_with(house: House) -> None:
    house.hubspot("Ann", "CEO")
    assert house.fired("salesforce") == []  # it did not come to its end
    house.hubspot("Cara", "CEO")
    assert house.fired("salesforce", "hubspot", is_killed=True) == []
    house.hubspot("Dan", "CEO")
    assert house.fired("hubspot") == []
    house.hubspot("Eve", "CEO")
    assert house.fired("hubspot") == ["Eve"]


def test_a_house_of_an_older_version_goes_on_making_tasks_for_what_it_reads(house: House) -> None:
    house.setup.state.set_note("first_reads", "")
    house.hubspot("Ann", "CEO")
    assert house.fired("salesforce", "hubspot") == ["Ann"]


def test_a_first_read_of_which_nothing_came_to_its_end_is_gone_on_with_as_one(tmp_path: Path) -> None:
    with opened(tmp_path, CONFIG) as (setup, mart):
        house = House(setup, mart)
        house.salesforce("Ann", "CEO")
        assert house.fired() == []
        house.salesforce("Bob", "CEO")
        assert house.fired("salesforce") == []
        house.salesforce("Cara", "CEO")
        assert house.fired("salesforce") == ["Cara"]
