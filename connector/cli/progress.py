"""How far a run is: bars on a terminal, plain lines otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from connector import clock
from connector.cli.screen import err
from connector.steps.setup import Progress as Hooks


@contextmanager
def progress_hooks(*, is_quiet: bool = False) -> Iterator[Hooks]:
    """Progress bars on a terminal, plain lines otherwise, nothing when a script reads JSON."""
    if is_quiet:
        yield Hooks()
    elif err.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=err,
            transient=True,
        ) as bars:
            yield _bars(bars)
    else:
        yield Hooks(say=lambda step, text: err.print(f"{step:<9} {text}"), pulled=_plain_pulled())


_SAID_EVERY_S = 10.0


def _plain_pulled() -> Callable[[str, str, int, int | None], None]:
    """A line for each stream every ten seconds, with how long the rest will take at the pace so far."""
    began_s = clock.monotonic_s()
    said_s: dict[str, float] = {}

    def say(system: str, stream: str, rows: int, total: int | None) -> None:
        now_s, name = clock.monotonic_s(), f"{system} {stream}"
        if now_s - said_s.setdefault(name, began_s) < _SAID_EVERY_S:
            return
        said_s[name] = now_s
        of, left = "", ""
        if total is not None and rows and total > rows:
            left_s = (now_s - began_s) / rows * (total - rows)
            of, left = (
                f" of {total:,}",
                f", about {max(1, round(left_s / 60))} min left" if left_s > 60 else ", a minute left",
            )
        err.print(f"pull      {name} {rows:,}{of}{left}")

    return say


def _bars(bars: Progress) -> Hooks:
    """A bar for whatever is at work; what is done has none, so that all fit a screen."""
    known: dict[str, TaskID] = {}

    def bar(name: str, done: int, total: int | None) -> None:
        if name not in known and not done and not total:
            return  # a stream without news needs no bar
        if name not in known:
            known[name] = bars.add_task(name, total=total)
        of = max(total, done) if total is not None else None
        bars.update(known[name], completed=done, total=of, visible=done != of)

    def say(step: str, text: str) -> None:
        for task in known.values():
            bars.update(task, visible=False)
        known.clear()
        bars.console.print(f"[bold]{step:<9}[/bold] {text}")

    return Hooks(
        say=say,
        pulled=lambda system, stream, rows, total: bar(f"pull      {system} {stream}", rows, total),
        delivered=lambda system, done, of: bar(f"deliver   {system}", done, of),
    )
