"""Verbs that work: pull, plan, apply, sync, run."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from connector import alerts, clock, doctor, log, pipeline, planfile
from connector import app as wiring
from connector.cli.house import open_house
from connector.cli.progress import progress_hooks
from connector.cli.screen import (
    CONFIG,
    ConfigOption,
    JsonOption,
    WaitOption,
    a_file,
    err,
    escape,
    ok,
    print_json,
    report_error,
    tell,
)
from connector.cli.show_plan import as_json_besides, show_plan
from connector.cli.show_run import show_summary
from connector.config import Config, load
from connector.errors import Busy, ConfigError, ConnectorError, StateError
from connector.scheduler import ScheduleSection, Stop, serve, stopping_on_signals
from connector.state import erasure
from connector.steps.pull import pull as pull_step
from connector.steps.setup import Setup
from connector.summary import Summary

_LOG = log.get("cli")
_FEW = 20  # refused records that are named on the screen


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    for verb in (pull, plan, apply, sync, run):
        app.command()(verb)


def pull(
    config: ConfigOption = CONFIG,
    full: Annotated[bool, typer.Option("--full", help="Read everything again from the beginning.")] = False,
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """Read what changed into the mart; compute and write nothing."""
    loaded, setup = open_house(config)
    with (
        stopping_on_signals() as stop,
        progress_hooks(is_quiet=as_json) as hooks,
        pipeline.running(setup, "pull", wait_s=wait, adopts=full) as moment,
        pipeline.connected(setup) as (systems, failures),
    ):
        summary = Summary(moment.run, failures=failures)
        stoppable = replace(hooks, is_stopping=stop.is_asked)
        summary.pulled = pull_step(setup, systems, moment, stoppable, is_full=full)
        _finish(loaded, setup, summary, stop)
    _end(summary, as_json)


def sync(
    config: ConfigOption = CONFIG,
    full: Annotated[bool, typer.Option("--full", help="Compare every record, not only what changed.")] = False,
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """One whole run: pull, map, resolve, score, stage, plan, deliver."""
    loaded, setup = open_house(config)
    with stopping_on_signals() as stop:
        summary = _sync(loaded, setup, stop, full=full, is_quiet=as_json, wait_s=wait)
    _end(summary, as_json)


def _finish(loaded: Config, setup: Setup, summary: Summary, stop: Stop, *, is_file_broken: bool = False) -> None:
    """Close the run, and tell what began and what is over."""
    pipeline.finish(setup, summary, is_stopped=stop.is_asked())
    alerts.after_run(loaded.alerts, setup, summary, is_file_broken=is_file_broken, is_stopping=stop.is_asked)


def _sync(loaded: Config, setup: Setup, stop: Stop, **how: Any) -> Summary:
    """A whole run, as `_run` makes it; one that cannot be made is an alert."""
    try:
        return _run(loaded, setup, stop, **how)
    except (Busy, StateError):
        raise
    except ConnectorError as problem:
        text = f"a run failed: {problem}"
        alerts.failed(loaded.alerts, setup.state, "run_failed", text, problem.hint, is_stopping=stop.is_asked)
        raise


def _run(
    loaded: Config,
    setup: Setup,
    stop: Stop,
    *,
    full: bool,
    is_quiet: bool = True,
    wait_s: float = 0.0,
    is_file_broken: bool = False,
) -> Summary:
    with (
        progress_hooks(is_quiet=is_quiet) as hooks,
        pipeline.running(setup, "full" if full else "sync", wait_s=wait_s) as moment,
        pipeline.connected(setup) as (systems, failures),
    ):
        summary = pipeline.sync(setup, systems, moment, replace(hooks, is_stopping=stop.is_asked), full=full)
        summary.failures = failures
        _finish(loaded, setup, summary, stop, is_file_broken=is_file_broken)
    return summary


def _end(summary: Summary, as_json: bool, **besides: Any) -> None:
    if as_json:
        print_json({"run": summary.run, "exit_code": summary.exit_code} | summary.as_json() | besides)
    else:
        show_summary(summary, has_refused=bool(besides.get("refused")))
    if summary.exit_code:
        sys.exit(summary.exit_code)


def plan(
    config: ConfigOption = CONFIG,
    show_all: Annotated[bool, typer.Option("--all", help="Show every person, not only the first few.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", callback=a_file, help="Keep the plan in this file for `apply`.")
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 10 when there are changes.")] = False,
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """What a sync would write, per record, with its reason and its number of API calls. Writes nothing."""
    loaded, setup = open_house(config)
    with (
        stopping_on_signals() as stop,
        progress_hooks(is_quiet=as_json) as hooks,
        pipeline.running(setup, "plan", wait_s=wait) as moment,
        pipeline.connected(setup) as (systems, failures),
    ):
        summary, looked = pipeline.look(setup, systems, moment, replace(hooks, is_stopping=stop.is_asked))
        summary.failures = failures
        unready = doctor.unready(setup, systems, looked.plan.changes) if looked else []
        _finish(loaded, setup, summary, stop)
    if looked is None:
        tell("[yellow]![/yellow] no plan was made before the stop; give the command again", to=err)
        _end(summary, as_json)
        sys.exit(int(exit_code))  # who asks whether there are changes is not told that there are none
    file = save or loaded.directory / planfile.DEFAULT
    erasure.keep_plan(setup.state, file)
    planfile.save(file, looked.plan, run=moment.run, fingerprint=loaded.fingerprint, made_at=moment.now)
    if as_json:
        values = planfile.as_json(looked.plan, run=moment.run, fingerprint=loaded.fingerprint, made_at=moment.now)
        print_json(values | as_json_besides(summary, looked, unready))
    else:
        show_plan(summary, looked, unready, show_all=show_all)
    if summary.exit_code not in (0, 3):
        sys.exit(summary.exit_code)
    if exit_code and summary.planned:
        sys.exit(10)


def apply(
    file: Annotated[
        Path | None, typer.Argument(help="A plan that `connector plan` saved.", show_default="the last one")
    ] = None,
    config: ConfigOption = CONFIG,
    held: Annotated[bool, typer.Option("--held", help="Let go what a brake holds in the outbox.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write what the brakes hold, in the plan and before.")] = False,
    as_json: JsonOption = False,
    wait: WaitOption = 0.0,
) -> None:
    """Write a saved plan, as far as what it was made from still holds: reads first; records that drifted are refused by name."""
    if held and (file is not None or force):
        beside = f"the plan {file}" if file is not None else "--force"
        raise typer.BadParameter(
            f"lets go what the outbox holds and reads no plan; give it without {beside}", param_hint="--held"
        )
    loaded, setup = open_house(config)
    saved = None if held else planfile.read(file or loaded.directory / planfile.DEFAULT, fingerprint=loaded.fingerprint)
    refused, lifted = list[str](), 0
    with (
        stopping_on_signals() as stop,
        progress_hooks(is_quiet=as_json) as hooks,
        pipeline.running(setup, "apply", wait_s=wait) as moment,
        pipeline.connected(setup) as (systems, failures),
    ):
        progress = replace(hooks, is_stopping=stop.is_asked)
        if saved is None:
            summary, lifted, refused = pipeline.let_go(setup, systems, moment, progress)
        else:
            summary, refused = pipeline.apply(setup, systems, saved, moment, progress, is_forced=force)
        summary.failures = failures
        _finish(loaded, setup, summary, stop)
    if saved is None:
        tell(f"{lifted:,} held change{'' if lifted == 1 else 's'} let go", to=err)
    for line in refused[:_FEW]:
        tell(f"[yellow]![/yellow] {escape(line)}", to=err)
    if len(refused) > _FEW:
        tell(f"  … {len(refused) - _FEW:,} more records left out (--json names them)", to=err)
    if summary.is_stopped and saved is not None and summary.totals is None:
        tell("[yellow]![/yellow] nothing of the plan was taken up before the stop; give the command again", to=err)
    _end(summary, as_json, refused=refused)


def run(
    config: ConfigOption = CONFIG,
    once: Annotated[
        bool, typer.Option("--once", help="End after the first sync, with its exit code; for trying a schedule out.")
    ] = False,
) -> None:
    """Sync on schedule until SIGTERM. The configuration is read anew before every run; a broken one keeps the last good one."""
    service = _Service(config, once)
    with stopping_on_signals() as stop:
        service.serve(stop)
    if once and service.code:
        sys.exit(service.code)


def _said(schedule: ScheduleSection) -> str:
    full = f", full {schedule.full}" if schedule.full else ""
    return f"sync {schedule.sync}{full} ({schedule.timezone})"


class _Service:
    """The scheduled service: its last good configuration, and one run after another."""

    def __init__(self, file: Path, is_once: bool) -> None:
        self.file, self.is_once, self.runs, self.code = file, is_once, 0, 0
        self.is_stopped = True  # until a run has come to its end
        self.written, self.told = _written(file), ""
        self.config, self.setup = open_house(file)
        self.schedule = self.config.schedule

    def serve(self, stop: Stop) -> None:
        """Until asked to stop."""
        tell(ok(f"running: {_said(self.schedule)}"))
        serve(
            self.scheduled,
            {"sync": lambda: self.sync(stop, full=False), "full": lambda: self.sync(stop, full=True)},
            stop=stop,
            last_at=self._last_at(),
            on_error=lambda job, problem: _LOG.error("run.bug", job=job, error=type(problem).__name__),
            is_done=lambda: self.is_once and self.runs > 0,
        )
        tell(ok("ended, as --once asks" if self.is_once and not self.is_stopped else "stopped after settling"))

    def _last_at(self) -> dict[str, datetime | None]:
        """When each job began last. The very first run reads all there is, as a full one."""
        if self.is_once:
            return {"sync": None}
        begun = self.setup.state.begun()
        ran = [at for name, at in begun.items() if name in ("sync", "full")]
        first = self.setup.state.first_run_at()
        fulls = {"full": begun.get("full", first)} if first else {}
        return {"sync": max(ran, default=None), **fulls}

    def scheduled(self) -> ScheduleSection:
        """The schedule that holds now. The file is read as soon as it was written: the next run may be a night away."""
        if (written := _written(self.file)) != self.written:
            self.written = written
            try:
                schedule = load(self.file).schedule
            except ConfigError as problem:
                self._say(problem)
            else:
                if schedule != self.schedule:
                    tell(ok(f"from now on: {_said(schedule)}"))
                self.schedule = schedule
        return self.schedule

    def sync(self, stop: Stop, *, full: bool) -> None:
        """One run; what goes wrong is said and the service goes on."""
        try:
            is_broken = not self._read_again(stop)
            summary = _sync(self.config, self.setup, stop, full=full, is_file_broken=is_broken)
            tell(f"[bold]{clock.now():%-d %b %H:%M} UTC[/bold]  {'full' if full else 'sync'}, run {summary.run}")
            show_summary(summary)
            self.code = 0 if stop.is_asked() else summary.exit_code
        except Busy as problem:
            self.code = problem.exit_code
            tell(f"[yellow]![/yellow] {escape(str(problem))}: this run is left out", to=err)
        except ConnectorError as problem:
            self.code = problem.exit_code
            report_error(problem)
        finally:
            self.is_stopped = stop.is_asked()
            self.setup.state.close()  # between two runs nothing is held that somebody may want to restore
        self.runs += 1

    def _read_again(self, stop: Stop) -> bool:
        """Take the file and its secrets as they are now; False when they cannot be used, and the last good ones stay."""
        try:
            config = load(self.file)
            setup = self.setup if config == self.config else wiring.build(config)
        except (ConfigError, StateError) as problem:
            self._say(problem)
            count = len(problem.problems) if isinstance(problem, ConfigError) else 1
            text = (
                f"the configuration is broken ({count} problem{'' if count == 1 else 's'}); the last good one is used"
            )
            hint = "`connector check` names them"
            alerts.failed(self.config.alerts, self.setup.state, "configuration", text, hint, is_stopping=stop.is_asked)
            return False
        if self.told:
            tell(ok("the configuration is good again, and holds from now on"))
            self.told = ""
        if setup is not self.setup:
            self.setup.state.close()
            self.config, self.setup = config, setup
            log.configure(config.log)
            _LOG.info("config.changed")
        return True

    def _say(self, problem: ConnectorError) -> None:
        """What is wrong with the configuration, once for as long as it stays the same."""
        told = repr(problem.problems if isinstance(problem, ConfigError) else problem)
        if told != self.told:
            self.told = told
            tell("[yellow]![/yellow] the configuration is broken; going on with the last good one", to=err)
            report_error(problem, otherwise="It holds as soon as it is mended.")


def _written(file: Path) -> tuple[int, int, int] | None:
    """What tells that a file was written since; None when it is not there."""
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino
