"""The verb that takes a run back: undo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from connector import pipeline
from connector.cli.house import open_house
from connector.cli.progress import progress_hooks
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, WaitOption, escape, print_json, tell
from connector.cli.show_run import show_summary
from connector.errors import ConnectorError
from connector.scheduler import stopping_on_signals
from connector.steps.setup import Setup
from connector.undo import Undoing

_FEW = 10


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(name="undo")(undo_run)


def undo_run(
    run: Annotated[int, typer.Argument(help="The number of the run, as `connector status` shows it.")],
    config: ConfigOption = CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """Restore what was there before a run, where nobody has changed it since; say what cannot be restored.

    Reads first. What the run has not written yet is withdrawn. The fields are frozen, or the next sync would write them again:
    `connector unfreeze` lets it.
    """
    _, setup = open_house(config)
    if not any(1 <= run <= (newest.id or 0) for newest in setup.state.last_runs(1)):
        raise ConnectorError(f"there is no run {run}", hint="`connector status` shows the last ones")
    with (
        stopping_on_signals() as stop,
        progress_hooks(is_quiet=as_json) as hooks,
        pipeline.running(setup, "undo", wait_s=wait) as moment,
        pipeline.connected(setup) as (systems, failures),
    ):
        progress = replace(hooks, is_stopping=stop.is_asked)
        summary, found = pipeline.take_back(setup, systems, run, moment, progress, is_dry=dry_run)
        summary.failures = failures
        pipeline.finish(setup, summary, is_stopped=stop.is_asked())
    if as_json:
        restored = (
            {"restored": len(found.fields)}
            if dry_run
            else {"restored": len(found.restored), "waiting": len(found.waiting)}
        )
        counts = restored | {"withdrawn": len(found.withdrawn)}
        print_json({"run": moment.run, "undone": run} | counts | {"kept": found.kept} | summary.as_json())
    else:
        _show(found, run, setup, is_dry=dry_run)
        if not dry_run:
            if summary.is_stopped and summary.totals is None:
                tell("[yellow]![/yellow] nothing of this was begun before the stop; give the command again")
            show_summary(summary)
    if summary.exit_code:
        sys.exit(summary.exit_code)


def _show(found: Undoing, run: int, setup: Setup, *, is_dry: bool) -> None:
    keys, verb = (found.fields, "would be restored") if is_dry else (found.restored, "restored")
    tell(f"run {run}: {_values(keys)} {verb}")
    if found.waiting:
        tell(
            f"  {_values(found.waiting)} still to be restored: the next runs do it, unless somebody changes them first"
        )
    if waits := len(found.withdrawn):
        verb = "would be" if is_dry else "are" if waits > 1 else "is"
        tell(f"  {waits:,} change{'' if waits == 1 else 's'} that it has not written yet {verb} withdrawn")
    for line in found.kept[:_FEW]:
        tell(f"  [yellow]stays[/yellow]  {escape(line)}")
    if len(found.kept) > _FEW:
        tell(f"  [dim]… {len(found.kept) - _FEW:,} more that stay with --json[/dim]")
    if found.thawed:
        tell(f"  what it froze {'would be' if is_dry else 'is'} no longer frozen")
    if found.frozen and not is_dry:
        days = setup.writeback.fights.freeze_for.days
        tell(f"  these fields are frozen for {days} days; `connector unfreeze` lets the next sync write them")


def _values(keys: Sequence[str]) -> str:
    """So many values of so many records."""
    fields, records = len(keys), len({key.rpartition("|")[0] for key in keys})
    return f"{fields:,} value{'' if fields == 1 else 's'} of {records:,} record{'' if records == 1 else 's'}"
