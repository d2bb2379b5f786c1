"""What a run did, step by step: as it is counted, kept in the state, and told by its exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from connector.dispatch import Delivered
from connector.errors import ConnectorError, ConservationError, Interrupted, QuotaExhausted, SystemFailure, UnsafePlan
from connector.plan import Plan, Totals
from connector.state.holdings import LeftBehind
from connector.state.models import Freeze, Pause
from connector.steps.pulled import Pulled
from connector.steps.resolve import Resolved
from connector.steps.score import Scored
from connector.steps.stage import Staged


@dataclass
class Summary:
    """What a run did, step by step."""

    run: int
    pulled: Pulled = field(default_factory=Pulled)
    resolved: Resolved = field(default_factory=Resolved)
    scored: Scored = field(default_factory=Scored)
    staged: Staged = field(default_factory=Staged)
    planned: int = 0
    held: Counter[str] = field(default_factory=Counter)  # why -> changes, those of earlier runs too
    totals: Totals | None = None  # None: this run did not plan
    enqueued: int = 0
    delivered: list[Delivered] = field(default_factory=list)
    frozen: Sequence[Freeze] = ()  # fields over which a fight was found to have begun
    overtaken: Sequence[
        str
    ] = ()  # what an undo was to restore and is left as somebody else made it since, each with why
    aside: int = 0  # changes that the systems refused, those of earlier runs too
    doubtful: Counter[str] = field(
        default_factory=Counter
    )  # system -> changes of which nobody knows yet whether they are there
    mends: Sequence[str] = ()  # what to do about them, what helps most first
    hidden: Mapping[str, str] = field(default_factory=dict)  # what the systems do not show us -> what to do about it
    left_behind: Sequence[LeftBehind] = ()  # systems that are not configured any more
    failures: dict[str, ConnectorError] = field(default_factory=dict)  # system -> why it was left out
    paused: dict[str, Pause] = field(default_factory=dict)  # system -> who paused it, and when
    is_stopped: bool = False  # somebody asked it to end before it was done

    @property
    def exit_code(self) -> int:
        """The highest code of all that went wrong; 0 when nothing did."""
        errors = [*self.failures.values(), *self.pulled.failures.values(), *self.pulled.stream_failures.values()]
        errors += [each.error for each in self.delivered if each.error is not None]
        codes = [
            max(error.exit_code, SystemFailure.exit_code)
            for error in errors
            if not isinstance(error, QuotaExhausted | Interrupted)
        ]
        if not all(counts.is_conserved for counts in self.pulled.counts.values()):
            codes.append(ConservationError.exit_code)
        if self.held:
            codes.append(UnsafePlan.exit_code)
        return max(codes, default=0)

    def add(self, portion: Plan, enqueued: int) -> None:
        """Count a portion of the plan."""
        self.planned += len(portion.changes)
        self.held.update(portion.held.values())
        self.totals = portion.totals
        self.enqueued += enqueued

    def as_json(self) -> dict[str, Any]:
        """What is kept of it in the state and shown by `--json`."""
        total = self.pulled.total
        return {
            "pulled": total.pulled, "applied": total.applied, "unchanged": total.unchanged, "filtered": total.filtered,
            "quarantined": total.quarantined, "resolved": self.resolved.records, "identity": self.resolved.counts,
            "scored": self.scored.subjects, "moved": self.staged.moved, "fired": self.staged.fired,
            "planned": self.planned, "held": self.held.total(), "suppressed": self.totals.suppressed if self.totals else 0,
            "left": dict(self.totals.left) if self.totals else {},
            "enqueued": self.enqueued, "aside": self.aside, "doubtful": self.doubtful.total(),
            "values_aside": self.pulled.values_aside, "hidden": list(self.hidden), "frozen": len(self.frozen),
            "overtaken": len(self.overtaken),
            "left_behind": [asdict(each) for each in self.left_behind],
            "delivered": [_delivered_json(each) for each in self.delivered],
            "calls": self._calls(),
            "failures": {name: str(error) for name, error in {**self.pulled.failures, **self.failures}.items()}
            | {f"{system} {stream}": str(error) for (system, stream), error in self.pulled.stream_failures.items()},
            "paused": sorted(self.paused), "stopped": self.is_stopped,
        }  # fmt: skip

    @property
    def errors(self) -> dict[str, ConnectorError]:
        """Why each system could not go on, whatever it was doing."""
        refused = {each.system: each.error for each in self.delivered if each.error is not None}
        return {**refused, **self.pulled.failures, **self.failures}

    def _calls(self) -> dict[str, int]:
        read = {f"{name}.read": calls for name, calls in self.pulled.calls.items()}
        return read | {f"{each.system}.write": each.calls for each in self.delivered}


def _delivered_json(each: Delivered) -> dict[str, Any]:
    return {
        "system": each.system, "accepted": each.accepted, "unchanged": each.unchanged, "rejected": each.rejected,
        "conflicts": each.conflicts, "waiting": each.waiting, "unknown": each.unknown, "tasks": each.tasks, "calls": each.calls,
        "codes": dict(each.codes), "error": str(each.error) if each.error else None,
    }  # fmt: skip
