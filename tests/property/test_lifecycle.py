"""Stages and triggers follow a small machine that one can run by hand, for many persons, any scores and any gaps."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import lifecycle, tables
from connector.expressions import NOW, RUN
from connector.lifecycle import LifecycleSection, TaskSection
from connector.mart import Mart
from connector.tables import POINT

START = datetime(2026, 6, 1, 9, tzinfo=UTC)
HOURS = (0, 7, 30, 31, 90, 91, 130, 400)  # of the runs; a dwell of a day falls between some of them
DWELL = timedelta(days=1)
GATES = (
    ("Discover", -1e9, -1e9),
    ("Explore", 20, 15),
    ("Engage", 40, 30),
    ("Buy", 60, 50),
)  # name, enter from, leave below
SECTION = LifecycleSection.model_validate(
    {
        "stages": [
            {"name": name, **({"enter": f"score >= {enter}", "exit": f"score < {leave}"} if place else {})}
            for place, (name, enter, leave) in enumerate(GATES)
        ]
    }
)
TASKS = {
    "call": TaskSection.model_validate({"when": "score crosses 60", "rearm_below": 45, "subject": "x"}),
    "greet": TaskSection.model_validate({"when": "stage becomes 'Engage'", "subject": "x"}),
}
FACTS: dict[str, pa.DataType] = {
    "subject": tables.TEXT,
    "score": tables.INT,
    "last_event_at": tables.INSTANT,
    "due_at": tables.INSTANT,
}
BACKEND = ibis.duckdb.connect()
BACKEND.raw_sql("set TimeZone = 'UTC'")
MART = Mart(BACKEND, BACKEND.con, Path())

Rows = list[dict[str, Any]]
scores = st.none() | st.sampled_from([0, 14, 15, 19, 20, 29, 30, 39, 40, 44, 45, 49, 50, 59, 60, 80])
lives = st.lists(st.lists(scores, min_size=len(HOURS), max_size=len(HOURS)), min_size=4, max_size=16)


def store(name: str, schema: pa.Schema, rows: Rows) -> None:
    BACKEND.con.register(
        "arriving", pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema=schema)
    )
    BACKEND.con.execute(f"create or replace table {name} as select * from arriving")


for name, schema in (
    ("facts", pa.schema(FACTS)),
    ("stage_interval", tables.STAGE_INTERVAL),
    ("trigger", tables.TRIGGER),
):
    store(name, schema, [])


def at(run: int) -> datetime:
    return START + timedelta(hours=HOURS[run])


@cache
def step(name: str) -> ir.Table:
    """A step of any run on the stored tables; built and turned into SQL once."""
    facts, intervals = BACKEND.table("facts"), BACKEND.table("stage_interval")
    if name == "advance":
        return lifecycle.advance(SECTION, facts, intervals, NOW, RUN)
    return lifecycle.fire(TASKS, facts, current=intervals, triggers=BACKEND.table("trigger"), now=NOW, run=RUN)


def made(name: str, run: int) -> Rows:
    """What a step makes of the stored tables in a run."""
    MART.tell(now=at(run), run=run)
    rows: Rows = MART.arrow(step(name)).to_pylist()
    return rows


def advance(run: int, facts: Rows, intervals: dict[str, Any]) -> Rows:
    store("facts", pa.schema(FACTS), facts)
    store("stage_interval", tables.STAGE_INTERVAL, list(intervals.values()))
    return made("advance", run)


def facts_of(run: int, given_lives: list[list[int | None]]) -> Rows:
    """The facts of those who are looked at in this run: None is a person whom nothing touched."""
    touched = [(person, life[run]) for person, life in enumerate(given_lives)]
    return [{"subject": f"p{person}", "score": score * POINT} for person, score in touched if score is not None]


def by_hand(life: list[int | None]) -> list[str]:
    """The stages one after another, by the rules of the module's docstring."""
    told: list[str] = []
    place, since = -1, START
    for run, score in enumerate(life):
        if score is None:
            continue
        upward = [higher for higher, (_, enter, _) in enumerate(GATES) if higher > place and score >= enter]
        if upward:
            target = max(upward)
        elif place > 0 and score < GATES[place][2] and at(run) - since >= DWELL:
            target = max(lower for lower in range(place) if score >= GATES[lower][2])
        else:
            continue
        place, since = target, at(run)
        told.append(GATES[place][0])
    return told


@settings(max_examples=12, deadline=None)
@given(lives)
def test_persons_go_through_the_stages_that_the_rules_give_by_hand(given_lives: list[list[int | None]]) -> None:
    intervals: dict[str, Any] = {}
    for run in range(len(HOURS)):
        facts = facts_of(run, given_lives)
        intervals |= {row["key"]: row for row in advance(run, facts, intervals)}
        assert advance(run, facts, intervals) == [], "the same facts at the same instant move nobody twice"
    by_subject: dict[str, Rows] = defaultdict(list)
    for row in sorted(intervals.values(), key=lambda row: row["entered_at"]):
        by_subject[row["subject"]].append(row)
    for person, life in enumerate(given_lives):
        mine = by_subject[f"p{person}"]
        assert [row["stage"] for row in mine] == by_hand(life)
        assert [row["left_at"] for row in mine[:-1]] == [row["entered_at"] for row in mine[1:]], "no gap and no overlap"
        assert not mine or mine[-1]["left_at"] is None


def episodes_by_hand(life: list[int | None]) -> int:
    """How often `score crosses 60`, armed again below 45, fires; whom the first run sees at 60 or above is only disarmed."""
    is_armed, episodes = True, 0
    for run, score in enumerate(life):
        if score is None:
            continue
        if score >= 60:
            episodes += is_armed and run > 0
            is_armed = False
        elif score < 45:
            is_armed = True
    return episodes


@settings(max_examples=4, deadline=None)
@given(lives)
def test_a_trigger_fires_as_often_as_by_hand(given_lives: list[list[int | None]]) -> None:
    intervals: dict[str, Any] = {}
    triggers: dict[str, Any] = {}
    for run in range(len(HOURS)):
        facts = facts_of(run, given_lives)
        intervals |= {row["key"]: row for row in advance(run, facts, intervals)}
        store("stage_interval", tables.STAGE_INTERVAL, list(intervals.values()))
        store("trigger", tables.TRIGGER, list(triggers.values()))
        triggers |= {row["key"]: row for row in made("fire", run)}
    for person, life in enumerate(given_lives):
        crossing = triggers.get(f"p{person}|call", {"episode": 0})
        assert crossing["episode"] == episodes_by_hand(life)
        greeting = triggers.get(f"p{person}|greet", {"episode": 0})
        stages = by_hand(life)
        began_engaged = life[0] is not None and stages[0] == "Engage"
        assert greeting["episode"] == stages.count("Engage") - began_engaged
