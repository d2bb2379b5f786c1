"""What a task's templates may say."""

from __future__ import annotations

import pytest

from connector.triggers import TaskSection, problems


def _problems(subject: str) -> list[str]:
    task = TaskSection(when="score crosses 60", subject=subject)
    return [str(each) for each in problems(task, "tasks.call", ("Explore",))]


@pytest.mark.parametrize(
    "subject",
    [
        "Call {{ person.first_name }}: {{ reasons[0].text }}",
        "{% for reason in reasons %}{{ loop.index }} {{ reason.text | upper }}{% endfor %}",
        "{% if account.name %}{{ account.name }}{% endif %} {{ score | round }}",
    ],
)
def test_plain_names_and_filters_are_allowed(subject: str) -> None:
    assert _problems(subject) == []


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
    assert _problems(subject)
