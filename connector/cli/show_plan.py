"""A plan on the screen: the persons first, then the numbers, then what is held and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from connector.cli.screen import out
from connector.cli.show_run import show_failures
from connector.model import Capabilities, Change
from connector.pipeline import Looked, Summary
from connector.plan import Totals
from connector.steps.planned import Shown
from connector.tables import POINT

FEW = 5
_LEFT = {
    "fill": "are there already (owner fill)",
    "defer": "are a person's for now (owner defer)",
    "alert": "drifted (owner alert)",
    "frozen": "are frozen (connector status)",
}
_ARROW = "→"
_LABELS = {
    "score": "score",
    "grade": "",
    "stage": "",
    "stage_since": "since",
    "reasons": "reasons",
    "person_id": "person id",
}


def show_plan(summary: Summary, looked: Looked, capabilities: Mapping[str, Capabilities], *, show_all: bool) -> None:
    """The plan as a person would like to see it."""
    plan, shown = looked.plan, looked.persons
    _pulled(summary)
    out.print()
    for person in shown if show_all else shown[:FEW]:
        _person(person, looked.owners)
    rest = len(shown) - FEW
    if rest > 0 and not show_all:
        out.print(f"  … {rest:,} more person{'' if rest == 1 else 's'} [dim](connector plan --all, or --json)[/dim]\n")
    records = {(change.system, change.object_type, change.native_id) for change in plan.changes if change.fields}
    fields = sum(len(change.fields) for change in plan.changes)
    tasks = sum(change.task is not None for change in plan.changes)
    _line("writes", f"{len(shown):,} persons · {len(records):,} records · {fields:,} fields · {tasks:,} tasks")
    calls = plan.calls(capabilities)
    _line("API calls", " · ".join(f"{system} {count:,}" for system, count in calls.items()) or "none")
    held = " · ".join(f"{count:,}: {reason}" for reason, count in Counter(plan.held.values()).items())
    share = f"brakes: {plan.totals.largest_share:.0%} of existing values would change"
    _line("held", (held or "nothing") + f"    [dim]{share}[/dim]")
    _line("not written", left_out(plan.totals) or "nothing left out")
    show_failures(summary)
    out.print("Nothing was written. `connector apply` writes it." if plan.changes else "Nothing to write.")


def left_out(totals: Totals) -> str:
    """What differs and is not written, with why."""
    parts = [f"{totals.suppressed:,} changed by too little to matter"] if totals.suppressed else []
    parts += [f"{count:,} {_LEFT[why]}" for why, count in totals.left.items()]
    return " · ".join(parts)


def _pulled(summary: Summary) -> None:
    total = summary.pulled.total
    counts = Counter[str]()
    for each in summary.resolved.counts.values():
        counts.update(each)
    merged = (
        f" {counts['merged']:,} would merge, {counts['split']:,} would split."
        if counts["merged"] or counts["split"]
        else ""
    )
    out.print(f"Pulled {total.pulled:,} records, {total.applied:,} of them new or changed.{merged}")


def _line(name: str, text: str) -> None:
    out.print(f"  [bold]{name:<13}[/bold] {text}")


def _person(person: Shown, owners: Mapping[tuple[str, str], str]) -> None:
    who = " · ".join(part for part in (person.name, person.title, person.account) if part)
    moves = "   ".join(
        f"{_LABELS[output]} {_value(before)} {_ARROW} {_value(after)}".strip()
        for output, (before, after) in person.outputs.items()
        if output in ("score", "grade", "stage")
    )
    out.print(f"  [bold]{escape(who)}[/bold]    {moves}")
    for reason in person.reasons[:3]:
        out.print(f"      [dim]{reason['points'] / POINT:+.1f}[/dim]  {escape(str(reason['text']))}")
    for change in person.changes:
        out.print(f"      {_change(change, owners)}")
    out.print()


def _change(change: Change, owners: Mapping[tuple[str, str], str]) -> str:
    if change.task is not None:
        owner = owners.get((change.system, change.task.owner or ""), change.task.owner or "nobody in particular")
        due = f"{change.task.due_at:%a} {change.task.due_at.day} {change.task.due_at:%b}"
        return (
            f"{change.system} [green]task (new)[/green]  “{escape(change.task.subject)}” for {escape(owner)}, due {due}"
        )
    count = len(change.fields)
    values = " · ".join(
        f"{escape(name)} {_value(change.before.get(name))} {_ARROW} {_value(after)}"
        for name, after in list(change.fields.items())[:3]
    )
    more = f" · {count - 3} more" if count > 3 else ""
    return f"{change.system} {change.object_type} {escape(change.native_id)}  [dim]{values}{more}[/dim]"


def _value(value: Any) -> str:
    text = "–" if value in (None, "") else str(value)
    return escape(text if len(text) <= 40 else text[:39] + "…")
