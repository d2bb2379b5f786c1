"""One field that a system refuses holds back no other of its record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from connector.model import Change, Lane, Outcome, Result
from connector.plan import field_key
from connector.state import State, StateSection, open_state, outbox, replans
from connector.state.models import Delivery, Outbox
from tests.unit.test_writeback import Crm, deliver, enqueue, statuses, update
from tests.unit.test_writeback_kept import killed_before_commit

RECORD = "crm|Contact|1"


def change(**after: Any) -> Change:
    """A change of fields as a plan makes it, of a record that holds nothing."""
    before = dict.fromkeys(after)
    return replace(update(1), key=field_key(RECORD, before, after), fields=after, before=before)


def refusing(*names: str) -> Any:
    """A system that names the first of these fields that it is given."""

    def answer(each: Change) -> Outcome | None:
        bad = [name for name in names if name in each.fields][:1]
        return Outcome(each.key, Result.REJECTED, code="STRING_TOO_LONG", fields=tuple(bad)) if bad else None

    return answer


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def test_the_refused_field_is_set_aside_and_the_others_are_written(state: State) -> None:
    crm = Crm()
    crm.answer = refusing("Reasons")
    enqueue(state, change(Score=50, Grade="A", Reasons="long"))
    done = deliver(state, crm)
    assert crm.fields == {"1": {"Score": 50, "Grade": "A"}}
    assert (done.rejected, done.accepted) == (1, 1)
    assert statuses(state) == ["superseded", "quarantined", "settled"]
    assert [row.key for row in replans.refused(state)] == [f"change|{change(Reasons='long').key}"]
    with state.session() as session:
        assert [row.result for row in session.exec(select(Delivery))] == ["rejected", "accepted"]

    assert enqueue(state, change(Reasons="long"), run=2) == 0, "what a plan wants of it now is known to be refused"
    crm.answer = lambda _: None
    assert enqueue(state, change(Reasons="short"), run=3) == 1
    deliver(state, crm)
    assert crm.fields["1"]["Reasons"] == "short"
    assert not replans.refused(state)


def test_several_are_found_one_after_the_other(state: State) -> None:
    crm = Crm()
    crm.answer = refusing("Reasons", "Grade")
    enqueue(state, change(Score=50, Grade="A", Reasons="long"))
    deliver(state, crm)
    assert crm.fields == {"1": {"Score": 50}}
    aside = {f"change|{change(Reasons='long').key}", f"change|{change(Grade='A').key}"}
    assert {row.key for row in replans.refused(state)} == aside


@pytest.mark.parametrize(
    ("refused", "lanes"), [("Stage", ["stage", "stage", "score"]), ("Score", ["stage", "score", "stage"])]
)
def test_each_part_goes_in_the_lane_that_a_plan_would_give_it(state: State, refused: str, lanes: list[str]) -> None:
    crm = Crm()
    crm.answer = refusing(refused)
    enqueue(state, replace(change(Score=50, Stage="Engage"), lane=Lane.STAGE))
    deliver(state, crm, fields={"crm": {"Contact": {"score": "Score", "stage": "Stage"}}})
    with state.session() as session:
        rows = session.exec(select(Outbox).order_by(Outbox.id)).all()  # type: ignore[arg-type]
    assert [row.status for row in rows] == ["superseded", "quarantined", "settled"]
    assert [row.lane for row in rows] == lanes


@pytest.mark.parametrize("named", [(), ("Name",), ("Score", "Grade")])
def test_a_refusal_that_names_none_or_all_of_them_is_of_the_whole_change(state: State, named: tuple[str, ...]) -> None:
    crm = Crm()
    crm.answer = lambda each: Outcome(each.key, Result.REJECTED, code="VALIDATION", fields=named)
    enqueue(state, change(Score=50, Grade="A"))
    deliver(state, crm)
    assert statuses(state) == ["quarantined"]
    assert len(crm.writes) == 1


def test_what_takes_a_run_back_stays_whole(state: State) -> None:
    """Its key tells the run again which of its changes were taken back."""
    crm = Crm()
    crm.answer = refusing("Grade")
    enqueue(state, replace(change(Score=50, Grade="A"), key=f"{outbox.UNDO}1"))
    deliver(state, crm)
    assert statuses(state) == ["quarantined"]


def test_another_value_beside_a_refused_one_is_written_and_the_refused_one_set_aside_again(state: State) -> None:
    crm = Crm()
    crm.answer = refusing("Reasons")
    enqueue(state, change(Score=50, Reasons="long"))
    deliver(state, crm)
    enqueue(state, change(Score=60, Reasons="long"), run=2)
    deliver(state, crm)
    assert crm.fields == {"1": {"Score": 60}}
    [aside] = replans.refused(state)
    assert (aside.key, aside.attempts) == (f"change|{change(Reasons='long').key}", 2)


def test_killed_between_any_two_transactions_nothing_is_lost_and_the_refused_one_has_its_cause(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / str(number)).mkdir()
        state, crm = open_state(StateSection(), tmp_path / str(number)), Crm()
        crm.answer = refusing("Reasons")
        enqueue(state, change(Score=50, Reasons="long"))
        with killed_before_commit(state, number):
            deliver(state, crm)
        deliver(state, crm)
        assert crm.fields == {"1": {"Score": 50}}
        assert [row.key for row in replans.refused(state)] == [f"change|{change(Reasons='long').key}"]
        with state.session() as session:
            assert session.exec(select(Outbox.status).order_by(Outbox.id)).all() == [  # type: ignore[arg-type]
                "superseded", "quarantined", "settled",
            ]  # fmt: skip
