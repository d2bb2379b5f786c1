"""What delivering will take: calls by system and lane, held against what is left of today's budget.

Pure; cuts the changes as delivering does, so that what it states is what will be counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.budget import Budget
from connector.model import LANES, Capabilities, Change, Lane
from connector.plan import batches

#: The calls that writing batches takes.
CountCalls = Callable[[Sequence[Sequence[Change]]], int]
_ORDER = {lane: place for place, lane in enumerate(LANES)}


@dataclass(frozen=True, slots=True)
class Cost:
    """What delivering takes at one system: calls by lane, and the changes by lane that today's budget has no room for.

    `asking` is how many calls may come on top, at most, to ask again whether the system is done with what it does by itself.
    """

    calls: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    budget: Budget | None = None
    asking: int = 0

    @property
    def total(self) -> int:
        """All calls, whether they fit or not."""
        return sum(self.calls.values())

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        told = self.budget.as_json() if self.budget else None
        return {
            "calls": self.total, "by_lane": dict(self.calls), "asking": self.asking, "waiting": dict(self.waiting),
            "budget": told,
        }  # fmt: skip


@dataclass
class Meter:
    """How many calls each batch adds to those before it, over one connection: what is asked once is counted once."""

    count_calls: CountCalls
    _seen: dict[tuple[str, bool], list[Change]] = field(default_factory=dict)

    def calls(self, batch: list[Change]) -> int:
        """The calls of the next batch."""
        before = list(self._seen.values())
        added = self.count_calls([*before, batch]) - self.count_calls(before)
        for change in batch:
            self._seen.setdefault((change.object_type, change.task is not None), [change])
        return added


def cost(
    changes: Iterable[Change],
    capabilities: Capabilities,
    budget: Budget | None,
    count_calls: CountCalls | None = None,
) -> Cost:
    """The cost of changes of one system that are pending in this order; `count_calls` if the account has its own.

    A batch counts for the lane of its most urgent change. Where one does not fit, it and all that come after it wait.
    """
    calls: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    meter, asking = Meter(count_calls or capabilities.count_calls), 0
    for batch in _in_order(changes, capabilities):
        asking += capabilities.count_waiting([batch])
        lane = urgency(batch).value
        calls[lane] += meter.calls(batch)
        left = budget.left(lane) if budget is not None else None
        if waiting or (left is not None and calls.total() > left):
            waiting.update(change.lane.value for change in batch)
    return Cost(dict(calls), dict(waiting), budget, asking)


def urgency(batch: Sequence[Change]) -> Lane:
    """The lane that a batch goes for: that of the most urgent of its changes; the others ride along."""
    return min((change.lane for change in batch), key=_ORDER.__getitem__)


def _in_order(changes: Iterable[Change], capabilities: Capabilities) -> Iterator[list[Change]]:
    """The batches as delivering sends them: lane by lane, the oldest first, so many at once."""
    ordered = sorted(changes, key=lambda change: _ORDER[change.lane])
    for start in range(0, len(ordered), capabilities.window):
        yield from batches(ordered[start : start + capabilities.window], capabilities)
