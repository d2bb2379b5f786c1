"""What still holds of a saved plan enters the outbox; the rest is refused by name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from connector import clock, planfile, tables, writeback
from connector.plan import Plan
from connector.state import freezes, outbox
from connector.steps.setup import Setup


def take(
    setup: Setup, saved: planfile.Saved, run: int, unread: Collection[tuple[str, str]], *, is_forced: bool
) -> tuple[Plan, int, list[str]]:
    """Bring what still holds of a saved plan into the outbox; `unread`: system and object type of what could not be read just now.
    Returns it, how many changes of it entered, and what is left out, a line each."""
    now = clock.now()
    frozen = [row.key for row in freezes.active(setup.state, now)]
    written = outbox.written_since(setup.state, saved.run, [change.key for change in saved.plan.changes])
    with setup.mart() as mart:
        kept, refused = planfile.still_holding(
            saved, mart, unread=unread, frozen=frozen, written=written, is_forced=is_forced
        )
    kept, strange = _ours(setup, kept)
    entered = writeback.enqueue(setup.state, kept, run=run, now=now, weighed_by=saved.run)
    return kept, entered, sorted([*refused, *strange])


def _ours(setup: Setup, plan: Plan) -> tuple[Plan, list[str]]:
    """The plan without fields that the configuration does not write: no run makes such a change, a file may say what it likes."""
    strange: list[str] = []
    kept = []
    for change in plan.changes:
        connected = setup.systems.get(change.system)
        ours = connected.outputs.get(change.object_type, {}).values() if connected else ()
        if odd := sorted(change.fields.keys() - set(ours)):
            record = tables.record_key(change.system, change.object_type, change.native_id)
            strange.append(f"{record}: {', '.join(odd)} is nothing that we write; left out")
        else:
            kept.append(change)
    return replace(plan, changes=tuple(kept)), strange
