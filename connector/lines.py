"""Where an option stands in a TOML file: problems name the line."""

from __future__ import annotations

import re


def line_of(text: str, path: str) -> int | None:
    """The line (from 1) at which the option with this dotted path stands, or the nearest one above it that does."""
    parts = re.findall(r"[^.\[\]]+|\[\d+\]", path)
    lines = text.splitlines()
    line, depth = None, 0
    for number, content in enumerate(lines, 1):
        header = re.match(r"^\s*\[+\s*([^\]]+?)\s*\]+", content)
        names = [name.strip().strip("\"'") for name in header.group(1).split(".")] if header else []
        shared = min(len(names), len(parts))
        if header and names[:shared] == parts[:shared] and shared > depth:
            line, depth = number, shared
    if depth == 0:
        return _line_above_tables(lines, parts[0])
    rest, at = parts[depth:], line or 1
    return _line_in_table(lines, at, rest)


_HEADER = re.compile(r"^\s*\[+[A-Za-z\"]")
_ITEM = re.compile(r"^\s*\{|[\[,]\s*\{")


def _line_above_tables(lines: list[str], name: str) -> int | None:
    end = next((n for n, content in enumerate(lines) if _HEADER.match(content)), len(lines))
    key = re.compile(rf"^\s*[\"']?{re.escape(name)}[\"']?\s*[=.]")
    return next((n + 1 for n in range(end) if key.match(lines[n])), None)


def _line_in_table(lines: list[str], header: int, rest: list[str]) -> int:
    at = header
    end = next((n for n in range(header, len(lines)) if _HEADER.match(lines[n])), len(lines))
    for part in rest:
        if part.startswith("["):
            items = [n for n in range(at - 1, end) if _ITEM.search(lines[n])]
            index = int(part[1:-1])
            at = items[index] + 1 if index < len(items) else at
            end = items[index + 1] if index + 1 < len(items) else end
            continue
        key = re.compile(rf"(?:^|[\s{{,])[\"']?{re.escape(part)}[\"']?\s*[=.]")
        found = next((n for n in range(at - 1, end) if key.search(lines[n])), None)
        if found is None:
            return at
        at = found + 1
    return at
