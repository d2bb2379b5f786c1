"""What was accepted is brought into the observed values while more is sent, so many changes at a time, and the rest at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from connector.errors import MartError
from connector.steps import deliver

ENOUGH = deliver._SETTLED_AT_ONCE


def test_it_is_settled_each_time_that_enough_was_sent_and_at_the_end() -> None:
    times: list[int] = []
    with ThreadPoolExecutor(1) as line:
        settling = deliver._Settling(lambda: times.append(1), line)
        for count in (ENOUGH - 1, 1, ENOUGH // 2, ENOUGH // 2, 100):
            settling.note(count)
        settling.end()
    assert len(times) == 3


def test_what_goes_wrong_beside_the_sending_is_not_swallowed() -> None:
    failures = iter([MartError("the disk has no room")])

    def settle() -> None:
        for failure in failures:
            raise failure

    with ThreadPoolExecutor(1) as line:
        settling = deliver._Settling(settle, line)
        settling.note(ENOUGH)
        with pytest.raises(MartError):
            settling.end()
