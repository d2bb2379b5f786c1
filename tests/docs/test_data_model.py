"""docs/data_model.md lists every table of both stores with its columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from connector import tables
from connector.state import models

PAGE = (Path(__file__).parents[2] / "docs" / "data_model.md").read_text("utf-8")
HEADER = tables.RECORD_HEADER.names


def _listed(text: str) -> dict[str, list[str]]:
    """Table -> its columns, as the page says."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", text, re.MULTILINE)
    return {
        name: (HEADER if "the header and" in columns else []) + re.findall(r"`(\w+)`", columns)
        for name, columns in rows
    }


MART, STATE = (_listed(part) for part in PAGE.split("\n## The state\n"))


def test_every_table_of_the_mart_is_listed_and_no_other() -> None:
    assert set(MART) == set(tables.TABLES)


@pytest.mark.parametrize("name", sorted(tables.TABLES))
def test_the_columns_of_a_table_of_the_mart_are_listed(name: str) -> None:
    assert MART[name] == tables.TABLES[name].names


def test_the_header_of_records_is_listed() -> None:
    line = PAGE.partition("### Header of every record\n\n")[2].partition("\n")[0]
    assert re.findall(r"`(\w+)`", line) == HEADER


def test_every_table_of_the_state_is_listed_with_its_columns() -> None:
    declared = {name: table.columns.keys() for name, table in SQLModel.metadata.tables.items()}
    assert models.Run.__tablename__ in declared
    assert declared == STATE
