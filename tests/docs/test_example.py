"""config.example.toml holds every option with its default, and loads."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from connector.cli import example
from connector.config import NAMED_SECTIONS, SINGLE_SECTIONS, load
from connector.errors import ConfigError
from connector.mapping.section import MappingSection
from connector.section import Section
from connector.sources import ADAPTERS

FILE = Path(__file__).parents[2] / "config.example.toml"
TEXT = FILE.read_text("utf-8")
SECRETS = re.findall(r'"env:(\w+)"', TEXT)
MODELS: list[type[BaseModel]] = [
    *SINGLE_SECTIONS.values(),
    *NAMED_SECTIONS.values(),
    *(adapter.options for adapter in ADAPTERS),
    MappingSection,
]


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _sections_in(part)


def _all_models() -> list[type[BaseModel]]:
    """Every model that a configuration can hold, found by walking the fields."""
    found, waiting = [], list(MODELS)
    while waiting:
        model = waiting.pop()
        if model in found:
            continue
        found.append(model)
        for field in model.model_fields.values():
            waiting += _sections_in(field.annotation)
    return found


def _switched_on(*, inside: str, options: typing.Collection[str] = ()) -> str:
    """The example with its suggestions switched on: all of the tables that match, or only those options."""
    lines, is_inside = [], False
    for line in TEXT.splitlines():
        header = re.match(r"^#?\[([^\]]+)\]", line)
        if header:
            is_inside = re.match(inside, header[1]) is not None
        suggested = re.match(r"^#(\[|[\w-]+ = )", line)
        name = line[1:].partition(" ")[0]
        wanted = suggested and is_inside and (not options or name in options)
        lines.append(line[1:] if wanted else line)
    return "\n".join(lines) + "\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a configuration, with everything that the example refers to."""
    for name in SECRETS:
        monkeypatch.setenv(name, "a-secret")
    (tmp_path / "server.key").write_text("a key")
    return tmp_path / "connector.toml"


def test_the_example_is_what_the_models_make() -> None:
    assert example.example() == TEXT, "run `make docs`"


def test_the_example_loads(place: Path) -> None:
    place.write_text(TEXT)
    config = load(place)
    assert set(config.systems) == {adapter.kind for adapter in ADAPTERS} - {"memory"}


def test_every_option_of_every_section_is_explained() -> None:
    unexplained = [
        f"{model.__name__}.{name}"
        for model in _all_models()
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert not unexplained


def test_every_option_of_every_section_stands_in_the_example() -> None:
    told = re.findall(r"^(?:#     |# |#)?([\w-]+)(?: = |: |\s{2,}\S)", TEXT, re.MULTILINE)
    missing = [
        f"{model.__name__}.{name}" for model in _all_models() for name, _ in example.options(model) if name not in told
    ]
    assert not missing


def test_every_table_of_the_example_has_exactly_the_options_of_its_model() -> None:
    blocks = dict(re.findall(r"^#?\[([\w.]+)\]\n(.*?)(?=^\n|\Z)", TEXT, re.MULTILINE | re.DOTALL))
    for shown in example.shown():
        written = re.findall(r"^#?([\w-]+) = ", blocks[shown.path], re.MULTILINE)
        apart = re.findall(r"^# ([\w-]+): .*; see \[", blocks[shown.path], re.MULTILINE)
        assert sorted(written + apart) == sorted(name for name, _ in example.options(shown.model)), shown.path


def test_what_is_not_commented_out_is_the_default_or_is_needed() -> None:
    raw = tomllib.loads(TEXT)
    for shown in example.shown():
        table = raw
        for part in shown.path.split("."):
            table = table.get(part, {})
        for name, field in example.options(shown.model):
            given = f"{shown.path}.{name}" in example.GIVEN or field.is_required()
            if name in table and not given and not any(_sections_in(field.annotation)):
                assert table[name] == example.default_of(field), f"{shown.path}.{name}"


def test_lists_that_are_not_commented_out_are_read_as_their_default(place: Path) -> None:
    place.write_text(TEXT)
    config = load(place)
    assert config.lifecycle == type(config.lifecycle)()
    assert config.writeback == type(config.writeback)()
    assert config.identity == type(config.identity)()
    assert config.tasks["call_hot_lead"].body == type(config.tasks["call_hot_lead"]).model_fields["body"].default


def test_every_suggestion_outside_of_the_systems_is_valid(place: Path) -> None:
    place.write_text(_switched_on(inside=r"(?!systems\b)"))
    assert load(place).mart.threads == 4


@pytest.mark.parametrize(
    ("instead_of", "options"),
    [
        ("", ["username", "private_key", "login_url"]),
        ("", ["refresh_token"]),
        ("client_secret", ["username", "private_key", "login_url"]),
    ],
)
def test_every_way_to_sign_in_to_salesforce_is_valid(place: Path, instead_of: str, options: list[str]) -> None:
    text = _switched_on(inside=r"systems\.salesforce$", options=options)
    place.write_text(re.sub(rf"^{instead_of} = .*SF_.*\n", "", text, flags=re.MULTILINE) if instead_of else text)
    assert load(place).systems["salesforce"]


def test_the_other_ways_to_sign_in_to_hubspot_and_the_memory_system_are_valid(place: Path) -> None:
    text = _switched_on(
        inside=r"systems\.hubspot$", options=["client_id", "client_secret", "refresh_token", "portal_id"]
    )
    place.write_text(re.sub(r"^token = .*\n", "", text, flags=re.MULTILINE))
    assert load(place).systems["hubspot"]
    place.write_text(_switched_on(inside=r"systems\.memory$"))
    assert load(place).systems["memory"]


def test_an_example_with_an_option_that_does_not_exist_would_not_load(place: Path) -> None:
    place.write_text(TEXT.replace("hard_holders", "hard_holder"))
    with pytest.raises(ConfigError, match="hard_holder"):
        load(place)
