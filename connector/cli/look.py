"""Verbs that only look: explain, status."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from connector import clock
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, open_house, print_json
from connector.cli.show_person import show_person
from connector.cli.show_status import show_status
from connector.report import explain as explaining
from connector.report import status as reporting


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(explain)
    app.command()(status)


def explain(
    person: Annotated[str, typer.Argument(help="An e-mail, a phone number, a CRM record id or a person id.")],
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Everything about one person, and why: records, evidence, score lines, stages, writes."""
    _, setup = open_house(config)
    found = explaining.explain(setup, person)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        show_person(each)


def status(config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """How the service is: runs, streams, what waits, what is held, what is set aside."""
    loaded, setup = open_house(config)
    told = reporting.status(setup.state, clock.now())
    if as_json:
        print_json(reporting.as_json(told))
    else:
        show_status(told, list(loaded.systems))
