"""Stages move both ways without trembling; a task is made once, on one record, and says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pytest
from pydantic import ValidationError

from connector import expressions as given
from connector import lifecycle, tables
from connector.lifecycle import Known, LifecycleSection, Stage, TaskSection
from connector.mart import Mart, MartSection, open_mart
from connector.section import Section
from connector.tables import POINT
from connector.triggers import Places, due_at

NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)
Rows = Sequence[Mapping[str, Any]]
STAGES = LifecycleSection.model_validate(
    {
        "stages": [
            {"name": "Discover"},
            {"name": "Engage", "enter": "score >= 40", "exit": "score < 30"},
            {
                "name": "Buy",
                "enter": "score >= 60 or has_open_opportunity",
                "exit": "score < 50 and not has_open_opportunity",
            },
        ]
    }
)


def kept(mart: Mart, name: str, rows: Rows, schema: pa.Schema | None = None) -> ir.Table:
    """The rows as a scratch table, in the shape of the mart's table of that name unless another is given."""
    schema = schema or tables.TABLES[name]
    full = [dict.fromkeys(schema.names) | dict(row) for row in rows]
    return mart.keep(f"given_{name}", pa.Table.from_pylist(full, schema=schema))


@dataclass
class House:
    """One person and what runs make of her score."""

    mart: Mart
    section: LifecycleSection = STAGES
    tasks: dict[str, TaskSection] = field(default_factory=dict)
    intervals: dict[str, dict[str, Any]] = field(default_factory=dict)
    triggers: dict[str, dict[str, Any]] = field(default_factory=dict)
    days: Rows = ()
    opportunities: Rows = ()
    records: Rows = (
        {"key": "sf|Contact|1", "system": "sf", "object_type": "Contact", "native_id": "1", "owner": "005"},
    )
    named: Mapping[str, str] = field(default_factory=lambda: {"name": "Ann Meyer", "first_name": "Ann"})
    whose: str = "ann"
    runs: int = 0
    seen: Any = None

    def facts(self, score: float, now: datetime) -> ir.Table:
        known = Known(
            persons=kept(self.mart, "person", [{"key": self.whose, "account": "acme"} | self.named]),
            accounts=kept(self.mart, "account", [{"key": "acme", "name": "Acme"}]),
            scores=kept(
                self.mart,
                "score",
                [{"subject": self.whose, "score": round(score * POINT), "grade": "B", "reasons": REASONS}],
            ),
            membership=self.membership(),
            days=kept(self.mart, "engagement_day", self.days),
            opportunities=kept(self.mart, "opportunity_record", self.opportunities),
            contact_roles=kept(self.mart, "contact_role_record", [{"opportunity": "deal", "person": "sf|Contact|1"}]),
        )
        self.mart.tell(now=now, run=self.runs)
        made = lifecycle.facts(lifecycle.conditions(self.section, self.tasks), known, given.NOW)
        return self.mart.keep("facts", made)

    def membership(self) -> ir.Table:
        return kept(
            self.mart,
            "membership",
            [{"key": row["key"], "kind": "person", "owner_id": self.whose} for row in self.records],
        )

    def current(self) -> ir.Table:
        return kept(self.mart, "stage_interval", list(self.intervals.values()))

    def step(self, score: float, now: datetime) -> str:
        """One run at `now`: the stage after it."""
        self.runs += 1
        self.seen = self.facts(score, now)
        moved = self.mart.arrow(lifecycle.advance(self.section, self.seen, self.current(), given.NOW, given.RUN))
        self.intervals |= {row["key"]: row for row in moved.to_pylist()}
        (open_one,) = (row for row in self.intervals.values() if row["left_at"] is None)
        return str(open_one["stage"])

    def fired(self, score: float, now: datetime) -> list[dict[str, Any]]:
        """One run at `now`: the tasks it drafts."""
        self.step(score, now)
        changed = lifecycle.fire(
            self.tasks,
            self.seen,
            current=self.current(),
            triggers=kept(self.mart, "trigger", list(self.triggers.values())),
            now=given.NOW,
            run=given.RUN,
        )
        rows = self.mart.arrow(changed).to_pylist()
        self.triggers |= {row["key"]: row for row in rows}
        fired = [row for row in rows if row["run"] == self.runs and row["fired_at"] == now]
        if not fired:
            return []
        fresh = kept(self.mart, "fired", fired, tables.TRIGGER)
        places = Places(
            persons=kept(self.mart, "person", [{"key": self.whose, "account": "acme"} | self.named]),
            accounts=kept(self.mart, "account", [{"key": "acme", "name": "Acme"}]),
            records=kept(self.mart, "person_record", self.records),
            membership=self.membership(),
            opportunities=kept(self.mart, "opportunity_record", self.opportunities),
            contact_roles=kept(self.mart, "contact_role_record", [{"opportunity": "deal", "person": "hub|contacts|9"}]),
        )
        chosen = self.mart.arrow(lifecycle.targets(self.tasks, fresh, self.seen, self.current(), places))
        drafted: list[dict[str, Any]] = lifecycle.draft(self.tasks, chosen, now, self.runs).to_pylist()
        return drafted


REASONS = '[{"text":"demo request, 20 Nov 2026","points":25000000000,"rule":"demo"}]'
HOT = {
    "call": TaskSection.model_validate(
        {"when": "score crosses 60", "rearm_below": 50, "subject": "Call {{ person.first_name }}"}
    )
}
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path_factory.mktemp("lifecycle")) as opened:
        yield opened


def test_a_person_rises_over_several_stages_at_once_and_falls_to_the_one_that_keeps_them(mart: Mart) -> None:
    house = House(mart)
    scores = [10, 70, 55, 49, 35, 29, 70, 10]
    assert [house.step(score, NOW + at * 2 * DAY) for at, score in enumerate(scores)] == [
        "Discover", "Buy", "Buy", "Engage", "Engage", "Discover", "Buy", "Discover",
    ]  # fmt: skip


def test_who_dwells_too_short_falls_later_but_rises_at_once(mart: Mart) -> None:
    house = House(mart)
    assert house.step(45, NOW) == "Engage"
    assert house.step(10, NOW + DAY / 2) == "Engage"
    assert house.step(70, NOW + DAY * 0.6) == "Buy"
    assert house.step(10, NOW + DAY * 1.5) == "Buy"
    assert house.step(10, NOW + DAY * 1.7) == "Discover"


def test_the_end_of_a_dwell_is_due(mart: Mart) -> None:
    house = House(mart)
    house.step(45, NOW)
    later = NOW + DAY / 2
    rows = mart.arrow(lifecycle.due(STAGES, house.facts(10, later), house.current(), later)).to_pylist()
    assert [(row["key"], row["due_at"]) for row in rows] == [("ann|dwell", NOW + DAY)]


def test_who_entered_a_stage_in_a_time_to_come_by_a_wrong_clock_leaves_it_as_if_that_were_now(mart: Mart) -> None:
    house, later = House(mart), NOW + DAY
    assert [house.step(10, NOW), house.step(45, NOW + 300 * DAY)] == ["Discover", "Engage"]
    metrics = lifecycle.stage_metrics(STAGES, house.current(), kept(mart, "score", []), later)
    assert mart.arrow(metrics)["average_days"].to_pylist()[:2] == [1.0, 0.0], "no time is counted that never was"
    assert house.step(10, later) == "Discover"
    assert [(row["stage"], row["entered_at"], row["left_at"]) for row in house.intervals.values()] == [
        ("Discover", NOW, later), ("Engage", later, later), ("Discover", later, None)
    ]  # fmt: skip


def test_an_interval_says_why_it_began_and_ended(mart: Mart) -> None:
    house = House(mart)
    for at, score in enumerate((10, 70, 10)):
        house.step(score, NOW + at * 2 * DAY)
    told = [(row["stage"], row["why"], row["left_why"]) for row in house.intervals.values()]
    assert told == [
        ("Discover", "first seen", "moved up to Buy"),
        ("Buy", "score at least 60 or has open opportunity", "fell back to Discover"),
        ("Discover", "fell back from Buy: score below 50 and not (has open opportunity)", None),
    ]


def test_an_open_opportunity_of_one_of_the_records_is_a_fact(mart: Mart) -> None:
    house = House(mart, opportunities=[{"key": "deal", "is_closed": False}])
    assert house.step(0, NOW) == "Buy"
    closed = House(mart, opportunities=[{"key": "deal", "is_closed": True}])
    assert closed.step(0, NOW) == "Discover"


def test_a_stage_that_is_no_longer_defined_is_left_for_the_best_that_lets_in(mart: Mart) -> None:
    house = House(mart)
    house.step(70, NOW)
    stages = [{"name": "New"}, {"name": "Hot", "enter": "score > 50", "exit": "score < 9"}]
    house.section = LifecycleSection.model_validate({"stages": stages})
    assert house.step(70, NOW + DAY) == "Hot"
    assert "no longer defined: placed anew in Hot" in {row["left_why"] for row in house.intervals.values()}


def test_windows_of_counts_end_at_midnight_and_are_due_then(mart: Mart) -> None:
    section = LifecycleSection.model_validate(
        {
            "stages": [
                {"name": "Quiet"},
                {"name": "Busy", "enter": "count_of('page_viewed', 7) >= 2", "exit": "days_since('page_viewed') > 20"},
            ]
        }
    )
    seen = date(2026, 11, 18)
    row = {
        "record": "sf|Contact|1",
        "model": "",
        "rule": "page_viewed",
        "day": seen,
        "events": 2,
        "last_at": NOW - 6 * DAY,
    }
    house = House(mart, section=section, days=[row])
    (facts,) = mart.arrow(house.facts(0, NOW)).to_pylist()
    assert (facts["count_of_page_viewed_7"], facts["days_since_page_viewed"], facts["last_event_at"]) == (
        2,
        6,
        NOW - 6 * DAY,
    )
    assert facts["due_at"] == datetime(2026, 11, 25, tzinfo=UTC)
    (later,) = mart.arrow(house.facts(0, NOW + DAY)).to_pylist()
    assert (later["count_of_page_viewed_7"], later["days_since_page_viewed"]) == (0, 7)
    assert later["due_at"] == datetime(2026, 12, 8, tzinfo=UTC)  # 20 days since; on the 9th it is more


def test_a_person_who_was_merged_away_takes_up_the_stage_again_after_a_split(mart: Mart) -> None:
    house = House(mart)
    house.step(70, NOW)
    gone = kept(mart, "gone", [{"subject": "ann"}], pa.schema({"subject": tables.TEXT}))
    (closed,) = mart.arrow(lifecycle.close_merged(house.current(), gone, NOW + DAY, 2)).to_pylist()
    assert (closed["left_at"], closed["left_why"]) == (NOW + DAY, lifecycle.MERGED)
    (open_again,) = mart.arrow(lifecycle.resume(kept(mart, "stage_interval", [closed]), gone, 3)).to_pylist()
    assert (open_again["key"], open_again["stage"], open_again["left_at"]) == (closed["key"], "Buy", None)


def test_metrics_count_who_is_in_a_stage_and_who_moved_on(mart: Mart) -> None:
    house = House(mart)
    for at, score in enumerate((10, 45, 70, 10)):
        house.step(score, NOW + at * 2 * DAY)
    scores = kept(mart, "score", [{"subject": "ann", "model": "default", "score": 10 * POINT, "engagement": 4 * POINT}])
    rows = mart.arrow(lifecycle.stage_metrics(STAGES, house.current(), scores, NOW + 8 * DAY)).to_pylist()
    told = [
        (row["stage"], row["contacts"], row["moved_up"], row["fell_back"], row["average_days"], row["conversion"])
        for row in rows
    ]
    assert told == [("Discover", 1, 1, 0, 2.0, 1.0), ("Engage", 0, 1, 0, 2.0, 1.0), ("Buy", 0, 0, 1, 2.0, 0.0)]
    assert (rows[0]["average_score"], rows[0]["average_engagement"]) == (10.0, 4.0)


# ------------------------------------------------------------------------------------------------------------- tasks


def test_a_trigger_fires_once_and_again_only_after_it_was_armed_again(mart: Mart) -> None:
    house = House(mart, tasks=HOT)
    scores = [10, 65, 70, 55, 65, 49, 65]
    made = [len(house.fired(score, NOW + at * DAY)) for at, score in enumerate(scores)]
    assert made == [0, 1, 0, 0, 0, 0, 1]
    assert house.triggers["ann|call"]["episode"] == 2


def test_the_first_run_of_a_trigger_makes_no_tasks_and_neither_does_a_changed_one(mart: Mart) -> None:
    house = House(mart, tasks=HOT)
    assert house.fired(70, NOW) == []
    house.tasks = {"call": HOT["call"].model_copy(update={"when": "score crosses 65"})}
    assert house.fired(70, NOW + DAY) == []
    assert house.fired(10, NOW + 2 * DAY) == []
    assert len(house.fired(70, NOW + 3 * DAY)) == 1


def test_the_first_run_makes_tasks_for_events_that_are_young_enough(mart: Mart) -> None:
    seen = {"record": "sf|Contact|1", "model": "", "rule": "page_viewed", "day": NOW.date(), "events": 1}
    young = House(
        mart,
        tasks={"call": HOT["call"].model_copy(update={"first_run_days": 3})},
        days=[seen | {"last_at": NOW - 2 * DAY}],
    )
    assert len(young.fired(70, NOW)) == 1
    old = House(mart, tasks=young.tasks, days=[seen | {"last_at": NOW - 4 * DAY}])
    assert old.fired(70, NOW) == []


def test_a_stage_that_begins_is_a_trigger(mart: Mart) -> None:
    task = TaskSection.model_validate({"when": "stage becomes 'Buy'", "subject": "Offer"})
    house = House(mart, tasks={"offer": task})
    assert [len(house.fired(score, NOW + at * DAY)) for at, score in enumerate((10, 45, 70, 80))] == [0, 0, 1, 0]


def test_a_task_says_who_why_and_until_when(mart: Mart) -> None:
    task = TaskSection.model_validate(
        {
            "when": "score crosses 60",
            "subject": "Call {{ person.first_name }}\n at {{ account.name }}: {{ reasons[0].text }}",
        }
    )
    house = House(mart, tasks={"call": task})
    house.fired(0, NOW - DAY)
    (drafted,) = house.fired(65.04, NOW)
    assert drafted["title"] == "Call Ann at Acme: demo request, 20 Nov 2026"
    assert drafted["body"] == "Ann Meyer scores 65.0 (B, Buy).\n\n+25.0  demo request, 20 Nov 2026"
    assert (drafted["record"], drafted["owner"], drafted["reason"]) == ("sf|Contact|1", "005", "score at least 60")
    assert drafted["due_at"] == NOW + DAY


def test_a_task_for_somebody_without_a_name_says_their_e_mail(mart: Mart) -> None:
    subject = "Call {{ person.first_name or person.name }}"
    task = TaskSection.model_validate({"when": "score crosses 60", "subject": subject})
    for named, said in (({"email": "am@acme.example"}, "am@acme.example"), ({}, "somebody")):
        house = House(mart, tasks={"call": task}, named=named)
        house.fired(0, NOW - DAY)
        (drafted,) = house.fired(65, NOW)
        assert drafted["title"] == f"Call {said}"
        assert drafted["body"].startswith(f"{said} scores 65")


def test_the_key_of_a_task_is_the_same_in_a_replay_and_another_in_the_next_episode(mart: Mart) -> None:
    def keys() -> list[str]:
        house = House(mart, tasks=HOT)
        return [task["key"] for at, score in enumerate((0, 65, 0, 65)) for task in house.fired(score, NOW + at * DAY)]

    first = keys()
    assert first == keys()
    assert len(set(first)) == 2
    assert all(len(key) <= 64 for key in first)


def test_a_task_goes_to_the_named_system_else_to_the_best_live_record(mart: Mart) -> None:
    def record(key: str, **more: Any) -> dict[str, Any]:
        system, object_type, native_id = key.split("|")
        return {"key": key, "system": system, "object_type": object_type, "native_id": native_id, "owner": "1", **more}

    lead, contact, hub = record("sf|Lead|1"), record("sf|Contact|2"), record("hub|contacts|9")

    def place(*records: dict[str, Any], system: str = "owner's", deals: Rows = ()) -> list[str]:
        task = TaskSection.model_validate({"when": "score crosses 60", "subject": "x", "system": system})
        house = House(mart, tasks={"call": task}, records=records, opportunities=deals)
        house.fired(0, NOW - DAY)
        return [drafted["record"] for drafted in house.fired(65, NOW)]

    assert place(lead, contact) == ["sf|Contact|2"]
    assert place(lead, contact | {"owner": None}) == ["sf|Lead|1"]
    assert place(contact, hub, deals=[{"key": "deal", "is_closed": False}]) == ["hub|contacts|9"]
    assert place(contact, hub, system="sf", deals=[{"key": "deal", "is_closed": False}]) == ["sf|Contact|2"]
    assert place(lead | {"is_converted": True}, contact | {"deleted_at": NOW}, hub | {"merged_into": "x"}) == []
    assert place(record("hub|visitor|aa"), contact) == ["sf|Contact|2"]
    assert place(record("hub|visitor|aa")) == []


def test_a_trigger_that_fired_for_either_of_merged_persons_has_fired(mart: Mart) -> None:
    fired = {
        "key": "old|call",
        "subject": "old",
        "trigger": "call",
        "is_armed": False,
        "episode": 1,
        "why": "w",
    }
    merged = kept(
        mart, "merged", [{"subject": "old", "into": "ann"}], pa.schema({"subject": tables.TEXT, "into": tables.TEXT})
    )
    (row,) = mart.arrow(lifecycle.carried(kept(mart, "trigger", [fired]), merged)).to_pylist()
    assert (row["key"], row["is_armed"], row["episode"]) == ("ann|call", False, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 working day", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("2 working days", datetime(2026, 11, 24, 14, tzinfo=UTC)),
        ("1 day", datetime(2026, 11, 21, 14, tzinfo=UTC)),
        ("4 hours", datetime(2026, 11, 20, 18, tzinfo=UTC)),
    ],
)
def test_working_days_leave_weekends_out(text: str, expected: datetime) -> None:
    friday = datetime(2026, 11, 20, 14, tzinfo=UTC)
    assert due_at(text, friday) == expected


# ---------------------------------------------------------------------------------------------------------- problems


def said(stages: Rows, **tasks: Any) -> list[str]:
    section = LifecycleSection.model_validate({"stages": [{"name": "A"}, *stages]})
    found = lifecycle.problems(
        section, {name: TaskSection.model_validate({"subject": "x", **task}) for name, task in tasks.items()}
    )
    return [f"{problem.path}: {problem.what}; {problem.mend}" for problem in found]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (
            [{"name": "B", "enter": "score >= 40", "exit": "score < 50"}],
            'lifecycle.stages[1].exit: stage cycle: "B" is entered and left',
        ),
        ([{"name": "B", "enter": "score > 40 and score < 30"}], 'lifecycle.stages[1].enter: nobody can reach "B"'),
        (
            [{"name": "B", "enter": "grade = 'A' and grade in ('B', 'C')"}],
            'lifecycle.stages[1].enter: nobody can reach "B"',
        ),
        (
            [{"name": "B", "enter": "score > 60", "exit": "score < 30 and score > 50"}],
            'lifecycle.stages[1].exit: nobody can leave "B": the condition is never true',
        ),
        (
            [{"name": "B", "enter": "score > 60", "exit": "person.country = 'US' and person.country = 'CA'"}],
            'lifecycle.stages[1].exit: nobody can leave "B": the condition is never true',
        ),
        ([{"name": "B"}], "lifecycle.stages[1].enter: is missing"),
        (
            [{"name": "B", "enter": "score > 50"}, {"name": "C", "enter": "score > 40"}],
            'lifecycle.stages[1].enter: nobody enters "B": whoever could is let into "C"',
        ),
        ([{"name": "A", "enter": "score > 5"}], 'lifecycle.stages[1].name: there are two stages "A"'),
    ],
)
def test_what_is_wrong_with_stages_has_a_place(stages: Rows, expected: str) -> None:
    (found,) = said(stages)
    assert found.startswith(expected)


def test_stages_that_are_right_have_no_problems() -> None:
    assert list(lifecycle.problems(LifecycleSection(), HOT)) == []
    assert said([{"name": "B", "enter": "score > 5 and person.country = 'US'", "exit": "score < 5"}]) == []


@pytest.mark.parametrize(
    "leave",
    [
        "score > 30 and score < 30.2",
        "fit * 10 < 5 and fit > 0",
        "fit > account.employees + 10",
        "days_since('meeting_held') is null and days_since('meeting_held') is null and score < 9",
        "person.country is null and person.country <> 'US' or person.country is null",
        "lower(person.country) = 'us' and person.country = 'US'",
        "person.country < 'B' and person.country > 'A'",
        "coalesce(person.country, 'US') = 'US' and not person.country = 'US'",
        "not (person.country = 'US')",
        "count_of('meeting_held') = 0",
        "not has_open_opportunity",
    ],
)
def test_an_exit_that_may_hold_for_somebody_is_left_alone(leave: str) -> None:
    assert said([{"name": "B", "enter": "person.title = 'CEO'", "exit": leave}]) == []


def test_what_is_counted_in_whole_numbers_has_no_value_between_two_of_them() -> None:
    gates = {"enter": "count_of('meeting_held') > 3", "exit": "count_of('meeting_held') < 4"}
    assert said([{"name": "B", **gates}]) == []


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"when": "stage becomes 'Aa'"}, 'tasks.t.when: there is no stage "Aa"'),
        ({"when": "score > 60", "rearm_below": 50}, "tasks.t.rearm_below: is for triggers such as score crosses 60"),
        ({"when": "score crosses 60", "rearm_below": 70}, "tasks.t.rearm_below: must be at most 60"),
    ],
)
def test_what_is_wrong_with_a_task_has_a_place(task: dict[str, Any], expected: str) -> None:
    (found,) = said([], t=task)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        (Stage, {"name": "B", "enter": "skore > 5"}, 'enter: unknown field "skore"; did you mean "score"?'),
        (Stage, {"name": "B", "exit": "stage = 'A'"}, "exit: a condition cannot read the stage"),
        (TaskSection, {"when": "skore crosses 60"}, 'when: unknown field "skore"; did you mean "score"?'),
        (TaskSection, {"subject": "{{ person.first_nam }}"}, 'subject: unknown field "person.first_nam"; did you'),
        (TaskSection, {"body": "{{ reason }}"}, 'body: unknown name "reason"; did you mean "reasons"?'),
        (TaskSection, {"subject": "{% if %}"}, "subject: is not a template"),
    ],
)
def test_a_condition_or_template_that_cannot_be_read_is_refused(
    section: type[Section], values: dict[str, Any], expected: str
) -> None:
    sound = {"when": "score > 60", "subject": "x"} if section is TaskSection else {}
    with pytest.raises(ValidationError) as caught:
        section.model_validate(sound | values)
    (error,) = caught.value.errors()
    assert f"{error['loc'][0]}: {error['msg'].removeprefix('Value error, ')}".startswith(expected)
