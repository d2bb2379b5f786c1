"""Scores depend on what happened and on `now`, and on nothing else: not on order, batches, threads, or who is one person."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from connector import expressions, plan, scoring, tables
from connector.forecast import Day, engagement_at
from connector.mart import Mart
from connector.scoring import ScoringModel
from connector.tables import POINT

FOR_EVER = datetime(9000, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
HALF_LIVES: dict[str, float | None] = {
    "form_submitted": 5,
    "email_clicked": 40,
    "unsubscribed": 90,
    "meeting_held": None,
}
WORTH = {"form_submitted": 25, "email_clicked": 3.3, "unsubscribed": -15, "meeting_held": 7}
MODEL = ScoringModel.model_validate(
    {
        "fit": [
            {"name": "senior", "when": "person.seniority = 'vp'", "points": 12},
            {"name": "size", "when": "account.employees > 200", "points": -4},
        ],
        "engagement": [
            {"name": kind, "on": kind, "points": WORTH[kind], "half_life_days": half_life}
            for kind, half_life in HALF_LIVES.items()
        ],
        "grades": {"A": 30, "B": 10, "C": 0},
    }
)
CAPPED = MODEL.model_copy(
    update={"engagement": tuple(rule.model_copy(update={"cap": 20.0}) for rule in MODEL.engagement)}
)
STEP = 2.0
BACKEND = ibis.duckdb.connect()
BACKEND.raw_sql("set TimeZone = 'UTC'; set threads = 2")
MART = Mart(BACKEND, BACKEND.con, Path())

minutes_ago = st.integers(0, 200 * 24 * 60)
happenings = st.lists(st.tuples(st.sampled_from(sorted(WORTH)), minutes_ago, st.integers(0, 5)), max_size=25)
owners = st.lists(st.integers(0, 3), min_size=6, max_size=6)
Rows = list[dict[str, Any]]
PERSONS: Rows = [{"key": f"p{at}", "seniority": "vp" if at % 2 else None, "account": f"a{at % 3}"} for at in range(4)]
ACCOUNTS: Rows = [{"key": "a0", "employees": 10}, {"key": "a1", "employees": 500}]


@dataclass(frozen=True)
class World:
    """What happened (kind, minutes ago, record), and whose the six records are."""

    events: list[tuple[str, int, int]]
    owners: list[int]

    def activities(self) -> Rows:
        return [
            {"key": str(at), "kind": kind, "happened_at": NOW - timedelta(minutes=ago), "record": f"r{record}"}
            for at, (kind, ago, record) in enumerate(self.events)
        ]


worlds = st.builds(World, happenings, owners)


def store(name: str, schema: pa.Schema, rows: Rows | pa.Table) -> None:
    whole = [dict.fromkeys(schema.names) | row for row in rows] if isinstance(rows, list) else []
    made = pa.Table.from_pylist(whole, schema=schema) if isinstance(rows, list) else rows.cast(schema)
    BACKEND.con.register("arriving", made)
    BACKEND.con.execute(f"create or replace table {name} as select * from arriving")


STORED = {
    "activity": tables.ACTIVITY,
    "person_record": tables.record_schema("person"),
    "engagement_day": tables.ENGAGEMENT_DAY,
    "membership": tables.MEMBERSHIP,
    "person": tables.PERSON,
    "account": tables.ACCOUNT,
    "score_line": tables.SCORE_LINE,
    "held": pa.schema([("subject", tables.TEXT), ("value", tables.TEXT)]),
}
for name, schema in STORED.items():
    store(name, schema, ACCOUNTS if name == "account" else [])


@cache
def built(step: str, is_capped: bool) -> ir.Table:
    """One step at any instant on the stored tables: built and turned into SQL once, asked for every example."""
    table, model, now = BACKEND.table, CAPPED if is_capped else MODEL, expressions.NOW
    golden = {"persons": table("person"), "accounts": table("account")}
    if step == "fold":
        return scoring.fold("m", model, table("activity"), table("person_record"), now)
    if step == "lines":
        kept = {"membership": table("membership"), "days": table("engagement_day")}
        return scoring.score_lines("m", model, **kept, **golden, now=now)
    if step == "reasons":
        return plan.reasons_text(table("score_line"))
    written = {"step": STEP, "held": table("held")} if step == "written" else {}
    return scoring.scores("m", model, table("score_line"), **golden, now=now, levels={"engagement": [5]}, **written)


def run(step: str, schema: pa.Schema, now: datetime, is_capped: bool) -> pa.Table:
    MART.tell(now=now)
    return MART.arrow(built(step, is_capped)).cast(schema).sort_by("key")


def fold(activities: Rows) -> pa.Table:
    store("activity", tables.ACTIVITY, activities)
    return run("fold", tables.ENGAGEMENT_DAY, NOW, is_capped=False)


def lines(world: World, *, now: datetime = NOW, is_capped: bool = False, persons: Rows = PERSONS) -> pa.Table:
    store("engagement_day", tables.ENGAGEMENT_DAY, fold(world.activities()))
    owned = [{"key": f"r{at}", "kind": "person", "owner_id": f"p{owner}"} for at, owner in enumerate(world.owners)]
    store("membership", tables.MEMBERSHIP, owned)
    store("person", tables.PERSON, persons)
    return run("lines", tables.SCORE_LINE, now, is_capped)


def scores(world: World, *, now: datetime = NOW, is_capped: bool = False, persons: Rows = PERSONS) -> Rows:
    store("score_line", tables.SCORE_LINE, lines(world, now=now, is_capped=is_capped, persons=persons))
    rows: Rows = run("scores", tables.SCORE, now, is_capped).to_pylist()
    return rows


@settings(max_examples=12, deadline=None)
@given(worlds, st.randoms(use_true_random=False))
def test_days_do_not_depend_on_the_order_of_arrival(world: World, shuffler: Any) -> None:
    arrived = world.activities()
    shuffler.shuffle(arrived)
    assert fold(arrived).equals(fold(world.activities()))


@settings(max_examples=12, deadline=None)
@given(worlds, st.integers(0, 5))
def test_folding_some_records_gives_their_rows_of_folding_all(world: World, record: int) -> None:
    some = [activity for activity in world.activities() if activity["record"] == f"r{record}"]
    whole = fold(world.activities()).to_pylist()
    assert fold(some).to_pylist() == [row for row in whole if row["record"] == f"r{record}"]


@settings(max_examples=12, deadline=None)
@given(worlds, st.integers(0, 3))
def test_scoring_some_persons_gives_their_rows_of_scoring_all(world: World, person: int) -> None:
    some = scores(world, persons=[PERSONS[person]])
    assert some == [row for row in scores(world) if row["subject"] == f"p{person}"]


@settings(max_examples=12, deadline=None)
@given(worlds, st.booleans())
def test_a_score_is_the_sum_of_its_lines(world: World, is_capped: bool) -> None:
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for line in lines(world, is_capped=is_capped).to_pylist():
        assert line["points"] != 0
        sums[line["subject"], line["half"]] += line["points"]
    rows = scores(world, is_capped=is_capped)
    assert len(rows) == len(PERSONS)
    for row in rows:
        assert (row["fit"], row["engagement"]) == (sums[row["subject"], "fit"], sums[row["subject"], "engagement"])
        assert row["score"] == row["fit"] + row["engagement"]


@settings(max_examples=12, deadline=None)
@given(worlds)
def test_merging_persons_adds_their_engagement_to_the_billionth(world: World) -> None:
    apart = sum(row["engagement"] for row in scores(world))
    assert scores(World(world.events, [0] * len(world.owners)))[0]["engagement"] == apart


@settings(max_examples=12, deadline=None)
@given(worlds)
def test_engagement_is_what_the_formula_says(world: World) -> None:
    expected: dict[str, float] = defaultdict(float)
    for kind, ago, record in world.events:
        half_life = HALF_LIVES[kind]
        left = 1.0 if half_life is None else 2 ** (-ago / 1440 / half_life)
        expected[f"p{world.owners[record]}"] += WORTH[kind] * left * POINT
    for row in scores(world):
        assert abs(row["engagement"] - expected[row["subject"]]) <= 2 * len(world.events) + 2


@settings(max_examples=8, deadline=None, phases=(Phase.generate,))
@given(worlds, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_nothing_is_crossed_before_it_is_due(world: World, is_capped: bool, part: float) -> None:
    before = scores(world, is_capped=is_capped)
    until = min((row["next_due_at"] for row in before if row["next_due_at"]), default=NOW + timedelta(days=400))
    after = scores(world, now=NOW + (until - NOW) * part, is_capped=is_capped)
    for row, then in zip(before, after, strict=True):
        assert then["grade"] == row["grade"]
        assert (then["engagement"] >= 5 * POINT) == (row["engagement"] >= 5 * POINT)


def written(score: int) -> float:
    """As the records get it: to the tenth of a point."""
    tenths = (abs(score) + POINT // 20) // (POINT // 10)
    return (tenths if score >= 0 else -tenths) / 10


Held = tuple[float, str, str | None]  # score, grade, reasons


def wanted(held: dict[str, Held], now: datetime, is_capped: bool) -> tuple[Rows, dict[str, Held]]:
    """Everybody computed anew: the scores, and what would be written of whom, where records hold `held`."""
    store("held", STORED["held"], [{"subject": key, "value": str(score)} for key, (score, *_) in held.items()])
    store("score_line", tables.SCORE_LINE, run("lines", tables.SCORE_LINE, now, is_capped))
    rows: Rows = run("written", tables.SCORE, now, is_capped).to_pylist()
    told = {row["subject"]: row["reasons"] for row in MART.arrow(built("reasons", is_capped)).to_pylist()}
    fresh = {row["subject"]: (written(row["score"]), row["grade"], told.get(row["subject"])) for row in rows}
    return rows, {key: value for key, value in fresh.items() if key not in held or matters(held[key], value)}


def matters(held: Held, fresh: Held) -> bool:
    return held[1:] != fresh[1:] or round(abs(held[0] - fresh[0]), 6) >= STEP


@pytest.mark.parametrize("is_capped", [False, True])
def test_until_somebody_is_due_their_records_are_never_off_by_the_smallest_step_nor_in_their_reasons(
    is_capped: bool,
) -> None:
    chance, some, now = random.Random(7), 150, NOW
    persons: Rows = [
        {"key": f"p{at}", "seniority": "vp" if at % 2 else None, "account": f"a{at % 3}"} for at in range(some)
    ]
    events = [
        (chance.choice(sorted(WORTH)), round(chance.expovariate(1 / 20_000)), at % some) for at in range(8 * some)
    ]
    lines(World(events, list(range(some))), is_capped=is_capped, persons=persons)
    held: dict[str, Held] = {}
    due_at: dict[str, datetime] = {}
    looks = writes = 0
    while now < NOW + timedelta(days=300):
        rows, differing = wanted(held, now, is_capped)
        assert [key for key in differing if due_at.get(key, now) > now] == [], now
        come = [row for row in rows if due_at.get(row["subject"], now) <= now]
        due_at |= {row["subject"]: row["next_due_at"] or FOR_EVER for row in come}
        fresh = {row["subject"]: differing[row["subject"]] for row in come if row["subject"] in differing}
        held |= fresh
        looks, writes = looks + len(come), writes + len(fresh)
        now += timedelta(hours=chance.expovariate(1 / (24 + 8 * (now - NOW) / timedelta(days=1))))
    assert looks < 3 * writes


def test_threads_do_not_change_a_billionth() -> None:
    events = [(sorted(WORTH)[at % 4], at * 7919 % 200_000, at % 6) for at in range(60_000)]
    world = World(events, [0, 0, 1, 2, 2, 3])
    try:
        answers = []
        for threads in (1, 4):
            BACKEND.raw_sql(f"set threads = {threads}")
            answers.append(scores(world))
    finally:
        BACKEND.raw_sql("set threads = 2")
    assert answers[0] == answers[1]


@settings(max_examples=12, deadline=None)
@given(worlds, st.booleans())
def test_the_forecast_counts_as_the_ledger_does(world: World, is_capped: bool) -> None:
    model = CAPPED if is_capped else MODEL
    rows = scores(world, is_capped=is_capped)
    folded = BACKEND.table("engagement_day").to_pyarrow().to_pylist()
    for row in rows:
        mine = {f"r{at}" for at, owner in enumerate(world.owners) if row["subject"] == f"p{owner}"}
        days = [
            Day(each["rule"], each["day"], each["events"], each["points"]) for each in folded if each["record"] in mine
        ]
        assert abs(engagement_at(model, days, NOW) - row["engagement"]) <= len(days)  # ties of rounding
