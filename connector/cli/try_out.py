"""Verbs to try the product out without any account: sandbox, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli.screen import a_file, err, ok, tell
from connector.errors import ConnectorError

PortOption = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(sandbox)
    app.command()(demo)


def sandbox(
    data: Annotated[
        Path, typer.Option("--data", help="Where its data lives; an existing folder is used as it is.")
    ] = Path("sandbox"),
    people: Annotated[
        int, typer.Option("--people", min=0, help="How many records of people to invent, over both systems.")
    ] = 4_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same people.")] = 7,
    salesforce_port: PortOption = 0,
    hubspot_port: PortOption = 0,
    ready_file: Annotated[
        Path | None, typer.Option(callback=a_file, help="Gets the addresses as JSON once it listens.")
    ] = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Without rate limits and daily quotas.")] = False,
) -> None:
    """Serve an imitated Salesforce and an imitated HubSpot on loopback until SIGTERM."""
    from connector.sandbox import InUse, Options, Running, serve
    from connector.sandbox.context import Settings

    def say(running: Running) -> None:
        tell(ok(f"salesforce {running.salesforce_url}"), to=err)
        tell(ok(f"hubspot    {running.hubspot_url}"), to=err)
        shown = options.settings
        tell(f"  SF_CLIENT_ID={shown.salesforce_client_id} SF_CLIENT_SECRET={shown.salesforce_client_secret}", to=err)
        tell(f"  HUBSPOT_TOKEN={shown.hubspot_access_token}   both addresses go under their systems as url = …", to=err)
        tell(f"  data in {data}, admin under {running.salesforce_url}/_sandbox; Ctrl-C ends it", to=err)

    options = Options(
        data=data, people=people, seed=seed, salesforce_port=salesforce_port, hubspot_port=hubspot_port, ready_file=ready_file,
        settings=Settings(are_limits_on=not no_limits),
    )  # fmt: skip
    try:
        serve(options, on_ready=say)
    except InUse as problem:
        raise ConnectorError(str(problem), hint="end that one, or give this one another folder with --data") from None


def demo(
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where the demo keeps everything.")] = Path(
        "demo"
    ),
    people: Annotated[
        int, typer.Option("--people", min=100, help="How many records of people to invent, over both systems.")
    ] = 4_000,
    seed: Annotated[int, typer.Option("--seed")] = 7,
) -> None:
    """The whole product in two minutes, on two imitated CRMs: the commands of a real user, one after another."""
    from connector.cli.demo import Demo
    from connector.sandbox import InUse

    try:
        Demo(directory, people, seed).play()
    except InUse as problem:
        raise ConnectorError(
            str(problem), hint="end that one, or give this one another folder with --directory"
        ) from None
