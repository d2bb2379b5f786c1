"""What all commands share on the screen: consoles, options, errors in words."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
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


def seconds(value: float) -> float:
    """An option that says how long. Raises BadParameter for what is no length."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value


WaitOption = Annotated[
    float, typer.Option("--wait", min=0, callback=seconds, help="Seconds to wait for another run to end.")
]


def a_file(path: Path | None) -> Path | None:
    """An option that names a file to write. Raises BadParameter where there is a folder."""
    if path is not None and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file in it")
    return path


#: A pipe gets each line whole, unless somebody says how wide it is (as `watch` does).
_IS_ENDLESS = not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit()
out = Console(highlight=False, soft_wrap=_IS_ENDLESS)
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


def tell(text: str, *, to: Console | None = None, below: int | None = None) -> None:
    """A line or several; what a terminal is too narrow for goes on below, indented, from column `below` on if there is room."""
    screen = to or out
    is_terminal = sys.stderr.isatty() if screen is err else not screen.soft_wrap
    if not is_terminal:
        screen.print(text)
        return
    for line in Text.from_markup(text).split("\n", allow_blank=True):
        indent = len(line.plain) - len(line.plain.lstrip())
        after = indent + 4 if below is None or not indent <= below <= screen.width - _LEAST else below
        parts = _wrapped(line[indent:], screen, max(screen.width - indent, _LEAST))
        screen.print(" " * indent, parts[0], sep="")
        if len(parts) > 1:
            rest = line[indent + len(parts[0].plain) :]
            rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
            for part in _wrapped(rest, screen, max(screen.width - after, _LEAST)):
                screen.print(" " * after, part, sep="")


@dataclass(frozen=True)
class Column:
    """A column of a table; one that `gives_way` is left out where the terminal is too narrow, the highest first."""

    head: str = ""
    is_number: bool = False
    gives_way: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Rows of marked-up cells under the columns' heads. The last column may be long: it goes on below itself."""
    heads = [[Text(column.head, style="bold") for column in columns]] if any(column.head for column in columns) else []
    cells = heads + [[Text.from_markup(cell) for cell in row] for row in rows]
    widths = [max((row[place].cell_len for row in cells), default=0) for place in range(len(columns))]
    kept = _that_fit(columns, widths)
    for row in cells:
        line = Text()
        for place in kept[:-1]:
            line.append_text(_padded(row[place], widths[place], columns[place]) + Text("  "))
        last = kept[-1]
        end = _padded(row[last], widths[last], columns[last]) if columns[last].is_number else row[last]
        start = line.cell_len
        parts = [end] if out.soft_wrap else _wrapped(end, out, max(out.width - start, _LEAST))
        for number, part in enumerate(parts or [end]):
            out.print(" " * start if number else line, part, sep="")


#: A last column that has less room than this is the reason to leave another column out.
_LEAST = 20


def _that_fit(columns: Sequence[Column], widths: Sequence[int]) -> list[int]:
    kept = list(range(len(columns)))
    least = [*widths[:-1], widths[-1] if columns[-1].is_number else min(widths[-1], _LEAST)]
    while not out.soft_wrap and sum(least[place] + 2 for place in kept) - 2 > out.width:
        place = max(kept, key=lambda place: columns[place].gives_way)
        if not columns[place].gives_way:
            break
        kept.remove(place)
    return kept


def _padded(cell: Text, width: int, column: Column) -> Text:
    space = Text(" " * (width - cell.cell_len))
    return space + cell if column.is_number else cell + space


_QUOTED = re.compile(r"`[^`\n]+`")
_GLUE = "\ue000"  # stands for a space while lines are broken; of the private use area


def _wrapped(line: Text, screen: Console, width: int) -> list[Text]:
    """The line in parts of that width; a command that one is to give stays in one part where that has room for it."""
    whole = line.plain
    line.plain = _QUOTED.sub(lambda found: found[0].replace(" ", _GLUE) if len(found[0]) <= width else found[0], whole)
    parts = list(line.wrap(screen, width)) or [line]
    for part in parts:
        part.plain = part.plain.replace(_GLUE, " ")
    return parts


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
            path = f"  [cyan]{escape(each.path)}[/cyan]" if each.path else ""
            mend = f"; [green]{escape(each.mend)}[/green]" if each.mend else ""
            tell(f"[bold]{escape(place)}[/bold]{path}  {escape(each.what)}{mend}", to=err)
        count = len(problem.problems)
        name = problem.problems[0].file if problem.problems else ""
        where = f" in {escape(name)}" if name else ""
        tell(f"{count} problem{'' if count == 1 else 's'}{where}. {otherwise}", to=err)
        return
    where = f"{problem.system}: " if problem.system else ""
    tell(f"[red]✗[/red] {escape(where + str(problem))}", to=err)
    if problem.hint:
        tell(f"  {escape(problem.hint)}", to=err)
    if problem.request_id:
        tell(f"  request id {escape(problem.request_id)}", to=err)


def when(resets_at: datetime | None) -> str:
    """When calls are there again, in words."""
    if resets_at is None:
        return "as soon as the system counts fewer calls"
    return f"from about {resets_at:%-d %b %H:%M} UTC on"


def ok(text: str) -> str:
    """A line's mark for what is right."""
    return f"[green]✓[/green] {text}"
