"""Imports keep to the contracts of pyproject.toml, and each contract fails when it is broken."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import source
from tests.architecture.source import ROOT

PACKAGE = ROOT / "connector"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
BY_ID = {contract["id"]: contract for contract in CONTRACTS}
#: contract -> a file, and an import in it that the contract forbids
MUTANTS = {
    "layers": ("plan.py", "from connector import pipeline"),
    "pure": ("scoring.py", "import requests"),
    "adapters": ("sources/salesforce.py", "from connector.sources import hubspot"),
    "sandbox": ("sandbox/faults.py", "from connector import rules"),
    "sandbox-users": ("doctor.py", "from connector.sandbox import serve"),
    "sqlmodel": ("pipeline.py", "import sqlmodel"),
    "engine": ("report/status.py", "import duckdb"),
}


def _lint(folder: Path) -> str:
    """What import-linter says about the package in a folder."""
    script = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts" in done.stdout, done.stdout + done.stderr
    return done.stdout


def _verdicts(said: str) -> dict[str, str]:
    return {
        contract["id"]: found[1]
        for contract in CONTRACTS
        if (found := re.search(rf"^{re.escape(contract['name'])} (KEPT|BROKEN)", said, re.MULTILINE))
    }


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and of its contracts."""
    shutil.copytree(PACKAGE, tmp_path / "connector", ignore=shutil.ignore_patterns("__pycache__", "*.json", "*.toml"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_all_contracts_are_kept(copy: Path) -> None:
    assert _verdicts(_lint(copy)) == dict.fromkeys(BY_ID, "KEPT")


def test_every_contract_has_a_mutant() -> None:
    assert set(MUTANTS) == set(BY_ID)


@pytest.mark.parametrize("contract", MUTANTS)
def test_a_contract_fails_on_the_import_that_it_forbids(copy: Path, contract: str) -> None:
    name, forbidden = MUTANTS[contract]
    file = copy / "connector" / name
    future = "from __future__ import annotations\n"
    file.write_text(file.read_text("utf-8").replace(future, f"{future}{forbidden}\n", 1), "utf-8")
    assert _verdicts(_lint(copy))[contract] == "BROKEN"


def test_a_module_without_a_layer_is_refused(copy: Path) -> None:
    (copy / "connector" / "nowhere.py").write_text('"""A module that nobody placed."""\n')
    assert _verdicts(_lint(copy)).get("layers") != "KEPT"


def _modules() -> set[str]:
    found = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return {f"connector.{name}" for name in found} - {"connector.__init__", "connector.__main__"}


def test_the_contracts_that_mean_all_modules_name_them_all() -> None:
    everything = _modules() - {"connector.sandbox"}
    assert set(BY_ID["sandbox"]["forbidden_modules"]) == everything
    assert set(BY_ID["sandbox-users"]["source_modules"]) == everything - {"connector.cli"}
    assert set(BY_ID["sqlmodel"]["source_modules"]) == everything - {"connector.state"}
    layers = BY_ID["layers"]["layers"]
    below_pacing = {
        f"connector.{name.strip()}" for at in layers[layers.index("pacing") + 1 :] for name in at.split("|")
    }
    leaves = {"connector.errors", "connector.clock", "connector.log", "connector.lines", "connector.section"} | {
        "connector.tomlfile"
    }
    assert set(BY_ID["pure"]["source_modules"]) == below_pacing - leaves
    assert set(BY_ID["engine"]["source_modules"]) == everything - below_pacing - {"connector.mart"} | leaves


def _imports(file: Path) -> Iterator[str]:
    for node in source.nodes(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_file_of_one_adapter_imports_a_file_of_another() -> None:
    kinds = ("salesforce", "hubspot", "memory")
    files = [file for file in (PACKAGE / "sources").glob("*.py") if file.stem.partition("_")[0] in kinds]
    assert len(files) > 10
    for file in files:
        others = [kind for kind in kinds if kind != file.stem.partition("_")[0]]
        found = [
            each for each in _imports(file) if each.startswith(tuple(f"connector.sources.{kind}" for kind in others))
        ]
        assert not found, f"{file.name}: {found}"


def test_only_the_list_of_adapters_knows_every_adapter() -> None:
    for file in source.files("connector"):
        named = {
            each.split(".")[2] for each in _imports(file) if re.match(r"connector\.sources\.(salesforce|hubspot)", each)
        }
        kinds = {name.partition("_")[0] for name in named}
        assert len(kinds) < 2 or file == PACKAGE / "sources" / "__init__.py", file
