"""Reading several streams at once, each a few pages ahead of whoever stores them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: How long a reader with a full queue waits before it looks whether anybody still wants its items.
LOOK_S = 0.2


def interleaved(readers: Sequence[Callable[[], Iterable[T]]], *, threads: int, ahead: int) -> Iterator[T]:
    """What the readers give, in the order in which it comes; each reader's own order stays.

    At most `threads` readers run at a time and at most `ahead` items wait. What a reader raises is raised here and ends all
    of them, as does closing this iterator.
    """
    waiting = iter(readers)
    take = threading.Lock()
    items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=max(ahead, 1))
    is_over = threading.Event()
    ended = (None, None)

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not is_over.is_set():
            try:
                items.put(item, timeout=LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            while not is_over.is_set():
                with take:
                    reader = next(waiting, None)
                if reader is None:
                    break
                for item in reader():
                    if not put((item, None)):
                        return
        except BaseException as error:  # noqa: BLE001  # raised again by the consumer, on its own thread
            put((None, error))
            return
        put(ended)

    workers = [
        threading.Thread(target=work, name=f"reader-{number}", daemon=True)
        for number in range(min(threads, len(readers)))
    ]
    for worker in workers:
        worker.start()
    running = len(workers)
    try:
        while running:
            item, error = items.get()
            if error is not None:
                raise error
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        is_over.set()
