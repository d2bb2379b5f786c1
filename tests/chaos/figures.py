"""What happened in a play, in figures: what was drawn and what of it was hit, what was done, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.faults import KINDS

State = Callable[[str], list[tuple[Any, ...]]]
_READ = (
    "message LIKE 'found in the system%' OR message LIKE 'not in the system%' OR message LIKE 'the system''s index%'"
)
#: Counts of the state's tables; a store that is restored forgets some of them.
_COUNTED = {
    "changes": "SELECT result, count(*) FROM delivery GROUP BY 1",
    "reconciled by reading": f"SELECT message, count(*) FROM delivery WHERE {_READ} GROUP BY 1",
    "runs": "SELECT status, count(*) FROM run GROUP BY 1",
    "frozen": "SELECT CASE writer WHEN 'connector undo' THEN 'by undo' ELSE 'by a fight' END, count(*) FROM freeze GROUP BY 1",
}


@dataclass
class Figures:
    """Counts of one play."""

    counts: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)  # kind of trouble -> how often
    struck: Counter[str] = field(default_factory=Counter)  # the same, those that hit anything
    hits: Counter[str] = field(default_factory=Counter)  # the same, how many calls or records
    forgotten: dict[str, Counter[str]] = field(default_factory=dict)

    def hit(self, kind: str, times: int = 1) -> None:
        """A trouble hit so many calls or records."""
        self.hits[kind] += times
        self.struck[kind] += times > 0

    def keep(self, present: State, backup: State) -> None:
        """A backup is about to take the place of the present store: what it does not know is kept here."""
        for name, query in _COUNTED.items():
            lost = Counter(dict(present(query)))
            lost.subtract(dict(backup(query)))
            self.forgotten.setdefault(name, Counter()).update(lost)

    def troubles(self) -> dict[str, str]:
        """By kind: how many were drawn, how many of these hit, and how many calls or records."""
        return {kind: f"{self.drawn[kind]}/{self.struck[kind]}/{self.hits[kind]}" for kind in sorted(KINDS)}

    def never_hit(self) -> list[str]:
        """The kinds that were drawn, and hit nothing."""
        return sorted(kind for kind in self.drawn if not self.hits[kind])

    def told(self, state: State) -> dict[str, Any]:
        """Everything, by name."""
        counted = {}
        for name, query in _COUNTED.items():
            total = Counter(dict(state(query)))
            total.update(self.forgotten.get(name, {}))
            counted[name] = {key: count for key, count in sorted(total.items()) if count}
        return {
            "kills": dict(self.kills),
            "commands, perturbed": dict(sorted(self.commands.items())),
            "drawn/hit/times": self.troubles(),
            "drawn and never hit": self.never_hit() or "none",
            **counted,
            **dict(sorted(self.counts.items())),
        }
