"""The demo stops what it started, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connector.cli.demo import Demo
from connector.sandbox import InUse
from connector.sandbox.database import alone_in


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_told_to_end_leaves_no_sandbox_behind(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "demo" / "sandbox.json"
    command = [sys.executable, "-m", "connector", "demo", "--directory", "demo", "--people", "100"]
    demo = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not ready.exists():
        assert demo.poll() is None
        time.sleep(0.05)
    sandbox = json.loads(ready.read_text())["pid"]
    demo.send_signal(number)
    assert demo.wait() == 128 + number
    assert not _is_alive(sandbox)


def test_a_demo_whose_sandbox_is_still_at_work_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / ".demo").touch()
    (tmp_path / "connector.toml").touch()
    with alone_in(tmp_path / "sandbox"), pytest.raises(InUse):
        Demo(tmp_path, 100, 7).play()
    assert (tmp_path / "connector.toml").exists()
