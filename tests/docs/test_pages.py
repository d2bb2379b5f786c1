"""The pages hang together: links lead somewhere, errors and layers are listed, nobody's private paths are named."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from connector import errors
from connector.errors import ConnectorError
from connector.predicate import _FUNCTION_NAMES
from connector.rules import ACTIVITY_KINDS, PROPERTIES
from connector.sandbox.admin import SETTABLE
from connector.sandbox.context import Settings
from connector.sandbox.hubspot.prospect import ACTIONS as HUBSPOT_ACTIONS
from connector.sandbox.salesforce.acting import ACTIONS

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        to = (page.parent / file).resolve() if file else page
        assert to.exists(), target
        assert not anchor or anchor in _anchors(to), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_project_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:connector|docs|tests|benchmarks)/[\w/.]+\.(?:py|md|toml))`", page.read_text("utf-8"))
    assert not [name for name in named if not (ROOT / name).exists() and "acme" not in name and "0002" not in name]


def test_the_readme_says_the_seven_words_in_their_order() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    words = re.findall(r"^\| \*\*(\w+)\*\* \|", readme, re.MULTILINE)
    assert words == ["pull", "map", "resolve", "score", "stage", "plan", "deliver"]
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "flow.md").read_text("utf-8"), re.MULTILINE)
    assert [heading.lower() for heading in headings] == words


def test_every_error_is_in_the_table_with_its_exit_code() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", ARCHITECTURE, re.MULTILINE))
    declared = {
        name: str(each.exit_code)
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, ConnectorError)
    }
    assert told == declared


def test_every_layer_is_in_the_table_in_its_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["id"] == "layers")
    section = ARCHITECTURE.partition("## Layers\n")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)]
    assert rows == [[name.strip() for name in layer.split("|")] for layer in layers]


def test_the_page_of_conditions_names_every_function_kind_and_prefix() -> None:
    page = (ROOT / "docs" / "rules.md").read_text("utf-8")
    assert not [name for name in _FUNCTION_NAMES if not re.search(rf"`{name}\b", page)]
    assert not [kind for kind in ACTIVITY_KINDS if f"`{kind}`" not in page]
    assert not [prefix for prefix in PROPERTIES if f"`{prefix}." not in page]


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = re.compile(r"(?<![\w.])/(?:" + "|".join(("wor" + "k", "hom" + "e", "roo" + "t", "User" + "s")) + r")/\w")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        file = ROOT / name
        if file.exists() and file.suffix not in (".gz", ".png", ".svg"):
            found += [
                f"{name}: {line.strip()[:80]}" for line in file.read_text("utf-8").splitlines() if private.search(line)
            ]
    assert not found


def test_the_page_of_the_sandbox_names_every_switch_and_action() -> None:
    page = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
    defaults = Settings()
    told = dict(re.findall(r"^\| `((?:salesforce|hubspot|index)_\w+)` \| ([\d.]+) \|", page, re.MULTILINE))
    switches = {name: getattr(defaults, name) for name in SETTABLE}
    assert {name: float(value) for name, value in told.items()} == switches
    assert not [action for action in [*ACTIONS, *HUBSPOT_ACTIONS] if f"`{action}`" not in page]
