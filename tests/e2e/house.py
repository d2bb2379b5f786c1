"""A house as an admin has it: a directory with a configuration, and the command line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import traceback
from contextlib import ExitStack, chdir, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import structlog

from connector import cli, clock
from connector.cli import starter
from connector.cli.demo import CUSTOM_FIELDS
from tests.e2e import forked, instant
from tests.e2e.crm import SECRETS, eventually
from tests.e2e.forked import Forked

#: A machine that is busy with other tests is slow, not wrong.
ENDS_WITHIN_S = 200.0
#: The worlds have no limits, so nobody waits for them: at five a second a sync with nothing to do takes two seconds.
_SEARCHES_PER_S = 1_000


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which is JSON and nothing else."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


class Running:
    """A command at work, whose output can be watched and which can be killed."""

    def __init__(self, house: House, words: tuple[str, ...], now: str | None, *, is_fresh: bool) -> None:
        self._files = [house.directory.parent / f"{words[0]}.{name}" for name in ("out", "err")]
        self.process = (self._fresh if is_fresh else self._forked)(house, words, house.environment(now))

    def _fresh(self, house: House, words: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        out, err = (path.open("wb") for path in self._files)
        with out, err:
            command = [sys.executable, "-m", "connector", *words]  # the command line of this very installation
            return subprocess.Popen(command, env=environment, cwd=house.directory, stdout=out, stderr=err)

    def _forked(self, house: House, words: tuple[str, ...], environment: dict[str, str]) -> Forked:
        out, err = self._files
        return forked.start("connector.cli", list(words), at=house.directory, out=out, err=err, environment=environment)

    def said(self) -> Done:
        """What it said so far; the code is -1 until it has ended."""
        code = self.process.poll()  # before what it said is read: then that is all of it
        out, err = (path.read_text() for path in self._files)
        return Done(-1 if code is None else code, out, err)

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Return as soon as it has said this."""

        def has_said() -> bool:
            said = self.said()
            is_so = (said.out + said.err).count(text) >= times
            assert is_so or said.code == -1, f"ended without saying {text!r}: {said}"
            return is_so

        eventually(has_said, f"it does not say {text!r}")

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def end(self) -> Done:
        """Wait for the end."""
        self.process.wait(timeout=ENDS_WITHIN_S)
        return self.said()


@dataclass(frozen=True)
class House:
    """A directory with `connector.toml`, secrets and, after the first command, the two stores."""

    directory: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "connector.toml"

    @property
    def stores(self) -> tuple[Path, Path]:
        """The files of the state and the mart."""
        return self.directory / "state.sqlite", self.directory / "mart.duckdb"

    def furnish(self, urls: dict[str, str]) -> None:
        """The file that `init` writes, pointed at these addresses, with the imitated company's custom fields."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, value in SECRETS.items():
            path = self.directory / name
            path.touch(mode=0o600)
            path.write_text(value)
        text = starter.text(("salesforce", "hubspot"), url=urls["salesforce"], region="DE", every="15 minutes")
        self.config.write_text(text + CUSTOM_FIELDS)
        self.edit('"env:SF_CLIENT_ID"', '"file:salesforce_client_id"')
        self.edit('"env:SF_CLIENT_SECRET"', '"file:salesforce_client_secret"')
        hubspot = f'url = "{urls["hubspot"]}"\ntoken = "file:hubspot_token"\nsearches_per_s = {_SEARCHES_PER_S}'
        self.edit('token = "env:HUBSPOT_TOKEN"', hubspot)
        self.edit("[schedule]\n", '[schedule]\nstreams = { "hubspot.form_submissions" = "0.01 seconds" }\n')

    def point(self, urls: dict[str, str]) -> None:
        """The systems are elsewhere now."""
        lines = self.config.read_text().splitlines(keepends=True)
        places = iter((urls["salesforce"], urls["hubspot"]))
        moved = [f'url = "{next(places)}"\n' if line.startswith("url = ") else line for line in lines]
        self.config.write_text("".join(moved))

    def edit(self, old: str, new: str) -> None:
        """Replace a piece of the configuration that must be there."""
        text = self.config.read_text()
        assert old in text, f"the configuration has no {old!r}"
        self.config.write_text(text.replace(old, new))

    def environment(self, now: str | None) -> dict[str, str]:
        """As a shell would give it, with the configuration and the instant (by default the present of the worlds)."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        kept |= {"CONNECTOR_CONFIG": str(self.config), "NO_COLOR": "1"}
        return kept | {"CONNECTOR_NOW": now or instant.now().isoformat()}

    def run(self, *words: str, now: str | None = None) -> Done:
        """Run a command to its end, in this process: importing all of it anew would cost more than most commands do.

        now: what the clock shows when it starts (ISO 8601).
        """
        out, err, code = StringIO(), StringIO(), 0
        with ExitStack() as stack:
            stack.enter_context(patch.dict(os.environ, self.environment(now), clear=True))
            stack.enter_context(patch.object(sys, "argv", ["connector", *words]))
            stack.enter_context(patch.object(clock, "_STARTED", clock.monotonic_s()))
            stack.enter_context(chdir(self.directory))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            stack.callback(structlog.reset_defaults)
            try:
                cli.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except Exception:  # noqa: BLE001, as the interpreter would end
                traceback.print_exc()
                code = 1
        return Done(code, out.getvalue(), err.getvalue())

    def run_beforehand(self, *words: str) -> Done:
        """Run a command to its end in the process that others are forked from: it remembers what it built, for all of them."""
        return Done(*forked.run(list(words), house=self.directory))

    def start(self, *words: str, now: str | None = None, is_fresh: bool = False) -> Running:
        """Start a command as a process of its own, and go on. `is_fresh`: a new interpreter, as from a shell, and not a fork."""
        return Running(self, words, now, is_fresh=is_fresh)

    def sync(self, *words: str, now: str | None = None) -> Any:
        """A sync that must succeed; what it did."""
        done = self.run("sync", "--json", *words, now=now)
        assert done.code == 0, str(done)
        return done.json()

    # ---------------------------------------------------------------------------------------------- looking into the stores

    def state(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the transactional store."""
        with closing(
            sqlite3.connect(self.stores[0])
        ) as connection:  # open in a child of this process, it would undo its locks
            rows: list[tuple[Any, ...]] = connection.execute(query, values).fetchall()
            return rows

    def mart(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the analytical store."""
        with duckdb.connect(str(self.stores[1]), read_only=True) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
            return rows

    def in_flight(self, system: str) -> int:
        """How many changes are on their way to a system at this moment."""
        query = "SELECT count(*) FROM outbox WHERE status = 'in_flight' AND system = ?"
        try:
            return int(self.state(query, system)[0][0]) if self.stores[0].exists() else 0
        except sqlite3.OperationalError:  # a first run has made the file, and not yet its tables
            return 0

    def desired(self) -> dict[str, dict[str, str | None]]:
        """What every record should hold in our fields."""
        wanted: dict[str, dict[str, str | None]] = {}
        for record, name, value in self.mart("SELECT record, field, value FROM desired"):
            wanted.setdefault(record, {})[name] = value
        return wanted
