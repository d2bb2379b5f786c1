"""What is told of a person's records that went into others, and of what they do not want."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow as pa
import pytest

from connector import identity, mapping, tables
from connector.mart import Mart, MartSection, open_mart
from connector.mart.ingest import Group, ingest
from connector.model import Kind
from connector.report import consent, former
from connector.report import explain as explaining
from connector.report.former import CONVERTED, MERGED, Went
from connector.report.known_by import known_by

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
OBJECTS = {"contacts": "Contact", "leads": "Lead"}
FIRST, SECOND, THIRD = (f"salesforce|Contact|{number}" for number in (1, 2, 3))


@pytest.fixture
def mart(tmp_path: Path) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path) as opened:
        yield opened


def pull(
    mart: Mart, native_id: str, stream: str = "contacts", merged_into: str | None = None, hours: int = 0, **native: Any
) -> None:
    row = {
        "native_id": native_id, "object_type": OBJECTS[stream], "created_at": NOW, "modified_at": NOW + timedelta(hours=hours),
        "is_deleted": merged_into is not None, "merged_into": merged_into, "native": orjson.dumps(native).decode(),
    }  # fmt: skip
    page = pa.Table.from_pylist([row], schema=tables.PAGE)
    rules = mapping.load("salesforce", {})[stream]
    mapped = mapping.apply(page, rules, system="salesforce", region="DE", outputs=(), now=NOW)
    ingest(mart, Group("salesforce", stream, Kind.PERSON, (mapped,), 1, 0, None), run=1, now=NOW)


def test_records_that_were_merged_away_and_converted_leads_went_to_the_one_that_is_left(mart: Mart) -> None:
    for number in ("1", "2", "3"):
        pull(mart, number)
    pull(mart, "9", "leads", IsConverted=True, ConvertedContactId="3")
    pull(mart, "1", merged_into="2")
    pull(mart, "2", merged_into="3")
    keys = [THIRD, "salesforce|Lead|9"]
    merged = former.merged(mart, keys)
    assert former.of(mart, keys, merged) == {
        FIRST: Went(MERGED, SECOND),
        SECOND: Went(MERGED, THIRD),
        "salesforce|Lead|9": Went(CONVERTED, THIRD),
    }


def test_a_record_that_was_merged_away_leads_to_what_is_left_in_the_end_also_in_a_ring(mart: Mart) -> None:
    for number, into in (("1", "2"), ("2", "3"), ("3", None), ("4", "5"), ("5", "4")):
        pull(mart, number, merged_into=into)
    assert former.survivors(mart, "1") == {FIRST: THIRD} == former.survivors(mart, FIRST)
    assert former.survivors(mart, "3") == {}
    assert former.survivors(mart, "4") == {"salesforce|Contact|4": "salesforce|Contact|4"}
    assert former.survivors(mart, "nobody") == {}


def test_what_somebody_opted_out_of_is_told_with_each_record_that_says_so_and_since_when(mart: Mart) -> None:
    pull(mart, "1", Email="ann@x.example", HasOptedOutOfEmail=True)
    pull(mart, "2", Email="a@x.example")
    pull(
        mart, "2", hours=5, Email="a@x.example", HasOptedOutOfEmail=True, DoNotCall=True, EmailBouncedDate="2026-11-01"
    )
    pull(mart, "3", Email="b@x.example", HasOptedOutOfEmail=False)
    since = NOW + timedelta(hours=5)
    told = [(each["text"], each["record"], each["since_at"]) for each in consent.refusals(mart, [FIRST, SECOND, THIRD])]
    assert told == [
        ("opted out of e-mail", FIRST, None),
        ("opted out of e-mail", SECOND, since),
        ("opted out of calls", SECOND, since),
        ("a@x.example is dead: mail to it comes back", SECOND, since),
    ]
    assert consent.refusals(mart, [THIRD]) == []


def own(mart: Mart, record: str, person: str) -> None:
    row = {"key": record, "kind": Kind.PERSON.value, "owner_id": person}
    mart.merge("membership", pa.Table.from_pylist([row], schema=tables.MEMBERSHIP))


def test_digits_are_a_number_in_any_notation_and_a_record_s_id(mart: Mart) -> None:
    american: Any = SimpleNamespace(region="US")
    pull(mart, "1", Email="ann@x.example", Phone="+1 415 555 2671")
    pull(mart, "30000000123", Email="bob@x.example")
    own(mart, FIRST, "ANN")
    own(mart, "salesforce|Contact|30000000123", "BOB")
    for notation in (
        "415-555-2671",
        "4155552671",
        "415.555.2671",
        "415 555 2671",
        "(415) 555-2671",
        "tel:+14155552671",
    ):
        assert explaining.find(american, mart, notation) == ["ANN"], notation
    assert explaining.find(american, mart, "30000000123") == ["BOB"]
    pull(mart, "4155552671", Email="cid@x.example")
    own(mart, "salesforce|Contact|4155552671", "CID")
    assert explaining.find(american, mart, "4155552671") == ["ANN", "CID"]  # who is meant is not guessed
    assert explaining.find(american, mart, "555-0100") == []


def test_each_identifier_is_told_once_with_who_has_it_and_why_it_joins_nobody(mart: Mart) -> None:
    section = identity.IdentitySection(hard_holders=2, blocked=("@partner.example",))
    pull(mart, "1", Email="test@test.com", Phone="+1 415 555 2671", MobilePhone="+1 415 555 2672")
    pull(mart, "2", Email="ann@partner.example", Phone="+1 415 555 2671")
    pull(mart, "3", Email="bob@x.example", Phone="+1 415 555 2671")
    pull(mart, "1", Email="test@test.com", Phone="+1 415 555 2671", hours=1)
    told = {
        (each["type"], each["value"]): (each["records"], each["unused"], each["withdrawn_at"])
        for each in known_by(mart, [FIRST, SECOND], section)
    }
    nobodys = "nobody's: on the list of what is not used"
    many = "not used: 3 records have it (limit 2)"
    assert told.pop(("phone", "+14155552672")) == ([FIRST], "", NOW)
    assert told == {
        ("email", "test@test.com"): ([FIRST], nobodys, None),
        ("email", "ann@partner.example"): ([SECOND], nobodys, None),
        ("email_base", "test@test.com"): ([FIRST], nobodys, None),
        ("email_base", "ann@partner.example"): ([SECOND], nobodys, None),
        ("phone", "+14155552671"): ([FIRST, SECOND], many, None),
    }
