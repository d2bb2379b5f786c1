"""Names as evidence: how they are folded, and when two of them cannot be one person's or one company's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its published types know neither masks nor chunked columns


#: Letters that are no other letter with an accent, as they are written where they are not at hand.
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
#: An umlaut that is written out becomes the letter that an accent leaves: "Müller", "Mueller" and "Muller" are one name.
_WRITTEN_OUT = r"([aou])e|(a)a"
_TITLES = r"\b(?:dr|prof|dipl ing|dipl|mr|mrs|ms|herr|frau|phd|mba)\b"


def fold(names: Any) -> Any:
    """Names in lower case without accents, titles and punctuation, words parted by one space; null where nothing is left."""
    words = pc.replace_substring_regex(_plain(pc.utf8_lower(names)), r"[^\p{L}\p{N}]+", " ")
    untitled = pc.replace_substring_regex(words, _TITLES, "")
    short = pc.replace_substring_regex(untitled, _WRITTEN_OUT, r"\1\2")
    trimmed = pc.utf8_trim_whitespace(pc.replace_substring_regex(short, " +", " "))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _plain(names: Any) -> Any:
    """Lower case letters without their accents."""
    if pc.all(pc.string_is_ascii(names), min_count=0).as_py():
        return names
    plain = pc.replace_substring_regex(pc.utf8_normalize(names, form="NFKD"), r"\p{M}", "")
    for letter, written in _LETTERS.items():
        plain = pc.replace_substring(plain, letter, written)
    return plain


@lru_cache(maxsize=100_000)
def contradict(one: str, other: str) -> bool:
    """Two folded names cannot be one person's: a word of the shorter is neither in the longer nor an initial of it.

    "a meyer" and "ann maria meyer" agree, "annmarie meyer" and "ann marie meyer" do, "ann meyer" and "tom meyer" contradict
    each other.
    """
    words = one.split(), other.split()
    parts = _as_one(words[0], words[1]), _as_one(words[1], words[0])
    shorter, longer = sorted(parts, key=lambda each: (len(each), each))
    rest = list(longer)
    for word in sorted(shorter, key=len, reverse=True):
        match = word if word in rest else next((each for each in rest if _abbreviates(word, each)), None)
        if match is None:
            return True
        rest.remove(match)
    return False


def _as_one(words: Sequence[str], others: Collection[str]) -> list[str]:
    """The words, those joined which the other name writes as one."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] + word in others:
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _abbreviates(one: str, other: str) -> bool:
    return (len(one) == 1 or len(other) == 1) and one[0] == other[0]
