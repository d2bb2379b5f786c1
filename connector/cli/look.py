"""Verbs that look into the mart: explain, stages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from connector import clock, lifecycle
from connector.cli.house import open_house
from connector.cli.screen import CONFIG, Column, ConfigOption, JsonOption, print_json, table
from connector.cli.show_person import MANY, show_few, show_persons
from connector.report import explain as explaining

_STAGES = (
    Column("stage"),
    Column("persons", is_number=True),
    Column("days in it", is_number=True),
    Column("moved up", is_number=True, gives_way=1),
    Column("fell back", is_number=True, gives_way=2),
    Column("conversion", is_number=True),
    Column("engagement", is_number=True),
)


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
    if len(found) > MANY:
        show_persons(found)
    else:
        show_few(found)


def stages(config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """For each stage: persons in it, their average time, the share that moved up, and their engagement."""
    _, setup = open_house(config, needs_secrets=False)
    with setup.mart() as mart:
        told = lifecycle.stage_metrics(setup.lifecycle, mart.table("stage_interval"), mart.table("score"), clock.now())
        rows = mart.arrow(told).to_pylist()
    if as_json:
        print_json(rows)
        return
    shown = []
    for row in rows:
        days, share, engaged = row["average_days"], row["conversion"], row["average_engagement"]
        shown.append([
            row["stage"], f"{row['contacts']:,}", "–" if days is None else f"{days:,.1f}", f"{row['moved_up']:,}", f"{row['fell_back']:,}",
            "–" if share is None else f"{share:.0%}", "–" if engaged is None else f"{round(engaged, 1) + 0:.1f}",
        ])  # fmt: skip
    table(_STAGES, shown)
