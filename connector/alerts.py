"""Alerts: what an operator should know without looking. Each is told once when it begins and once when it ends.

They are judged after every run from what the run did and from the state; kept there, so that a restart repeats nothing; and told by
log and `channels`. No personal values.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from connector import channels, clock
from connector.channels import AlertsSection
from connector.errors import AuthError, ConnectorError, Interrupted, QuotaExhausted
from connector.log import get
from connector.state import State, alerts, outbox
from connector.state.models import Alert
from connector.steps.setup import Setup
from connector.summary import Summary

_LOG = get("alerts")
#: What differs from run to run in the reason of a brake.
_NUMBER = re.compile(r"\d[\d,.]*")
STALLED, QUIET = "stream_stalled", "stream_quiet"
_DAY = timedelta(days=1)
#: How far back a stream's own history goes, and how much of it is needed to judge by.
_HISTORY_DAYS, _SAME_WEEKDAYS, _ANY_DAYS = 28, 3, 7
#: A day is quiet when it brings less than a quarter of what is usual, and less than three deviations (of the logarithm) below it.
_LEAST_DROP, _DEVIATIONS, _LEAST_USUAL = math.log(4), 3 * 1.4826, 10


# ------------------------------------------------------------------------------------------------------------ telling


def after_run(
    section: AlertsSection,
    setup: Setup,
    summary: Summary,
    *,
    is_file_broken: bool = False,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Judge a run that ended, keep what began and what is over, and tell it.

    is_file_broken: the run was made with the last good configuration, as the file is none now.
    is_stopping: whether somebody waits for the process to end.
    """
    now = clock.now()
    present = {alert.key: alert for alert in judge(section, setup, summary, now)}
    streams = set(summary.pulled.counts) | set(summary.pulled.stream_failures)
    tried = set(setup.systems) - set(summary.paused)

    def is_judged(alert: Alert) -> bool:
        """Whether this run could have seen it again."""
        if alert.kind == "configuration":
            return not is_file_broken
        if not _is_configured(setup, alert):
            return True
        if alert.kind in ("system_down", "credentials_refused") or (alert.kind == STALLED and not alert.stream):
            is_cut_off = isinstance(summary.errors.get(alert.system), Interrupted)
            is_tried = alert.system in tried and not is_cut_off
            return is_tried and bool(summary.pulled.calls or summary.delivered or summary.errors)
        is_seen = not alert.stream or (alert.system, alert.stream) in streams
        return is_seen and not (alert.kind in (STALLED, QUIET) and alert.system in summary.errors)

    _keep(section, setup.state, present, is_judged, now, is_stopping)


def _is_configured(setup: Setup, alert: Alert) -> bool:
    """Whether what an alert is about is there at all: nothing tells any more of a system or stream that was taken out."""
    if not alert.system:
        return True
    connected = setup.systems.get(alert.system)
    return connected is not None and (not alert.stream or alert.stream in {each.name for each in connected.streams()})


def failed(
    section: AlertsSection,
    state: State,
    kind: str,
    text: str,
    hint: str,
    *,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """A run could not be made at all (`run_failed`), or the configuration is broken (`configuration`)."""
    alert = _alert(kind, text, hint)
    _keep(section, state, {alert.key: alert}, lambda _: False, clock.now(), is_stopping)


def _keep(
    section: AlertsSection,
    state: State,
    present: dict[str, Alert],
    is_judged: Callable[[Alert], bool],
    now: datetime,
    is_stopping: Callable[[], bool],
) -> None:
    raised, over = alerts.keep(state, present, is_judged, channels=section.channels, now=now)
    for alert in raised:
        _LOG.warning("alert.began", kind=alert.kind, system=alert.system, stream=alert.stream, text=alert.text)
    for alert in over:
        _LOG.warning("alert.ended", kind=alert.kind, system=alert.system, stream=alert.stream, text=alert.text)
    channels.tell(section, state, is_stopping)


# ------------------------------------------------------------------------------------------------------------ judging


def judge(section: AlertsSection, setup: Setup, summary: Summary, now: datetime) -> Iterator[Alert]:
    """What is wrong after this run."""
    yield from _systems(summary.errors)
    yield from _without_quota(section, setup, summary, now)
    yield from _streams(section, setup, summary, now)
    for (system, stream), counts in summary.pulled.counts.items():
        if not counts.is_conserved:
            text = f"{system} {stream}: {counts.pulled:,} pulled, but the counts do not add up; something was lost"
            yield _alert("conservation", text, "report this; the data is kept", system, stream)
    for why, count in outbox.held(setup.state).items():
        hint = "look with `connector status`, let go with `connector apply --held`"
        text = f"{count:,} change{' is' if count == 1 else 's are'} held: {why}"
        yield _alert("brake", text, hint, of=_NUMBER.sub("#", why))
    for system, count in alerts.set_aside(setup.state, now - _DAY, now).items():
        if count > section.quarantine_per_day:
            text = f"{system}: {count:,} things were set aside within a day (limit {section.quarantine_per_day:,})"
            yield _alert("quarantine", text, "`connector quarantine` says why", system)


def _alert(kind: str, text: str, hint: str, system: str = "", stream: str = "", *, of: str = "") -> Alert:
    key = "|".join((kind, system, stream, of))
    return Alert(key=key, kind=kind, system=system, stream=stream, text=text[:500], hint=hint)


def _systems(errors: dict[str, ConnectorError]) -> Iterator[Alert]:
    for system, error in errors.items():
        if isinstance(error, AuthError):
            yield _alert("credentials_refused", f"{system} refuses our credentials", error.hint, system)
        elif not isinstance(error, QuotaExhausted | Interrupted):
            yield _alert("system_down", f"{system} cannot be used: {error}", error.hint, system)


def _without_quota(section: AlertsSection, setup: Setup, summary: Summary, now: datetime) -> Iterator[Alert]:
    """Systems that are not read for want of quota: no failure of a run, but somebody should know when it lasts."""
    polls = setup.state.polls()
    for system, error in summary.errors.items():
        if not isinstance(error, QuotaExhausted) or system not in setup.systems:
            continue
        known = [
            (poll.polled_at, setup.every.get(f"{system}.{stream.name}", stream.every))
            for stream in setup.systems[system].streams()
            if (poll := polls.get(f"{system}|{stream.name}")) is not None
        ]
        late = [at for at, every in known if not clock.is_within(section.stalled_after + every, at, now)]
        if late:
            text = f"{system} was not read to its end since {min(late):%-d %b %H:%M} UTC: {error}"
            yield _alert(STALLED, text, error.hint or "see what uses its calls, or raise [systems.*.quota]", system)


def _streams(section: AlertsSection, setup: Setup, summary: Summary, now: datetime) -> Iterator[Alert]:
    """Streams of the systems that work: stalled ones, and those that went quiet."""
    polls = setup.state.polls()
    usual = alerts.news_by_day(setup.state, now, _HISTORY_DAYS + 1) if section.quiet_streams else {}
    seen = set(summary.pulled.counts) | set(summary.pulled.stream_failures)
    for system, stream in sorted(seen):
        if system in summary.errors or system in summary.paused:
            continue
        poll, error = polls.get(f"{system}|{stream}"), summary.pulled.stream_failures.get((system, stream))
        every = setup.every.get(f"{system}.{stream}", timedelta(0))
        if error is not None and (
            poll is None or not clock.is_within(section.stalled_after + every, poll.polled_at, now)
        ):
            since = f" since {poll.polled_at:%-d %b %H:%M} UTC" if poll else " yet"
            yield _alert(
                STALLED,
                f"{system} {stream} was not read to its end{since}: {error}",
                error.hint,
                system,
                stream,
            )
        elif error is None and is_quiet(days := usual.get((system, stream), [])):
            text = f"{system} {stream} has gone quiet: {days[0]:,} in the last day, about {round(_usual(days)):,} are usual"
            yield _alert(
                QUIET,
                text,
                "see in the system whether it still records them, and whether we may see them",
                system,
                stream,
            )


def is_quiet(days: Sequence[int]) -> bool:
    """Whether the newest of these days (newest first) brought far less than the stream's own history lets expect.

    The same weekdays are compared where there are three of them, else any seven days. Medians and deviations from them
    (of logarithms) do not mind a back-fill or a day on which the service stood still.
    """
    before = _comparable(days)
    if not before or _usual(days) < _LEAST_USUAL:
        return False
    logs = [math.log1p(count) for count in before]
    middle = statistics.median(logs)
    spread = statistics.median(abs(each - middle) for each in logs)
    return math.log1p(days[0]) < middle - max(_DEVIATIONS * spread, _LEAST_DROP)


def _comparable(days: Sequence[int]) -> Sequence[int]:
    weekdays = days[7::7]
    if len(weekdays) >= _SAME_WEEKDAYS:
        return weekdays
    return days[1:] if len(days) > _ANY_DAYS else ()


def _usual(days: Sequence[int]) -> float:
    before = _comparable(days)
    return float(statistics.median(before)) if before else 0.0
