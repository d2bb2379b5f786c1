"""The sentence: pull, map, resolve, score, stage, plan, deliver. Everything else in this file is the frame around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile

from connector import clock, undo, writeback
from connector.errors import ConfigError, ConnectorError, QuotaExhausted, UnsafePlan
from connector.expressions import NOW
from connector.log import get
from connector.mart import Mart
from connector.model import System
from connector.plan import Plan
from connector.planfile import Saved
from connector.state import freezes, holdings, lease, outbox, quarantine, quotas, replans, restoring
from connector.steps import first_reads, pair, pauses, stale, standing, unseen
from connector.steps.deliver import deliver
from connector.steps.plan import joined, plans, want
from connector.steps.planned import Shown, details, owners
from connector.steps.portions import Work, changed_parts
from connector.steps.preview import Preview, preview
from connector.steps.pull import pull
from connector.steps.pulled import unread
from connector.steps.rehearsal import rehearsed
from connector.steps.resolve import resolve
from connector.steps.score import score
from connector.steps.setup import Moment, Progress, Setup
from connector.steps.stage import finish as finish_stages
from connector.steps.stage import stage
from connector.steps.take import take
from connector.summary import Summary
from connector.undo import Undoing

_LOG = get("pipeline")
_LEARNED = "learned:"  # what the system's adapter found out about it


@dataclass(frozen=True)
class Looked:
    """A plan and how to show it: its persons, and the names of the customer's own people by (system, native id)."""

    preview: Preview
    persons: Sequence[Shown]
    owners: Mapping[tuple[str, str], str]

    @property
    def plan(self) -> Plan:
        """What would enter the outbox."""
        return self.preview.plan


def sync(
    setup: Setup, systems: Mapping[str, System], moment: Moment, progress: Progress, *, full: bool = False
) -> Summary:
    """One whole run over connected systems."""
    summary = Summary(moment.run)
    progress.say("pull", "reading what changed")
    summary.pulled = pull(setup, systems, moment, progress)
    if progress.is_stopping():
        return summary
    _after_pull(setup, systems, summary)
    with setup.mart() as mart:
        if not compute(setup, mart, moment, progress, summary):
            return summary
        remember(setup, mart, moment)
        progress.say("plan", "comparing with what the systems hold")
        anew = standing.anew(setup, moment)
        for portion in plans(setup, mart, moment, anew, full=full):
            summary.add(portion, writeback.enqueue(setup.state, portion, run=moment.run, now=clock.now()))
            if progress.is_stopping():  # the next run compares with what the last one that came so far had planned
                return summary
    standing.mark_planned(setup, moment, anew)
    summary.held = Counter(outbox.held(setup.state))
    summary.frozen = [row for row in freezes.active(setup.state, moment.now) if row.since_at == moment.now]
    going = outbox.going(setup.state)
    progress.say("deliver", f"{going:,} change{'' if going == 1 else 's'}")
    _send(setup, systems, summary, moment, progress)
    return summary


def compute(
    setup: Setup, mart: Mart, moment: Moment, progress: Progress, summary: Summary, *, is_in_one: bool = False
) -> bool:
    """Resolve, score, stage, and what every record should hold. Quiet when nothing is new.

    One transaction, or one for each portion where there is much to do; none of its own when `is_in_one` of the caller's. Returns
    whether all of it was done: asked to stop it ends between two portions, and the next run goes on with the rest.
    """
    mart.tell(now=moment.now, run=moment.run)
    if not is_anything_to_do(setup, mart):
        return True
    work = Work(setup, mart)
    while not work.is_done():
        if progress.is_stopping():
            return False
        with nullcontext() if is_in_one else mart.transaction():
            place = work.take()
            progress.say("resolve", "who is who" + place)
            summary.resolved += resolve(setup, mart, moment, is_whole=work.is_whole)
            progress.say("score", "how good, how ready" + place)
            summary.scored += score(setup, mart)
            progress.say("stage", "where in the lifecycle" + place)
            summary.staged += stage(setup, mart, moment, is_whole=work.is_whole)
            want(setup, mart, moment)
            work.settle()
            if work.is_done():
                finish_stages(mart)
            pair.advance(mart, moment.run)
        if not (work.is_whole or is_in_one):
            mart.checkpoint()
    return True


def compute_as_planned(setup: Setup, planned: Moment, moment: Moment, progress: Progress, summary: Summary) -> bool:
    """What the run `planned` had computed and let go of, now that it is written: at its instant, unless another one computed since.

    What fires with it, or with what was read since, is in the next plan. Returns whether all of it was done, as `compute`.
    """
    is_latest = not setup.state.is_computed_since(planned.run) and planned.now <= moment.now
    then = Moment(moment.run, planned.now) if is_latest else moment
    with setup.mart() as mart:
        is_computed = compute(setup, mart, then, progress, summary)
        if is_computed:
            remember(setup, mart, then)
    return is_computed


def lift(setup: Setup, moment: Moment) -> tuple[int, list[str]]:
    """Let go what is held, as far as a plan would make it as it is, with all that was just read. Returns how much, and what is left
    out of it, a line each."""
    with setup.mart() as mart:
        stale.withdraw(setup, mart)
        others = stale.let_go(setup, mart, moment)
    refused = [
        f"{record}: what was held of it is not wanted as it was; the next sync plans it anew" for record in others
    ]
    return writeback.lift(setup.state), refused


def is_anything_to_do(setup: Setup, mart: Mart) -> bool:
    """Whether a record is dirty, time has come for somebody, or a setting changed since the last recompute."""
    due = mart.table("due")
    is_due = mart.count(due.filter(due.due_at <= NOW)) > 0
    return is_due or bool(changed_parts(setup, mart)) or mart.count(mart.table("dirty")) > 0


def look(
    setup: Setup, systems: Mapping[str, System], moment: Moment, progress: Progress
) -> tuple[Summary, Looked | None]:
    """What a sync would do: pulled pages are kept, nothing computed is. Returns how to show its persons, too; None: asked to stop
    before all of it was known."""
    summary = Summary(moment.run)
    summary.pulled = pull(setup, systems, moment, progress)
    if progress.is_stopping():
        return summary, None
    _after_pull(setup, systems, summary)
    with rehearsed(setup, moment) as (mart, is_in_one):
        if not compute(setup, mart, moment, progress, summary, is_in_one=is_in_one):
            return summary, None
        portions = plans(setup, mart, moment, standing.anew(setup, moment), is_dry=True)
        taken = list(takewhile(lambda _: not progress.is_stopping(), portions))
        if progress.is_stopping():
            return summary, None
        found = preview(setup, mart, systems, joined(taken), moment)
        summary.add(found.plan, 0)
        summary.held = Counter(found.held)
        shown = Looked(found, details(setup, mart, found.plan), owners(mart))
    return summary, shown


def apply(
    setup: Setup,
    systems: Mapping[str, System],
    saved: Saved,
    moment: Moment,
    progress: Progress,
    *,
    is_forced: bool = False,
) -> tuple[Summary, list[str]]:
    """Write a saved plan, as far as what it was made from still holds. Returns what is left out, too, a line each."""
    summary, refused = Summary(moment.run), list[str]()
    summary.pulled = pull(setup, systems, moment, progress)
    if not progress.is_stopping():
        unknown = unread(setup, systems, summary.pulled)
        kept, entered, refused = take(setup, saved, moment.run, unknown, is_forced=is_forced)
        summary.add(kept, entered)
        planned = Moment(saved.run, saved.made_at)
        if compute_as_planned(setup, planned, moment, progress, summary) and is_forced:
            refused += lift(setup, moment)[1]
    summary.held = Counter(outbox.held(setup.state))
    _send(setup, systems, summary, moment, progress)
    return summary, refused


def let_go(
    setup: Setup, systems: Mapping[str, System], moment: Moment, progress: Progress
) -> tuple[Summary, int, list[str]]:
    """Write what a brake holds, as far as it is still wanted. Returns how much of it was let go, and what is left out, too."""
    summary = Summary(moment.run)
    summary.pulled = pull(setup, systems, moment, progress)
    lifted, refused = 0, list[str]()
    with setup.mart() as mart:
        is_computed = compute(setup, mart, moment, progress, summary)
        if is_computed:
            remember(setup, mart, moment)
    if is_computed:
        lifted, refused = lift(setup, moment)
    summary.held = Counter(outbox.held(setup.state))
    _send(setup, systems, summary, moment, progress)
    return summary, lifted, refused


def take_back(
    setup: Setup, systems: Mapping[str, System], run: int, moment: Moment, progress: Progress, *, is_dry: bool = False
) -> tuple[Summary, Undoing]:
    """Restore what was there before a run, where nobody has changed it since; with `is_dry` only say what that would be."""
    summary = Summary(moment.run)
    summary.pulled = pull(setup, systems, moment, progress)
    with setup.mart() as mart:
        found = undo.undoing(setup.state, mart, run, unread=unread(setup, systems, summary.pulled))
    if not (is_dry or progress.is_stopping()):
        undo.freeze(setup.state, found, run, since=moment.now, until=moment.now + setup.writeback.fights.freeze_for)
        undo.withdraw(setup.state, found, moment.now)
        summary.add(found.plan, writeback.enqueue(setup.state, found.plan, run=moment.run, now=moment.now))
        _send(setup, systems, summary, moment, progress)
        found = undo.told(setup.state, found)
    return summary, found


def _send(setup: Setup, systems: Mapping[str, System], summary: Summary, moment: Moment, progress: Progress) -> None:
    """Deliver what waits. What was to take a run back, and what somebody else did since the pull before it, ends first."""
    if waiting := restoring.unfinished(setup.state, before=moment.run):
        with setup.mart() as mart:
            summary.overtaken = undo.overtaken(setup.state, mart, waiting)
    summary.delivered = deliver(setup, systems, summary.pulled, moment, progress)


def _after_pull(setup: Setup, systems: Mapping[str, System], summary: Summary) -> None:
    """What was set aside for want of access that is there now takes part in this run's plan; a used budget says until when."""
    for name, system in systems.items():
        error = summary.pulled.failures.get(name)
        if isinstance(error, QuotaExhausted) and system.governor is not None:
            error.resets_at = error.resets_at or system.governor.resets_at()
        if system.target is not None and error is None:
            writeback.release_mended(setup.state, system, setup.writeback)


def remember(setup: Setup, mart: Mart, moment: Moment) -> None:
    """The recompute is in the mart: keep its instant."""
    setup.state.mark_computed(moment.run, moment.now)
    first_reads.keep(setup.state)
    pair.remember(setup.state, mart)


# ------------------------------------------------------------------------------------------------------------ the frame


@contextmanager
def running(setup: Setup, command: str, *, wait_s: float = 0.0, adopts: bool = False) -> Iterator[Moment]:
    """The lease, a run in the state, and its end whatever happens. Raises Busy when another run is at work.

    Raises MartError when the two stores do not belong together, unless it `adopts` them as they are.
    """
    with lease.hold(setup.state, wait_s=wait_s) as holder:
        with setup.mart() as mart:
            if not adopts:
                pair.check(setup.state, mart)
            elif pair.adopt(setup.state, mart):
                unseen.begin(setup, setup.state)
        now = clock.now()
        run = setup.state.start_run(command, now, setup.fingerprints.get("config", ""))
        setup.state.bury_dead_runs(run, now)
        lease.note_run(setup.state, holder, run)
        try:
            with _placing(setup):
                yield Moment(run, now)
        except ConnectorError as problem:
            setup.state.end_run(
                run, clock.now(), status="failed", exit_code=problem.exit_code, summary={"error": str(problem)}
            )
            raise
        except BaseException:
            setup.state.end_run(run, clock.now(), status="failed", exit_code=1, summary={})
            raise


@contextmanager
def _placing(setup: Setup) -> Iterator[None]:
    """What a system shows to be wrong with the configuration is told with its place there, as what is wrong in itself."""
    try:
        yield
    except ConfigError as problem:
        raise ConfigError([setup.place(each) for each in problem.problems]) from None


def finish(setup: Setup, summary: Summary, *, is_stopped: bool = False, is_learning: bool = True) -> None:
    """Close a run with what it did, and keep what it learnt about credentials, where it went to the systems."""
    refused = replans.refused(setup.state)
    summary.is_stopped = is_stopped
    summary.aside = len(refused)
    summary.mends = [hint for hint, _ in Counter(row.hint for row in refused if row.hint).most_common()]
    for (status, system, _), count in setup.state.outbox_counts().items():
        summary.doubtful[system] += count if status in outbox.IN_DOUBT else 0
    unseen_fields = quarantine.causes(setup.state, kind="field")
    summary.hidden = {f"{each.system}: {each.reason}": each.hint for each in unseen_fields}
    summary.left_behind = holdings.left_behind(setup.state, setup.systems)
    summary.paused, unwelcome = pauses.left_out(setup, clock.now())
    if is_learning:
        pauses.keep(setup, summary.errors, set(setup.systems) - set(summary.paused) - set(unwelcome), clock.now())
    status = "stopped" if is_stopped else "failed" if summary.exit_code not in (0, UnsafePlan.exit_code) else "done"
    setup.state.end_run(summary.run, clock.now(), status=status, exit_code=summary.exit_code, summary=summary.as_json())


@contextmanager
def connected(
    setup: Setup, names: tuple[str, ...] = (), *, with_paused: bool = False
) -> Iterator[tuple[dict[str, System], dict[str, ConnectorError]]]:
    """The systems, connected; those that cannot be are named with their error. All are closed at the end.

    A system that is paused is left out, unless `with_paused`; one whose credentials are refused is among the failures.
    """
    systems: dict[str, System] = {}
    asked, failures = ({}, {}) if with_paused else pauses.left_out(setup, clock.now())
    try:
        for name, each in setup.systems.items():
            if (names and name not in names) or name in asked or name in failures:
                continue
            try:
                systems[name] = each.connect()
                _recall(setup, systems[name])
            except ConnectorError as problem:
                failures[name] = problem
                _LOG.info("connect.failed", system=name, error=type(problem).__name__)
        yield systems, failures
    finally:
        for system in systems.values():
            _keep(setup, system)
            system.close()


def _recall(setup: Setup, system: System) -> None:
    if system.governor is not None:
        system.governor.recall(quotas.known(setup.state, system.name))
    if system.learned is not None:
        system.learned.recall(setup.state.note(f"{_LEARNED}{system.name}"))


def _keep(setup: Setup, system: System) -> None:
    if system.governor is not None:
        quotas.keep(setup.state, system.name, system.governor.kept())
    if system.learned is not None:
        note, kept = f"{_LEARNED}{system.name}", system.learned.kept()
        if kept != setup.state.note(note):
            setup.state.set_note(note, kept)
