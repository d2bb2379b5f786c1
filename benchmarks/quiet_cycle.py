"""What a sync costs when nothing happened: API calls as the systems count them, seconds, and what of them is start-up.

    python benchmarks/quiet_cycle.py [people]

Targets: at most 2 read calls on Salesforce; on HubSpot one for each type polled at every run (at most 10). Forms, events
and owners are asked at slower intervals of their own: the second cycle shown is one where those of 15 minutes are due.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _stage
from connector import clock

LIMITS = {"salesforce": 2, "hubspot": 10}
SLOWER_AFTER = timedelta(minutes=20)
#: HubSpot is read again from so far behind the last read: until then our own writes come back.
OVERLAP_S = 31.0
CONNECTOR = ("-m", "connector")


def spawned(*words: str, file: Path | None = None, at: str = "") -> _stage.Taken:
    """Run python with these words to its end; its seconds of the clock and of the processor."""
    environment = os.environ | ({"CONNECTOR_CONFIG": str(file)} if file else {}) | ({"CONNECTOR_NOW": at} if at else {})
    started_s, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *words], env=environment, check=False, capture_output=True, text=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode in (0, 3), done.stdout + done.stderr
    return _stage.Taken(time.perf_counter() - started_s, cpu_s)


def calls(url: str, since: int = 0) -> dict[str, Any]:
    """The sandbox's log of calls after a call."""
    found: dict[str, Any] = requests.get(f"{url}/_sandbox/calls", params={"since": since}, timeout=10).json()
    return found


def cycle(title: str, url: str, file: Path, at: str = "") -> None:
    """One sync, its calls by system and path."""
    last = calls(url)["last_id"]
    taken = spawned(*CONNECTOR, "sync", "--json", file=file, at=at)
    made: Sequence[dict[str, Any]] = calls(url, last)["by_path"]
    print(f"{title}: {taken}")
    for system, limit in LIMITS.items():
        mine = Counter({f"{each['method']} {each['path']}": each["calls"] for each in made if each["system"] == system})
        tokens = sum(count for path, count in mine.items() if "oauth" in path)
        print(f"  {system:10} {mine.total() - tokens:3} calls (at most {limit} at every run), {tokens} for a token")
        for path, count in mine.most_common():
            print(f"     {count:3} {path}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", nargs="?", type=int, default=1_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, _stage.sandbox(Path(place), people=options.people) as addresses:
        file = _stage.configured(Path(place), addresses)
        print(f"{options.people:,} people, {_stage.load_text()}")
        spawned(*CONNECTOR, "install", "--yes", file=file)
        for title, wait_s in (("first sync", 0.0), ("echo of it", OVERLAP_S)):
            time.sleep(wait_s)
            print(f"{title}: {spawned(*CONNECTOR, 'sync', '--json', file=file)}")
        cycle("quiet sync", addresses["salesforce"], file)
        later = (clock.now() + SLOWER_AFTER).isoformat()
        cycle("quiet sync, slower streams due", addresses["salesforce"], file, at=later)
    print(f"start-up (import connector.cli): {spawned('-c', 'import connector.cli')}")
    print(f"python alone: {spawned('-c', 'pass')}")


if __name__ == "__main__":
    main()
