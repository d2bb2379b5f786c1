"""The status of the service on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from connector.cli.screen import Column, escape, ok, table, tell, when
from connector.report.status import Status
from connector.state import pauses
from connector.state.holdings import LeftBehind
from connector.state.models import Run, RunStep

_COUNTS = ("applied", "unchanged", "filtered", "quarantined")
#: what the summary of a run says, and how that reads
_SAID = {"pulled": "pulled", "applied": "applied", "enqueued": "changes"}
_STREAMS = (
    Column("Streams"),
    Column(),
    Column("read", is_number=True, gives_way=1),
    Column("changed", is_number=True),
    Column("rows held", is_number=True, gives_way=2),
    Column("last run"),
)
_MARKS = {"done": "[green]✓[/green]", "running": "[cyan]…[/cyan]", "stopped": "[yellow]■[/yellow]"}


def show_status(told: Status, systems: Sequence[str]) -> None:
    """Runs, streams, outbox, what is held and what is set aside."""
    if told.at_work is not None:
        which = "a run" if told.at_work.run is None else f"run {told.at_work.run}"
        tell(f"{which} is at work since {told.at_work.since_at:%-d %b %H:%M:%S} UTC")
    tell("[bold]Runs[/bold]")
    if not told.runs:
        tell("  none yet: connector sync")
    table([Column(), Column(is_number=True), *[Column()] * 2, Column(is_number=True), Column()], _runs(told))
    _alerts(told)
    _pauses(told)
    show_left_behind(told.left_behind)
    _streams(told, systems)
    _quotas(told, systems)
    _outbox(told)
    _others(told)


def show_left_behind(systems: Sequence[LeftBehind]) -> None:
    """The systems that are not configured any more, and what to do about each."""
    for each in systems:
        tell(f"[yellow]![/yellow] {escape(f'{each.system}: {each.what}')}\n  {escape(each.mend)}")


def _runs(told: Status) -> list[list[str]]:
    rows = []
    for run in told.runs:
        ended_at = None if run.status == "dead" else run.ended_at  # a dead run's end is when the next one found it
        took = f"{(ended_at - run.started_at).total_seconds():.1f} s" if ended_at else ""
        is_cut = told.is_cut(run)
        mark = _MARKS.get("dead" if is_cut else run.status, "[red]✗[/red]")
        code = f" · exit code {run.exit_code}" if run.exit_code else ""
        said = _said(run, is_cut=is_cut) + code
        rows.append([f"  {mark}", str(run.id), run.command, _ago(told.now, run.started_at), took, said])
    return rows


def _said(run: Run, *, is_cut: bool) -> str:
    """What a run did, or what became of it."""
    if is_cut:
        return "was cut off; the next one goes on"
    if run.status == "dead":
        return "was cut off; the next one went on"
    said = run.summary
    if "error" in said:
        return escape(said["error"].split("\n")[0][:80])
    if said.get("pulled") is None:
        return ""
    if run.command == "plan":
        said = said | {"enqueued": said.get("planned")}
    words = _SAID | ({"enqueued": "change"} if said.get("enqueued") == 1 else {})
    parts = [f"{said[name]:,} {word}" for name, word in words.items() if said.get(name)]
    accepted = sum(each["accepted"] for each in said.get("delivered", ()))
    if accepted and not said.get("enqueued"):
        parts.append(f"{accepted:,} that waited written")
    if said.get("overtaken"):
        parts.append(f"{said['overtaken']:,} left as others made them, though an undo was to restore them")
    if failures := list(said.get("failures", ())):
        parts.append(f"[red]left out: {escape(', '.join(failures[:3]))}{', …' if len(failures) > 3 else ''}[/red]")
    return " · ".join(parts) or "nothing new"


def _others(told: Status) -> None:
    """What other writers did to our fields."""
    if told.frozen or told.drift:
        tell("\n[bold]Other writers[/bold]")
    for each in told.drift:
        what = (
            "drifted, and nothing is written (owner alert)"
            if each.why == "alert"
            else "changed by somebody since we wrote"
        )
        tell(f"  {each.records:>5,}  {each.system} {each.object_type} {escape(each.field)} {what}")
    for row in told.frozen[:10]:
        tell(
            f"  [yellow]frozen[/yellow] {escape(row.record)} {escape(row.field)} until {row.until_at:%-d %b %H:%M}: {escape(row.why)}"
            f"    [dim]connector unfreeze '{escape(row.record)}'[/dim]"
        )
    if len(told.frozen) > 10:
        tell(f"  [dim]… {len(told.frozen) - 10:,} more frozen with --json[/dim]")


def _alerts(told: Status) -> None:
    if told.alerts or told.unsent:
        tell("\n[bold]Alerts[/bold]")
    for alert in told.unsent[-10:]:
        unsent = f"[yellow]not yet sent: {escape(', '.join(alert.untold))}[/yellow]"
        tell(
            f"  [green]✓[/green] over: {escape(alert.text)}  [dim]since {alert.ended_at:%-d %b %H:%M} UTC[/dim]  {unsent}"
        )
    for alert in told.alerts:
        unsent = f"  [yellow]not yet sent: {escape(', '.join(alert.untold))}[/yellow]" if alert.untold else ""
        tell(f"  [red]![/red] {escape(alert.text)}  [dim]since {alert.began_at:%-d %b %H:%M} UTC[/dim]{unsent}")
        if alert.hint:
            tell(f"    [dim]{escape(alert.hint)}[/dim]")


def _pauses(told: Status) -> None:
    for pause in told.pauses:
        since = f"since {pause.since_at:%-d %b %H:%M} UTC"
        if pause.kind == pauses.ASKED:
            why = f": {escape(pause.reason)}" if pause.reason else ""
            mend = f"`connector resume {pause.system}`"
            tell(f"[yellow]![/yellow] {pause.system} is paused {since} by {escape(pause.by)}{why}    [dim]{mend}[/dim]")
        else:
            mend = f"renew them, then `connector check {pause.system}`"
            tell(f"[red]✗[/red] {pause.system}: its credentials are refused {since}    [dim]{mend}[/dim]")


def _streams(told: Status, systems: Sequence[str]) -> None:
    if not told.polls:
        return
    counts = {(step.system, step.stream): step for step in told.steps}
    newest = max([poll.run for poll in told.polls] + [step.run for step in told.steps])
    out_of_reach = {step.system for step in told.steps if step.status != "done" and not step.stream}
    out_of_reach |= {pause.system for pause in told.pauses}
    rows = []
    for poll in told.polls:
        if poll.system not in systems:
            continue
        changed_at, held = told.changed_at.get(poll.key), told.rows.get(poll.key)
        changed = "–" if changed_at is None else _ago(told.now, changed_at)
        unread = "not read" if poll.system in out_of_reach else "not due"
        did = _counted(counts.get((poll.system, poll.stream)), "nothing new" if poll.run == newest else unread)
        read = _ago(told.now, poll.polled_at)
        rows.append(
            [f"  {poll.system}", poll.stream, read, changed, "–" if held is None else f"{held:,}", f"[dim]{did}[/dim]"]
        )
    tell("")
    table(_STREAMS, rows)
    for step in told.steps:
        if step.status != "done":
            tell(f"  [red]✗[/red] {f'{step.system} {step.stream}'.strip()}: {escape(step.message or step.status)}")


def _counted(step: RunStep | None, without: str) -> str:
    """What became of the rows that a stream brought: nothing is lost between two words. `without` rows it is this."""
    if step is not None and step.status != "done":
        return "failed"
    if step is None or not step.pulled:
        return without
    parts = [f"{count:,} {name}" for name in _COUNTS if (count := getattr(step, name))]
    return parts[0] if len(parts) == 1 else f"{step.pulled:,} = " + " + ".join(parts)


def _quotas(told: Status, systems: Sequence[str]) -> None:
    """What is left of our calls of today, as far as the systems told."""
    known = {name: each for name, each in told.quotas.items() if name in systems and each["budget"] is not None}
    if known:
        tell("\n[bold]API calls[/bold]")
    rows = []
    for name, each in known.items():
        left = max(each["budget"] - each["ours"], 0)
        of = f" · others {each['others']:,} of {each['limit']:,}" if each["limit"] is not None else ""
        mark = "[yellow]" if name in told.waits else "[dim]"
        at = datetime.fromisoformat(each["at"])
        rows.append([f"  {name}", f"{left:,} left of our {each['budget']:,} today{of} {mark}· {_ago(told.now, at)}[/]"])
    table([Column(), Column()], rows)


def _outbox(told: Status) -> None:
    tell("\n[bold]Outbox[/bold]")
    waiting = {key: count for key, count in told.waiting.items() if key[0] != "quarantined"}
    if not waiting:
        tell("  " + ok("nothing waits"))
    for (state, system, lane), count in sorted(waiting.items()):
        tell(f"  {count:,} {state.replace('_', ' ')}  {system} {lane}")
    for system, wait in told.waits.items():
        tell(
            f"  [yellow]waits for calls[/yellow] {system}: {escape(wait.why)}    [dim]goes {when(wait.until_at)}[/dim]"
        )
    for why, count in told.held.items():
        tell(f"  [yellow]held[/yellow] {count:,}: {escape(why)}    [dim]let go with `connector apply --held`[/dim]")
    tell("\n[bold]Set aside[/bold]")
    if not told.quarantine:
        tell("  " + ok("nothing"))
    causes = [
        [f"  {count:,}", f"{system} {escape(where)}: {escape(reason)}"]
        for system, where, reason, count in told.quarantine[:10]
    ]
    table([Column(is_number=True), Column()], causes)
    if len(told.quarantine) > 10:
        tell(f"  [dim]… {len(told.quarantine) - 10} more kinds with --json[/dim]")


def _ago(now: datetime, at: datetime) -> str:
    seconds = (now - at).total_seconds()
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{max(seconds, 0):.0f} s ago"
