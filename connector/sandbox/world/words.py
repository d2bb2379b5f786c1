"""The packaged word lists as values that the generator can draw from."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from typing import Any


@dataclass(frozen=True, slots=True)
class Draw:
    """A weighted choice whose cumulative weights are summed once."""

    items: Sequence[Any]
    cumulative: Sequence[float]

    @staticmethod
    def of(weights: Mapping[Any, float]) -> Draw:
        return Draw(tuple(weights), tuple(accumulate(weights.values())))

    def pick(self, rng: random.Random) -> Any:
        return rng.choices(self.items, cum_weights=self.cumulative)[0]


@dataclass(frozen=True, slots=True)
class Country:
    """A country of customers: how its name is written, its cities, its numbering plan and the names of its people."""

    code: str
    name: str
    writings: Sequence[str]
    cultures: Draw
    cities: Sequence[tuple[str, str, str, str]]
    mobile_prefixes: Sequence[str]
    mobile_digits: int
    landline_digits: int
    trunk: str
    calling_code: str
    suffixes: Sequence[str]
    streets: Sequence[str]
    language: str
    free_mail: Sequence[str]


@dataclass(frozen=True, slots=True)
class Words:
    """All word lists. `given` and `family` are by culture."""

    countries: Mapping[str, Country]
    country: Draw
    given: Mapping[str, Sequence[str]]
    family: Mapping[str, Sequence[str]]
    stems: Sequence[str]
    industry: Draw
    titles: Sequence[Mapping[str, Any]]
    title: Draw


@lru_cache(maxsize=1)
def words() -> Words:
    """Read the packaged lists, once."""
    raw = json.loads(resources.files(__package__).joinpath("words.json").read_text(encoding="utf-8"))
    countries = {code: _country(code, entry, raw["free_mail"][code]) for code, entry in raw["countries"].items()}
    industries, titles = raw["industries"], raw["titles"]
    return Words(
        countries=countries,
        country=Draw.of({code: entry["weight"] for code, entry in raw["countries"].items()}),
        given={name: culture["given"] for name, culture in raw["cultures"].items()},
        family={name: culture["family"] for name, culture in raw["cultures"].items()},
        stems=raw["company_stems"],
        industry=Draw(industries, tuple(accumulate(entry["weight"] for entry in industries))),
        titles=titles,
        title=Draw(titles, tuple(accumulate(entry["weight"] for entry in titles))),
    )


def _country(code: str, entry: Mapping[str, Any], free_mail: Sequence[str]) -> Country:
    return Country(
        code=code,
        name=entry["name"],
        writings=entry["writings"],
        cultures=Draw.of(entry["cultures"]),
        cities=[tuple(city) for city in entry["cities"]],
        mobile_prefixes=entry["mobile_prefixes"],
        mobile_digits=entry["mobile_digits"],
        landline_digits=entry["landline_digits"],
        trunk=entry["trunk"],
        calling_code=entry["calling_code"],
        suffixes=entry["suffixes"],
        streets=entry["streets"],
        language=entry["language"],
        free_mail=free_mail,
    )
