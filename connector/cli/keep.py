"""Verbs that keep and remove what is stored: backup, restore, purge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from connector import clock
from connector.cli.attend import whoami
from connector.cli.house import open_house
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, WaitOption, err, escape, ok, print_json, tell
from connector.errors import ConnectorError
from connector.report import explain as explaining
from connector.state import erasure, lease
from connector.steps import copies
from connector.steps import purge as purging
from connector.steps.purge import Person, Receipt
from connector.steps.rehearsal import resolved
from connector.steps.setup import Moment, Setup

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it; without this nothing is changed.")]
WAIT_S = 300.0


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (backup, restore, purge):
        app.command()(verb)


def backup(
    directory: Annotated[
        Path | None, typer.Argument(help="A folder that is new or empty.", show_default="backups/<instant>")
    ] = None,
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
    wait: WaitOption = WAIT_S,
) -> None:
    """Copy both stores, as one pair, while the service runs."""
    loaded, setup = open_house(config, needs_secrets=False)
    folder = directory or loaded.directory / "backups" / f"{clock.now():%Y%m%d-%H%M%S}"
    patient = replace(setup, mart_section=setup.mart_section.model_copy(update={"wait_s": wait}))
    made, generation = copies.make(patient, folder)
    size = sum(file.stat().st_size for file in made.iterdir())
    if as_json:
        print_json({"directory": str(made), "generation": generation, "size_bytes": size})
        return
    tell(
        ok(
            f"both stores, last computed by run {generation}, are in {escape(str(made))} ({size / 1e6:,.1f} MB, for you alone)"
        )
    )
    tell("  they hold personal data; `connector restore` takes them back, `connector purge` reaches them there")


def restore(
    directory: Annotated[Path, typer.Argument(help="A folder that `connector backup` made.")],
    config: ConfigOption = CONFIG,
    yes: YesOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """Put the pair of a backup in the stores' place; the present pair is kept beside it."""
    _, setup = open_house(config, needs_secrets=False)
    found = copies.find(setup, directory)
    if not yes:
        raise ConnectorError(
            f"this replaces both stores by those in {found}",
            hint="stop the service, then give --yes; the present pair is kept",
        )
    with lease.hold(setup.state, wait_s=wait):
        former, purged = copies.restore(setup, directory)
    if as_json:
        print_json({"restored": str(directory), "former": str(former), "purged_records": purged})
        return
    tell(ok(f"restored from {escape(str(directory))}; the pair that was there is in {escape(str(former))}"))
    if purged:
        tell(f"  {purged} record{'' if purged == 1 else 's'} of people who were purged since were removed again")
    tell("  what the backup does not know is read by the next sync; what it had in flight is settled by reading")


def purge(
    person: Annotated[str, typer.Argument(help="An e-mail, a phone number, a CRM record id or a person id.")],
    config: ConfigOption = CONFIG,
    yes: YesOption = False,
    allow_again: Annotated[
        bool, typer.Option("--allow-again", help="Undo the keeping out: this e-mail or record may be taken in again.")
    ] = False,
    as_json: JsonOption = False,
    wait: WaitOption = WAIT_S,
) -> None:
    """Remove a person from everything that is stored here, with a receipt, and keep them out. First shows what would go."""
    _, setup = open_house(config, needs_secrets=False)
    if allow_again:
        _allow_again(setup, person)
        if as_json:
            print_json({"allowed_again": True})
        else:
            tell(ok("may be taken in again, with the next change or with `connector pull --full`"))
        return
    with lease.hold(setup.state, wait_s=wait):
        ended = purging.resume(setup)
        whom = _whom(setup, person.strip(), is_ended=bool(ended))
        if whom is None:
            receipt, file = ended[-1]
        elif yes:
            receipt, file = purging.purge(setup, whom, by=whoami())
        else:
            receipt, file = purging.look(setup, whom, by=whoami()), None
    is_done, records = file is not None, len(whom.records) if whom else 0
    if as_json:
        print_json(
            receipt.as_json() | {"is_done": is_done, "records": records, "persons": whom.subjects if whom else []}
        )
        return
    tell(
        f"person {', '.join(whom.subjects)}: {records} record{'' if records == 1 else 's'}"
        if whom
        else "a purge that had been cut off is ended now"
    )
    _show(receipt, records, is_done=is_done)
    if is_done:
        tell(ok(f"the receipt is in {escape(str(file))}"))
    else:
        tell("[yellow]Nothing was removed.[/yellow] The same with --yes removes it; that cannot be undone.", to=err)


def _whom(setup: Setup, asked: str, *, is_ended: bool) -> Person | None:
    """Who is meant, what was read since the last run included; None when nobody is left by that name and a purge has just been ended.
    Raises ConnectorError."""
    with resolved(setup, Moment(0, clock.now())) as (mart, left):
        found = explaining.find(setup, mart, asked)
        if not found and (gone := purging.departed(mart, [asked, *explaining.values_of(setup, asked)], left)).records:
            return gone
        if not found and is_ended:
            return None
        if not found:
            raise explaining.nobody(mart)
        if len(found) > 1:
            many = f"{len(found)} persons are known by that: {', '.join(found)}"
            raise ConnectorError(many, hint="give the person id")
        return purging.person(mart, found[0], left)


def _show(receipt: Receipt, records: int, *, is_done: bool) -> None:
    verb = "removed" if is_done else "to be removed"
    for place, counts in receipt.removed.items():
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()) or (
            "nothing" if is_done or place == "state" else "looked through"
        )
        tell(f"  {escape(place):<12} {verb}: {told}")
    kept_out = len(receipt.hashes)
    named = f"{records} record{'' if records == 1 else 's'} and " if records else ""
    known = f"{kept_out} identifier{'' if kept_out == 1 else 's'}"
    tell(f"  kept out     {named}{known}, as keyed hashes: no back-fill brings them back")
    tell("  not reached:")
    for each in receipt.unreached:
        tell(f"    [yellow]![/yellow] {escape(each)}")


def _allow_again(setup: Setup, person: str) -> None:
    key, asked = erasure.key_of(setup.state), person.strip()
    kinds = ("email", "phone", "social", "customer_number", "crm_id", "user_id", "device", "cookie", erasure.RECORD)
    values = {asked, *explaining.values_of(setup, asked)}
    count = erasure.allow_again(setup.state, [erasure.hashed(key, kind, value) for kind in kinds for value in values])
    if not count:
        raise ConnectorError(
            "nobody was kept out by that", hint="give the e-mail, phone number or record key that was purged"
        )
