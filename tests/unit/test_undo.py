"""What was to take a run back and did not go at once is held against what others did meanwhile; what became of it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlmodel import select

from connector import tables, undo, writeback
from connector.mart import Mart, MartSection, open_mart
from connector.model import Change, Kind, Lane, Outcome, Result
from connector.plan import Plan, Totals
from connector.state import State, StateSection, freezes, open_state, outbox, replans, restoring
from connector.state.models import Freeze, Outbox, Quarantine
from connector.undo import Undoing
from tests.unit.test_writeback import Crm, deliver

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
WROTE = {"Score": "50", "Grade": "B"}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


@pytest.fixture
def mart(tmp_path: Path) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path) as opened:
        yield opened


def restore(state: State, native_id: str = "1", *, run: int = 2, status: str = "pending") -> None:
    """A change that empties again what a run wrote into both fields."""
    change = Change(
        f"undo-{native_id}", "crm", "Contact", native_id, Lane.SCORE, dict.fromkeys(WROTE), dict(WROTE), reason="run 1 is taken back"
    )  # fmt: skip
    writeback.enqueue(state, Plan((change,), {}, Totals()), run=run, now=NOW)
    with state.session() as session:
        session.exec(select(Outbox).where(Outbox.key == change.key)).one().status = status
    if status == "quarantined":
        aside = Quarantine(
            key=f"change|{change.key}", kind="change", system="crm", reason="no", first_at=NOW, last_at=NOW
        )
        state.quarantine([aside])


def read(mart: Mart, native_id: str = "1", held: Mapping[str, str | None] = WROTE, **told: Any) -> None:
    """A record, and what its fields hold now, of which a run wrote the two."""
    key = f"crm|Contact|{native_id}"
    row = {"key": key, "system": "crm", "object_type": "Contact", "native_id": native_id, "run": 1, **told}
    mart.merge("person_record", pa.Table.from_pylist([row], schema=tables.record_schema(Kind.PERSON)))
    place = {"system": "crm", "object_type": "Contact", "native_id": native_id, "record": key}
    seen = [
        {**place, "key": f"{key}|{name}", "field": name, "value": value, "ours": WROTE[name]}
        for name, value in held.items()
    ]
    mart.merge("observed", pa.Table.from_pylist(seen, schema=tables.OBSERVED))


def overtaken(state: State, mart: Mart) -> list[str]:
    return undo.overtaken(state, mart, restoring.unfinished(state, before=3))


def rows(state: State, *statuses: str) -> list[tuple[dict[str, Any], str]]:
    """The fields of the changes that are in one of these statuses, and why each is held or withdrawn."""
    with state.session() as session:
        found = session.exec(select(Outbox).order_by(Outbox.id)).all()  # type: ignore[arg-type]
        return [(row.fields, row.held_because) for row in found if row.status in statuses]


@pytest.mark.parametrize("status", ["pending", "quarantined"])
def test_a_field_that_somebody_changed_meanwhile_is_not_restored_any_more_and_the_others_go_on(
    state: State, mart: Mart, status: str
) -> None:
    restore(state, status=status)
    read(mart, held=WROTE | {"Score": "99"})
    assert overtaken(state, mart) == ["crm Contact 1 Score: somebody changed it since"]
    assert rows(state, status) == [({"Grade": None}, "")]
    assert rows(state, "withdrawn") == [({"Score": None}, "somebody changed it since")]
    assert overtaken(state, mart) == [], "it is told once"
    aside = [row.key for row in replans.refused(state)]
    assert len(aside) == (status == "quarantined"), aside
    replans.let_go(state, aside, NOW)
    assert [row.fields for row in outbox.pending(state, NOW)] == [{"Grade": None}]


def test_what_is_in_doubt_is_not_sent_again_with_the_field_that_somebody_changed_meanwhile(
    state: State, mart: Mart
) -> None:
    restore(state, status="unknown")
    read(mart, held=WROTE | {"Score": "99"})
    assert overtaken(state, mart) == ["crm Contact 1 Score: somebody changed it since"]
    assert overtaken(state, mart) == [], "it is told once"
    crm = Crm()
    crm.fields["1"] = WROTE | {"Score": "99"}
    deliver(state, crm)
    assert crm.fields["1"] == {"Score": "99", "Grade": None}


@pytest.mark.parametrize("status", ["pending", "unknown", "quarantined"])
def test_what_nobody_touched_meanwhile_is_restored_as_it_was_to_be(state: State, mart: Mart, status: str) -> None:
    restore(state, status=status)
    read(mart)
    assert overtaken(state, mart) == []
    assert rows(state, status) == [(dict.fromkeys(WROTE), "")]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"deleted_at": NOW}, "the record is gone"),
        ({"deleted_at": NOW, "merged_into": "crm|Contact|7"}, "the record was merged into crm Contact 7"),
        ({"is_converted": True}, "the record was converted, and takes nothing any more"),
    ],
)
def test_a_record_that_takes_nothing_any_more_is_not_restored_and_says_why(
    state: State, mart: Mart, told: dict[str, Any], why: str
) -> None:
    restore(state)
    read(mart, **told)
    assert overtaken(state, mart) == [f"crm Contact 1 {name}: {why}" for name in WROTE]
    assert rows(state, "withdrawn") == [(dict.fromkeys(WROTE), why)]
    assert outbox.pending(state, NOW) == []


def test_what_somebody_emptied_by_hand_is_restored_without_us_and_nobody_is_told(state: State, mart: Mart) -> None:
    restore(state, status="quarantined")
    read(mart, held=dict.fromkeys(WROTE))
    assert overtaken(state, mart) == []
    assert replans.refused(state) == restoring.unfinished(state, before=3) == []


def test_only_what_is_there_counts_as_restored_and_what_was_refused_stays_with_why(state: State) -> None:
    for name in ("good", "late", "gone", "bad"):
        restore(state, name)
    answers = {
        "late": Outcome("undo-late", Result.RETRY, code="LOCKED", message="locked"),
        "gone": Outcome("undo-gone", Result.CONFLICT, code="CONVERTED", message="it was converted"),
        "bad": Outcome("undo-bad", Result.REJECTED, code="RULE", message="a rule forbids it"),
    }
    crm = Crm()
    crm.answer = lambda change: answers.get(change.native_id)
    deliver(state, crm)
    changes = tuple(
        Change(f"undo-{name}", "crm", "Contact", name, Lane.SCORE, {"Score": None})
        for name in ("good", "late", "gone", "bad")
    )
    told = undo.told(state, Undoing(Plan(changes, {}, Totals()), (), ("a task stays",), ()))
    assert told.restored == ("crm|Contact|good|Score",)
    assert told.waiting == ("crm|Contact|late|Score",)
    assert told.kept == (
        "a task stays",
        "crm Contact gone Score: it was converted (CONVERTED)",
        "crm Contact bad Score: a rule forbids it (RULE); it is set aside: `connector quarantine` says more",
    )


def test_taking_an_undo_back_ends_what_it_has_not_restored_yet_and_what_it_froze(state: State, mart: Mart) -> None:
    run = state.start_run("undo", NOW, "")
    until = NOW + timedelta(days=7)
    for status in ("pending", "quarantined", "unknown"):
        restore(state, status, run=run, status=status)
    place = {"system": "crm", "field": "Score", "why": "", "since_at": NOW, "until_at": until}
    frozen = [("mine", freezes.UNDO, NOW), ("other run", freezes.UNDO, NOW - timedelta(days=1)), ("fight", "Bo", NOW)]
    given = [
        Freeze(**place | {"key": f"{name}|Score", "record": f"crm|Contact|{name}", "writer": writer, "since_at": since})
        for name, writer, since in frozen
    ]
    freezes.add(state, given)
    found = undo.undoing(state, mart, run)
    later = NOW + timedelta(minutes=1)
    undo.freeze(state, found, run, since=later, until=until)
    undo.withdraw(state, found, later)
    assert [row.record for row in freezes.active(state, later)] == ["crm|Contact|fight", "crm|Contact|other run"]
    assert "crm|Contact|mine" in replans.waiting(state)
    crm = Crm()
    crm.fields["unknown"] = dict(WROTE)
    deliver(state, crm)
    assert crm.writes == []
    assert replans.refused(state) == []


@pytest.mark.parametrize(("edited_at", "told"), [(None, []), (NOW, ["crm Contact 1 Score: somebody changed it since"])])
def test_what_a_field_made_of_our_number_is_taken_back_and_what_somebody_made_of_it_is_not(
    state: State, mart: Mart, edited_at: datetime | None, told: list[str]
) -> None:
    restore(state)
    read(mart)
    key = "crm|Contact|1|Score"
    seen = {"key": key, "system": "crm", "object_type": "Contact", "native_id": "1", "record": key.rpartition("|")[0]}
    seen |= {"field": "Score", "value": "50", "ours": "49.6", "edited_at": edited_at}
    mart.merge("observed", pa.Table.from_pylist([seen], schema=tables.OBSERVED))
    with state.session() as session:
        row = session.exec(select(Outbox)).one()
        row.before = WROTE | {"Score": "49.6"}
    assert overtaken(state, mart) == told
