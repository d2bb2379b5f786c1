"""The sandbox's own clock, which a test or a demo may move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SandboxClock:
    """Real time plus an offset; every timestamp in the sandbox comes from here."""

    def __init__(self, shift_s: float = 0.0) -> None:
        self.shift_s = shift_s

    def now(self) -> datetime:
        """The sandbox's present instant, aware, in UTC."""
        return datetime.now(UTC) + timedelta(seconds=self.shift_s)

    def shift(self, seconds: float) -> None:
        """Move the clock forward (or back, with a negative number) by `seconds`."""
        self.shift_s += seconds

    def set(self, at: datetime) -> None:
        """Make `at` the present instant; time goes on from there."""
        self.shift_s = (at - datetime.now(UTC)).total_seconds()
