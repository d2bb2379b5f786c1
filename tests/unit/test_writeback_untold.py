"""What a system does not tell of a change in doubt leaves that in doubt, and holds up nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlmodel import select

from connector.errors import ConnectorError, MissingPermission, RecordRejected
from connector.model import Change, Found, Outcome, Result
from connector.state import State, StateSection, open_state
from connector.state.models import Outbox
from tests.unit.test_writeback import Crm, call, deliver, enqueue, update
from tests.unit.test_writeback_kept import out_of_reach


class Secretive(Crm):
    """Tells nothing of some records when they are asked for, and how often it was asked."""

    def __init__(self, error: ConnectorError, *hidden: str) -> None:
        super().__init__()
        self.error, self.hidden, self.asked = error, hidden, 0

    def find(self, changes: Sequence[Change]) -> list[Found]:
        self.asked += 1
        if any(change.key in self.hidden for change in changes):
            raise self.error
        return super().find(changes)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def left(state: State) -> dict[str, str]:
    with state.session() as session:
        rows = session.exec(select(Outbox).where(Outbox.status != "settled")).all()
        return {row.key: row.status for row in rows}


def lose_replies(state: State, crm: Crm, *changes: Change) -> None:
    """They are there, and nobody heard of it."""
    enqueue(state, *changes)
    taken = crm.take

    def lost(change: Change) -> Outcome:
        taken(change)
        return Outcome(change.key, Result.UNKNOWN, message="no answer")

    crm.answer = lost
    with out_of_reach(crm):
        deliver(state, crm)
    crm.answer = lambda _: None


def test_one_record_that_is_not_told_stays_in_doubt_and_the_others_are_settled_and_sent(state: State) -> None:
    crm = Secretive(RecordRejected("not told"), "f2:None>50")
    lose_replies(state, crm, update(1), update(2))
    enqueue(state, update(3), run=2)
    delivered = deliver(state, crm)
    assert left(state) == {"f2:None>50": "unknown"}
    assert crm.fields["3"] == {"Score": 50}
    assert delivered.error is crm.error
    assert delivered.unknown == 1
    asked = crm.asked
    deliver(state, crm)
    assert crm.asked == asked, "it is asked again after a while only"


def test_tasks_that_we_may_not_see_do_not_hold_up_fields(state: State) -> None:
    crm = Secretive(MissingPermission("the task's key is hidden"), "task1")
    lose_replies(state, crm, call(1), update(3))
    enqueue(state, update(4), run=2)
    deliver(state, crm)
    assert left(state) == {"task1": "unknown"}
    assert crm.fields["4"] == {"Score": 50}
    crm.hidden = ()
    with state.session() as session:
        for row in session.exec(select(Outbox)):
            row.not_before_at = None
    deliver(state, crm)
    assert not left(state)
    assert list(crm.tasks) == ["task1"]
