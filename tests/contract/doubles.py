"""Systems that break one promise each: the memory system with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa

from connector.errors import AuthError, MissingPermission
from connector.model import (
    Change,
    Check,
    FieldSpec,
    Finding,
    Found,
    InstallStep,
    ObjectSchema,
    Outcome,
    Page,
    Request,
    Result,
    Step,
    StreamFailure,
)
from connector.sources.memory import MemorySource, MemoryTarget
from tests.contract import promises
from tests.contract.bench import Bench
from tests.contract.promises import Promise

Breaking = Callable[[Bench], Bench]
BROKEN: dict[Breaking, Promise] = {}


def breaks(broken: Promise) -> Callable[[Breaking], Breaking]:
    """Enter a double as one that breaks this promise."""

    def enter(breaking: Breaking) -> Breaking:
        BROKEN[breaking] = broken
        return breaking

    return enter


class Reading:
    """A source that reads as `wrong` makes of what the true one gives."""

    def __init__(
        self, source: MemorySource, wrong: Callable[[Sequence[Request]], Iterator[Page | StreamFailure]]
    ) -> None:
        self._source = source
        self._wrong = wrong
        self.check = source.check
        self.describe = source.describe

    def pages(self, requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        return self._wrong(requests)


def source_of(bench: Bench) -> MemorySource:
    assert isinstance(bench.system.source, MemorySource)
    return bench.system.source


def target_of(bench: Bench) -> MemoryTarget:
    assert isinstance(bench.system.target, MemoryTarget)
    return bench.system.target


def reading(bench: Bench, wrong: Callable[[Sequence[Request]], Iterator[Page | StreamFailure]]) -> Bench:
    return replace(bench, system=replace(bench.system, source=Reading(source_of(bench), wrong)))


def each_page(bench: Bench, wrong: Callable[[Page], Page]) -> Bench:
    """Every page changed by `wrong`."""

    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        for item in source_of(bench).pages(requests):
            yield wrong(item) if isinstance(item, Page) else item

    return reading(bench, pages)


def with_column(rows: pa.Table, name: str, values: list[Any]) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type))


# ------------------------------------------------------------------------------------------------ reading


@breaks(promises.everything_that_exists_is_read_once)
def drops_the_last_row_of_a_page(bench: Bench) -> Bench:
    return each_page(bench, lambda page: replace(page, rows=page.rows.slice(0, max(page.rows.num_rows - 1, 0))))


@breaks(promises.everything_that_exists_is_read_once)
def repeats_the_first_row_of_a_page(bench: Bench) -> Bench:
    return each_page(bench, lambda page: replace(page, rows=pa.concat_tables([page.rows.slice(0, 1), page.rows])))


@breaks(promises.rows_have_the_declared_columns_and_the_requested_fields)
def leaves_the_instant_of_creation_out(bench: Bench) -> Bench:
    return each_page(
        bench, lambda page: replace(page, rows=with_column(page.rows, "created_at", [None] * page.rows.num_rows))
    )


@breaks(promises.rows_have_the_declared_columns_and_the_requested_fields)
def leaves_the_requested_fields_out(bench: Bench) -> Bench:
    return each_page(
        bench,
        lambda page: replace(page, rows=with_column(page.rows, "native", ['{"name": null}'] * page.rows.num_rows)),
    )


@breaks(promises.a_stream_ends_with_one_page_that_is_done)
def never_says_that_it_is_done(bench: Bench) -> Bench:
    return each_page(bench, lambda page: replace(page, done=False))


@breaks(promises.a_quiet_cycle_reads_nothing_but_the_lookback_and_is_cheap)
def reads_everything_each_time(bench: Bench) -> Bench:
    return reading(
        bench, lambda requests: source_of(bench).pages([replace(request, cursor=None) for request in requests])
    )


@breaks(promises.a_quiet_cycle_reads_nothing_but_the_lookback_and_is_cheap)
def asks_twice(bench: Bench) -> Bench:
    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        list(source_of(bench).pages(requests))
        return source_of(bench).pages(requests)

    return reading(bench, pages)


@breaks(promises.a_changed_record_comes_back)
def sees_only_what_is_new(bench: Bench) -> Bench:
    def only_new(page: Page) -> Page:
        rows = [row for row in page.rows.to_pylist() if row["created_at"] == row["modified_at"]]
        return replace(page, rows=pa.Table.from_pylist(rows, schema=page.rows.schema))

    return each_page(bench, only_new)


@breaks(promises.a_new_record_comes)
def is_blind_after_the_first_read(bench: Bench) -> Bench:
    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        for item in source_of(bench).pages(requests):
            is_first = requests[0].cursor in (None, "0")
            yield item if is_first or not isinstance(item, Page) else replace(item, rows=item.rows.slice(0, 0))

    bench.create(["there before"])
    return reading(bench, pages)


@breaks(promises.a_record_that_changes_while_it_is_read_is_not_lost)
def moves_the_cursor_to_the_present_at_the_end(bench: Bench) -> Bench:
    """The pages are of the moment when reading began, the cursor is of the moment when it ended."""

    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        for item in list(source_of(bench).pages(requests)):
            is_last = isinstance(item, Page) and item.done
            yield replace(item, cursor=str(source_of(bench).store.sequence)) if is_last else item  # type: ignore[type-var]

    return reading(bench, pages)


@breaks(promises.reading_can_be_resumed_from_the_cursor_of_any_page)
def gives_the_cursor_of_the_next_page(bench: Bench) -> Bench:
    return each_page(bench, lambda page: replace(page, cursor=str(int(page.cursor or 0) + 50)))


@breaks(promises.a_deletion_is_told)
def keeps_deletions_to_itself(bench: Bench) -> Bench:
    def only_live(page: Page) -> Page:
        return replace(page, rows=page.rows.filter(pa.compute.invert(page.rows["is_deleted"])))

    return each_page(bench, only_live)


@breaks(promises.a_read_from_the_beginning_tells_which_of_what_is_held_is_gone)
def does_not_look_what_is_held(bench: Bench) -> Bench:
    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        yield from source_of(bench).pages([replace(request, held=None) for request in requests])

    return reading(bench, pages)


@breaks(promises.a_stream_that_may_not_be_read_does_not_stop_the_others)
def stops_at_the_first_failure(bench: Bench) -> Bench:
    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        for item in source_of(bench).pages(requests):
            yield item
            if isinstance(item, StreamFailure):
                return

    return reading(bench, pages)


@breaks(promises.a_stream_that_may_not_be_read_does_not_stop_the_others)
def does_not_say_what_to_do(bench: Bench) -> Bench:
    def pages(requests: Sequence[Request]) -> Iterator[Page | StreamFailure]:
        for item in source_of(bench).pages(requests):
            yield StreamFailure(item.stream, MissingPermission("no")) if isinstance(item, StreamFailure) else item

    return reading(bench, pages)


# ------------------------------------------------------------------------------------------------ describing


class Describing(MemorySource):
    """A source whose schema knows every name."""

    def describe(self, object_types: Sequence[str]) -> Mapping[str, ObjectSchema]:
        described = super().describe(object_types)
        for schema in described.values():
            known = next(iter(schema.fields.values()))
            schema.fields["no_such_field_anywhere"] = known  # type: ignore[index]
        return described


@breaks(promises.what_is_described_is_what_exists)
def describes_what_is_not_there(bench: Bench) -> Bench:
    source = source_of(bench)
    return replace(bench, system=replace(bench.system, source=Describing(source.name, source.store)))


@breaks(promises.what_is_read_is_described_without_a_call_where_that_is_declared)
def declares_what_it_does_not_do(bench: Bench) -> Bench:
    source = source_of(bench)

    class Asking(MemorySource):
        """A source that asks for what it describes."""

        def describe(self, object_types: Sequence[str]) -> Mapping[str, ObjectSchema]:
            self.store.calls += 1
            return super().describe(object_types)

    declared = replace(bench.adapter.capabilities, describes_what_it_reads=True)
    system = replace(bench.system, source=Asking(source.name, source.store))
    return replace(bench, system=system, adapter=replace(bench.adapter, capabilities=declared))


class Checking(MemorySource):
    """A source that finds nothing wrong, ever."""

    def check(self, requests: Sequence[Request]) -> Check:
        return replace(super().check(requests), findings=(Finding("ok", "all is well"),))


@breaks(promises.check_names_a_field_that_does_not_exist)
def finds_nothing_wrong(bench: Bench) -> Bench:
    source = source_of(bench)
    return replace(bench, system=replace(bench.system, source=Checking(source.name, source.store)))


# ------------------------------------------------------------------------------------------------ writing


class Writing(MemoryTarget):
    """A target that does one thing differently; `wrong` says what."""

    def __init__(self, target: MemoryTarget, **wrong: Any) -> None:
        super().__init__(target.name, target.store)
        for name, does in wrong.items():
            setattr(self, name, does)


def writing(bench: Bench, **wrong: Any) -> Bench:
    return replace(bench, system=replace(bench.system, target=Writing(target_of(bench), **wrong)))


@breaks(promises.a_dry_install_changes_nothing_and_a_second_install_has_nothing_to_do)
def installs_in_a_dry_run(bench: Bench) -> Bench:
    return writing(bench, install=lambda specs, is_dry: target_of(bench).install(specs, is_dry=False))


@breaks(promises.a_dry_install_changes_nothing_and_a_second_install_has_nothing_to_do)
def creates_each_time(bench: Bench) -> Bench:
    def install(specs: Sequence[FieldSpec], *, is_dry: bool) -> Sequence[InstallStep]:
        return [replace(step, step=Step.CREATE) for step in target_of(bench).install(specs, is_dry=is_dry)]

    return writing(bench, install=install)


def outcomes_changed(bench: Bench, wrong: Callable[[list[Outcome]], list[Outcome]]) -> Bench:
    return writing(bench, write=lambda changes: wrong(list(target_of(bench).write(changes))))


@breaks(promises.each_change_gets_one_outcome_in_order)
def answers_in_another_order(bench: Bench) -> Bench:
    return outcomes_changed(bench, lambda outcomes: outcomes[::-1])


@breaks(promises.each_change_gets_one_outcome_in_order)
def forgets_the_last_outcome(bench: Bench) -> Bench:
    return outcomes_changed(bench, lambda outcomes: outcomes[:-1])


@breaks(promises.each_change_gets_one_outcome_in_order)
def takes_a_gone_record_for_a_refused_one(bench: Bench) -> Bench:
    def wrong(outcomes: list[Outcome]) -> list[Outcome]:
        return [replace(each, result=Result.REJECTED) if each.result is Result.CONFLICT else each for each in outcomes]

    return outcomes_changed(bench, wrong)


@breaks(promises.each_change_gets_one_outcome_in_order)
def does_not_say_which_field_is_refused(bench: Bench) -> Bench:
    return outcomes_changed(bench, lambda outcomes: [replace(each, fields=()) for each in outcomes])


@breaks(promises.each_change_gets_one_outcome_in_order)
def raises_for_one_bad_record(bench: Bench) -> Bench:
    def write(changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = target_of(bench).write(changes)
        assert all(outcome.result is not Result.REJECTED for outcome in outcomes), "a record was refused"
        return outcomes

    return writing(bench, write=write)


@breaks(promises.what_was_accepted_is_there)
def accepts_and_does_nothing(bench: Bench) -> Bench:
    return writing(bench, write=lambda changes: [Outcome(change.key, Result.ACCEPTED) for change in changes])


@breaks(promises.a_lost_reply_is_unknown_and_find_tells_the_truth)
def takes_a_lost_reply_for_a_refusal(bench: Bench) -> Bench:
    def wrong(outcomes: list[Outcome]) -> list[Outcome]:
        return [replace(each, result=Result.RETRY) if each.result is Result.UNKNOWN else each for each in outcomes]

    return outcomes_changed(bench, wrong)


@breaks(promises.a_lost_reply_is_unknown_and_find_tells_the_truth)
def never_finds_a_task(bench: Bench) -> Bench:
    def find(changes: Sequence[Change]) -> Sequence[Found]:
        return [replace(found, native_id=None) for found in target_of(bench).find(changes)]

    return writing(bench, find=find)


@breaks(promises.a_write_without_effect_is_not_called_accepted_and_can_be_sent_again)
def hopes_for_the_best(bench: Bench) -> Bench:
    def wrong(outcomes: list[Outcome]) -> list[Outcome]:
        return [replace(each, result=Result.ACCEPTED) for each in outcomes]

    return outcomes_changed(bench, wrong)


@breaks(promises.a_task_that_is_written_twice_exists_once)
def makes_a_task_each_time(bench: Bench) -> Bench:
    def write(changes: Sequence[Change]) -> Sequence[Outcome]:
        store = target_of(bench).store
        keys = [(change.key, change.task.key) for change in changes if change.task]
        return [
            Outcome(key, Result.ACCEPTED, store.put("activities", None, {"task_key": task_key}))
            for key, task_key in keys
        ]

    return writing(bench, write=write)


@breaks(promises.a_task_for_a_record_that_is_gone_is_not_made)
def makes_orphans(bench: Bench) -> Bench:
    return makes_a_task_each_time(bench)


# ------------------------------------------------------------------------------------------------ secrets


@breaks(promises.no_secret_is_shown)
def shows_its_secret(bench: Bench) -> Bench:
    return replace(bench, secrets=("pat-secret",), shown=({"token": "pat-secret"},))


class Refused(MemorySource):
    """A source whose credentials are refused, and that says too much about it."""

    def check(self, requests: Sequence[Request]) -> Check:
        raise AuthError("the token pat-secret was refused", hint="renew it")


@breaks(promises.no_secret_is_shown)
def says_its_secret_in_an_error(bench: Bench) -> Bench:
    source = source_of(bench)
    refused = replace(bench.system, source=Refused(source.name, source.store))
    return replace(bench, secrets=("pat-secret",), refused_token=lambda: refused)


class Misnamed(MemorySource):
    """A source that takes refused credentials for an answer that it does not understand."""

    def check(self, requests: Sequence[Request]) -> Check:
        return Check(self.name, "nobody", None, None, timedelta(0).total_seconds(), ())


@breaks(promises.no_secret_is_shown)
def does_not_notice_refused_credentials(bench: Bench) -> Bench:
    source = source_of(bench)
    refused = replace(bench.system, source=Misnamed(source.name, source.store))
    return replace(bench, refused_token=lambda: refused)
