"""Worlds to try the product on, one for each test: two imitated CRMs, and a house connected to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.world import World, at_work, made

MakeWorld = Callable[[str], World]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Where the stages are kept, all of them made; one place for all workers of a run.

    While a stage is made the parent of the forks has no ear for others, and a test that kills must be heard at once.
    """
    root = tmp_path_factory.getbasetemp()
    base = (root if worker_id == "master" else root.parent) / "worlds"
    base.mkdir(exist_ok=True)
    made(base, "synced")
    return base


@pytest.fixture
def make_world(worlds: Path, tmp_path: Path) -> Iterator[MakeWorld]:
    """Worlds of a stage, for this test alone."""
    with ExitStack() as stack:

        def make(stage: str) -> World:
            folder = tmp_path / stage
            shutil.copytree(made(worlds, stage), folder)
            return stack.enter_context(at_work(folder))

        yield make


@pytest.fixture
def seeded(make_world: MakeWorld) -> World:
    """CRMs that know nothing of us, and a house that never ran."""
    return make_world("seeded")


@pytest.fixture
def installed(make_world: MakeWorld) -> World:
    """CRMs with our fields, and a house that never synced."""
    return make_world("installed")


@pytest.fixture
def pulled(make_world: MakeWorld) -> World:
    """CRMs with our fields, and a house that has read all that is there."""
    return make_world("pulled")


@pytest.fixture
def synced(make_world: MakeWorld) -> World:
    """CRMs that hold what they should, and a house at rest."""
    return make_world("synced")
