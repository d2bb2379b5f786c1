"""The many ways in which people write down one thing: names, e-mail addresses, phone numbers, profile URLs."""

from __future__ import annotations

import random
import re
import unicodedata
from functools import lru_cache

from connector.sandbox.world.words import Country

_LETTERS = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "ø": "o",
        "å": "a",
        "æ": "ae",
        "ł": "l",
        "ı": "i",
        "đ": "d",
        "'": "",
        "’": "",
        "&": "and",
    }
)


@lru_cache(maxsize=1 << 14)
def ascii_of(text: str) -> str:
    """Lower case without diacritics, as mail systems write names."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def slug_of(text: str) -> str:
    """Lower-case words joined with hyphens, as in domains and profile URLs."""
    return re.sub(r"[^a-z0-9]+", "-", ascii_of(text)).strip("-")


def mixed_case(rng: random.Random, email: str) -> str:
    """The same address with other capitals."""
    local, _, domain = email.partition("@")
    return rng.choice((email.upper(), f"{local.title()}@{domain}", f"{local.title()}@{domain.title()}"))


def plus_address(rng: random.Random, email: str) -> str:
    """The same mailbox with a tag."""
    local, _, domain = email.partition("@")
    return f"{local}+{rng.choice(('harbourline', 'webinar', 'news', 'demo', 'wms'))}@{domain}"


def phone_as_written(rng: random.Random, country: Country, number: str) -> str:
    """An E.164 number of this country in one of the notations found in CRMs."""
    code, national = f"+{country.calling_code}", number[len(country.calling_code) + 1 :]
    if country.code == "US":
        area, head, tail = national[:3], national[3:6], national[6:]
        return rng.choice(
            (
                number,
                f"+1 {area}-{head}-{tail}",
                f"({area}) {head}-{tail}",
                f"{area}.{head}.{tail}",
                f"+1 ({area}) {head} {tail}",
            )
        )
    head, tail = national[:3], national[3:]
    spaced = f"{head} {tail[:3]} {tail[3:]}".strip()
    trunk = country.trunk
    return rng.choices(
        (
            number,
            f"{code} {spaced}",
            f"{trunk}{head}/{tail}",
            f"{trunk}{head} {tail}",
            f"00{country.calling_code} {spaced}",
            f"{code} (0){spaced}" if trunk else f"{code} {national}",
        ),
        (30, 30, 12, 12, 10, 6),
    )[0]


def linkedin_as_written(rng: random.Random, slug: str) -> str:
    """A profile URL in one of its forms."""
    return rng.choices(
        (
            f"https://www.linkedin.com/in/{slug}",
            f"https://www.linkedin.com/in/{slug}/",
            f"linkedin.com/in/{slug}",
            f"http://de.linkedin.com/in/{slug}?trk=profile",
        ),
        (50, 25, 15, 10),
    )[0]


def handle_as_written(rng: random.Random, handle: str) -> str:
    """A Twitter handle, bare, with its sign, or as a URL."""
    return rng.choices((f"@{handle}", handle, f"https://twitter.com/{handle}"), (50, 35, 15))[0]


def country_as_written(rng: random.Random, country: Country) -> str:
    """The country's English name, or one of the other ways it is written."""
    return country.name if rng.random() < 0.6 else rng.choice(country.writings)
