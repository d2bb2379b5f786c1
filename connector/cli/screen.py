"""What all commands share on the screen: consoles, options, errors in words."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import markup
from rich.console import Console
from rich.text import Text

from connector.errors import ConfigError, ConnectorError

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", envvar="CONNECTOR_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of text.")]
CONFIG = Path("connector.toml")

out = Console(highlight=False, soft_wrap=True) if not sys.stdout.isatty() else Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


#: What a terminal takes for a command or for the direction of writing: anybody may put it into the name that a form asks for.
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSEEN = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # those of them that JSON leaves as they are


def escape(text: str) -> str:
    """What others wrote as text and nothing more, be it our markup or a command to the terminal."""
    return markup.escape(plain(text))


def plain(text: str) -> str:
    """The same for where there is no markup."""
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def tell(text: str) -> None:
    """A line or several; where the terminal is too narrow for one, what goes on below it is indented."""
    if out.soft_wrap:
        out.print(text)
        return
    for line in Text.from_markup(text).split("\n", allow_blank=True):
        indent = len(line.plain) - len(line.plain.lstrip())
        for number, part in enumerate(line[indent:].wrap(out, max(out.width - indent - 4, 20))):
            out.print(" " * (indent + (4 if number else 0)), part, sep="")


def print_json(value: Any) -> None:
    """JSON on standard output, nothing else."""
    text = json.dumps(value, indent=2, default=_simple, ensure_ascii=False)
    sys.stdout.write(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def _simple(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def report_error(problem: ConnectorError, *, otherwise: str = "Nothing was read or written.") -> None:
    """An error in words: what happened, and what a person can do. `otherwise`: what a broken configuration means."""
    if isinstance(problem, ConfigError):
        for each in problem.problems:
            place = f"{each.file}:{each.line}" if each.line else each.file
            line = Text()
            line.append(plain(place), style="bold")
            if each.path:
                line.append(f"  {plain(each.path)}", style="cyan")
            line.append(f"  {plain(each.what)}")
            if each.mend:
                line.append(f"; {each.mend}", style="green")
            err.print(line)
        count = len(problem.problems)
        name = problem.problems[0].file if problem.problems else ""
        where = f" in {escape(name)}" if name else ""
        err.print(f"{count} problem{'' if count == 1 else 's'}{where}. {otherwise}")
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
