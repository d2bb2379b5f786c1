"""Commands that the documents show are commands that there are; those that need no CRM are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from connector import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
VERBS = {verb: cli.command(verb) for verb in cli.VERBS}
USAGE_ERROR = typer.BadParameter.__bases__[0]
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")


def _shown(language: str) -> Iterator[tuple[str, str]]:
    """(page, line) of every line in fenced blocks of a language, without its comment."""
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if line.strip() and not line.startswith("#"):
                    yield page.name, line.partition("  #")[0].strip()


SHELL = sorted(set(_shown("sh")))
INLINE = sorted(
    {
        (page.name, found)
        for page in PAGES
        for found in re.findall(r"`(connector [^`\n]+)`", page.read_text("utf-8"))
        if not re.search(r"[A-Z…\[]|\.py", found)
    }
)


def _parse(line: str) -> None:
    """Parse a command line as the program would, without running it. Raises USAGE_ERROR."""
    words = shlex.split(line)[1:]
    if words[0].startswith("--"):
        assert words[0] in ("--help", "--version")
        return
    assert words[0] in VERBS, f"there is no connector {words[0]}"
    VERBS[words[0]].make_context(words[0], words[1:])


def test_the_readme_shows_commands() -> None:
    assert len([line for page, line in SHELL if page == "README.md"]) > 10


@pytest.mark.parametrize(("page", "line"), SHELL, ids=str)
def test_a_shown_command_line_is_valid(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "connector":
        _parse(line)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    else:
        assert words[0] in ("export", "python3", ".venv/bin/pip", "."), f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), INLINE, ids=str)
def test_a_command_in_a_sentence_is_valid(page: str, line: str) -> None:
    if line.split()[1] in VERBS or line.split()[1].startswith("--"):
        _parse(line + (" x" if line == "connector explain" else ""))
    else:
        assert line.split()[1] in ("is", "sandbox"), f"{page}: {line}"


def test_a_command_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(USAGE_ERROR):
        _parse("connector plan --no-such-option")
    with pytest.raises(AssertionError):
        _parse("connector sink")


def test_the_commands_that_need_no_crm_run_in_the_order_of_the_readme(tmp_path: Path) -> None:
    secrets = dict.fromkeys(("SF_CLIENT_ID", "SF_CLIENT_SECRET", "HUBSPOT_TOKEN"), "x")
    lines = [line for page, line in SHELL if page == "README.md"]
    for line in ("connector init --yes", "connector status", "connector --version"):
        words = shlex.split(line)
        assert line.endswith("--version") or " ".join(words[:2]) in lines, line
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=os.environ | secrets | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "connector.toml").exists()


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_command_and_each_of_its_options_is_on_the_page_of_commands(verb: str) -> None:
    assert f"`connector {verb}" in COMMANDS_PAGE
    rows, at = "", ""
    for line in COMMANDS_PAGE.partition("## Options\n")[2].partition("\n## ")[0].splitlines():
        cells = line.split("|")
        if len(cells) < 3:
            continue
        at = cells[1] if cells[1].strip() else at
        rows += cells[2] if f"`{verb}`" in at else ""
    for option in VERBS[verb].params:
        for name in [name for name in option.opts if name.startswith("--") and name not in ("--config", "--help")]:
            assert f"`{name}" in rows, f"{verb} {name}"


def test_every_exit_code_of_an_error_is_on_the_page_of_commands() -> None:
    from connector import errors

    codes = {each.exit_code for each in vars(errors).values() if hasattr(each, "exit_code")}
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", COMMANDS_PAGE, re.MULTILINE)}
    assert codes < told
