"""A stream that is mapped otherwise than when it was read is read from its beginning, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connector import app, config, mapping
from connector.mapping import MappingSection
from connector.steps import reads
from connector.steps.setup import Setup

CONFIG = '[systems.hubspot]\nkind = "hubspot"\ntoken = "env:HUBSPOT_TOKEN"\n\n[mapping]\nregion = "DE"\n'
PHONES = {"contacts", "companies"}


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """A house that has read everything with German numbers."""
    monkeypatch.setenv("HUBSPOT_TOKEN", "a-token")
    file = tmp_path / "connector.toml"
    file.write_text(CONFIG)
    made = app.build(config.load(file))
    reads.forget(made, made.systems["hubspot"], [])  # nothing but how its streams are mapped
    yield made
    made.state.close()


def anew(setup: Setup) -> set[str]:
    return reads.anew(setup, setup.systems["hubspot"], is_full=False)


def test_nothing_is_read_anew_when_nothing_changed(setup: Setup) -> None:
    assert anew(setup) == set()


def test_another_region_reads_anew_what_has_phone_numbers_and_nothing_else(setup: Setup) -> None:
    other = replace(setup, region="GB")
    assert anew(other) == PHONES
    reads.forget(other, other.systems["hubspot"], PHONES)
    assert (anew(other), anew(setup)) == (set(), PHONES)


def test_what_was_read_before_regions_were_kept_is_not_read_anew_for_that(setup: Setup) -> None:
    for key, known in setup.state.notes("mapping:hubspot|").items():
        setup.state.set_note(f"mapping:hubspot|{key}", known.partition("@")[0])
    assert anew(setup) == set()
    reads.forget(setup, setup.systems["hubspot"], [])
    assert anew(replace(setup, region="GB")) == PHONES


def test_a_field_that_is_mapped_from_another_reads_its_stream_anew(setup: Setup) -> None:
    section = MappingSection.model_validate({"fields": {"name": "dealname_2"}})
    connected = setup.systems["hubspot"]
    other = replace(connected, mappings=mapping.load("hubspot", {"deals": section}))
    assert reads.anew(setup, other, is_full=False) == {"deals"}


@pytest.mark.parametrize(
    ("stream", "values", "has_phones"),
    [
        ("contacts", {}, True),
        ("contacts", {"fields": {"phone": False, "mobile": False}, "identifiers": {"phone": []}}, False),
        ("contacts", {"fields": {"phone": False, "mobile": False}}, True),
        ("deals", {}, False),
        ("deals", {"fields": {"campaign": {"from": "number", "transform": "phone"}}}, True),
        ("calls", {}, False),
        ("calls", {"activity": {"links": [{"from": "hs_call_to_number", "identifier": "phone"}]}}, True),
        ("calls", {"activity": {"properties": {"phone": "hs_call_to_number"}}}, False),
    ],
)
def test_a_stream_has_phone_numbers_where_a_field_an_identifier_or_a_link_is_one(
    stream: str, values: dict[str, object], has_phones: bool
) -> None:
    section = MappingSection.model_validate(values)
    assert mapping.load("hubspot", {stream: section})[stream].has_phones == has_phones
