"""What was set aside is let go of once the plan has nothing to write to its record any more."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pyarrow as pa

from connector.mart import MartSection, open_mart
from connector.state import StateSection, open_state, replans
from connector.state.models import Quarantine
from connector.state.store import set_aside
from connector.steps import standing
from connector.steps.setup import Moment, Setup

NOW = datetime(2026, 11, 1, tzinfo=UTC)
VERDICTS = {
    "wanted": (True, None),
    "too_small_to_write": (False, None),
    "frozen": (False, "frozen"),
}


def test_a_change_that_would_be_too_small_to_write_is_not_kept_aside(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    with state.session() as session:
        set_aside(
            session,
            [
                Quarantine(
                    key=f"change|{name}", kind="change", system="crm", record=f"crm|Contact|{name}", code="X", reason="no",
                    first_at=NOW, last_at=NOW,
                )
                for name in (*VERDICTS, "there_as_it_is")
            ],
        )  # fmt: skip
    rows = [
        {"record": f"crm|Contact|{name}", "is_material": weighs, "left_because": left}
        for name, (weighs, left) in VERDICTS.items()
    ]
    columns = pa.schema([("record", pa.string()), ("is_material", pa.bool_()), ("left_because", pa.string())])
    with open_mart(MartSection(), tmp_path) as mart, mart.transaction():
        differing = mart.keep("differing", pa.Table.from_pylist(rows, schema=columns))
        setup = cast(Setup, SimpleNamespace(state=state))
        standing.release_settled(setup, mart, differing, cast(Moment, SimpleNamespace(now=NOW, run=1)))
    assert sorted(row.key for row in replans.refused(state)) == ["change|frozen", "change|wanted"]
