"""What `stages` shows."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from connector import tables
from connector.cli import look
from connector.lifecycle import LifecycleSection
from connector.mart import MartSection, open_mart


def test_an_engagement_of_next_to_nothing_below_nothing_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whose = {"key": "ann", "subject": "ann", "model": "default"}
    entered = {"stage": "Discover", "entered_at": datetime(2026, 11, 1, tzinfo=UTC), "run": 1}
    faded = {"score": -20_000_000, "engagement": -20_000_000, "grade": "D"}
    with open_mart(MartSection(), tmp_path) as mart:
        for name, row in (("stage_interval", whose | entered), ("score", whose | faded)):
            schema = tables.stored(name)
            rows = pa.Table.from_pylist([dict.fromkeys(schema.names) | row], schema=schema)
            mart.merge(name, mart.keep(f"given_{name}", rows))
        setup = SimpleNamespace(mart=lambda: nullcontext(mart), lifecycle=LifecycleSection())
        monkeypatch.setattr(look, "open_house", lambda *_, **__: (None, setup))
        look.stages(Path("x"), as_json=False)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "Discover" in line)
    assert "-0.0" not in line
    assert "0.0" in line
