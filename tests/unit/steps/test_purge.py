"""Who is removed with a person: also what is left of records that are nobody's any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from connector import mapping, tables
from connector.mart import Mart, MartSection, erasure, open_mart
from connector.mart.ingest import Group, ingest
from connector.model import Kind
from connector.state import State, StateSection, open_state
from connector.state import erasure as state_erasure
from connector.steps import purge, suppress

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPING = mapping.load("hubspot", {})["contacts"]
NONE_LEFT = pa.table({"key": pa.array([], pa.string()), "owner_id": pa.array([], pa.string())})


@pytest.fixture
def mart(tmp_path: Path) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path) as opened:
        yield opened


def pull(mart: Mart, *rows: dict[str, Any]) -> None:
    header = {
        "object_type": "contacts",
        "created_at": NOW,
        "modified_at": NOW,
        "is_deleted": False,
        "merged_into": None,
    }
    given = [{**header, **row, "native": orjson.dumps({"email": row.get("email")}).decode()} for row in rows]
    page = pa.Table.from_pylist(given, schema=tables.PAGE)
    mapped = mapping.apply(page, MAPPING, system="hubspot", region="DE", outputs=(), now=NOW)
    ingest(mart, Group("hubspot", "contacts", Kind.PERSON, (mapped,), len(rows), 0, None), run=1, now=NOW)


def test_what_was_merged_into_a_person_or_deleted_with_their_own_address_goes_with_them(mart: Mart) -> None:
    emails = {
        "1": "ann@x.de",
        "2": "a.old@x.de",
        "3": "a.older@x.de",
        "4": "ann@x.de",
        "5": "team@x.de",
        "6": "bob@x.de",
        "7": "team@x.de",
    }
    pull(mart, *({"native_id": number, "email": email} for number, email in emails.items()))
    gone = {"2": "1", "3": "2", "4": None, "7": None}
    pull(mart, *({"native_id": number, "is_deleted": True, "merged_into": into} for number, into in gone.items()))
    members = [("1", "ANN"), ("5", "ANN"), ("6", "BOB")]
    rows = [
        {"key": f"hubspot|contacts|{number}", "kind": "person", "owner_id": owner, "component": "", "ingestion": 1}
        for number, owner in members
    ]
    mart.append("membership", pa.Table.from_pylist(rows, schema=tables.MEMBERSHIP))
    shared = {
        "key": "x",
        "record": "hubspot|contacts|6",
        "record_kind": "person",
        "type": "email",
        "value": "team@x.de",
    }
    mart.append("identifier", pa.Table.from_pylist([shared], schema=tables.IDENTIFIER))
    found = purge.person(mart, "ANN", NONE_LEFT)
    assert sorted(found.records) == [f"hubspot|contacts|{number}" for number in "12345"], (
        "7 may have been anybody's of the team"
    )
    assert ("email", "ann@x.de") in found.identifiers
    assert ("email", "team@x.de") not in found.identifiers


def test_a_record_that_was_deleted_with_a_cookie_that_only_the_person_has_goes_with_them(mart: Mart) -> None:
    own = [("cookie", "a1b2c3"), ("phone", "+49301234567")]
    natives = {"1": {"c": "A1B2C3"}, "2": {"c": "a1b2c3d4"}, "3": {"c": "a1b2c3"}, "4": {"p": "+49301234567"}}
    rows = [
        {"key": f"hubspot|contacts|{number}", "system": "hubspot", "object_type": "contacts", "native_id": number}
        | {"native": orjson.dumps(native).decode(), "deleted_at": NOW if number != "3" else None}
        for number, native in natives.items()
    ]
    mart.merge("person_record", pa.Table.from_pylist(rows, schema=tables.record_schema(Kind.PERSON)))
    identifiers = [
        {"key": value, "record": "hubspot|contacts|9", "record_kind": "person", "type": kind, "value": value}
        for kind, value in own
    ]
    mart.append("identifier", pa.Table.from_pylist(identifiers, schema=tables.IDENTIFIER))
    member = {"key": "hubspot|contacts|9", "kind": "person", "owner_id": "ANN", "component": "", "ingestion": 1}
    mart.append("membership", pa.Table.from_pylist([member], schema=tables.MEMBERSHIP))
    assert sorted(purge.person(mart, "ANN", NONE_LEFT).records) == ["hubspot|contacts|1", "hubspot|contacts|9"], (
        "a phone is shared, a longer cookie is another, and a living record is whose member it is"
    )


def test_somebody_of_whom_every_record_was_deleted_is_still_found_by_their_address(mart: Mart) -> None:
    pull(
        mart,
        *(
            {"native_id": number, "email": email}
            for number, email in {"1": "ann@x.de", "2": "bob@x.de", "3": "x@x.de"}.items()
        ),
    )
    pull(mart, {"native_id": "1", "is_deleted": True}, {"native_id": "3", "is_deleted": True, "merged_into": "1"})
    found = purge.departed(mart, ["ann@x.de"], NONE_LEFT)
    assert sorted(found.records) == ["hubspot|contacts|1", "hubspot|contacts|3"]
    assert found.identifiers == [("email", "ann@x.de")]
    assert purge.departed(mart, ["hubspot|contacts|1"], NONE_LEFT) == found
    assert purge.departed(mart, ["bob@x.de"], NONE_LEFT).records == [], "a living one has a person id"


def test_every_table_that_names_records_lets_go_of_them(mart: Mart) -> None:
    named = [name for name, schema in tables.TABLES.items() if "record" in schema.names]
    for name in named:
        mart.connection.execute(f"INSERT INTO {name} (record) VALUES ('hubspot|contacts|1'), ('hubspot|contacts|2')")
    erasure.erase_in(mart, ["hubspot|contacts|1"], [])
    held = {name: mart.arrow(mart.table(name).select("record"))["record"].to_pylist() for name in named}
    assert held == {name: ["hubspot|contacts|2"] for name in named}


def test_the_history_of_a_persons_case_goes_with_it_and_that_of_others_forgets_the_person(mart: Mart) -> None:
    ann, bob = "hubspot|contacts|1", "hubspot|contacts|6"
    for number, person in (("7", ann), ("8", bob)):
        case = {"key": f"hubspot|tickets|{number}", "system": "hubspot", "object_type": "tickets", "native_id": number}
        mart.merge(
            "case_record", pa.Table.from_pylist([case | {"person": person}], schema=tables.record_schema(Kind.CASE))
        )
    history = [("7", "status", "open"), ("7", "person", bob), ("8", "person", ann), ("8", "status", "open")]
    rows = [
        {"key": f"{number}|{name}|{value}", "record": f"hubspot|tickets|{number}", "field": name, "value": value}
        for number, name, value in history
    ]
    mart.append("record_version", pa.Table.from_pylist(rows, schema=tables.RECORD_VERSION))
    erasure.erase_in(mart, [ann], [])
    assert mart.arrow(mart.table("case_record").select("native_id"))["native_id"].to_pylist() == ["8"]
    assert mart.arrow(mart.table("record_version").select("key"))["key"].to_pylist() == ["8|status|open"]


def test_what_is_learned_to_have_been_merged_into_somebody_who_was_purged_is_kept_out_and_what_was_held_of_it_goes(
    mart: Mart, tmp_path: Path
) -> None:
    state = open_state(StateSection(), tmp_path)
    pull(mart, *({"native_id": number, "email": f"{number}@x.de"} for number in "123"))
    pull(mart, {"native_id": "3", "is_deleted": True, "merged_into": "1"})
    members = [
        {"key": f"hubspot|contacts|{number}", "kind": "person", "owner_id": owner, "component": "", "ingestion": 1}
        for number, owner in (("1", "OLD"), ("2", "BOB"))
    ]
    mart.append("membership", pa.Table.from_pylist(members, schema=tables.MEMBERSHIP))
    for owner in ("OLD", "BOB"):
        mart.connection.execute(f"INSERT INTO score (subject) VALUES ('{owner}')")
    purged = state_erasure.hashed(state_erasure.key_of(state), state_erasure.RECORD, "hubspot|contacts|9")
    state_erasure.suppress(state, "purge", {purged: state_erasure.RECORD})
    header = {"object_type": "contacts", "created_at": NOW, "modified_at": NOW, "native": "{}", "is_deleted": True}
    rows = [{**header, "native_id": number, "merged_into": into} for number, into in (("1", "9"), ("2", None))]
    page = pa.Table.from_pylist(rows, schema=tables.PAGE)
    mapped = mapping.apply(page, MAPPING, system="hubspot", region="DE", outputs=(), now=NOW)
    less = suppress.load(state).without(mapped, Kind.PERSON)
    assert less.records["native_id"].to_pylist() == ["2"]
    assert (less.filtered, less.kept_out) == (1, ["hubspot|contacts|1"])
    purge.forget(state, mart, less.kept_out)
    held = mart.arrow(mart.table("person_record").select("native_id"))["native_id"].to_pylist()
    assert held == ["2"]
    assert mart.arrow(mart.table("score").select("subject"))["subject"].to_pylist() == ["BOB"]
    again = suppress.load(state).without(
        mapping.apply(page.slice(0, 1), MAPPING, system="hubspot", region="DE", outputs=(), now=NOW), Kind.PERSON
    )
    assert again.records.num_rows == 0, "and by its own key from then on"


def _visit(record: str) -> pa.Table:
    """A page view of this record."""
    row = {"key": f"{record}|view", "system": "hubspot", "native_id": "view", "kind": "page_viewed", "record": record}
    return pa.Table.from_pylist([row], schema=tables.ACTIVITY)


def _contact(**values: Any) -> mapping.Mapped:
    header = {"object_type": "contacts", "created_at": NOW, "modified_at": NOW, "is_deleted": False}
    row = {**header, "native_id": "1", "merged_into": None, "native": orjson.dumps(values).decode()}
    page = pa.Table.from_pylist([row], schema=tables.PAGE)
    return mapping.apply(page, MAPPING, system="hubspot", region="DE", outputs=(), now=NOW)


def _purged(state: State) -> None:
    """Ann, by her address, of whom no record was known."""
    state_erasure.suppress(
        state, "purge", {state_erasure.hashed(state_erasure.key_of(state), "email", "ann@x.de"): "email"}
    )


def test_a_visit_that_came_before_the_record_that_tells_whose_it_is_goes_with_it(mart: Mart, tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    _purged(state)
    for number in "12":
        mart.append("activity", _visit(f"hubspot|contacts|{number}"))
    less = suppress.load(state).without(_contact(email="ann@x.de"), Kind.PERSON)
    assert less.kept_out == ["hubspot|contacts|1"]
    purge.forget(state, mart, less.kept_out)
    assert mart.arrow(mart.table("activity").select("record"))["record"].to_pylist() == ["hubspot|contacts|2"]


def test_what_a_pull_reads_of_somebody_whom_it_has_just_recognised_is_kept_out_too(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    _purged(state)
    heeded = suppress.load(state)
    person = heeded.without(_contact(email="ann@x.de"), Kind.PERSON)
    assert person.records.num_rows == 0
    visits = replace(person, activities=_visit("hubspot|contacts|1"), filtered=0, kept_out=[])
    less = heeded.without(visits, Kind.ACTIVITY)
    assert (less.activities.num_rows, less.filtered, less.kept_out) == (0, 1, ["hubspot|contacts|1"])


def test_a_visit_is_all_that_an_older_pair_has_of_somebody_who_was_purged_and_it_goes(
    mart: Mart, tmp_path: Path
) -> None:
    state = open_state(StateSection(), tmp_path)
    key = state_erasure.hashed(state_erasure.key_of(state), state_erasure.RECORD, "hubspot|contacts|1")
    for number in "12":
        mart.append("activity", _visit(f"hubspot|contacts|{number}"))
    assert purge.enforce(state, mart, tmp_path / "mart.duckdb") == 0, "nobody was purged"
    state_erasure.suppress(state, "purge", {key: state_erasure.RECORD})
    assert purge.enforce(state, mart, tmp_path / "mart.duckdb") == 1
    assert mart.arrow(mart.table("activity").select("record"))["record"].to_pylist() == ["hubspot|contacts|2"]


def test_an_id_goes_with_the_record_that_carries_it_or_to_who_is_left_of_its_person(mart: Mart) -> None:
    gone, left = "hubspot|contacts|1", "hubspot|contacts|2"
    others = [("hubspot|contacts|3", "NEXT", 7), (left, "NEXT", 5), ("hubspot|contacts|4", "BOB", 6)]
    rows = [
        {"key": key, "kind": "person", "owner_id": owner, "component": "", "ingestion": number}
        for key, owner, number in [(gone, "NEXT", 1), *others]
    ]
    mart.append("membership", pa.Table.from_pylist(rows, schema=tables.MEMBERSHIP))
    carriers = {"NEXT": (gone, gone), "FORMER": (gone, gone), "BOB": ("hubspot|contacts|4", gone), "CY": (left, left)}
    issued = [
        {"key": key, "kind": "person", "anchor": anchor, "ingestion": 1, "minted_by": minter}
        for key, (anchor, minter) in carriers.items()
    ]
    mart.append("issued", pa.Table.from_pylist(issued, schema=tables.ISSUED))
    mart.connection.execute("ALTER TABLE trigger ADD COLUMN anchor VARCHAR")  # as a copy of an older version has it
    for owner in carriers:
        mart.connection.execute(
            f"INSERT INTO trigger (key, subject, anchor) VALUES ('{owner}|call', '{owner}', '{gone}')"
        )
        mart.connection.execute(f"INSERT INTO stage_interval (key, subject) VALUES ('{owner}|x', '{owner}')")
    erasure.erase_in(mart, [gone], [])
    held = mart.arrow(mart.table("issued").select("key", "anchor", "minted_by")).to_pylist()
    assert sorted(map(tuple, (row.values() for row in held)), key=str) == [
        ("BOB", "hubspot|contacts|4", None), ("CY", left, left), ("NEXT", left, None),
    ]  # fmt: skip
    told = mart.connection.execute("SELECT subject, anchor FROM trigger ORDER BY subject").fetchall()
    assert told == [("BOB", "BOB"), ("CY", "CY"), ("NEXT", "NEXT")]
    assert sorted(mart.arrow(mart.table("stage_interval").select("subject"))["subject"].to_pylist()) == [
        "BOB",
        "CY",
        "NEXT",
    ]
