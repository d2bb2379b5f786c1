"""What a task's templates may say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pydantic import ValidationError

from connector.tables import ACCOUNT, PERSON, POINT
from connector.triggers import TaskSection, draft, due_at


@pytest.mark.parametrize(
    "subject",
    [
        "Call {{ person.first_name }}: {{ reasons[0].text }}",
        "{% for reason in reasons %}{{ loop.index }} {{ reason.text | upper }}{% endfor %}",
        "{% if account.name %}{{ account.name }}{% endif %} {{ score | round }}",
    ],
)
def test_plain_names_and_filters_are_allowed(subject: str) -> None:
    assert TaskSection(when="score crosses 60", subject=subject).subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        "{{ person.first_name.upper }}",
        "{{ person.__class__ }}",
        "{{ person['first_name'] }}",
        "{{ person.items() }}",
        "{{ person | attr('keys') }}",
        "{{ reasons[0].text.join }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ score.real }}",
        "{% macro call() %}x{% endmacro %}",
    ],
)
def test_attributes_of_attributes_and_calls_are_refused(subject: str) -> None:
    with pytest.raises(ValidationError):
        TaskSection(when="score crosses 60", subject=subject)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{{ reasons[0].txt }}", 'unknown field "reasons.txt"; did you mean "text"?'),
        ("{% for each in reasons %}{{ each.point }}{% endfor %}", 'unknown field "each.point"; did you mean "points"?'),
    ],
)
def test_a_field_that_a_reason_does_not_have_is_refused(body: str, told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        TaskSection(when="score crosses 60", subject="Call", body=body)


def test_a_score_that_is_next_to_nothing_is_no_negative_zero() -> None:
    row = dict.fromkeys(("trigger", "subject", "record", "system", "object_type", "native_id", "why", "owner"), "x")
    row |= {f"person_{name}": None for name in PERSON.names} | {f"account_{name}": None for name in ACCOUNT.names}
    numbers = {
        "episode": 1,
        "score": -POINT // 25,
        "fit": 0,
        "engagement": 0,
        "grade": "D",
        "stage": "A",
        "reasons": "[]",
    }
    task = TaskSection(when="score < 0", subject="{{ score }} of {{ fit }}")
    drafted = draft({"x": task}, pa.Table.from_pylist([row | numbers]), datetime(2026, 11, 24, tzinfo=UTC), 1)
    assert drafted["title"].to_pylist() == ["0.0 of 0.0"]


@pytest.mark.parametrize(
    ("due", "later"),
    [
        ("4 hours", timedelta(hours=4)),
        ("1 day", timedelta(days=1)),
        ("2 weeks", timedelta(weeks=2)),
        ("1 working day", timedelta(days=1)),
        ("3 working days", timedelta(days=3)),
    ],
)
@pytest.mark.parametrize("written", ["{}", "{} ", "  {}", " {}\n"])
def test_a_blank_before_or_after_a_due_time_means_nothing(due: str, later: timedelta, written: str) -> None:
    tuesday = datetime(2026, 11, 24, tzinfo=UTC)
    task = TaskSection(when="score > 60", subject="Call", due=written.format(due))
    assert due_at(task.due, tuesday) == tuesday + later
