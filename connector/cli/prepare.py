"""Verbs before the first run: init, check, install."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.prompt import Confirm, Prompt

from connector import doctor
from connector.cli import starter
from connector.cli.house import open_house
from connector.cli.screen import CONFIG, ConfigOption, JsonOption, err, escape, ok, print_json, report_error, tell
from connector.doctor import Checked
from connector.errors import ConnectorError
from connector.model import Check, Finding, InstallStep, Step, System
from connector.pipeline import connected
from connector.sources import ADAPTERS
from connector.state import pauses
from connector.steps.setup import Setup
from connector.writeback import ask_access_anew

NamesArgument = Annotated[list[str] | None, typer.Argument(help="Only these systems.", show_default="all")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(init)
    app.command()(check)
    app.command()(install)


def init(
    config: ConfigOption = CONFIG,
    system: Annotated[
        list[str] | None, typer.Option("--system", help="A kind of system to connect; may be given again.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, take the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Ask a few questions and write a commented configuration."""
    if config.exists() and not force:
        raise ConnectorError(
            f"{config} exists already", hint="give another name with --config, or --force to overwrite it"
        )
    titles = {adapter.kind: adapter.title for adapter in ADAPTERS if adapter.kind in starter.KINDS}
    if unknown := [kind for kind in system or () if kind not in titles]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(titles)}", param_hint="--system")
    chosen, url, region, every = [], starter.URL, "US", "15 minutes"
    with _answered("nothing was written; `connector init --yes` asks nothing"):
        for kind in dict.fromkeys(system or titles):
            if not (system or yes or _YesOrNo.ask(f"Connect {titles[kind]}?", default=True, console=err)):
                continue
            chosen.append(kind)
            if kind == "salesforce" and not yes:
                url = _ask("Your Salesforce My Domain URL", url, starter.url)
        if not chosen:
            raise ConnectorError("no system is chosen", hint="say y to one of them, or name it with --system")
        if not yes:
            region = _ask("Country whose phone numbers are written without a prefix", region, starter.region)
            every = _ask("Sync every", every, starter.interval)
    config.write_text(starter.text(chosen, url=url, region=region, every=every), encoding="utf-8")
    tell(ok(f"wrote {config}"))
    for line in starter.next_steps(chosen, config, url):
        tell(f"  {escape(line)}")


class _YesOrNo(Confirm):
    """Yes or no, as a letter or as a word."""

    def process_response(self, value: str) -> bool:
        """See `Confirm`."""
        return super().process_response({"yes": "y", "no": "n"}.get(value.strip().lower(), value))


@contextmanager
def _answered(hint: str) -> Iterator[None]:
    """Questions that need an answer: who leaves instead is told how things are."""
    try:
        yield
    except (EOFError, KeyboardInterrupt):
        err.print()
        raise ConnectorError("there was no answer", hint=hint) from None


def _ask(question: str, default: str, read: Callable[[str], str]) -> str:
    """Ask until the answer can be read."""
    while True:
        try:
            return read(Prompt.ask(question, default=default, console=err))
        except ValueError as problem:
            tell(f"  {escape(str(problem))}", to=err)


def check(names: NamesArgument = None, config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Credentials, permissions, fields, types, clocks: what is wrong, and how to mend it. Changes nothing."""
    loaded, setup = open_house(config)
    besides = [] if names else [*doctor.left_behind(setup), *doctor.open_secrets(loaded.open_secrets)]
    checked = [*_check_all(setup, names), *besides]
    if as_json:
        print_json([_as_json(each) for each in checked])
    else:
        for each in checked:
            _show(each)
        _show_total(checked)
    codes = [each.error.exit_code for each in checked if each.error]
    codes += [1 for each in checked for finding in each.findings if finding.level == "error"]
    if code := max(codes, default=0):
        sys.exit(code)


def _check_all(setup: Setup, names: list[str] | None) -> list[Checked]:
    chosen = _known(setup, names)
    with connected(setup, chosen, with_paused=True) as (systems, failures):
        checked = []
        for name in chosen:
            each = setup.systems[name]
            if name in failures:
                checked.append(Checked(name, each.adapter.title, None, (), failures[name]))
            else:
                checked.append(doctor.check(setup, each, systems[name]))
    works = [each.system for each in checked if each.error is None]
    pauses.lift(setup.state, works, kinds=(pauses.REFUSED,))
    ask_access_anew(setup.state, works)
    return checked


def _known(setup: Setup, names: list[str] | None) -> tuple[str, ...]:
    unknown = [name for name in names or () if name not in setup.systems]
    if unknown:
        raise typer.BadParameter(f"there is no system {unknown[0]!r}; the configuration has {', '.join(setup.systems)}")
    return tuple(dict.fromkeys(names or setup.systems))


def _show(each: Checked) -> None:
    if each.error is not None:
        mark = "[yellow]![/yellow]" if each.is_only_waiting else "[red]✗[/red]"
        tell(f"  [bold]{each.system:<12}[/bold] {mark} {escape(str(each.error))}")
        if each.error.hint:
            tell(f"      {escape(each.error.hint)}")
        return
    tell(f"  [bold]{each.system:<12}[/bold] {_signed_in(each.check)}")
    marks = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}
    errors_last = sorted(each.findings, key=lambda finding: ["ok", "warning", "error"].index(finding.level))
    reads = [finding.what.removeprefix("reads ") for finding in errors_last if _is_read(finding)]
    if reads:
        tell(f"    {marks['ok']} reads {escape(', '.join(reads))}")
    for finding in errors_last:
        if _is_read(finding):
            continue
        mend = f"    [dim]→[/dim] {escape(finding.mend)}" if finding.mend else ""
        tell(f"    {marks[finding.level]} {escape(finding.what)}{mend}")


def _signed_in(told: Check | None) -> str:
    if told is None:
        return "[dim]not asked[/dim]"
    used, limit = told.calls_used, told.calls_limit
    calls = f"      calls today {used:,} of {limit:,}" if used is not None and limit is not None else ""
    return f"signed in as {escape(told.signed_in_as)}{calls}"


def _is_read(finding: Finding) -> bool:
    return finding.level == "ok" and finding.what.startswith("reads ")


def _show_total(checked: list[Checked]) -> None:
    findings = [finding for each in checked for finding in each.findings]
    unasked = [each.is_only_waiting for each in checked if each.error is not None]
    errors = sum(finding.level == "error" for finding in findings) + unasked.count(False)
    warnings = sum(finding.level == "warning" for finding in findings) + unasked.count(True)
    text = f"{errors} problem{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}. Nothing was changed."
    tell(f"[bold]{text}[/bold]" if errors else ok(text))


def _as_json(each: Checked) -> dict[str, object]:
    return {
        "system": each.system,
        "signed_in_as": each.check.signed_in_as if each.check else None,
        "calls_used": each.check.calls_used if each.check else None,
        "calls_limit": each.check.calls_limit if each.check else None,
        "clock_skew_s": each.check.clock_skew_s if each.check else None,
        "error": str(each.error) if each.error else None,
        "hint": each.error.hint if each.error else None,
        "findings": [{"level": f.level, "what": f.what, "mend": f.mend} for f in each.findings],
    }


def install(
    names: NamesArgument = None,
    config: ConfigOption = CONFIG,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create the fields that are written, after showing what will be done. With --json nothing is asked: --yes does it."""
    _, setup = open_house(config)
    may_ask, is_dry = not (yes or as_json), dry_run or (as_json and not yes)
    with connected(setup, _known(setup, names), with_paused=True) as (systems, failures):
        told = [_Installed(name, error=problem) for name, problem in failures.items()]
        if not as_json:
            for problem in failures.values():
                report_error(problem)
        for name, system in systems.items():
            each = _install(setup, name, system, is_dry=is_dry, may_ask=may_ask, is_quiet=as_json)
            told.append(each)
            if not as_json:
                _show_done(each)
    if as_json:
        print_json([each.as_json() for each in told])
    if code := max((each.exit_code for each in told), default=0):
        sys.exit(code)


@dataclass(frozen=True)
class _Installed:
    """What became of one system: the steps that it needs, or that were done."""

    system: str
    steps: Sequence[InstallStep] = ()
    missing: int = 0
    is_done: bool = False
    error: ConnectorError | None = None
    announced: Sequence[InstallStep] = ()

    @property
    def failed(self) -> Sequence[InstallStep]:
        return [step for step in self.steps if step.step is Step.FAILED]

    @property
    def otherwise(self) -> Sequence[InstallStep]:
        """What was created otherwise than it was announced."""
        created = [step for step in self.steps if step.step is Step.CREATE]
        return [step for step in created if step not in self.announced]

    @property
    def exit_code(self) -> int:
        return max(self.error.exit_code, 1) if self.error is not None else 1 if self.failed else 0

    def as_json(self) -> dict[str, object]:
        steps = [{"step": step.step.value, "what": step.what, "detail": step.detail} for step in self.steps]
        return {
            "system": self.system,
            "missing": self.missing,
            "is_done": self.is_done,
            "steps": steps,
            "error": str(self.error) if self.error else None,
        }


def _install(setup: Setup, name: str, system: System, *, is_dry: bool, may_ask: bool, is_quiet: bool) -> _Installed:
    steps: Sequence[InstallStep] = ()
    try:
        steps = doctor.install(setup, setup.systems[name], system, is_dry=True)
        if not is_quiet:
            _show_steps(name, steps)
        missing = sum(step.step in (Step.CREATE, Step.GRANT) for step in steps)
        if is_dry or not missing or (may_ask and not _confirmed(name)):
            return _Installed(name, steps, missing)
        made = doctor.install(setup, setup.systems[name], system, is_dry=False)
        done = _Installed(name, made, missing, is_done=True, announced=steps)
    except ConnectorError as problem:
        return _Installed(name, steps, error=problem)
    ask_access_anew(setup.state, [name])
    return done


def _show_done(each: _Installed) -> None:
    if each.error is not None:
        report_error(each.error)
    if not each.is_done:
        return
    for step in each.failed:
        tell(f"    [red]✗[/red] {escape(step.what)}  {escape(step.detail)}")
    for step in each.otherwise:
        tell(f"    {escape(step.what)}  [dim]{escape(step.detail)}[/dim]")
    tell("    " + ok(f"{each.missing - len(each.failed)} of {each.missing} done"))


def _confirmed(name: str) -> bool:
    with _answered("nothing more was created; --yes creates it without asking"):
        return _YesOrNo.ask(f"Do this in {name}?", default=False, console=err)


def _show_steps(name: str, steps: Sequence[InstallStep]) -> None:
    tell(f"  [bold]{name}[/bold]")
    marks = {
        Step.CREATE: "[green]+[/green]",
        Step.GRANT: "[green]+[/green]",
        Step.DIFFERS: "[yellow]~[/yellow]",
        Step.FAILED: "[red]✗[/red]",
        Step.EXISTS: "[dim]=[/dim]",
    }
    there = [step for step in steps if step.step is Step.EXISTS]
    for step in steps:
        if step.step is not Step.EXISTS or step.detail:
            tell(f"    {marks[step.step]} {step.step.value:<7} {escape(step.what)}  [dim]{escape(step.detail)}[/dim]")
    if there:
        tell(f"    [dim]= {len(there)} there already[/dim]")
