"""Processes that are forked from one that has imported everything: of their own as any other, without the second that imports take.

That one serves all processes of a test run. A few commands it runs itself (`run`), and what it has built and remembers then, its
children have for nothing; it holds no store open and has no thread when it forks. A child gets a working directory, environment,
files and chance of its own before it does anything, and can be killed. The parent is asked how a child ended, since nobody else may
know. What an interpreter does at its end is left out: the engines' libraries look for threads that a fork does not have.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

_IMPORTED = (
    "connector.cli.operate", "connector.cli.prepare", "connector.cli.look", "connector.cli.attend", "connector.cli.keep",
    "connector.cli.take_back", "ibis.backends.duckdb", "connector.sandbox.__main__", "connector.sandbox.salesforce",
    "connector.sandbox.hubspot",
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


def run(words: list[str], *, house: Path) -> tuple[int, str, str]:
    """Run a command of a house in the parent itself, to its end. Exit code, standard output and errors."""
    code, out, err = _asked(house=str(house), words=words)
    return code, out, err


# --------------------------------------------------------------------------------------------------------- who asks it


def _asked(**order: Any) -> Any:
    parent = _parent()
    parent.write(json.dumps(order) + "\n")
    parent.flush()
    return json.loads(parent.readline())


@cache
def _parent() -> TextIO:
    """A line to the parent of this test run. The first who wants one starts it, and it ends with the last who has one."""
    address = _address()
    with _alone(address):
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(address))
        except OSError:  # there is none
            address.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(address))
            listening.listen()
            line.connect(str(address))
            with listening:
                command = [sys.executable, "-m", "tests.e2e.forked", str(address), str(listening.fileno())]
                environment, nothing = os.environ | {"NO_COLOR": "1"}, subprocess.DEVNULL
                subprocess.Popen(command, env=environment, pass_fds=[listening.fileno()], stdin=nothing, stdout=nothing)
    return _file(line)


def _file(line: socket.socket) -> TextIO:
    """It has the only hold of it."""
    with line:
        return line.makefile("rw")


def _address() -> Path:
    """Where the parent of this test run listens, for whoever runs it alone."""
    place = Path(tempfile.gettempdir()) / f"connector-tests-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place / os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


@contextmanager
def _alone(address: Path) -> Iterator[None]:
    """Nobody else begins or ends a parent meanwhile."""
    with (address.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -------------------------------------------------------------------------------------------------------- in the parent


def _main(address: Path, listening: socket.socket) -> None:
    for name in _IMPORTED:
        import_module(name)
    lines: dict[int, TextIO] = {}
    while True:
        for ready in select.select([listening, *lines], [], [])[0]:
            if ready is listening:
                line, _ = listening.accept()
                lines[line.fileno()] = _file(line)
            elif order := lines[ready].readline():
                answer = _answer(json.loads(order), [listening, *lines.values()])
                print(json.dumps(answer), file=lines[ready], flush=True)
            else:
                lines.pop(ready).close()
        if not lines:
            with _alone(address):
                if not select.select([listening], [], [], 0)[0]:
                    address.unlink()
                    return


def _answer(order: dict[str, Any], held: Sequence[socket.socket | TextIO]) -> Any:
    """What an order comes to. `held`: what is the parent's alone."""
    if "ended" in order:
        pid, status = os.waitpid(order["ended"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None
    if "house" in order:
        return _run(Path(order["house"]), order["words"])
    pid = os.fork()
    if pid == 0:
        for each in held:
            each.close()
        os._exit(_ended(order))
    return pid


def _run(directory: Path, words: list[str]) -> tuple[int, str, str]:
    """In the parent: a command of a house, after which none of its files is open and none of its threads at work."""
    done = import_module("tests.e2e.house").House(directory).run(*words)
    gc.collect()
    gc.freeze()  # nobody looks for garbage in what all children share
    files = [Path(os.path.realpath(each)) for each in Path("/proc/self/fd").glob("*")]
    left = [*(each for each in files if directory in each.parents), *threading.enumerate()[1:]]
    return (1, done.out, f"left behind: {left}") if left else (done.code, done.out, done.err)


def _ended(order: dict[str, Any]) -> int:
    """In the child: run it to its end. The exit code."""
    try:
        return _become(order)() or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001, as the interpreter would end
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _become(order: dict[str, Any]) -> Callable[[], int | None]:
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
    main: Callable[[], int | None] = import_module(order["module"]).main
    return main


if __name__ == "__main__":
    _main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
