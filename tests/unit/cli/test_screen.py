"""The screen: what goes on below a line is indented, nothing is cut off, and no text of others commands the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

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
    assert lines == ["  meeting, 12 Nov 2026, with", "      the whole board of", "      Northwind", "  and another"]
    monkeypatch.setattr(screen, "out", Console(width=30, highlight=False, soft_wrap=True))
    screen.tell(text)
    assert len(capsys.readouterr().out.splitlines()) == 2


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(screen, "out", Console(width=width, force_terminal=True, color_system=None, highlight=False))


def test_a_command_that_one_is_to_give_is_not_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _on_a_terminal(monkeypatch, 40)
    screen.tell("  it goes on once you have given `connector resume hubspot` here", below=5)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "  it goes on once you have given",
        "     `connector resume hubspot` here",
    ]


def test_where_a_column_has_no_room_for_what_goes_on_below_it_that_begins_further_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width, lines in (
        (54, ["  phone  +49402791900  salesforce  not used: a", "                       company's own"]),
        (42, ["  phone  +49402791900  salesforce  not", "      used: a company's own"]),
    ):
        _on_a_terminal(monkeypatch, width)
        screen.tell("  phone  +49402791900  salesforce  not used: a company's own", below=23)
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines


COLUMNS = (
    screen.Column("stream"),
    screen.Column("rows", is_number=True, gives_way=2),
    screen.Column("read", is_number=True, gives_way=1),
    screen.Column("last run"),
)


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (60, ["stream     rows     read  last run", "contacts  1,840  2 h ago  120 = 1 applied + 119 unchanged"]),
        (
            40,
            ["stream       read  last run", "contacts  2 h ago  120 = 1 applied + 119", "                   unchanged"],
        ),
        (32, ["stream    last run", "contacts  120 = 1 applied + 119", "          unchanged"]),
    ],
)
def test_of_a_narrow_table_columns_give_way_and_the_last_goes_on_below_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, lines: list[str]
) -> None:
    _on_a_terminal(monkeypatch, width)
    screen.table(COLUMNS, [["contacts", "1,840", "2 h ago", "120 = 1 applied + 119 unchanged"]])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines


def test_a_pipe_gets_all_of_a_table_in_one_line_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(screen, "out", Console(width=20, highlight=False, soft_wrap=True))
    screen.table(COLUMNS, [["contacts", "1,840", "2 h ago", "120 = 1 applied + 119 unchanged"]])
    assert capsys.readouterr().out.splitlines()[1] == "contacts  1,840  2 h ago  120 = 1 applied + 119 unchanged"


@pytest.mark.parametrize(("columns", "lines"), [({}, 1), ({"COLUMNS": "40"}, 3), ({"COLUMNS": ""}, 1)])
def test_a_pipe_is_as_wide_as_somebody_says_it_is(columns: dict[str, str], lines: int) -> None:
    code = "from connector.cli import screen; screen.tell('word ' * 20)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | columns, capture_output=True, check=True, text=True
    )
    assert len(done.stdout.splitlines()) == lines


EVIL = "Ann\x1b[2J\x9b31m\x00\r\n\u202eevil [bold]"


def test_what_others_wrote_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen.out.print(screen.escape(EVIL))
    assert capsys.readouterr().out == "Ann�[2J�31m����evil [bold]\n"


def test_json_holds_every_character_and_shows_none_that_commands(capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_json({"name": EVIL, "at": datetime(2026, 11, 24, 12, tzinfo=UTC)})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": EVIL, "at": "2026-11-24T12:00:00+00:00"}
    assert not {"\x1b", "\x9b", "\u202e"} & set(said)


def test_every_verb_escapes_by_the_screen() -> None:
    files = Path(screen.__file__).parent.glob("*.py")
    assert [file.name for file in files if "rich.markup" in file.read_text("utf-8")] == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_our_characters_shows_the_rest(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "connector.toml").write_text('[systems.crm]\nkind = "memory"\n')
    done = subprocess.run(
        [sys.executable, "-m", "connector", "status"],
        cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"nothing waits" in done.stdout


def test_an_instant_beyond_the_calendar_is_told_as_such(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "connector", "status"],
        cwd=tmp_path, env=os.environ | {"CONNECTOR_NOW": "9999-12-31T23:59:59.999999"}, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "CONNECTOR_NOW is not an instant" in done.stderr
