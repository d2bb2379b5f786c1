"""What was set aside is let go of once the plan has nothing to write to its record any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pyarrow as pa

from connector import clock, tables
from connector.mart import MartSection, open_mart
from connector.model import Kind, Outcome, Result
from connector.state import StateSection, open_state, outbox, replans, taskmade
from connector.state.models import Quarantine, TaskMade
from connector.state.store import set_aside
from connector.steps import standing
from connector.steps.setup import Moment, Setup
from connector.writeback import WritebackSection
from tests.unit.test_writeback import LIMITS, Crm, call, deliver, enqueue

NOW = datetime(2026, 11, 1, tzinfo=UTC)
VERDICTS = {
    "wanted": (True, None),
    "too_small_to_write": (False, None),
    "frozen": (False, "frozen"),
}


def test_a_change_that_would_be_too_small_to_write_is_not_kept_aside(tmp_path: Path) -> None:
    state = open_state(StateSection(), tmp_path)
    with state.session() as session:
        set_aside(
            session,
            [
                Quarantine(
                    key=f"change|{name}", kind="change", system="crm", record=f"crm|Contact|{name}", code="X", reason="no",
                    first_at=NOW, last_at=NOW,
                )
                for name in (*VERDICTS, "there_as_it_is")
            ],
        )  # fmt: skip
    rows = [
        {"record": f"crm|Contact|{name}", "is_material": weighs, "left_because": left}
        for name, (weighs, left) in VERDICTS.items()
    ]
    columns = pa.schema([("record", pa.string()), ("is_material", pa.bool_()), ("left_because", pa.string())])
    with open_mart(MartSection(), tmp_path) as mart, mart.transaction():
        differing = mart.keep("differing", pa.Table.from_pylist(rows, schema=columns))
        setup = cast(Setup, SimpleNamespace(state=state))
        standing.release_settled(setup, mart, differing, cast(Moment, SimpleNamespace(now=NOW, run=1)))
    assert sorted(row.key for row in replans.refused(state)) == ["change|frozen", "change|wanted"]


def test_a_task_whose_record_somebody_brought_back_is_sent_to_it_again_and_only_then(tmp_path: Path) -> None:
    state, crm = open_state(StateSection(), tmp_path), Crm()
    enqueue(state, replace(call(1), person="ANN"))
    crm.answer = lambda change: Outcome(change.key, Result.CONFLICT, code="GONE", message="it is gone")
    deliver(state, crm)
    systems = {"crm": SimpleNamespace(capabilities=LIMITS)}
    setup = cast(Setup, SimpleNamespace(state=state, writeback=WritebackSection(), systems=systems, tasks={}))
    record = {"key": "crm|Contact|1", "system": "crm", "object_type": "Contact", "native_id": "1"}
    found = []
    with open_mart(MartSection(), tmp_path) as mart:
        for table, row in (
            ("issued", {"key": "ANN", "kind": "person", "anchor": "crm|Contact|1"}),
            (
                "membership",
                {"key": "crm|Contact|1", "kind": "person", "owner_id": "ANN", "component": "", "ingestion": 1},
            ),
        ):
            mart.append(table, pa.Table.from_pylist([row], schema=mart.arrow(mart.table(table)).schema))
        for run, deleted_at in ((1, None), (2, NOW), (3, None)):
            row = record | {"run": run, "deleted_at": deleted_at}
            mart.merge("person_record", pa.Table.from_pylist([row], schema=tables.record_schema(Kind.PERSON)))
            mart.tell(now=NOW, run=run)
            found.append([place["native_id"] for _, place in standing.redirections(setup, mart)])
        standing.redirect(setup, mart)
    assert found == [[], [], ["1"]]
    crm.answer = lambda _: None
    assert deliver(state, crm).tasks == 1
    assert replans.refused(state) == []


def test_a_task_that_was_refused_goes_again_once_its_owner_was_changed_and_is_active_and_only_then(
    tmp_path: Path,
) -> None:
    state, crm = open_state(StateSection(), tmp_path), Crm()
    ann = call(1)
    assert ann.task is not None
    enqueue(state, replace(ann, task=replace(ann.task, owner="u1")))
    crm.answer = lambda change: Outcome(change.key, Result.REJECTED, code="X", message="the owner is inactive")
    deliver(state, crm)
    at, tasks = clock.now(), {"call": SimpleNamespace(owner="u1")}  # whom the configuration names may be away, too
    setup = cast(Setup, SimpleNamespace(state=state, writeback=WritebackSection(), systems={}, tasks=tasks))
    owner = {"key": "crm|User|u1", "system": "crm", "object_type": "User", "native_id": "u1", "run": 1}
    told = [
        (True, None), (True, at - timedelta(days=3)), (False, at + timedelta(hours=1)), (True, at + timedelta(hours=2)),
    ]  # fmt: skip
    found = []
    with open_mart(MartSection(), tmp_path) as mart:
        for is_active, modified_at in told:
            row = owner | {"is_active": is_active, "modified_at": modified_at}
            mart.merge("owner_record", pa.Table.from_pylist([row], schema=tables.record_schema(Kind.OWNER)))
            found.append([place["task"]["owner"] for _, place in standing.reassignments(setup, mart)])
        standing.redirect(setup, mart)
        assert standing.reassignments(setup, mart) == [], "it waits to be sent, and is to be redirected no more"
    assert found == [[], [], [], ["u1"]]
    assert replans.refused(state) == []
    crm.answer = lambda _: None
    assert deliver(state, crm).tasks == 1


def test_a_task_that_was_made_before_a_restore_under_another_key_stands_for_one_that_is_drafted_after_it(
    tmp_path: Path,
) -> None:
    state = open_state(StateSection(), tmp_path)
    setup = cast(Setup, SimpleNamespace(state=state))
    due = {
        "early": timedelta(days=-30),
        "first": timedelta(days=1),
        "second": timedelta(days=1),
        "bobs": timedelta(days=1),
    }
    drafts = pa.Table.from_pylist(
        [
            {"key": key, "trigger": "call", "subject": "BOB" if key == "bobs" else "ANN", "due_at": NOW + later, "revision": 2}
            for key, later in due.items()
        ],
        schema=tables.DESIRED_TASK,
    )  # fmt: skip
    told = [
        ("call-lost", "t1", "1"),
        ("greet-lost", "t2", "1"),
        ("call_twice-lost", "t3", "1"),
        ("call-known", "t4", "1"),
        ("call-nobodys", "t5", "9"),
    ]
    with open_mart(MartSection(), tmp_path) as mart:
        mart.append(
            "membership",
            pa.Table.from_pylist(
                [
                    {"key": f"crm|Contact|{at}", "kind": "person", "owner_id": owner, "component": "", "ingestion": at}
                    for at, owner in ((1, "ANN"), (2, "BOB"))
                ],
                schema=mart.arrow(mart.table("membership")).schema,
            ),
        )
        mart.append(
            "activity",
            pa.Table.from_pylist(
                [
                    {"key": native, "system": "crm", "native_id": native, "record": f"crm|Contact|{at}", "task_key": key,
                     "happened_at": NOW}
                    for key, native, at in told
                ],
                schema=tables.ACTIVITY,
            ),
        )  # fmt: skip
        taskmade.keep(state, [taskmade.Made("call-known", "crm", "t4", "crm|Contact|1")], run=1, now=NOW)

        def left(*, is_dry: bool) -> list[str]:
            moment = cast(Moment, SimpleNamespace(now=NOW, run=2))
            return sorted(standing.unmade(setup, mart, drafts, moment, is_dry=is_dry)["key"].to_pylist())

        assert left(is_dry=True) == left(is_dry=False) == ["bobs", "early", "second"], "one for one, and near its day"
        with state.session() as session:
            kept = session.get(TaskMade, "first")
            assert kept is not None
            assert kept.native_id == "t1"
        assert left(is_dry=False) == ["bobs", "early", "first", "second"], "it stands for no other"
        assert "first" in outbox.known(state, ["first"]), "and its own draft enters the outbox no more"
