"""Verbs that attend to the service: pause, resume."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.markup import escape

from connector import clock
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, ok, open_house, out, print_json
from connector.state import pauses
from connector.steps.setup import Setup

SystemArgument = Annotated[str, typer.Argument(help="The system's name in the configuration.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (pause, resume):
        app.command()(verb)


def whoami() -> str:
    """The operator's name on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"


def pause(
    system: SystemArgument,
    config: ConfigOption = CONFIG,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who see it in `status`.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Leave a system out of every run until it is resumed; what is meant for it waits."""
    _, setup = open_house(config)
    _check(setup, system)
    made = pauses.ask(setup.state, system, by=whoami(), reason=reason, now=clock.now())
    if as_json:
        print_json({"system": system, "paused": True, "since": made.since_at.isoformat(), "by": made.by})
        return
    out.print(
        ok(f"{system} is paused since {made.since_at:%d %b %H:%M} UTC by {escape(made.by)}; a run at work ends first")
    )
    out.print(f"  `connector resume {system}` lets it take part again")


def resume(system: SystemArgument, config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Let a paused system take part again, from where it was."""
    _, setup = open_house(config)
    _check(setup, system)
    lifted = pauses.lift(setup.state, [system])
    if as_json:
        print_json({"system": system, "paused": False, "was_paused": bool(lifted)})
    elif lifted:
        out.print(
            ok(f"{system} takes part in the next run; what changed since {lifted[0].since_at:%d %b %H:%M} is read then")
        )
    else:
        out.print(f"{system} was not paused")


def _check(setup: Setup, system: str) -> None:
    if system not in setup.systems:
        raise typer.BadParameter(f"there is no system {system!r}; the configuration has {', '.join(setup.systems)}")
