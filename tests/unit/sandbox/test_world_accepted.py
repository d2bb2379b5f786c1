"""The invented rows pass the very validation that the imitated systems put on a client, and load completely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from connector.sandbox import hubspot, salesforce
from connector.sandbox.context import Context, make_context
from connector.sandbox.database import open_database
from connector.sandbox.hubspot.catalog import catalog_of
from connector.sandbox.hubspot.values import normalised
from connector.sandbox.salesforce.org import org_of
from connector.sandbox.salesforce.schema import TEXT_TYPES, Field
from connector.sandbox.world import World, generate

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)

_PATTERNS = {
    "datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "email": re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[A-Za-z0-9-]{2,}"),
    "reference": re.compile(r"[0-9A-Za-z]{18}"),
    "id": re.compile(r"[0-9A-Za-z]{18}"),
}
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "int": int,
    "double": (int, float),
    "currency": (int, float),
    "percent": (int, float),
}


@pytest.fixture(scope="module")
def world() -> World:
    return generate(2500, 7, NOW)


@pytest.fixture(scope="module")
def context(world: World) -> Iterator[Context]:
    context = make_context(open_database(None))
    for system, part in ((salesforce, world.salesforce), (hubspot, world.hubspot)):
        system.create_tables(context)
        system.load(context, part)
    yield context
    context.database.close()


def _problem(field: Field, value: Any) -> str:
    expected = _PYTHON_TYPES.get(field.type)
    if expected is not None:
        return (
            "" if isinstance(value, expected) and (field.type == "boolean" or not isinstance(value, bool)) else "type"
        )
    if not isinstance(value, str):
        return "not text"
    if field.type in TEXT_TYPES and field.length and len(value) > field.length:
        return "too long"
    if field.type == "picklist" and field.values and value not in field.values:
        return "not in the picklist"
    pattern = _PATTERNS.get(field.type)
    return "" if pattern is None or pattern.fullmatch(value) else f"not a {field.type}"


def test_every_salesforce_value_fits_its_field(world: World, context: Context) -> None:
    schema = org_of(context).schema
    problems = set()
    for sobject, rows in world.salesforce.items():
        fields = schema.objects[sobject].fields
        for row in rows:
            for name, value in row.items():
                if name not in fields:
                    problems.add((sobject, name, "no such field"))
                elif value is not None:
                    problems.add((sobject, name, _problem(fields[name], value)))
    assert {problem for problem in problems if problem[2]} == set()


def test_every_required_salesforce_field_is_filled(world: World, context: Context) -> None:
    for sobject, rows in world.salesforce.items():
        required = [one.name for one in org_of(context).schema.objects[sobject].stored if one.is_required]
        assert all(row.get(name) for row in rows for name in required)


def test_every_hubspot_value_is_text_that_its_property_accepts(world: World, context: Context) -> None:
    catalog = catalog_of(context)
    problems = set()
    for object_type, rows in world.hubspot.objects.items():
        for row in rows:
            for name, value in row["properties"].items():
                definition = catalog.find(object_type, name)
                if definition is None:
                    problems.add((object_type, name, "no such property"))
                elif value is not None and normalised(definition, value) != value:
                    problems.add((object_type, name, value))
    assert problems == set()


def test_stages_are_those_of_the_pipelines(world: World) -> None:
    stages = {kind: {stage["id"] for stage in found[0]["stages"]} for kind, found in world.hubspot.pipelines.items()}
    assert {row["properties"]["dealstage"] for row in world.hubspot.objects["deals"]} <= stages["deals"]
    assert {row["properties"]["hs_pipeline_stage"] for row in world.hubspot.objects["tickets"]} <= stages["tickets"]


def test_the_imitated_systems_hold_all_of_it_after_loading(world: World, context: Context) -> None:
    loaded = salesforce.counts(context)
    for sobject, rows in world.salesforce.items():
        own = 2 if sobject == "User" else 0  # the org's administrator and integration user
        assert loaded[sobject] == sum(not row["IsDeleted"] for row in rows) + own
    kept = hubspot.counts(context)
    for object_type, rows in world.hubspot.objects.items():
        assert kept[object_type] == sum(not row["archived"] for row in rows)
    assert _count(context, "hubspot_email_event") == len(world.hubspot.email_events)
    assert _count(context, "hubspot_event") == len(world.hubspot.events)
    assert _count(context, "hubspot_submission") == sum(map(len, world.hubspot.submissions.values()))


def _count(context: Context, table: str) -> int:
    return int(context.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
