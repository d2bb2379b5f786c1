"""What was accepted is brought into the observed values while more is sent, so many changes at a time, and the rest at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connector import writeback
from connector.errors import MartError
from connector.mart import MartSection, open_mart
from connector.model import System
from connector.state import StateSection, attempts, open_state, outbox
from connector.steps import deliver
from connector.steps.pull import Pulled
from connector.steps.setup import Progress
from connector.writeback import WritebackSection
from tests.unit.test_writeback import LIMITS, NOW, Crm, Described, update

ENOUGH = deliver._SETTLED_AT_ONCE


def test_it_is_settled_each_time_that_enough_was_sent_and_at_the_end() -> None:
    times: list[int] = []
    with ThreadPoolExecutor(1) as line:
        settling = deliver._Settling(lambda: times.append(1), line)
        for count in (ENOUGH - 1, 1, ENOUGH // 2, ENOUGH // 2, 100):
            settling.note(count)
        settling.end()
    assert len(times) == 3


def test_what_goes_wrong_beside_the_sending_is_not_swallowed() -> None:
    failures = iter([MartError("the disk has no room")])

    def settle() -> None:
        for failure in failures:
            raise failure

    with ThreadPoolExecutor(1) as line:
        settling = deliver._Settling(settle, line)
        settling.note(ENOUGH)
        with pytest.raises(MartError):
            settling.end()


def test_a_system_whose_adapter_breaks_is_contained_and_what_the_others_took_is_settled(tmp_path: Path) -> None:
    state, broken, sound = open_state(StateSection(), tmp_path), Crm(), Crm()
    broken.before = lambda: {}["odd"]  # type: ignore[assignment]
    for name in ("broken", "sound"):
        row = writeback._row(replace(update(1), key=name, system=name), "", 1, NOW)
        outbox.enqueue(state, [row])
    systems: Any = {
        name: System(name, name, source=Described(), target=crm, calls=lambda: 0, close=lambda: None)  # type: ignore[arg-type]
        for name, crm in (("broken", broken), ("sound", sound))
    }
    setup: Any = SimpleNamespace(
        state=state, writeback=WritebackSection(),
        systems=dict.fromkeys(systems, SimpleNamespace(capabilities=LIMITS, streams=tuple)),
        mart=lambda: open_mart(MartSection(), tmp_path),
    )  # fmt: skip
    moment: Any = SimpleNamespace(run=1, now=NOW)
    first, second = deliver.deliver(setup, systems, Pulled(), moment, Progress())
    assert "unexpected KeyError" in str(first.error)
    assert (second.error, second.accepted) == (None, 1)
    assert attempts.unapplied(state, limit=9) == []
    assert [row.key for row in attempts.in_doubt(state, "broken")] == ["broken"]
