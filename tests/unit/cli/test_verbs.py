"""What is asked for most is there at once: a command imports the engines that it needs, and no others."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from connector import cli

ROOT = Path(__file__).parents[3]
ENGINES = {"ibis", "duckdb", "sqlglot", "pandas", "pyarrow", "scipy", "requests", "simple_salesforce", "hubspot", "jwt"}


def _imported(directory: Path, *words: str) -> set[str]:
    """The top packages in memory after a command has ended well."""
    script = (
        "import sys; from connector.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_help_imports_neither_an_engine_nor_a_store(tmp_path: Path) -> None:
    assert not _imported(tmp_path, "--help") & (ENGINES | {"sqlalchemy", "pydantic"})


def test_status_needs_the_state_only_and_works_while_the_rest_of_the_configuration_is_broken(tmp_path: Path) -> None:
    (tmp_path / "connector.toml").write_text('[systems.crm]\nkind = "salesfroce"\n[scoring.default]\nfit = [{}]\n')
    assert not _imported(tmp_path, "status") & ENGINES
    assert "sqlalchemy" in _imported(tmp_path, "pause", "crm")


@pytest.mark.parametrize("name", cli.VERBS)
def test_a_listed_verb_is_one_that_can_be_called_and_says_what_it_does(name: str) -> None:
    verb = cli.VERBS[name]
    command = cli.command(name)
    assert command.help == inspect.cleandoc(command.callback.__doc__)
    assert verb.line.endswith(".")
    assert len(verb.line) <= 62


def test_a_verb_that_is_nearly_one_is_answered_by_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _imported(tmp_path, "snyc")
    assert "Did you mean 'sync'" in caught.value.stderr
