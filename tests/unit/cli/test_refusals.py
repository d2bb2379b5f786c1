"""What is asked for and is not there is refused in words, and nothing is done instead."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from connector import cli, log
from connector.cli.house import open_house
from connector.errors import ConnectorError
from connector.state import StateSection, open_state


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["undo", "77"], "there is no run 77", "connector status"),
        (["undo", "0", "--dry-run"], "there is no run 0", "connector status"),
        (["unfreeze", "crm|Lead|1"], "nothing of that is frozen", "connector status"),
        (["unfreeze", "ann@northwind.example"], "nothing of that is frozen", "a person's e-mail"),
        (["explain", "ann@northwind.example"], "nobody is known yet", "connector sync"),
        (["purge", "ann@northwind.example"], "nobody is known yet", "connector sync"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str, hint: str
) -> None:
    monkeypatch.setattr(log, "configure", lambda section: None)  # the runner's streams end with it
    file = tmp_path / "connector.toml"
    file.write_text('[systems.crm]\nkind = "memory"\n')
    verb, *rest = words
    done = CliRunner().invoke(cli.app, [verb, "--config", str(file), *rest])
    assert isinstance(done.exception, ConnectorError), done.output
    assert said in str(done.exception)
    assert hint in done.exception.hint
    assert not open_state(StateSection(), tmp_path).last_runs(1)


@pytest.fixture
def given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[Any, str, str]]]:
    """A command line as from a shell: its exit code, output and errors (in one line)."""

    def give(*words: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["connector", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, " ".join(err.split())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    yield give
    structlog.reset_defaults()


def test_a_place_that_cannot_be_written_is_told_without_a_traceback(
    tmp_path: Path, given: Callable[..., tuple[Any, str, str]]
) -> None:
    (tmp_path / "file").touch()
    code, _, err = given("init", "--yes", "--config", "file/connector.toml")
    assert code == 1
    assert err.startswith("✗ file/connector.toml: Not a directory ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sync", "--wait", "nan"], "'--wait'"),
        (["backup", "--wait", "inf"], "no number of seconds"),
        (["apply", "plan.json", "--held"], "give it without the plan"),
        (["apply", "--held", "--force"], "give it without --force"),
        (["quarantine", "--system", "crn"], "there is no system 'crn'"),
        (["plan", "--save", "."], ". is a folder; name a file in it"),
        (["sandbox", "--ready-file", "."], ". is a folder; name a file in it"),
        (["sandbox", "--salesforce-port", "99999"], "'--salesforce-port'"),
        (["sandbox", "--hubspot-port", "-1"], "'--hubspot-port'"),
        *(([*verb, "--wait", "-1"], "'--wait'") for verb in (["pull"], ["quarantine"], ["undo", "1"], ["backup"])),
        (["quarantine", "--kind", "valeu"], "'valeu' is not one of"),
        (["explain", "ann\udcff"], "bytes that are not UTF-8"),
    ],
)
def test_words_that_would_be_passed_over_are_refused_and_nothing_is_done(
    tmp_path: Path, given: Callable[..., tuple[Any, str, str]], words: list[str], said: str
) -> None:
    (tmp_path / "connector.toml").write_text('[systems.crm]\nkind = "memory"\n')
    code, out, err = given(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_what_a_command_makes_in_the_stores_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "connector.toml"
    file.write_text('[systems.crm]\nkind = "memory"\n')
    former = os.umask(0o022)
    try:
        _, setup = open_house(file)
        with setup.mart() as mart:
            mart.connection.execute("CREATE TABLE customers (name TEXT)")
            made = sorted(tmp_path.glob("mart.duckdb*")) + sorted(tmp_path.glob("state.sqlite*"))
            assert [each.name for each in made if each.stat().st_mode & 0o077] == []
            assert "mart.duckdb.wal" in {each.name for each in made}
    finally:
        os.umask(former)
