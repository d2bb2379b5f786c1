"""Reading several streams at once, each a few pages ahead of whoever stores them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

#: How long a reader with a full queue waits before it looks whether anybody still wants its items.
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class _Given(Generic[T]):
    item: T


@dataclass(frozen=True, slots=True)
class _Ended:
    error: BaseException | None = None


class _Queue(Generic[T]):
    """A bounded queue whose writers give up when nobody reads any more."""

    def __init__(self, size: int) -> None:
        self._items: queue.Queue[_Given[T] | _Ended] = queue.Queue(maxsize=max(size, 1))
        self.is_over = threading.Event()

    def put(self, item: _Given[T] | _Ended) -> None:
        """Wait for room; an item that comes after the reader has left is dropped with what it stands for: nobody saved its
        cursor, so it is read again."""
        while not self.is_over.is_set() and not self._has_put(item):
            pass

    def _has_put(self, item: _Given[T] | _Ended) -> bool:
        try:
            self._items.put(item, timeout=LOOK_S)
        except queue.Full:
            return False
        return True

    def get(self) -> _Given[T] | _Ended:
        return self._items.get()


def interleaved(readers: Sequence[Callable[[], Iterable[T]]], *, threads: int, ahead: int) -> Iterator[T]:
    """What the readers give, in the order in which it comes; each reader's own order stays.

    At most `threads` readers run at a time and at most `ahead` items wait. What a reader raises is raised here and ends
    all of them, as does closing this iterator.
    """
    given: _Queue[T] = _Queue(ahead)
    waiting = iter(readers)
    lock = threading.Lock()
    count = min(threads, len(readers))
    for number in range(count):
        threading.Thread(target=_work, args=(waiting, lock, given), name=f"reader-{number}", daemon=True).start()
    try:
        while count:
            next_one = given.get()
            if isinstance(next_one, _Given):
                yield next_one.item
            elif next_one.error is not None:
                raise next_one.error
            else:
                count -= 1
    finally:
        given.is_over.set()


def _work(waiting: Iterator[Callable[[], Iterable[T]]], lock: threading.Lock, given: _Queue[T]) -> None:
    """Run one reader after another, until there are none or nobody wants more."""
    try:
        while not given.is_over.is_set():
            with lock:
                reader = next(waiting, None)
            if reader is None:
                break
            for item in reader():
                given.put(_Given(item))
                if given.is_over.is_set():
                    break
    except BaseException as error:  # noqa: BLE001  # raised again by whoever reads, on its own thread
        given.put(_Ended(error))
    else:
        given.put(_Ended())
