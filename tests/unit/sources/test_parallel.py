"""Several readers at once: nothing is lost or reordered, errors come out, and whoever stops early leaves no thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sources.parallel import interleaved


def counting(name: int, size: int) -> Iterator[tuple[int, int]]:
    return ((name, number) for number in range(size))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 20), max_size=6), st.integers(1, 4), st.integers(1, 3))
def test_everything_comes_and_each_reader_keeps_its_order(sizes: list[int], threads: int, ahead: int) -> None:
    readers = [partial(counting, name, size) for name, size in enumerate(sizes)]
    items = list(interleaved(readers, threads=threads, ahead=ahead))
    assert sorted(items) == [(name, number) for name, size in enumerate(sizes) for number in range(size)]
    for name, size in enumerate(sizes):
        assert [number for each, number in items if each == name] == list(range(size))


def test_what_a_reader_raises_is_raised_here() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(interleaved([failing, lambda: iter(range(1000))], threads=2, ahead=1))


def test_readers_stop_when_nobody_reads_any_more() -> None:
    before = threading.active_count()
    items = interleaved([lambda: iter(range(10**9))] * 3, threads=3, ahead=2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_a_reader_is_only_so_far_ahead() -> None:
    given_out: list[int] = []

    def noting() -> Iterator[int]:
        for number in range(100):
            given_out.append(number)
            yield number

    items = interleaved([noting], threads=1, ahead=3)
    next(items)
    time.sleep(0.3)
    assert len(given_out) <= 6
    items.close()  # type: ignore[attr-defined]
