"""The pages that list options list those that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connector.cli import example
from connector.model import Adapter
from connector.sources import ADAPTERS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_of_the_configuration_page_are_what_the_models_make() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    assert example.with_tables(page) == page, "run `make docs`"


def test_a_page_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no"):
        example.with_tables("# Configuration\n")


@pytest.mark.parametrize("adapter", [each for each in ADAPTERS if each.kind != "memory"], ids=lambda each: each.kind)
def test_the_page_of_a_system_lists_its_options_with_their_defaults(adapter: Adapter) -> None:
    page = (DOCS / "connectors" / f"{adapter.kind}.md").read_text("utf-8")
    section = page.partition("## Options\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|(.*?)\|", section, re.MULTILINE)
    told = {name: default.strip() for names, default in rows for name in re.findall(r"`(\w+)`", names)}
    options = dict(example.options(adapter.options))
    assert set(told) == set(options) - {"kind"}
    for name, default in told.items():
        value = example.default_of(options[name])
        if value not in (None, "") and name != "timeout":
            assert default == f"`{example.toml(value)}`", name


@pytest.mark.parametrize("adapter", [each for each in ADAPTERS if each.kind != "memory"], ids=lambda each: each.kind)
def test_the_page_of_a_system_names_its_streams_and_what_it_writes(adapter: Adapter) -> None:
    page = (DOCS / "connectors" / f"{adapter.kind}.md").read_text("utf-8")
    written = [field for fields in adapter.capabilities.outputs.values() for field in fields.values()]
    names = [*(stream.name for stream in adapter.streams), *written, adapter.capabilities.task_key[1]]
    assert not [name for name in names if f"`{name}`" not in page]
