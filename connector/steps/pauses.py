"""Which systems a run leaves out: those that a person paused, and those whose credentials are refused.

Refused credentials are not tried at every run (a system may lock the user): only when they are others than those that were
refused, when an hour has passed, or after `connector check` found that they work.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from connector import clock
from connector.errors import AuthError, ConnectorError
from connector.state import pauses
from connector.state.models import Pause
from connector.steps.setup import Setup

TRIED_EVERY = timedelta(hours=1)


def left_out(setup: Setup, now: datetime) -> tuple[dict[str, Pause], dict[str, ConnectorError]]:
    """The systems that a person paused, and those whose refused credentials are not tried now, with the error to show."""
    asked: dict[str, Pause] = {}
    refused: dict[str, ConnectorError] = {}
    for name, pause in pauses.standing(setup.state).items():
        if name not in setup.systems:
            continue
        if pause.kind == pauses.ASKED:
            asked[name] = pause
        elif pause.credentials == setup.systems[name].credentials and clock.is_within(
            TRIED_EVERY, pause.tried_at or now, now
        ):
            refused[name] = AuthError(
                f"its credentials are refused since {pause.since_at:%-d %b %H:%M} UTC ({pause.reason})",
                hint=f"renew them, or mend the user, then `connector check {name}`",
                system=name,
            )
    return asked, refused


def keep(setup: Setup, errors: Mapping[str, ConnectorError], tried: set[str], now: datetime) -> None:
    """What a run learnt about credentials: `errors` of the systems that it `tried`."""
    for name in tried & set(setup.systems):
        error = errors.get(name)
        if isinstance(error, AuthError):
            credentials = setup.systems[name].credentials
            pauses.refuse(setup.state, name, credentials=credentials, reason=str(error)[:200], now=now)
        elif error is None:
            pauses.lift(setup.state, [name], kinds=(pauses.REFUSED,))
