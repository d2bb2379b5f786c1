"""Processes that are forked from one that has imported everything: of their own as any other, without the second that imports take.

That one opens no store and starts no command. A child gets a working directory, environment, files and chance of its own before it does
anything, and can be killed. The parent is asked how a child ended, since nobody else may know. What an interpreter does at its end is
left out: the engines' libraries look for threads that a fork does not have.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_IMPORTED = (
    "connector.cli.operate", "connector.cli.prepare", "connector.cli.look", "connector.cli.attend", "connector.cli.keep",
    "connector.cli.take_back", "ibis.backends.duckdb", "connector.sandbox.__main__",
)  # fmt: skip
_POLL_S = 0.01


@dataclass
class Forked:
    """A child at work. What it has of `subprocess.Popen` means the same."""

    pid: int
    code: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it is at work."""
        if self.code is None:
            self.code = _asked(ended=self.pid)
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        until = time.monotonic() + (timeout or float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)


def start(module: str, words: list[str], *, at: Path, out: Path, err: Path, environment: Mapping[str, str]) -> Forked:
    """Run a module's `main` with these words in a child. Files are written anew, one that stands for both is appended to."""
    for file in () if out == err else (out, err):
        file.write_bytes(b"")  # somebody may read it before the child has come so far
    files = {"at": str(at), "out": str(out), "err": str(err)}
    return Forked(_asked(module=module, words=words, environment=dict(environment), **files))


def _asked(**order: Any) -> Any:
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(json.dumps(order) + "\n")
    parent.stdin.flush()
    return json.loads(parent.stdout.readline())


@cache
def _parent() -> subprocess.Popen[str]:
    """It ends with this process: nobody gives it orders then."""
    command = [sys.executable, "-m", "tests.e2e.forked"]
    environment = os.environ | {"NO_COLOR": "1"}
    parent = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(parent.communicate)
    return parent


def _main() -> None:
    for name in _IMPORTED:
        import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "ended" in order:
            pid, status = os.waitpid(order["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            os._exit(_ended(order))
        print(json.dumps(answer), flush=True)


def _ended(order: dict[str, Any]) -> int:
    """In the child: run it to its end. The exit code."""
    try:
        _become(order)()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001, as the interpreter would end
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _become(order: dict[str, Any]) -> Callable[[], None]:
    """Let go of all that is the parent's. What is to be done then."""
    how = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if order["out"] == order["err"] else os.O_TRUNC)
    for number, name, mode in ((0, os.devnull, os.O_RDONLY), (1, order["out"], how), (2, order["err"], how)):
        file = os.open(name, mode, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["at"])
    os.environ.clear()
    os.environ.update(order["environment"])
    random.seed()
    clock = import_module("connector.clock")
    clock._STARTED = clock.monotonic_s()
    sys.argv = [order["module"], *order["words"]]
    main: Callable[[], None] = import_module(order["module"]).main
    return main


if __name__ == "__main__":
    _main()
