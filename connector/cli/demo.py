"""The demo: a new admin's first two minutes, on two imitated CRMs, by the very commands of a real user.

Nothing here computes or writes anything itself: it starts `connector sandbox`, writes a configuration, and runs `connector …`
as processes of their own, over real HTTP. What it shows of the sandbox it asks for by the sandbox's admin endpoints.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.rule import Rule

from connector.cli.screen import escape, ok, out
from connector.errors import ConnectorError
from connector.sandbox.database import alone_in

_READY_WITHIN_S = 300
_TIMEOUT_S = 10
#: Fixed and public credentials of the sandbox.
_SECRETS = {
    "salesforce_client_id": "sandbox-consumer-key",
    "salesforce_client_secret": "sandbox-consumer-secret",
    "hubspot_token": "pat-sandbox-token",
}
#: Where this company keeps what neither system has a field for.
CUSTOM_FIELDS = """
# This company's custom fields.
[mapping.salesforce.leads.identifiers]
cookie = ["Web_Cookie__c"]
device = ["Push_Device_Id__c"]

[mapping.salesforce.contacts.identifiers]
cookie = ["Web_Cookie__c"]
device = ["Push_Device_Id__c"]
customer_number = ["Customer_Number__c"]
user_id = ["User_Id__c"]

[mapping.hubspot.contacts.identifiers]
cookie = ["web_cookie"]
device = ["push_device_id"]
customer_number = ["customer_number"]
user_id = ["app_user_id"]
"""


@dataclass(frozen=True)
class _Seen:
    """What the sandbox holds at one moment."""

    tasks: int
    firings: list[dict[str, Any]]


@dataclass
class Demo:
    """One showing, in `directory`, which is made anew."""

    directory: Path
    people: int
    seed: int
    started_s: float = field(default_factory=time.monotonic)

    def play(self) -> None:
        """From nothing to scores and tasks inside two CRMs; ends with commands to try."""
        self._prepare()
        with _leaving_on_signals(), self._sandbox() as process:
            addresses = self._wait_until_ready(process)
            cast = self._admin(addresses, "cast")
            self._configure(addresses)
            self._show(addresses, cast)
        self._farewell(addresses, cast)

    # ------------------------------------------------------------------------------------------------------ the story

    def _show(self, addresses: dict[str, str], cast: dict[str, Any]) -> None:
        prospect, customer = cast["prospect"]["emails"][0], cast["customer"]["emails"][0]
        self._title("Is everything there that we need?")
        self._run("check", may_fail=True)
        self._title("Create the fields that we write")
        self._run("install", "--yes")
        self._run("check")
        self._title("What would be written, and why")
        self._run("plan")
        self._title("The first sync")
        self._run("sync")
        self._title("Two of them, explained")
        self._run("explain", prospect)
        self._run("explain", customer)
        self._title("A second sync has nothing to do")
        self._run("sync")
        before = self._seen(addresses)
        self._title(f"{cast['prospect']['name']} fills in the demo-request form")
        form = {"action": "submit_form", "form": "Book a demo", "email": prospect, "values": {}}
        self._post(addresses, "act", form)
        out.print(ok('HubSpot has a new submission of "Book a demo"'))
        self._run("sync")
        self._run("explain", prospect)
        self._compare(before, self._seen(addresses))

    def _seen(self, addresses: dict[str, str]) -> _Seen:
        """What the sandbox itself counts: tasks in Salesforce, and firings of the CRMs' own workflows."""
        counts = self._admin(addresses, "counts")
        return _Seen(int(counts["salesforce"]["Task"]), self._admin(addresses, "firings"))

    def _compare(self, before: _Seen, after: _Seen) -> None:
        self._title("What the CRMs themselves say")
        tasks = after.tasks - before.tasks
        out.print(ok(f"Salesforce has {tasks} new task{'' if tasks == 1 else 's'}"))
        for firing in after.firings[len(before.firings) :]:
            record = f"{firing['system']} {firing['object_type']} {firing['record_id']}"
            out.print(ok(f"workflow “{escape(firing['rule'])}” fired on {escape(record)}: {escape(firing['detail'])}"))
        self._run("status")

    # ------------------------------------------------------------------------------------------------------ the stage

    def _prepare(self) -> None:
        """An empty folder. Only a folder that a demo made is ever emptied, and none whose sandbox is at work. Raises InUse."""
        mark = self.directory / ".demo"
        if self.directory.exists() and any(self.directory.iterdir()) and not mark.exists():
            raise ConnectorError(
                f"{self.directory} is not empty, and no demo made it", hint="give another one with --directory"
            )
        with alone_in(self.directory / "sandbox"):
            shutil.rmtree(self.directory)
        self.directory.mkdir()
        mark.touch()

    @contextmanager
    def _sandbox(self) -> Iterator[subprocess.Popen[bytes]]:
        self._title(f"An imitated Salesforce and HubSpot with {self.people:,} records of people")
        command = [
            *_connector(),
            "sandbox",
            *self._sandbox_options(),
            "--ready-file",
            str(self.directory / "sandbox.json"),
        ]
        self._echo("sandbox", *self._sandbox_options())
        with (self.directory / "sandbox.log").open("wb") as log, _process(command, stdout=log, stderr=log) as process:
            yield process

    def _sandbox_options(self) -> list[str]:
        return ["--data", str(self.directory / "sandbox"), "--people", str(self.people), "--seed", str(self.seed)]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> dict[str, str]:
        ready = self.directory / "sandbox.json"
        deadline = time.monotonic() + _READY_WITHIN_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConnectorError("the sandbox did not start", hint=f"see {self.directory / 'sandbox.log'}")
            time.sleep(0.1)
        addresses: dict[str, str] = json.loads(ready.read_text())
        out.print(ok(f"Salesforce at {addresses['salesforce']}, HubSpot at {addresses['hubspot']}"))
        return addresses

    def _configure(self, addresses: dict[str, str]) -> None:
        """The file that `init` would write, with the sandbox's addresses and the company's custom fields."""
        self._title("One file of configuration")
        self._run("init", "--yes")
        file = self.directory / "connector.toml"
        for name, value in _SECRETS.items():
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_text(value)
        text = file.read_text()
        replaced = {
            'url = "https://YOUR-DOMAIN.my.salesforce.com"': f'url = "{addresses["salesforce"]}"',
            '"env:SF_CLIENT_ID"': '"file:salesforce_client_id"',
            '"env:SF_CLIENT_SECRET"': '"file:salesforce_client_secret"',
            'token = "env:HUBSPOT_TOKEN"': f'url = "{addresses["hubspot"]}"\ntoken = "file:hubspot_token"',
            'region = "US"': 'region = "DE"',
            "[schedule]\n": '[schedule]\nstreams = { "hubspot.form_submissions" = "1 second" }\n',
        }
        for old, new in replaced.items():
            if old not in text:
                raise ConnectorError(f"the starter configuration has no {old}", hint="report this")
            text = text.replace(old, new)
        file.write_text(text + CUSTOM_FIELDS)
        out.print(ok("pointed it at the sandbox, and named the company's custom fields"))

    # ------------------------------------------------------------------------------------------------------ processes

    def _run(self, *words: str, may_fail: bool = False) -> None:
        """A command of the product, as a user would give it."""
        self._echo(*words)
        sys.stdout.flush()
        environment = os.environ | {"CONNECTOR_CONFIG": str(self.directory / "connector.toml")}
        with _process([*_connector(), *words], env=environment) as process:
            code = process.wait()
        if code and not may_fail:
            raise ConnectorError(f"connector {words[0]} ended with {code}", hint=f"the data is in {self.directory}")

    def _echo(self, *words: str) -> None:
        out.print(f"[bold cyan]$ connector {escape(' '.join(words))}[/bold cyan]")

    def _title(self, text: str) -> None:
        out.print()
        out.print(
            Rule(f"[bold]{escape(text)}[/bold] [dim]{time.monotonic() - self.started_s:.0f} s[/dim]", align="left")
        )

    def _admin(self, addresses: dict[str, str], what: str) -> Any:
        answer = requests.get(f"{addresses['salesforce']}/_sandbox/{what}", timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def _post(self, addresses: dict[str, str], what: str, body: dict[str, Any]) -> None:
        requests.post(f"{addresses['hubspot']}/_sandbox/{what}", json=body, timeout=_TIMEOUT_S).raise_for_status()

    def _farewell(self, addresses: dict[str, str], cast: dict[str, Any]) -> None:
        self._title("Everything is stopped; the data is kept. To try on it:")
        config = f"--config {self.directory / 'connector.toml'}"
        ports = [f"--{name}-port {addresses[name].rsplit(':', 1)[1]}" for name in ("salesforce", "hubspot")]
        connector = _as_typed()
        lines: Sequence[tuple[str, str]] = [
            (
                f"{connector} explain {cast['job_changer']['emails'][0]} {config}",
                "changed jobs: two e-mails, one person",
            ),
            (
                f"{connector} explain {cast['family_a']['emails'][0]} {config}",
                "shares a phone with the family: not joined",
            ),
            (f"{connector} status {config}", "runs, streams, outbox, what is set aside"),
            (
                f"{connector} sandbox --data {self.directory / 'sandbox'} {' '.join(ports)}",
                "both CRMs again, with the same data; then:",
            ),
            (f"{connector} plan {config}", "what a sync would write"),
            (f"{connector} sync {config}", "…and write it"),
        ]
        for command, meaning in lines:
            out.print(f"  [dim]# {escape(meaning)}[/dim]")
            out.print(f"  {escape(command)}", soft_wrap=True)


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP, unless it is ignored (`nohup`), end the demo by way of what stops its processes; the first
    of them does, for the others would break that off."""
    told = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    former = {number: handler for number in told if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def leave(caught: int, _: Any) -> None:
        for number in former:
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + caught)

    for number in former:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _process(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that has ended when this is left, however it is left."""
    process = subprocess.Popen(command, **how)  # noqa: S603 - our own command line
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM; one that is still inventing its people does not hear it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _as_typed() -> str:
    """How the reader gives a command of this installation: by name where the shell finds it, else by its path."""
    mine = Path(sys.executable).with_name("connector")
    if shutil.which("connector") == str(mine):
        return "connector"
    return os.path.relpath(mine) if mine.is_relative_to(Path.cwd()) else str(mine)


def _connector() -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "connector"]
