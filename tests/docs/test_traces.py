"""docs/traces.md tells the truth about the sandbox: what it names is there, at the share that it names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from connector.sandbox.world import World, generate

PAGE = (Path(__file__).parents[2] / "docs" / "traces.md").read_text("utf-8")


@pytest.fixture(scope="module")
def world() -> World:
    return generate()


def _rows(page: str, heading: str) -> list[list[str]]:
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_custom_field_that_the_page_names_is_filled_in_the_sandbox(world: World) -> None:
    custom = set(re.findall(r"\b\w+__c\b", PAGE))
    filled = {
        name
        for sobject in ("Lead", "Contact")
        for row in world.salesforce[sobject]
        for name, value in row.items()
        if value
    }
    assert custom == {name for name in filled if name.endswith("__c")}
    defined = {one["name"] for one in world.hubspot.properties["contacts"] if not one["name"].startswith("hs_")}
    assert all(f"*custom* `{name}`" in PAGE for name in defined)
    assert defined <= {
        name for row in world.hubspot.objects["contacts"] for name, value in row["properties"].items() if value
    }


def test_every_object_of_the_sandbox_has_a_place_on_the_page(world: World) -> None:
    for name in (*world.salesforce, *world.hubspot.objects):
        assert re.search(rf"`{name}\b", PAGE), name


def test_the_page_names_every_kind_of_email_event_and_association(world: World) -> None:
    assert all(f"`{kind}`" in PAGE for kind in {event["type"] for event in world.hubspot.email_events})
    for to_type in ("contacts", "companies"):
        ids = {
            type_id
            for kind, _, to, _, type_id in world.hubspot.associations
            if to == to_type and kind in ("deals", "tickets")
        }
        assert all(re.search(rf"\b{type_id}\b", PAGE) for type_id in ids)


def test_the_shares_of_dirt_are_those_of_the_sandbox(world: World) -> None:
    found = Counter(kind for kind, *_ in world.dirt)
    told = set()
    for kinds, shares, _ in _rows(PAGE, "How dirty it is"):
        for kind, share in zip(re.findall(r"`(\w+)`", kinds), re.findall(r"([\d.]+) %", shares), strict=False):
            told.add(kind)
            assert found[kind] / len(world.truth) * 100 == pytest.approx(float(share), rel=0.5, abs=0.3), kind
    assert told == set(found)
