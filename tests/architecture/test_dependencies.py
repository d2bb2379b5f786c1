"""Every dependency has bounds, a reason, and a use."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture import source
from tests.architecture.source import ROOT

TEXT = (ROOT / "pyproject.toml").read_text("utf-8")
LINE = re.compile(r'^    "([A-Za-z0-9_.-]+)(?:\[[\w,]+\])?([^"]*)",(.*)$', re.MULTILINE)
_LISTS = TEXT.partition("dependencies = [\n")[2].partition("[project.scripts]")[0]
DEPENDENCIES = LINE.findall(_LISTS)
#: what a package is called when it is imported, where that is another name; "" where only others load it
IMPORTED_AS = {
    "simple-salesforce": "simple_salesforce",
    "hubspot-api-client": "hubspot",
    "pyjwt": "jwt",
    "ibis-framework": "ibis",
    "pyarrow-hotfix": "",
    "packaging": "",
    "email-validator": "email_validator",
    "pytest-xdist": "",
    "pytest-timeout": "",
    "ruff": "",
    "mypy": "",
    "import-linter": "importlinter",
    "types-requests": "",
    "pyarrow-stubs": "",
}
NEEDED = (
    "simple-salesforce", "hubspot-api-client", "requests", "tenacity", "apscheduler", "sqlmodel", "pytest", "responses",
)  # fmt: skip


def _imported() -> set[str]:
    found = set()
    for folder in ("connector", "tests", "benchmarks"):
        for file in source.files(folder):
            for node in source.nodes(file):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
            found |= set(re.findall(r"from (importlinter)\.", source.text(file)))
    return found


def test_the_dependencies_are_found() -> None:
    assert {name for name, _, _ in DEPENDENCIES} >= set(NEEDED)


@pytest.mark.parametrize(("name", "bounds", "reason"), DEPENDENCIES, ids=lambda value: value[:20])
def test_a_dependency_has_a_lower_bound_an_upper_bound_and_a_reason(name: str, bounds: str, reason: str) -> None:
    assert ">=" in bounds, name
    assert re.search(r"(?<!!)<", bounds), name
    assert re.match(r"\s+# \w.{8,}", reason), name


def test_every_dependency_is_imported_somewhere() -> None:
    imported = _imported()
    named = [(name, IMPORTED_AS.get(name, name.replace("-", "_"))) for name, _, _ in DEPENDENCIES]
    assert not [name for name, module in named if module and module not in imported]


def test_nothing_is_imported_that_is_not_a_dependency() -> None:
    import sys

    declared = {IMPORTED_AS.get(name, name.replace("-", "_")) for name, _, _ in DEPENDENCIES}
    ours = {"connector", "tests", "benchmarks", "_stage"}
    with_them = {"pydantic_core": "pydantic", "rich": "rich"}
    unknown = {name for name in _imported() if name not in declared | ours and name not in sys.stdlib_module_names}
    assert {name for name in unknown if with_them.get(name) not in declared} == set()
