"""The command line. One file per group of verbs; this one names them all, and turns errors into words and exit codes.

A verb's file is imported when the verb is called: most of them need engines that take a second to load, and `--help` needs none.
"""

from __future__ import annotations

import gc
import io
import sys
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from connector import __version__, clock
from connector.cli.ending import AT_END
from connector.cli.screen import err, report_error
from connector.errors import ConnectorError


class Verb(NamedTuple):
    """The file that a verb is in, and how `--help` lists it."""

    module: str
    panel: str
    line: str


_SET_UP, _RUN, _LOOK, _ATTEND, _KEEP, _TRY = "Set up", "Run", "Look", "Attend", "Keep and remove", "Try it out"
VERBS = {
    "init": Verb("prepare", _SET_UP, "Ask a few questions and write a commented configuration."),
    "check": Verb("prepare", _SET_UP, "What is wrong with access and fields, and how to mend it."),
    "install": Verb("prepare", _SET_UP, "Create the fields that are written; first shows them."),
    "sync": Verb("operate", _RUN, "One whole run, from pull to deliver."),
    "run": Verb("operate", _RUN, "Sync on schedule until SIGTERM."),
    "plan": Verb("operate", _RUN, "What a sync would write, and why. Writes nothing."),
    "apply": Verb("operate", _RUN, "Write a saved plan, or what a brake holds."),
    "pull": Verb("operate", _RUN, "Read what changed; compute and write nothing."),
    "explain": Verb("look", _LOOK, "Everything about one person, and why."),
    "status": Verb("attend", _LOOK, "How the service is: runs, streams, what waits or is held."),
    "stages": Verb("look", _LOOK, "For each stage: persons, time, conversion, engagement."),
    "quarantine": Verb("asides", _ATTEND, "What is set aside, and why: list, explain, try again."),
    "pause": Verb("attend", _ATTEND, "Leave a system out of every run until it is resumed."),
    "resume": Verb("attend", _ATTEND, "Let a paused system take part again."),
    "undo": Verb("take_back", _ATTEND, "Restore what a run changed, where nobody did since."),
    "unfreeze": Verb("attend", _ATTEND, "Let the next sync write frozen fields again."),
    "backup": Verb("keep", _KEEP, "Copy both stores, as one pair, while the service runs."),
    "restore": Verb("keep", _KEEP, "Put a backup in the stores' place."),
    "purge": Verb("keep", _KEEP, "Remove a person from all that is stored, and keep them out."),
    "demo": Verb("try_out", _TRY, "The whole product in two minutes, on two imitated CRMs."),
    "sandbox": Verb("try_out", _TRY, "Serve an imitated Salesforce and an imitated HubSpot."),
}


class Verbs(TyperGroup):
    """All verbs as `--help` lists them; the one that is called is imported then."""

    def __init__(self, **attributes: Any) -> None:
        listed = {name: TyperCommand(name, help=verb.line, rich_help_panel=verb.panel) for name, verb in VERBS.items()}
        super().__init__(**attributes | {"commands": listed})

    def resolve_command(self, context: Any, args: list[str]) -> Any:
        """The verb that is called, as it works."""
        name, _, rest = super().resolve_command(context, args)
        verb = command(name or "")
        for each in verb.get_params(context):
            if getattr(each, "is_flag", False):
                each.metavar = ""  # newer Typer shows a <bool> beside it, as if it took a value
        return name, verb, rest


def command(verb: str) -> Any:
    """A verb as a command that can be called. Raises KeyError when there is none of that name."""
    group = typer.Typer(rich_markup_mode="rich")
    import_module(f"connector.cli.{VERBS[verb].module}").add_to(group)
    return typer.main.get_group(group).commands[verb]


app = typer.Typer(
    name="connector",
    cls=Verbs,
    help="Makes one customer out of the traces in many systems, scores it, and writes the answer back into the CRM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


#: Expressions are thousands of small objects that all stay: a search for garbage after each 700 of them costs a tenth of a sync.
OBJECTS_BEFORE_A_COLLECTION = 50_000


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Show the version and leave.", is_eager=True)) -> None:
    if version:
        print(f"connector {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the `connector` command."""
    gc.set_threshold(OBJECTS_BEFORE_A_COLLECTION, *gc.get_threshold()[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no ✓ or é shows the rest
    try:
        clock.now()
    except (ValueError, OverflowError):
        err.print("CONNECTOR_NOW is not an instant; write it as 2026-11-24T12:00:00+00:00, or unset it")
        sys.exit(2)
    try:
        with AT_END:
            app(prog_name="connector")
    except ConnectorError as problem:
        report_error(problem)
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except UnicodeEncodeError:
        if not any("\udc80" <= sign <= "\udcff" for word in sys.argv for sign in word):
            raise
        report_error(ConnectorError("the command line holds bytes that are not UTF-8", hint="write it in UTF-8"))
        sys.exit(2)
    except OSError as problem:
        if problem.strerror is None:
            raise
        where = f"{problem.filename}: " if problem.filename else ""
        hint = "give another path or port, or see that it may be used and has room"
        report_error(ConnectorError(f"{where}{problem.strerror}", hint=hint))
        sys.exit(1)
