"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture import source
from tests.architecture.source import ROOT

FILE_LINES, TEST_FILE_LINES, FUNCTION_LINES = 400, 500, 50
SENTENCE_LINES = 40
#: file -> why it may be longer
LONG_FILES = {
    "test_identity.py": "cases of one module on one small set of people; its parts have headings",
}
#: function -> why it may be longer
LONG_FUNCTIONS = {
    "upgrade": "a migration says every column of every table, and is never changed",
}


def _functions(folder: str) -> Iterator[tuple[Path, str, int]]:
    for file in source.files(folder):
        for node in source.nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file, node.name, (node.end_lineno or 0) - node.lineno + 1


def test_files_are_short() -> None:
    limits = {"connector": FILE_LINES, "benchmarks": FILE_LINES, "docs": FILE_LINES, "tests": TEST_FILE_LINES}
    long = [
        f"{file.relative_to(ROOT)}: {lines} lines"
        for folder, limit in limits.items()
        for file in source.files(folder)
        if (lines := len(source.text(file).splitlines())) > limit and file.name not in LONG_FILES
    ]
    assert not long


def test_functions_are_short() -> None:
    found = [
        f"{file.relative_to(ROOT)} {name}: {lines} lines"
        for file, name, lines in _functions("connector")
        if lines > FUNCTION_LINES and name not in LONG_FUNCTIONS
    ]
    assert not found


def test_every_exception_is_needed() -> None:
    files = [file for folder in ("connector", "tests") for file in source.files(folder)]
    longest = {file.name for file in files if len(source.text(file).splitlines()) > FILE_LINES}
    assert set(LONG_FILES) <= longest
    long = {name for _, name, lines in _functions("connector") if lines > FUNCTION_LINES}
    assert long == set(LONG_FUNCTIONS)


def test_the_sentence_is_one_short_function_that_says_the_words_in_their_order() -> None:
    """Map has no word of its own there: what is pulled is mapped on its way, in the threads that read."""
    tree = source.tree(ROOT / "connector" / "pipeline.py")
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    sync = functions["sync"]
    assert (sync.end_lineno or 0) - sync.lineno < SENTENCE_LINES
    assert list(_said(sync, functions)) == ["pull", "resolve", "score", "stage", "plan", "deliver"]


def _said(function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """The steps that a function announces, in the order of its text; `compute` is read where it is called."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        name = ast.unparse(call.func)
        if name == "compute":
            yield from _said(functions["compute"], functions)
        elif name == "progress.say":
            yield ast.literal_eval(call.args[0])
