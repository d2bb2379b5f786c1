"""Names as evidence: how they are folded, and when two of them cannot be one person's or one company's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns


def fold(names: Any) -> Any:
    """Names in lower case without accents and punctuation, words parted by one space; null where nothing is left."""
    plain = pc.if_else(pc.string_is_ascii(names), names, _without_accents(names))
    words = pc.replace_substring_regex(pc.utf8_lower(plain), r"[^\p{L}\p{N}]+", " ")
    trimmed = pc.utf8_trim_whitespace(words)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _without_accents(names: Any) -> Any:
    is_plain = pc.string_is_ascii(names)
    if pc.all(is_plain, min_count=0).as_py():
        return names
    return pc.replace_substring_regex(pc.utf8_normalize(names, form="NFKD"), r"\p{M}", "")


@lru_cache(maxsize=100_000)
def contradict(one: str, other: str) -> bool:
    """Two folded names cannot be one person's: a word of the shorter is neither in the longer nor an initial of it.

    "a meyer" and "ann maria meyer" agree, "ann meyer" and "tom meyer" contradict each other.
    """
    shorter, longer = sorted((one.split(), other.split()), key=lambda words: (len(words), words))
    rest = list(longer)
    for word in sorted(shorter, key=len, reverse=True):
        match = word if word in rest else next((each for each in rest if _abbreviates(word, each)), None)
        if match is None:
            return True
        rest.remove(match)
    return False


def _abbreviates(one: str, other: str) -> bool:
    return (len(one) == 1 or len(other) == 1) and one[0] == other[0]
