"""The bench of the memory system: the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connector.model import FieldSpec, Stream
from connector.sources.memory import MEMORY, attach
from connector.sources.memory_store import Store
from tests.contract.bench import Bench

PEOPLE = MEMORY.streams[0]


def memory_bench() -> Bench:
    """A memory system of its own, empty."""
    store = Store(fields={"contacts": ["name"]})

    def create(texts: Sequence[str]) -> list[str]:
        return [store.put("contacts", None, {"name": text}) for text in texts]

    @contextmanager
    def losing_replies() -> Iterator[None]:
        store.faults.lost_replies = 99
        yield
        store.faults.lost_replies = 0

    @contextmanager
    def refusing() -> Iterator[None]:
        store.faults.refused_connections = 99
        yield
        store.faults.refused_connections = 0

    @contextmanager
    def forbidding() -> Iterator[Stream]:
        store.faults.forbidden = frozenset({"companies"})
        yield MEMORY.streams[1]
        store.faults.forbidden = frozenset()

    def tasks_with(key: str) -> int:
        return sum(each.values.get("task_key") == key for each in store.records.get("activities", {}).values())

    return Bench(
        adapter=MEMORY,
        system=attach("memory", store),
        people=PEOPLE,
        text="name",
        create=create,
        change=lambda native_id, text: void(store.put("contacts", native_id, {"name": text})),
        delete=lambda native_id: store.delete("contacts", native_id),
        settle=lambda: None,
        losing_replies=losing_replies,
        refusing=refusing,
        tasks_with=tasks_with,
        spec=FieldSpec("contacts", "connector_score", "Score", "number"),
        forbidding=forbidding,
        many=250,
        quiet_calls=len(MEMORY.streams),
    )


def void(_: object) -> None:
    """Nothing."""
