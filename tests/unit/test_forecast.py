"""When a score leaves its level by decay alone is said to the second."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.forecast import HORIZON, Crossing, Day, engagement_at, next_crossing
from connector.scoring_model import ScoringModel
from connector.tables import POINT

NOW = datetime(2026, 11, 24, tzinfo=UTC)
YESTERDAY = NOW.date() - timedelta(days=1)


def model(**rule: Any) -> ScoringModel:
    engagement = [{"name": "click", "on": "email_clicked", "points": 1, "half_life_days": 10} | rule]
    return ScoringModel.model_validate({"engagement": engagement, "grades": {"A": 60, "B": 40}})


def clicked(points: float, *, events: int = 1) -> list[Day]:
    return [Day("click", YESTERDAY, events, round(points * POINT))]


def found(of: ScoringModel, days: list[Day], *, fit: float = 0, **levels: list[float]) -> Crossing:
    crossing = next_crossing(of, round(fit * POINT), days, levels, NOW)
    assert crossing is not None
    return crossing


def days_until(crossing: Crossing) -> float:
    return (crossing.at - NOW) / timedelta(days=1)


def test_the_nearest_grade_below_is_left_first_and_at_the_instant_at_which_the_score_is_below_it() -> None:
    crossing = found(model(), clicked(80))
    assert (crossing.half, crossing.level, crossing.is_down) == ("score", 60, True)
    assert abs(days_until(crossing) - 10 * math.log2(80 / 60)) < 2 / 86_400
    assert engagement_at(model(), clicked(80), crossing.at) < 60 * POINT
    assert engagement_at(model(), clicked(80), crossing.at - timedelta(seconds=2)) >= 60 * POINT


def test_fit_counts_and_does_not_age() -> None:
    assert abs(days_until(found(model(), clicked(20), fit=50)) - 10) < 2 / 86_400
    assert next_crossing(model(), 70 * POINT, [], {}, NOW) is None


def test_a_cap_holds_a_score_until_what_is_under_it_has_decayed_to_it() -> None:
    assert abs(days_until(found(model(cap=60), clicked(120))) - 10) < 2 / 86_400


def test_negative_points_fade_upwards_and_levels_of_stages_are_watched() -> None:
    up = found(model(), clicked(-16), fit=50, score=[42])
    assert (up.level, up.is_down) == (40, False)
    low = found(model(), clicked(16), fit=41, engagement=[8])
    assert (low.half, low.level) == ("engagement", 8)


def test_what_the_cap_of_a_day_leaves_is_what_decays() -> None:
    assert engagement_at(model(cap_per_day=2), clicked(80, events=4), NOW) == 40 * POINT


def test_what_lies_beyond_the_horizon_is_not_searched() -> None:
    slow = model(half_life_days=3_650)
    assert next_crossing(slow, 0, clicked(80), {}, NOW) is None
    assert timedelta(days=365) == HORIZON
