"""A record that a system chokes on takes the answer to its batch with it: it is found, and holds up nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlmodel import select

from connector import writeback
from connector.dispatch import NO_ANSWER, Delivered
from connector.errors import Interrupted, SystemUnavailable
from connector.model import Capabilities, Change, Found, Keep, Outcome, Result, System
from connector.state import State, StateSection, open_state, replans
from connector.state.models import Outbox, Quarantine
from connector.writeback import WritebackSection
from tests.unit.test_writeback import Crm, Described, call, enqueue, update

LIMITS = Capabilities(batch_size=100, writable=("Contact",), task_targets=("Contact",), mixes_in_batch=False)


class Choking(Crm):
    """Gives no answer to a batch with one of these records in it; with `is_deaf` to none."""

    bad: tuple[str, ...] = ()
    is_deaf = False

    def write(self, changes: Sequence[Change], keep: Keep) -> list[Outcome]:
        if self.is_deaf or any(change.native_id in self.bad for change in changes):
            self.writes.append([change.key for change in changes])
            return [Outcome(change.key, Result.UNKNOWN, message="internal error") for change in changes]
        return super().write(changes, keep)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def deliver(
    state: State, crm: Crm, *, is_readable: bool = False, is_stopping: Callable[[], bool] = lambda: False
) -> Delivered:
    system = System("crm", "crm", source=Described(), target=crm, calls=lambda: len(crm.writes), close=lambda: None)  # type: ignore[arg-type]
    return writeback.deliver(
        state, system, LIMITS, WritebackSection(), run=1, is_stopping=is_stopping, is_readable=is_readable
    )


def left(state: State) -> dict[str, str]:
    with state.session() as session:
        rows = session.exec(select(Outbox).where(Outbox.status != "settled")).all()
        return {row.native_id: row.status for row in rows}


def test_a_record_that_a_system_chokes_on_goes_alone_in_the_end_and_is_set_aside_with_its_cause(state: State) -> None:
    crm = Choking()
    crm.bad = ("37",)
    enqueue(state, *map(update, range(150)))
    for number in range(7):
        enqueue(state, update(1000 + number), run=2 + number)  # there is always somebody else
        delivered = deliver(state, crm)
    assert left(state) == {"37": "quarantined"}
    assert {len(batch) for batch in crm.writes if "f37:None>50" in batch} == {100, 12, 1}
    assert delivered.error is None
    with state.session() as session:
        [aside] = session.exec(select(Quarantine)).all()
    assert (aside.code, aside.record, aside.is_open) == (NO_ANSWER, "crm|Contact|37", True)
    assert "though it answers everything else" in aside.reason


def test_two_of_them_side_by_side_are_found_one_after_the_other(state: State) -> None:
    crm = Choking()
    crm.bad = ("5", "6")
    enqueue(state, *map(update, range(20)), *map(call, range(6, 9)))
    for number in range(14):
        enqueue(state, update(1000 + number), run=2 + number)
        deliver(state, crm)
    assert set(left(state).values()) == {"quarantined"}
    assert set(left(state)) == {"5", "6"}
    assert sorted(crm.tasks) == ["task7", "task8"]


def test_what_a_system_chokes_on_is_told_while_the_others_go(state: State) -> None:
    crm = Choking()
    crm.bad = ("37",)
    enqueue(state, *map(update, range(100)))
    delivered = deliver(state, crm)
    assert [len(batch) for batch in crm.writes[:2]] == [100, 100], "what was looked up and is not there goes again"
    assert (delivered.accepted, delivered.unknown) == (88, 12)
    assert isinstance(delivered.error, SystemUnavailable)


@pytest.mark.parametrize("is_task", [False, True])
def test_one_that_a_system_chokes_on_while_nothing_else_is_written_is_set_aside_and_the_system_is_not_called_down(
    state: State, *, is_task: bool
) -> None:
    crm = Choking()
    crm.bad = ("7",)
    enqueue(state, call(7) if is_task else update(7))
    assert [deliver(state, crm).error for _ in range(6)] == [None] * 6, "it is read, so it answers"
    assert left(state) == {"7": "quarantined"}
    assert len(crm.writes) == 5
    assert len(replans.refused(state)) == 1


def test_a_system_that_was_read_is_not_called_down_for_the_first_silence_over_one_change(state: State) -> None:
    crm = Choking()
    crm.bad = ("7",)
    enqueue(state, update(7))
    delivered = deliver(state, crm, is_readable=True)
    assert (delivered.error, delivered.unknown) == (None, 1)


def test_a_system_that_is_gone_sets_one_change_aside_as_little_as_many(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = Choking()
    crm.is_deaf = True
    enqueue(state, update(7))
    deliver(state, crm)
    reads = crm.find

    def gone(changes: Sequence[Change]) -> list[Found]:
        raise SystemUnavailable("no connection")

    monkeypatch.setattr(crm, "find", gone)
    for _ in range(12):
        assert isinstance(deliver(state, crm).error, SystemUnavailable)
    monkeypatch.setattr(crm, "find", reads)
    crm.is_deaf = False
    deliver(state, crm)
    assert left(state) == {}


@pytest.mark.parametrize("count", [2, 3, 30])
def test_a_system_that_only_reads_sets_nothing_aside_where_several_changes_wait(state: State, count: int) -> None:
    crm = Choking()
    crm.is_deaf = True
    enqueue(state, *map(update, range(count)))
    for _ in range(30):
        assert isinstance(deliver(state, crm, is_readable=True).error, SystemUnavailable)
    assert "quarantined" not in left(state).values()


def test_a_system_that_answers_nobody_is_not_asked_part_by_part_and_sets_nothing_aside(state: State) -> None:
    crm = Choking()
    crm.is_deaf = True
    enqueue(state, *map(update, range(100)))
    for _ in range(12):
        before = len(crm.writes)
        assert isinstance(deliver(state, crm).error, SystemUnavailable)
        assert len(crm.writes) - before <= 4
    assert "quarantined" not in left(state).values()
    crm.is_deaf = False
    deliver(state, crm)
    deliver(state, crm)
    assert left(state) == {}


def test_a_system_that_gives_no_answer_while_we_are_told_to_stop_is_not_called_down(state: State) -> None:
    crm = Choking()
    crm.is_deaf = True
    enqueue(state, *map(update, range(2)))
    error = deliver(state, crm, is_stopping=lambda: bool(crm.writes)).error
    assert isinstance(error, Interrupted)
    assert set(left(state).values()) == {"unknown"}
    enqueue(state, *map(update, range(2, 4)), run=2)
    error = deliver(state, crm).error
    assert isinstance(error, SystemUnavailable)
    assert not isinstance(error, Interrupted)
