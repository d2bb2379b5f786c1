"""A bench: a connected system, and hands that act on it behind the adapter's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from connector.model import (
    Adapter,
    Change,
    FieldSpec,
    Lane,
    Outcome,
    Page,
    Request,
    Stream,
    StreamFailure,
    System,
    Task,
    Value,
)

DUE = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Bench:
    """What a promise needs. `people` is the stream it is tried on, `text` a writable text field of its records."""

    adapter: Adapter
    system: System
    people: Stream
    text: str
    create: Callable[[Sequence[str]], list[str]]  # people with these texts -> their ids
    change: Callable[[str, str], None]  # the text of one person
    delete: Callable[[str], None]
    settle: Callable[[], None]  # what was done before is visible to every way of reading
    losing_replies: Callable[[], AbstractContextManager[None]]  # writes take effect, their replies are lost
    refusing: Callable[[], AbstractContextManager[None]]  # writes have no effect, nobody knows
    tasks_with: Callable[[str], int]  # how many tasks carry this key
    spec: FieldSpec  # a field that does not exist yet
    forbidding: Callable[[], AbstractContextManager[Stream]] | None = None  # one stream may not be read
    refused_token: Callable[[], System] | None = None  # the same system with credentials that it refuses
    secrets: tuple[str, ...] = ()
    shown: tuple[Any, ...] = ()  # values whose text must not hold a secret
    calm: Callable[[], None] = lambda: None  # wait until nothing has happened for a while
    many: int = 120  # more people than one page holds
    quiet_calls: int = 1
    counter: list[int] = field(default_factory=lambda: [0])

    def request(self, cursor: str | None = None, *, fields: Sequence[str] = ()) -> Request:
        """Read the people, with the text field and others."""
        return Request(self.people, (self.text, *fields), cursor)

    def polled(self) -> list[Stream]:
        """The streams that are read at each run."""
        return [stream for stream in self.adapter.streams if not stream.every]

    def read(self, cursor: str | None = None) -> Reading:
        """Read the people from a cursor to their present end."""
        return Reading(list(only_pages(self.system.source.pages([self.request(cursor)]))))

    def fresh(self, stem: str) -> str:
        """A name that no other promise uses."""
        self.counter[0] += 1
        return f"{stem}{self.counter[0]}"

    def change_of(self, native_id: str, fields: dict[str, Value], *, lane: Lane = Lane.SCORE) -> Change:
        """A change of a person's fields."""
        key = self.fresh("change")
        return Change(key, self.system.name, self.people.object_type, native_id, lane, fields=fields)

    def task_for(self, native_id: str, key: str) -> Change:
        """A new task for a person."""
        task = Task(key, "Call: demo request", "Because: demo request, 20 Nov", DUE, "high", None)
        change_key = self.fresh("task-change")
        return Change(change_key, self.system.name, self.people.object_type, native_id, Lane.TASK, task=task)

    def write(self, *changes: Change) -> list[Outcome]:
        """Deliver the changes as one batch."""
        assert self.system.target is not None
        return list(self.system.target.write(changes))


@dataclass(frozen=True)
class Reading:
    """Pages that were read, and what was in them."""

    pages: list[Page]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row, its `native` parsed."""
        return [row | {"native": orjson.loads(row["native"])} for page in self.pages for row in page.rows.to_pylist()]

    @property
    def ids(self) -> list[str]:
        """The id of every row."""
        return [row["native_id"] for row in self.rows]

    @property
    def cursor(self) -> str | None:
        """Where the next read begins."""
        return self.pages[-1].cursor

    def last(self, native_id: str) -> dict[str, Any] | None:
        """The newest row of a record."""
        return next((row for row in reversed(self.rows) if row["native_id"] == native_id), None)


def only_pages(items: Iterator[Page | StreamFailure]) -> Iterator[Page]:
    """The pages; a failure of a stream is an error here."""
    for item in items:
        assert isinstance(item, Page), item
        yield item
