"""Records the pictures of the README: runs the demo, real commands over real HTTP, and draws what its terminal showed.

    python docs/pictures/record.py [people]

Every scene of the demo begins with the command that it runs; the scenes named below become SVG files beside this script.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
WIDTH = 124
PEOPLE = "4000"
#: picture -> the words that its scene's command begins with, which of these scenes it is, and how many lines it may have
SCENES = {"plan": ("plan", 0, 48), "sync": ("sync", -1, 20), "explain": ("explain", -1, 40)}
_COMMAND = re.compile(r"^\$ connector (.+)$")
_RULE = re.compile(r"^.*─{20,}$")


def record(people: str) -> list[tuple[str, list[Text]]]:
    """The demo's scenes: the command, and the lines that it printed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "connector", "demo", "--directory", f"{folder}/demo", "--people", people]
        environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
        shown = subprocess.run(  # noqa: S603 - our own command line
            command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    scenes: list[tuple[str, list[Text]]] = []
    for line in Text.from_ansi(shown.stdout).split("\n"):
        found = _COMMAND.match(line.plain.strip())
        if found:
            scenes.append((found[1], []))
        elif scenes and _RULE.match(line.plain):
            scenes.append(("", []))
        elif scenes:
            scenes[-1][1].append(line)
    return scenes


def draw(name: str, scenes: list[tuple[str, list[Text]]]) -> Path:
    """One scene as an SVG file."""
    words, which, most = SCENES[name]
    command, lines = [scene for scene in scenes if scene[0].partition(" ")[0] == words][which]
    console = Console(record=True, width=WIDTH, highlight=False, file=io.StringIO())
    console.print(Text.assemble(("$ ", "dim"), (f"connector {command}", "bold cyan")))
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines[:most]:
        console.print(line)
    if len(lines) > most:
        console.print(Text(f"… {len(lines) - most} more lines", "dim"))
    file = HERE / f"{name}.svg"
    console.save_svg(str(file), title=f"connector {words}", unique_id=f"connector-{name}")
    return file


def main() -> None:
    """Draw all pictures."""
    scenes = record(sys.argv[1] if len(sys.argv) > 1 else PEOPLE)
    for name in SCENES:
        sys.stdout.write(f"{draw(name, scenes)}\n")


if __name__ == "__main__":
    main()
