"""Countries in any spelling to ISO 3166 alpha-2: by pycountry in many languages, and by packaged aliases."""

from __future__ import annotations

import gettext
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

import pycountry

#: Languages in which admins and forms write countries; the translations come with pycountry.
LANGUAGES = ("de", "fr", "es", "it", "nl", "pt", "pl", "sv", "da", "nb", "fi", "tr", "cs")


def country(text: str) -> str | None:
    """The ISO 3166 alpha-2 code of a country's name, code or alias; None when it is none that we know."""
    return _codes().get(_plain(text))


def _plain(text: str) -> str:
    bare = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(character for character in bare if not unicodedata.combining(character))
    return " ".join(re.sub(r"[^\w]+", " ", letters.replace(".", "").replace("&", " and ")).split())


@lru_cache(maxsize=1)
def _codes() -> Mapping[str, str]:
    codes: dict[str, str] = {}
    translations = [
        gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[language], fallback=True)
        for language in LANGUAGES
    ]
    for entry in pycountry.countries:
        names = [entry.name, getattr(entry, "official_name", ""), getattr(entry, "common_name", "")]
        names += [translation.gettext(entry.name) for translation in translations]
        for name in filter(None, names):
            codes.setdefault(_plain(name), entry.alpha_2)
    for entry in pycountry.countries:
        codes[_plain(entry.alpha_3)] = entry.alpha_2
        codes[_plain(entry.alpha_2)] = entry.alpha_2
    aliases = tomllib.loads((resources.files("connector.mapping") / "countries.toml").read_text("utf-8"))
    codes |= {_plain(alias): code for code, names in aliases.items() for alias in names}
    return codes
