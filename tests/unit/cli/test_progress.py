"""What a person sees of a run at work."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.progress import Progress

from connector.cli import progress


def _shown(bars: Progress) -> list[tuple[str, float, float | None]]:
    return [(task.description.strip(), task.completed, task.total) for task in bars.tasks if task.visible]


def test_only_what_is_at_work_has_a_bar() -> None:
    bars = Progress(console=Console(file=StringIO(), force_terminal=True), auto_refresh=False)
    hooks = progress._bars(bars)
    hooks.pulled("crm", "deals", 0, None)
    assert _shown(bars) == [], "a stream without news has a bar"
    hooks.pulled("crm", "deals", 65, None)
    hooks.pulled("crm", "people", 100, 250)
    assert _shown(bars) == [("pull      crm deals", 65, None), ("pull      crm people", 100, 250)]
    hooks.pulled("crm", "deals", 70, 70)
    hooks.pulled("crm", "people", 260, 250)
    assert _shown(bars) == []
    hooks.delivered("crm", 10, 20)
    assert _shown(bars) == [("deliver   crm", 10, 20)]
    hooks.say("done", "")
    assert _shown(bars) == []
