"""The protocol: nothing lost, nothing twice, whatever breaks between two lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.event import listen
from sqlmodel import select

from connector import settlement, writeback
from connector.dispatch import Delivered
from connector.errors import AuthError, QuotaExhausted, SystemUnavailable
from connector.mart import MartSection, open_mart
from connector.model import (
    Capabilities,
    Change,
    FieldSchema,
    Found,
    Keep,
    Lane,
    ObjectSchema,
    Outcome,
    Result,
    System,
    Task,
)
from connector.plan import Brakes, Plan, Totals, make
from connector.state import State, StateSection, open_state, outbox, replans
from connector.state.models import Delivery, Outbox, Quarantine, TaskMade
from connector.writeback import WritebackSection, ask_access_anew

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LIMITS = Capabilities(batch_size=2, writable=("Contact",), task_targets=("Contact",))


class Crm:
    """A system in ten lines: it holds fields and tasks, and can be told to fail."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, str] = {}
        self.writes: list[list[str]] = []
        self.answer: Callable[[Change], Outcome | None] = lambda _: None
        self.before: Callable[[], None] = lambda: None
        self.is_index_fresh = True
        self.receipts: Callable[[Keep], None] = lambda _: None

    def write(self, changes: Sequence[Change], keep: Keep) -> list[Outcome]:
        self.receipts(keep)
        self.before()
        self.writes.append([change.key for change in changes])
        return [self.answer(change) or self.take(change) for change in changes]

    def take(self, change: Change) -> Outcome:
        if change.task is None:
            self.fields.setdefault(change.native_id, {}).update(change.fields)
            return Outcome(change.key, Result.ACCEPTED)
        assert change.key not in self.tasks, "a second task with the same key"
        self.tasks[change.key] = f"T{len(self.tasks)}"
        return Outcome(change.key, Result.ACCEPTED, native_id=self.tasks[change.key])

    def find(self, changes: Sequence[Change]) -> list[Found]:
        return [
            Found(c.key, native_id=self.tasks.get(c.key), is_certain=self.is_index_fresh or c.key in self.tasks)
            if c.task
            else Found(c.key, values=self.fields.get(c.native_id, {}))
            for c in changes
        ]

    def install(self, specs: Any, *, is_dry: bool) -> list[Any]:
        del specs, is_dry
        return []


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


@pytest.fixture
def crm() -> Crm:
    return Crm()


def plan(*changes: Change) -> Plan:
    return make(changes, Brakes.model_validate({}), Totals())


def update(number: int, score: int = 50, before: int | None = None) -> Change:
    return Change(
        f"f{number}:{before}>{score}", "crm", "Contact", str(number), Lane.SCORE, {"Score": score}, {"Score": before}
    )


def call(number: int) -> Change:
    key = f"task{number}"
    return Change(key, "crm", "Contact", str(number), Lane.TASK, task=Task(key, "Call", "", NOW, "high", None))


def enqueue(state: State, *changes: Change, run: int = 1) -> int:
    return writeback.enqueue(state, plan(*changes), run=run, now=NOW)


class Described:
    """What a system says of its fields: those of `writable` can be written."""

    writable: tuple[str, ...] = ()

    def describe(self, object_types: Sequence[str]) -> dict[str, ObjectSchema]:
        fields = {name: FieldSchema(name, "number", is_writable=name in self.writable) for name in ("Score", "Grade")}
        return {name: ObjectSchema(name, fields) for name in object_types}


def deliver(state: State, crm: Crm, source: Described = Described(), **section: Any) -> Delivered:
    system = System("crm", "crm", source=source, target=crm, calls=lambda: len(crm.writes), close=lambda: None)  # type: ignore[arg-type]
    return writeback.deliver(state, system, LIMITS, WritebackSection(**section), run=1, is_stopping=lambda: False)


def statuses(state: State) -> list[str]:
    with state.session() as session:
        return [row.status for row in session.exec(select(Outbox).order_by(Outbox.id))]  # type: ignore[arg-type]


def test_what_is_enqueued_is_delivered_once_with_one_outcome_each(state: State, crm: Crm) -> None:
    assert enqueue(state, update(1), update(2), update(3), call(4)) == 4
    delivered = deliver(state, crm)
    assert (delivered.accepted, delivered.tasks, delivered.waiting) == (4, 1, 0)
    assert deliver(state, crm).accepted == 0
    assert sorted(key for batch in crm.writes for key in batch) == sorted(
        ["f1:None>50", "f2:None>50", "f3:None>50", "task4"]
    )
    with state.session() as session:
        assert len(session.exec(select(Delivery)).all()) == 4


def test_enqueueing_the_same_plan_again_adds_nothing(state: State) -> None:
    enqueue(state, update(1), call(2))
    assert enqueue(state, update(1), call(2), run=2) == 0


def test_a_task_that_was_made_is_never_enqueued_again(state: State, crm: Crm) -> None:
    enqueue(state, call(1))
    deliver(state, crm)
    assert enqueue(state, call(1), run=2) == 0


def test_a_field_change_may_come_again_after_it_was_settled(state: State, crm: Crm) -> None:
    enqueue(state, update(1, 30, 0))
    deliver(state, crm)
    assert enqueue(state, update(1, 30, 0), run=3) == 1


def test_a_newer_change_supersedes_the_older_one_that_still_waits(state: State, crm: Crm) -> None:
    enqueue(state, update(1, 50))
    enqueue(state, update(1, 60), run=2)
    deliver(state, crm)
    assert statuses(state) == ["superseded", "settled"]
    assert crm.fields == {"1": {"Score": 60}}


def test_a_large_plan_supersedes_what_waits_for_its_records_and_reads_nothing_of_others(state: State) -> None:
    enqueue(state, *(update(number, 50) for number in range(1_200)))
    asked: list[tuple[str, Any]] = []
    listen(state.engine, "before_cursor_execute", lambda _c, _k, text, given, *_: asked.append((text, given)))
    enqueue(state, *(update(number, 60) for number in range(100, 1_300)), run=2)
    assert Counter(statuses(state)) == {"pending": 1_300, "superseded": 1_100}
    reading = [each for each in asked if each[0].startswith("SELECT") and "native_id IN" in each[0]]
    assert reading
    with state.engine.connect() as connection:
        for text, given in reading:
            (how,) = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + text, given).all()
            assert "outbox_record (system=? AND object_type=? AND native_id=?)" in how[-1]
    assert not [text for text, _ in asked if text.startswith("SELECT") and "outbox.status IN" in text]


def test_killed_inside_enqueueing_nothing_of_the_portion_is_there_and_again_adds_it_once(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(state, update(1), run=1)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_supersede", killed)
        with pytest.raises(KeyboardInterrupt):
            enqueue(state, update(2), call(3), run=2)
    assert statuses(state) == ["pending"]
    assert enqueue(state, update(1), update(2), call(3), run=3) == 2


def test_killed_before_the_send_nothing_is_lost_and_nothing_is_sent_blindly(state: State, crm: Crm) -> None:
    enqueue(state, call(1), update(2))

    def killed() -> None:
        raise KeyboardInterrupt

    crm.before = killed
    with pytest.raises(KeyboardInterrupt):
        deliver(state, crm)
    assert statuses(state) == ["in_flight", "in_flight"]
    crm.before = lambda: None
    deliver(state, crm)
    _all_due(state)
    deliver(state, crm)
    assert statuses(state) == ["settled", "settled"]
    assert len(crm.tasks) == 1


def test_killed_after_the_send_the_task_is_found_and_not_made_twice(state: State, crm: Crm) -> None:
    enqueue(state, call(1))

    def takes_and_dies(change: Change) -> Outcome:
        crm.take(change)
        raise KeyboardInterrupt

    crm.answer = takes_and_dies
    with pytest.raises(KeyboardInterrupt):
        deliver(state, crm)
    crm.answer = lambda _: None
    delivered = deliver(state, crm)
    assert statuses(state) == ["settled"]
    assert len(crm.tasks) == 1
    assert delivered.accepted == 1
    with state.session() as session:
        assert session.get_one(TaskMade, "task1").native_id == "T0"


def test_a_lost_reply_is_settled_by_reading(state: State, crm: Crm) -> None:
    enqueue(state, update(1), call(2))

    def lost(change: Change) -> Outcome:
        crm.take(change)
        return Outcome(change.key, Result.UNKNOWN)

    crm.answer = lost
    delivered = deliver(state, crm)
    assert statuses(state) == ["settled", "settled"]
    assert crm.writes == [["task2", "f1:None>50"]], "each was sent once"
    assert (delivered.accepted, delivered.unknown, delivered.error) == (2, 0, None)


def test_while_an_index_may_lag_a_task_is_neither_sent_again_nor_given_up(state: State, crm: Crm) -> None:
    enqueue(state, call(1))
    crm.answer = lambda change: Outcome(change.key, Result.UNKNOWN)
    deliver(state, crm)
    crm.answer, crm.is_index_fresh = (lambda _: None), False
    deliver(state, crm)
    assert statuses(state) == ["unknown"]
    crm.is_index_fresh = True
    deliver(state, crm)
    assert statuses(state) == ["unknown"], "it was told to ask again later, not at once"
    _all_due(state)
    deliver(state, crm)
    _all_due(state)
    deliver(state, crm)
    assert statuses(state) == ["settled"]
    assert len(crm.tasks) == 1


def test_a_rejected_change_is_set_aside_with_its_cause_and_the_rest_goes_on(state: State, crm: Crm) -> None:
    enqueue(state, update(1), update(2), update(3))
    crm.answer = lambda c: (
        Outcome(c.key, Result.REJECTED, code="STRING_TOO_LONG", message="too long") if c.native_id == "1" else None
    )
    delivered = deliver(state, crm)
    assert (delivered.accepted, delivered.rejected) == (2, 1)
    with state.session() as session:
        aside = session.exec(select(Quarantine)).one()
    assert (aside.code, aside.record, aside.is_open) == ("STRING_TOO_LONG", "crm|Contact|1", True)


def test_a_change_that_can_be_tried_again_is_set_aside_after_so_many_attempts(state: State, crm: Crm) -> None:
    enqueue(state, update(1))
    crm.answer = lambda change: Outcome(change.key, Result.RETRY, code="UNABLE_TO_LOCK_ROW")
    for _ in range(4):
        deliver(state, crm, max_attempts=3)
        _all_due(state)
    assert statuses(state) == ["quarantined"]
    assert len(crm.writes) == 3


def test_an_outage_sets_nothing_aside_however_long_it_lasts(state: State, crm: Crm) -> None:
    enqueue(state, update(1))
    crm.answer = lambda change: Outcome(change.key, Result.RETRY)
    for _ in range(6):
        deliver(state, crm, max_attempts=3)
        _all_due(state)
    assert statuses(state) == ["pending"]
    crm.answer = lambda _: None
    deliver(state, crm)
    assert statuses(state) == ["settled"]


def test_a_used_quota_costs_no_attempt_however_often_and_is_no_failure(state: State, crm: Crm) -> None:
    enqueue(state, update(1), update(2), update(3))
    crm.answer = lambda c: Outcome(c.key, Result.WAIT, code="REQUEST_LIMIT_EXCEEDED", retry_after_s=60)
    for _ in range(9):
        delivered = deliver(state, crm, max_attempts=3)
        assert isinstance(delivered.error, QuotaExhausted)
        assert delivered.error.resets_at is not None
        assert delivered.waiting == 3
    assert statuses(state) == ["pending"] * 3
    crm.answer = lambda _: None
    assert deliver(state, crm).accepted == 3


def test_what_only_a_person_can_mend_stops_the_system_and_sets_nothing_aside(state: State, crm: Crm) -> None:
    enqueue(state, update(1), update(2), update(3))
    crm.answer = lambda c: Outcome(c.key, Result.STOP, code="API_DISABLED_FOR_ORG", message="no API", hint="buy it")
    delivered = deliver(state, crm)
    assert delivered.error is not None
    assert (delivered.error.exit_code, delivered.error.hint, delivered.waiting) == (4, "buy it", 3)
    assert len(crm.writes) == 1, "nothing is sent after it"


def test_when_certainly_nothing_was_sent_the_batch_waits_and_costs_no_attempt(state: State, crm: Crm) -> None:
    enqueue(state, update(1))

    def refuses() -> None:
        raise AuthError("token refused", system="crm")

    crm.before = refuses
    delivered = deliver(state, crm)
    assert isinstance(delivered.error, AuthError)
    assert statuses(state) == ["pending"]
    with state.session() as session:
        assert session.exec(select(Outbox)).one().attempt == 0


def test_a_system_that_is_down_stops_its_delivery_and_keeps_what_waits(state: State, crm: Crm) -> None:
    enqueue(state, *[update(n) for n in range(5)])
    calls = iter(range(9))

    def breaks() -> None:
        if next(calls) == 1:
            raise SystemUnavailable("down", sent=False)

    crm.before = breaks
    delivered = deliver(state, crm)
    assert (delivered.accepted, delivered.waiting) == (2, 3)
    assert isinstance(delivered.error, SystemUnavailable)


def test_asked_to_stop_it_ends_between_two_batches(state: State, crm: Crm) -> None:
    enqueue(state, *[update(n) for n in range(12)])
    system = System("crm", "crm", source=Described(), target=crm, calls=lambda: 0, close=lambda: None)  # type: ignore[arg-type]
    delivered = writeback.deliver(
        state, system, LIMITS, WritebackSection(), run=1, is_stopping=lambda: len(crm.writes) >= 2
    )
    assert delivered.accepted in (4, 6), "no more than the batch that was on its way"
    assert delivered.waiting == 12 - delivered.accepted
    assert Counter(statuses(state)) == {"settled": delivered.accepted, "pending": delivered.waiting}


def test_a_missing_outcome_is_an_error_and_not_a_wait(state: State, crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(state, update(1), update(2))
    real = crm.write
    monkeypatch.setattr(crm, "write", lambda changes, keep: real(changes, keep)[:1])
    delivered = deliver(state, crm)
    assert delivered.error is not None
    assert statuses(state) == ["in_flight", "in_flight"]


def test_what_a_brake_holds_waits_until_it_is_let_go(state: State, crm: Crm) -> None:
    held = replace(plan(update(1, before=10), update(2)), held={update(1, before=10).key: "too many"})
    writeback.enqueue(state, held, run=1, now=NOW)
    assert deliver(state, crm).accepted == 1
    assert writeback.lift(state) == 1
    assert deliver(state, crm).accepted == 1


def test_accepted_values_reach_the_observed_values_once(state: State, crm: Crm, tmp_path: Path) -> None:
    enqueue(state, update(1, 66), call(2))
    deliver(state, crm)
    with open_mart(MartSection(), tmp_path) as mart:
        assert settlement.settle(state, mart, run=1) == 1
        assert [(row["field"], row["value"]) for row in mart.arrow(mart.table("observed")).to_pylist()] == [
            ("Score", "66")
        ]
        assert settlement.settle(state, mart, run=2) == 0


def test_killed_between_the_outcome_and_the_observed_values_a_restart_applies_what_is_left(
    state: State, crm: Crm, tmp_path: Path
) -> None:
    enqueue(state, update(1, 66))
    deliver(state, crm)
    again = open_state(StateSection(), tmp_path)
    with open_mart(MartSection(), tmp_path) as mart:
        assert settlement.settle(again, mart, run=2) == 1


def _all_due(state: State) -> None:
    with state.session() as session:
        for row in session.exec(select(Outbox)):
            if row.not_before_at is not None:
                row.not_before_at = NOW - timedelta(days=9)


def test_a_refused_change_is_not_sent_again_until_its_value_changes(state: State, crm: Crm) -> None:
    enqueue(state, update(1, 50))
    crm.answer = lambda c: Outcome(c.key, Result.REJECTED, code="STRING_TOO_LONG")
    deliver(state, crm)
    assert enqueue(state, update(1, 50), run=2) == 0, "the same value would be refused again"
    crm.answer = lambda _: None
    assert enqueue(state, update(1, 60), run=3) == 1
    deliver(state, crm)
    assert statuses(state) == ["superseded", "settled"]
    assert not replans.refused(state), "a new value releases the old one"


def test_a_refused_change_is_released_when_the_permission_changes(state: State, crm: Crm) -> None:
    enqueue(state, update(1), call(2))
    source = Described()
    crm.answer = lambda c: Outcome(c.key, Result.REJECTED, code="INSUFFICIENT_ACCESS")
    deliver(state, crm, source)
    ask_access_anew(state, ["crm"])
    deliver(state, crm, source)
    assert statuses(state) == ["quarantined", "quarantined"], "nothing changed: nothing is sent"
    source.writable = ("Score",)
    crm.answer = lambda _: None
    ask_access_anew(state, ["crm"])
    deliver(state, crm, source)
    assert sorted(statuses(state)) == ["settled", "superseded"]
    assert len(crm.tasks) == 1
    assert replans.waiting(state) == ["crm|Contact|1"], "the record is planned anew with what it should hold now"
    assert not replans.refused(state)


def test_what_is_refused_again_and_again_is_not_released_by_itself(state: State, crm: Crm) -> None:
    source = Described()
    enqueue(state, call(1))
    crm.answer = lambda c: Outcome(c.key, Result.REJECTED, code="INSUFFICIENT_ACCESS")
    for number in range(6):
        source.writable = ("Score",) if number % 2 else ()
        ask_access_anew(state, ["crm"])
        deliver(state, crm, source, max_attempts=3)
    assert len(crm.writes) == 3


def test_a_record_that_is_not_what_we_thought_is_planned_anew_and_given_up_after_so_many_times(
    state: State, crm: Crm
) -> None:
    crm.answer = lambda c: Outcome(c.key, Result.CONFLICT, code="ENTITY_IS_DELETED")
    for run in range(1, 9):
        enqueue(state, update(1), run=run)
        deliver(state, crm, max_attempts=3)
        assert replans.waiting(state) == ["crm|Contact|1"]
    assert len(crm.writes) == 3
    assert [row.code for row in replans.refused(state)] == ["ENTITY_IS_DELETED"]


def test_a_task_whose_record_is_gone_waits_for_another_record_and_is_made_once(state: State, crm: Crm) -> None:
    enqueue(state, call(1))
    crm.answer = lambda c: Outcome(c.key, Result.CONFLICT, code="ENTITY_IS_DELETED") if c.native_id == "1" else None
    deliver(state, crm)
    assert [row.key for row in replans.failed_tasks(state, "conflict", 5)] == ["task1"]
    replans.redirect(state, {"task1": {"native_id": "2"}})
    deliver(state, crm)
    assert list(crm.tasks) == ["task1"]
    assert not replans.refused(state)
    assert enqueue(state, call(1), run=2) == 0


def test_what_is_held_of_a_record_is_not_superseded_by_what_goes_beside_it(state: State) -> None:
    held, first, second = (
        update(1, 60, 40),
        *(replace(update(1, at), key=f"stage{at}", lane=Lane.STAGE) for at in (1, 2)),
    )
    for number, going in enumerate((first, second)):
        writeback.enqueue(state, Plan((going, held), {held.key: "too many"}, Totals()), run=number, now=NOW)
    assert statuses(state) == ["superseded", "held", "pending"]


def test_what_the_brakes_hold_is_weighed_anew_when_they_are_set_otherwise(state: State, crm: Crm) -> None:
    held = replace(plan(update(1, before=10), call(2)), held={update(1, before=10).key: "many", "task2": "many"})
    writeback.enqueue(state, held, run=1, now=NOW)
    outbox.weigh_anew(state)
    assert outbox.tasks_to_weigh(state) == ["task2"]
    assert enqueue(state, update(1, before=10), call(2), run=2) == 2
    assert outbox.tasks_to_weigh(state) == []
    deliver(state, crm)
    assert len(crm.tasks) == 1


def test_tasks_of_the_last_day_are_counted_by_owner_without_those_that_are_held(state: State) -> None:
    held = replace(plan(call(1), call(2)), held={"task2": "many"})
    writeback.enqueue(state, held, run=1, now=NOW)
    assert outbox.tasks_given(state, NOW - timedelta(days=1), NOW) == {("crm", None): 1}
    assert outbox.going(state) == 1
    assert outbox.tasks_given(state, NOW, NOW + timedelta(days=1)) == {}
