"""What is asked for and is not there is refused in words, and nothing is done instead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connector import cli, log
from connector.errors import ConnectorError
from connector.state import StateSection, open_state


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["undo", "77"], "there is no run 77", "connector status"),
        (["undo", "0", "--dry-run"], "there is no run 0", "connector status"),
        (["unfreeze", "crm|Lead|1"], "nothing of that is frozen", "connector status"),
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


def test_a_place_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "connector", "init", "--yes", "--config", "file/connector.toml"],
        cwd=tmp_path, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("✗ file/connector.toml: Not a directory\n")
