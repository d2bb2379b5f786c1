"""Which of our fields have no decimals is learned from what came with the pages, at no call of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from connector.model import FieldSchema, ObjectSchema
from connector.steps import reads

TAKEN = [("score", "Score__c"), ("grade", "Grade__c"), ("stage", "Not_there__c")]


class Source:
    """Describes one field, and counts how often it is asked."""

    def __init__(self, field: FieldSchema) -> None:
        self.field, self.asked = field, 0

    def describe(self, object_types: Sequence[str]) -> dict[str, ObjectSchema]:
        self.asked += 1
        return {name: ObjectSchema(name, {self.field.name: self.field}) for name in object_types}


def whole(field: FieldSchema, object_type: str = "Contact", *, is_told: bool = True) -> tuple[tuple[str, ...], int]:
    """What is whole, and how often the system was asked."""
    capabilities = SimpleNamespace(describes_what_it_reads=is_told)
    connected: Any = SimpleNamespace(outputs={"Contact": dict(TAKEN)}, capabilities=capabilities)
    source = Source(field)
    system: Any = SimpleNamespace(source=source)
    return reads.whole(connected, system, object_type), source.asked


@pytest.mark.parametrize(
    ("field", "is_whole"),
    [
        (FieldSchema("Score__c", "number", scale=0), True),
        (FieldSchema("Score__c", "integer"), True),
        (FieldSchema("Score__c", "number", scale=1), False),
        (FieldSchema("Score__c", "number"), False),
        (FieldSchema("Score__c", "text", scale=0), False),
        (FieldSchema("Other__c", "integer"), False),
    ],
)
def test_a_field_of_ours_is_whole_when_it_is_described_without_decimals(field: FieldSchema, is_whole: bool) -> None:
    assert whole(field) == (("Score__c",) if is_whole else (), 1)


def test_nobody_is_asked_where_nothing_of_ours_is_or_where_it_would_cost_a_call() -> None:
    field = FieldSchema("Score__c", "integer")
    assert whole(field, "Account") == ((), 0)
    assert whole(field, is_told=False) == ((), 0)
