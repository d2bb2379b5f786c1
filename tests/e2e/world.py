"""Worlds in stages: seeded, installed, synced. A stage is made once, from the one before it, and then only copied."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.crm import Crms
from tests.e2e.house import Done, House

PEOPLE = 150


@dataclass(frozen=True)
class World:
    """Both CRMs at work, and a house connected to them."""

    crms: Crms
    house: House


def _seeded(_: World) -> None:
    """CRMs that know nothing of us, and a house that never ran."""


def _installed(world: World) -> None:
    _ended_well(world.house.run_beforehand("install", "--yes"))


def _pulled(world: World) -> None:
    """What is everywhere is known, and nothing computed."""
    _ended_well(world.house.run_beforehand("pull"))


def _synced(world: World) -> None:
    """The second sync reads back what the first wrote, and what the CRMs' own workflows made of it."""
    for _ in range(2):
        _ended_well(world.house.run_beforehand("sync"))


def _ended_well(done: Done) -> None:
    assert done.code == 0, str(done)


#: stage -> the stage before it, and what leads from there to here.
STAGES: dict[str, tuple[str, Callable[[World], None]]] = {
    "seeded": ("", _seeded),
    "installed": ("seeded", _installed),
    "pulled": ("installed", _pulled),
    "synced": ("pulled", _synced),
}


@contextmanager
def at_work(folder: Path) -> Iterator[World]:
    """The CRMs of a folder listening, and its house pointed at them."""
    crms, house = Crms(folder / "crms", PEOPLE), House(folder / "house")
    crms.start()
    try:
        if house.config.exists():
            house.point(crms.urls)
        else:
            house.furnish(crms.urls)
        yield World(crms, house)
    finally:
        crms.stop()


def made(base: Path, stage: str) -> Path:
    """The folder of a stage, made by the first worker that wants it."""
    before, step = STAGES[stage]
    if before:
        made(base, before)
    folder = base / stage
    with (base / f"{stage}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            scratch = base / f"{stage}.new"
            shutil.rmtree(scratch, ignore_errors=True)
            if before:
                shutil.copytree(base / before, scratch)
            else:
                scratch.mkdir()
            with at_work(scratch) as world:
                step(world)
            scratch.rename(folder)
    return folder
