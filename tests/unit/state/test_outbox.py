"""What waits is added to, taken, found and kept without looking through all that waits, and in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from connector.state import State, StateSection, attempts, open_state, outbox
from connector.state.attempts import Settlement

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LANES = ("consent", "stage", "task", "score")
ACCEPTED = Settlement(1, "settled", "accepted")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def enqueue(
    state: State,
    keys: Mapping[str, str],
    *,
    run: int = 1,
    record: str = "",
    status: str = "pending",
    because: str = "",
    weighed_by: int = 0,
) -> None:
    rows = [
        {
            "key": key, "run": run, "system": "crm", "object_type": "Contact", "native_id": record or key, "person": "P", "lane": lane,
            "fields": {"Score": 1}, "before": {}, "task": {}, "reason": "", "parent": "", "expected_version": None,
            "status": status, "held_because": because, "attempt": 0, "created_at": NOW,
        }
        for key, lane in keys.items()
    ]  # fmt: skip
    outbox.enqueue(state, rows, weighed_by)


@contextmanager
def ways(state: State) -> Iterator[list[str]]:
    """How the database finds the rows of each statement inside, as SQLite tells it."""
    found: list[str] = []

    def look(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "INSERT INTO delivery")):
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(row[3] for row in cursor.fetchall())

    event.listen(state.engine, "before_cursor_execute", look)
    yield found
    event.remove(state.engine, "before_cursor_execute", look)


def test_a_batch_is_found_by_its_numbers_and_not_among_all_that_waits(state: State) -> None:
    enqueue(state, {f"{number:03d}": "score" for number in range(50)})
    batch = attempts.waiting(state, "crm", NOW, LANES, limit=20)
    with ways(state) as found:
        attempts.mark_in_flight(state, batch)
        attempts.note_receipt(state, batch, "job")
        attempts.keep(state, [(row, ACCEPTED) for row in batch], run=1, now=NOW)
        attempts.mark_applied(state, [row.delivery for row in attempts.unapplied(state, limit=99)])
    assert len([way for way in found if "INTEGER PRIMARY KEY" in way]) >= 5
    assert not [way for way in found if "SCAN" in way or "outbox_work" in way]


def test_the_next_changes_are_taken_without_sorting_all_that_waits(state: State) -> None:
    enqueue(state, {"a": "score", "b": "stage", "c": "task", "d": "stage", "e": "score"})
    with ways(state) as found:
        taken = attempts.waiting(state, "crm", NOW, LANES, limit=4)
    assert [row.key for row in taken] == ["b", "d", "c", "a"]
    assert not [way for way in found if "SCAN" in way or "TEMP B-TREE" in way]


def test_deliveries_are_kept_in_the_order_of_sending(state: State) -> None:
    enqueue(state, {"a": "score", "b": "stage", "c": "score", "d": "stage"})
    batch = attempts.waiting(state, "crm", NOW, LANES, limit=9)
    attempts.mark_in_flight(state, batch)
    attempts.keep(state, [(row, ACCEPTED) for row in batch], run=7, now=NOW)
    assert [row.native_id for row in attempts.unapplied(state, limit=99)] == ["b", "d", "a", "c"]
    with state.session() as session:
        kept = session.execute(text("SELECT run, attempt, result, code, message, is_applied FROM delivery")).all()
        left = session.execute(text("SELECT DISTINCT status, attempt FROM outbox")).all()
    assert set(kept) == {(7, 1, "accepted", "", "", 0)}
    assert left == [("settled", 1)]


def test_what_is_settled_already_is_not_marked_in_flight_again(state: State) -> None:
    enqueue(state, {"a": "score"})
    batch = attempts.waiting(state, "crm", NOW, LANES, limit=9)
    attempts.mark_in_flight(state, batch)
    attempts.keep(state, [(row, ACCEPTED) for row in batch], run=1, now=NOW)
    attempts.mark_in_flight(state, batch)
    assert attempts.in_doubt(state, "crm", NOW) == []


def test_numbers_between_those_of_a_batch_are_not_its_rows(state: State) -> None:
    enqueue(state, {"a": "score", "b": "stage", "c": "score", "d": "score"})
    batch = attempts.waiting(state, "crm", NOW, ["score"], limit=9)
    attempts.mark_in_flight(state, batch)
    assert [row.key for row in attempts.in_doubt(state, "crm", NOW)] == ["a", "c", "d"]
    assert [row.key for row in attempts.waiting(state, "crm", NOW, LANES, limit=9)] == ["b"]


def test_what_became_of_a_batch_and_the_mark_of_the_next_are_kept_at_once(state: State) -> None:
    enqueue(state, {"a": "score", "b": "score", "c": "score"})
    first, second, _ = attempts.waiting(state, "crm", NOW, LANES, limit=9)
    attempts.mark_in_flight(state, [first])
    commits: list[Any] = []
    event.listen(state.engine, "commit", commits.append)
    attempts.keep(state, [(first, ACCEPTED)], run=1, now=NOW, begun=[second])
    assert len(commits) == 1
    assert [row.key for row in attempts.in_doubt(state, "crm", NOW)] == ["b"]
    assert [row.native_id for row in attempts.unapplied(state, limit=9)] == ["a"]
    assert [row.key for row in attempts.waiting(state, "crm", NOW, LANES, limit=9)] == ["c"]


def test_a_record_whose_changes_fall_into_two_portions_of_a_plan_keeps_both(state: State) -> None:
    enqueue(state, {"stage": "stage"}, record="7")
    enqueue(state, {"score": "score"}, record="7")
    assert [row.key for row in attempts.waiting(state, "crm", NOW, LANES, limit=9)] == ["stage", "score"]


def test_a_newer_plan_takes_the_place_of_what_waits_for_its_records_alone(state: State) -> None:
    enqueue(state, {"old": "stage", "older": "score"}, record="7")
    enqueue(state, {"other": "score"}, record="8")
    with ways(state) as found:
        enqueue(state, {"new": "score"}, run=2, record="7")
    assert [row.key for row in attempts.waiting(state, "crm", NOW, LANES, limit=9)] == ["other", "new"]
    assert not [way for way in found if "SCAN outbox" in way or "outbox_work" in way]


@pytest.mark.parametrize(("is_wanted_after_all", "ends"), [(False, "superseded"), (True, "pending")])
def test_what_is_in_doubt_is_not_sent_again_once_nothing_wants_it(
    state: State, is_wanted_after_all: bool, ends: str
) -> None:
    enqueue(state, {"old": "score"}, record="7")
    attempts.mark_in_flight(state, attempts.waiting(state, "crm", NOW, LANES, limit=9))
    outbox.let_go(state, [number for number, _ in outbox.of_fields(state)])
    if is_wanted_after_all:
        enqueue(state, {"old": "score"}, run=2, record="7")
    is_not_there = Settlement(1, "pending", "retry")
    attempts.keep(state, [(row, is_not_there) for row in attempts.in_doubt(state, "crm")], run=2, now=NOW)
    with state.engine.connect() as connection:
        assert connection.execute(text("SELECT status FROM outbox")).all() == [(ends,)]


@pytest.mark.parametrize("is_in_doubt", [False, True])
def test_a_task_whose_run_is_taken_back_is_not_made_and_not_planned_again(state: State, is_in_doubt: bool) -> None:
    enqueue(state, {"call": "task"}, record="7")
    taken = attempts.waiting(state, "crm", NOW, LANES, limit=9)
    if is_in_doubt:
        attempts.mark_in_flight(state, taken)
    outbox.withdraw_tasks(state, [row.id for row in taken])
    enqueue(state, {"call": "task"}, run=2, record="7")
    attempts.keep(
        state, [(row, Settlement(1, "pending", "retry")) for row in attempts.in_doubt(state, "crm")], run=2, now=NOW
    )
    assert outbox.tasks_to_weigh(state) == []
    with state.engine.connect() as connection:
        assert connection.execute(text("SELECT status FROM outbox")).all() == [("withdrawn",)]


def test_a_lane_is_stopped_while_a_change_of_fields_of_it_is_held_and_for_its_first_cause(state: State) -> None:
    enqueue(state, {"first": "score", "second": "score"}, status="held", because="54%")
    enqueue(state, {"third": "score", "stage": "stage"}, run=2, status="held", because="31%")
    enqueue(state, {"call": "task"}, status="held", because="10 a day")
    enqueue(state, {"going": "consent"})
    assert outbox.stopped(state, ["crm"]) == {"score": "54%", "stage": "31%"}
    assert outbox.stopped(state, ["another"]) == {}
    numbers = {row.key: row.id for row in outbox.braked(state)}
    assert outbox.stopped(state, ["crm"], but=[numbers["stage"], numbers["first"]]) == {"score": "54%"}
    outbox.lift(state, ["score"])
    assert outbox.stopped(state, ["crm"]) == {"stage": "31%"}


def test_a_plan_lets_go_what_was_held_before_it_weighed_that_anew_and_not_what_is_held_since(state: State) -> None:
    enqueue(state, {"before": "score", "task": "task"}, run=3, status="held")
    enqueue(state, {"since": "score"}, run=5, status="held")
    assert outbox.tasks_to_weigh(state, is_held_too=True) == ["task"]
    assert outbox.tasks_to_weigh(state) == []
    enqueue(state, {"before": "score", "since": "score", "task": "task"}, run=6, weighed_by=4)
    assert [row.key for row in outbox.braked(state)] == ["since"]
    assert [row.key for row in outbox.pending(state, NOW)] == ["before", "task"]
