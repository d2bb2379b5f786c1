"""What waits for a system when the process is told to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

import pytest
import requests
import responses

from connector import clock, http
from connector.errors import Interrupted, QuotaExhausted, SystemUnavailable
from connector.model import Window
from connector.pacing import Pacing
from connector.scheduler import stopping_on_signals
from connector.verdicts import Classified, Verdict

BASE = "http://127.0.0.1:9"
URL = f"{BASE}/things"
VERDICTS = {
    200: Verdict.OK, 423: Verdict.QUOTA, 425: Verdict.TOO_FAST, 429: Verdict.RETRY, 500: Verdict.RETRY_IF_IDEMPOTENT
}  # fmt: skip


def classify(status: int, headers: Mapping[str, str], body: Any) -> Classified:
    wait_s = headers.get("retry-after")
    return Classified(VERDICTS[status], "", f"said {status}", float(wait_s) if wait_s else None)


def made(pacing: Pacing | None = None, token: http.Bearer | None = None) -> http.Session:
    return http.session(
        "crm",
        BASE,
        classify=classify,
        is_idempotent=lambda request: request.method == "GET",
        bucket_of=lambda _: "burst",
        token=token,
        pacing=pacing or Pacing(),
    )


@pytest.fixture
def end() -> Iterator[Callable[[], None]]:
    """Tells the process to end, for as long as the test lasts."""
    wish = threading.Event()
    with clock.ended_by(wish):
        yield wish.set


def soon(end: Callable[[], None], after_s: float = 0.2) -> float:
    """Tell the process to end in a moment; returns when that test began."""
    threading.Timer(after_s, end).start()
    return time.monotonic()


@pytest.mark.parametrize("status", [425, 429])
@responses.activate
def test_a_call_that_waits_to_be_repeated_ends_when_the_process_is_told_to_and_is_not_sent_again(
    status: int, end: Callable[[], None]
) -> None:
    responses.post(URL, status=status, headers={"Retry-After": "20"})
    began_s, session = soon(end), made()
    with pytest.raises(Interrupted) as caught:
        session.post(URL)
    assert time.monotonic() - began_s < 3
    assert session.calls == 1
    assert (caught.value.sent, caught.value.system) == (False, "crm")


@responses.activate
def test_what_was_in_doubt_when_the_process_is_told_to_end_stays_so(end: Callable[[], None]) -> None:
    responses.get(URL, status=500)
    responses.get(URL, status=429, headers={"Retry-After": "20"})
    began_s = soon(end, 2.5)
    with pytest.raises(Interrupted) as caught:
        made().get(URL)
    assert time.monotonic() - began_s < 6
    assert caught.value.sent


@responses.activate
def test_once_the_process_ends_a_call_is_still_made_once(end: Callable[[], None]) -> None:
    responses.post(URL, json={})
    responses.post(URL, status=429)
    end()
    session = made()
    assert session.post(URL).status_code == 200
    with pytest.raises(Interrupted, match="said 429"):
        session.post(URL)
    assert session.calls == 2


@responses.activate
def test_a_refusal_stays_one_when_the_process_ends(end: Callable[[], None]) -> None:
    responses.post(URL, status=423)
    end()
    with pytest.raises(QuotaExhausted):
        made().post(URL)


def test_a_call_of_what_is_in_flight_waits_for_its_window_a_moment_more_and_no_longer(end: Callable[[], None]) -> None:
    pacing = Pacing([Window("short", 1, 0.3), Window("long", 1, 30)])
    end()
    for bucket in ("short", "long", "short"):
        pacing.wait(bucket)
    began_s = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        pacing.wait("long")
    assert not caught.value.sent
    assert time.monotonic() - began_s < 1


def test_a_call_that_waits_because_the_system_was_too_fast_for_us_ends_with_the_process(
    end: Callable[[], None],
) -> None:
    pacing = Pacing()
    pacing.slow_down("burst", 30)
    began_s = soon(end)
    with pytest.raises(Interrupted):
        pacing.wait("burst")
    assert time.monotonic() - began_s < 3


@responses.activate
def test_a_token_that_is_waited_for_ends_with_the_process_too(end: Callable[[], None]) -> None:
    class Slow:
        def token(self) -> str:
            raise Interrupted("waited for", sent=True)

        def refresh(self, stale: str) -> str:
            raise AssertionError

    end()
    with pytest.raises(Interrupted) as caught:
        made(token=Slow()).post(URL)
    assert not caught.value.sent


def test_a_download_whose_connection_broke_is_not_begun_again_when_the_process_ends(
    end: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def broken(url: str, **_: Any) -> requests.Response:
        asked.append(url)
        raise requests.exceptions.ChunkedEncodingError("torn")

    session = made()
    monkeypatch.setattr(session, "get", broken)
    end()
    with pytest.raises(SystemUnavailable) as caught:
        http.download(session, URL, BytesIO(), system="crm", headers={})
    assert isinstance(caught.value, Interrupted)
    assert len(asked) == 1


def test_a_signal_ends_a_wait_and_the_next_process_that_is_told_nothing_waits() -> None:
    with stopping_on_signals() as stop:
        began_s = soon(stop.ask)
        clock.wait(20)
        assert time.monotonic() - began_s < 3
        assert clock.is_ending()
    assert not clock.is_ending()
    began_s = time.monotonic()
    clock.wait(0.1)
    assert time.monotonic() - began_s >= 0.1
