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
_NO_BRACKETS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*")  # texts and comments


def _line_above_tables(lines: list[str], name: str) -> int | None:
    end = next((n for n, content in enumerate(lines) if _HEADER.match(content)), len(lines))
    key = re.compile(rf"^\s*[\"']?{re.escape(name)}[\"']?\s*[=.]")
    return next((n + 1 for n in range(end) if key.match(lines[n])), None)


def _line_in_table(lines: list[str], header: int, rest: list[str]) -> int:
    end = next((n for n in range(header, len(lines)) if _HEADER.match(lines[n])), len(lines))
    at, column = header - 1, 0
    for part in rest:
        if part.startswith("["):
            items = _items(lines, at, column, end)
            index = int(part[1:-1])
            if index < len(items):
                at, column = items[index]
            if index + 1 < len(items):
                end = max(items[index + 1][0], at + 1)
            continue
        key = re.compile(rf"(?:^|[\s{{,])[\"']?{re.escape(part)}[\"']?\s*[=.]")
        matches = ((n, key.search(lines[n], column if n == at else 0)) for n in range(at, end))
        found = next(((n, match.end()) for n, match in matches if match), None)
        if found is None:
            break
        at, column = found
    return at + 1


def _items(lines: list[str], start: int, column: int, end: int) -> list[tuple[int, int]]:
    """Line and column of each table in the list that begins there."""
    found, depth = [], 0
    for number in range(start, end):
        text = _NO_BRACKETS.sub(lambda match: " " * len(match.group()), lines[number])
        for place, char in enumerate(text):
            if number == start and place < column:
                continue
            if char in "[{":
                if depth == 1 and char == "{":
                    found.append((number, place))
                depth += 1
            elif char in "]}":
                depth -= 1
                if depth <= 0:
                    return found
    return found
