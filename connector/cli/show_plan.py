"""A plan on the screen: the persons first, then the numbers, then what is held and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from connector.cli.screen import escape, tell, when
from connector.cli.show_run import show_doubtful, show_hidden, show_left_out
from connector.cli.show_status import show_left_behind
from connector.cost import Cost
from connector.model import Change, Finding
from connector.pipeline import Looked
from connector.plan import Totals
from connector.steps.planned import Shown
from connector.steps.preview import Again
from connector.summary import Summary
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


Unready = Sequence[tuple[str, Finding]]


def show_plan(summary: Summary, looked: Looked, unready: Unready, *, show_all: bool) -> None:
    """The plan as a person would like to see it; `unready`: what is missing in a system for its changes to be taken."""
    plan, shown = looked.plan, looked.persons
    _pulled(summary)
    tell("")
    for person in shown if show_all else shown[:FEW]:
        _person(person, looked.owners)
    rest = len(shown) - FEW
    if rest > 0 and not show_all:
        tell(f"  … {rest:,} more person{'' if rest == 1 else 's'} [dim](connector plan --all, or --json)[/dim]\n")
    records = {(change.system, change.object_type, change.native_id) for change in plan.changes if change.fields}
    fields = sum(len(change.fields) for change in plan.changes)
    tasks = sum(change.task is not None for change in plan.changes)
    counts = {"person": len(shown), "record": len(records), "field": fields, "task": tasks}
    held = f"    [yellow]{_part(len(plan.held), len(plan.changes))} held[/yellow]" if plan.held else ""
    _line("writes", " · ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items()) + held)
    _again(looked, show_all=show_all)
    _lines("API calls", [_cost(name, each, looked, summary) for name, each in looked.preview.costs.items()] or ["none"])
    why = [f"{count:,} change{'' if count == 1 else 's'}: {escape(reason)}" for reason, count in summary.held.items()]
    _lines("held", why or [f"nothing    [dim]brakes: {brake_share(plan.totals)}[/dim]"])
    aside = looked.preview.aside
    not_written = [left_out(plan.totals)] + ([f"{aside:,} set aside (connector quarantine)"] if aside else [])
    _line("not written", " · ".join(part for part in not_written if part) or "nothing left out")
    show_left_out(summary)
    show_doubtful(summary)
    show_hidden(summary)
    show_left_behind(summary.left_behind)
    for system, finding in unready:
        tell(f"[red]✗[/red] {system} {escape(finding.what)}\n  {escape(finding.mend)}")
    _end(summary, looked, is_ready=not unready)


def brake_share(totals: Totals) -> str:
    """Of the lane of which the largest share would change, how much, in values: a share of few holds nothing."""
    lane = max(totals.overwritten, key=totals.share, default="")
    changing, there = totals.overwritten.get(lane, 0), totals.existing.get(lane, 0)
    return f"{changing:,} of {there:,} existing values would change" if changing else "no existing value would change"


def _end(summary: Summary, looked: Looked, *, is_ready: bool) -> None:
    held = len(looked.plan.held)
    if not looked.plan.changes and not looked.preview.again:
        waits = "; `connector apply --held` lets go what is held" if summary.held else ""
        tell("Nothing to write" + (", as far as was read" if summary.errors else "") + waits + ".")
    elif held and held == len(looked.plan.changes):
        tell("Nothing was written. `connector apply --force` writes what is held, too.")
    else:
        but = f" (without {', '.join(summary.paused)})" if summary.paused else ""
        then = "" if is_ready else ", once the systems are ready"
        rest = "; with `--force` what is held, too" if held else ""
        tell(f"Nothing was written. `connector apply` writes it{but}{then}{rest}.")


def _again(looked: Looked, *, show_all: bool) -> None:
    """What goes besides the news, with why: few of each kind, without those that stand with their persons already."""
    planned = {change.key for change in looked.plan.changes}
    kinds: dict[str, list[Again]] = {}
    for each in looked.preview.again:
        kinds.setdefault(each.why, []).append(each)
    lines = []
    for why, found in kinds.items():
        lines.append(f"{len(found):,} {escape(why)}")
        besides = [each for each in found if each.change.key not in planned]
        lines += [f"  {_change(each.change, looked.owners)}" for each in (besides if show_all else besides[:2])]
    _lines("goes again", lines)


def _part(count: int, whole: int) -> str:
    return "all of it is" if count == whole else f"{count:,} of {whole:,} changes are"


def _cost(name: str, told: Cost, looked: Looked, summary: Summary) -> str:
    """The calls to one system, by lane, and whether today's budget has room for them."""
    lanes = ", ".join(f"{lane} {calls:,}" for lane, calls in told.calls.items() if calls)
    text = f"{name} {told.total:,}" + (f" ({lanes})" if len(told.calls) > 1 else "")
    text += f" and up to {told.asking} to ask again whether its bulk jobs are done" if told.asking else ""
    if name in summary.paused:
        return f"{text}; paused: they wait for `connector resume {name}`"
    more = looked.preview.let_go.get(name, 0)
    held = f" · [yellow]{more:,} more once what is held is let go[/yellow]" if more else ""
    if told.budget is None or (calls := told.budget.calls) is None:
        return text + ("; it has not told its limit" if name not in summary.errors else "") + held
    text += f" of {max(calls - told.budget.ours, 0):,} left of our {calls:,} today{held}"
    if not told.waiting:
        return text
    waiting = ", ".join(f"{count:,} of the {lane} lane" for lane, count in told.waiting.items())
    return f"{text}; [yellow]do not fit: {waiting} wait[/yellow], {when(told.budget.resets_at)}"


def as_json_besides(summary: Summary, looked: Looked, unready: Unready) -> dict[str, Any]:
    """What a script sees besides the plan itself: its calls, their cost of the budget, what goes again, and what is wrong."""
    found = looked.preview
    return {
        "calls": {name: each.total for name, each in found.costs.items()},
        "costs": {name: each.as_json() for name, each in found.costs.items()},
        "let_go": dict(found.let_go),
        "again": [_again_json(each) for each in found.again],
        "aside": found.aside,
        "unready": [{"system": system, "what": each.what, "mend": each.mend} for system, each in unready],
        "left_behind": summary.as_json()["left_behind"],
    }  # fmt: skip


def _again_json(each: Again) -> dict[str, str]:
    change = each.change
    record = f"{change.object_type} {change.native_id}"
    return {"key": change.key, "system": change.system, "record": record, "why": each.why}


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
    if total.pulled or merged:
        tell(f"Pulled {total.pulled:,} records, {total.applied:,} of them new or changed.{merged}")
    else:
        tell("Nothing new was read.")


def _line(name: str, text: str) -> None:
    tell(f"  [bold]{name:<13}[/bold] {text}", below=16)


def _lines(name: str, texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        _line("" if number else name, text)


def _person(person: Shown, owners: Mapping[tuple[str, str], str]) -> None:
    who = " · ".join(part for part in (person.name, person.title, person.account) if part)
    moves = "   ".join(
        f"{_LABELS[output]} {_value(before)} {_ARROW} {_value(after)}".strip()
        for output, (before, after) in person.outputs.items()
        if output in ("score", "grade", "stage")
    )
    tell(f"  [bold]{escape(who)}[/bold]    {moves}")
    for reason in person.reasons[:3]:
        tell(f"      [dim]{reason['points'] / POINT:+.1f}[/dim]  {escape(str(reason['text']))}")
    for change in person.changes:
        tell(f"      {_change(change, owners)}")
    tell("")


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
