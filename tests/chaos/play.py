"""The play: a small world, cycle after cycle in which something goes wrong, and quiet every few cycles to judge in."""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import requests

from tests.chaos import faults, forks
from tests.chaos.faults import SYSTEMS, Trouble
from tests.chaos.figures import Figures
from tests.chaos.judge import LINE, Crossings, Judge, contents, departed, unlike
from tests.chaos.operating import DEEDS
from tests.chaos.others import Others
from tests.chaos.storage import Storage
from tests.e2e import instant
from tests.e2e.crm import SECRETS, Crms
from tests.e2e.house import Done, House

#: What is run while things go wrong, and how often.
COMMANDS = {
    ("sync",): 60, ("sync", "--full"): 5, ("run", "--once"): 6, ("plan", "apply"): 9, ("pull",): 5, ("pull", "--full"): 2,
    ("pause",): 3, ("undo",): 4, ("unfreeze",): 1, ("backup",): 4, ("restore",): 3, ("purge",): 2,
}  # fmt: skip
#: 3: a brake holds; 4: a system could not be served; both say so.
MAY_END_WITH = (0, 3, 4)
#: A sync that comes to rest in more than these is fighting with itself.
MOST_SYNCS = 9
_SETTLED_S = 25 * 60.0
_DAY_S = 86_400.0
_POLL_S = 0.005
TASKS = """
[tasks.greet]
when = "score crosses 20"
subject = "Greet {{ person.last_name }}: {{ reasons[0].text }}"
due = "2 days"
system = "hubspot"
"""


class ViolationError(Exception):
    """Something is not as it must be."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines


class Play:
    """One play in one folder."""

    def __init__(self, folder: Path, *, seed: int, people: int, is_verbose: bool = False) -> None:
        self.folder, self.seed, self.is_verbose = folder, seed, is_verbose
        self.crms, self.house = Crms(folder / "crms", people), House(folder / "house")
        self.storage = Storage(folder / "crms" / "sandbox.db")
        self.others, self.crossings = Others(self.crms, self.storage), Crossings()
        self.judge = Judge(self.house, self.storage, self.others, self.crossings)
        self.cycle, self.story, self.offset_s, self.skew_s = 0, "setting up", 0.0, 0.0
        self.gone: dict[str, int] = {}
        self.rules: dict[int, str] = {}
        self.figures, self.backup = Figures(), Path()
        self.run_s, self.began_s = 0.8, time.monotonic()

    def whole(self, cycles: int) -> None:
        """Set up, play, and compare with a house that has just read everything. Raises ViolationError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.crms.start()
        try:
            self._set_up()
            for self.cycle in range(1, cycles + 1):
                random = Random(f"{self.seed}:{self.cycle}")
                self._one(random)
                if random.random() < 0.35 or self.cycle == cycles:
                    self._quieten(is_long=random.random() < 0.5 or self.cycle == cycles)
            self.story = "comparing with a fresh house"
            self._compare()
        finally:
            self.crms.stop()

    def _set_up(self) -> None:
        self.house.furnish(self.crms.urls)
        self.house.edit("score crosses 60", "score crosses 30")
        self.house.edit("rearm_below = 50", "rearm_below = 26")
        self.house.config.write_text(self.house.config.read_text() + TASKS)
        requests.delete(f"{self.crms.urls['salesforce']}/_sandbox/workflows", timeout=30).raise_for_status()
        for system, kind, name in (
            ("salesforce", "Lead", "Score__c"), ("salesforce", "Contact", "Score__c"), ("hubspot", "contacts", "connector_score"),
        ):  # fmt: skip
            rule = {"field": name, "operator": "crosses_up", "value": str(LINE), "name": f"{kind} gets warm"}
            self.crms.tell("workflows", system=system, object_type=kind, **rule)
        self.others.settle_in()
        for words in (("install", "--yes"), ("sync",), ("sync", "--json"), ("plan",)):
            done = self.house.run(
                *words
            )  # in this very process: what it imports and remembers, its children have for nothing
            self._expect(words, done, MAY_END_WITH)
        gc.collect()  # no connection of this process's own stays open
        self._quieten(is_long=False)

    # --------------------------------------------------------------------------------------------- one cycle

    def _one(self, random: Random) -> None:
        """Troubles, a command, others at work meanwhile, and perhaps a kill."""
        troubles = faults.drawn(random)
        words = random.choices(list(COMMANDS), list(COMMANDS.values()))[0]
        kill = random.choices(list(faults.KILLS), list(faults.KILLS.values()))[0] if random.random() < 0.45 else ""
        told = ", ".join(f"{each.kind} {each.system}" for each in troubles) or "no trouble"
        self.story = f"{' '.join(words)}; {told}; kill: {kill or 'no'}"
        self._say(f"cycle {self.cycle}: {self.story}")
        self.pass_time(random.choice((5, 60, 300, 900, 7_200)))
        if random.random() < 0.15:
            self.skew_s = random.uniform(-240, 240)
            self.figures.counts["clock skews"] += 1
        for _ in range(random.randint(0, 4)):
            self.others.act(random)
        for trouble in troubles:
            for _ in range(3 * (trouble.kind in faults.OF_RECORDS)):
                self.others.act(random)
            self._begin(trouble, random)
        self.figures.commands[" ".join(words)] += 1
        if deed := DEEDS.get(words[0]):
            deed(self, kill, random)
        else:
            self.perturbed(words, kill, random)
        self._end_troubles()
        self._follow()

    def _begin(self, trouble: Trouble, random: Random) -> None:
        self.figures.drawn[trouble.kind] += 1
        if trouble.rule:
            told = self.crms.tell("faults", **trouble.rule)
            self.rules[told["id"]] = trouble.kind
        elif trouble.switches:
            self.crms.tell("limits", enabled=False, **trouble.switches)
            self.figures.hit(trouble.kind)
        elif trouble.kind == "gone":
            self.gone[trouble.system] = max(self.gone.get(trouble.system, 0), random.randint(1, faults.GONE_CYCLES))
            self.figures.hit(trouble.kind)
        else:
            secret = (
                self.house.directory
                / {"hubspot": "hubspot_token", "salesforce": "salesforce_client_secret"}[trouble.system]
            )
            secret.write_text("not-this-one")
            if trouble.system == "salesforce":
                self.crms.tell("act", system="salesforce", action="expire_sessions")
            self.figures.hit(trouble.kind)
        for system in self.gone:
            self.rules[self.crms.tell("faults", system=system, kind="gone")["id"]] = "gone_calls"

    def _end_troubles(self) -> None:
        for rule in self.crms.look("faults"):
            self.figures.hit(self.rules[rule["id"]], rule["hits"])
        self.crms.mend()
        self.crms.tell("limits", enabled=False, **faults.QUIET)
        for name, value in SECRETS.items():
            (self.house.directory / name).write_text(value)
        self.gone = {system: left - 1 for system, left in self.gone.items() if left > 1}

    def perturbed(self, words: tuple[str, ...], kill: str, random: Random, *, beside: tuple[str, ...] = ()) -> bool:
        """A command with others at work beside it; killed at the drawn moment. Returns whether it was.

        beside: another command that begins at some moment of it, and must end well.
        """
        writes = self._accepted()
        moment_s, deeds = (
            random.uniform(0, 1.1) * self.run_s,
            sorted(random.uniform(0, 1) * self.run_s for _ in range(random.randint(0, 3))),
        )
        is_term, other_s = random.random() < 0.15, random.uniform(0, 1) * self.run_s
        command, began_s = self._start(*words), time.monotonic()
        other: forks.Forked | None = None
        while not command.is_over():
            passed_s = time.monotonic() - began_s
            if beside and other is None and passed_s >= other_s:
                other = self._start(*beside, place="beside")
            elif deeds and passed_s >= deeds[0]:
                deeds.pop(0)
                self.others.act(random)
            elif kill and self._is_time(kill, passed_s >= moment_s, writes):
                self.figures.kills["SIGTERM" if is_term else f"kill -9 ({kill})"] += command.send(
                    signal.SIGTERM if is_term else signal.SIGKILL
                )
                kill = ""
            if passed_s > forks.ENDS_WITHIN_S:
                break
            time.sleep(_POLL_S)
        done = command.end()
        if beside:
            self._expect(beside, (other or self._start(*beside, place="beside")).end(), (0,))
        is_killed = done.code in (forks.KILLED, -signal.SIGTERM)
        if not is_killed:
            self._expect(words, done, MAY_END_WITH)
            self.run_s += (time.monotonic() - began_s - self.run_s) / 4  # moments are shares of what a run takes here
        return is_killed

    def _is_time(self, kill: str, is_moment: bool, writes: int) -> bool:
        if kill == "sending":
            return any(self.house.in_flight(system) for system in SYSTEMS)
        return self._accepted() > writes if kill == "sent" else is_moment

    def _accepted(self) -> int:
        """A number that grows with every write of ours that took effect."""
        marks = (
            "SELECT (SELECT count(*) FROM sf_Lead WHERE LastModifiedById != CreatedById) "
            "+ (SELECT total(modified_ms) FROM hubspot_contacts) AS mark"
        )
        return int(self.storage.rows(marks)[0]["mark"])

    # --------------------------------------------------------------------------------------------- quiet

    def _quieten(self, *, is_long: bool) -> None:
        """Nothing goes wrong any more: syncs until one has nothing to do, then everything must be as it should."""
        self.gone.clear()
        self.skew_s = 0.0
        self.pass_time(_DAY_S * 1.1 if is_long else _SETTLED_S)
        self.figures.counts["quiet (a day on)" if is_long else "quiet (minutes on)"] += 1
        for _ in range(MOST_SYNCS):
            done = self._start("sync", "--json").end()
            self._expect(("sync",), done, MAY_END_WITH)
            self._follow()
            told = done.json()
            if done.code == 4:
                self.figures.counts["operator: check"] += 1
                self.ends_well("check", codes=(0, 4))
            if told["held"] or done.code == 3:
                self.figures.counts["operator: apply --held"] += 1
                self.ends_well("apply", "--held", codes=MAY_END_WITH)
            if self._set_aside():
                self.figures.counts["operator: quarantine retry"] += 1
                self.ends_well("quarantine", "retry", "--kind", "change", codes=MAY_END_WITH)
            elif done.code == 0 and not told["planned"] and not told["applied"] and not any(
                each["waiting"] or each["unknown"] or each["accepted"] for each in told["delivered"]
            ):  # fmt: skip
                break
            self.pass_time(200)
        else:
            raise ViolationError([f"{MOST_SYNCS} syncs did not come to rest: {json.dumps(told)}"])
        self.judge.know_leads()
        found = self.judge.violations(forks.asked(self.folder / "look", self.judge.look))
        if not is_long:  # what is gone may be asked for once a day only
            found = [line for line in found if "not in its system" not in line and "and not there" not in line]
        if found:
            raise ViolationError(found)

    def _set_aside(self) -> int:
        """How many changes an operator would have tried again: not tasks for whom nobody can do anything, as their record is gone."""
        query = (
            "SELECT o.lane, o.system || '|' || o.object_type || '|' || o.native_id FROM outbox o "
            "JOIN quarantine q ON q.key = 'change|' || o.key WHERE q.is_open AND o.status = 'quarantined'"
        )
        alive = self.storage.people()
        return sum(lane != "task" or record in alive for lane, record in self.house.state(query))

    def _follow(self) -> None:
        self.crossings.follow(forks.asked(self.folder / "desired", self.judge.desired))

    def _compare(self) -> None:
        """A house that reads everything for the first time, and writes nothing, must know the same."""
        fresh = House(self.folder / "fresh")
        fresh.furnish(self.crms.urls)
        fresh.config.write_text(self.house.config.read_text())
        done = forks.start(fresh, self.folder / "fresh-plan", ("plan",), self._now()).end()
        self._expect(("plan",), done, (0, 3))
        forks.start(self.house, self.folder / "last-sync", ("sync",), self._now()).end()
        place, houses = self.folder / "contents", (self.house, fresh)
        gone = {key for house in houses for key in forks.asked(place, lambda house=house: departed(house))}
        ours, theirs = (forks.asked(place, lambda house=house: contents(house)) for house in houses)
        self.judge.know_departed()
        found = unlike(ours, theirs, self.judge.purged, gone)
        if found:
            raise ViolationError(found[:40])

    # --------------------------------------------------------------------------------------------- commands and time

    def pass_time(self, seconds: float) -> None:
        """Both clocks go forward."""
        self.crms.tell("clock", shift_s=seconds)
        self.offset_s += seconds

    def _now(self) -> str:
        return instant.now(timedelta(seconds=self.offset_s + self.skew_s)).isoformat()

    def _start(self, *words: str, place: str = "command") -> forks.Forked:
        self.figures.counts["commands"] += 1
        return forks.start(self.house, self.folder / place, words, self._now())

    def ends_well(self, *words: str, codes: tuple[int, ...] = (0,)) -> Done:
        done = self._start(*words).end()
        self._expect(words, done, codes)
        return done

    def _expect(self, words: tuple[str, ...], done: Done, codes: tuple[int, ...]) -> None:
        self._say(f"    {' '.join(words)}: {done.code}")
        if done.code not in codes:
            raise ViolationError([f"{' '.join(words)} ended with {done.code}", *str(done).splitlines()[-60:]])

    def _say(self, text: str) -> None:
        if self.is_verbose:
            print(f"{time.monotonic() - self.began_s:7.1f} {text}", flush=True)
        elif text.startswith("cycle") and self.cycle % 25 == 0:
            print(f"{time.monotonic() - self.began_s:5.0f} s  cycle {self.cycle}", file=sys.stderr, flush=True)

    def told(self) -> str:
        """What happened, in figures."""
        figures: dict[str, Any] = {
            "seed": self.seed,
            "cycles": self.cycle,
            "seconds": round(time.monotonic() - self.began_s),
            "others": dict(sorted(self.others.deeds.items())),
            "calls": self.storage.rows("SELECT count(*) AS calls FROM api_call")[0]["calls"],
            "tasks": len(self.storage.tasks()),
            "workflow firings": len(self.storage.firings()),
            **self.figures.told(self.house.state),
        }
        return "\n".join(f"  {name:<24} {value}" for name, value in figures.items())
