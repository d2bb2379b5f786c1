"""When the next call may be made."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connector import clock
from connector.budget import Quota
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


# ------------------------------------------------------------------------------------------------------------ the budget


def paced(time: Clock, quota: dict[str, Any] | None = None, **options: Any) -> Pacing:
    """A pacing that learns from headers such as {"used": "90"}, of a limit of 100."""

    def learn(headers: Mapping[str, str]) -> Usage | None:
        return Usage(int(headers["used"]), 100) if "used" in headers else None

    return Pacing(quota=Quota(**(quota or {})), learn=learn, system="crm", monotonic_s=time, **options)


def test_our_budget_is_a_share_of_what_the_others_leave(time: Clock) -> None:
    pacing = paced(time, {"share": 0.5})
    for _ in range(4):
        pacing.wait("")
    pacing.observe({"used": "64"})
    told = pacing.budget()
    assert (told.others, told.ours, told.calls, told.left("consent")) == (60, 4, 20, 16)
    pacing.wait("")
    assert pacing.budget().left("consent") == 15, "our own calls count before the system tells of them"


def test_the_more_urgent_lane_goes_longer_and_consent_to_the_end(time: Clock) -> None:
    pacing = paced(time, {"share": 1.0})
    pacing.observe({"used": "0"})
    for made in range(100):
        told = pacing.budget()
        gone = [lane for lane in ("score", "task", "stage", "consent") if told.left(lane) == 0]
        assert gone == ["score", "task", "stage"][: (made >= 80) + (made >= 90) + (made >= 95)]
        pacing.admit("consent", 1)
        pacing.wait("")
    with pytest.raises(QuotaExhausted, match="100 of our 100 calls of today are used"):
        pacing.admit("consent", 1)


def test_what_does_not_fit_is_refused_before_it_is_begun_with_its_lane_and_the_option_to_change(time: Clock) -> None:
    pacing = paced(time, {"share": 1.0})
    pacing.observe({"used": "0"})
    pacing.admit("score", 80)
    with pytest.raises(QuotaExhausted, match="80% of them for the score lane") as caught:
        pacing.admit("score", 81)
    assert (caught.value.system, caught.value.exit_code) == ("crm", 0)
    assert "systems.crm.quota" in caught.value.hint
    pacing.admit("stage", 81)


def test_reading_stops_where_it_would_use_up_what_writes_need(time: Clock) -> None:
    pacing = paced(time, {"share": 1.0, "read": 0.1})
    pacing.observe({"used": "0"})
    for _ in range(10):
        pacing.wait("")
    with pytest.raises(QuotaExhausted, match="to read"):
        pacing.wait("")
    pacing.admit("score", 1)
    pacing.wait("")


def test_a_fixed_number_of_calls_bounds_a_system_that_tells_nothing_and_lowers_the_share_of_one_that_does(
    time: Clock,
) -> None:
    silent = paced(time, {"calls_per_day": 5})
    for _ in range(5):
        silent.admit("consent", 1)
        silent.wait("")
    with pytest.raises(QuotaExhausted):
        silent.wait("")
    telling = paced(time, {"calls_per_day": 5})
    telling.observe({"used": "0"})
    assert telling.budget().calls == 5


def test_a_system_that_tells_nothing_and_has_no_fixed_number_is_not_bounded(time: Clock) -> None:
    pacing = paced(time)
    pacing.observe({"any": "thing"})
    pacing.admit("score", 1_000_000)
    assert pacing.usage is None
    assert pacing.budget().left("score") is None


def test_with_the_budget_used_up_one_call_in_a_while_asks_whether_it_still_is(time: Clock) -> None:
    pacing = paced(time)
    pacing.observe({"used": "100"})
    time.now_s += PROBE_EVERY_S
    pacing.wait("")
    with pytest.raises(QuotaExhausted):
        pacing.wait("")
    pacing.observe({"used": "10"})
    pacing.wait("")


def test_asking_whether_a_change_may_go_does_not_use_up_the_call_that_asks(time: Clock) -> None:
    pacing = paced(time)
    pacing.observe({"used": "100"})
    time.now_s += PROBE_EVERY_S
    pacing.admit("score", 1)
    pacing.wait("")
    with pytest.raises(QuotaExhausted):
        pacing.admit("score", 1)


def test_where_not_every_answer_tells_what_is_used_a_call_that_does_is_made_to_ask(time: Clock) -> None:
    asked: list[float] = []

    def ask() -> None:
        asked.append(time.now_s)
        pacing.wait("")
        pacing.observe({"used": "10"})

    pacing = paced(time, ask_reset=ask)
    pacing.observe({"used": "100"})
    with pytest.raises(QuotaExhausted):
        pacing.wait("search")
    assert asked == []
    time.now_s += PROBE_EVERY_S
    for _ in range(2):
        pacing.wait("search")
    assert len(asked) == 1


def test_what_was_used_and_told_is_known_to_the_next_connection(time: Clock) -> None:
    first = paced(time, {"share": 0.5})
    first.wait("")
    first.observe({"used": "61"})
    second = paced(time, {"share": 0.5})
    second.recall(first.kept())
    assert second.budget() == first.budget()
    assert (second.budget().others, second.budget().ours) == (60, 1)


def test_what_a_wrong_clock_was_told_is_not_taken_for_news(time: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=300))
    first = paced(time, {"share": 0.5})
    first.observe({"used": "99"})
    kept = first.kept()
    monkeypatch.setattr(clock, "now", lambda: now)
    second = paced(time, {"share": 0.5})
    second.recall(kept)
    second.wait("")
    assert second.usage is None


def test_calls_of_another_day_count_no_more(time: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    pacing = paced(time, {"share": 0.5})
    pacing.wait("")
    pacing.observe({"used": "100"})
    assert pacing.resets_at() == datetime(2026, 11, 2, 11, tzinfo=UTC), "when the oldest of ours are a day old"
    kept = pacing.kept()
    now += timedelta(days=1, hours=2)
    later = paced(time, {"share": 0.5})
    later.recall(kept)
    assert later.budget().left("consent") is None, "what was told a day ago is not known any more"
    later.observe({"used": "10"})
    assert (later.budget().others, later.budget().ours) == (10, 0)


def test_a_system_with_a_midnight_is_asked_for_it_once_and_starts_anew_then(
    time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = datetime(2026, 11, 1, 22, tzinfo=UTC), []

    def midnight() -> datetime:
        asked.append(pacing.wait(""))  # goes out though the budget is used
        return datetime(2026, 11, 1, 23, tzinfo=UTC)

    monkeypatch.setattr(clock, "now", lambda: now)
    pacing = paced(time, ask_reset=midnight)
    pacing.observe({"used": "100"})
    with pytest.raises(QuotaExhausted):
        pacing.wait("")
    assert pacing.resets_at() == pacing.resets_at() == datetime(2026, 11, 1, 23, tzinfo=UTC)
    assert len(asked) == 1
    now += timedelta(hours=1, minutes=1)
    pacing.wait("")
    assert pacing.budget().calls == 80
    assert pacing.resets_at() == datetime(2026, 11, 2, 23, tzinfo=UTC)


@pytest.mark.parametrize("lanes", [{"score": 0.95, "task": 0.9}, {"task": 1.0, "stage": 0.99}])
def test_a_less_urgent_lane_may_not_go_longer_than_a_more_urgent_one(lanes: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="the more urgent lane goes longer"):
        Quota(**lanes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ what systems say


def test_a_bucket_that_the_system_finds_too_fast_goes_slower_and_one_at_a_time_until_that_wears_off(
    time: Clock,
) -> None:
    pacing = Pacing([Window("search", 5, 1.1)], monotonic_s=time)
    for _ in range(4):
        pacing.slow_down("search", 1)
        time.now_s += 1
    made = []
    for _ in range(4):
        pacing.wait("search")
        made.append(time.now_s)
    gaps = [later - earlier for earlier, later in pairwise(made)]
    assert gaps == [pytest.approx(0.22 * 1.5**4)] * 3, "five in a second, slower by half four times, never two at once"
    time.now_s += 600
    time.slept.clear()
    for _ in range(5):
        pacing.wait("search")
    assert time.slept == []


def test_calls_that_were_on_their_way_together_slow_their_bucket_down_once(time: Clock) -> None:
    pacing = Pacing([Window("search", 4, 1)], monotonic_s=time)
    for _ in range(4):
        pacing.slow_down("search", 2)
    time.now_s += 2
    pacing.wait("search")
    pacing.wait("search")
    pacing.wait("search")
    assert sum(time.slept) == pytest.approx(0.75)


def test_a_system_whose_calls_are_used_up_is_asked_no_more_by_this_connection(time: Clock) -> None:
    pacing = paced(time)
    pacing.answered("You have reached your daily limit.")
    pacing.answered("")  # of a call that had left before
    for _ in range(2):
        with pytest.raises(QuotaExhausted, match="used up: You have reached your daily limit"):
            pacing.wait("search")
        with pytest.raises(QuotaExhausted):
            pacing.admit("consent", 1)


def test_the_next_connection_asks_with_one_call_whether_they_still_are(time: Clock) -> None:
    first = paced(time)
    first.answered("daily limit")
    kept, refused = first.kept(), []
    again = paced(time)
    again.recall(kept)
    again.wait("search")

    def answer_late(seconds: float) -> None:
        refused.append(seconds)
        if len(refused) == 3:
            again.answered("daily limit")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "sleep", answer_late)
        with pytest.raises(QuotaExhausted):
            again.wait("burst")
    assert len(refused) == 3, "it waits for the answer to the one call"
    anew = paced(time)
    anew.recall(again.kept())
    anew.wait("search")
    anew.answered("")
    anew.wait("search")
    anew.wait("burst")
    last = paced(time)
    last.recall(anew.kept())
    last.wait("search")
    last.wait("search")
    assert time.slept == []


def test_a_used_up_system_is_asked_for_its_midnight_once_and_goes_on_from_then(
    time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = datetime(2026, 11, 1, 22, tzinfo=UTC), []

    def midnight() -> datetime | None:
        asked.append(pacing.wait(""))
        return datetime(2026, 11, 1, 23, tzinfo=UTC) if len(asked) > 1 else None

    monkeypatch.setattr(clock, "now", lambda: now)
    pacing = paced(time, ask_reset=midnight)
    pacing.answered("daily limit")
    assert (pacing.resets_at(), pacing.resets_at(), len(asked)) == (None, None, 1)
    kept, pacing = pacing.kept(), paced(time, ask_reset=midnight)
    pacing.recall(kept)
    assert (pacing.resets_at(), len(asked)) == (None, 1), "it would not tell this time either"
    pacing = paced(time, ask_reset=midnight)
    pacing.answered("daily limit")
    assert pacing.resets_at() == datetime(2026, 11, 1, 23, tzinfo=UTC)
    now += timedelta(hours=1, minutes=1)
    pacing.budget()
    pacing.wait("search")
    pacing.wait("search")
