"""A back-fill of invented people, from pages to plan: rows a second, seconds of the processor and memory of every step.

    python benchmarks/backfill.py [--people 200000] [--only-pull]

The source is in this process: it hands over pages of contacts as HubSpot's adapter does, and costs nothing but making
them (shown). Everything after it is the product's. Target: pull, map and store a million people under 1 GB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _stage
from connector import pipeline
from connector.model import ObjectSchema, Page, Request, System
from connector.sources.hubspot_objects import table
from connector.steps.plan import plans
from connector.steps.pull import Pulled, pull
from connector.steps.setup import Moment, Progress, Setup
from connector.summary import Summary

LIMIT_MB = 1_000
PAGE_ROWS = 1_000


class Invented:
    """A source that makes its contacts up; every other stream is empty."""

    def __init__(self, people: int) -> None:
        self.people, self.making_s = people, 0.0

    def describe(self, object_types: Sequence[str]) -> dict[str, ObjectSchema]:
        """Nothing is told of any type, and so no name is missed."""
        del object_types
        return {}

    def pages(self, requests: Sequence[Request]) -> Iterator[Page]:
        """Pages as HubSpot's adapter makes them."""
        for request in requests:
            count = self.people if request.stream.name == "contacts" else 0
            for start in range(0, count, PAGE_ROWS):
                started_s = time.thread_time()
                page = self._page(request, range(start, min(start + PAGE_ROWS, count)))
                self.making_s += time.thread_time() - started_s
                yield page
            yield Page(request.stream, table(request.stream.object_type, [], [], [], []), "{}", done=True)

    def _page(self, request: Request, numbers: Sequence[int]) -> Page:
        contacts = [_stage.hubspot_contact(number) for number in numbers]
        columns: tuple[list[Any], ...] = (
            [each["id"] for each in contacts],
            [each["createdAt"] for each in contacts],
            [each["updatedAt"] for each in contacts],
            [orjson.dumps(each["properties"]) for each in contacts],
        )
        return Page(request.stream, table(request.stream.object_type, *columns), f'{{"at":{numbers[-1]}}}', done=False)


def shown(title: str, rows: int, work: Callable[[], Any]) -> Any:
    """Do a step and print what it took."""
    result, taken = _stage.timed(work)
    rate = rows / taken.wall_s
    print(f"  {title:16} {taken}   {rate:9,.0f} rows/s   peak memory {_stage.peak_mb():7,.0f} MB", flush=True)
    return result


def recompute(setup: Setup, moment: Moment, people: int) -> None:
    """Everything between pages and plan, as a sync does it."""
    summary = Summary(moment.run)
    with setup.mart() as mart:
        shown("recompute", people, lambda: pipeline.compute(setup, mart, moment, Progress(), summary))
        made = shown(
            "plan", people, lambda: [(len(each.changes), len(each.held)) for each in plans(setup, mart, moment)]
        )
        changes, held = (sum(counts) for counts in zip(*made, strict=True))
        print(f"  {changes:,} changes planned, {held:,} held")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--only-pull", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        setup = _stage.house(_stage.configured(Path(place), {"hubspot": "http://127.0.0.1:9"}, ["hubspot"]))
        source: Any = Invented(options.people)
        system = System("hubspot", "hubspot", source, None, lambda: 0, lambda: None)
        moment = Moment(setup.state.start_run("pull", datetime.now(UTC), ""), datetime.now(UTC))
        print(f"{options.people:,} people ({_stage.load_text()}), {_stage.peak_mb():,.0f} MB before the first page")
        pulled: Pulled = shown(
            "pull, map, store", options.people, lambda: pull(setup, {"hubspot": system}, moment, Progress())
        )
        print(f"  (of it {source.making_s:.1f} s CPU for making pages; limit {LIMIT_MB:,} MB for a million)")
        assert pulled.total.applied == options.people, (pulled.total, pulled.failures)
        if not options.only_pull:
            recompute(setup, moment, options.people)


if __name__ == "__main__":
    main()
