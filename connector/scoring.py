"""Scores: what a person is (fit) and what a person does (engagement), as a ledger of lines whose sum is the score.

Points are int64 billionths of a point, and every event is rounded before it is summed: sums of integers are the same in
any order, on any number of threads, record by record or all at once. An event is worth its points, halved every
`half_life_days`. The points of a record, rule and UTC day are kept decayed to the end of that day, so that neither the
passing of time nor a merge of persons reads an activity again: engagement at `now` is what is kept, decayed from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from connector import fading, rules
from connector.expressions import Instant, built_once, instant_of
from connector.scoring_model import EVENT_SCOPE, FIT_SCOPE, EngagementRule, FitRule, ScoringModel, problems
from connector.tables import ENGAGEMENT_DAY, POINT, SCORE, SCORE_LINE

__all__ = ["EngagementRule", "FitRule", "ScoringModel", "due", "fold", "problems", "score_lines", "scores"]

DAY_S = fading.DAY_S
REASONS = 5

# ----------------------------------------------------------------------------------------------------------- folding


@built_once
def fold(
    name: str, model: ScoringModel, events: ir.Table, records: ir.Table, now: Instant, *, with_kinds: bool = True
) -> ir.Table:
    """Activities folded into days, as tables.ENGAGEMENT_DAY: one row per record, rule and UTC day.

    `events` (tables.ACTIVITY) holds all activities of the records concerned; filtered, deleted, nobody's and future
    ones are left out. `records` (person records) are what `record.*` reads. `with_kinds` adds rows of model "" that count
    the activities of each kind (rule is the kind, points are 0): the same for every model, so ask for them once.
    """
    left_out = events.filtered_because.notnull() | events.deleted_at.notnull() | events.record.isnull()
    happened = events.filter(~left_out & (events.happened_at <= instant_of(now)))
    happened = happened.mutate(at=happened.happened_at.cast("timestamp"))
    parts = [_folded(name, slot, happened, records) for slot in _slots(model.engagement)]
    if with_kinds or not parts:
        kinds = happened.mutate(rule=happened.kind, points=ibis.literal(0, "int64"))
        parts.append(_by_day("", kinds if with_kinds else kinds.filter(False)))
    return _union(parts)


def _slots(given: Sequence[EngagementRule]) -> list[list[EngagementRule]]:
    """The rules in as few groups as have one rule per kind: each group is one pass over the activities."""
    slots: list[list[EngagementRule]] = []
    for rule in given:
        slot = next((slot for slot in slots if all(rule.on != other.on for other in slot)), None)
        if slot is None:
            slots.append([rule])
        else:
            slot.append(rule)
    return slots


def _folded(name: str, slot: Sequence[EngagementRule], happened: ir.Table, records: ir.Table) -> ir.Table:
    conditions = {rule.id: rules.compile_condition(rule.where, EVENT_SCOPE) for rule in slot if rule.where}
    columns = {column for condition in conditions.values() for column in condition.columns}
    mine = happened.filter(happened.kind.isin([rule.on for rule in slot]))
    seen = _seen(mine, records, sorted(columns))
    matches = [
        (
            (seen.kind == rule.on) & conditions[rule.id].expr(seen) if rule.id in conditions else seen.kind == rule.on,
            rule,
        )
        for rule in slot
    ]
    matched = seen.mutate(rule=ibis.cases(*((match, rule.id) for match, rule in matches)))
    matched = matched.filter(matched.rule.notnull())
    left_days = 1 - (matched.at.epoch_seconds() % DAY_S) / DAY_S
    points = _by_rule(
        matched.rule, slot, lambda rule: _decayed(ibis.literal(_billionths(rule.points), "int64"), left_days, rule)
    )
    return _by_day(name, matched.mutate(points=points))


def _seen(events: ir.Table, records: ir.Table, columns: Sequence[str]) -> ir.Table:
    """The activities with the columns that conditions read: `activity_…` and `record_…`."""
    kept = {column: column for column in ("record", "kind", "happened_at", "at")}
    kept |= {column: column.removeprefix("activity_") for column in columns if column.startswith("activity_")}
    fields = [column.removeprefix("record_") for column in columns if column.startswith("record_")]
    rows = events.select(**{column: events[source] for column, source in kept.items()})
    if not fields:
        return rows
    held = records.select("key", **{f"record_{field}": records[field] for field in fields})
    return rows.left_join(held, rows.record == held.key).drop("key")


def _by_day(name: str, rows: ir.Table) -> ir.Table:
    days = rows.group_by("record", "rule", day=rows.at.date()).agg(
        events=rows.count(), points=rows.points.sum(), first_at=rows.happened_at.min(), last_at=rows.happened_at.max()
    )
    key = days.record + f"|{name}|" + days.rule + "|" + days.day.cast("string")
    return _as(days.mutate(key=key, model=ibis.literal(name)), ENGAGEMENT_DAY)


# ------------------------------------------------------------------------------------------------------------- lines


@built_once
def score_lines(
    name: str,
    model: ScoringModel,
    *,
    persons: ir.Table,
    accounts: ir.Table,
    membership: ir.Table,
    days: ir.Table,
    now: Instant,
) -> ir.Table:
    """The ledger, as tables.SCORE_LINE: for each of `persons` one line per rule that gives or takes points at `now`.

    `persons` and `accounts` are golden (tables.PERSON, tables.ACCOUNT), `membership` says whose the records of `days` are.
    """
    parts = []
    if model.engagement:
        owners = _owners(membership).semi_join(persons, ibis._.subject == persons.key)
        parts.append(_engagement_lines(name, model, owners, days, now))
    if model.fit or not parts:
        parts.append(_fit_lines(name, model, persons, accounts))
    return _union(parts)


def _fit_lines(name: str, model: ScoringModel, persons: ir.Table, accounts: ir.Table) -> ir.Table:
    conditions = [rules.compile_condition(rule.when, FIT_SCOPE) for rule in model.fit]
    rows = _golden(persons, accounts, sorted({column for condition in conditions for column in condition.columns}))
    holding = [
        ibis.ifelse(condition.expr(rows), rule.id, None) for condition, rule in zip(conditions, model.fit, strict=True)
    ]
    if not holding:
        holding = [ibis.literal(None, "string")]
    lines = rows.select(subject="key", rule=ibis.array(holding).unnest())
    lines = lines.filter(lines.rule.notnull())
    return _lines(
        name,
        "fit",
        lines.mutate(
            points=_by_rule(lines.rule, model.fit, lambda rule: ibis.literal(_billionths(rule.points), "int64")),
            text=_by_rule(lines.rule, model.fit, lambda rule: ibis.literal(rule.words)),
            events=ibis.literal(None, "int64"),
            first_at=ibis.literal(None, "timestamp('UTC')"),
            last_at=ibis.literal(None, "timestamp('UTC')"),
        ),
    )


def _golden(persons: ir.Table, accounts: ir.Table, columns: Sequence[str]) -> ir.Table:
    """`key` and the golden columns that conditions read: `person_…` and `account_…`."""
    mine = [column for column in columns if column.startswith("person_")]
    theirs = [column for column in columns if column.startswith("account_")]
    rows = persons.select("key", "account", **{column: persons[column.removeprefix("person_")] for column in mine})
    if not theirs:
        return rows
    held = accounts.select(of="key", **{column: accounts[column.removeprefix("account_")] for column in theirs})
    return rows.left_join(held, rows.account == held.of).drop("of")


def _engagement_lines(name: str, model: ScoringModel, owners: ir.Table, days: ir.Table, now: Instant) -> ir.Table:
    mine = days.filter((days.model == name) & days.rule.isin([rule.id for rule in model.engagement]))
    rows = mine.inner_join(owners, mine.record == owners.of)
    past_days = (instant_of(now).epoch_seconds() - rows.day.epoch_seconds()) / DAY_S - 1
    present = _by_rule(rows.rule, model.engagement, lambda rule: _decayed(rows.points, past_days, rule))
    rows = rows.select("subject", "rule", "day", "events", "first_at", "last_at", points=present)
    if any(rule.cap_per_day for rule in model.engagement):
        rows = _capped_by_day(model, rows)
    summed = rows.group_by("subject", "rule").agg(
        points=rows.points.sum(), events=rows.events.sum(), first_at=rows.first_at.min(), last_at=rows.last_at.max()
    )
    return _lines(
        name, "engagement", summed.mutate(points=_capped(model, summed), text=_engagement_text(model, summed))
    )


def _capped_by_day(model: ScoringModel, rows: ir.Table) -> ir.Table:
    """Of n activities of a person on one UTC day, `cap_per_day` count: each keeps cap / n of its points."""
    days = rows.group_by("subject", "rule", "day").agg(
        points=rows.points.sum(), events=rows.events.sum(), first_at=rows.first_at.min(), last_at=rows.last_at.max()
    )

    def scaled(rule: EngagementRule) -> ir.Value:
        if rule.cap_per_day is None:
            return days.points
        return ibis.ifelse(
            days.events > rule.cap_per_day, (days.points * (rule.cap_per_day / days.events)).round(), days.points
        )

    return days.mutate(points=_by_rule(days.rule, model.engagement, scaled))


def _capped(model: ScoringModel, summed: ir.Table) -> ir.Value:
    def capped(rule: EngagementRule) -> ir.Value:
        if rule.cap is None:
            return summed.points
        cap = ibis.literal(_billionths(rule.cap), "int64")
        return ibis.greatest(ibis.least(summed.points, cap), -cap)

    return _by_rule(summed.rule, model.engagement, capped)


def _engagement_text(model: ScoringModel, summed: ir.Table) -> ir.Value:
    """What was done and the day of the last time: a date, never an age, or every day would change every reason."""
    words = _by_rule(summed.rule, model.engagement, lambda rule: ibis.literal(rule.words))
    return words + summed.last_at.strftime(", %-d %b %Y")


def _lines(name: str, half: str, lines: ir.Table) -> ir.Table:
    told = lines.filter(lines.points != 0)
    key = told.subject + f"|{name}|" + told.rule
    return _as(told.mutate(key=key, model=ibis.literal(name), half=ibis.literal(half)), SCORE_LINE)


# ------------------------------------------------------------------------------------------------------------ scores


@built_once
def scores(
    name: str,
    model: ScoringModel,
    lines: ir.Table,
    *,
    persons: ir.Table,
    accounts: ir.Table,
    now: Instant,
    levels: Mapping[str, Sequence[float]] | None = None,
    step: float = 0,
    held: ir.Table | None = None,
) -> ir.Table:
    """The score of every one of `persons`, as tables.SCORE: the sum of its lines, grade, coverage, reasons.

    `next_due_at` is never later than the first instant at which decay alone takes the score or engagement across a
    grade or one of `levels` ("score" or "engagement" -> points), or the score by `step` points (0: no matter) away from what
    its records hold, or changes which reasons are written. Null when it never does. `held` (subject, value) are the scores
    that records hold, as text; one from which the score is `step` points away by now is written over.
    `reasons` is a JSON list of {text, points, rule}, points in billionths, the weightiest first.
    """
    rows = _covered(model, persons, accounts)
    summed = fading.summed(model, lines)
    parts = [summed, _reasons(model, lines)]
    if is_near := held is not None and step > 0:
        parts.append(fading.apart(summed, held, step))
    for part in parts:
        rows = rows.left_join(part, rows.subject == part.of).drop("of")
    rows = rows.mutate(
        **{column: rows[column].fill_null(0) for column in ("score", "fit", "engagement", "falls", "rises")}
    )
    if not is_near:
        rows = rows.mutate(above=ibis.literal(0, "int64"), below=ibis.literal(0, "int64"))
    watched = {
        "score": [*model.grades.values(), *(levels or {}).get("score", ())],
        "engagement": (levels or {}).get("engagement", ()),
    }
    return _as(
        rows.mutate(
            key=rows.subject + f"|{name}",
            model=ibis.literal(name),
            grade=_grade(model, rows.score),
            reasons=rows.reasons.fill_null("[]"),
            scored_at=instant_of(now),
            next_due_at=fading.next_due(rows, watched, step, now),
        ),
        SCORE,
    )


def _reasons(model: ScoringModel, lines: ir.Table) -> ir.Table:
    """Per subject (`of`) its weightiest lines as JSON, and `reasons_s`: after how long time alone changes which are written."""
    order = [lines.points.abs().desc(), lines.rule]
    place = ibis.row_number().over(group_by="subject", order_by=order)
    capped = fading.is_capped(model, lines)
    ranked = lines.select("subject", "points", "rule", "text", place=place, is_capped=capped)
    text = ranked.text
    words = "".join([*(rule.words for rule in model.fit), *(rule.words for rule in model.engagement)])
    if '"' in words or "\\" in words:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    item = '{"text":"' + text + '","points":' + ranked.points.cast("string") + ',"rule":"' + ranked.rule + '"}'
    items = ranked.mutate(item=item)
    in_place = {f"item_{place}": items.item.max(where=items.place == place) for place in range(REASONS)}
    placed = items.group_by(of="subject").agg(**in_place, **fading.standings(model, items))
    told = "[" + ibis.literal(",").join([placed[name] for name in in_place]) + "]"
    return placed.select("of", reasons=told, reasons_s=fading.reasons_wait_s(model, placed))


def _covered(model: ScoringModel, persons: ir.Table, accounts: ir.Table) -> ir.Table:
    """Per subject, how many of the fields that fit rules read are known."""
    conditions = [rules.compile_condition(rule.when, FIT_SCOPE) for rule in model.fit]
    columns = sorted({column for condition in conditions for column in condition.columns})
    rows = _golden(persons, accounts, columns)
    known = sum((rows[column].notnull().cast("int64") for column in columns), ibis.literal(0, "int64"))
    return rows.select(subject="key", coverage_known=known, coverage_of=ibis.literal(len(columns), "int64"))


def _grade(model: ScoringModel, score: ir.Value) -> ir.Value:
    best_first = [grade for grade in model.grade_names if grade in model.grades]
    if not best_first:
        return ibis.literal(model.lowest_grade)
    return ibis.cases(
        *((score >= _billionths(model.grades[grade]), grade) for grade in best_first), else_=model.lowest_grade
    )


@built_once
def due(scored: ir.Table, events: ir.Table, membership: ir.Table, now: Instant) -> ir.Table:
    """When time alone changes a score, as tables.DUE: next_due_at of the scores, and activities still to happen."""
    waiting = scored.filter(scored.next_due_at.notnull())
    decaying = waiting.group_by("subject").agg(due_at=waiting.next_due_at.min()).mutate(why=ibis.literal("decay"))
    counted = events.filter(events.filtered_because.isnull() & events.deleted_at.isnull())
    ahead = counted.filter(counted.happened_at > instant_of(now)).select("record", "happened_at")
    owners = _owners(membership)
    owned = ahead.inner_join(owners, ahead.record == owners.of)
    coming = owned.group_by("subject").agg(due_at=owned.happened_at.min()).mutate(why=ibis.literal("event"))
    rows = decaying.select("subject", "why", "due_at").union(coming.select("subject", "why", "due_at"))
    return rows.select(key=rows.subject + "|" + rows.why, subject=rows.subject, why=rows.why, due_at=rows.due_at)


# ------------------------------------------------------------------------------------------------------------- parts


def _owners(membership: ir.Table) -> ir.Table:
    """The records of persons, as `of`, and whose they are."""
    return membership.filter(membership.kind == "person").select(of="key", subject="owner_id")


def _billionths(points: float) -> int:
    return round(points * POINT)


def _decayed(points: ir.Value, days: ir.Value, rule: EngagementRule) -> ir.Value:
    if rule.half_life_days is None:
        return points
    return (points * (ibis.literal(2.0) ** (-days / rule.half_life_days))).round()


def _by_rule(column: ir.Value, given: Iterable[FitRule | EngagementRule], make: Callable[..., ir.Value]) -> ir.Value:
    cases = [(column == rule.id, make(rule)) for rule in given]
    return ibis.cases(*cases) if cases else ibis.null()


def _union(parts: Sequence[ir.Table]) -> ir.Table:
    return reduce(lambda left, right: left.union(right), parts)


def _as(rows: ir.Table, schema: pa.Schema) -> ir.Table:
    return rows.select(*schema.names).cast(ibis.Schema.from_pyarrow(schema))
