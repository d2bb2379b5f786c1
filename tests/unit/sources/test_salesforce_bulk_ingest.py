"""What goes as a bulk job, in which order, and what it costs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import clock
from connector.model import Change, FieldSchema, Lane, Task, Value
from connector.plan import batches
from connector.sources import salesforce_bulk_ingest as bulk
from connector.sources.salesforce import CAPABILITIES
from connector.sources.salesforce_outcomes import outcome_of
from tests.unit.sources.salesforce_double import options
from tests.unit.sources.test_salesforce_values import TASK


def change(number: int, *, parent: str = "", object_type: str = "Contact", lane: Lane = Lane.SCORE) -> Change:
    return Change(f"k{number}", "salesforce", object_type, f"003{number:06}", lane, {"Score__c": number}, parent=parent)


def shapes(cut: Sequence[Sequence[Change]], bulk_from: int) -> list[tuple[bool, int]]:
    return [(bulk.is_job(batch, bulk_from), len(batch)) for batch in cut]


def test_from_fifteen_thousand_changes_of_one_object_on_they_are_one_job_and_the_rest_goes_by_collection() -> None:
    contacts = [change(number) for number in range(15_000)]
    leads = [change(number, object_type="Lead") for number in range(20_000, 22_500)]
    cut = batches([*contacts, *leads], CAPABILITIES)
    assert shapes(cut, 15_000) == [(False, 1000), (False, 1000), (False, 500), (True, 15_000)]
    assert CAPABILITIES.count_calls(cut) == 3 + bulk.JOB_CALLS + 1
    assert CAPABILITIES.count_waiting(cut) == len(bulk.WAITS_S) - 1 + bulk.EARLY_ASKS
    below = batches(contacts[1:], CAPABILITIES)
    assert not any(is_job for is_job, _ in shapes(below, 15_000))
    assert CAPABILITIES.count_calls(below) == 15 + 1


def test_a_job_takes_fewer_calls_than_collections_from_where_it_is_used() -> None:
    asked_in_a_minute = next(n for n in range(len(bulk.WAITS_S)) if sum(bulk.WAITS_S[: n + 1]) > 60)
    assert bulk.JOB_CALLS + asked_in_a_minute + bulk.EARLY_ASKS <= options().bulk_write_from / 1000


@pytest.mark.parametrize(
    ("begins_s", "rows_per_s", "asked"),
    [
        (0.0, 10_000, [1.0, 2.0]),  # by its pace done at 2.0, and not asked at 2.6
        (0.0, 2_000, [1.0, 2.6, 5.2, 9.3, 10.0]),
        (4.0, 10_000, [1.0, 2.6, 5.2, 6.9]),  # begun after 2.6: the pace since then is its least
        (900.0, 10_000, [1.0, 2.6, 5.2, 9.3, 15.9, 26.4, 43.2, 70.0, 113.0, 181.7, 291.7]),
    ],
)
def test_a_job_is_asked_when_by_its_pace_it_is_done(
    begins_s: float, rows_per_s: int, asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, times, rows = 0.0, list[float](), 20_000

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def state(*_: object) -> dict[str, object]:
        times.append(round(now_s, 1))
        done = min(rows, int(max(now_s - begins_s, 0) * rows_per_s + 1e-6))
        return {"state": "JobComplete" if done == rows else "InProgress", "numberRecordsProcessed": done}

    monkeypatch.setattr(clock, "sleep", sleep)
    monkeypatch.setattr(bulk, "_state", state)
    bulk._awaited(None, "750", rows)  # type: ignore[arg-type]
    assert times == asked


def test_consent_tasks_second_changes_of_a_record_and_a_text_that_would_clear_go_by_collection() -> None:
    many = [change(number) for number in range(10)]
    twice = replace(many[0], key="again")
    consent = change(11, lane=Lane.CONSENT)
    task = replace(change(12), task=Task("t", TASK.subject, "", TASK.due_at, "high", None), fields={})
    clearing = replace(change(13), fields={"Title": bulk.NULL})
    [job] = bulk.jobs([*many, twice, consent, task, clearing], 9)
    assert [each.key for each in job] == [f"k{number}" for number in range(1, 10)]


def test_more_than_a_job_takes_is_cut_into_equal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [change(number) for number in range(10)]
    monkeypatch.setattr(bulk, "MAX_JOB_ROWS", 6)
    assert [len(job) for job in bulk.jobs(many, 3)] == [5, 5]
    monkeypatch.setattr(bulk, "MAX_JOB_BYTES", 200)
    assert [len(job) for job in bulk.jobs(many, 1)] == [4, 4, 2]


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=60), st.integers(1, 12))
def test_rows_of_one_account_stand_on_one_side_of_each_batch_as_long_as_something_fits(
    rows: list[tuple[int, bool]], size: int
) -> None:
    changes = [change(number, parent=f"A{at}" if has else "") for number, (at, has) in enumerate(rows)]
    ordered = bulk.by_parent(changes, size)
    assert Counter(each.key for each in ordered) == Counter(each.key for each in changes)
    parents = [each.parent for each in ordered]
    for parent in {each.parent for each in changes} - {""}:
        first, count = parents.index(parent), parents.count(parent)
        assert parents[first : first + count] == [parent] * count
        if first // size == (first + count - 1) // size:
            continue
        room = size - first % size
        assert not any(place > first and Counter(parents)[each] <= room for place, each in enumerate(parents) if each)
        assert "" not in parents[first + count :]


@pytest.mark.parametrize(
    ("value", "text"),
    [(66.5, "66.5"), (0, "0"), (True, "true"), (None, "#N/A"), ("", "#N/A"), ('a "b",\nc', 'a "b",\nc'), ("é", "é")],
)
def test_a_value_is_written_so_that_it_is_read_the_same(value: Value, text: str) -> None:
    fields = {"Any__c": FieldSchema("Any__c", "other"), "Other__c": FieldSchema("Other__c", "text")}
    changes = [replace(change(1), fields={"Any__c": value}), replace(change(2), fields={"Other__c": "x"})]
    content = bulk._content(changes, fields).decode("utf-8")
    assert list(csv.reader(io.StringIO(content, newline=""))) == [
        ["Id", "Any__c", "Other__c"],
        ["003000001", text, ""],
        ["003000002", "", "x"],
    ]
    assert "\r" not in content


def test_a_rows_error_tells_its_code_its_message_and_what_it_means() -> None:
    told = bulk._refused(change(1), "UNABLE_TO_LOCK_ROW:unable to obtain: exclusive access:--")
    assert (told.code, told.message) == ("UNABLE_TO_LOCK_ROW", "unable to obtain: exclusive access")
    assert told.result is outcome_of("UNABLE_TO_LOCK_ROW", "")[0]


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        ("STRING_TOO_LONG:Score__c: data value too large: x:y (max length=1):Score__c --", ("Score__c",)),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION:no, not so:Score__c, Name --", ("Score__c",)),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION:no:--", ()),
        ("ENTITY_IS_DELETED:entity is deleted", ()),
    ],
)
def test_a_rows_error_tells_the_fields_of_ours_that_it_is_about(error: str, fields: tuple[str, ...]) -> None:
    assert bulk._refused(change(1), error).fields == fields
