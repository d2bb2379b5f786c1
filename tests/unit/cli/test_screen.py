"""A narrow terminal: what goes on below a line is indented, and nothing is cut off."""

from __future__ import annotations

import pytest
from rich.console import Console

from connector.cli import screen


def test_a_long_line_goes_on_indented_and_a_pipe_gets_it_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "  [bold]meeting[/bold], 12 Nov 2026, with the whole board of Northwind\n  and another"
    monkeypatch.setattr(screen, "out", Console(width=30, force_terminal=True, no_color=True, highlight=False))
    screen.tell(text)
    lines = [
        line.replace("\x1b[1m", "").replace("\x1b[0m", "").rstrip() for line in capsys.readouterr().out.splitlines()
    ]
    assert lines == ["  meeting, 12 Nov 2026,", "      with the whole board of", "      Northwind", "  and another"]
    monkeypatch.setattr(screen, "out", Console(width=30, highlight=False, soft_wrap=True))
    screen.tell(text)
    assert len(capsys.readouterr().out.splitlines()) == 2
