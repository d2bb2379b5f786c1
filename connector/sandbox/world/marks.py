"""How the two systems write instants, and random marks. Inside the world, instants are seconds since 1970 in UTC."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import lru_cache

DAY_S = 86_400


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
