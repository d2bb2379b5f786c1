"""A system that is slower than we think, and one whose day is used up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import responses

from connector import clock, http
from connector.errors import QuotaExhausted, SystemUnavailable
from connector.pacing import Pacing
from connector.verdicts import Classified, Verdict

BASE = "http://127.0.0.1:9"
URL = f"{BASE}/things"
VERDICTS = {200: Verdict.OK, 425: Verdict.TOO_FAST, 423: Verdict.QUOTA}


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    wait_s = headers.get("retry-after")
    said = body["message"] if isinstance(body, dict) else ""
    return Classified(VERDICTS[status], "", said, float(wait_s) if wait_s else None)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited; only waiting moves the clock."""
    waits: list[float] = []
    monkeypatch.setattr(clock, "sleep", waits.append)
    monkeypatch.setattr(clock, "monotonic_s", lambda: sum(waits))
    return waits


def made(pacing: Pacing | None = None, retries: http.Retries = http.Retries()) -> http.Session:
    return http.session(
        "crm",
        BASE,
        classify=classify,
        is_idempotent=lambda request: request.method == "GET",
        bucket_of=lambda _: "burst",
        token=None,
        pacing=pacing or Pacing(),
        retries=retries,
    )


@responses.activate
def test_a_system_that_is_slower_than_we_think_costs_no_attempt_and_slows_its_bucket_down(slept: list[float]) -> None:
    for _ in range(9):
        responses.post(URL, status=425, headers={"Retry-After": "1"})
    responses.post(URL, json={})
    slowed: list[tuple[str, float]] = []
    pacing = Pacing()
    pacing.slow_down = lambda bucket, seconds: slowed.append((bucket, seconds))  # type: ignore[method-assign]
    assert made(pacing=pacing, retries=http.Retries(attempts=2)).post(URL).status_code == 200
    assert slowed == [("burst", 1.0)] * 9
    assert slept == [pytest.approx(1.2**n) for n in range(9)]


@responses.activate
def test_a_system_that_only_ever_says_too_fast_is_given_up_after_its_time_and_nothing_was_sent(
    slept: list[float],
) -> None:
    responses.post(URL, status=425, headers={"Retry-After": "10"})
    with pytest.raises(SystemUnavailable) as caught:
        pacing = Pacing()
        pacing.slow_down = lambda bucket, seconds: None  # type: ignore[method-assign]
        made(pacing=pacing, retries=http.Retries(slowed_s=100)).post(URL)
    assert not caught.value.sent
    assert "what else uses" in caught.value.hint
    assert sum(slept) == pytest.approx(sum(10 * 1.2**n for n in range(7)))


@responses.activate
def test_the_time_of_a_system_that_says_too_fast_runs_by_the_clock_whoever_waits(slept: list[float]) -> None:
    responses.post(URL, status=425, headers={"Retry-After": "10"})
    pacing = Pacing(monotonic_s=lambda: sum(slept))
    with pytest.raises(SystemUnavailable):
        made(pacing=pacing, retries=http.Retries(slowed_s=100)).post(URL)
    assert 100 <= sum(slept) < 100 + http.Retries().max_wait_s
    slept.clear()
    pacing.wait = lambda bucket: slept.append(30.0)  # type: ignore[method-assign]
    with pytest.raises(SystemUnavailable):
        made(pacing=pacing, retries=http.Retries(slowed_s=100)).post(URL)
    assert 100 <= sum(slept) < 100 + 2 * http.Retries().max_wait_s


@responses.activate
def test_once_the_days_calls_are_used_nothing_more_is_sent() -> None:
    responses.get(URL, status=423, json={"message": "daily limit"})
    session = made()
    for _ in range(3):
        with pytest.raises(QuotaExhausted, match="daily limit"):
            session.get(URL)
    assert session.calls == 1
