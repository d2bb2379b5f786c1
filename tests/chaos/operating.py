"""What an operator does while things go wrong: pausing, planning before applying, undoing, backing up and restoring, purging."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from random import Random
from sqlite3 import connect
from typing import TYPE_CHECKING, Any

from tests.chaos import forks
from tests.chaos.faults import SYSTEMS
from tests.chaos.judge import SCORES

if TYPE_CHECKING:
    from tests.chaos.play import Play

SYNC = ("sync",)
_WRITTEN = "SELECT DISTINCT run FROM delivery WHERE result = 'accepted' ORDER BY run DESC LIMIT 6"
_RESTORING = "SELECT id, system || '|' || object_type || '|' || native_id FROM outbox WHERE key LIKE 'undo-%' AND fields LIKE '%core%'"
_FREEZES = "SELECT record, field, until_at FROM freeze"
_OWN = (
    "SELECT DISTINCT type, value FROM identifier WHERE type NOT IN ('phone', 'email_base') AND list_contains(?, record) "
    "AND value NOT IN (SELECT value FROM identifier WHERE NOT list_contains(?, record))"
)


def pause(play: Play, kill: str, random: Random) -> None:
    """A run without one of the systems."""
    system = random.choice(SYSTEMS)
    play.ends_well("pause", system)
    play.perturbed(SYNC, kill, random)
    play.ends_well("resume", system)


def plan(play: Play, kill: str, random: Random) -> None:
    """A plan, and what is left of it once it is applied."""
    if not play.perturbed(("plan",), kill if random.random() < 0.3 else "", random):
        _follow(play)
    play.perturbed(("apply",), kill, random)


def _follow(play: Play) -> None:
    """The scores of a saved plan are written although the mart never holds them, should another plan come before a sync."""
    saved = play.house.directory / "plan.json"
    changes = json.loads(saved.read_text())["changes"] if saved.exists() else []
    scored = [each for each in changes if not SCORES.isdisjoint(each["fields"])]
    play.crossings.follow(
        {f"{each['system']}|{each['object_type']}|{each['native_id']}": each["fields"] for each in scored}
    )


def undo(play: Play, kill: str, random: Random) -> None:
    """A run is taken back; killed, mostly once more. A score may go down by it and up again later."""
    runs = [str(run) for (run,) in play.house.state(_WRITTEN)]
    if not runs:
        return
    words = ("undo", random.choice(runs), *(["--dry-run"] if random.random() < 0.15 else []))
    before = set(play.house.state(_RESTORING))
    if play.perturbed(words, kill, random) and random.random() < 0.7:
        play.perturbed(words, "", random)
    for _, record in set(play.house.state(_RESTORING)) - before:
        play.others.scores[record] += 1


def unfreeze(play: Play, kill: str, random: Random) -> None:
    """Nothing is left alone any more."""
    play.ends_well("unfreeze", "--all")
    play.perturbed(SYNC, kill, random)


def backup(play: Play, kill: str, random: Random) -> None:
    """Both stores are copied while a run is at work, which may be killed meanwhile."""
    play.backup = play.folder / f"backup-{play.cycle}"
    play.perturbed(SYNC, kill, random, beside=("backup", str(play.backup), "--wait", "3000"))


def restore(play: Play, kill: str, random: Random) -> None:
    """The pair of the last backup takes the stores' place; what it does not know happened all the same."""
    if not play.backup.name:
        play.perturbed(SYNC, kill, random)
        return
    with closing(connect(play.backup / "state.sqlite")) as copy:
        play.figures.keep(play.house.state, lambda query: copy.execute(query).fetchall())
        thawed = set(copy.execute(_FREEZES)) - set(play.house.state(_FREEZES))
    play.others.doubtful |= {
        (record, name) for record, name, _ in thawed
    }  # frozen once more, with what was written since
    words = ("restore", str(play.backup), "--yes")
    if play.perturbed(words, kill, random):
        play.ends_well(*words)
    play.figures.counts["restored"] += 1


def purge(play: Play, kill: str, random: Random) -> None:
    """Somebody is removed for good, and whoever has their record or address is not taken in again."""
    place, seed = play.folder / "look", random.random()
    found = forks.asked(place, lambda: _somebody(play, Random(seed)))
    play.judge.purged.records.update(found["records"])
    play.judge.purged.emails.update(found["emails"])
    play.judge.purged.marks.update(found["marks"])
    play.others.spared.update(found["records"])
    words = ("purge", found["person"], "--yes")
    if play.perturbed(words, kill, random):
        play.ends_well(*words, codes=(0, 1))  # 1: it had ended, and nobody is known by that
    play.figures.counts["purged"] += 1


def _somebody(play: Play, random: Random) -> dict[str, Any]:
    """A person: the id, the keys of their records, and what nobody else is known by."""
    alive = sorted(play.storage.people())
    owners = dict(play.house.mart("SELECT key, owner_id FROM membership WHERE kind = 'person'"))
    person = owners[random.choice([record for record in alive if record in owners])]
    records = sorted(record for record, owner in owners.items() if owner == person)
    listed = "[" + ", ".join(f"'{record}'" for record in records) + "]"
    own = play.house.mart(_OWN.replace("?", listed))
    emails = [value for kind, value in own if kind == "email"]
    marks = [value.rpartition(":")[2] for kind, value in own if kind != "email"]  # a handle without its network
    return {"person": person, "records": records, "emails": emails, "marks": marks}


#: The first word of a command that is more than that command -> what is done.
DEEDS: Mapping[str, Callable[[Play, str, Random], None]] = {
    "pause": pause, "plan": plan, "undo": undo, "unfreeze": unfreeze, "backup": backup, "restore": restore, "purge": purge,
}  # fmt: skip
