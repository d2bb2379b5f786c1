"""How the service is: its runs, its streams, what waits, what is held, what is set aside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson

from connector.state import State, alerts, freezes, holdings, lease, outbox, pauses, quotas
from connector.state.holdings import LeftBehind
from connector.state.models import Alert, Freeze, Lease, Pause, Poll, Run, RunStep
from connector.state.quotas import Wait


@dataclass(frozen=True)
class Drifted:
    """How many records hold another value than ours in one field, at the last plan that looked; `why` is alert or edited."""

    system: str
    object_type: str
    field: str
    why: str
    records: int


@dataclass(frozen=True)
class Status:
    """What `connector status` shows; everything in it comes from the state, which can be read while a run is at work."""

    now: datetime
    at_work: Lease | None
    runs: Sequence[Run]
    steps: Sequence[RunStep]  # of the last run that pulled
    polls: Sequence[Poll]
    waiting: dict[tuple[str, str, str], int]  # (status, system, lane) -> changes
    held: dict[str, int]  # why -> changes
    quarantine: Sequence[tuple[str, str, str, int]]  # system, field or object, reason, how many
    pauses: Sequence[Pause] = ()
    alerts: Sequence[Alert] = ()
    unsent: Sequence[Alert] = ()  # alerts that are over, and whose end some channel did not take yet
    frozen: Sequence[Freeze] = ()
    drift: Sequence[Drifted] = ()
    quotas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # system -> its budget, as it was last known
    waits: Mapping[str, Wait] = field(default_factory=dict)  # systems with changes that wait for calls
    rows: Mapping[str, int] = field(default_factory=dict)  # system|stream -> live rows in the mart
    changed_at: Mapping[str, datetime] = field(default_factory=dict)  # system|stream -> when something last came
    left_behind: Sequence[LeftBehind] = ()  # systems that are not configured any more

    def is_cut(self, run: Run) -> bool:
        """Whether a run was cut off, and none has gone on since."""
        return run.status == "running" and (self.at_work is None or self.at_work.run != run.id)


def status(state: State, now: datetime, systems: Collection[str], *, runs: int = 5) -> Status:
    """Read the state, of which these systems are configured."""
    newest = state.last_runs(runs)
    pulled = next((run for run in newest if state.steps(run.id or 0)), None)
    asides: dict[tuple[str, str, str], int] = {}
    for row in state.quarantined():
        key = (row.system, row.field or row.stream, row.reason)
        asides[key] = asides.get(key, 0) + 1
    polls = sorted(state.polls().values(), key=lambda poll: poll.key)
    ranked = sorted(((*key, count) for key, count in asides.items()), key=lambda row: -row[3])
    steps = state.steps(pulled.id or 0) if pulled else ()
    paused = list(pauses.standing(state).values())
    return Status(
        now,
        lease.at_work(state),
        newest,
        steps,
        polls,
        state.outbox_counts(),
        outbox.held(state),
        ranked,
        paused,
        alerts.standing(state),
        alerts.unsent(state),
        freezes.active(state, now),
        _drift(state),
        quotas.all_known(state),
        quotas.waits(state),
        holdings.rows(state),
        holdings.changed_at(state, now),
        holdings.left_behind(state, systems),
    )


def _drift(state: State) -> list[Drifted]:
    return [Drifted(**each) for each in orjson.loads(state.note(freezes.DRIFT) or "[]")]


def _stream(told: Status, poll: Poll) -> dict[str, Any]:
    """A stream: when it was read, what it holds, and the counts of the last run that pulled, where it brought rows."""
    changed_at = told.changed_at.get(poll.key)
    counts = next((step for step in told.steps if (step.system, step.stream) == (poll.system, poll.stream)), None)
    names = ("pulled", "applied", "unchanged", "filtered", "quarantined")
    return {
        "system": poll.system, "stream": poll.stream, "polled_at": poll.polled_at.isoformat(), "run": poll.run,
        "changed_at": changed_at.isoformat() if changed_at else None, "rows": told.rows.get(poll.key),
        "last_run": {name: getattr(counts, name) for name in names} if counts and counts.pulled else None,
    }  # fmt: skip


def as_json(told: Status) -> dict[str, Any]:
    """The status for a script."""
    return {
        "now": told.now.isoformat(),
        "at_work": {"run": told.at_work.run, "since": told.at_work.since_at.isoformat()} if told.at_work else None,
        "runs": [
            {
                "run": run.id, "command": run.command, "status": "dead" if told.is_cut(run) else run.status,
                "exit_code": run.exit_code, "started_at": run.started_at.isoformat(),
                "ended_at": run.ended_at.isoformat() if run.ended_at else None,
                "summary": run.summary,
            }
            for run in told.runs
        ],
        "streams": [_stream(told, poll) for poll in told.polls],
        "waiting": [{"status": s, "system": n, "lane": lane, "changes": c} for (s, n, lane), c in told.waiting.items()],
        "held": told.held,
        "alerts": [
            {"kind": a.kind, "system": a.system, "stream": a.stream, "text": a.text, "began_at": a.began_at.isoformat(), "untold": a.untold}
            for a in told.alerts
        ],
        "unsent": [
            {"kind": a.kind, "system": a.system, "stream": a.stream, "text": a.text, "ended_at": a.ended_at.isoformat(), "untold": a.untold}
            for a in told.unsent if a.ended_at
        ],
        "paused": [
            {"system": p.system, "kind": p.kind, "since": p.since_at.isoformat(), "by": p.by, "reason": p.reason}
            for p in told.pauses
        ],
        "frozen": [
            {"record": f.record, "field": f.field, "writer": f.writer, "why": f.why, "until": f.until_at.isoformat()} for f in told.frozen
        ],
        "quotas": {s: {k: q[k] for k in ("limit", "others", "ours", "budget", "left", "at")} for s, q in told.quotas.items()},
        "waits_for_calls": {s: {"why": w.why, "until": w.until_at.isoformat() if w.until_at else None} for s, w in told.waits.items()},
        "left_behind": [asdict(each) for each in told.left_behind],
        "drift": [asdict(each) for each in told.drift],
        "quarantine": [{"system": s, "where": f, "reason": r, "count": c} for s, f, r, c in told.quarantine],
    }  # fmt: skip
