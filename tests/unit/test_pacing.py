"""When the next call may be made."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import clock
from connector.errors import QuotaExhausted
from connector.model import Window
from connector.pacing import PROBE_EVERY_S, Pacing, Usage


class Clock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(clock, "sleep", made.sleep)
    return made


@settings(deadline=None)  # a machine under load is no falsification
@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    calls=st.integers(1, 5),
    per_s=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_no_span_of_a_window_ever_holds_more_calls_than_it_allows(gaps: list[float], calls: int, per_s: float) -> None:
    time = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "sleep", time.sleep)
        pacing = Pacing([Window("burst", calls, per_s)], monotonic_s=time)
        made = []
        for gap in gaps:
            time.now_s += gap
            pacing.wait("burst")
            made.append(time.now_s)
    for earlier, later in zip(made, made[calls:], strict=False):
        assert later - earlier >= per_s - 1e-6


def test_a_call_does_not_wait_while_its_window_has_room(time: Clock) -> None:
    pacing = Pacing([Window("burst", 3, 10)], monotonic_s=time)
    for _ in range(3):
        pacing.wait("burst")
    assert time.slept == []
    pacing.wait("burst")
    assert time.slept == [10.0]


def test_buckets_do_not_wait_for_each_other_and_an_unknown_bucket_is_free(time: Clock) -> None:
    pacing = Pacing([Window("search", 1, 1), Window("burst", 1, 10)], monotonic_s=time)
    for bucket in ("burst", "search", "", "", "other"):
        pacing.wait(bucket)
    assert time.slept == []


def test_two_windows_of_one_bucket_both_hold(time: Clock) -> None:
    pacing = Pacing([Window("b", 2, 1), Window("b", 3, 100)], monotonic_s=time)
    for _ in range(4):
        pacing.wait("b")
    assert sum(time.slept) == pytest.approx(100)


def test_a_pause_holds_every_call_of_its_bucket_and_no_other(time: Clock) -> None:
    pacing = Pacing([Window("b", 100, 1)], monotonic_s=time)
    pacing.pause("b", 7)
    pacing.pause("b", 3)
    pacing.wait("other")
    assert time.slept == []
    pacing.wait("b")
    assert time.slept == [7.0]


def test_threads_together_keep_to_one_window() -> None:
    pacing = Pacing([Window("b", 5, 0.2)])
    made: list[float] = []

    def call() -> None:
        for _ in range(4):
            pacing.wait("b")
            made.append(clock.monotonic_s())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.sort()
    assert len(made) == 16
    assert all(later - earlier > 0.15 for earlier, later in zip(made, made[5:], strict=False))


def test_calls_stop_when_the_configured_share_of_the_quota_is_used(time: Clock) -> None:
    pacing = Pacing(share=0.5, learn=lambda headers: Usage(int(headers["used"]), 100), system="crm", monotonic_s=time)
    pacing.wait("")
    pacing.observe({"used": "49"})
    pacing.wait("")
    pacing.observe({"used": "50"})
    with pytest.raises(QuotaExhausted, match="50 of 100 daily API calls are used, our limit is 50%") as caught:
        pacing.wait("")
    assert caught.value.system == "crm"
    assert caught.value.exit_code == 0


def test_with_the_quota_used_up_one_call_in_a_while_asks_whether_it_still_is(time: Clock) -> None:
    pacing = Pacing(share=0.5, learn=lambda headers: Usage(int(headers["used"]), 100), monotonic_s=time)
    pacing.observe({"used": "90"})
    time.now_s += PROBE_EVERY_S
    pacing.wait("")
    with pytest.raises(QuotaExhausted):
        pacing.wait("")
    pacing.observe({"used": "10"})
    pacing.wait("")


def test_headers_that_do_not_tell_leave_what_was_known(time: Clock) -> None:
    pacing = Pacing(learn=lambda headers: Usage(1, 2) if headers else None, monotonic_s=time)
    pacing.observe({"any": "thing"})
    pacing.observe({})
    assert pacing.usage == Usage(1, 2)
