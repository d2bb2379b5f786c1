"""Fold, score and stage 100,000 persons with 1,000,000 activities, against SQL written by hand for the same answer.

    python benchmarks/scoring.py [persons] [activities]

Both arms run on DuckDB, in the same process, on the same tables, and write the same four tables; the tables are compared
row by row. Printed are wall and CPU seconds of each arm (the better of three turns, taken alternately) and their ratio.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import ibis
from ibis.backends.duckdb import Backend

from connector import lifecycle, scoring, tables

NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)
TURNS = 3
STAGES = lifecycle.LifecycleSection()
MODEL = scoring.ScoringModel.model_validate(
    {
        "fit": [
            {"name": "senior", "when": "person.seniority in ('vp', 'c_level')", "points": 20, "text": "VP or above"},
            {
                "name": "size",
                "when": "account.employees between 200 and 5000",
                "points": 15,
                "text": "200 to 5,000 employees",
            },
            {
                "name": "country",
                "when": "account.country in ('US', 'CA', 'GB', 'DE')",
                "points": 10,
                "text": "target country",
            },
            {"name": "free", "when": "person.email_is_free", "points": -10, "text": "free e-mail"},
        ],
        "engagement": [
            {
                "name": "demo",
                "on": "form_submitted",
                "where": "form.name like '%demo%'",
                "points": 25,
                "half_life_days": 30,
                "text": "demo request",
            },
            {
                "name": "click",
                "on": "email_clicked",
                "points": 3,
                "half_life_days": 14,
                "cap": 15,
                "text": "e-mail clicked",
            },
            {"name": "meeting", "on": "meeting_held", "points": 20, "half_life_days": 45, "text": "meeting held"},
            {"name": "left", "on": "unsubscribed", "points": -15, "half_life_days": 180, "text": "unsubscribed"},
        ],
    }
)

DATA = """
create macro pick(x, n) as cast(hash(x) % n as bigint);
create table person as
  select 'p' || i as key, 'a' || (i % {accounts}) as account,
    case pick(i, 10) when 0 then 'vp' when 1 then 'c_level' when 2 then null else 'manager' end as seniority,
    pick(i * 7, 5) = 0 as email_is_free
  from range({persons}) t(i);
create table account as
  select 'a' || i as key, case when pick(i, 9) = 0 then null else pick(i, 9000) end as employees,
    ['US', 'DE', 'FR', 'NO', null][1 + pick(i * 3, 5)] as country
  from range({accounts}) t(i);
create table membership as
  select 'salesforce|Contact|003' || i as key, 'person' as kind, 'p' || (i * 2 // 3) as owner_id, 'c' as component,
    cast(i as bigint) as ingestion
  from range({records}) t(i);
create table person_record as select key, 'salesforce' as system from membership;
create table contact_role_record as
  select 'r' || i as key, 'o' || i % 20000 as opportunity, 'salesforce|Contact|003' || pick(i * 3, {records}) as person,
    cast(null as timestamptz) as deleted_at
  from range(30000) t(i);
create table opportunity_record as
  select 'o' || i as key, pick(i, 3) > 0 as is_closed, cast(null as timestamptz) as deleted_at from range(20000) t(i);
create table activity as
  select 'hubspot|e|' || i as key,
    ['form_submitted', 'email_clicked', 'email_clicked', 'email_opened', 'email_opened', 'email_opened', 'page_viewed',
     'page_viewed', 'meeting_held', 'unsubscribed', 'email_sent', 'purchased'][1 + pick(i * 11, 12)] as kind,
    timestamptz '2025-05-01 00:00:00+00' + to_seconds(pick(i * 5, 49000000)) as happened_at,
    'salesforce|Contact|003' || cast(floor({records} * pow((pick(i * 13, 1000000)) / 1e6, 2)) as bigint) as record,
    case when pick(i * 11, 12) = 0 then '{{"name":"' || ['Book a demo', 'Newsletter'][1 + pick(i, 2)] || '"}}' end as properties,
    case when pick(i * 17, 50) = 0 then 'scanner' end as filtered_because, cast(null as timestamptz) as deleted_at
  from range({activities}) t(i);
"""

BY_HAND = (
    """
create or replace table day_hand as
with kept as (
  select record, kind, happened_at, cast(happened_at as date) as day, properties,
    1 - (epoch(happened_at) % 86400) / 86400 as left_days
  from activity
  where filtered_because is null and deleted_at is null and record is not null and happened_at <= $now
), ruled as (
  select record, day, happened_at,
    case kind when 'email_clicked' then 'click' when 'meeting_held' then 'meeting' when 'unsubscribed' then 'left'
      else 'demo' end as rule,
    cast(round(case kind when 'email_clicked' then 3e9 * pow(2.0, -left_days / 14) when 'meeting_held' then
      20e9 * pow(2.0, -left_days / 45) when 'unsubscribed' then -15e9 * pow(2.0, -left_days / 180)
      else 25e9 * pow(2.0, -left_days / 30) end) as bigint) as points
  from kept
  where kind in ('email_clicked', 'meeting_held', 'unsubscribed')
    or (kind = 'form_submitted' and (properties ->> 'name') like '%demo%')
)
select record || '|default|' || rule || '|' || day as key, record, 'default' as model, rule, day, count(*) as events,
  cast(sum(points) as bigint) as points, min(happened_at) as first_at, max(happened_at) as last_at
from ruled group by record, rule, day
union all
select record || '||' || kind || '|' || day, record, '', kind, day, count(*), 0, min(happened_at), max(happened_at)
from kept group by record, kind, day
""",
    """
create or replace table line_hand as
with mine as (
  select m.owner_id as subject, d.rule, d.events, d.first_at, d.last_at, cast(round(d.points * pow(2.0, -(
    (epoch($now) - epoch(d.day)) / 86400 - 1) / case d.rule when 'demo' then 30 when 'click' then 14
    when 'meeting' then 45 else 180 end)) as bigint) as points
  from day_hand d join membership m on m.key = d.record join person p on p.key = m.owner_id where d.model = 'default'
), summed as (
  select subject, rule, sum(events) as events, min(first_at) as first_at, max(last_at) as last_at,
    case rule when 'click' then least(sum(points), 15000000000) else sum(points) end as points
  from mine group by subject, rule
), fit as (
  select p.key as subject, unnest([
    case when p.seniority in ('vp', 'c_level') then {'rule': 'senior', 'points': 20000000000, 'text': 'VP or above'} end,
    case when a.employees between 200 and 5000 then {'rule': 'size', 'points': 15000000000, 'text': '200 to 5,000 employees'} end,
    case when a.country in ('US', 'CA', 'GB', 'DE') then {'rule': 'country', 'points': 10000000000, 'text': 'target country'} end,
    case when p.email_is_free then {'rule': 'free', 'points': -10000000000, 'text': 'free e-mail'} end]) as line
  from person p left join account a on a.key = p.account
)
select subject || '|default|' || rule as key, subject, 'default' as model, rule, 'engagement' as half,
  cast(points as bigint) as points, case rule when 'demo' then 'demo request' when 'click' then 'e-mail clicked'
  when 'meeting' then 'meeting held' else 'unsubscribed' end || strftime(last_at, ', %-d %b %Y') as text,
  cast(events as bigint) as events, first_at, last_at
from summed where points <> 0
union all
select subject || '|default|' || line.rule, subject, 'default', line.rule, 'fit', line.points, line.text, null, null, null
from fit where line is not null
""",
    """
create or replace table score_hand as
with paced as (
  select subject, half, points, cast(ceil(abs(points) * case rule when 'demo' then ln(2) / 30 when 'click' then ln(2) / 14
    when 'meeting' then ln(2) / 45 when 'left' then ln(2) / 180 else 0 end) as bigint) as pace
  from line_hand
), summed as (
  select subject, sum(points) as score, sum(points) filter (half = 'fit') as fit,
    sum(points) filter (half = 'engagement') as engagement, sum(pace) filter (pace > 0 and points > 0) as falls,
    sum(pace) filter (pace > 0 and points < 0) as rises, sum(points) filter (pace > 0 and points > 0) as falls_by,
    -sum(points) filter (pace > 0 and points < 0) as rises_by
  from paced group by subject
), waiting as (
  select subject, score, fit, engagement, falls, rises, falls_by, rises_by, score - case when score >= 60e9 then 60000000000
      when score >= 40e9 then 40000000000 when score >= 20e9 then 20000000000 end as down,
    case when score < 20e9 then 20000000000 when score < 40e9 then 40000000000 when score < 60e9 then 60000000000 end
      - score as up
  from summed
), timed as (
  select subject as who, case when down <= falls_by then
      floor(-ln(greatest(falls_by - down, 0.5) / falls_by) * (falls_by * (86400 / nullif(falls, 0)))) end as falls_s,
    case when up <= rises_by then
      floor(-ln(greatest(rises_by - up, 0.5) / rises_by) * (rises_by * (86400 / nullif(rises, 0)))) end as rises_s
  from waiting
), ranked as (
  select subject, rule, points, text, row_number() over (partition by subject order by abs(points) desc, rule) as place,
    case when abs(points) < 5e7 then null when place <= 4 then abs(points) end as shown,
    case when abs(points) >= 5e7 and place > 4 then abs(points) end as hidden,
    half = 'fit' or (rule = 'click' and points = 15000000000) as is_staying
  from line_hand
), standing as (
  select subject as whom, min(shown) filter (rule = 'click') as click, min(shown) filter (rule = 'demo') as demo,
    min(shown) filter (rule = 'meeting') as meeting, min(shown) filter (rule = 'left') as gone,
    max(hidden) filter (rule = 'demo') as demo_hidden, max(hidden) filter (rule = 'meeting') as meeting_hidden,
    max(hidden) filter (rule = 'left') as gone_hidden, max(hidden) filter (is_staying) as staying
  from ranked group by subject
), fading as (
  select whom, case when click = 15000000000 and click = staying then 3600
    else floor(86400 * least(log2(click / 5e7) * 14, log2(demo / 5e7) * 30, log2(meeting / 5e7) * 45,
    log2(gone / 5e7) * 180, log2(click / staying) * 14, log2(demo / staying) * 30, log2(meeting / staying) * 45,
    log2(gone / staying) * 180, log2(click / demo_hidden) / (1 / 14 - 1 / 30),
    log2(click / meeting_hidden) / (1 / 14 - 1 / 45), log2(click / gone_hidden) / (1 / 14 - 1 / 180),
    log2(demo / meeting_hidden) / (1 / 30 - 1 / 45), log2(demo / gone_hidden) / (1 / 30 - 1 / 180),
    log2(meeting / gone_hidden) / (1 / 45 - 1 / 180))) end as reasons_s
  from standing
), told as (
  select subject, '[' || string_agg('{"text":"' || text || '","points":' || points || ',"rule":"' || rule || '"}', ','
    order by place) || ']' as reasons
  from ranked where place <= 5 group by subject
)
select p.key || '|default' as key, p.key as subject, 'default' as model, cast(coalesce(score, 0) as bigint) as score,
  cast(coalesce(fit, 0) as bigint) as fit, cast(coalesce(engagement, 0) as bigint) as engagement,
  case when score >= 60e9 then 'A' when score >= 40e9 then 'B' when score >= 20e9 then 'C' else 'D' end as grade,
  (p.seniority is not null)::bigint + (a.employees is not null)::bigint + (a.country is not null)::bigint
    + (p.email_is_free is not null)::bigint as coverage_known,
  4 as coverage_of, coalesce(reasons, '[]') as reasons, $now as scored_at,
  $now + to_seconds(cast(least(falls_s, rises_s, reasons_s) as bigint)) as next_due_at
from person p left join account a on a.key = p.account left join waiting s on s.subject = p.key
  left join timed on who = p.key left join fading on whom = p.key left join told t on t.subject = p.key
""",
    """
create or replace table interval_hand as
with role as (
  select distinct m.owner_id as subject
  from contact_role_record r join opportunity_record o on o.key = r.opportunity join membership m on m.key = r.person
  where r.deleted_at is null and o.deleted_at is null and not coalesce(o.is_closed, false)
), bought as (
  select m.owner_id as subject, sum(d.events) as purchases
  from day_hand d join membership m on m.key = d.record where d.model = '' and d.rule = 'purchased' group by m.owner_id
), placed as (
  select s.subject, case when b.purchases > 0 then 'Retain' when s.score >= 60e9 or r.subject is not null then 'Buy'
    when s.score >= 40e9 then 'Engage' when s.engagement >= 5e9 then 'Explore' else 'Discover' end as stage
  from score_hand s left join bought b on b.subject = s.subject left join role r on r.subject = s.subject
)
select p.subject, p.stage, $now as entered_at
from placed p left join stage_interval i on i.subject = p.subject and i.left_at is null
where i.subject is null
""",
)


def by_hand(backend: Backend) -> None:
    for statement in BY_HAND:
        backend.con.execute(statement.replace("$now", f"timestamptz '{NOW.isoformat()}'"))


def by_rules(backend: Backend) -> None:
    table = backend.table
    days = scoring.fold("default", MODEL, table("activity"), table("person_record"), NOW)
    backend.create_table("engagement_day", days, overwrite=True)
    lines = scoring.score_lines(
        "default",
        MODEL,
        persons=table("person"),
        accounts=table("account"),
        membership=table("membership"),
        days=table("engagement_day"),
        now=NOW,
    )
    backend.create_table("score_line", lines, overwrite=True)
    scores = scoring.scores(
        "default", MODEL, table("score_line"), persons=table("person"), accounts=table("account"), now=NOW
    )
    backend.create_table("score", scores, overwrite=True)
    known = lifecycle.Known(
        persons=table("person"),
        accounts=table("account"),
        scores=table("score"),
        membership=table("membership"),
        days=table("engagement_day"),
        opportunities=table("opportunity_record"),
        contact_roles=table("contact_role_record"),
    )
    facts = lifecycle.facts(lifecycle.conditions(STAGES, {}), known, NOW)
    backend.create_table("facts", facts, overwrite=True)
    moved = lifecycle.advance(STAGES, table("facts"), table("stage_interval"), NOW, 1)
    backend.create_table("interval", moved, overwrite=True)


def differences(backend: Backend, mine: str, theirs: str, columns: str) -> int:
    count = backend.con.execute(
        f"select count(*) from ((select {columns} from {mine} except all select {columns} from {theirs})"
        f" union all (select {columns} from {theirs} except all select {columns} from {mine}))"
    ).fetchone()
    return int(count[0]) if count else 0


def seconds(arm: Callable[[Backend], None], backend: Backend) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    arm(backend)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    given = [int(value) for value in sys.argv[1:3]]
    persons, activities = [*given, *(100_000, 1_000_000)[len(given) :]]
    backend = ibis.duckdb.connect()
    backend.con.execute("set TimeZone = 'UTC'; set threads = 2")
    backend.con.execute(
        DATA.format(persons=persons, accounts=max(1, persons // 10), records=persons * 3 // 2, activities=activities)
    )
    backend.create_table("stage_interval", schema=ibis.Schema.from_pyarrow(tables.STAGE_INTERVAL))
    taken: dict[str, list[tuple[float, float]]] = {"by hand": [], "by rules": []}
    for _ in range(TURNS):
        taken["by hand"].append(seconds(by_hand, backend))
        taken["by rules"].append(seconds(by_rules, backend))
    for mine, theirs, names in (
        ("engagement_day", "day_hand", tables.ENGAGEMENT_DAY.names),
        ("score_line", "line_hand", tables.SCORE_LINE.names),
        ("score", "score_hand", tables.SCORE.names),
        ("interval", "interval_hand", ["subject", "stage", "entered_at"]),
    ):
        rows = backend.table(mine).count().to_pyarrow().as_py()
        print(f"{mine:15} {rows:>9,} rows, {differences(backend, mine, theirs, ', '.join(names))} different")
    best = {arm: min(turns) for arm, turns in taken.items()}
    for arm, (wall, cpu) in best.items():
        print(f"{arm:15} {wall:6.2f} s wall {cpu:6.2f} s CPU")
    wall, cpu = (best["by rules"][part] / best["by hand"][part] for part in (0, 1))
    print(f"ratio           {wall:6.2f}   wall {cpu:6.2f}   CPU   (limit 1.5)")


if __name__ == "__main__":
    main()
