"""An alert goes out by real conversations: SMTP to a mail server, a POST to a web server; once when it begins, once when it is over."""

from __future__ import annotations

import email
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from connector import channels, clock
from connector.alerts import after_run
from connector.channels import AlertsSection
from connector.errors import SystemUnavailable
from connector.mart.ingest import Counts
from connector.report.status import as_json, status
from connector.state import State, StateSection, alerts, open_state
from connector.steps.pulled import Pulled
from connector.summary import Summary
from tests.unit.listeners import Mails, served, smtp


@pytest.fixture
def mails() -> Iterator[tuple[int, list[str]]]:
    """A mail server without encryption; its port, and what it took: envelope and message as one text each."""
    taken: list[str] = []
    with served(smtp(Mails(taken))) as port:
        yield port, taken


@pytest.fixture
def posts() -> Iterator[tuple[int, list[Any]]]:
    """A web server; its port, and what was posted to it. It refuses the first post."""
    taken: list[Any] = []
    refused: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            (taken.append(json.loads(body)) if refused else refused.append(body))
            self.send_response(204 if taken else 503)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with served(Hook) as port:
        yield port, taken


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def ended(state: State, section: AlertsSection, *, is_stopping: bool = False, **failures: Exception) -> None:
    setup: Any = SimpleNamespace(state=state, systems={"crm": SimpleNamespace(streams=tuple)}, every={})
    pulled = Pulled(counts={("crm", "contacts"): Counts(1, 1)}, calls={"crm": 1})
    summary = Summary(1, pulled=pulled, failures=dict(failures))
    after_run(section, setup, summary, is_stopping=lambda: is_stopping)


def test_a_mail_server_gets_one_message_when_it_begins_and_one_when_it_is_over(
    state: State, mails: tuple[int, list[str]]
) -> None:
    port, taken = mails
    section = AlertsSection.model_validate(
        {
            "email_to": ["ops@acme.com", "night@acme.com"], "email_from": "connector@acme.com", "smtp_host": "127.0.0.1",
            "smtp_port": port, "smtp_security": "none",
        }
    )  # fmt: skip
    for _ in range(3):
        ended(state, section, crm=SystemUnavailable("gone since 14:05 – for good?", hint="look at it"))
    assert len(taken) == 1
    for _ in range(2):
        ended(state, section)
    began, over = (email.message_from_string(each) for each in taken)
    assert began.get_all("X-RCPT") == ["TO:<ops@acme.com>", "TO:<night@acme.com>"]
    assert "crm cannot be used" in str(email.header.make_header(email.header.decode_header(began["Subject"])))
    assert "look at it" in began.get_payload(decode=True).decode()
    assert over["Subject"].startswith("connector over:")
    assert email.utils.parsedate_to_datetime(began["Date"])
    assert began["Message-ID"] != over["Message-ID"]
    assert not alerts.standing(state)


def test_a_webhook_that_refused_gets_the_beginning_after_the_next_run_and_the_end_once(
    state: State, posts: tuple[int, list[Any]]
) -> None:
    port, taken = posts
    section = AlertsSection.model_validate({"webhook": f"http://127.0.0.1:{port}/hook"})
    ended(state, section, crm=SystemUnavailable("gone"))
    assert taken == []
    for _ in range(2):
        ended(state, section, crm=SystemUnavailable("gone"))
    for _ in range(2):
        ended(state, section)
    assert [[event["event"] for event in each["events"]] for each in taken] == [["began"], ["ended"]]
    assert "crm cannot be used: gone" in taken[0]["text"]


def test_a_mail_server_that_is_not_there_fails_no_run_and_is_tried_again(
    state: State, mails: tuple[int, list[str]]
) -> None:
    port, taken = mails
    to = {"email_to": ["ops@acme.com"], "email_from": "c@acme.com", "smtp_host": "127.0.0.1", "smtp_security": "none"}
    ended(state, AlertsSection.model_validate(to | {"smtp_port": 1}), crm=SystemUnavailable("gone"))
    assert alerts.standing(state)[0].untold == ["began:email:ops@acme.com"]
    ended(state, AlertsSection.model_validate(to | {"smtp_port": port}), crm=SystemUnavailable("gone"))
    assert len(taken) == 1


def test_what_a_system_says_over_several_lines_goes_into_a_subject_of_one(
    state: State, mails: tuple[int, list[str]]
) -> None:
    port, taken = mails
    to = {"email_to": ["ops@acme.com"], "email_from": "c@acme.com", "smtp_host": "127.0.0.1", "smtp_security": "none"}
    ended(state, AlertsSection.model_validate(to | {"smtp_port": port}), crm=SystemUnavailable("gone\r\nfor good"))
    assert "gone for good" in email.message_from_string(taken[0])["Subject"].replace("\n", "")


def test_a_mail_server_whose_name_is_none_fails_no_run(state: State) -> None:
    to = {"email_to": ["ops@acme.com"], "email_from": "c@acme.com", "smtp_host": f"{'x' * 70}.com"}
    ended(state, AlertsSection.model_validate(to), crm=SystemUnavailable("gone"))
    assert alerts.standing(state)[0].untold == ["began:email:ops@acme.com"]


@pytest.mark.parametrize("address", ["ops@", "@", "", "ops@acme.com, night@acme.com", "a@b@c"])
def test_an_address_that_no_mail_can_go_to_is_refused_with_the_configuration(address: str) -> None:
    with pytest.raises(ValueError, match="is not one e-mail address"):
        AlertsSection.model_validate({"email_to": [address], "email_from": "c@acme.com", "smtp_host": "127.0.0.1"})


def test_status_says_what_is_over_and_not_yet_sent_until_it_is_or_its_channel_is_taken_out(
    state: State, mails: tuple[int, list[str]]
) -> None:
    port, taken = mails
    to = {"email_to": ["ops@acme.com"], "email_from": "c@acme.com", "smtp_host": "127.0.0.1", "smtp_security": "none"}
    works, broken = (AlertsSection.model_validate(to | {"smtp_port": each}) for each in (port, 1))
    for last in (works, AlertsSection()):
        ended(state, works, crm=SystemUnavailable("gone"))
        ended(state, broken)
        told = status(state, clock.now(), ())
        assert not told.alerts
        assert [each.untold for each in told.unsent] == [["ended:email:ops@acme.com"]]
        assert [each["untold"] for each in as_json(told)["unsent"]] == [["ended:email:ops@acme.com"]]
        ended(state, last)
        assert not status(state, clock.now(), ()).unsent
    assert len(taken) == 3


def test_an_address_that_the_server_refuses_is_told_and_tried_again_and_who_took_the_alert_gets_it_once(
    state: State,
) -> None:
    taken: list[str] = []
    refused = {"night@acme.com"}
    to = {"email_from": "c@acme.com", "smtp_host": "127.0.0.1", "smtp_security": "none"}
    with served(smtp(Mails(taken, refused=refused))) as port, capture_logs() as logged:
        section = AlertsSection.model_validate(
            to | {"email_to": ["ops@acme.com", "Night <night@acme.com>"], "smtp_port": port}
        )
        for _ in range(2):
            ended(state, section, crm=SystemUnavailable("gone"))
        assert [each.untold for each in status(state, clock.now(), ()).alerts] == [
            ["began:email:Night <night@acme.com>"]
        ]
        refused.clear()
        for _ in range(2):
            ended(state, section, crm=SystemUnavailable("gone"))
    assert not alerts.standing(state)[0].untold
    assert [email.message_from_string(each).get_all("X-RCPT") for each in taken] == [
        ["TO:<ops@acme.com>"],
        ["TO:<night@acme.com>"],
    ]
    unsent = [each for each in logged if each["event"] == "alert.unsent"]
    assert [(each["receivers"], each["error"]) for each in unsent] == [(1, "answered 550")], "it is said once"


def test_an_address_that_is_refused_again_after_it_was_taken_and_one_that_is_put_off_are_said_in_the_log(
    state: State,
) -> None:
    refused = {"ops@acme.com"}
    to = {"email_to": ["ops@acme.com"], "email_from": "c@acme.com", "smtp_host": "127.0.0.1", "smtp_security": "none"}
    with served(smtp(Mails([], refused=refused))) as port, capture_logs() as logged:
        section, broken = (AlertsSection.model_validate(to | {"smtp_port": each}) for each in (port, 1))
        for _ in range(3):
            ended(state, section, crm=SystemUnavailable("gone"))
        refused.clear()
        ended(state, section)
        refused.add("ops@acme.com")
        ended(state, section, crm=SystemUnavailable("gone"))
        for _ in range(2):
            ended(state, broken, crm=SystemUnavailable("gone"))
    unsent = [each["error"] for each in logged if each["event"] == "alert.unsent"]
    assert unsent == ["answered 550", "answered 550", "ConnectionRefusedError", "ConnectionRefusedError"]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("hubspot has gone", "hubspot has gone"),
        (f"{'word ' * 15}and_a_long_one more", f"{'word ' * 15}…"),
        ("x" * 100, f"{'x' * 79}…"),
    ],
)
def test_a_subject_is_not_cut_inside_a_word(text: str, cut: str) -> None:
    assert channels._cut(text) == cut


@pytest.mark.parametrize("code", [302, 404, 500])
def test_an_alert_that_a_webhook_refuses_says_with_which_code(state: State, code: int) -> None:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(code)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with served(Hook) as port, capture_logs() as logged:
        ended(
            state,
            AlertsSection.model_validate({"webhook": f"http://127.0.0.1:{port}/s3cret"}),
            crm=SystemUnavailable("gone"),
        )
    assert logged[-1]["event"] == "alert.unsent"
    assert logged[-1]["error"] == f"answered {code}"
    assert "s3cret" not in str(logged)


@pytest.mark.parametrize("is_stopping", [False, True])
def test_a_webhook_that_drips_its_answer_holds_a_run_up_for_no_longer_than_is_set(
    state: State, monkeypatch: pytest.MonkeyPatch, is_stopping: bool
) -> None:
    monkeypatch.setattr(channels, "_LONGEST_S", 60 if is_stopping else 0.3)
    monkeypatch.setattr(channels, "_LONGEST_STOPPING_S", 0.3)
    over, asked = Event(), []

    class Drip(StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline())
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.05):
                self.wfile.write(b"x")

    with served(Drip) as port, capture_logs() as logged:
        section = AlertsSection.model_validate({"webhook": f"http://127.0.0.1:{port}/hook"})
        begun = time.monotonic()
        for _ in range(2):
            ended(state, section, is_stopping=is_stopping, crm=SystemUnavailable("gone"))
        assert time.monotonic() - begun < 10
        assert len(asked) == 1, "as long as one is at it, there is no second"
        over.set()
        for thread in threading.enumerate():
            if thread.name.startswith("alert by"):
                thread.join(10)
    causes = [each["error"] for each in logged if each["event"] == "alert.unsent"]
    assert causes == ["TimeoutError, no whole answer in time", "TimeoutError, the last attempt has not ended yet"]
    assert alerts.standing(state)[0].untold == ["began:webhook"]
