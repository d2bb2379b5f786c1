"""What a plan says it will cost: the calls that are then made, lane by lane, and whether today has room for them."""

from __future__ import annotations

from typing import Any

import pytest

from connector.budget import Budget, Quota
from connector.cost import Cost, Meter, cost
from connector.model import Capabilities, Change, Lane, Task
from connector.sources import hubspot, salesforce
from tests.unit.test_plan import NOW

SALESFORCE, HUBSPOT = salesforce.CAPABILITIES, hubspot.HUBSPOT.capabilities
PLAIN = Capabilities(batch_size=10, writable=("Contact",), task_targets=("Contact",))


def change(number: int, lane: Lane = Lane.SCORE, object_type: str = "Contact") -> Change:
    return Change(f"k{number}", "crm", object_type, str(number), lane, {"f": number}, {"f": None})


def task(number: int) -> Change:
    made = Task(f"t{number}", "Call", "", NOW, "high", None)
    return Change(made.key, "crm", "Contact", str(number), Lane.TASK, task=made)


def budget(calls: int, ours: int = 0, **parts: Any) -> Budget:
    return Budget(Quota(share=1, **parts), calls, 0, ours)


@pytest.mark.parametrize(
    ("capabilities", "changes", "calls"),
    [
        (PLAIN, [change(n) for n in range(21)], {"score": 3}),
        (PLAIN, [change(1), change(2, Lane.STAGE)], {"stage": 1}),
        (SALESFORCE, [change(n) for n in range(1_001)], {"score": 3}),  # one of them asks for the fields' types
        (SALESFORCE, [*[change(n, Lane.STAGE) for n in range(1_000)], change(5_000)], {"stage": 2, "score": 1}),
        (SALESFORCE, [task(n) for n in range(1_000)], {"task": 1}),
        (HUBSPOT, [change(n, object_type="contacts") for n in range(250)], {"score": 4}),
        (HUBSPOT, [task(1), *[change(n, object_type="contacts") for n in range(9)]], {"task": 2, "score": 2}),
    ],
)
def test_calls_are_stated_by_the_lane_that_they_are_made_for(
    capabilities: Capabilities, changes: list[Change], calls: dict[str, int]
) -> None:
    told = cost(changes, capabilities, None)
    assert dict(told.calls) == calls
    assert told.total == sum(calls.values())
    assert told.waiting == {}


def test_the_calls_of_batches_add_up_to_those_of_all_of_them() -> None:
    changes = [*[change(n, Lane.STAGE) for n in range(1_500)], *[task(n) for n in range(1_300)]]
    sent = SALESFORCE.cut(changes) if SALESFORCE.cut else []
    meter = Meter(SALESFORCE.count_calls)
    assert sum(meter.calls(batch) for batch in sent) == SALESFORCE.count_calls(sent)


def test_what_does_not_fit_todays_budget_waits_lane_by_lane() -> None:
    changes = [
        *[change(n, Lane.CONSENT) for n in range(10)],
        *[change(n, Lane.STAGE) for n in range(100, 110)],
        *[change(n) for n in range(200, 260)],
    ]
    assert cost(changes, PLAIN, budget(100)).waiting == {}
    assert cost(changes, PLAIN, budget(7)).waiting == {"score": 30}
    assert cost(changes, PLAIN, budget(7, ours=6)).waiting == {"stage": 10, "score": 60}
    assert cost(changes, PLAIN, budget(7, ours=7)).waiting == {"consent": 10, "stage": 10, "score": 60}


def test_a_budget_that_nobody_told_holds_nothing_back() -> None:
    assert cost([change(1)], PLAIN, Budget(Quota())).waiting == {}  # type: ignore[call-arg]
    assert Cost().as_json() == {"calls": 0, "by_lane": {}, "asking": 0, "waiting": {}, "budget": None}
