"""Job titles to seniority and function, by words of English, German and French that stand in `titles.toml`.

Groups of words are tried in their order, so that "Vice President" is not found as "President".
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import lru_cache
from importlib import resources
from typing import Any

from connector import identifiers

SENIORITIES = ("c_level", "vp", "director", "manager", "staff", "other")
FUNCTIONS = ("operations", "it", "finance", "sales", "marketing", "hr", "engineering", "procurement", "legal", "other")


@lru_cache(maxsize=100_000)
def seniority(title: str) -> str | None:
    """One of `SENIORITIES`: `staff` for a function without a rank, `other` for the rest; None for no title."""
    text = _plain(title)
    if not text:
        return None
    found = _first("seniority", text)
    return found or ("staff" if _first("function", text) else "other")


@lru_cache(maxsize=100_000)
def function(title: str) -> str | None:
    """One of `FUNCTIONS`; None for no title."""
    text = _plain(title)
    return (_first("function", text) or "other") if text else None


def _plain(title: str) -> str:
    """Lower case without accents and punctuation, framed by spaces."""
    bare = unicodedata.normalize("NFKD", title.lower().replace("ß", "ss"))
    letters = "".join(character for character in bare if not unicodedata.combining(character))
    parts = re.sub(r"[^a-z0-9&+]+", " ", letters.replace(".", "")).split()
    return f" {' '.join(parts)} " if parts and title.strip().lower() not in identifiers.words("null_words") else ""


def _first(table: str, text: str) -> str | None:
    return next((name for name, pattern in _patterns()[table] if pattern.search(text)), None)


@lru_cache(maxsize=1)
def _patterns() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Compiled words: a word is found whole; `-leiter` at the end of a compound, `vertrieb-` at its beginning, `^former` at the
    beginning of the title."""
    data: dict[str, Any] = tomllib.loads((resources.files("connector.mapping") / "titles.toml").read_text("utf-8"))
    return {
        table: [(group["is"], re.compile("|".join(_pattern(word) for word in group["words"]))) for group in groups]
        for table, groups in data.items()
    }


def _pattern(word: str) -> str:
    core = re.escape(_plain(word).strip())
    front = {"-": "", "^": "^ "}.get(word[0], " ")
    back = "" if word.endswith("-") else " "
    return f"(?:{front}{core}{back})"
