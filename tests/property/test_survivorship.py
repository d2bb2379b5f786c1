"""Golden values come from the members, are never empty where a member knows one, and depend on no order."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import ibis
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import survivorship, tables

START = datetime(2025, 1, 1, tzinfo=UTC)
ENGINE = ibis.duckdb.connect()
FIELDS = ("email", "first_name", "last_name", "title", "seniority", "city", "country", "street", "phone", "owner")
RULES = ("source_priority", "most_recent", "most_frequent", "longest")

records = st.lists(
    st.fixed_dictionaries(
        {
            "system": st.sampled_from(("salesforce", "hubspot", "files")),
            "owner_id": st.sampled_from(("P1", "P2")),
            "created_at": st.integers(0, 2).map(lambda days: START + timedelta(days)),
            "is_email_opted_out": st.sampled_from((None, False, True)),
            **{field: st.sampled_from((None, "", "x", "yy", "z")) for field in FIELDS},
        }
    ),
    min_size=1,
    max_size=6,
)
#: A few, as the SQL of one takes longer to make than all examples to be asked.
SECTIONS = [
    survivorship.SurvivorshipSection(systems=systems, default=rules)
    for systems, rules in (
        (("salesforce", "hubspot"), RULES),
        (("hubspot", "salesforce"), RULES[::-1]),
        (("salesforce", "hubspot"), ("most_frequent",)),
        (("hubspot", "salesforce"), ("longest", "source_priority")),
        (("salesforce", "hubspot"), ()),
    )
]
sections = st.sampled_from(SECTIONS)


STORED = {
    "record": tables.record_schema("person"),
    "membership": tables.MEMBERSHIP,
    "account_membership": tables.MEMBERSHIP,
    "record_version": tables.RECORD_VERSION,
}


def store(name: str, rows: list[dict[str, Any]]) -> None:
    ENGINE.con.register("arriving", pa.Table.from_pylist(rows, schema=STORED[name]))
    ENGINE.con.execute(f"create or replace table {name} as select * from arriving")


for each in STORED:
    store(each, [])


@cache
def compiled(chosen: int) -> str:
    """The SQL of all golden values on the stored tables, for any rows in them."""
    section = SECTIONS[chosen]
    return str(ENGINE.compile(survivorship.golden_persons(*(ENGINE.table(name) for name in STORED), section)))


def golden(rows: list[dict[str, Any]], changes: list[dict[str, Any]], statement: str) -> Any:
    store("record", rows)
    store("membership", [{"key": row["key"], "owner_id": row["owner_id"]} for row in rows])
    store("record_version", changes)
    return {row["key"]: row for row in ENGINE.con.sql(statement).to_arrow_table().to_pylist()}


@settings(max_examples=15, deadline=None)
@given(
    records,
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(FIELDS), st.integers(0, 3)), max_size=3),
    sections,
    st.randoms(),
)
def test_golden_values_come_from_members_and_depend_on_no_order(
    given_rows: list[dict[str, Any]], changes: list[tuple[int, str, int]], section: Any, shuffle: random.Random
) -> None:
    rows = [{**row, "key": f"{row['system']}|Contact|{number}"} for number, row in enumerate(given_rows)]
    by_key = {row["key"]: row for row in rows}
    versions = [
        {"record": rows[at % len(rows)]["key"], "field": field, "changed_at": START + timedelta(days)}
        for at, field, days in changes
    ]
    statement = compiled(SECTIONS.index(section))
    result = golden(rows, versions, statement)
    assert golden(shuffle.sample(rows, len(rows)), shuffle.sample(versions, len(versions)), statement) == result
    assert set(result) == {row["owner_id"] for row in rows}
    for owner, row in result.items():
        members = [each for each in rows if each["owner_id"] == owner]
        provenance = json.loads(row["provenance"])
        assert set(provenance) == {each for each in (*FIELDS, "is_email_opted_out") if row[each] is not None}
        for field, key in provenance.items():
            assert by_key[key]["owner_id"] == owner
            assert row[field] == by_key[key][field] != ""
        for field in ("email", "phone", "owner", "title", "city"):
            assert (row[field] is None) == all(not each[field] for each in members)
        assert len({provenance[each] for each in ("city", "country", "street") if each in provenance}) <= 1
        assert row["is_email_opted_out"] == max((each["is_email_opted_out"] for each in members), key=_strictness)


def _strictness(value: bool | None) -> int:
    return (None, False, True).index(value)
