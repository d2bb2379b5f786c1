"""What a task's templates may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from connector.triggers import TaskSection


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
