"""The summary of a run on the screen, in the seven words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from connector.cli.screen import escape, ok, tell, when
from connector.cli.show_status import show_left_behind
from connector.dispatch import Delivered
from connector.errors import ConnectorError, Interrupted, QuotaExhausted
from connector.summary import Summary

_FEW = 3  # of what helps with changes that are set aside


def show_summary(summary: Summary, *, has_refused: bool = False) -> None:
    """What a run did: one line for each word, then what is wrong and what to do. has_refused: it left out records of a saved plan."""
    total = summary.pulled.total
    if total.pulled:
        systems = Counter[str]()
        for (system, _), counts in summary.pulled.counts.items():
            systems[system] += counts.pulled
        by_system = ", ".join(f"{name} {rows:,}" for name, rows in systems.items() if rows)
        _line("pull", f"{_records(total.pulled)} ({by_system})")
        _line(
            "map",
            _parts(
                {
                    "applied": total.applied,
                    "unchanged": total.unchanged,
                    "filtered": total.filtered,
                    "quarantined": total.quarantined,
                }
            ),
        )
    elif set(summary.pulled.calls) - set(summary.pulled.failures) and not (
        summary.is_stopped and summary.totals is None
    ):
        _line("pull", "nothing changed")
    if summary.resolved.records:
        found = ", ".join(_resolved(kind, counts) for kind, counts in summary.resolved.counts.items())
        _line("resolve", f"{_records(summary.resolved.records)} looked at: {found}")
    if summary.scored.subjects:
        persons = f"{summary.scored.subjects:,} person{'' if summary.scored.subjects == 1 else 's'}"
        _line("score", f"{persons}, from the events of {_records(summary.scored.records)}")
    if summary.staged.moved or summary.staged.fired:
        _line("stage", _parts({"moved": summary.staged.moved, "fired a task": summary.staged.fired}))
    if summary.totals is not None:
        words = {
            "change" if summary.enqueued == 1 else "changes": summary.enqueued,
            "waiting, held or set aside already": summary.planned - summary.enqueued,
            "too small to write": summary.totals.suppressed,
        }
        _line("plan", _parts(words) or "nothing to write")
    for delivered in summary.delivered:
        _line("deliver", _delivered(delivered))
    _troubles(summary, has_refused=has_refused)


def _line(step: str, text: str) -> None:
    tell(f"[bold]{step:<9}[/bold] {text}", below=10)


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _parts(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def _resolved(kind: str, counts: Mapping[str, int]) -> str:
    moves = _parts({name: counts.get(name, 0) for name in ("new", "merged", "split", "retired")})
    found = counts.get("persons", 0)
    return f"{found:,} {kind}{'' if found == 1 else 's'}" + (f" ({moves})" if moves else "")


def _delivered(each: Delivered) -> str:
    counts = {
        "accepted": each.accepted, "there already": each.unchanged, "rejected": each.rejected, "gone": each.conflicts,
        "of unknown outcome": each.unknown, "waiting": sum(each.pending.values()),
        "held": each.waiting - sum(each.pending.values()),
    }  # fmt: skip
    what = _parts(counts) or "nothing to write"
    tasks = f", {each.tasks:,} task{'' if each.tasks == 1 else 's'}" if each.tasks else ""
    calls = f" in {each.calls:,} API call{'' if each.calls == 1 else 's'}" if each.calls else ""
    return f"{each.system:<12} {what}{tasks}{calls}"


def show_failures(summary: Summary) -> dict[str, ConnectorError]:
    """Which systems and streams were left out, and why; returns the systems."""
    left_out: dict[str, ConnectorError] = {**summary.failures, **summary.pulled.failures}
    for name, problem in left_out.items():
        if isinstance(problem, QuotaExhausted):
            tell(
                f"[yellow]![/yellow] {name} was not read to the end: {escape(str(problem))}\n  it goes on, {when(problem.resets_at)}"
            )
        elif isinstance(problem, Interrupted):
            tell(f"[yellow]![/yellow] {name} was not read to the end: {escape(str(problem))}")
        else:
            _trouble(f"{name} was left out: {problem}", problem.hint)
    for (system, stream), problem in summary.pulled.stream_failures.items():
        _trouble(f"{system} {stream} was left out: {problem}", problem.hint)
    return left_out


def show_left_out(summary: Summary) -> dict[str, ConnectorError]:
    """As `show_failures`, with the systems that a person paused."""
    left_out = show_failures(summary)
    for name, pause in summary.paused.items():
        tell(
            f"[yellow]![/yellow] {name} was left out: paused since {pause.since_at:%-d %b %H:%M} UTC by {escape(pause.by)}"
            f"\n  `connector resume {name}` lets it take part again"
        )
    return left_out


def show_hidden(summary: Summary) -> None:
    """The fields that the systems do not show us, and what to do about each."""
    for what, mend in summary.hidden.items():
        tell(f"[yellow]![/yellow] {escape(what)}\n  {escape(mend)}")


def _troubles(summary: Summary, *, has_refused: bool) -> None:
    left_out = show_left_out(summary)
    for each in summary.delivered:
        _wait_for_reading(each)
        if isinstance(each.error, QuotaExhausted):
            _waits_for_quota(each, each.error)
        elif each.error is not None and each.system not in left_out and not isinstance(each.error, Interrupted):
            _trouble(f"{each.system} stopped taking changes: {each.error}; {each.waiting:,} wait", each.error.hint)
    _lost(summary)
    for reason, count in summary.held.items():
        mend = "look with `connector status`, let go with `connector apply --held`"
        _trouble(f"{count:,} change{'' if count == 1 else 's'} held: {reason}", mend)
    show_doubtful(summary)
    _asides(summary)
    _fights(summary)
    _overtaken(summary)
    if summary.is_stopped:
        rest = ", which computes what is left" if summary.resolved.records and summary.totals is None else ""
        tell(f"[yellow]![/yellow] stopped; what waits goes with the next run{rest}")
    if summary.exit_code:
        tell(f"exit code {summary.exit_code}")
    elif (
        left_out
        or summary.paused
        or _is_left(summary)
        or summary.frozen
        or summary.overtaken
        or _is_busy(summary.delivered)
    ):
        return
    elif summary.totals and not (summary.planned or has_refused):
        tell(ok("all that is ours to write is there"))


def _asides(summary: Summary) -> None:
    quarantined, values = summary.pulled.total.quarantined, summary.pulled.values_aside
    if quarantined:
        _set_aside("1 record was" if quarantined == 1 else f"{quarantined:,} records were", "not readable")
    if values:
        _set_aside("1 value was" if values == 1 else f"{values:,} values were", "their records went on without them")
    if summary.aside:
        what = "1 change is" if summary.aside == 1 else f"{summary.aside:,} changes are"
        _set_aside(what, "refused by the system", summary.mends[:_FEW])
    show_hidden(summary)
    show_left_behind(summary.left_behind)


def _is_left(summary: Summary) -> bool:
    aside = summary.pulled.total.quarantined or summary.aside
    return bool(aside or summary.hidden or summary.left_behind or summary.doubtful.total() or summary.is_stopped)


def _fights(summary: Summary) -> None:
    for row in summary.frozen[:_FEW]:
        left_alone = f"{row.record} {row.field} is left alone until {row.until_at:%-d %b %H:%M}: {row.why}"
        _trouble(left_alone, f"`connector unfreeze '{row.record}'` lets the next sync write it again")
    if len(summary.frozen) > _FEW:
        tell(f"  [dim]… {len(summary.frozen) - _FEW:,} more with `connector status`[/dim]")


def _overtaken(summary: Summary) -> None:
    if summary.overtaken:
        many = len(summary.overtaken)
        what = (
            "1 value that an undo was to restore is"
            if many == 1
            else f"{many:,} values that an undo was to restore are"
        )
        tell(f"[yellow]![/yellow] {what} left alone:")
        for line in summary.overtaken[:_FEW]:
            tell(f"  {escape(line)}")
        if many > _FEW:
            tell(f"  [dim]… {many - _FEW:,} more; `connector explain` tells of each person[/dim]")


def _lost(summary: Summary) -> None:
    for (system, stream), counts in summary.pulled.counts.items():
        if not counts.is_conserved:
            what = f"{system} {stream}: the counts do not add up, so something was lost"
            _trouble(what, "report this; the data is kept")


def _set_aside(what: str, why: str, mends: Sequence[str] = ()) -> None:
    told = "".join(f"\n  {escape(mend)}" for mend in mends)
    tell(f"[yellow]![/yellow] {what} set aside: {why}{told}\n  `connector quarantine` says more")


def _waits_for_quota(each: Delivered, problem: QuotaExhausted) -> None:
    lanes = ", ".join(f"{lane} {count:,}" for lane, count in each.pending.items())
    waiting = sum(each.pending.values())
    changes = f"{waiting:,} change{'' if waiting == 1 else 's'} wait for calls ({lanes})"
    tell(
        f"[yellow]![/yellow] {each.system}: {changes}: {escape(str(problem))}\n  they go by themselves, {when(problem.resets_at)}"
    )


def show_doubtful(summary: Summary) -> None:
    """The changes that were sent, and of which nobody knows yet whether they are there."""
    for system, count in summary.doubtful.items():
        if count:
            one = "1 change is" if count == 1 else f"{count:,} changes are"
            tell(
                f"[yellow]![/yellow] {system}: {one} of unknown outcome; the next runs ask {system} before anything is sent again"
            )


def _wait_for_reading(each: Delivered) -> None:
    for object_type, count in each.unread.items():
        what = f"{count:,} change{'' if count == 1 else 's'} of {object_type} wait{'s' if count == 1 else ''}"
        tell(
            f"[yellow]![/yellow] {each.system}: {what} until these can be read: somebody may have changed them meanwhile"
        )


def _is_busy(delivered: Sequence[Delivered]) -> bool:
    return any(each.accepted or each.waiting for each in delivered)


def _trouble(what: str, hint: str) -> None:
    tell(f"[red]✗[/red] {escape(what)}" + (f"\n  {escape(hint)}" if hint else ""))
