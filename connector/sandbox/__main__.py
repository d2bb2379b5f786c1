"""`python -m connector.sandbox`: run the imitated systems until SIGTERM."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from connector.sandbox.context import Settings
from connector.sandbox.database import InUse
from connector.sandbox.server import Options, Running, serve


def main() -> None:
    """Read the options, say where the sandbox listens, serve."""
    parser = argparse.ArgumentParser(prog="python -m connector.sandbox", description=__doc__)
    parser.add_argument("--data", type=Path, help="data directory; without it everything stays in memory")
    parser.add_argument("--people", type=int, default=4_000, help="how many people to generate; 0 is an empty org")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--salesforce-port", type=int, default=0)
    parser.add_argument("--hubspot-port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument(
        "--now", type=datetime.fromisoformat, help="history ends here, and the clock goes on from here (ISO 8601)"
    )
    parser.add_argument("--no-limits", action="store_true", help="rate limits and daily quotas off")
    given = parser.parse_args()
    options = Options(
        data=given.data,
        people=given.people,
        seed=given.seed,
        salesforce_port=given.salesforce_port,
        hubspot_port=given.hubspot_port,
        ready_file=given.ready_file,
        now=given.now,
        settings=Settings(are_limits_on=not given.no_limits),
    )
    try:
        serve(options, on_ready=_say)
    except InUse as problem:
        parser.error(str(problem))


def _say(running: Running) -> None:
    print(f"salesforce {running.salesforce_url}\nhubspot    {running.hubspot_url}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
