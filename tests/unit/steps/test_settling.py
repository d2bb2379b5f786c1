"""What was accepted is brought into the observed values while more is sent, so many changes at a time, and the rest at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from connector import settlement, tables, writeback
from connector.errors import ConnectorError, MartError, QuotaExhausted, SystemUnavailable
from connector.expressions import RUN
from connector.mart import MartSection, known, open_mart
from connector.model import Kind, System
from connector.state import StateSection, attempts, open_state, outbox
from connector.steps import deliver
from connector.steps.pulled import Pulled
from connector.steps.setup import Progress
from connector.writeback import WritebackSection
from tests.unit import test_writeback as protocol
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


@pytest.mark.parametrize(("held", "is_newer"), [("66", True), ("12", False)])
def test_a_version_that_held_our_value_when_it_was_read_counts_again_with_another(
    tmp_path: Path, held: str, is_newer: bool
) -> None:
    state = open_state(StateSection(), tmp_path)
    protocol.enqueue(state, update(1, 66))
    protocol.deliver(state, Crm())
    record = {"system": "crm", "object_type": "Contact", "native_id": "1", "record": "crm|Contact|1"}
    row = {**record, "key": "crm|Contact|1|Score", "field": "Score", "value": held, "observed_at": NOW, "revision": 1}
    with open_mart(MartSection(), tmp_path) as mart:
        mart.merge("observed", pa.Table.from_pylist([row], schema=tables.OBSERVED))
        settlement.settle(state, mart, run=2)
        mart.tell(now=NOW, run=3)
        incoming = mart.keep("incoming", pa.Table.from_pylist([row | {"value": "40"}], schema=tables.OBSERVED))
        written = mart.arrow(known.observed(incoming, mart.table("observed"), None, RUN)).to_pylist()
    assert [each["value"] for each in written] == (["40"] if is_newer else [])


@pytest.mark.parametrize(
    ("failure", "waits"), [(SystemUnavailable("it is down"), {"crm": {"Contact"}}), (QuotaExhausted("used"), {})]
)
def test_fields_of_what_could_not_be_read_wait_unless_only_calls_were_missing(
    failure: ConnectorError, waits: dict[str, set[str]]
) -> None:
    stream = SimpleNamespace(name="contacts", object_type="Contact", kind=Kind.PERSON)
    setup: Any = SimpleNamespace(systems={"crm": SimpleNamespace(name="crm", streams=lambda: (stream,))})
    assert deliver._unknown(setup, setup.systems, Pulled(failures={"crm": failure})) == waits
    assert deliver._unknown(setup, setup.systems, Pulled(failures={"crm": failure}, ended={("crm", "contacts")})) == {}
