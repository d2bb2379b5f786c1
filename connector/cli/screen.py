"""What all commands share on the screen: consoles, options, errors in words."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from connector.errors import ConfigError, ConnectorError

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", envvar="CONNECTOR_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of text.")]
CONFIG = Path("connector.toml")

out = Console(highlight=False, soft_wrap=True) if not sys.stdout.isatty() else Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def tell(markup: str) -> None:
    """A line or several; where the terminal is too narrow for one, what goes on below it is indented."""
    if out.soft_wrap:
        out.print(markup)
        return
    for line in Text.from_markup(markup).split("\n", allow_blank=True):
        indent = len(line.plain) - len(line.plain.lstrip())
        for number, part in enumerate(line[indent:].wrap(out, max(out.width - indent - 4, 20))):
            out.print(" " * (indent + (4 if number else 0)), part, sep="")


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


def when(resets_at: datetime | None) -> str:
    """When calls are there again, in words."""
    if resets_at is None:
        return "as soon as the system counts fewer calls"
    return f"from about {resets_at:%d %b %H:%M} UTC on"


def ok(text: str) -> str:
    """A line's mark for what is right."""
    return f"[green]✓[/green] {text}"
