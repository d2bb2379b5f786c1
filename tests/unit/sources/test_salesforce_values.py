"""Values are checked before they are sent, and the plan's number of calls is the number that is made."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import responses

from connector.model import Change, FieldSchema, Lane, Result, Task, Value
from connector.plan import batches
from connector.sources.salesforce import CAPABILITIES
from connector.sources.salesforce_values import misfit
from tests.unit.sources.salesforce_double import Org, Part, Reply, described, path_of

TASK = Task("key", "Call", "why", datetime(2026, 11, 25, 9, tzinfo=UTC), "high", None)
FIELDS = {
    "Text__c": FieldSchema("Text__c", "text", length=5),
    "Grade__c": FieldSchema("Grade__c", "picklist", options=("A", "B"), is_restricted=True),
    "Open__c": FieldSchema("Open__c", "picklist", options=("A", "B")),
    "Score__c": FieldSchema("Score__c", "number", precision=5, scale=1),
    "Since__c": FieldSchema("Since__c", "datetime"),
    "Read__c": FieldSchema("Read__c", "text", is_writable=False),
}


def change(name: str, value: Value, key: str = "1") -> Change:
    return Change(key, "salesforce", "Lead", f"00Q{key}", Lane.SCORE, fields={name: value})


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Text__c", "personal", "STRING_TOO_LONG"),
        ("Grade__c", "Zebra", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("Score__c", "10000", "NUMBER_OUTSIDE_VALID_RANGE"),
        ("Score__c", "high", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Since__c", "soon", "INVALID_TYPE_ON_FIELD_IN_RECORD"),
        ("Read__c", "x", "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("None__c", "x", "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ],
)
def test_a_value_that_its_field_would_refuse_is_told_with_the_field_and_a_mend_but_without_the_value(
    name: str, value: str, code: str
) -> None:
    outcome = misfit(change(name, value), FIELDS)
    assert outcome is not None
    assert (outcome.result, outcome.code) == (Result.REJECTED, code)
    assert f"Lead.{name}" in outcome.message
    assert outcome.fields == (name,)
    assert outcome.hint
    assert len(value) == 1 or value not in outcome.message + outcome.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Text__c", "short"),
        ("Text__c", None),
        ("Grade__c", "A"),
        ("Open__c", "Z"),
        ("Score__c", "9999.9"),
        ("Score__c", 66.5),
        ("Since__c", "2026-11-20T10:00:00Z"),
    ],
)
def test_a_value_that_fits_is_sent(name: str, value: Value) -> None:
    assert misfit(change(name, value), FIELDS) is None


def accept(part: Part) -> Reply:
    if path_of(part).endswith("/describe"):
        return described("Text__c")
    return 200, [{"id": "00T", "success": True, "errors": []} for _ in part["body"]["records"]]


@pytest.mark.parametrize(
    ("updates", "tasks", "calls"),
    [(1, 0, 2), (1000, 0, 2), (1001, 0, 3), (0, 1, 1), (990, 10, 3), (400, 600, 2), (0, 0, 0)],
)
@responses.activate
def test_the_number_of_calls_that_a_plan_tells_is_the_number_that_is_made(updates: int, tasks: int, calls: int) -> None:
    changes = [change("Text__c", "x", str(number)) for number in range(updates)]
    for number in range(tasks):
        made = Task(f"task-{number}", TASK.subject, TASK.body, TASK.due_at, TASK.priority, TASK.owner)
        changes.append(Change(f"t{number}", "salesforce", "Lead", f"00Q{number}", Lane.TASK, task=made))
    system = Org(accept).connect()
    capabilities = CAPABILITIES
    cut = batches(changes, capabilities)
    assert (capabilities.count_calls(cut), capabilities.count_waiting(cut)) == (calls, 0)
    assert system.target is not None
    outcomes = [outcome for batch in cut for outcome in system.target.write(batch)]
    assert sorted(outcome.key for outcome in outcomes) == sorted(each.key for each in changes)
    assert system.calls() == calls
