"""When decay alone takes one person's score across a level, if nothing happens until then.

For one person who is looked at, not for sets: the arithmetic of `scoring` on plain numbers, which a test holds to the stored lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from connector.scoring_model import EngagementRule, ScoringModel
from connector.tables import POINT

HORIZON = timedelta(days=365)
_DAY = timedelta(days=1)
_EXACT = timedelta(seconds=1)


@dataclass(frozen=True)
class Day:
    """A row of tables.ENGAGEMENT_DAY: what one record did under one rule on one UTC day, its points decayed to the day's end."""

    rule: str
    day: date
    events: int
    points: int


@dataclass(frozen=True)
class Crossing:
    """`half` ("score" or "engagement") leaves `level` downwards, or reaches it upwards, at this instant."""

    half: str
    level: float
    is_down: bool
    at: datetime


def engagement_at(model: ScoringModel, days: Sequence[Day], at: datetime) -> int:
    """The engagement of a person at an instant after all of its days began, in billionths."""
    rules = {rule.id: rule for rule in model.engagement}
    by_rule: dict[str, list[Day]] = defaultdict(list)
    for day in days:
        if day.rule in rules:
            by_rule[day.rule].append(day)
    return sum(_capped(rules[name], _line(rules[name], theirs, at)) for name, theirs in by_rule.items())


def _line(rule: EngagementRule, days: Sequence[Day], at: datetime) -> int:
    points: dict[date, int] = defaultdict(int)
    events: dict[date, int] = defaultdict(int)
    for each in days:
        ended_at = datetime(each.day.year, each.day.month, each.day.day, tzinfo=UTC) + _DAY
        left = 1.0 if rule.half_life_days is None else 2.0 ** (-((at - ended_at) / _DAY) / rule.half_life_days)
        points[each.day] += round(each.points * left)
        events[each.day] += each.events
    most = rule.cap_per_day
    if most is None:
        return sum(points.values())
    return sum(round(points[day] * most / events[day]) if events[day] > most else points[day] for day in points)


def _capped(rule: EngagementRule, points: int) -> int:
    if rule.cap is None:
        return points
    most = round(rule.cap * POINT)
    return max(min(points, most), -most)


def next_crossing(
    model: ScoringModel, fit: int, days: Sequence[Day], levels: Mapping[str, Sequence[float]], now: datetime
) -> Crossing | None:
    """The first crossing of a grade or of one of `levels` ("score" or "engagement" -> points) within HORIZON, to the second.

    fit: points of the lines that do not age, in billionths.
    """
    watched = {"score": [*model.grades.values(), *levels.get("score", ())], "engagement": levels.get("engagement", ())}
    base = {"score": fit, "engagement": 0}

    def values(at: datetime) -> dict[str, int]:
        engagement = engagement_at(model, days, at)
        return {half: base[half] + engagement for half in watched}

    def first(at: datetime) -> Crossing | None:
        then = values(at)
        return next(
            (found for half in watched if (found := _between(half, watched[half], present[half], then[half], at))), None
        )

    present = values(now)
    early, late = now, now + _DAY
    while not first(late):
        early, late = late, late + _DAY
        if late - now > HORIZON:
            return None
    while late - early > _EXACT:
        middle = early + (late - early) / 2
        early, late = (early, middle) if first(middle) else (middle, late)
    return first(late)


def _between(half: str, levels: Sequence[float], present: int, then: int, at: datetime) -> Crossing | None:
    """The level that lies between two values, the nearest to the first of them."""
    placed = {round(level * POINT): level for level in levels}
    down = [place for place in placed if then < place <= present]
    up = [place for place in placed if present < place <= then]
    if down:
        return Crossing(half, placed[max(down)], True, at)
    return Crossing(half, placed[min(up)], False, at) if up else None
