"""What an attempt came to is kept whole: a change that is set aside with its cause, one in doubt with what was decided of it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.event import listen, remove
from sqlmodel import select

from connector import settlement
from connector.errors import SystemUnavailable
from connector.mart import MartSection, open_mart
from connector.model import Change, Found, Lane, Outcome, Result
from connector.state import State, StateSection, freezes, open_state, replans
from connector.state.models import Freeze, Outbox
from tests.unit.test_writeback import NOW, Crm, call, deliver, enqueue, statuses, update
from tests.unit.test_writeback import _all_due as all_due


@contextmanager
def killed_before_commit(state: State, number: int) -> Iterator[None]:
    """The block ends, as by a kill, before the transaction of this number (from 0) is kept."""
    left = [number]

    def killed(_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    listen(state.engine, "commit", killed)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        remove(state.engine, "commit", killed)


def test_killed_between_any_two_transactions_what_is_set_aside_has_its_cause(tmp_path: Path) -> None:
    was_aside = False
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        state, crm = open_state(StateSection(), tmp_path / str(number)), Crm()
        enqueue(state, update(1), call(2), update(3))
        crm.answer = lambda c: Outcome(c.key, Result.REJECTED, code="STRING_TOO_LONG")
        with killed_before_commit(state, number):
            deliver(state, crm)
        with state.session() as session:
            changes = session.exec(select(Outbox.key).where(Outbox.status == "quarantined")).all()
        assert sorted(row.key for row in replans.refused(state)) == sorted(f"change|{key}" for key in changes)
        was_aside = was_aside or 0 < len(changes) < 3
    assert was_aside, "no kill fell between two batches"


@contextmanager
def out_of_reach(crm: Crm) -> Iterator[None]:
    """Nothing can be read: what gets no answer stays unknown."""

    def gone(changes: Sequence[Change]) -> list[Found]:
        raise SystemUnavailable("no connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crm, "find", gone)
        yield


def test_a_change_in_doubt_whose_field_is_frozen_meanwhile_is_not_sent_again_and_its_record_is_compared(
    tmp_path: Path,
) -> None:
    state, crm = open_state(StateSection(), tmp_path), Crm()
    enqueue(state, update(1), update(2), update(3))

    def half(change: Change) -> Outcome:
        if change.native_id == "1":
            crm.take(change)
        return Outcome(change.key, Result.UNKNOWN)

    crm.answer = half
    with out_of_reach(crm):
        deliver(state, crm)
    rows = [
        Freeze(
            key=f"crm|Contact|{one}|Score", system="crm", record=f"crm|Contact|{one}", field="Score", writer="Bo", why="",
            since_at=NOW, until_at=NOW + timedelta(days=7),
        )
        for one in "12"
    ]  # fmt: skip
    freezes.add(state, rows)
    crm.answer = lambda _: None
    deliver(state, crm)
    all_due(state)
    deliver(state, crm)
    assert statuses(state) == ["settled", "superseded", "settled"], "it was there; it is frozen; it was not there"
    assert crm.fields == {"1": {"Score": 50}, "3": {"Score": 50}}
    assert replans.reasons(state) == {f"crm|Contact|{one}": replans.FROZEN for one in "12"}


def test_of_two_changes_of_one_record_that_were_accepted_both_reach_the_observed_values(tmp_path: Path) -> None:
    """A brake cuts a record's fields in two changes, and a newer change may follow before the first is settled."""
    state, crm = open_state(StateSection(), tmp_path), Crm()
    enqueue(state, update(1, 66), replace(update(1), key="beside", fields={"Grade": "A"}))
    deliver(state, crm)
    enqueue(state, update(1, 70, 66), run=2)
    deliver(state, crm)
    with open_mart(MartSection(), tmp_path) as mart:
        assert settlement.settle(state, mart, run=2) == 3
        held = {row["field"]: row["value"] for row in mart.arrow(mart.table("observed")).to_pylist()}
    assert held == {"Score": "70", "Grade": "A"}


def test_a_field_that_holds_somebodys_value_after_a_lost_write_is_not_written_over(tmp_path: Path) -> None:
    state, crm = open_state(StateSection(), tmp_path), Crm()
    enqueue(state, update(1, before=40), update(2, before=40))

    def lost(change: Change) -> Outcome:
        crm.fields |= {"1": {"Score": 7}, "2": {"Score": 40}}
        if change.native_id == "2":
            crm.answer = lambda _: None
        return Outcome(change.key, Result.UNKNOWN)

    crm.answer = lost
    delivered = deliver(state, crm)
    assert crm.fields == {"1": {"Score": 7}, "2": {"Score": 50}}
    assert crm.writes == [["f1:40>50", "f2:40>50"], ["f2:40>50"]], "only what did not arrive goes again"
    assert (delivered.accepted, delivered.codes) == (1, {"CHANGED": 1})


@pytest.mark.parametrize(
    ("held", "sent", "before", "result"),
    [
        (54, 53.6, 50.0, Result.ACCEPTED),
        (53, 53.4, 53, Result.RETRY),
        ("2026-11-24", "2026-11-24T10:00:00Z", None, Result.ACCEPTED),
        (None, 53.4, None, Result.RETRY),
        (52, 53.4, 53, Result.CONFLICT),
        ("", "B", "A", Result.CONFLICT),
    ],
)
def test_a_lost_write_is_judged_by_what_its_field_makes_of_it(
    held: Any, sent: Any, before: Any, result: Result
) -> None:
    change = Change("k", "crm", "Contact", "1", Lane.SCORE, {"Score": sent}, {"Score": before})
    assert settlement.judge(change, Found("k", values={"Score": held})).result is result
