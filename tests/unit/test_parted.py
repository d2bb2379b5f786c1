"""Who parts from another person, or meets a trigger in another form, keeps what was done for them: no second task, no stay lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from connector import lifecycle, tables
from connector.mart import Mart, MartSection, open_mart
from tests.unit.test_lifecycle import DAY, HOT, NOW, House, kept

PARTED = pa.schema({"subject": tables.TEXT, "into": tables.TEXT})


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mart]:
    with open_mart(MartSection(), tmp_path_factory.mktemp("parted")) as opened:
        yield opened


def _stayed(mart: Mart, score: float, parted: list[dict[str, str]], *others: dict[str, Any]) -> list[dict[str, Any]]:
    """The stages that Ann begins at `score` when she parted from somebody who stands in others."""
    house = House(mart)
    facts = house.facts(score, NOW)
    current = kept(mart, "stage_interval", [{"model": "default", **other} for other in others])
    moves = lifecycle.advance(house.section, facts, current, NOW, 1)
    rows = mart.arrow(lifecycle.stayed(moves, current, kept(mart, "parted", parted, PARTED))).to_pylist()
    return [row for row in rows if row["left_at"] is None]


def test_who_parts_from_another_and_is_in_the_same_stage_has_been_there_as_long(mart: Mart) -> None:
    stood = {"key": "old", "subject": "old", "stage": "Buy", "entered_at": NOW - 9 * DAY}
    parted = [{"subject": "old", "into": "ann"}]
    (same,) = _stayed(mart, 70, parted, stood)
    assert (same["stage"], same["entered_at"]) == ("Buy", NOW - 9 * DAY)
    (other,) = _stayed(mart, 45, parted, stood)
    assert (other["stage"], other["entered_at"]) == ("Engage", NOW)
    (left,) = _stayed(mart, 70, parted, stood | {"left_at": NOW - DAY})
    assert left["entered_at"] == NOW
    (alone,) = _stayed(mart, 70, [], stood)
    assert alone["entered_at"] == NOW


def test_who_was_somebody_before_begins_a_stage_when_it_begins(mart: Mart) -> None:
    stood = {"key": "old", "subject": "old", "stage": "Buy", "entered_at": NOW - 9 * DAY}
    own = {"key": "own", "subject": "ann", "stage": "Discover", "entered_at": NOW - 2 * DAY}
    (risen,) = _stayed(mart, 70, [{"subject": "old", "into": "ann"}], stood, own)
    assert (risen["stage"], risen["entered_at"]) == ("Buy", NOW)


def test_who_parted_and_whom_they_parted_from_have_no_task_in_common_from_then_on(mart: Mart) -> None:
    """The same score for both and the same record, which went over, in the same runs."""
    one = House(mart, whose="old", tasks=HOT)
    assert [len(one.fired(score, NOW + at * DAY)) for at, score in enumerate((0, 70))] == [0, 1]
    parted = kept(mart, "parted", [{"subject": "old", "into": "ann"}], PARTED)
    went = mart.arrow(lifecycle.carried(kept(mart, "trigger", list(one.triggers.values())), parted)).to_pylist()
    other = House(mart, tasks=HOT, triggers=one.triggers | {row["key"]: row for row in went}, runs=2)
    rises = [(70, NOW + 2 * DAY), (0, NOW + 3 * DAY), (70, NOW + 4 * DAY), (0, NOW + 5 * DAY), (70, NOW + 6 * DAY)]
    theirs, mine = ([task for rise in rises for task in house.fired(*rise)] for house in (one, other))
    assert {row["key"]: row["episode"] for row in other.triggers.values() if row["subject"] == "ann"} == {"ann|call": 3}
    assert (len(theirs), len(mine)) == (2, 2), "what had fired before they parted is one task"
    assert len({task["key"] for task in (*theirs, *mine)}) == 4


def test_a_changed_trigger_makes_no_task_for_whom_it_had_fired_but_for_those_whom_it_passed_over(mart: Mart) -> None:
    seen = {
        "record": "sf|Contact|1",
        "model": "",
        "rule": "page_viewed",
        "day": NOW.date(),
        "events": 1,
        "last_at": NOW,
    }
    young = {"call": HOT["call"].model_copy(update={"first_run_days": 30})}
    lower = {"call": young["call"].model_copy(update={"when": "score crosses 55"})}
    fired = House(mart, tasks=young, days=[seen])
    assert len(fired.fired(70, NOW)) == 1
    fired.tasks = lower
    assert fired.fired(70, NOW + DAY) == []
    passed_over = House(mart, tasks=HOT, days=[seen])
    assert passed_over.fired(70, NOW) == []
    passed_over.tasks = lower
    assert len(passed_over.fired(70, NOW + DAY)) == 1


def _taken_out(house: House) -> None:
    """A run without the tasks of the house."""
    marks = lifecycle.forgotten({}, kept(house.mart, "trigger", list(house.triggers.values())))
    for key in house.mart.arrow(marks)["key"].to_pylist():
        del house.triggers[key]


def test_a_task_that_was_taken_out_and_is_put_back_passes_over_what_happened_meanwhile(mart: Mart) -> None:
    house = House(mart, tasks=HOT)
    assert house.fired(10, NOW) == []
    _taken_out(house)
    assert house.fired(70, NOW + DAY) == []
    made = [len(house.fired(score, NOW + (2 + at) * DAY)) for at, score in enumerate((70, 10, 70))]
    assert made == [0, 0, 1], "from then on it is as it was"


def test_a_task_that_was_taken_out_and_is_put_back_is_not_made_a_second_time_until_it_is_armed_again(
    mart: Mart,
) -> None:
    house = House(mart, tasks=HOT)
    assert house.fired(10, NOW) == []
    (first,) = house.fired(70, NOW + DAY)
    _taken_out(house)
    scores = [70, 55, 65]
    assert [house.fired(score, NOW + (2 + at) * DAY) for at, score in enumerate(scores)] == [[]] * 3
    _taken_out(house)
    scores = [55, 65, 49]
    assert [house.fired(score, NOW + (5 + at) * DAY) for at, score in enumerate(scores)] == [[]] * 3
    (second,) = house.fired(65, NOW + 8 * DAY)
    assert second["key"] != first["key"]


def test_only_a_task_that_is_taken_out_is_forgotten(mart: Mart) -> None:
    house = House(mart, tasks=HOT | {"call_again": HOT["call"]})
    house.fired(70, NOW)
    triggers = kept(mart, "trigger", list(house.triggers.values()))
    assert mart.arrow(lifecycle.forgotten(HOT, triggers))["key"].to_pylist() == ["|call_again"]
