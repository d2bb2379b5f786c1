"""A system that works on a batch by itself: its receipt is kept first, it is asked by it, and nothing is sent a second time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlmodel import select

from connector.model import Change, Found, Keep, Outcome, Result
from connector.state import State, StateSection, open_state
from connector.state.models import Delivery, Outbox
from tests.unit.test_writeback import Crm, _all_due, call, deliver, enqueue, statuses, update


class Office(Crm):
    """It gives a receipt for each batch and begins by itself; `dies` is when our process does."""

    def __init__(self) -> None:
        super().__init__()
        self.desk: dict[str, list[Change]] = {}
        self.done: set[str] = set()
        self.dies = ""
        self.asked: list[set[str]] = []

    def write(self, changes: Sequence[Change], keep: Keep) -> list[Outcome]:
        self.die("before the receipt")
        receipt = f"R{len(self.desk)}"
        keep(receipt)
        self.die("after the receipt")
        self.desk[receipt] = list(changes)
        self.writes.append([change.key for change in changes])
        self.die("after the upload")
        return [self.said(change, receipt) for change in changes]

    def die(self, moment: str) -> None:
        if self.dies == moment:
            raise KeyboardInterrupt

    def said(self, change: Change, receipt: str) -> Outcome:
        if receipt not in self.done:
            return Outcome(change.key, Result.UNKNOWN, message="not done yet", retry_after_s=60)
        return self.take(change)

    def find(self, changes: Sequence[Change]) -> list[Found]:
        self.asked.append({change.receipt for change in changes})
        return [
            Found(change.key, outcome=self.said(change, change.receipt))
            if change.receipt in self.desk
            else Found(change.key, values=self.fields.get(change.native_id, {}))
            for change in changes
        ]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def receipts(state: State) -> list[str]:
    with state.session() as session:
        return [row.receipt for row in session.exec(select(Outbox).order_by(Outbox.id))]  # type: ignore[arg-type]


def test_killed_at_any_moment_a_batch_is_handed_in_once_and_each_change_gets_what_became_of_it(state: State) -> None:
    office = Office()
    enqueue(state, update(1), update(2))
    for moment, kept in (("before the receipt", ""), ("after the receipt", "R0"), ("after the upload", "R0")):
        office.dies = moment
        with pytest.raises(KeyboardInterrupt):
            deliver(state, office)
        assert receipts(state) == [kept, kept]
    office.dies = ""
    deliver(state, office)
    assert len(office.writes) == 1, "a second job for changes whose first one is not known"
    office.done.add("R0")
    _all_due(state)
    assert deliver(state, office).accepted == 2
    assert len(office.writes) == 1
    assert statuses(state) == ["settled", "settled"]


def test_a_system_that_is_not_done_is_no_failure_and_what_it_has_is_not_sent_again(state: State) -> None:
    office = Office()
    enqueue(state, update(1), update(2), update(3))
    first = deliver(state, office)
    assert first.error is None
    assert (first.unknown, len(office.writes)) == (3, 2), "the next batch goes on meanwhile"
    _all_due(state)
    again = deliver(state, office)
    assert (again.error, again.unknown, len(office.writes)) == (None, 3, 2)
    with state.session() as session:
        assert len(session.exec(select(Delivery)).all()) == 3, "asking is no attempt"
    assert sorted(map(sorted, office.asked)) == [["R0"], ["R1"]], "those of one receipt are asked about together"
    office.done.update(office.desk)
    _all_due(state)
    assert deliver(state, office).accepted == 3


def test_a_record_waits_with_its_next_value_until_the_last_one_is_known_but_a_task_for_it_does_not(
    state: State,
) -> None:
    office = Office()
    enqueue(state, update(1, 50))
    deliver(state, office)
    enqueue(state, update(1, 60, 50), call(1), update(2), run=2)
    deliver(state, office)
    assert [key for batch in office.writes for key in batch] == ["f1:None>50", "task1", "f2:None>50"]
    office.done.update(office.desk)
    _all_due(state)
    deliver(state, office)
    office.done.update(office.desk)
    _all_due(state)
    deliver(state, office)
    assert office.fields["1"] == {"Score": 60}
    assert set(statuses(state)) == {"settled"}
