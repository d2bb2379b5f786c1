"""The command line. One file per group of verbs; this one puts them together and turns errors into words and exit codes."""

from __future__ import annotations

import sys

import typer

from connector import __version__, clock
from connector.cli.asides import add_to as add_asides
from connector.cli.attend import add_to as add_attend
from connector.cli.keep import add_to as add_keep
from connector.cli.look import add_to as add_look
from connector.cli.operate import add_to as add_operate
from connector.cli.prepare import add_to as add_prepare
from connector.cli.screen import err, report_error
from connector.cli.take_back import add_to as add_take_back
from connector.cli.try_out import add_to as add_try_out
from connector.errors import ConnectorError

app = typer.Typer(
    name="connector",
    help="Makes one customer out of the traces in many systems, scores it, and writes the answer back into the CRM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for add in (add_prepare, add_operate, add_look, add_attend, add_asides, add_keep, add_take_back, add_try_out):
    add(app)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Show the version and leave.", is_eager=True)) -> None:
    if version:
        print(f"connector {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the `connector` command."""
    try:
        clock.now()
    except ValueError:
        err.print("CONNECTOR_NOW is not an instant; write it as 2026-11-24T12:00:00+00:00, or unset it")
        sys.exit(2)
    try:
        app()
    except ConnectorError as problem:
        report_error(problem)
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        sys.exit(0)
