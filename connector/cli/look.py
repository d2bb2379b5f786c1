"""Verbs that look into the mart: explain, stages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from connector import clock, lifecycle
from connector.cli.house import open_house
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, out, print_json
from connector.cli.show_person import show_person
from connector.report import explain as explaining


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(explain)
    app.command()(stages)


def explain(
    person: Annotated[str, typer.Argument(help="An e-mail, a phone number, a CRM record id or a person id.")],
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Everything about one person, and why: records, evidence, score lines, stages, writes."""
    _, setup = open_house(config, needs_secrets=False)
    found = explaining.explain(setup, person, clock.now())
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        show_person(each)


def stages(config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """For each stage: persons in it, their average time, the share that moved up, and their engagement."""
    _, setup = open_house(config, needs_secrets=False)
    with setup.mart() as mart:
        told = lifecycle.stage_metrics(setup.lifecycle, mart.table("stage_interval"), mart.table("score"), clock.now())
        rows = mart.arrow(told).to_pylist()
    if as_json:
        print_json(rows)
        return
    out.print(
        f"[bold]{'stage':<12}{'persons':>9}{'days in it':>12}{'moved up':>10}{'fell back':>11}{'conversion':>12}{'engagement':>12}[/bold]"
    )
    for row in rows:
        days, share, engaged = row["average_days"], row["conversion"], row["average_engagement"]
        out.print(
            f"{row['stage']:<12}{row['contacts']:>9,}{'–' if days is None else f'{days:,.1f}':>12}{row['moved_up']:>10,}"
            f"{row['fell_back']:>11,}{'–' if share is None else f'{share:.0%}':>12}{'–' if engaged is None else f'{engaged + 0:.1f}':>12}"
        )
