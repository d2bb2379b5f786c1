"""What goes wrong in a cycle, drawn from the seed: rules and switches of the sandbox, and the moment of a kill."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

#: Where the systems take our writes.
WRITES = {"salesforce": "POST .*/composite", "hubspot": "POST .*/batch/(update|create|upsert)"}
SYSTEMS = tuple(WRITES)
#: A system that is gone stays so for up to this many cycles.
GONE_CYCLES = 3

#: Kind of trouble -> how often.
KINDS = {
    "lost_reply": 14, "lost_request": 8, "too_many": 9, "server_error": 10, "slow": 6, "expired_token": 7, "not_json": 6, "row_lock": 9,
    "rejected_record": 9, "gone": 4, "quota_used": 3, "commit_lag": 6, "index_lag": 8, "locking": 5, "refused_credentials": 2,
}  # fmt: skip
#: They hit only what is written.
OF_RECORDS = ("row_lock", "rejected_record")
#: At what moment the run is killed: at any, when changes are marked as on their way, when a write took effect and its reply is lost.
KILLS = {"moment": 5, "sending": 2, "sent": 2}


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong: the body of a fault rule, switches of the sandbox, or a deed of the harness itself."""

    kind: str
    system: str
    rule: dict[str, Any] | None = None
    switches: dict[str, Any] | None = None


def drawn(random: Random) -> list[Trouble]:
    """The troubles of one cycle."""
    count = random.choices((0, 1, 2, 3), (12, 40, 30, 18))[0]
    return [_trouble(random, random.choices(list(KINDS), list(KINDS.values()))[0]) for _ in range(count)]


def _trouble(random: Random, kind: str) -> Trouble:
    system = random.choice(SYSTEMS)
    if kind in ("row_lock", "commit_lag", "locking", "quota_used"):
        system = "salesforce"
    if kind in ("index_lag", "too_many"):
        system = "hubspot"
    switches = _switches(random, kind)
    if switches:
        return Trouble(kind, system, switches=switches)
    if kind in ("gone", "refused_credentials"):
        return Trouble(kind, system)
    rule = {"system": system, "seed": random.randrange(1 << 30), **_rule(random, kind, system)}
    return Trouble(kind, system, rule=rule)


def _rule(random: Random, kind: str, system: str) -> dict[str, Any]:
    few = {"times": random.randint(1, 4), "share": random.choice((0.2, 0.5, 1.0))}
    where = {"match": WRITES[system]} if random.random() < 0.6 else {}
    types = ("", "^Contact ", "^Lead ", "^Task ") if system == "salesforce" else ("", "^contacts ", "^tasks ")
    records = {"match": random.choice(types), "share": random.choice((0.5, 1.0))}
    match kind:
        case "lost_reply":
            return {"kind": "drop_after", **few, **where}
        case "lost_request":
            return {"kind": "drop_before", **few, **where}
        case "too_many":
            return {"kind": "status", "status": 429, **few, **where}
        case "server_error":
            return {"kind": "status", "status": random.choice((500, 502, 503, 504)), **few, **where}
        case "slow":
            return {"kind": "slow", "seconds": random.choice((0.05, 0.2)), **few}
        case "expired_token":
            return {"kind": "expired_token", **few, **where}
        case "not_json":
            return {"kind": "not_json", "times": random.randint(1, 2), **where}
        case "quota_used":
            return {"kind": "status", "status": 403, "times": 1, **where}
        case "row_lock":
            return {"kind": "row_lock", "times": random.randint(1, 8), **records}
        case _:
            return {"kind": "reject_record", "times": random.randint(1, 3), **records}


def _switches(random: Random, kind: str) -> dict[str, Any] | None:
    match kind:
        case "commit_lag":
            return {"salesforce_commit_lag_s": random.choice((15, 60, 240))}
        case "index_lag":
            return {"index_lag_s": random.choice((5, 20)), "index_lag_spread_s": random.choice((0, 20))}
        case "locking":
            return {"salesforce_chunk_s": 0.3}
        case _:
            return None


#: Every switch at rest.
QUIET = {"salesforce_commit_lag_s": 0, "index_lag_s": 0, "index_lag_spread_s": 0, "salesforce_chunk_s": 0}
