"""Faults on request: rules that make the imitated systems misbehave as the real ones do.

A rule is `{system, kind, match?, contains?, times?, share?, seed?, seconds?, status?, code?, message?, body?}`:

- `match` is a regular expression: on "METHOD /path" for the kinds that hit a request, on "ObjectType id" for those that
  hit one record. No `match` hits everything of that system.
- `times` is how often it still hits (None = until cleared); `share` (0..1) hits that part at random, drawn with `seed`.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.workflows import HUBSPOT, SALESFORCE

REQUEST_KINDS = ("status", "slow", "drop_before", "drop_after", "expired_token", "gone", "not_json")
RECORD_KINDS = ("row_lock", "reject_record")
KINDS = REQUEST_KINDS + RECORD_KINDS

ROW_LOCK = ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: {id}")
REJECTED = ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "This record was refused by a validation rule")

HTML = "text/html; charset=utf-8"
JSON = "application/json;charset=UTF-8"
_PAGE = "<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>"


@dataclass(slots=True)
class Fault:
    """One rule; `hits` counts how often it was applied."""

    id: int
    system: str
    kind: str
    match: str = ""
    contains: str = ""
    times: int | None = None
    share: float = 1.0
    seed: int = 0
    seconds: float = 1.0
    status: int = 503
    code: str | None = None
    message: str | None = None
    body: str | None = None
    hits: int = 0
    _draw: random.Random = field(default_factory=random.Random, repr=False)

    def hit(self, subject: str, sent: str = "") -> bool:
        """Whether the rule applies to `subject`, which sends this, now; if so, one of its `times` is used up."""
        if self.times is not None and self.hits >= self.times:
            return False
        if not (re.search(self.match, subject) and re.search(self.contains, sent)):
            return False
        if self.share < 1.0 and self._draw.random() >= self.share:
            return False
        self.hits += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        """The rule as the admin endpoint shows it."""
        names = (
            "id",
            "system",
            "kind",
            "match",
            "contains",
            "times",
            "share",
            "seed",
            "seconds",
            "status",
            "code",
            "hits",
        )
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class FaultAnswer:
    """An answer that the fault gives in place of the system: status, body, media type and further headers."""

    status: int
    body: str
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Faults:
    """The rules in force. They live in memory: a restart clears them."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._last_id = 0

    def add(self, spec: Mapping[str, Any]) -> Fault:
        """Add a rule; raises ValueError, with all that is wrong, for one that could never hit."""
        if wrong := list(_wrong(spec)):
            raise ValueError("; ".join(wrong))
        self._last_id += 1
        fault = Fault(id=self._last_id, **spec)
        fault._draw.seed(fault.seed)
        self._rules.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> None:
        """Remove one rule, or all of them."""
        self._rules = [rule for rule in self._rules if fault_id is not None and rule.id != fault_id]

    def is_in_force(self, fault: Fault) -> bool:
        """Whether a rule has not been removed."""
        return any(rule is fault for rule in self._rules)

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with their hits."""
        return [rule.as_dict() for rule in self._rules]

    def looks_inside(self, system: str) -> bool:
        """Whether a rule of this system looks at what requests send."""
        return any(rule.contains for rule in self._rules if rule.system == system)

    def for_request(self, system: str, method: str, path: str, sent: str = "") -> list[Fault]:
        """The request-level rules that hit this request, in the order in which they were added."""
        rules = [rule for rule in self._rules if rule.system == system and rule.kind in REQUEST_KINDS]
        return [rule for rule in rules if rule.hit(f"{method} {path}", sent)]

    def record_errors(self, system: str, object_type: str, ids: Sequence[str | None]) -> dict[int, tuple[str, str]]:
        """Which records of a batch to refuse: index in `ids` -> (vendor's error code, message).

        Pass None for the id of a record that is being created.
        """
        rules = [rule for rule in self._rules if rule.system == system and rule.kind in RECORD_KINDS]
        if not rules:
            return {}
        errors: dict[int, tuple[str, str]] = {}
        for index, native_id in enumerate(ids):
            for rule in rules:
                if rule.hit(f"{object_type} {native_id or ''}"):
                    code, message = ROW_LOCK if rule.kind == "row_lock" else REJECTED
                    text = rule.message or message.format(id=native_id)
                    errors[index] = (rule.code or code, text)
                    break
        return errors


#: What may be said beside system and kind: texts, and numbers from here to there.
_TEXTS = ("match", "contains", "code", "message", "body")
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "times": (1, math.inf), "share": (0, 1), "seed": (-math.inf, math.inf), "seconds": (0, math.inf), "status": (200, 599),
}  # fmt: skip
_WHOLE = ("times", "seed", "status")
_OPTIONAL = ("times", "code", "message", "body")


def _wrong(spec: Mapping[str, Any]) -> Iterator[str]:
    """Why a rule could never hit, or does not say how."""
    for name, known in (("system", (SALESFORCE, HUBSPOT)), ("kind", KINDS)):
        if spec.get(name) not in known:
            yield f"{name} must be one of {', '.join(known)}"
    for name, value in spec.items():
        if name in _TEXTS:
            yield from _unfit_text(name, value)
        elif name in _NUMBERS:
            yield from _unfit_number(name, value)
        elif name not in ("system", "kind"):
            yield f"{name} is none of system, kind, {', '.join((*_TEXTS, *_NUMBERS))}"


def _unfit_text(name: str, value: Any) -> Iterator[str]:
    if value is None and name in _OPTIONAL:
        return
    if not isinstance(value, str):
        yield f"{name} must be a text"
    elif name in ("match", "contains"):
        try:
            re.compile(value)
        except re.error as error:
            yield f"{name} is no regular expression: {error}"


def _unfit_number(name: str, value: Any) -> Iterator[str]:
    if value is None and name in _OPTIONAL:
        return
    (low, high), is_whole = _NUMBERS[name], name in _WHOLE
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
        yield f"{name} must be a {'whole ' if is_whole else ''}number"
    elif not low <= value <= high:
        yield f"{name} must be from {low:g} to {high:g}"


def answer(fault: Fault) -> FaultAnswer:
    """What the vendor sends for this fault (kinds `status`, `expired_token`, `not_json`)."""
    if fault.kind == "not_json":
        return FaultAnswer(200, fault.body or _PAGE.format(title="Welcome", text="Please log in."), HTML)
    status = 401 if fault.kind == "expired_token" else fault.status
    if fault.body is not None:
        is_json = fault.body.lstrip()[:1] in ("{", "[")
        return FaultAnswer(status, fault.body, JSON if is_json else HTML)
    if fault.system == "hubspot":
        return _hubspot_answer(status, fault)
    return _salesforce_answer(status, fault)


_SALESFORCE_CODES = {
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    403: ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    429: ("REQUEST_LIMIT_EXCEEDED", "Too many requests"),
    500: (
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId: 1-2 (0)",
    ),
}


def _salesforce_answer(status: int, fault: Fault) -> FaultAnswer:
    """The REST error array, or the HTML page of the edge for 406, 420, 502, 503 and 504."""
    if status not in _SALESFORCE_CODES and fault.code is None:
        title = {420: "Server Busy", 503: "We are down for maintenance."}.get(status, f"Error {status}")
        return FaultAnswer(status, _PAGE.format(title=title, text="Sorry for the inconvenience."), HTML)
    code, message = _SALESFORCE_CODES.get(status, ("UNKNOWN_EXCEPTION", "error"))
    text = (fault.message or message).replace('"', "'")
    return FaultAnswer(status, f'[{{"message":"{text}","errorCode":"{fault.code or code}"}}]')


_CORRELATION = "f1a5d0c4-0000-4000-8000-0000000fa017"


def _hubspot_answer(status: int, fault: Fault) -> FaultAnswer:
    """HubSpot's error object; 429 names the ten-second policy, 502 and 504 come from its edge as HTML."""
    if status in (502, 504):
        return FaultAnswer(status, _PAGE.format(title=f"{status}", text="cloudflare"), HTML)
    category, message, extra = {
        401: ("EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired.", ""),
        423: ("LOCKED", "This resource is locked, wait at least two seconds.", ""),
        429: (
            "RATE_LIMITS",
            "You have reached your ten_secondly_rolling limit.",
            ',"errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"',
        ),
        477: ("MIGRATION_IN_PROGRESS", "Migration in progress", ""),
    }.get(status, ("INTERNAL_ERROR", "internal error", ""))
    text = (fault.message or message).replace('"', "'")
    body = (
        f'{{"status":"error","message":"{text}","correlationId":"{_CORRELATION}","category":"{fault.code or category}"'
        f"{extra}}}"
    )
    headers = {"Retry-After": "1"} if status in (429, 477) else {}
    return FaultAnswer(status, body, JSON, headers)
