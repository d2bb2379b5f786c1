"""Who names a company that was merged away works at its survivor, from the run on that reads the merge."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from connector import app, config, mapping, pipeline, tables
from connector.mart import Mart
from connector.mart.ingest import Group, ingest
from connector.model import Kind
from connector.steps import portions
from connector.steps.setup import Moment, Progress, Setup
from connector.summary import Summary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MAPPINGS = mapping.load("hubspot", {})
CONFIG = """
[systems.hubspot]
kind = "hubspot"
token = "env:HUBSPOT_TOKEN"

[scoring.default]
fit = [{ when = "account.employees >= 1000", points = 30 }]
"""
KINDS = {"companies": Kind.ACCOUNT, "contacts": Kind.PERSON}
ANN, BOB = {"firstname": "Ann", "associatedcompanyid": "1"}, {"firstname": "Bob", "associatedcompanyid": "2"}
LARGE, SMALL = {"name": "Large", "numberofemployees": "5000"}, {"name": "Small", "numberofemployees": "5"}


class Read:
    """A house that reads what it is told, and computes."""

    def __init__(self, setup: Setup, mart: Mart) -> None:
        self.setup, self.mart, self.run = setup, mart, 0

    def tell(self, stream: str, native_id: str, into: str | None = None, /, **native: Any) -> None:
        self.run += 1
        now = NOW + timedelta(minutes=self.run)
        row = {
            "native_id": native_id, "object_type": stream, "created_at": NOW - timedelta(days=90), "modified_at": now,
            "is_deleted": into is not None, "merged_into": into or None, "native": orjson.dumps(native).decode(),
        }  # fmt: skip
        page = pa.Table.from_pylist([row], schema=tables.PAGE)
        mapped = mapping.apply(page, MAPPINGS[stream], system="hubspot", region="DE", outputs=(), now=now)
        ingest(self.mart, Group("hubspot", stream, KINDS[stream], (mapped,), 1, 0, "c"), run=self.run, now=now)

    def compute(self) -> None:
        self.run += 1
        moment = Moment(self.run, NOW + timedelta(minutes=self.run))
        pipeline.compute(self.setup, self.mart, moment, Progress(), Summary(self.run))

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        return self.mart.connection.execute(query).fetchall()

    def employers(self) -> dict[str, str]:
        return dict(self.asked("SELECT p.first_name, a.name FROM person p JOIN account a ON a.key = p.account"))

    def points(self) -> dict[str, float]:
        return dict(
            self.asked("SELECT first_name, score / 1e9 FROM person JOIN score ON subject = person.key ORDER BY 1")
        )

    def parents(self) -> dict[str, str]:
        return dict(self.asked("SELECT c.name, p.name FROM account c JOIN account p ON p.key = c.parent"))


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Ann works at a large company, Bob at a small one; their scores are computed."""
    monkeypatch.setenv("HUBSPOT_TOKEN", "a-token")
    file = tmp_path / "connector.toml"
    file.write_text(CONFIG)
    setup = app.build(config.load(file))
    with setup.mart() as mart:
        read = Read(setup, mart)
        read.tell("companies", "1", **LARGE)
        read.tell("companies", "2", **SMALL)
        read.tell("contacts", "11", **ANN)
        read.tell("contacts", "12", **BOB)
        read.compute()
        assert (read.employers(), read.points()) == ({"Ann": "Large", "Bob": "Small"}, {"Ann": 30, "Bob": 0})
        yield read
    setup.state.close()


def merge(read: Read, new: str, *old: str) -> None:
    """As HubSpot merges companies: a new record stands for the old ones, and nothing is said of their contacts."""
    for each in old:
        read.tell("companies", each, new)
    read.tell("companies", new, **LARGE)


@pytest.mark.parametrize("portion", [1, 1000], ids=["in portions", "at once"])
def test_employees_of_companies_that_were_merged_work_at_the_survivor_at_once(
    read: Read, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "RECORDS", portion)
    merge(read, "3", "1", "2")
    read.compute()
    assert (read.employers(), read.points()) == ({"Ann": "Large", "Bob": "Large"}, {"Ann": 30, "Bob": 30})


def test_a_survivor_that_is_merged_on_takes_the_employees_of_all_with_it(read: Read) -> None:
    merge(read, "3", "1", "2")
    read.compute()
    merge(read, "4", "3")
    read.compute()
    assert (read.employers(), read.points()) == ({"Ann": "Large", "Bob": "Large"}, {"Ann": 30, "Bob": 30})


def test_what_changes_at_a_survivor_counts_for_those_who_name_the_company_that_was_merged_into_it(read: Read) -> None:
    merge(read, "3", "1", "2")
    read.compute()
    read.tell("companies", "3", **SMALL)
    read.compute()
    assert (read.employers(), read.points()) == ({"Ann": "Small", "Bob": "Small"}, {"Ann": 0, "Bob": 0})


def test_a_merge_whose_survivor_is_read_later_leads_there_as_soon_as_it_is(read: Read) -> None:
    read.tell("companies", "1", "3")
    read.compute()
    assert (read.employers(), read.points()) == ({"Bob": "Small"}, {"Ann": 0, "Bob": 0})
    read.tell("companies", "3", **LARGE)
    read.compute()
    assert (read.employers(), read.points()) == ({"Ann": "Large", "Bob": "Small"}, {"Ann": 30, "Bob": 0})


def test_a_company_that_comes_back_has_its_employees_again(read: Read) -> None:
    read.tell("companies", "1", "2")
    read.compute()
    assert (read.employers(), read.points()) == ({"Ann": "Small", "Bob": "Small"}, {"Ann": 0, "Bob": 0})
    read.tell("companies", "1", **LARGE)
    read.compute()
    assert (read.employers(), read.points()) == ({"Ann": "Large", "Bob": "Small"}, {"Ann": 30, "Bob": 0})


def test_employees_of_a_company_that_was_deleted_have_none_at_once(read: Read) -> None:
    read.tell("companies", "1", "")
    read.compute()
    assert (read.employers(), read.points()) == ({"Bob": "Small"}, {"Ann": 0, "Bob": 0})
    assert read.asked("SELECT first_name FROM person WHERE account IS NOT NULL") == [("Bob",)]


def test_companies_whose_parent_was_merged_away_belong_to_the_survivor_at_once(read: Read) -> None:
    read.tell("companies", "5", name="Child", hs_parent_company_id="2")
    read.compute()
    assert read.parents() == {"Child": "Small"}
    merge(read, "3", "1", "2")
    read.compute()
    assert read.parents() == {"Child": "Large"}


def test_two_merged_into_each_other_end_as_nobodys(read: Read) -> None:
    read.tell("companies", "1", "2")
    read.tell("companies", "2", "1")
    read.compute()
    assert (read.employers(), read.points()) == ({}, {"Ann": 0, "Bob": 0})
