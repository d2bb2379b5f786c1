"""How alerts go out: by webhook and by e-mail. What cannot be sent is sent after the next run.

A failure of a channel never fails a run, and whatever the other side does holds no run up for long.
"""

from __future__ import annotations

import platform
import re
import smtplib
import ssl
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from threading import Thread
from threading import enumerate as threads
from typing import Any, Literal

import requests
from pydantic import Field, field_validator, model_validator

from connector import clock
from connector.log import get
from connector.section import Duration, Secret, Section, Wrong, in_words
from connector.state import State, alerts
from connector.state.models import Alert

_LOG = get("alerts")
_WEBHOOK, _EMAIL = "webhook", "email"
#: For each step of a conversation; for all of it; and for what is left of it once somebody waits for the process to end.
_TIMEOUT_S, _LONGEST_S, _LONGEST_STOPPING_S = 10, 20, 2
_GLANCE_S = 0.1
_SUBJECT = 80  # characters of an alert
_HEADERS = HeaderRegistry()
#: What a mail server says of an address that it will not take the next time either (RFC 5321, 4.2.1).
_FOR_GOOD = re.compile(r"^answered 5\d\d$")
_REFUSED_NOTE = "alert_refused:"
#: An option, and those without which it is of no use.
_NEEDS = (("email_to", "email_from", "smtp_host"), ("smtp_user", "smtp_password"), ("smtp_password", "smtp_user"))
#: What a channel has still to hear: (began or ended, alert).
Told = Sequence[tuple[str, Alert]]


class AlertsSection(Section):
    """`[alerts]`: whom to tell when something begins to go wrong, and when it is over. The log is always told."""

    webhook: Secret | None = Field(
        None, description='address that gets a POST of JSON: {"text": …, "events": […]}, as chat services take it'
    )
    email_to: tuple[str, ...] = Field(
        (), description="addresses that get an e-mail; needs `email_from` and `smtp_host`"
    )
    email_from: str = Field("", description="the sender's address")
    smtp_host: str = Field("", description="the mail server")
    smtp_port: int = Field(587, ge=1, le=65535, description="its port")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="how the connection is secured; the server's certificate must hold"
    )
    smtp_user: str = Field("", description="user at the mail server, with `smtp_password`; none when empty")
    smtp_password: Secret | None = Field(None, description="that user's password")
    stalled_after: Duration = Field(
        timedelta(hours=2),
        description="a stream that was not read to its end for so long (and its own interval) is stalled",
    )
    quarantine_per_day: int = Field(
        100, ge=1, description="more things than this set aside in one system within a day are news"
    )
    quiet_streams: bool = Field(True, description="tell of streams that bring far less than they use to")

    @field_validator("email_to", "email_from")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        given = (value,) if isinstance(value, str) and value else tuple(value)
        if wrong := [each for each in given if not _is_address(each)]:
            raise Wrong(*((f"{each!r} is not one e-mail address", "") for each in wrong))
        return value

    @model_validator(mode="after")
    def _has_what_it_needs_to_send(self) -> AlertsSection:
        wrong = [
            (name, *needed)
            for name, *needed in _NEEDS
            if getattr(self, name) and not all(getattr(self, each) for each in needed)
        ]
        if wrong:
            told = ((f"{first} needs {' and '.join(needed)}, too", "") for first, *needed in wrong)
            raise Wrong(*told, of=tuple(name for names in wrong for name in names))
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """What is told apart from the log: each e-mail address is one of its own, as a mail server may refuse one and take another."""
        return (*((_WEBHOOK,) if self.webhook else ()), *(f"{_EMAIL}:{each}" for each in dict.fromkeys(self.email_to)))


def _is_address(text: str) -> bool:
    try:
        found = _addresses(text)
    except IndexError:  # what the standard library's parser makes of "ops@"
        return False
    return len(found) == 1 and bool(found[0].username)


def _addresses(text: str) -> Sequence[Address]:
    header: Any = _HEADERS("to", text)
    return tuple(header.addresses)


def tell(section: AlertsSection, state: State, is_stopping: Callable[[], bool]) -> None:
    """Tell each channel what it has still to hear."""
    for channels, told in _letters(section, state):
        way = channels[0].partition(":")[0]
        send = partial(_post, section, told) if way == _WEBHOOK else partial(_mail, section, channels, told)
        try:
            refused = _bounded(f"alert by {way}", send, is_stopping)
        except (requests.RequestException, smtplib.SMTPException, OSError, ValueError) as problem:
            refused = dict.fromkeys(channels, _cause(problem))
        for channel in channels:
            if channel not in refused:
                alerts.mark_told(state, channel, told)
        news = [channel for channel in channels if _is_news(state, channel, refused.get(channel, ""))]
        if news:
            why = ", ".join(sorted(set(refused.values())))
            _LOG.warning("alert.unsent", channel=way, receivers=len(refused), waiting=len(told), error=why)


def _is_news(state: State, channel: str, why: str) -> bool:
    """Whether the log is to say why a channel did not take what it has to hear: an address that is refused for good, once."""
    note = f"{_REFUSED_NOTE}{channel}"
    before, now = state.note(note), why if channel.startswith(_EMAIL) and _FOR_GOOD.match(why) else ""
    if now != before:
        state.set_note(note, now)
    return bool(why) and (not now or now != before)


def _letters(section: AlertsSection, state: State) -> Sequence[tuple[Sequence[str], Told]]:
    """What goes out together: the channels of one way that have the same to hear, and what that is."""
    letters: dict[Any, tuple[list[str], Told]] = {}
    for channel in section.channels:
        if told := alerts.untold(state, channel):
            same = (channel.partition(":")[0], *((word, alert.id) for word, alert in told))
            letters.setdefault(same, ([], told))[0].append(channel)
    return list(letters.values())


def _bounded(name: str, send: Callable[[], Mapping[str, str]], is_stopping: Callable[[], bool]) -> Mapping[str, str]:
    """What `send` returns or raises, unless it takes too long: then it is left to itself, and hinders no end of the process."""
    if any(each.name == name for each in threads()):
        raise TimeoutError("the last attempt has not ended yet")
    outcome: list[Mapping[str, str] | BaseException] = []

    def attempt() -> None:
        try:
            outcome.append(send())
        except BaseException as problem:  # noqa: BLE001  # raised again by whoever waits, on its own thread
            outcome.append(problem)

    thread = Thread(target=attempt, name=name, daemon=True)
    thread.start()
    end_s = clock.monotonic_s() + _LONGEST_S
    while thread.is_alive() and clock.monotonic_s() < end_s:
        if is_stopping():
            thread.join(_LONGEST_STOPPING_S)
            break
        thread.join(_GLANCE_S)
    if not outcome:
        raise TimeoutError("no whole answer in time")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _cause(problem: Exception) -> str:
    """What went wrong, in words that hold neither the webhook's address, which is a secret, nor what the other side says."""
    reason: BaseException | None = problem
    while reason is not None:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return f"the certificate does not hold: {reason.verify_message}"
        reason = reason.__cause__ or reason.__context__
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        return ", ".join(sorted({_answered(code) for code, _ in problem.recipients.values()}))
    told = f", {_answered(problem.smtp_code)}" if isinstance(problem, smtplib.SMTPResponseException) else ""
    told = f", {problem}" if isinstance(problem, TimeoutError) else told
    return type(problem).__name__ + told


def _answered(code: int) -> str:
    return f"answered {code}"


def _line(word: str, alert: Alert) -> str:
    if word == alerts.ENDED and alert.ended_at:
        return f"OVER after {in_words(_rounded(alert.ended_at - alert.began_at))}: {alert.text}"
    return f"BEGAN {alert.began_at:%-d %b %H:%M} UTC: {alert.text}" + (f" ({alert.hint})" if alert.hint else "")


def _rounded(length: timedelta) -> timedelta:
    return timedelta(minutes=max(1, round(length.total_seconds() / 60)))


def _post(section: AlertsSection, told: Told) -> Mapping[str, str]:
    """Post these; returns why the webhook refused them, if it did."""
    assert section.webhook is not None
    events = [
        {
            "event": word, "kind": alert.kind, "system": alert.system, "stream": alert.stream, "text": alert.text, "hint": alert.hint,
            "began_at": alert.began_at.isoformat(), "ended_at": alert.ended_at.isoformat() if alert.ended_at else None,
        }
        for word, alert in told
    ]  # fmt: skip
    text = "\n".join(f"[connector on {platform.node()}] {_line(word, alert)}" for word, alert in told)
    answer = requests.post(
        section.webhook.get_secret_value(),
        json={"text": text, "events": events},
        timeout=_TIMEOUT_S,
        allow_redirects=False,
        stream=True,
    )
    answer.close()
    return {} if 200 <= answer.status_code < 300 else {_WEBHOOK: _answered(answer.status_code)}


def _mail(section: AlertsSection, channels: Sequence[str], told: Told) -> Mapping[str, str]:
    """Mail these; returns the channels whose address the server refused while it took another, and why."""
    given = {channel: channel.partition(":")[2] for channel in channels}
    bare = {channel: _addresses(address)[0].addr_spec for channel, address in given.items()}
    message = _message(section.email_from, ", ".join(given.values()), told)
    with closing(_connected(section)) as server:
        if section.smtp_user and section.smtp_password is not None:
            server.login(section.smtp_user, section.smtp_password.get_secret_value())
        refused = server.send_message(message, to_addrs=list(bare.values()))
        with suppress(smtplib.SMTPException, OSError):
            server.quit()
    return {channel: _answered(refused[address][0]) for channel, address in bare.items() if address in refused}


def _message(sender: str, receivers: str, told: Told) -> EmailMessage:
    message = EmailMessage()
    word, first = told[0]
    more = f" and {len(told) - 1} more" if len(told) > 1 else ""
    begins = "over" if word == alerts.ENDED else "alert"
    message["Subject"] = " ".join(f"connector {begins}: {_cut(first.text)}{more}".split())
    message["From"], message["To"] = sender, receivers
    message["Date"], message["Message-ID"] = format_datetime(clock.now()), f"<{clock.token()}@{platform.node()}>"
    message.set_content(
        "\n\n".join(_line(each, alert) for each, alert in told) + f"\n\nconnector on {platform.node()}\n"
    )
    return message


def _cut(text: str) -> str:
    """The beginning of a text, in whole words where it has any."""
    cut = textwrap.shorten(text, _SUBJECT, placeholder=" …")
    return cut if cut.strip() != "…" else f"{text[: _SUBJECT - 1]}…"


def _connected(section: AlertsSection) -> smtplib.SMTP:
    """A connection to the mail server. One that is to be secured is, with a certificate that holds, or it is none.

    The standard library's own default for mail checks no certificate.
    """
    context = ssl.create_default_context()
    if section.smtp_security == "tls":
        return smtplib.SMTP_SSL(section.smtp_host, section.smtp_port, timeout=_TIMEOUT_S, context=context)
    server = smtplib.SMTP(section.smtp_host, section.smtp_port, timeout=_TIMEOUT_S)
    if section.smtp_security == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server
