"""A score is the sum of its lines, in whole billionths of a point, and every line says what it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest
from pydantic import ValidationError

from connector import scoring, tables
from connector.scoring import ScoringModel
from connector.tables import POINT

NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)
Rows = Sequence[Mapping[str, Any]]


@dataclass
class Store:
    """Tables of a small company, and what scoring makes of them."""

    backend: Any
    persons: Rows = ()
    accounts: Rows = ()
    membership: Rows = ()
    activities: Rows = ()
    records: Rows = ()

    def table(self, schema: pa.Schema, rows: Rows) -> ir.Table:
        return ibis.memtable(
            pa.Table.from_pylist([dict.fromkeys(schema.names) | dict(row) for row in rows], schema=schema)
        )

    def days(self, model: ScoringModel, now: datetime = NOW) -> ir.Table:
        folded = scoring.fold(
            "default",
            model,
            self.table(tables.ACTIVITY, self.activities),
            self.table(tables.record_schema("person"), self.records),
            now,
        )
        return ibis.memtable(self.backend.to_pyarrow(folded).cast(tables.ENGAGEMENT_DAY))

    def lines(self, model: ScoringModel, now: datetime = NOW) -> dict[str, dict[str, Any]]:
        """Subject and rule -> line."""
        rows = self.backend.to_pyarrow(self._lines(model, now)).to_pylist()
        return {f"{row['subject']} {row['rule']}": row for row in rows}

    def _lines(self, model: ScoringModel, now: datetime) -> ir.Table:
        return scoring.score_lines(
            "default",
            model,
            persons=self.table(tables.PERSON, self.persons),
            accounts=self.table(tables.ACCOUNT, self.accounts),
            membership=self.table(tables.MEMBERSHIP, self.membership),
            days=self.days(model, now),
            now=now,
        )

    def scores(self, model: ScoringModel, now: datetime = NOW, **options: Any) -> dict[str, dict[str, Any]]:
        """Subject -> score."""
        scored = scoring.scores(
            "default",
            model,
            self._lines(model, now),
            persons=self.table(tables.PERSON, self.persons),
            accounts=self.table(tables.ACCOUNT, self.accounts),
            now=now,
            **options,
        )
        return {row["subject"]: row for row in self.backend.to_pyarrow(scored).to_pylist()}


@pytest.fixture(scope="module")
def backend() -> Any:
    connected = ibis.duckdb.connect()
    connected.raw_sql("set TimeZone = 'UTC'")
    return connected


def a_model(**options: Any) -> ScoringModel:
    return ScoringModel.model_validate(options)


def an_activity(kind: str, ago: timedelta, record: str = "r1", **more: Any) -> dict[str, Any]:
    return {"key": f"{kind}{ago}{record}", "kind": kind, "happened_at": NOW - ago, "record": record, **more}


def ann(backend: Any, *activities: Mapping[str, Any], **person: Any) -> Store:
    """One person of two records, at one company."""
    return Store(
        backend,
        persons=[{"key": "ann", "account": "acme", **person}],
        accounts=[{"key": "acme", "employees": 300}],
        membership=[{"key": record, "kind": "person", "owner_id": "ann"} for record in ("r1", "r2")],
        activities=activities,
        records=[{"key": "r1", "country": "DE"}, {"key": "r2", "country": "US"}],
    )


CLICK = {"name": "click", "on": "email_clicked", "points": 4}


def test_fit_reads_the_person_and_the_account(backend: Any) -> None:
    model = a_model(
        fit=[
            {"name": "senior", "when": "person.seniority = 'vp'", "points": 20},
            {"name": "size", "when": "account.employees > 200", "points": 15.5},
            {"name": "free", "when": "person.email_is_free", "points": -10},
        ]
    )
    score = ann(backend, seniority="vp").scores(model)["ann"]
    assert (score["score"], score["fit"], score["engagement"]) == (35_500_000_000, 35_500_000_000, 0)
    assert (score["coverage_known"], score["coverage_of"]) == (2, 3)


def test_an_event_is_worth_half_after_its_half_life(backend: Any) -> None:
    model = a_model(engagement=[CLICK | {"half_life_days": 10}])
    lines = ann(backend, an_activity("email_clicked", timedelta(days=10))).lines(model)
    assert lines["ann click"]["points"] == pytest.approx(2 * POINT, abs=2)


def test_an_event_of_this_moment_is_worth_all_its_points(backend: Any) -> None:
    model = a_model(engagement=[CLICK | {"half_life_days": 10}])
    assert ann(backend, an_activity("email_clicked", timedelta(0))).lines(model)["ann click"][
        "points"
    ] == pytest.approx(4 * POINT, abs=2)


def test_without_a_half_life_points_stay(backend: Any) -> None:
    model = a_model(engagement=[CLICK])
    assert (
        ann(backend, an_activity("email_clicked", timedelta(days=400))).lines(model)["ann click"]["points"] == 4 * POINT
    )


def test_a_cap_limits_a_line_both_ways(backend: Any) -> None:
    events = [an_activity("email_clicked", timedelta(hours=hour)) for hour in range(5)]
    up = ann(backend, *events).lines(a_model(engagement=[CLICK | {"cap": 10}]))["ann click"]
    down = ann(backend, *events).lines(a_model(engagement=[CLICK | {"points": -4, "cap": 10}]))["ann click"]
    assert (up["points"], down["points"], up["events"]) == (10 * POINT, -10 * POINT, 5)


def test_a_cap_per_day_lets_so_many_events_of_a_day_count_over_all_records(backend: Any) -> None:
    same_day = [
        an_activity("email_clicked", timedelta(hours=hour), record) for hour in (1, 2) for record in ("r1", "r2")
    ]
    events = [*same_day, an_activity("email_clicked", timedelta(days=2))]
    line = ann(backend, *events).lines(a_model(engagement=[CLICK | {"cap_per_day": 2}]))["ann click"]
    assert line["points"] == (2 + 1) * 4 * POINT


def test_filtered_deleted_nobodys_and_future_events_do_not_count(backend: Any) -> None:
    store = ann(
        backend,
        an_activity("email_clicked", timedelta(hours=1), filtered_because="scanner"),
        an_activity("email_clicked", timedelta(hours=2), deleted_at=NOW),
        an_activity("email_clicked", timedelta(hours=3), record=None),
        an_activity("email_clicked", timedelta(hours=-1)),
    )
    assert store.lines(a_model(engagement=[CLICK])) == {}
    assert store.scores(a_model(engagement=[CLICK]))["ann"]["score"] == 0


def test_a_condition_of_an_event_sees_its_properties_and_its_record(backend: Any) -> None:
    where = "form.name like '%demo%' and record.country = 'DE'"
    model = a_model(engagement=[{"name": "demo", "on": "form_submitted", "where": where, "points": 1}])
    store = ann(
        backend,
        an_activity("form_submitted", timedelta(hours=1), properties=json.dumps({"name": "Book a demo"})),
        an_activity("form_submitted", timedelta(hours=2), properties=json.dumps({"name": "Newsletter"})),
        an_activity("form_submitted", timedelta(hours=3), "r2", properties=json.dumps({"name": "Book a demo"})),
    )
    assert store.lines(model)["ann demo"]["events"] == 1


def test_two_rules_may_read_the_same_kind(backend: Any) -> None:
    model = a_model(
        engagement=[
            {"name": "any", "on": "form_submitted", "points": 1},
            {"name": "late", "on": "form_submitted", "where": "activity.subject = 'x'", "points": 2},
            {"name": "other", "on": "page_viewed", "points": 3},
        ]
    )
    lines = ann(backend, an_activity("form_submitted", timedelta(hours=1), subject="x")).lines(model)
    assert {rule: line["points"] for rule, line in lines.items()} == {"ann any": POINT, "ann late": 2 * POINT}


def test_folding_keeps_how_often_each_kind_happened(backend: Any) -> None:
    store = ann(backend, *(an_activity("page_viewed", timedelta(hours=hour)) for hour in (1, 2, 30)))
    rows = backend.to_pyarrow(store.days(a_model()).order_by("day")).to_pylist()
    assert [(row["model"], row["rule"], row["events"], row["points"]) for row in rows] == [
        ("", "page_viewed", 1, 0),
        ("", "page_viewed", 2, 0),
    ]


def test_a_line_says_what_was_done_and_when_never_how_long_ago(backend: Any) -> None:
    said = a_model(engagement=[CLICK | {"text": "e-mail clicked"}])
    silent = a_model(engagement=[{"on": "form_submitted", "where": "form.name like '%demo%'", "points": 1}])
    event = an_activity("form_submitted", timedelta(days=4), properties='{"name": "demo"}')
    assert (
        ann(backend, an_activity("email_clicked", timedelta(days=4))).lines(said)["ann click"]["text"]
        == "e-mail clicked, 20 Nov 2026"
    )
    (line,) = ann(backend, event).lines(silent).values()
    assert line["text"] == "form submitted (form name contains demo), 20 Nov 2026"


def test_reasons_are_json_and_begin_with_the_weightiest(backend: Any) -> None:
    model = a_model(
        fit=[
            {"name": "small", "when": "account.employees > 1", "points": 1, "text": 'a "small" \\ thing'},
            {"name": "bad", "when": "account.employees > 1", "points": -30, "text": "bad"},
        ],
        engagement=[CLICK | {"text": "clicked"}],
    )
    reasons = json.loads(ann(backend, an_activity("email_clicked", timedelta(0))).scores(model)["ann"]["reasons"])
    assert [reason["rule"] for reason in reasons] == ["bad", "click", "small"]
    assert reasons[2]["text"] == 'a "small" \\ thing'
    assert reasons[0]["points"] == -30 * POINT


def test_grades_begin_at_their_level(backend: Any) -> None:
    def grade(points: float) -> str:
        model = a_model(fit=[{"name": "it", "when": "account.employees > 1", "points": points}])
        return str(ann(backend).scores(model)["ann"]["grade"])

    assert [grade(points) for points in (60, 59.999, 40, 20, 19.999, -5)] == ["A", "B", "B", "C", "D", "D"]
    assert a_model(grades={"Warm": 10, "Hot": 50}, lowest_grade="Cold").grade_names == ("Hot", "Warm", "Cold")


def test_decay_makes_due_before_a_grade_is_lost(backend: Any) -> None:
    model = a_model(engagement=[CLICK | {"points": 80, "half_life_days": 10}])
    store = ann(backend, an_activity("email_clicked", timedelta(0)))
    due_at = store.scores(model)["ann"]["next_due_at"]
    lost_at = NOW + timedelta(days=10 * 0.4150375)  # 80 x 2^(-t / 10) = 60
    assert NOW < due_at <= lost_at
    assert store.scores(model, due_at - timedelta(seconds=1))["ann"]["grade"] == "A"


def test_a_cap_that_holds_a_score_exactly_at_a_grade_does_not_keep_it_due(backend: Any) -> None:
    model = a_model(engagement=[CLICK | {"points": 80, "half_life_days": 10, "cap": 60}])
    store = ann(backend, an_activity("email_clicked", timedelta(0)))
    assert store.scores(model)["ann"]["grade"] == "A"
    assert store.scores(model)["ann"]["next_due_at"] == NOW + timedelta(hours=1)


def test_what_does_not_decay_is_never_due(backend: Any) -> None:
    store = ann(backend, an_activity("email_clicked", timedelta(0)))
    assert store.scores(a_model(engagement=[CLICK]))["ann"]["next_due_at"] is None


def test_a_step_and_a_level_make_due_sooner(backend: Any) -> None:
    model = a_model(engagement=[CLICK | {"points": 15, "half_life_days": 10}], grades={"A": 60})
    store = ann(backend, an_activity("email_clicked", timedelta(0)))
    by_reason = store.scores(model)["ann"]["next_due_at"]
    by_step = store.scores(model, step=2)["ann"]["next_due_at"]
    by_level = store.scores(model, levels={"engagement": [10]})["ann"]["next_due_at"]
    assert NOW < by_step < by_level < by_reason


def test_an_event_that_is_still_to_happen_makes_its_person_due(backend: Any) -> None:
    store = ann(backend, an_activity("meeting_held", timedelta(days=-3)))
    scored = ibis.memtable(pa.Table.from_pylist([], schema=tables.SCORE))
    rows = backend.to_pyarrow(
        scoring.due(
            scored,
            store.table(tables.ACTIVITY, store.activities),
            store.table(tables.MEMBERSHIP, store.membership),
            NOW,
        )
    ).to_pylist()
    assert [(row["key"], row["due_at"]) for row in rows] == [("ann|event", NOW + timedelta(days=3))]


@pytest.mark.parametrize(
    ("options", "path", "said"),
    [
        (
            {"engagement": [CLICK | {"cap_per_day": 1, "half_life_days": 2}]},
            "scoring.m.engagement[0].cap_per_day",
            "half-life under 3 days",
        ),
        ({"engagement": [CLICK, CLICK]}, "scoring.m.engagement[1]", "says the same as scoring.m.engagement[0]"),
        ({"lowest_grade": "A"}, "scoring.m.lowest_grade", "is one of the grades"),
        ({"grades": {"A": 10, "B": 10}}, "scoring.m.grades", "begin at the same score"),
        ({"grades": {" ": 10}}, "scoring.m.grades", "a grade has no name"),
        ({"lowest_grade": ""}, "scoring.m.lowest_grade", "must not be empty; name the grade of everybody below"),
    ],
)
def test_what_is_wrong_with_a_model_has_a_place(options: dict[str, Any], path: str, said: str) -> None:
    (problem,) = scoring.problems(a_model(**options), "scoring.m")
    assert problem.path == path
    assert said in f"{problem.what}; {problem.mend}"


@pytest.mark.parametrize(
    ("options", "place", "said"),
    [
        ({"fit": [{"when": "person.titel = 'x'", "points": 1}]}, ("fit", 0, "when"), 'did you mean "person.title"'),
        ({"fit": [{"when": "score > 1", "points": 1}]}, ("fit", 0, "when"), 'unknown field "score"'),
        ({"fit": [{"when": " ", "points": 1}]}, ("fit", 0, "when"), "is empty"),
        ({"fit": [{"when": "person.title = 'x'", "points": nan}]}, ("fit", 0, "points"), "must be a number, is nan"),
        ({"engagement": [CLICK | {"cap": inf}]}, ("engagement", 0, "cap"), "must be a number, is inf"),
        ({"grades": {"A": nan}}, ("grades", "A"), "must be a number, is nan"),
        ({"engagement": [CLICK | {"on": "email_click"}]}, ("engagement", 0, "on"), 'did you mean "email_clicked"'),
        ({"engagement": [CLICK | {"where": "person.title = 'x'"}]}, ("engagement", 0, "where"), '"record.title"'),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(options: dict[str, Any], place: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        a_model(**options)
    (error,) = caught.value.errors()
    assert error["loc"] == place
    assert said in error["msg"]


@pytest.mark.parametrize("half_life_days", [0, -5])
def test_a_half_life_that_is_not_positive_is_refused(half_life_days: float) -> None:
    with pytest.raises(ValidationError) as caught:
        a_model(engagement=[CLICK | {"half_life_days": half_life_days}])
    assert caught.value.errors()[0]["loc"] == ("engagement", 0, "half_life_days")


def test_a_model_without_rules_gives_everybody_nothing_for_nothing(backend: Any) -> None:
    store = ann(backend, an_activity("email_clicked", timedelta(days=1)))
    assert store.lines(a_model()) == {}
    assert store.scores(a_model())["ann"]["score"] == 0
