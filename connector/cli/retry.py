"""Trying again what is set aside: changes are queued, stored records are mapped again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connector import pipeline
from connector.cli.house import open_house
from connector.cli.screen import ok, print_json, tell
from connector.state import quarantine as asides
from connector.state.quarantine import Cause
from connector.steps.mended import map_again
from connector.steps.setup import Moment, Setup
from connector.summary import Summary


def retry(config: Path, found: Sequence[Cause], *, as_json: bool, wait_s: float) -> None:
    """Send changes again, and map records again, of these causes."""
    _, setup = open_house(config, needs_secrets=False)
    keys = [key for each in found if each.kind == "change" for key in each.keys]
    records: dict[str, list[str]] = {}
    nameless = [key for each in found if each.kind == "record" and not each.records for key in each.keys]
    for each in found:
        if each.kind != "change" and each.records:
            records.setdefault(each.system, []).extend(each.records)
    mapped = 0
    before = sum(each.count for each in found if each.kind != "change")
    with pipeline.running(setup, "retry", wait_s=wait_s) as moment:
        queued, replaced = asides.requeue(setup.state, keys, moment.now)
        setup.state.release(
            nameless
        )  # nothing of them is stored, and nothing tells when they come whole: if not, they are set aside anew
        if records:
            mapped = _map_again(setup, records, moment)
        pipeline.finish(setup, Summary(moment.run), is_learning=False)
    ids = {key for each in found for key in each.keys}
    left = sum(key in ids for each in asides.causes(setup.state) if each.kind != "change" for key in each.keys)
    told = {"queued": queued, "replaced": replaced, "mapped": mapped, "released": before - left, "still": left}
    if as_json:
        print_json(told)
        return
    if keys:
        newer = f"; {replaced:,} were replaced by newer ones" if replaced else ""
        tell(ok(f"{queued:,} changes wait again: the next sync sends them{newer}"))
    if before:
        tell(ok(f"{mapped:,} stored records were mapped again: {before - left:,} released, {left:,} still set aside"))
    if left:
        tell(
            "  what is still set aside is as it was in the stored records; activities are read again by `connector pull --full`"
        )


def _map_again(setup: Setup, records: dict[str, list[str]], moment: Moment) -> int:
    with setup.mart() as mart:
        return sum(map_again(setup, mart, system, keys, moment) for system, keys in records.items())
