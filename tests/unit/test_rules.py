"""A condition means what its SQL says, and what is wrong with it is said by name before anything is read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import ibis
import pyarrow as pa
import pytest
from ibis.backends.duckdb import Backend

from connector import rules, tables

ROWS = pa.schema(
    {
        "person_title": tables.TEXT,
        "person_seniority": tables.TEXT,
        "person_email_is_free": tables.BOOL,
        "person_birth_date": tables.DATE,
        "person_created_at": tables.INSTANT,
        "account_employees": tables.INT,
        "account_annual_revenue": tables.MONEY,
        "activity_properties": tables.TEXT,
        "score": tables.INT,
        "count_of_form_submitted_30": tables.INT,
        "days_since_meeting_held": tables.INT,
    }
)
SCOPE = rules.scope(
    rules.GOLDEN | rules.HAPPENED,
    points=("score",),
    properties=rules.PROPERTIES,
    kinds=rules.ACTIVITY_KINDS,
)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return ibis.duckdb.connect()


def holds(backend: Backend, text: str, **row: Any) -> bool:
    """What the condition says of one row whose other columns are null."""
    table = ibis.memtable(pa.Table.from_pylist([dict.fromkeys(ROWS.names) | row], schema=ROWS))
    condition = rules.compile_condition(text, SCOPE)
    answer = backend.to_pyarrow(table.select(it=condition.expr(table)))["it"][0].as_py()
    assert isinstance(answer, bool)
    return answer


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("person.seniority in ('vp', 'c_level')", {"person_seniority": "vp"}, True),
        ("person.seniority in ('vp', 'c_level')", {}, False),
        ("not person.seniority in ('vp')", {}, False),
        ("person.seniority not in ('vp')", {"person_seniority": "manager"}, True),
        ("account.employees between 200 and 5000", {"account_employees": 200}, True),
        ("account.employees between 200 and 5000", {"account_employees": 5001}, False),
        ("account.annual_revenue > 1000000.5", {"account_annual_revenue": 1_000_001}, True),
        ("person.email_is_free", {"person_email_is_free": True}, True),
        ("person.email_is_free", {}, False),
        ("person.email_is_free is not true", {}, True),
        ("person.title is null and account.employees is not null", {"account_employees": 1}, True),
        ("person.title is null or person.title = 'x' and account.employees = 2", {"account_employees": 1}, True),
        ("(person.title is null or person.title = 'x') and account.employees = 2", {"account_employees": 1}, False),
        ("person.title like 'VP%'", {"person_title": "VP Sales"}, True),
        ("person.title like 'vp%'", {"person_title": "VP Sales"}, False),
        ("person.title ilike '%sales'", {"person_title": "VP Sales"}, True),
        ("person.title not like 'VP%'", {"person_title": "Clerk"}, True),
        ("contains(lower(person.title), 'sales')", {"person_title": "VP Sales"}, True),
        ("starts_with(trim(person.title), 'VP')", {"person_title": "  VP"}, True),
        ("length(person.title) > 3", {"person_title": "abc"}, False),
        ("coalesce(account.employees, 7) = 7", {}, True),
        ("account.employees / 0 > 1", {"account_employees": 5}, False),
        ("account.employees * 2 - 1 = 9 + abs(0 - 2)", {"account_employees": 6}, True),
        ("score >= 60", {"score": 60 * tables.POINT}, True),
        ("score >= 60", {"score": 60 * tables.POINT - 1}, False),
        ("score > -5", {"score": -4 * tables.POINT}, True),
        ("form.name like '%demo%'", {"activity_properties": '{"name": "Book a demo"}'}, True),
        ("form.name like '%demo%'", {"activity_properties": '{"title": "Book a demo"}'}, False),
        ("form.pages > 3", {"activity_properties": '{"pages": 10}'}, True),
        ("form.pages > 3", {"activity_properties": '{"pages": "10"}'}, True),
        ("form.pages > 3", {"activity_properties": '{"pages": "many"}'}, False),
        ("form.agreed = true", {"activity_properties": '{"agreed": true}'}, True),
        ("form.name is null", {"activity_properties": '{"name": null}'}, True),
        ("count_of('form_submitted', 30) >= 2", {"count_of_form_submitted_30": 2}, True),
        ("days_since('meeting_held') < 7", {"days_since_meeting_held": 7}, False),
        ("days_since('meeting_held') < 7", {}, False),
        ("person.birth_date < date '2000-01-01'", {"person_birth_date": date(1999, 12, 31)}, True),
        ("person.birth_date = '1999-12-31'", {"person_birth_date": date(1999, 12, 31)}, True),
        ("person.created_at >= '2026-01-01'", {"person_created_at": datetime(2026, 1, 1, tzinfo=UTC)}, True),
        (
            "person.created_at >= date '2026-01-01'",
            {"person_created_at": datetime(2025, 12, 31, 23, tzinfo=UTC)},
            False,
        ),
    ],
)
def test_a_condition_means_what_its_sql_says(backend: Backend, text: str, row: dict[str, Any], expected: bool) -> None:
    assert holds(backend, text, **row) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("person.titel = 'x'", 'unknown field "person.titel"; did you mean "person.title"?'),
        ("employees > 5", 'unknown field "employees"; did you mean "account.employees"?'),
        ("account.employees > 'many'", "compares a number with text; write the number without quotes"),
        ("person.title > 5", "compares text with a number; write the text in quotes"),
        ("person.title", "is text, not a condition"),
        ("account.employees + 1", "is a number, not a condition"),
        ("person.title and score > 1", "is text, not a condition"),
        ("person.email_is_free > false", "a yes or no has no order"),
        ("person.birth_date > 'soon'", "'soon' is not a date"),
        ("person.created_at > person.birth_date", "compares an instant with a date"),
        ("count_of('form_submited', 30) > 1", 'did you mean "form_submitted"?'),
        ("count_of('form_submitted', 0) > 1", "1 to 3,650 whole days"),
        ("count_of('form_submitted', -1) > 1", "1 to 3,650 whole days"),
        ("score = null", "write is null or is not null"),
        ("days_since('meeting_held') + 1 < 3", "must be compared with a number"),
        ("lenght(person.title) > 1", 'did you mean "length()"?'),
        ("score >", 'is not an SQL condition; look near "score >"'),
        ("", "the condition is empty"),
        ("score > 99999999999999999999", "too large"),
        ("score > 1 and " * 400 + "score > 1", "longer than 4,000 characters"),
    ],
)
def test_what_is_wrong_is_said_by_name(text: str, said: str) -> None:
    with pytest.raises(rules.ConditionError) as caught:
        rules.compile_condition(text, SCOPE)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "score / 2 >= 20",
        "score >= 80 / 2",
        "-score < 5",
        "abs(score) >= 40",
        "(coalesce(score, 0) + 1) > 3",
        "score > account.employees",
        "account.employees < score",
        "score >= 10 * count_of('form_submitted')",
        "score between 10 and account.employees",
        "score in (1, account.employees)",
    ],
)
def test_what_time_changes_is_compared_with_a_number_or_nobody_knows_when_the_condition_does(text: str) -> None:
    with pytest.raises(
        rules.ConditionError, match=r"score must be compared with a number, as it is; such as score >= 40"
    ):
        rules.compile_condition(text, SCOPE)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("not 40 <= score", {40}),
        ("(score) >= (-5)", {5, -5}),
        ("score between -1 and 30 or score in (50, 60) or score is null", {1, -1, 30, 50, 60}),
        ("coalesce(score, 0) >= 40", {0, 40}),
    ],
)
def test_whatever_time_can_cross_is_among_the_numbers_of_a_condition(text: str, levels: set[float]) -> None:
    assert set(rules.compile_condition(text, SCOPE).numbers) == levels


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("account.employes = 3 and person.contry = 'x'", ["employes", "contry"]),
        (
            "account.employes = 3 or (score > 1 and not person.contry = 'x') or account.employes > 9",
            ["employes", "contry"],
        ),
        ("account.employees > 'many' and person.title > 5", ["'many'", "person.title > 5"]),
        ("account.employes > person.contry", ["employes", "contry"]),
        ("person.contry in ('a', date 'soon')", ["contry", "soon"]),
        ("account.employes + person.title > 1", ["employes", "person.title"]),
    ],
)
def test_all_that_is_wrong_in_a_condition_is_told_at_once_and_each_once(text: str, wrong: list[str]) -> None:
    with pytest.raises(rules.ConditionError) as caught:
        rules.compile_condition(text, SCOPE)
    told = [what for what, _ in caught.value.told]
    assert len(told) == len(wrong)
    assert all(part in what for part, what in zip(wrong, told, strict=True)), told


@pytest.mark.parametrize(
    "text",
    [
        "score > 1; drop table person",
        "select 1",
        "score = (select 1)",
        "score in (select 1)",
        "exists (select 1)",
        "score in (1, account.employees)",
        "sum(score) > 1",
        "score::text = '1'",
        "current_date > person.birth_date",
        "read_csv('/etc/passwd') is null",
        "person.title like 'x' escape '!'",
        "score between symmetric 2 and 1",
        "case when score > 1 then true end",
        "score % 2 = 1",
        "*",
        "row_number() over () = 1",
    ],
)
def test_what_is_not_listed_is_refused(text: str) -> None:
    with pytest.raises(rules.ConditionError):
        rules.compile_condition(text, SCOPE)


def test_facts_are_refused_where_there_are_none() -> None:
    bare = rules.scope(rules.GOLDEN)
    with pytest.raises(rules.ConditionError, match="it is for stages and tasks"):
        rules.compile_condition("count_of('form_submitted') > 1", bare)


def test_a_condition_tells_what_it_reads() -> None:
    condition = rules.compile_condition(
        "person.title = 'x' and (score > 60.5 or count_of('page_viewed', 7) > 3) and score < 90", SCOPE
    )
    assert condition.columns == ("person_title", "score", "count_of_page_viewed_7")
    assert set(condition.numbers) == {60.5, 3, 90}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("person.seniority in ('vp', 'c_level')", "seniority is vp or c_level"),
        ("account.employees between 200 and 5000", "employees between 200 and 5,000"),
        ("person.email_is_free", "email is free"),
        ("form.name like '%demo%'", "form name contains demo"),
        ("count_of('form_submitted', 30) >= 1", "number of form submitted in 30 days at least 1"),
        ("not (score < 50)", "not (score below 50)"),
    ],
)
def test_a_condition_can_be_said_in_words(text: str, words: str) -> None:
    assert rules.compile_condition(text, SCOPE).describe() == words


def test_crosses_and_becomes_are_triggers() -> None:
    crossing = rules.compile_trigger("score crosses 60", SCOPE)
    assert (crossing.field, crossing.level, crossing.when.text) == ("score", 60.0, "score >= 60")
    becoming = rules.compile_trigger("person.seniority becomes 'vp'", SCOPE)
    assert (becoming.field, becoming.value, becoming.level) == ("person.seniority", "vp", None)
    plain = rules.compile_trigger("score > 5", SCOPE)
    assert (plain.field, plain.level) == ("", None)
    with pytest.raises(rules.ConditionError, match='did you mean "score"'):
        rules.compile_trigger("skore crosses 60", SCOPE)
    with pytest.raises(rules.ConditionError, match="a number and nothing else, and is given nothing"):
        rules.compile_trigger("score crosses", SCOPE)


def test_names_that_stand_twice_are_offered_once() -> None:
    condition = rules.compile_condition("person.title = 'Z'", SCOPE)
    [(_, mend)] = rules.undefined(condition, {"person.title": ("A", "B", "D", "D")})
    assert mend == "there are A, B, D"
