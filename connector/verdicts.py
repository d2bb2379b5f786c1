"""What an adapter's `classify` decides about an answer; part of the vocabulary of `connector.model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What `classify` decides about an answer."""

    OK = "ok"
    RETRY = "retry"  # safe to send the same call again
    TOO_FAST = "too_fast"  # had no effect: again later, and slower from now on; costs no attempt
    RETRY_IF_IDEMPOTENT = "retry_if_idempotent"  # may have taken effect: again only for reads and the like
    REFRESH = "refresh"  # the token is old: refresh once, then again
    QUOTA = "quota"
    AUTH = "auth"
    FORBIDDEN = "forbidden"
    REJECTED = "rejected"
    CONFLICT = "conflict"
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True)
class Classified:
    """A verdict on one answer, with what the vendor said; `fields` are those that a refusal is about."""

    verdict: Verdict
    code: str = ""
    message: str = ""
    retry_after_s: float | None = None
    hint: str = ""
    fields: tuple[str, ...] = ()


Classify = Callable[[int, Mapping[str, str], Any], Classified]
