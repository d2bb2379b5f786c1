"""How the two systems write ids and instants. Instants inside the world are whole seconds since 1970 in UTC.

Salesforce ids have 15 characters and 3 of checksum: for each block of 5, bit i is set where character i is A-Z, and the
value picks from `ABCDEFGHIJKLMNOPQRSTUVWXYZ012345` (Salesforce knowledge article "Convert 15 digit Id to 18 digit Id").
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import lru_cache

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_POD = "J1"
DAY_S = 86_400

KEY_PREFIXES = {
    "User": "005", "Account": "001", "Contact": "003", "Lead": "00Q", "Opportunity": "006", "OpportunityContactRole": "00K",
    "Campaign": "701", "CampaignMember": "00v", "Task": "00T", "Event": "00U", "Case": "500",
}  # fmt: skip


@lru_cache(maxsize=1 << 16)
def _check_of(block: str) -> str:
    return _CHECK[sum(1 << place for place, letter in enumerate(block) if "A" <= letter <= "Z")]


@lru_cache(maxsize=1 << 16)
def _digits_of(number: int) -> str:
    digits = ""
    for _ in range(4):
        number, rest = divmod(number, 62)
        digits = _BASE62[rest] + digits
    return digits


def salesforce_id(sobject: str, number: int) -> str:
    """The 18-character id of the `number`-th row of an sObject."""
    high, low = divmod(number, 62**4)
    short = f"{KEY_PREFIXES[sobject]}{_POD}00{_digits_of(high)}{_digits_of(low)}"
    return short + _check_of(short[:5]) + _check_of(short[5:10]) + _check_of(short[10:])


@lru_cache(maxsize=4096)
def date_of(day: int) -> str:
    """`2026-09-01` for a number of days since 1970."""
    return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m-%d")


def day_of(at: int) -> str:
    """The date of an instant."""
    return date_of(at // DAY_S)


def salesforce_time(at: int) -> str:
    """`2026-09-01T00:00:00.000+0000`, as the REST API writes instants in JSON."""
    day, rest = divmod(at, DAY_S)
    return f"{date_of(day)}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.000+0000"


def milliseconds(at: int) -> int:
    """Milliseconds since 1970; the last three digits are made from the second, so that not all are zero."""
    return at * 1000 + at * 7919 % 1000


def hubspot_time(at: int) -> str:
    """`2026-09-01T00:00:00.000Z`, with the last three digits as in `milliseconds`."""
    day, rest = divmod(at, DAY_S)
    return f"{date_of(day)}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{at * 7919 % 1000:03}Z"


def uuid_of(rng: random.Random) -> str:
    """A random UUID of version 4 from the world's own generator."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) % 4]}{text[17:20]}-{text[20:]}"


def hex_of(rng: random.Random, size: int) -> str:
    """`size` random hexadecimal digits."""
    return f"{rng.getrandbits(size * 4):0{size}x}"
