"""What a pull asks for: which streams are due, with which native fields, and where the last read of each stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

import pyarrow as pa

from connector import clock, tables
from connector.mart import Mart
from connector.model import Request, Stream, System
from connector.settlement import record_key
from connector.state import replans
from connector.steps.held import Held
from connector.steps.setup import Connected, Setup

Opened = Callable[[], AbstractContextManager[Mart]]
_IN_REGION = "@"


def anew(setup: Setup, connected: Connected, *, is_full: bool) -> set[str]:
    """The streams that are to be read from the beginning: all of them, or those that are mapped otherwise than when they were read."""
    known = setup.state.notes(f"mapping:{connected.name}|")
    present = _fingerprints(setup, connected)
    return {name for name, mapped in present.items() if is_full or _is_other(known.get(name, mapped), mapped)}


def _is_other(known: str, mapped: str) -> bool:
    """Whether a stream was read by another mapping. What was kept without a region tells only the rest."""
    told = mapped if _IN_REGION in known else mapped.partition(_IN_REGION)[0]
    return known != told


def forget(setup: Setup, connected: Connected, streams: Collection[str]) -> None:
    """Let go of the checkpoints of these streams, and keep how all of them are mapped now."""
    if streams:
        keys = [f"{connected.name}|{name}" for name in streams]
        with setup.mart() as mart, mart.transaction():
            mart.delete_keys("checkpoint", pa.table({"key": keys}))
        setup.state.forget_polls(keys)
    known = setup.state.notes(f"mapping:{connected.name}|")
    for name, mapped in _fingerprints(setup, connected).items():
        if known.get(name) != mapped:
            setup.state.set_note(f"mapping:{connected.name}|{name}", mapped)


def _fingerprints(setup: Setup, connected: Connected) -> dict[str, str]:
    """How each stream is mapped: by its rules, and where numbers are read, in which region."""
    mapped = {stream.name: connected.mappings[stream.name] for stream in connected.streams()}
    return {
        name: each.fingerprint + (f"{_IN_REGION}{setup.region}" if each.has_phones else "")
        for name, each in mapped.items()
    }


def requests(
    setup: Setup,
    connected: Connected,
    opened: Opened,
    cursors: Mapping[str, str],
    now: datetime,
    *,
    anew: Collection[str] = (),
) -> list[Request]:
    """The streams that are due, each with its native fields and where the last read stopped; those of `anew` from the beginning."""
    polls = {key: poll for key, poll in setup.state.polls().items() if key.partition("|")[2] not in anew}
    cursors = {name: cursor for name, cursor in cursors.items() if name not in anew}
    alive = Held(opened, connected.name)
    missed = _missed(setup)
    made = []
    for stream in connected.streams():
        poll = polls.get(f"{connected.name}|{stream.name}")
        every = setup.every.get(f"{connected.name}.{stream.name}", stream.every)
        if poll and clock.is_within(every, poll.polled_at, now):
            continue
        is_missed = alive.has(stream, missed.get(f"{connected.name}|{stream.object_type}", ()))
        made.append(
            Request(
                stream, fields_of(connected, stream), cursors.get(stream.name), partial(alive.ids, stream), is_missed
            )
        )
    return made


def _missed(setup: Setup) -> dict[str, list[str]]:
    """The native ids of records that were not there when they were written to or a task was made for them, by system and type."""
    tasks = replans.failed_tasks(setup.state, "conflict", setup.writeback.max_attempts)
    found: dict[str, list[str]] = {}
    for record in dict.fromkeys([*replans.conflicts(setup.state), *map(record_key, tasks)]):
        place, _, native_id = record.rpartition("|")
        found.setdefault(place, []).append(native_id)
    return found


def fields_of(connected: Connected, stream: Stream) -> tuple[str, ...]:
    """The native fields to ask for: what is mapped, what we write, who changed it, and our task's key."""
    names = dict.fromkeys(connected.mappings[stream.name].native_fields)
    names.update(dict.fromkeys(connected.outputs.get(stream.object_type, {}).values()))
    if stream.modified_by and stream.object_type in connected.outputs:
        names[stream.modified_by] = None
    if stream.own_tasks and connected.capabilities.task_key[1]:
        names[connected.capabilities.task_key[1]] = None
    return tuple(names)


def whole(connected: Connected, system: System, object_type: str) -> tuple[str, ...]:
    """The fields that take our outputs and have no decimals: they round what they are given. Known where the system described them
    with what was read; elsewhere a number is taken to be kept as it is given.

    Raises what describing raises.
    """
    ours = connected.outputs.get(object_type, {}).values()
    if not ours or not connected.capabilities.describes_what_it_reads:
        return ()
    schema = system.source.describe([object_type]).get(object_type)
    fields = [schema.fields[name] for name in sorted(ours) if schema and name in schema.fields]
    return tuple(each.name for each in fields if each.type == "integer" or (each.type == "number" and each.scale == 0))


def stopped_at(setup: Setup) -> tuple[dict[str, dict[str, str]], bool]:
    """Where the last read of each stream stopped, by system, and whether nothing is stored yet: to append takes less of the
    engine than to merge."""
    with setup.mart() as mart:
        rows = mart.arrow(mart.table("checkpoint").select("system", "stream", "cursor")).to_pylist()
        stored = (*(tables.record_table(kind) for kind in tables.FIELDS), "activity")
        is_first = not any(mart.count(mart.table(name)) for name in stored)
    cursors: dict[str, dict[str, str]] = {}
    for row in rows:
        cursors.setdefault(row["system"], {})[row["stream"]] = row["cursor"]
    return cursors, is_first
