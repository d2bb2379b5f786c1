"""What we may call today: a share of what a system's other clients leave of its daily calls, handed out by lanes.

Pure. Who counts the calls, and hears from the system what is used, is `pacing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from pydantic import Field, model_validator

from connector.section import Section, Wrong

#: What a call is made for, besides the lanes.
READ = "read"
CONSENT = "consent"
#: From the most urgent on: what is further to the right stops earlier.
PURPOSES = (CONSENT, "stage", "task", "score", READ)


class Quota(Section):
    """`[systems.<name>.quota]`: our part of the system's daily calls, and up to where each lane may use it."""

    share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="part of what the system's other clients leave of its daily calls that is our budget",
    )
    calls_per_day: int | None = Field(
        None, ge=1, description="our budget is never more than this; needed where the system tells no daily limit"
    )
    stage: float = Field(
        0.95, gt=0, le=1, description="stages go until this part of our budget is used; the rest is for consent alone"
    )
    task: float = Field(0.9, gt=0, le=1, description="tasks go until this part of our budget is used")
    score: float = Field(0.8, gt=0, le=1, description="scores go until this part of our budget is used")
    read: float = Field(0.9, gt=0, le=1, description="we read until this part of our budget is used")

    @model_validator(mode="after")
    def _keeps_the_order(self) -> Self:
        if not self.score <= self.task <= self.stage:
            told = "the more urgent lane goes longer: stage at least task, task at least score"
            raise Wrong((told, ""), of=("stage", "task", "score"))
        return self

    def part(self, purpose: str) -> float:
        """The part of the budget (0 to 1) up to which calls are made for a lane, or to read; all of it for consent."""
        return {"stage": self.stage, "task": self.task, "score": self.score, READ: self.read}.get(purpose, 1.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """Our calls of a day at one system: its limit, what its `others` and we (`ours`) used; what is not told is None.

    A rolling day has no instant of its own at which it starts anew: `resets_at` is when calls of ours are forgotten.
    """

    quota: Quota
    limit: int | None = None
    others: int = 0
    ours: int = 0
    resets_at: datetime | None = None

    @property
    def calls(self) -> int | None:
        """How many calls we may make today, those made included; None when neither the system nor the configuration tells."""
        cap = self.quota.calls_per_day
        if self.limit is None:
            return cap
        shared = int(self.quota.share * max(self.limit - self.others, 0) + 1e-9)
        return shared if cap is None else min(shared, cap)

    def left(self, purpose: str) -> int | None:
        """How many more calls may be made for this; None when nothing bounds them."""
        calls = self.calls
        return None if calls is None else max(int(self.quota.part(purpose) * calls + 1e-9) - self.ours, 0)

    def as_json(self) -> dict[str, Any]:
        """For `status` and scripts."""
        return {
            "limit": self.limit, "others": self.others, "ours": self.ours, "budget": self.calls,
            "left": {purpose: self.left(purpose) for purpose in PURPOSES},
            "resets_at": self.resets_at.isoformat() if self.resets_at else None,
        }  # fmt: skip


class Governor(Protocol):
    """Who keeps a connected system within its budget."""

    def budget(self) -> Budget:
        """As far as is known now; costs no call."""
        ...

    def admit(self, purpose: str, calls: int) -> None:
        """Calls are made for this from now on, about so many. Raises QuotaExhausted when they do not fit."""
        ...

    def resets_at(self) -> datetime | None:
        """When calls that do not fit now may fit; None when that cannot be told. May cost a call."""
        ...

    def recall(self, kept: str) -> None:
        """Take up what `kept` said when the system was connected before."""
        ...

    def kept(self) -> str:
        """What the next connection should know."""
        ...
