"""Desired against observed: only what differs as the system means it, at the least cost, with brakes that never lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from connector import plan as planning
from connector import tables
from connector.model import Capabilities, Change, Lane, Task
from connector.ownership import Fights, Owner, Rules, fights, owner_of
from connector.plan import Brakes, Totals, batches, diff, field_changes, make
from connector.tables import POINT

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SALESFORCE = Capabilities(batch_size=1000, writable=("Contact",), task_targets=("Contact",))
HUBSPOT = Capabilities(batch_size=100, writable=("contacts",), task_targets=("contacts",), mixes_in_batch=False)


def desired(native_id: str = "1", *, revision: int = 5, **outputs: str | None) -> list[dict[str, Any]]:
    record = f"crm|Contact|{native_id}"
    return [
        {
            "key": f"{record}|{output}__c", "system": "crm", "object_type": "Contact", "native_id": native_id, "record": record,
            "output": output, "field": f"{output}__c", "value": value, "lane": planning.OUTPUTS[output][0].value, "reason": "why",
            "subject": "P1", "revision": revision,
        }
        for output, value in outputs.items()
    ]  # fmt: skip


def observed(native_id: str = "1", *, revision: int = 1, **outputs: str | None) -> list[dict[str, Any]]:
    record = f"crm|Contact|{native_id}"
    return [
        {
            "key": f"{record}|{output}__c", "system": "crm", "object_type": "Contact", "native_id": native_id, "record": record,
            "field": f"{output}__c", "value": value, "observed_at": NOW, "settled_at": None, "revision": revision,
        }
        for output, value in outputs.items()
    ]  # fmt: skip


def planned(
    wanted: list[dict[str, Any]],
    held: list[dict[str, Any]],
    *,
    since: int | None = None,
    min_points: float = 2.0,
    rules: Rules = Rules(),
    frozen: Any = None,
    again: Any = None,
) -> tuple[list[Change], int]:
    differing = diff(
        ibis.memtable(pa.Table.from_pylist(wanted, schema=tables.DESIRED)),
        ibis.memtable(pa.Table.from_pylist(held, schema=tables.OBSERVED)),
        since=since,
        min_points=min_points,
        now=NOW,
        rules=rules,
        frozen=frozen,
        again=again,
    )
    rows = differing.order_by("record").to_pyarrow()
    ours = rows.filter(pc.is_null(rows["left_because"]))
    material = ours.filter(ours["is_material"])
    suppressed = len({row["record"] for row in rows.to_pylist() if not row["is_material"]})
    return list(field_changes(material.to_pylist())), suppressed


@pytest.mark.parametrize(
    ("output", "ours", "held"),
    [("score", "66.5", "67.0"), ("score", "66.4", "66.0"), ("stage_since", "2026-08-30T09:12:33Z", "2026-08-30")],
)
def test_what_a_field_made_of_the_very_value_that_we_want_is_not_written_again(
    output: str, ours: str, held: str
) -> None:
    seen = [{**row, "ours": ours} for row in observed(**{output: held})]
    assert planned(desired(**{output: ours}), seen, min_points=0) == ([], 0)
    assert planned(desired(**{output: ours}), observed(**{output: held}), min_points=0) != ([], 0), "we never wrote it"
    seen = [{**row, "ours": ours} for row in observed(**{output: "9"})]
    assert planned(desired(**{output: ours}), seen, min_points=0)[0], "somebody else wrote that"


def test_what_somebody_made_of_our_number_is_theirs_however_near_it_is() -> None:
    seen = [{**row, "ours": "66.5", "edited_at": NOW} for row in observed(score="67")]
    assert [change.before for change in planned(desired(score="66.5"), seen, min_points=0)[0]] == [{"score__c": 67}]


def test_what_the_system_holds_already_is_not_written() -> None:
    assert planned(desired(score="66", grade="A"), observed(score="66", grade="A")) == ([], 0)


@pytest.mark.parametrize(
    ("output", "ours", "theirs"),
    [
        ("score", "66", "66.0"),
        ("score", "66.5", "66.50"),
        ("stage_since", "2026-11-01T10:00:00Z", "2026-11-01T10:00:00.000+0000"),
        ("stage_since", "2026-11-01T10:00:00Z", "2026-11-01T10:00:00.000Z"),
        ("reasons", None, ""),
    ],
)
def test_the_same_value_in_the_systems_own_spelling_is_the_same(output: str, ours: str | None, theirs: str) -> None:
    assert planned(desired(**{output: ours}), observed(**{output: theirs})) == ([], 0)


def test_a_score_that_moved_by_too_little_is_not_written_alone() -> None:
    assert planned(desired(score="65", grade="A"), observed(score="66", grade="A")) == ([], 1)


def test_a_stage_that_the_system_knows_longer_than_we_is_not_written_anew() -> None:
    monday, friday = "2026-11-02T10:00:00Z", "2026-11-06T10:00:00.000+0000"
    assert planned(desired(stage="Buy", stage_since=friday), observed(stage="Buy", stage_since=monday)) == ([], 0)
    for held in ({"stage": "Explore", "stage_since": monday}, {"stage": "Buy", "stage_since": None}):
        [change] = planned(desired(stage="Buy", stage_since=friday), observed(**held))[0]
        assert change.fields["stage_since__c"] == friday
    assert planned(desired(stage="Buy", stage_since=monday), observed(stage="Buy", stage_since=friday))[0]


def test_a_stage_that_the_system_knows_longer_than_we_stays_though_the_rest_of_its_record_changes() -> None:
    wanted = desired(stage="Buy", stage_since="2026-12-12T10:00:03Z", grade="A", person_id="P2")
    held = observed(stage="Buy", stage_since="2026-11-30T09:21:09Z", grade="B", person_id="P1")
    [change] = planned(wanted, held)[0]
    assert dict(change.fields) == {"grade__c": "A", "person_id__c": "P2"}


def test_where_a_system_is_told_no_stage_its_instant_is_written_whatever_is_there() -> None:
    [change] = planned(desired(stage_since="2026-11-06T10:00:00Z"), observed(stage_since="2026-11-02T10:00:00Z"))[0]
    assert dict(change.fields) == {"stage_since__c": "2026-11-06T10:00:00Z"}


def test_a_small_move_travels_with_a_change_that_matters() -> None:
    changes, suppressed = planned(desired(score="59.9", grade="B"), observed(score="60", grade="A"))
    assert suppressed == 0
    assert [dict(change.fields) for change in changes] == [{"score__c": 59.9, "grade__c": "B"}]
    assert changes[0].before == {"score__c": 60, "grade__c": "A"}


def test_many_small_moves_are_written_when_they_add_up() -> None:
    changes, _ = planned(desired(score="63"), observed(score="66"))
    assert [dict(change.fields) for change in changes] == [{"score__c": 63}]


def test_a_first_fill_is_written_however_small() -> None:
    changes, _ = planned(desired(score="0.5"), [])
    assert [dict(change.fields) for change in changes] == [{"score__c": 0.5}]


def test_all_fields_of_a_record_travel_in_one_change_in_its_most_urgent_lane() -> None:
    changes, _ = planned(desired(score="66", stage="Buy", reasons="+ demo"), [])
    assert [(change.lane, len(change.fields)) for change in changes] == [(Lane.STAGE, 3)]


def test_only_records_with_news_since_the_last_plan_are_compared() -> None:
    wanted = [*desired("1", revision=4, score="50"), *desired("2", revision=9, score="50")]
    changes, _ = planned(wanted, [], since=8)
    assert [change.native_id for change in changes] == ["2"]
    assert len(planned(wanted, [], since=None)[0]) == 2


def test_a_drift_that_a_pull_observed_is_planned_though_we_want_nothing_new() -> None:
    changes, _ = planned(desired(revision=1, grade="A"), observed(revision=9, grade="X"), since=8)
    assert [dict(change.fields) for change in changes] == [{"grade__c": "A"}]


def test_a_value_that_goes_there_and_back_gives_changes_of_different_keys() -> None:
    up = planned(desired(score="30"), observed(score="0"))[0][0]
    down = planned(desired(score="0"), observed(score="30"))[0][0]
    assert up.key != down.key
    assert planned(desired(score="30"), observed(score="0"))[0][0].key == up.key


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (0, "0"),
        (66 * POINT, "66"),
        (66_049_999_999, "66"),
        (66_050_000_000, "66.1"),
        (-4_040_000_000, "-4"),
        (-50_000_000, "-0.1"),
    ],
)
def test_points_are_written_with_one_decimal_and_no_double_in_between(points: int, text: str) -> None:
    table = ibis.memtable(pa.table({"points": pa.array([points], pa.int64())}))
    assert table.select(text=planning._points_text(table.points)).to_pyarrow()["text"][0].as_py() == text


def _lines(now: datetime, decay: float) -> ibis.Table:
    events = [("demo request, 20 Nov", 25 * decay, now), ("page view, 3 Oct", 2 * decay, now - timedelta(days=50))]
    fit = [("VP or above", 20, None), ("free e-mail address", -10, None)]
    rows = [
        {
            "key": text, "subject": "P1", "model": "m", "rule": text, "half": "engagement" if at else "fit",
            "points": int(points * POINT), "text": text, "events": 1 if at else None, "first_at": at, "last_at": at,
        }
        for text, points, at in [*events, *fit]
    ]  # fmt: skip
    return ibis.memtable(pa.Table.from_pylist(rows, schema=tables.SCORE_LINE))


def test_a_days_passing_alone_changes_no_reasons_text() -> None:
    today = planning.reasons_text(_lines(NOW, 1.0)).to_pyarrow()["reasons"][0].as_py()
    later = planning.reasons_text(_lines(NOW, 0.8)).to_pyarrow()["reasons"][0].as_py()
    assert today == later == "+ demo request, 20 Nov; + page view, 3 Oct; + VP or above; − free e-mail address"


def test_reasons_fit_the_shortest_text_field() -> None:
    rows = [
        {
            "key": str(n),
            "subject": "P1",
            "model": "m",
            "rule": str(n),
            "half": "fit",
            "points": POINT * n,
            "text": "x" * 300,
        }
        for n in range(1, 9)
    ]
    lines = ibis.memtable(pa.Table.from_pylist(rows, schema=tables.SCORE_LINE))
    assert len(planning.reasons_text(lines).to_pyarrow()["reasons"][0].as_py()) <= 255


# ------------------------------------------------------------------------------------------------------------ brakes, batches


BRAKES = Brakes.model_validate({})


def totals(*, overwritten: int = 0, existing: int = 0) -> Totals:
    return Totals({"score": overwritten}, {"score": existing})


def change(number: int, *, before: Any = None, lane: Lane = Lane.SCORE, task: Task | None = None) -> Change:
    fields = {} if task else {"f": number}
    held = {} if task else {"f": before}
    return Change(f"k{number}", "crm", "Contact", str(number), lane, fields, held, task)


def task(owner: str) -> Task:
    return Task("k", "Call", "", NOW, "high", owner)


def test_first_fills_never_brake() -> None:
    plan = make([change(n) for n in range(5000)], BRAKES, totals(existing=0))
    assert plan.held == {}


def test_overwriting_too_large_a_share_holds_the_overwrites_and_lets_first_fills_go() -> None:
    changes = [change(n, before=1) for n in range(400)] + [change(9000)]
    plan = make(changes, BRAKES, totals(overwritten=400, existing=1000))
    assert len(plan.held) == 400
    assert "k9000" not in plan.held
    assert "40%" in next(iter(plan.held.values()))


def test_a_change_of_a_lane_that_goes_leaves_behind_the_fields_of_a_lane_that_is_held() -> None:
    rows = [
        {**row, "before": before}
        for row, before in zip(
            desired(stage="Buy", score="66", grade="A", reasons="+ demo"),
            ("Engage", "41", None, "+ visit"),
            strict=True,
        )
    ]
    held_back = Totals(overwritten={"score": 500, "stage": 1}, existing={"score": 600, "stage": 600})
    changes = list(field_changes(rows, planning.braked(BRAKES, held_back)))
    made = make(changes, BRAKES, held_back)
    going = [change for change in made.changes if change.key not in made.held]
    held = [change for change in made.changes if change.key in made.held]
    assert [dict(change.fields) for change in going] == [{"stage__c": "Buy"}]
    assert [(change.lane, set(change.fields)) for change in held] == [
        (Lane.SCORE, {"score__c", "grade__c", "reasons__c"})
    ]
    assert list(made.held.values()) == ["83% of the existing values of the score lane would change (limit 30%)"]


def test_a_lane_of_which_something_is_held_goes_on_being_held_however_little_is_new() -> None:
    latched = replace(totals(overwritten=1, existing=1000), stopped={"score": "too many"})
    made = make([change(1, before=1), change(2), change(3, before=1, lane=Lane.STAGE)], BRAKES, latched)
    assert made.held == {"k1": "too many"}, "what fills an empty field goes, and so do other lanes"


def test_what_is_held_of_two_lanes_of_a_record_is_held_for_each_by_itself() -> None:
    rows = [
        {**row, "before": before}
        for row, before in zip(desired(stage="Buy", score="66", person_id="P1"), ("Engage", "41", None), strict=True)
    ]
    found = list(field_changes(rows, ("stage", "score")))
    assert [(each.lane, set(each.fields)) for each in found] == [
        (Lane.SCORE, {"score__c", "person_id__c"}),
        (Lane.STAGE, {"stage__c"}),
    ]


def test_the_consent_lane_is_never_held() -> None:
    changes = [change(n, before=1, lane=Lane.CONSENT) for n in range(400)]
    assert make(changes, BRAKES, totals(overwritten=400, existing=400)).held == {}


def test_a_handful_of_overwrites_in_a_small_org_does_not_brake() -> None:
    assert make([change(n, before=1) for n in range(9)], BRAKES, totals(overwritten=9, existing=10)).held == {}


def test_an_owner_gets_only_so_many_tasks_and_the_others_are_not_held_for_it() -> None:
    changes = [change(n, lane=Lane.TASK, task=task("joe")) for n in range(12)] + [
        change(99, lane=Lane.TASK, task=task("ann"))
    ]
    held = make(changes, BRAKES, totals()).held
    assert len(held) == 2
    assert "k99" not in held


def test_the_plan_delivers_stages_before_tasks_before_scores() -> None:
    changes = [change(1), change(2, lane=Lane.TASK, task=task("joe")), change(3, lane=Lane.STAGE)]
    assert [each.key for each in make(changes, BRAKES, totals(existing=0)).changes] == ["k3", "k2", "k1"]


def test_fields_and_tasks_share_a_batch_where_the_system_takes_them_together_and_not_where_it_does_not() -> None:
    changes = [change(n) for n in range(80)] + [change(100 + n, lane=Lane.TASK, task=task("joe")) for n in range(40)]
    assert [len(batch) for batch in batches(changes, SALESFORCE)] == [120]
    assert [len(batch) for batch in batches(changes, HUBSPOT)] == [40, 80], "tasks before scores"


# ------------------------------------------------------------------------------------------------------------ ownership


def _owned(owner: Owner, output: str = "grade") -> Rules:
    return Rules({("crm", "Contact", f"{output}__c"): owner}, timedelta(days=30))


def _edited(days_ago: float, **outputs: str | None) -> list[dict[str, Any]]:
    return [row | {"edited_at": NOW - timedelta(days=days_ago)} for row in observed(**outputs)]


def test_a_field_that_is_filled_only_is_written_while_it_is_empty() -> None:
    rules = _owned(Owner.FILL)
    assert len(planned(desired(grade="A"), [], rules=rules)[0]) == 1
    assert len(planned(desired(grade="A"), observed(grade=""), rules=rules)[0]) == 1
    assert planned(desired(grade="A"), observed(grade="B"), rules=rules)[0] == []


def test_a_persons_edit_stands_until_it_expires() -> None:
    rules = _owned(Owner.DEFER)
    assert planned(desired(grade="A"), _edited(29, grade="B"), rules=rules)[0] == []
    assert len(planned(desired(grade="A"), _edited(31, grade="B"), rules=rules)[0]) == 1
    assert len(planned(desired(grade="A"), observed(grade="B"), rules=rules)[0]) == 1, "what we wrote is no edit"


def test_a_watched_field_and_a_frozen_one_are_never_written() -> None:
    assert planned(desired(grade="A"), [], rules=_owned(Owner.ALERT))[0] == []
    frozen = ibis.memtable(pa.table({"key": ["crm|Contact|1|grade__c"]}))
    changes, _ = planned(desired(grade="A", score="66"), observed(grade="B", score="10"), frozen=frozen)
    assert [dict(change.fields) for change in changes] == [{"score__c": 66}]


def test_a_field_that_is_not_ours_makes_no_small_move_worth_writing() -> None:
    held = observed(grade="B", score="66")
    assert planned(desired(grade="A", score="65"), held, rules=_owned(Owner.FILL))[0] == []


def test_records_to_plan_anew_are_compared_though_nothing_is_new_of_them() -> None:
    again = ibis.memtable(pa.table({"record": ["crm|Contact|1"]}))
    assert planned(desired(revision=1, grade="A"), observed(grade="B"), since=8, again=again)[0]
    assert not planned(desired(revision=1, grade="A"), observed(grade="B"), since=8)[0]


def test_the_most_specific_owner_counts() -> None:
    named = {"grade": Owner.FILL, "crm.grade": Owner.DEFER, "crm.Lead.grade": Owner.ALERT}
    asked = [("crm", "Lead"), ("crm", "Contact"), ("other", "Contact")]
    assert [owner_of(named, system, kind, "grade") for system, kind in asked] == [Owner.ALERT, Owner.DEFER, Owner.FILL]
    assert owner_of(named, "crm", "Lead", "score") is Owner.OWN


def test_who_changes_ours_again_and_again_within_the_time_fights_and_who_did_it_long_ago_does_not() -> None:
    rows = [
        {
            "key": f"{record}{day}", "system": "crm", "object_type": "Contact", "record": record, "field": "grade__c", "ours": "A",
            "theirs": "B", "edited_at": NOW, "seen_at": NOW - timedelta(days=day), "editor": f"005{day}", "run": 1,
        }
        for record, days in {"often": (0, 1, 2), "long ago": (0, 1, 9), "once": (0,)}.items()
        for day in days
    ]  # fmt: skip
    table = ibis.memtable(pa.Table.from_pylist(rows, schema=tables.DRIFT))
    found = fights(table, Fights.model_validate({}), NOW).to_pyarrow().to_pylist()
    assert [(row["record"], row["edits"], row["editor"]) for row in found] == [("often", 3, "0050")]
