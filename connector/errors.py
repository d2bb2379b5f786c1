"""Errors, filed by what happens next. Every one carries a hint: what a person can do about it.

No message, hint or body holds a token or a personal value. Exit codes are part of the command line's contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, with its place and its mend."""

    path: str
    what: str
    mend: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return "  ".join(
            part for part in (place, self.path, f"{self.what}{f'; {self.mend}' if self.mend else ''}") if part
        )


class ConnectorError(Exception):
    """The root. `hint` is a sentence for a person; `system` and `request_id` where there is one."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", system: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.system = system
        self.request_id = request_id


class ConfigError(ConnectorError):
    """The configuration has problems: all are told at once, nothing was touched."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "\n".join(str(problem) for problem in problems), hint="mend the lines above and run the command again"
        )
        self.problems = tuple(problems)


class UnsafePlan(ConnectorError):
    """A brake holds a lane; `apply --held`, `--force` or the configuration lifts it."""

    exit_code = 3


class SystemFailure(ConnectorError):
    """One system cannot go on in this run; the others do."""

    exit_code = 4


class AuthError(SystemFailure):
    """The system refuses our credentials: it is paused until `connector check` succeeds or they are renewed; others go on."""


class MissingPermission(SystemFailure):
    """The credentials work but do not reach this object, field or scope: this stream stops, the others go on."""


class QuotaExhausted(ConnectorError):
    """The system's quota is used up: its lane waits until `resets_at`. Not a failure."""

    exit_code = 0

    def __init__(
        self, message: str, *, resets_at: datetime | None = None, hint: str = "", system: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message, hint=hint, system=system, request_id=request_id)
        self.resets_at = resets_at


class TransientError(ConnectorError):
    """The same call may succeed later. `sent` is False only when the request certainly had no effect."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        sent: bool = True,
        hint: str = "",
        system: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint, system=system, request_id=request_id)
        self.retry_after_s = retry_after_s
        self.sent = sent


class TooFast(TransientError):
    """More calls at once than the system takes: the same call succeeds later, at a slower pace. It had no effect."""


class SystemUnavailable(SystemFailure):
    """Retries are used up. `sent` as in TransientError: whether a write may have taken effect."""

    def __init__(
        self, message: str, *, sent: bool = True, hint: str = "", system: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message, hint=hint, system=system, request_id=request_id)
        self.sent = sent


class Interrupted(SystemUnavailable):
    """We were told to end while we waited for the system: the call is not made, or not again. It says nothing of the system."""

    exit_code = 0


class ProtocolError(SystemFailure):
    """An answer that we do not understand: the system is stopped and the redacted body kept."""

    def __init__(self, message: str, *, body: str = "", hint: str = "", system: str = "", request_id: str = "") -> None:
        super().__init__(message, hint=hint, system=system, request_id=request_id)
        self.body = body


class RecordRejected(ConnectorError):
    """The system refuses this record or value: quarantine with the cause. `code` is the vendor's, `fields` are what it names."""

    exit_code = 0

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        fields: tuple[str, ...] = (),
        hint: str = "",
        system: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint, system=system, request_id=request_id)
        self.code = code
        self.fields = fields


class RecordConflict(RecordRejected):
    """The record is not what we planned for (merged, converted, deleted): read it again and plan anew."""


class ConservationError(ConnectorError):
    """pulled = applied + unchanged + filtered + quarantined does not hold: the run failed, the data is kept."""

    exit_code = 4


class StateError(ConnectorError):
    """The transactional store cannot be trusted or used: stop at once."""

    exit_code = 5


class MartError(ConnectorError):
    """The analytical store cannot be trusted or used: stop at once."""

    exit_code = 5


class Busy(ConnectorError):
    """Another run holds the lease."""

    exit_code = 6

    def __init__(self, message: str, *, run: int | None = None, since: datetime | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run = run
        self.since = since
