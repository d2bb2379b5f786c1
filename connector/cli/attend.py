"""Verbs that attend to the service, and need its books only: status, pause, resume, unfreeze."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from connector import clock
from connector.cli.books import open_books
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, escape, ok, print_json, tell
from connector.cli.show_status import show_status
from connector.errors import ConnectorError
from connector.report import status as reporting
from connector.state import State, freezes, pauses

SystemArgument = Annotated[str, typer.Argument(help="The system's name in the configuration.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (status, pause, resume, unfreeze):
        app.command()(verb)


def whoami() -> str:
    """The operator's name on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"


def status(config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """How the service is: runs, streams, what waits, what is held, what is set aside."""
    books = open_books(config)
    told = reporting.status(books.state, clock.now(), books.systems)
    if as_json:
        print_json(reporting.as_json(told))
    else:
        show_status(told, books.systems)


def pause(
    system: SystemArgument,
    config: ConfigOption = CONFIG,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who see it in `status`.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Leave a system out of every run until it is resumed; what is meant for it waits."""
    books = open_books(config)
    books.check(system)
    made = pauses.ask(books.state, system, by=whoami(), reason=reason, now=clock.now())
    if as_json:
        print_json({"system": system, "paused": True, "since": made.since_at.isoformat(), "by": made.by})
        return
    tell(
        ok(f"{system} is paused since {made.since_at:%-d %b %H:%M} UTC by {escape(made.by)}; a run at work ends first")
    )
    tell(f"  `connector resume {system}` lets it take part again")


def resume(system: SystemArgument, config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Let a paused system take part again, from where it was."""
    books = open_books(config)
    books.check(system)
    lifted = pauses.lift(books.state, [system])
    if as_json:
        print_json({"system": system, "paused": False, "was_paused": bool(lifted)})
    elif lifted:
        tell(
            ok(
                f"{system} takes part in the next run; what changed since {lifted[0].since_at:%-d %b %H:%M} is read then"
            )
        )
    else:
        tell(f"{system} was not paused")


def unfreeze(
    records: Annotated[
        list[str] | None,
        typer.Argument(
            help="Records by key or id; or persons by e-mail, phone number or person id.", show_default="none"
        ),
    ] = None,
    config: ConfigOption = CONFIG,
    everything: Annotated[bool, typer.Option("--all", help="All frozen fields of all records.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the next sync write frozen fields again."""
    if not records and not everything:
        raise ConnectorError("no record is named", hint="name records as `connector status` shows them, or give --all")
    state = open_books(config).state
    count = freezes.end(state, None if everything else _meant(state, records or [], config), clock.now())
    if records and not count:
        hint = "give a record's key or id, or a person's e-mail, phone number or person id; `connector status` shows what is frozen"
        raise ConnectorError("nothing of that is frozen", hint=hint)
    if as_json:
        print_json({"released": count})
        return
    tell(ok(f"{count:,} field{'' if count == 1 else 's'} released; the next sync compares them"))


def _meant(state: State, asked: Sequence[str], config: Path) -> list[str]:
    """The frozen records that are named, and all of the persons who are: only those need the whole house."""
    named = {each: freezes.named(state, each.strip(), clock.now()) for each in asked}
    persons = [each.strip() for each, found in named.items() if not found]
    found = [record for records in named.values() for record in records]
    if persons:
        from connector.cli.house import open_house
        from connector.report import explain

        _, setup = open_house(config, needs_secrets=False)
        with setup.mart() as mart:
            found += [record for each in persons for record in explain.records(setup, mart, each)]
    return found
