"""One sandbox for the whole suite, and a bench for each adapter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from connector import clock
from connector.sources import salesforce_bulk_ingest
from tests.contract.bench import Bench
from tests.contract.hubspot_bench import hubspot_bench
from tests.contract.memory_bench import memory_bench
from tests.contract.salesforce_bench import salesforce_bench

START_S = 60.0
BENCHES = {
    "hubspot": hubspot_bench,
    "hubspot_dated": partial(hubspot_bench, api_version="2026-09"),
    "salesforce": salesforce_bench,
    "salesforce_bulk": partial(salesforce_bench, bulk_from=1, bulk_write_from=1),
}


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of an empty sandbox."""
    folder = tmp_path_factory.mktemp("sandbox")
    ready: Path = folder / "ready.json"
    command = [sys.executable, "-m", "connector.sandbox", "--people", "0", "--seed", "7", "--no-limits"]
    command += ["--salesforce-port", "0", "--hubspot-port", "0", "--ready-file", str(ready)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_S
        while not ready.exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, "the sandbox does not start"
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


@pytest.fixture(params=["memory", *BENCHES])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench for each adapter; waits between retries are skipped."""
    if request.param == "memory":
        yield memory_bench()
        return
    urls = request.getfixturevalue("sandbox")
    monkeypatch.setattr(clock, "sleep", lambda seconds: time.sleep(min(seconds, 0.01)))
    monkeypatch.setattr(salesforce_bulk_ingest, "WAITS_S", (0.01,) * 500)
    made = BENCHES[request.param](urls[request.param.partition("_")[0]])
    yield made
    made.system.close()
