"""What every adapter promises. Each promise is a function that fails when the system on its bench does not keep it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from connector.errors import AuthError, MissingPermission
from connector.model import Page, Request, Result, Step, StreamFailure
from connector.tables import PAGE, TEXT
from tests.contract.bench import Bench, Reading, only_pages

Promise = Callable[[Bench], None]
PROMISES: list[Promise] = []


def promise(check: Promise) -> Promise:
    """Enter a promise into the list that every adapter is held to."""
    PROMISES.append(check)
    return check


# ------------------------------------------------------------------------------------------------ reading


@promise
def everything_that_exists_is_read_once(bench: Bench) -> None:
    ids = bench.create([bench.fresh("all") for _ in range(bench.many)])
    bench.settle()
    counted = Counter(bench.read().ids)
    assert {counted[native_id] for native_id in ids} == {1}


@promise
def rows_have_the_declared_columns_and_the_requested_fields(bench: Bench) -> None:
    text = bench.fresh("columns")
    [native_id] = bench.create([text])
    bench.settle()
    reading = bench.read()
    for page in reading.pages:
        assert page.rows.schema.names[: len(PAGE)] == PAGE.names
        assert page.rows.select(PAGE.names).schema.equals(PAGE)
        assert set(page.rows.schema.types[len(PAGE) :]) <= {TEXT}, "native fields as columns are texts"
    row = reading.last(native_id)
    assert row is not None
    assert row["object_type"] == bench.people.object_type
    assert row["native"][bench.text] == text
    assert row["created_at"] is not None
    assert row["modified_at"] is not None
    assert row["is_deleted"] is False


@promise
def a_stream_ends_with_one_page_that_is_done(bench: Bench) -> None:
    bench.create([bench.fresh("done") for _ in range(bench.many)])
    bench.settle()
    for reading in (first := bench.read(), bench.read(first.cursor)):
        assert [page.done for page in reading.pages] == [False] * (len(reading.pages) - 1) + [True]
        assert all(page.cursor is not None for page in reading.pages)


@promise
def a_quiet_cycle_reads_nothing_but_the_lookback_and_is_cheap(bench: Bench) -> None:
    bench.create([bench.fresh("quiet")])
    bench.settle()
    bench.calm()
    streams = bench.polled()
    cursors = {stream.name: _cursor(bench, Request(stream, ())) for stream in streams}
    people_cursor = bench.read().cursor
    before = bench.system.calls()
    requests = [
        bench.request(people_cursor) if stream == bench.people else Request(stream, (), cursors[stream.name])
        for stream in streams
    ]
    pages = list(only_pages(bench.system.source.pages(requests)))
    assert bench.system.calls() - before <= bench.quiet_calls
    newest = max(row["modified_at"] for row in bench.read().rows if row["modified_at"])
    for page in pages:
        oldest = newest - page.stream.lookback - timedelta(minutes=1)
        assert all(row["modified_at"] >= oldest for row in page.rows.to_pylist())
        assert page.stream.lookback or not page.rows.num_rows


def _cursor(bench: Bench, request: Request) -> str | None:
    return Reading(list(only_pages(bench.system.source.pages([request])))).cursor


@promise
def a_changed_record_comes_back(bench: Bench) -> None:
    [native_id] = bench.create([bench.fresh("before")])
    bench.settle()
    cursor = bench.read().cursor
    text = bench.fresh("after")
    bench.change(native_id, text)
    bench.settle()
    row = bench.read(cursor).last(native_id)
    assert row is not None
    assert row["native"][bench.text] == text


@promise
def a_new_record_comes(bench: Bench) -> None:
    cursor = bench.read().cursor
    [native_id] = bench.create([bench.fresh("new")])
    bench.settle()
    assert native_id in bench.read(cursor).ids


@promise
def a_record_that_changes_while_it_is_read_is_not_lost(bench: Bench) -> None:
    ids = bench.create([bench.fresh("during") for _ in range(bench.many)])
    bench.settle()
    pages: list[Page] = []
    text = bench.fresh("changed during")
    for page in only_pages(bench.system.source.pages([bench.request()])):
        if not pages:
            bench.change(ids[0], text)
            bench.change(ids[-1], text)
            bench.settle()
        pages.append(page)
    later = bench.read(pages[-1].cursor)
    everything = Reading([*pages, *later.pages])
    for native_id in (ids[0], ids[-1]):
        row = everything.last(native_id)
        assert row is not None
        assert row["native"][bench.text] == text


@promise
def reading_can_be_resumed_from_the_cursor_of_any_page(bench: Bench) -> None:
    ids = bench.create([bench.fresh("resume") for _ in range(bench.many)])
    bench.settle()
    whole = bench.read()
    for count in range(1, len(whole.pages) + 1):
        kept = Reading(whole.pages[:count])
        resumed = bench.read(kept.cursor)
        assert set(ids) <= {*kept.ids, *resumed.ids}


@promise
def a_deletion_is_told(bench: Bench) -> None:
    if not bench.adapter.capabilities.tells_deletes:
        return
    [native_id] = bench.create([bench.fresh("deleted")])
    bench.settle()
    cursor = bench.read().cursor
    bench.delete(native_id)
    bench.settle()
    row = bench.read(cursor).last(native_id)
    assert row is not None
    assert row["is_deleted"] is True


@promise
def a_read_from_the_beginning_tells_which_of_what_is_held_is_gone(bench: Bench) -> None:
    """Whoever lets go of the cursor forgets from when deletions are to be told."""
    if not bench.adapter.capabilities.tells_deletes:
        return
    gone, stays = bench.create([bench.fresh("gone"), bench.fresh("stays")])
    bench.settle()
    bench.delete(gone)
    bench.settle()
    request = replace(bench.request(), held=lambda: pa.array([gone, stays], TEXT))
    told = Reading(list(only_pages(bench.system.source.pages([request]))))
    assert {row["native_id"]: row["is_deleted"] for row in told.rows if row["native_id"] in (gone, stays)} == {
        gone: True,
        stays: False,
    }


@promise
def a_stream_that_may_not_be_read_does_not_stop_the_others(bench: Bench) -> None:
    if bench.forbidding is None:
        return
    bench.create([bench.fresh("others")])
    bench.settle()
    with bench.forbidding() as forbidden:
        items = list(bench.system.source.pages([Request(forbidden, ()), bench.request()]))
    failures = [item for item in items if isinstance(item, StreamFailure)]
    assert [failure.stream for failure in failures] == [forbidden]
    assert isinstance(failures[0].error, MissingPermission)
    assert failures[0].error.hint
    read = [item for item in items if isinstance(item, Page)]
    assert {page.stream for page in read} == {bench.people}
    assert read[-1].done


# ------------------------------------------------------------------------------------------------ describing


@promise
def what_is_described_is_what_exists(bench: Bench) -> None:
    schema = bench.system.source.describe([bench.people.object_type])[bench.people.object_type]
    assert schema.fields[bench.text].is_writable
    assert "no_such_field_anywhere" not in schema.fields


@promise
def what_is_read_is_described_without_a_call_where_that_is_declared(bench: Bench) -> None:
    system, wanted = bench.system, [Request(stream, ()) for stream in bench.adapter.streams]
    reading = system.source.pages(wanted)
    assert isinstance(next(reading), Page)
    before = system.calls()
    described = system.source.describe([stream.object_type for stream in bench.adapter.streams])
    assert bench.people.object_type in described
    assert (system.calls() == before) >= bench.adapter.capabilities.describes_what_it_reads


@promise
def check_names_a_field_that_does_not_exist(bench: Bench) -> None:
    bench.create([bench.fresh("check")])
    wanted = bench.request(fields=["no_such_field_anywhere"])
    found = bench.system.source.check([wanted])
    wrong = [finding for finding in found.findings if finding.level != "ok"]
    assert any("no_such_field_anywhere" in finding.what and finding.mend for finding in wrong)
    right = bench.system.source.check([bench.request()])
    assert not [each for each in right.findings if each.level == "error" and bench.text in each.what]


@promise
def a_dry_install_changes_nothing_and_a_second_install_has_nothing_to_do(bench: Bench) -> None:
    target = bench.system.target
    assert target is not None
    planned = target.install([bench.spec], is_dry=True)
    assert [step.step for step in planned if bench.spec.name in step.what] == [Step.CREATE]
    assert bench.spec.name not in _fields(bench)
    done = target.install([bench.spec], is_dry=False)
    assert not [step for step in done if step.step is Step.FAILED]
    assert bench.spec.name in _fields(bench)
    again = target.install([bench.spec], is_dry=False)
    assert {step.step for step in again} == {Step.EXISTS}


def _fields(bench: Bench) -> set[str]:
    object_type = bench.spec.object_type
    return set(bench.system.source.describe([object_type])[object_type].fields)


# ------------------------------------------------------------------------------------------------ writing


@promise
def each_change_gets_one_outcome_in_order(bench: Bench) -> None:
    first, gone, last = bench.create([bench.fresh("outcome") for _ in range(3)])
    bench.delete(gone)
    bench.settle()
    changes = [
        bench.change_of(first, {bench.text: "one"}),
        bench.change_of(gone, {bench.text: "two"}),
        bench.change_of(last, {bench.text: "three", "no_such_field_anywhere": "three"}),
        bench.change_of(last, {bench.text: "four"}),
    ]
    outcomes = bench.write(*changes)
    assert [outcome.key for outcome in outcomes] == [change.key for change in changes]
    assert [outcome.result for outcome in outcomes] == [
        Result.ACCEPTED,
        Result.CONFLICT,
        Result.REJECTED,
        Result.ACCEPTED,
    ]
    assert outcomes[1].code
    assert outcomes[2].code
    assert outcomes[2].fields == ("no_such_field_anywhere",), "the others of its record may go without it"


@promise
def what_was_accepted_is_there(bench: Bench) -> None:
    [native_id] = bench.create([bench.fresh("written")])
    bench.settle()
    cursor = bench.read().cursor
    text = bench.fresh("by us")
    change = bench.change_of(native_id, {bench.text: text})
    [outcome] = bench.write(change)
    assert outcome.result is Result.ACCEPTED
    bench.settle()
    assert bench.system.target is not None
    [found] = bench.system.target.find([change])
    assert found.values is not None
    assert found.values[bench.text] == text
    row = bench.read(cursor).last(native_id)
    assert row is not None
    assert row["native"][bench.text] == text


@promise
def a_lost_reply_is_unknown_and_find_tells_the_truth(bench: Bench) -> None:
    changed, anchor = bench.create([bench.fresh("lost"), bench.fresh("lost")])
    bench.settle()
    text, key = bench.fresh("survived"), bench.fresh("lost-task-")
    changes = [bench.change_of(changed, {bench.text: text}), bench.task_for(anchor, key)]
    with bench.losing_replies():
        outcomes = [*bench.write(changes[0]), *bench.write(changes[1])]
    assert [outcome.result for outcome in outcomes] == [Result.UNKNOWN, Result.UNKNOWN]
    assert bench.system.target is not None
    field, task = bench.system.target.find(changes)
    assert [field.key, task.key] == [change.key for change in changes]
    assert field.values is not None
    assert field.values[bench.text] == text
    assert task.native_id
    [again] = bench.write(changes[1])
    assert again.native_id == task.native_id
    assert bench.tasks_with(key) == 1


@promise
def a_write_without_effect_is_not_called_accepted_and_can_be_sent_again(bench: Bench) -> None:
    [anchor] = bench.create([bench.fresh("refused")])
    bench.settle()
    key = bench.fresh("refused-task-")
    change = bench.task_for(anchor, key)
    with bench.refusing():
        [outcome] = bench.write(change)
    assert outcome.result in (Result.UNKNOWN, Result.RETRY)
    assert bench.system.target is not None
    [found] = bench.system.target.find([change])
    assert found.native_id is None
    [again] = bench.write(change)
    assert again.result is Result.ACCEPTED
    assert bench.tasks_with(key) == 1


@promise
def a_task_that_is_written_twice_exists_once(bench: Bench) -> None:
    [anchor] = bench.create([bench.fresh("task")])
    bench.settle()
    key = bench.fresh("task-key-")
    [first] = bench.write(bench.task_for(anchor, key))
    [second] = bench.write(bench.task_for(anchor, key))
    twin = bench.fresh("twin-key-")
    twins = bench.write(bench.task_for(anchor, twin), bench.task_for(anchor, twin))
    assert len({outcome.native_id for outcome in twins}) == bench.tasks_with(twin) == 1
    assert first.result is Result.ACCEPTED
    assert second.result in (Result.UNCHANGED, Result.ACCEPTED)
    assert first.native_id
    assert second.native_id == first.native_id
    assert bench.tasks_with(key) == 1


@promise
def a_task_for_a_record_that_is_gone_is_not_made(bench: Bench) -> None:
    [gone] = bench.create([bench.fresh("gone")])
    bench.delete(gone)
    bench.settle()
    key = bench.fresh("orphan-")
    [outcome] = bench.write(bench.task_for(gone, key))
    assert outcome.result in (Result.CONFLICT, Result.REJECTED)
    assert bench.tasks_with(key) == 0


# ------------------------------------------------------------------------------------------------ secrets


@promise
def no_secret_is_shown(bench: Bench) -> None:
    texts = [repr(each) for each in (bench.system, bench.system.source, bench.system.target, *bench.shown)]
    if bench.refused_token is not None:
        refused = bench.refused_token()
        with pytest.raises(AuthError) as raised:
            refused.source.check([bench.request()])
        assert raised.value.hint
        texts += [str(raised.value), repr(raised.value), raised.value.hint, repr(raised.value.__cause__)]
    for secret in bench.secrets:
        assert not [text for text in texts if secret in text]
