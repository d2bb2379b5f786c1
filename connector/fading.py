"""When time alone changes what a score says: its number, its grade, its reasons.

What decays is a sum of lines, each of which halves in its own time. Their weighted mean (of logarithms) never lies above the sum, so
what is left of `falls_by` points that go at `falls` a day is at least `falls_by` * exp(-t * falls / falls_by): all of it where
they have one half-life. A wait that is computed from there is exact, or a little too short, and never too long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce

import ibis
import ibis.expr.types as ir

from connector.expressions import Instant, instant_of
from connector.scoring_model import ScoringModel
from connector.tables import POINT, REASONS_WRITTEN, WEIGHTLESS

#: Another number when the same scores are due otherwise: everybody is scored anew once.
RULES = 3
DAY_S = 86_400
_NEVER_S = 36_500 * DAY_S
#: A capped line may stay as it is for long: what it holds exactly at a level is looked at again after this time, not at once.
_AT_CAP_S = 3_600
_TENTH = POINT // 10  # as scores are written

# ------------------------------------------------------------------------------------------------------------- lines


def is_capped(model: ScoringModel, lines: ir.Table) -> ir.Value:
    """Whether a line gives or takes as much as its rule lets it."""
    capped = [
        (lines.rule == rule.id) & (lines.points.abs() == round(rule.cap * POINT))
        for rule in model.engagement
        if rule.cap
    ]
    return reduce(lambda left, right: left | right, capped, ibis.literal(False))


def summed(model: ScoringModel, lines: ir.Table) -> ir.Table:
    """Per subject (`of`) the sums, and how fast decay can at most take the score down and up (billionths a day)."""
    speeds = {rule.id: math.log(2) / rule.half_life_days for rule in model.engagement if rule.half_life_days}
    pace: ir.Value = ibis.literal(0, "int64")
    if speeds:
        size = lines.points.abs().cast("float64")  # or the engine takes the factors for decimals, which are slow
        pace = ibis.cases(*((lines.rule == rule, size * factor) for rule, factor in speeds.items()), else_=0.0)
        pace = pace.ceil().cast("int64")
    is_done = lines.half == "engagement"
    rows = lines.select("subject", "points", pace=pace, is_done=is_done, is_capped=is_capped(model, lines))
    is_falling, is_rising = (rows.pace > 0) & (rows.points > 0), (rows.pace > 0) & (rows.points < 0)
    return rows.group_by(of="subject").agg(
        score=rows.points.sum(),
        fit=rows.points.sum(where=~rows.is_done),
        engagement=rows.points.sum(where=rows.is_done),
        falls=rows.pace.sum(where=is_falling),
        rises=rows.pace.sum(where=is_rising),
        falls_by=rows.points.sum(where=is_falling),
        rises_by=-rows.points.sum(where=is_rising),
        is_capped=rows.is_capped.any(),
    )


# ----------------------------------------------------------------------------------------------------------- reasons


def _half_lives(model: ScoringModel) -> list[float]:
    return sorted({rule.half_life_days for rule in model.engagement if rule.half_life_days})


def standings(model: ScoringModel, ranked: ir.Table) -> dict[str, ir.Value]:
    """To aggregate by subject, what `reasons_wait_s` reads: of each half-life the lightest line that is written as a reason, and
    the heaviest that is not.

    `ranked`: lines (subject, rule, points, is_capped) with their `place`, the weightiest 0. Lines of one half-life never change
    places; one that a cap holds counts as what stays where it is not written, and as what falls at once where it is.
    """
    weight = ranked.points.abs()
    is_written = (weight >= WEIGHTLESS) & (ranked.place < REASONS_WRITTEN)
    is_left = (weight >= WEIGHTLESS) & (ranked.place >= REASONS_WRITTEN)
    found: dict[str, ir.Value] = {}
    is_fading: ir.Value = ibis.literal(False)
    for at, half_life in enumerate(_half_lives(model)):
        mine = ranked.rule.isin([rule.id for rule in model.engagement if rule.half_life_days == half_life])
        found[f"written_{at}"] = weight.min(where=is_written & mine)
        found[f"left_{at}"] = weight.max(where=is_left & mine & ~ranked.is_capped)
        is_fading = is_fading | (mine & ~ranked.is_capped)
    return found | {"left_staying": weight.max(where=is_left & ~is_fading)}


def reasons_wait_s(model: ScoringModel, rows: ir.Table) -> ir.Value:
    """Seconds until a written reason weighs nothing any more, or less than one that is not written (null: never)."""
    half_lives = _half_lives(model)
    waits = []
    for at, half_life in enumerate(half_lives):
        written = rows[f"written_{at}"]
        waits.append((written / WEIGHTLESS).log2() * half_life)
        waits.append((written / rows.left_staying).log2() * half_life)
        waits += [
            (written / rows[f"left_{slower}"]).log2() / (1 / half_life - 1 / half_lives[slower])
            for slower in range(at + 1, len(half_lives))
        ]
    return ((ibis.least(*waits) if waits else ibis.literal(None, "float64")) * DAY_S).floor()


# ------------------------------------------------------------------------------------------------------------ scores


def apart(scored: ir.Table, held: ir.Table, step: float) -> ir.Table:
    """Per subject (`of`), by how much what a record holds lies `above` and `below` its new score as written (billionths); of those
    too near to be written over.

    scored: as `summed` gives it. held: subject, value: the scores that records hold, as text.
    """
    both = held.inner_join(scored, held.subject == scored.of)
    both = both.select("of", off=both.value.try_cast("float64") - _written(both.score) / POINT)
    near = both.filter(both.off.abs().round(6) < step)
    near = near.group_by("of").agg(above=near.off.max(), below=-near.off.min())
    return near.select("of", **{name: _whole(near[name]) for name in ("above", "below")})


def _whole(points: ir.Value) -> ir.Value:
    return (ibis.greatest(points, 0.0) * POINT).round().cast("int64")


def _written(score: ir.Value) -> ir.Value:
    """A score to the tenth of a point, as it is written."""
    size = (score.abs() + _TENTH // 2) // _TENTH * _TENTH
    return ibis.ifelse(score < 0, -size, size)


def next_due(rows: ir.Table, watched: Mapping[str, Sequence[float]], step: float, now: Instant) -> ir.Value:
    """The instant at which decay may take the score or engagement across a level that is `watched`, or the score as it is written
    by `step` points from what a record holds (`above`, `below`), or at which its reasons change (`reasons_s`); null: never.

    Never late, but for `_AT_CAP_S`.
    """
    falls_to, rises_to = [], []
    for column, given in watched.items():
        levels = sorted({round(level * POINT) for level in given})
        if levels:
            below = ibis.cases(*((rows[column] >= level, level) for level in reversed(levels)))
            above = ibis.cases(*((rows[column] < level, level) for level in levels))
            falls_to.append(rows[column] - below)
            rises_to.append(above - rows[column])
    if step:
        room = max(round(step * POINT), _TENTH) - _TENTH // 2
        more = rows.score - _written(rows.score)
        falls_to.append(ibis.greatest(room + more - rows.above.fill_null(0), 0))
        rises_to.append(ibis.greatest(room - more - rows.below.fill_null(0), 0))
    at_once = ibis.ifelse(rows.is_capped, _AT_CAP_S, 0)
    waits = [
        *(_wait_s(room, rows.falls, rows.falls_by, at_once) for room in falls_to),
        *(_wait_s(room, rows.rises, rows.rises_by, at_once) for room in rises_to),
        ibis.ifelse(rows.reasons_s == 0, at_once, rows.reasons_s),
    ]
    soonest = ibis.least(*waits, _NEVER_S).cast("int64").nullif(_NEVER_S)
    return instant_of(now) + soonest.as_interval("s")


def _wait_s(room: ir.Value, speed: ir.Value, most: ir.Value, at_once: ir.Value) -> ir.Value:
    """Seconds until `most` billionths of points, that go at `speed` a day, are `room` less; null where they never are."""
    left = ibis.greatest(most - room, 0.5) / most.nullif(0)
    return ibis.cases(
        (room <= 0, ibis.ifelse(speed > 0, at_once, None)),
        (room <= most, (-left.ln() * (most * (DAY_S / speed.nullif(0)))).floor()),
    )
