"""Writing through Bulk API 2.0 against the sandbox: one outcome for each row, and after a kill no second job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from connector import clock
from connector.model import Change, Found, Result, Value
from connector.plan import batches
from connector.sources import salesforce_bulk_ingest
from connector.sources.salesforce import capabilities
from tests.contract.bench import Bench
from tests.contract.salesforce_bench import DATA, OtherUser, salesforce_bench

ODD = ('A "quoted", name', "two\nlines\r\nand a tab\t", "naïve — 日本", "'#N/A", " spaces ", "=1+1", "#N/A")


@pytest.fixture
def url(sandbox: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An org that works on jobs at once, and waits that are skipped."""
    monkeypatch.setattr(clock, "sleep", lambda seconds: time.sleep(min(seconds, 0.01)))
    monkeypatch.setattr(salesforce_bulk_ingest, "WAITS_S", (0.01,) * 500)
    yield sandbox["salesforce"]
    other = OtherUser(sandbox["salesforce"])
    other.call("DELETE", "/_sandbox/faults")
    other.call("POST", "/_sandbox/limits", {"enabled": False, "salesforce_bulk_delay_s": 0})


@pytest.fixture
def bench(url: str) -> Bench:
    return salesforce_bench(url, bulk_write_from=1)


@pytest.fixture
def other(url: str) -> OtherUser:
    return OtherUser(url)


def people(bench: Bench, count: int) -> list[str]:
    return bench.create([bench.fresh("bulk") for _ in range(count)])


def jobs(other: OtherUser) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = other.call("GET", f"{DATA}/jobs/ingest")["records"]
    return found


def held(other: OtherUser, native_id: str, field: str) -> Value:
    value: Value = other.call("GET", f"{DATA}/sobjects/Contact/{native_id}")[field]
    return value


def find(bench: Bench, changes: Sequence[Change]) -> list[Found]:
    assert bench.system.target is not None
    return list(bench.system.target.find(changes))


def found_by(bench: Bench, changes: Sequence[Change], receipt: str) -> list[Found]:
    """What is found by a receipt once its job is done."""
    until = time.monotonic() + 20
    while True:
        found = find(bench, [replace(change, receipt=receipt) for change in changes])
        if not any(map(_is_at_work, found)):
            return found
        assert time.monotonic() < until
        time.sleep(0.02)


def test_any_text_arrives_as_it_is_and_only_what_is_named_is_touched(bench: Bench, other: OtherUser) -> None:
    ids = people(bench, len(ODD) + 2)
    before = len(jobs(other))
    changes = [bench.change_of(each, {"Title": text}) for each, text in zip(ids, ODD, strict=False)]
    changes += [
        bench.change_of(ids[-2], {"Title": "first", "LastName": "kept"}),
        bench.change_of(ids[-1], {"Phone": "1"}),
    ]
    cleared = bench.change_of(ids[-2], {"Title": None})
    for change in (*changes[: len(ODD) - 1], *changes[len(ODD) - 1 :], cleared):
        [outcome] = bench.write(change)
        assert outcome.result is Result.ACCEPTED, outcome
    assert len(jobs(other)) - before == len(changes), "the text #N/A would clear the field, so it goes by collection"
    assert [held(other, each, "Title") for each in ids[: len(ODD)]] == [text.strip() or None for text in ODD]
    assert (held(other, ids[-2], "Title"), held(other, ids[-2], "LastName")) == (None, "kept")
    together = [bench.change_of(ids[0], {"Title": "T"}), bench.change_of(ids[1], {"Phone": "2"})]
    assert [outcome.result for outcome in bench.write(*together)] == [Result.ACCEPTED] * 2
    assert (held(other, ids[0], "Title"), held(other, ids[1], "Phone")) == ("T", "2")
    assert held(other, ids[1], "Title") == ODD[1].strip()


def test_each_row_of_a_job_has_the_outcome_of_its_class(bench: Bench, other: OtherUser) -> None:
    good, locked, gone, refused = people(bench, 4)
    bench.delete(gone)
    other.call("POST", "/_sandbox/faults", {"system": "salesforce", "kind": "row_lock", "match": locked})
    other.call("POST", "/_sandbox/faults", {"system": "salesforce", "kind": "reject_record", "match": refused})
    written = [bench.change_of(each, {"Title": "secret title"}) for each in (good, locked, gone, refused)]
    unknown = bench.change_of(people(bench, 1)[0], {"No_Such__c": 1})
    outcomes = bench.write(*written, unknown)
    assert [outcome.key for outcome in outcomes] == [change.key for change in (*written, unknown)]
    assert [(outcome.result, outcome.code) for outcome in outcomes] == [
        (Result.ACCEPTED, ""),
        (Result.RETRY, "UNABLE_TO_LOCK_ROW"),
        (Result.CONFLICT, "ENTITY_IS_DELETED"),
        (Result.REJECTED, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        (Result.REJECTED, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ]
    assert "secret title" not in repr(outcomes)


def die(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("killed_in", "state", "result"),
    [
        ("_handed_in", "Aborted", Result.RETRY),
        ("_set_state", "Aborted", Result.RETRY),
        ("_awaited", "JobComplete", Result.ACCEPTED),
        ("_told", "JobComplete", Result.ACCEPTED),
    ],
)
def test_killed_at_any_moment_a_job_is_reconciled_by_its_id(
    bench: Bench, other: OtherUser, killed_in: str, state: str, result: Result
) -> None:
    changes = [bench.change_of(each, {"Title": "late"}) for each in people(bench, 3)]
    kept: list[str] = []
    assert bench.system.target is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(salesforce_bulk_ingest, killed_in, die)
        with pytest.raises(KeyboardInterrupt):
            bench.system.target.write(changes, kept.append)
    count = len(jobs(other))
    found = found_by(bench, changes, kept[-1])
    assert [each.outcome and each.outcome.result for each in found] == [result] * 3
    assert (jobs(other)[0]["id"], jobs(other)[0]["state"], len(jobs(other))) == (kept[-1], state, count)


def _is_at_work(found: Found) -> bool:
    return found.outcome is not None and found.outcome.retry_after_s is not None


def test_a_job_that_is_not_done_is_left_to_work_and_asked_again(
    bench: Bench, other: OtherUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salesforce_bulk_ingest, "WAITS_S", (0.01,) * 3)
    other.call("POST", "/_sandbox/limits", {"enabled": False, "salesforce_bulk_delay_s": 3600})
    changes = [bench.change_of(each, {"Title": "slow"}) for each in people(bench, 2)]
    kept: list[str] = []
    assert bench.system.target is not None
    outcomes = bench.system.target.write(changes, kept.append)
    assert [(outcome.result, outcome.retry_after_s) for outcome in outcomes] == [(Result.UNKNOWN, 60.0)] * 2
    asked = [replace(change, receipt=kept[-1]) for change in changes]
    assert all(_is_at_work(each) for each in find(bench, asked))
    other.call("PATCH", f"{DATA}/jobs/ingest/{kept[-1]}", {"state": "Aborted"})
    told = [each.outcome for each in find(bench, asked)]
    assert [(each.result, each.code) for each in told if each] == [(Result.RETRY, "UNPROCESSED")] * 2


def test_a_job_that_is_gone_is_settled_by_reading_the_records(bench: Bench, other: OtherUser) -> None:
    changes = [bench.change_of(each, {"Title": "there"}) for each in people(bench, 2)]
    kept: list[str] = []
    assert bench.system.target is not None
    bench.system.target.write(changes, kept.append)
    other.call("DELETE", f"{DATA}/jobs/ingest/{kept[-1]}")
    found = find(bench, [replace(change, receipt=kept[-1]) for change in changes])
    assert [each.values for each in found] == [{"Title": "there"}] * 2


FAILURES = [
    ("PUT .*jobs/ingest", "drop_after", Result.RETRY),
    ("PATCH .*jobs/ingest", "drop_before", Result.UNKNOWN),
    ("GET .*jobs/ingest/[^/]*$", "drop_before", Result.UNKNOWN),
    ("GET .*successfulResults", "not_json", Result.UNKNOWN),
]


@pytest.mark.parametrize(("match", "kind", "result"), FAILURES)
def test_what_breaks_in_a_job_is_never_called_written_and_its_id_tells_later(
    bench: Bench, other: OtherUser, match: str, kind: str, result: Result
) -> None:
    changes = [bench.change_of(each, {"Title": "broken"}) for each in people(bench, 2)]
    kept: list[str] = []
    assert bench.system.target is not None
    with other.fault(kind=kind, match=match):
        outcomes = bench.system.target.write(changes, kept.append)
    assert {outcome.result for outcome in outcomes} == {result}
    found = found_by(bench, changes, kept[-1])
    titles = {held(other, change.native_id, "Title") for change in changes}
    expected = {Result.ACCEPTED} if titles == {"broken"} else {Result.RETRY}
    assert {each.outcome.result for each in found if each.outcome} in (expected, set())


def test_an_org_that_takes_no_job_gets_the_rows_by_collection(bench: Bench, other: OtherUser) -> None:
    change = bench.change_of(people(bench, 1)[0], {"Title": "by collection"})
    quota = {"kind": "status", "status": 400, "code": "EXCEEDEDQUOTA", "message": "used up"}
    with other.fault(match="POST .*jobs/ingest", **quota):
        assert [outcome.result for outcome in bench.write(change)] == [Result.ACCEPTED]
    assert held(other, change.native_id, "Title") == "by collection"


def test_what_a_duplicate_rule_stops_in_a_job_passes_by_collection(bench: Bench, other: OtherUser) -> None:
    first, second = people(bench, 2)
    bench.write(bench.change_of(first, {"Email": "same@example.com"}))
    act = {"system": "salesforce", "action": "duplicate_rule", "object": "Contact", "field": "Email"}
    other.call("POST", "/_sandbox/act", act | {"on_match": "alert"})
    [outcome] = bench.write(bench.change_of(second, {"Email": "same@example.com"}))
    other.call("POST", "/_sandbox/act", act | {"on_match": None})
    assert outcome.result is Result.ACCEPTED


@pytest.mark.parametrize("count", [3, 500])
def test_the_calls_of_a_plan_are_those_that_are_made_up_to_the_questions_whether_a_job_is_done(
    url: str, count: int
) -> None:
    bench = salesforce_bench(url, bulk_write_from=400)
    able = capabilities(400)
    changes = [bench.change_of(each, {"Title": "counted"}) for each in people(bench, count)]
    cut = batches([*changes, bench.change_of(changes[0].native_id, {"Phone": "1"})], able)
    before = bench.system.calls()
    outcomes = [outcome for batch in cut for outcome in bench.write(*batch)]
    made = bench.system.calls() - before + 1  # the bench has seen the fields' types already
    assert {outcome.result for outcome in outcomes} == {Result.ACCEPTED}
    least, more = able.count_calls(cut), able.count_waiting(cut)
    assert least <= made <= least + more
    assert (more > 0) is (count == 500)
    assert len(cut) == (2 if count == 500 else 1)


def test_a_job_whose_id_was_never_heard_is_aborted_by_the_next_run_and_no_other(bench: Bench, other: OtherUser) -> None:
    changes = [bench.change_of(each, {"Title": "unheard"}) for each in people(bench, 2)]
    before = other.call("POST", f"{DATA}/jobs/ingest", {"object": "Lead", "operation": "update"})["id"]
    kept: list[str] = []

    class Killed(BaseException):
        """The process ends where the id of the job is to be kept."""

    def keep(receipt: str) -> None:
        if kept:
            raise Killed
        kept.append(receipt)

    assert bench.system.target is not None
    with pytest.raises(Killed):
        bench.system.target.write(changes, keep)
    states = {job["id"]: job["state"] for job in jobs(other)}
    opened = [each for each, state in states.items() if state == "Open" and each != before]
    assert len(opened) == 1
    found = find(bench, [replace(change, receipt=kept[0]) for change in changes])
    assert [each.outcome.result for each in found if each.outcome] == [Result.RETRY] * 2
    states = {job["id"]: job["state"] for job in jobs(other)}
    assert (states[opened[0]], states[before]) == ("Aborted", "Open")
    assert held(other, changes[0].native_id, "Title") is None


def test_a_job_whose_creation_got_no_answer_is_asked_for_later(bench: Bench, other: OtherUser) -> None:
    changes = [bench.change_of(each, {"Title": "no answer"}) for each in people(bench, 2)]
    kept: list[str] = []
    assert bench.system.target is not None
    with other.fault(kind="drop_after", match="POST .*jobs/ingest"):
        outcomes = bench.system.target.write(changes, kept.append)
    assert {outcome.result for outcome in outcomes} == {Result.UNKNOWN}
    assert "Open" in {job["state"] for job in jobs(other) if job["object"] == "Contact"}
    found = find(bench, [replace(change, receipt=kept[-1]) for change in changes])
    assert [each.outcome.result for each in found if each.outcome] == [Result.RETRY] * 2
    assert "Open" not in {job["state"] for job in jobs(other) if job["object"] == "Contact"}
    assert {outcome.result for outcome in bench.write(*changes)} == {Result.ACCEPTED}
