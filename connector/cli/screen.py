"""What all commands share on the screen: consoles, the configuration option, errors in words, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from connector import clock, log
from connector.app import build
from connector.config import DEFAULT_FILE, Config, load
from connector.errors import ConfigError, ConnectorError
from connector.steps.setup import Progress as Hooks
from connector.steps.setup import Setup

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", envvar="CONNECTOR_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of text.")]
CONFIG = Path(DEFAULT_FILE)

out = Console(highlight=False, soft_wrap=True) if not sys.stdout.isatty() else Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def read_config(file: Path) -> Config:
    """The configuration, with the log set up as it says. Raises ConfigError."""
    config = load(file)
    log.configure(config.log)
    return config


def open_house(file: Path) -> tuple[Config, Setup]:
    """The configuration and the setup that it makes."""
    config = read_config(file)
    return config, build(config)


def print_json(value: Any) -> None:
    """JSON on standard output, nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def report_error(problem: ConnectorError) -> None:
    """An error in words: what happened, and what a person can do."""
    if isinstance(problem, ConfigError):
        for each in problem.problems:
            place = f"{each.file}:{each.line}" if each.line else each.file
            line = Text()
            line.append(place, style="bold")
            if each.path:
                line.append(f"  {each.path}", style="cyan")
            line.append(f"  {each.what}")
            if each.mend:
                line.append(f"; {each.mend}", style="green")
            err.print(line)
        count = len(problem.problems)
        name = problem.problems[0].file if problem.problems else ""
        where = f" in {name}" if name else ""
        err.print(f"{count} problem{'' if count == 1 else 's'}{where}. Nothing was read or written.")
        return
    where = f"{problem.system}: " if problem.system else ""
    err.print(f"[red]✗[/red] {escape(where + str(problem))}")
    if problem.hint:
        err.print(f"  {escape(problem.hint)}")
    if problem.request_id:
        err.print(f"  request id {escape(problem.request_id)}")


def ok(text: str) -> str:
    """A line's mark for what is right."""
    return f"[green]✓[/green] {text}"


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
    known: dict[str, TaskID] = {}

    def bar(name: str, done: int, total: int | None) -> None:
        if name not in known:
            known[name] = bars.add_task(name, total=total)
        bars.update(known[name], completed=done, total=max(total, done) if total is not None else None)

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
