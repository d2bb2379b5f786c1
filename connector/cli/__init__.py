"""The command line. One file per group of verbs; this one puts them together and turns errors into words and exit codes."""

from __future__ import annotations

import sys

import typer

from connector import __version__
from connector.cli import look, operate, prepare, try_out
from connector.cli.screen import report_error
from connector.errors import ConnectorError

app = typer.Typer(
    name="connector",
    help="Makes one customer out of the traces in many systems, scores it, and writes the answer back into the CRM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for part in (prepare, operate, look, try_out):
    part.add_to(app)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Show the version and leave.", is_eager=True)) -> None:
    if version:
        print(f"connector {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the `connector` command."""
    try:
        app()
    except ConnectorError as problem:
        report_error(problem)
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        sys.exit(0)
