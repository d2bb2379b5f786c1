"""The two stores belong together: a mart that was lost, or either store restored from an older copy, is found before a run.

The mart keeps a pair id and the run that last computed into it (its generation). The state keeps the pair id that it knows and
the generation that it saw committed. A mismatch is an error with its mend, never a quiet empty run: an empty mart would make
everybody new, an older state would make tasks twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from connector import clock, tables
from connector.errors import MartError
from connector.mart import Mart, files
from connector.state import State, outbox

_PAIR, _GENERATION = "pair", "generation"
_BACKUP = "backup"  # of a backup: what its two files were both told when it was made; "" in older ones, and outside of backups
_HINT = "restore the other one from the same backup, or take them as they are with `connector pull --full`"


def check(state: State, mart: Mart) -> None:
    """Raises MartError when the stores do not belong together. A new pair is introduced to one another."""
    row = told(mart)
    known, generation = state.note(_PAIR), int(state.note(_GENERATION, "0"))
    last_run = max((run.id or 0 for run in state.last_runs(1)), default=0)
    if not known and row["generation"] == 0:
        state.set_note(_PAIR, row["pair"])
    elif known != row["pair"]:
        lost = "the state is new, the mart is not" if not known else "this mart is not the one that the state knows"
        raise MartError(lost, hint=_HINT)
    elif row["generation"] < generation:
        raise MartError(f"the mart is older than the state (run {row['generation']}, not {generation})", hint=_HINT)
    elif row["generation"] > last_run:
        raise MartError(f"the state is older than the mart (run {last_run}, not {row['generation']})", hint=_HINT)


def mark_copies(state: State, mart_file: Path) -> None:
    """Tell the two files of a backup that they were made together."""
    token = clock.token(8)
    state.set_note(_BACKUP, token)
    files.mark(mart_file, token)


def take_copies(state: State, mart: Mart) -> None:
    """Check that two copies were made together, and let them go on as a pair like any other. Raises MartError when they were not."""
    row = told(mart)
    if (row["backup"] or "") != state.note(_BACKUP):
        raise MartError("the mart and the state are from two backups", hint=_HINT)
    check(state, mart)
    state.set_note(_BACKUP, "")
    mart.merge("pair", pa.Table.from_pylist([row | {"backup": None}], schema=tables.PAIR))


def adopt(state: State, mart: Mart) -> bool:
    """Take the stores as they are. Run numbers go on above those in the mart, and no task of the past is made again.

    What waited in a lost outbox is not known any more, so the next plan compares every field. Returns whether they do not belong
    together.
    """
    row, are_strangers = told(mart), False
    try:
        check(state, mart)
    except MartError:
        are_strangers = True
    state.set_note(_PAIR, row["pair"])
    state.set_note(_GENERATION, str(row["generation"]))
    state.continue_runs_after(row["generation"])
    state.set_note(outbox.PLANNED_THROUGH, str(max(int(state.note(outbox.PLANNED_THROUGH, "0")), row["generation"])))
    state.set_note(outbox.PLANNED_WITH, "taken as they are")
    return are_strangers


def settings(mart: Mart) -> Mapping[str, str]:
    """Part of the configuration -> its fingerprint when the mart was told of it; empty where that never was."""
    told_of: dict[str, str] = orjson.loads(told(mart)["settings"] or "{}")
    return told_of


def keep_settings(mart: Mart, present: Mapping[str, str]) -> None:
    """All that these settings concern is queued; part of the transaction that queues it."""
    row = told(mart) | {"settings": orjson.dumps(present, option=orjson.OPT_SORT_KEYS).decode()}
    mart.merge("pair", pa.Table.from_pylist([row], schema=tables.PAIR))


def advance(mart: Mart, run: int) -> None:
    """This run computed into the mart; part of its transaction."""
    mart.merge("pair", pa.Table.from_pylist([told(mart) | {"generation": run}], schema=tables.PAIR))


def remember(state: State, mart: Mart) -> None:
    """What `advance` wrote is committed: the state knows of it from now on."""
    state.set_note(_GENERATION, str(told(mart)["generation"]))


def told(mart: Mart) -> dict[str, Any]:
    """What the mart says of the pair: its id, its generation."""
    rows: list[dict[str, Any]] = mart.arrow(mart.table("pair")).to_pylist()
    return rows[0]
