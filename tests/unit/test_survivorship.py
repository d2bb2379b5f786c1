"""Survivorship, rule by rule: which value is golden, and from which record it came."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import ibis
import pyarrow as pa
import pytest
from pydantic import ValidationError

from connector import survivorship, tables
from connector.survivorship import SurvivorshipSection

START = datetime(2025, 1, 1, tzinfo=UTC)
OLD, NEW = "salesforce|Contact|1", "hubspot|contacts|2"
SECTION = SurvivorshipSection(systems=("salesforce", "hubspot"))
ENGINE = ibis.duckdb.connect()


def table(rows: list[dict[str, Any]], schema: pa.Schema) -> Any:
    return ibis.memtable(pa.Table.from_pylist(rows, schema=schema))


def store(name: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    ENGINE.con.register("arriving", pa.Table.from_pylist(rows, schema=schema))
    ENGINE.con.execute(f"create or replace table {name} as select * from arriving")


@cache
def compiled(kind: str, section: str) -> str:
    """The golden rows of the stored tables as SQL: most tests ask by the same section."""
    rules, versions, members = (
        SurvivorshipSection.model_validate_json(section),
        ENGINE.table("record_version"),
        ENGINE.table("membership"),
    )
    if kind == "person":
        golden_rows = survivorship.golden_persons(
            ENGINE.table("person_record"), members, ENGINE.table("account_membership"), versions, rules
        )
    else:
        golden_rows = survivorship.golden_accounts(ENGINE.table("account_record"), members, members, versions, rules)
    assert golden_rows.schema().to_pyarrow().equals(tables.PERSON if kind == "person" else tables.ACCOUNT)
    return str(ENGINE.compile(golden_rows))


def version(record: str, field: str, days: int) -> dict[str, Any]:
    return {"record": record, "field": field, "changed_at": START + timedelta(days)}


def golden(
    *records: dict[str, Any],
    section: SurvivorshipSection = SECTION,
    versions: list[dict[str, Any]] | None = None,
    kind: str = "person",
    accounts: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The golden row of one owner with these records; the first was created first, in Salesforce, the next in HubSpot."""
    headers = [
        {"key": OLD, "system": "salesforce", "created_at": START},
        {"key": NEW, "system": "hubspot", "created_at": START + timedelta(days=1)},
    ]
    rows = [{**header, **fields} for header, fields in zip(headers, records, strict=False)]
    members = [{"key": each["key"], "kind": kind, "owner_id": "X1"} for each in rows]
    others = [{"key": key, "kind": "account", "owner_id": owner} for key, owner in (accounts or {}).items()]
    store(f"{kind}_record", tables.record_schema(kind), rows)
    store("membership", tables.MEMBERSHIP, members + (others if kind == "account" else []))
    store("account_membership", tables.MEMBERSHIP, others)
    store("record_version", tables.RECORD_VERSION, versions or [])
    result = ENGINE.con.sql(compiled(kind, section.model_dump_json())).to_arrow_table()
    result = result.cast(tables.PERSON if kind == "person" else tables.ACCOUNT)
    (row,) = result.to_pylist()
    return dict(row)


def test_the_most_recent_value_wins() -> None:
    assert golden({"title": "Clerk"}, {"title": "Head of Sales"})["title"] == "Head of Sales"


def test_recency_is_of_the_field_and_not_of_the_record() -> None:
    row = golden({"phone": "1", "mobile": "3"}, {"phone": "2", "mobile": "4"}, versions=[version(OLD, "phone", 9)])
    assert (row["phone"], row["mobile"]) == ("1", "4")


def test_an_empty_value_never_wins() -> None:
    row = golden({"phone": "1", "company": "Acme"}, {"phone": "", "company": None}, versions=[version(NEW, "phone", 9)])
    assert (row["phone"], row["company"]) == ("1", "Acme")


def test_an_address_comes_from_one_record() -> None:
    row = golden({"street": "Main St 1", "city": "Oslo", "country": "NO"}, {"city": "Berlin", "country": "DE"})
    assert (row["street"], row["city"], row["country"]) == (None, "Berlin", "DE")


def test_a_country_alone_does_not_push_an_address_out() -> None:
    row = golden({"street": "Main St 1", "city": "Oslo", "country": "NO"}, {"country": "DE"})
    assert (row["street"], row["city"], row["country"]) == ("Main St 1", "Oslo", "NO")


def test_a_name_comes_from_one_record_and_the_whole_one_first() -> None:
    row = golden({"first_name": "Ann", "last_name": "Meyer"}, {"last_name": "Berg"})
    assert (row["first_name"], row["last_name"], row["name"]) == ("Ann", "Meyer", "Ann Meyer")
    assert golden({})["name"] is None


def test_consent_is_the_most_restrictive_of_all_members() -> None:
    row = golden({"is_email_opted_out": True, "is_call_opted_out": False}, {"is_email_opted_out": False})
    assert (row["is_email_opted_out"], row["is_call_opted_out"], row["is_sms_opted_out"]) == (True, False, None)
    assert json.loads(row["provenance"])["is_email_opted_out"] == OLD


def test_a_dead_mailbox_loses_and_whether_it_is_dead_comes_with_the_address() -> None:
    row = golden({"email": "a@x.example"}, {"email": "b@x.example", "is_email_dead": True})
    assert (row["email"], row["is_email_dead"]) == ("a@x.example", None)
    alone = golden({"email": None}, {"email": "b@x.example", "is_email_dead": True})
    assert (alone["email"], alone["is_email_dead"]) == ("b@x.example", True)


def test_the_owner_is_that_of_the_first_system() -> None:
    assert golden({"owner": "005A"}, {"owner": "77"})["owner"] == "005A"
    assert golden({"owner": None}, {"owner": "77"})["owner"] == "77"
    other = SurvivorshipSection(systems=("hubspot", "salesforce"))
    assert golden({"owner": "005A"}, {"owner": "77"}, section=other)["owner"] == "77"


@pytest.mark.parametrize(
    ("rules", "winner"),
    [(["source_priority"], "Clerk"), (["most_recent"], "Head of Sales"), (["longest"], "Head of Sales")],
)
def test_a_field_follows_its_configured_rules(rules: list[str], winner: str) -> None:
    section = SurvivorshipSection(systems=("salesforce",), person={"job": rules})
    assert golden({"title": "Clerk"}, {"title": "Head of Sales"}, section=section)["title"] == winner


def test_the_most_frequent_value_wins_where_that_is_the_rule() -> None:
    keys = [f"s|Contact|{number}" for number in range(3)]
    rows = [{"key": key, "created_at": START, "company": name} for key, name in zip(keys, ("Z", "A", "Z"), strict=True)]
    members = [{"key": key, "owner_id": "X1"} for key in keys]
    expression = survivorship.golden_persons(
        table(rows, tables.record_schema("person")),
        table(members, tables.MEMBERSHIP),
        table([], tables.MEMBERSHIP),
        table([], tables.RECORD_VERSION),
        SurvivorshipSection(person={"company": ["most_frequent"]}),
    )
    assert ENGINE.to_pyarrow(expression)["company"].to_pylist() == ["Z"]


def test_the_smallest_record_key_decides_in_the_end() -> None:
    section = SurvivorshipSection(person={"phone": ["longest"]})
    row = golden({"phone": "1"}, {"phone": "2"}, section=section)
    assert (row["phone"], json.loads(row["provenance"])["phone"]) == ("2", NEW)


def test_every_golden_value_says_where_it_came_from() -> None:
    row = golden({"email": "a@x.example", "first_name": "Ann"}, {"phone": "1"})
    assert json.loads(row["provenance"]) == {"email": OLD, "first_name": OLD, "phone": NEW}
    assert json.loads(golden({})["provenance"]) == {}


def test_a_person_belongs_to_the_account_of_its_record() -> None:
    accounts = {"salesforce|Account|1": "A17"}
    assert golden({"account": "salesforce|Account|1"}, accounts=accounts)["account"] == "A17"
    assert golden({"account": "salesforce|Account|9"}, accounts=accounts)["account"] is None


def test_a_known_account_wins_over_an_unknown_one() -> None:
    row = golden(
        {"account": "salesforce|Account|9"}, {"account": "hubspot|companies|1"}, accounts={"hubspot|companies|1": "A17"}
    )
    assert row["account"] == "A17"


@pytest.mark.parametrize(("email", "is_free"), [("a@gmail.com", True), ("a@x.example", False), (None, None)])
def test_a_free_mail_provider_is_recognised(email: str | None, is_free: bool | None) -> None:
    assert golden({"email": email})["email_is_free"] is is_free


def test_a_person_is_as_old_as_its_oldest_record() -> None:
    row = golden({}, {})
    assert (row["created_at"], row["records"], row["key"]) == (START, 2, "X1")


def test_the_version_changes_with_golden_values_and_with_nothing_else() -> None:
    one = golden({"phone": "1"}, {"mobile": "2"})
    assert golden({"phone": "1"}, {"mobile": "2"})["version"] == one["version"]
    assert golden({"phone": "1", "is_converted": True}, {"mobile": "2"})["version"] == one["version"]
    assert golden({"phone": "2"}, {"mobile": "1"})["version"] != one["version"]


def test_accounts_have_golden_values_and_a_parent() -> None:
    row = golden(
        {"name": "Acme", "domain": "acme.example", "website": "https://acme.example", "parent": "salesforce|Account|7"},
        {"domain": "acme.test", "employees": 20, "annual_revenue": Decimal("10.50"), "parent": OLD},
        kind="account",
        accounts={"salesforce|Account|7": "A7"},
    )
    assert (row["name"], row["employees"], row["annual_revenue"]) == ("Acme", 20, Decimal("10.50"))
    assert (row["domain"], row["website"]) == ("acme.test", None)
    assert row["parent"] == "A7"


def test_an_account_is_never_its_own_parent() -> None:
    assert golden({"name": "Acme"}, {"parent": OLD}, kind="account")["parent"] is None


def test_dates_survive_too() -> None:
    assert golden({"birth_date": date(1980, 1, 2)}, {})["birth_date"] == date(1980, 1, 2)


@pytest.mark.parametrize(
    "given",
    [{"person": {"titel": ["longest"]}}, {"person": {"phone": ["verified"]}}, {"default": ["verified"]},
     {"account": {"name": ["oldest"]}}, {"systems": 1}],
)  # fmt: skip
def test_a_wrong_option_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SurvivorshipSection.model_validate(given)
