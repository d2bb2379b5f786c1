"""An alert is told once when it begins and once when it ends, whatever becomes of a channel; a run is never failed by it."""

from __future__ import annotations

import random
import smtplib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from connector import alerts
from connector.alerts import after_run, is_quiet
from connector.channels import AlertsSection
from connector.dispatch import Delivered
from connector.errors import AuthError, Interrupted, MissingPermission, QuotaExhausted, SystemUnavailable
from connector.mart.ingest import Counts
from connector.state import State, StateSection, open_state
from connector.state import alerts as kept
from connector.state.models import Poll, Quarantine, RunStep
from connector.steps.pulled import Pulled
from connector.summary import Summary

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WEBHOOK = AlertsSection.model_validate({"webhook": "http://chat.invalid/hook"})


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the webhook got, line by line; the address 'refuses' while the list begins with DOWN."""
    lines: list[str] = []

    def post(_: str, *, json: Any, **__: Any) -> Any:
        if lines[:1] == ["DOWN"]:
            raise requests.ConnectionError
        lines.extend(f"{event['event']} {event['kind']} {event['system']}" for event in json["events"])
        return SimpleNamespace(status_code=200, close=lambda: None)

    monkeypatch.setattr(requests, "post", post)
    return lines


def ended(state: State, section: AlertsSection = WEBHOOK, *, counts: Any = None, **of: Any) -> None:
    names = of.pop("streams", ("contacts", "deals"))
    streams = [SimpleNamespace(name=name, every=timedelta(0)) for name in names]
    systems = {"crm": SimpleNamespace(streams=lambda: streams)} if names else {}
    setup: Any = SimpleNamespace(state=state, systems=systems, every={})
    pulled = Pulled(counts=counts or {("crm", "contacts"): Counts(1, 1)}, calls={"crm": 1}, **of.pop("pulled", {}))
    after_run(section, setup, Summary(1, pulled=pulled, **of))


def test_a_system_that_is_down_is_told_once_and_so_is_its_return(state: State, heard: list[str]) -> None:
    for _ in range(3):
        ended(state, failures={"crm": SystemUnavailable("gone")})
    assert heard == ["began system_down crm"]
    assert [each.kind for each in kept.standing(state)] == ["system_down"]
    for _ in range(2):
        ended(state)
    assert heard == ["began system_down crm", "ended system_down crm"]
    assert not kept.standing(state)


def test_a_run_that_was_cut_off_says_of_its_system_neither_that_it_is_down_nor_that_it_is_back(
    state: State, heard: list[str]
) -> None:
    ended(state, failures={"crm": Interrupted("waited for")})
    assert not heard
    ended(state, failures={"crm": SystemUnavailable("gone")})
    ended(state, failures={"crm": Interrupted("waited for")})
    ended(state, delivered=[Delivered("crm", error=Interrupted("waited for"))])
    assert heard == ["began system_down crm"]
    assert Summary(1, failures={"crm": Interrupted("waited for")}).exit_code == 0


def test_what_a_channel_did_not_take_is_told_after_the_next_run(state: State, heard: list[str]) -> None:
    heard.append("DOWN")
    ended(state, failures={"crm": AuthError("refused")})
    assert kept.standing(state)[0].untold == ["began:webhook"]
    heard.clear()
    ended(state)
    assert heard == ["began credentials_refused crm", "ended credentials_refused crm"]
    ended(state)
    assert len(heard) == 2


def test_a_run_that_could_not_see_a_stream_does_not_end_its_alert(state: State, heard: list[str]) -> None:
    refused = {("crm", "deals"): MissingPermission("no")}
    ended(state, pulled={"stream_failures": refused})
    assert heard == ["began stream_stalled crm"]
    ended(state)
    assert len(kept.standing(state)) == 1
    ended(state, counts={("crm", "deals"): Counts()})
    assert heard[-1] == "ended stream_stalled crm"


def test_a_stream_that_failed_is_stalled_only_after_a_while(state: State, heard: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(alerts.clock, "now", lambda: NOW)
    state.set_polls([Poll(key="crm|deals", system="crm", stream="deals", polled_at=NOW - timedelta(hours=1), run=1)])
    ended(state, pulled={"stream_failures": {("crm", "deals"): MissingPermission("no")}})
    assert heard == []


@pytest.mark.parametrize("what_is_left", [(), ("contacts",)])
def test_what_was_taken_out_of_the_configuration_stands_no_more(
    state: State, heard: list[str], what_is_left: tuple[str, ...]
) -> None:
    ended(state, pulled={"stream_failures": {("crm", "deals"): MissingPermission("no")}})
    if not what_is_left:
        ended(state, failures={"crm": SystemUnavailable("gone")})
    ended(state, streams=what_is_left, counts={("other", "people"): Counts(1, 1)})
    assert not kept.standing(state)
    assert heard[-1].startswith("ended")


def test_a_stream_that_still_fails_stands_while_its_system_cannot_be_written(state: State, heard: list[str]) -> None:
    refused = {("crm", "deals"): MissingPermission("no")}
    used_up = [Delivered("crm", error=QuotaExhausted("used up"))]
    ended(state, pulled={"stream_failures": refused})
    ended(state, pulled={"stream_failures": refused}, delivered=used_up)
    assert heard == ["began stream_stalled crm"]


def test_a_system_that_is_not_read_for_want_of_quota_is_told_when_it_lasts(
    state: State, heard: list[str], monkeypatch: Any
) -> None:
    used_up = {"failures": {"crm": QuotaExhausted("the budget is used up")}}
    for name in ("contacts", "deals"):
        state.set_polls([Poll(key=f"crm|{name}", system="crm", stream=name, polled_at=NOW, run=1)])
    monkeypatch.setattr(alerts.clock, "now", lambda: NOW + timedelta(hours=1))
    ended(state, pulled=used_up)
    assert heard == []
    monkeypatch.setattr(alerts.clock, "now", lambda: NOW + timedelta(hours=3))
    for _ in range(2):
        ended(state, pulled=used_up)
    assert heard == ["began stream_stalled crm"]
    ended(state)
    assert heard[-1] == "ended stream_stalled crm"


def test_counts_that_do_not_add_up_are_an_alert_and_fail_the_run(state: State, heard: list[str]) -> None:
    lossy = {("crm", "contacts"): Counts(pulled=3, applied=2)}
    ended(state, counts=lossy)
    assert heard == ["began conservation crm"]
    assert Summary(1, pulled=Pulled(counts=lossy)).exit_code == 4


def test_a_growing_quarantine_is_told(state: State, heard: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(alerts.clock, "now", lambda: NOW)
    rows = [
        Quarantine(key=str(n), kind="value", system="crm", reason="odd", first_at=NOW, last_at=NOW) for n in range(101)
    ]
    state.quarantine(rows)
    ended(state)
    assert heard == ["began quarantine crm"]
    monkeypatch.setattr(alerts.clock, "now", lambda: NOW + 2 * DAY)
    ended(state)
    assert heard[-1] == "ended quarantine crm"


def test_an_email_goes_by_the_configured_server(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Server:
        def __init__(self, host: str, port: int, timeout: float) -> None:
            sent.append((host, port))

        def starttls(self, *, context: ssl.SSLContext) -> None:
            sent.append("starttls")

        def login(self, user: str, password: str) -> None:
            sent.append((user, password))

        def send_message(self, message: Any, *, to_addrs: list[str]) -> dict[str, Any]:
            sent.append((to_addrs, message["To"], message["Subject"]))
            return {}

        def quit(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(smtplib, "SMTP", Server)
    section = AlertsSection.model_validate(
        {
            "email_to": ["ops@acme.com"],
            "email_from": "c@acme.com",
            "smtp_host": "mail",
            "smtp_user": "u",
            "smtp_password": "p",
        }
    )
    ended(state, section, failures={"crm": SystemUnavailable("gone")})
    assert sent == [
        ("mail", 587),
        "starttls",
        ("u", "p"),
        (["ops@acme.com"], "ops@acme.com", "connector alert: crm cannot be used: gone"),
    ]


def test_an_address_without_a_mail_server_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="smtp_host"):
        AlertsSection.model_validate({"email_to": ["ops@acme.com"]})


WEEK = [900, 950, 1_000, 980, 940, 20, 10]  # newest first, so that a weekend lies six and seven days back


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([5, *WEEK[1:], *WEEK, *WEEK, *WEEK], True),  # far below the same weekdays
        ([400, *WEEK[1:], *WEEK, *WEEK, *WEEK], False),  # a slow day
        ([18, 10, *WEEK[:5], 20, 10, *WEEK[:5], 20, 10, *WEEK[:5], 25, 10], False),  # a weekend like others
        ([0, 50_000, 900, 950, 0, 1_000, 980, 940, 990], True),  # neither a back-fill nor a stop moves the median
        ([0, 900, 950], False),  # too little history to judge by
        ([0, 3, 2, 4, 3, 2, 3, 4, 3], False),  # a stream that never brings much
        ([], False),
    ],
)
def test_a_stream_is_quiet_against_its_own_history(days: list[int], expected: bool) -> None:
    assert is_quiet(days) is expected


def test_the_history_of_a_stream_is_its_news_by_day_since_it_was_first_read(state: State) -> None:
    for day in range(5):
        at = NOW - day * DAY - timedelta(hours=1)
        run = state.start_run("sync", at, "")
        step = RunStep(run=run, step="pull", system="crm", stream="deals", pulled=10 + day, unchanged=2, ended_at=at)
        state.add_steps([step])
    assert kept.news_by_day(state, NOW, 8) == {("crm", "deals"): [8, 9, 10, 11]}


@pytest.mark.parametrize("every", [DAY / 96, DAY, 2 * DAY])
def test_it_makes_no_difference_where_a_day_ends_between_two_reads(state: State, every: timedelta) -> None:
    chance = random.Random(7)
    for number in range(int(20 * DAY / every)):
        at = NOW - number * every - timedelta(seconds=chance.uniform(0, 600))
        run = state.start_run("sync", at, "")
        brought = round(every / DAY * 960)
        step = RunStep(run=run, step="pull", system="crm", stream="deals", pulled=brought, ended_at=at)
        state.add_steps([step])
    (days,) = kept.news_by_day(state, NOW, 15).values()
    assert len(days) == 15
    assert all(900 <= each <= 1_020 for each in days), days


def test_a_stream_that_goes_quiet_against_its_history_is_told_until_it_brings_its_usual_again(
    state: State, heard: list[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(alerts.clock, "now", lambda: NOW)
    read = {("crm", "deals"): Counts(1, 1)}

    def bring(count: int, at: datetime) -> None:
        run = state.start_run("sync", at, "")
        step = RunStep(run=run, step="pull", system="crm", stream="deals", pulled=count, applied=count, ended_at=at)
        state.add_steps([step])

    for day in range(1, 10):
        bring(200, NOW - day * DAY - timedelta(hours=1))
    for _ in range(2):
        ended(state, counts=read)
    assert heard == ["began stream_quiet crm"]
    bring(190, NOW - timedelta(minutes=1))
    ended(state, counts=read)
    assert heard[1:] == ["ended stream_quiet crm"]


def test_a_broken_configuration_is_over_only_when_it_is_whole_again(state: State, heard: list[str]) -> None:
    setup: Any = SimpleNamespace(state=state, systems={"crm": None}, every={})
    for _ in range(2):
        alerts.failed(WEBHOOK, state, "configuration", "the configuration is broken", "")
        after_run(WEBHOOK, setup, Summary(1), is_file_broken=True)
    assert heard == ["began configuration "]
    after_run(WEBHOOK, setup, Summary(1))
    assert heard == ["began configuration ", "ended configuration "]
