"""One word per idea, and none of the words that say nothing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import source
from tests.architecture.source import ROOT

FOLDERS = ("connector", "benchmarks", "docs")
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "handler", "misc"}
#: words that stand for an idea which has another name here (docs/data_model.md and docs/flow.md say which)
OTHER_WORDS = {"provider", "platform", "bookmark", "watermark", "chunk", "lineage", "dlq", "warehouse", "dedupe"}
ABBREVIATIONS = {
    "cfg", "ctx", "mgr", "conn", "msg", "req", "resp", "tmp", "idx", "cnt", "num", "fn", "cb", "val", "obj", "attr",
    "elem", "prev", "curr", "info", "buf", "dst", "dest", "opp", "acc",
}  # fmt: skip
#: names that are a vendor's, or a library's
GIVEN_NAMES = {"user_info"}
MARKS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")


def _files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in source.files(folder)]


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def _names(file: Path) -> Iterator[str]:
    """What a file defines: classes, functions, arguments, variables."""
    for node in source.nodes(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_no_module_class_or_function_is_named_by_a_word_that_says_nothing() -> None:
    found = []
    for file in _files(*FOLDERS):
        classes = [node.name for node in source.nodes(file) if isinstance(node, ast.ClassDef)]
        parts = file.relative_to(ROOT).with_suffix("").parts
        found += [f"{file}: {name}" for name in (*classes, *parts) if _words(name) & EMPTY_WORDS]
    assert not found


def test_an_idea_is_called_by_its_own_word() -> None:
    files = [file for file in _files("connector") if "sandbox" not in file.parts]
    found = [f"{file.name}: {name}" for file in files for name in _names(file) if _words(name) & OTHER_WORDS]
    assert not found


def test_names_are_not_abbreviated() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in _files(*FOLDERS)
        for name in set(_names(file))
        if _words(name) & ABBREVIATIONS and name not in GIVEN_NAMES
    ]
    assert not found


def test_yes_or_no_fields_of_tables_read_as_claims() -> None:
    import pyarrow as pa

    from connector import tables

    claims = ("is_", "has_", "allows_", "email_is_")
    found = [
        f"{name}.{column.name}"
        for name, schema in tables.TABLES.items()
        for column in schema
        if pa.types.is_boolean(column.type) and not column.name.startswith(claims)
    ]
    assert not found


def test_instants_end_in_at() -> None:
    import pyarrow as pa

    from connector import tables

    found = [
        f"{name}.{column.name}"
        for name, schema in tables.TABLES.items()
        for column in schema
        if pa.types.is_timestamp(column.type) and not column.name.endswith("_at")
    ]
    assert not found


def test_a_broad_except_stands_around_a_system_and_around_the_keyring_alone() -> None:
    broad = []
    for file in _files(*FOLDERS):
        for node in source.nodes(file):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            ):
                broad.append(str(file.relative_to(ROOT)))
    assert sorted(broad) == ["connector/steps/boundary.py", "connector/tomlfile.py"]


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_no_comment_is_a_note_of_what_is_missing(folder: str) -> None:
    found = []
    for file in _files(folder):
        for token in tokenize.generate_tokens(io.StringIO(source.text(file)).readline):
            if token.type == tokenize.COMMENT and any(re.search(rf"\b{mark}\b", token.string) for mark in MARKS):
                found.append(f"{file.relative_to(ROOT)}:{token.start[0]}")
    assert not found


def test_everything_public_is_documented() -> None:
    missing = []
    for file in _files("connector"):
        tree = source.tree(file)
        if not ast.get_docstring(tree) and source.text(file).strip():
            missing.append(str(file.relative_to(ROOT)))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                is_public = not node.name.startswith("_") and "migrations" not in file.parts
                if is_public and not ast.get_docstring(node):
                    missing.append(f"{file.relative_to(ROOT)}: {node.name}")
    assert not missing
