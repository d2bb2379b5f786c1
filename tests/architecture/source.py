"""The code of this repository as its tests look at it, each file read and parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files(folder: str) -> tuple[Path, ...]:
    """The modules of a folder, in order."""
    return tuple(sorted((ROOT / folder).rglob("*.py")))


@cache
def text(file: Path) -> str:
    """What is written there."""
    return file.read_text("utf-8")


@cache
def tree(file: Path) -> ast.Module:
    """What is written there, parsed."""
    return ast.parse(text(file))


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    """All of the tree."""
    return tuple(ast.walk(tree(file)))
