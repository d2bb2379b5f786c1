"""Backups of both stores that belong together, made while the service runs, and restoring such a pair.

The mart is open, and so shut to every run, while both are copied: the pair is what a power cut at that moment would have left, and that
a run knows how to go on from.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path

from connector import clock
from connector.errors import ConnectorError, MartError, StateError
from connector.mart import Mart, MartSection, files, open_mart
from connector.state import State, StateSection, open_state
from connector.state import erasure as kept
from connector.steps import pair, purge, unseen
from connector.steps.setup import Setup

STATE, MART = "state.sqlite", "mart.duckdb"
_WAIT_S = 30.0  # for what another command has begun to write


def make(setup: Setup, folder: Path) -> tuple[Path, int]:
    """Copy both stores into a new folder (0700, files 0600). Returns it and the generation of the pair.

    Raises Busy when the mart is in use for too long, ConnectorError when the folder has something in it already or has no room.
    """
    _check_sqlite(setup)
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        raise ConnectorError(f"{folder} is not empty", hint="name another folder")
    with _whole_or_not_at_all(setup, folder):
        with setup.mart() as mart:
            pair.check(setup.state, mart)
            told = pair.told(mart)
            _begin(setup, folder, str(told["pair"]), int(told["generation"]))
            _copy_to(setup.state, folder / STATE)
            files.copy(mart.connection, folder / MART)
            copy = kept.opened_copy(folder / STATE)
            pair.mark_copies(copy, folder / MART)
            (folder / purge.UNFINISHED).unlink()
        kept.forget_lease(copy)
        kept.compact(copy)
        copy.close()
    return folder, int(told["generation"])


def _begin(setup: Setup, folder: Path, pair_id: str, generation: int) -> None:
    """Tell purges of a copy before anything is in it: killed half way, its leftovers hold people, too."""
    (folder / purge.UNFINISHED).touch(0o600)
    kept.keep_backup(setup.state, folder, now=clock.now(), pair=pair_id, generation=generation)


@contextmanager
def _whole_or_not_at_all(setup: Setup, folder: Path) -> Iterator[None]:
    """A folder (0700) of which nothing is left when what is written into it fails."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    try:
        yield
    except BaseException as problem:
        for left in folder.iterdir():
            left.unlink()
        if is_new:
            folder.rmdir()
        kept.forget_backup(setup.state, folder)
        if isinstance(problem, sqlite3.Error):
            raise ConnectorError(
                f"the state cannot be copied to {folder}: {problem}", hint="see that it may be written and has room"
            ) from problem
        raise


def _copy_to(state: State, target: Path) -> None:
    """The state into a file (0600) that is there or not, in one transaction of SQLite's own, whoever has either open meanwhile.

    A file put in the place of an open one would lose its log to whoever closes the former last.
    """
    target.touch(0o600)
    with state.engine.connect() as connection, closing(sqlite3.connect(target, timeout=_WAIT_S)) as copy:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(copy)


def find(setup: Setup, folder: Path) -> Path:
    """The folder of a backup. Raises ConnectorError when there is none, or when its kind of state is not ours to restore."""
    _check_sqlite(setup)
    folder = folder.resolve()
    if (folder / purge.UNFINISHED).exists():
        raise ConnectorError(f"the backup in {folder} was cut off while it was made", hint="take another one")
    missing = [name for name in (STATE, MART) if not (folder / name).is_file()]
    if missing:
        raise ConnectorError(
            f"{folder} has no {' and no '.join(missing)}", hint="name a folder that `connector backup` made"
        )
    return folder


def restore(setup: Setup, folder: Path) -> tuple[Path, int]:
    """Put the pair of a backup in the stores' place; to be called with the lease held.

    The present pair is kept beside it as a backup of its own, and who was purged since is purged from the restored pair before that
    takes its place. Returns where the present pair went, and how many records were purged. Raises MartError when the two copies do not
    belong together, ConnectorError when they are not there; nothing is touched then.
    """
    folder = find(setup, folder)
    state_file, mart_file = _files(setup)
    scratch = setup.restoring  # a purge finds what a kill leaves of it
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    try:
        for name in (STATE, MART):
            shutil.copyfile(folder / name, scratch / name)
            (scratch / name).chmod(0o600)
        fresh = _checked(scratch)
        kept.carry(fresh, kept.carried(setup.state))
        with _mart_in(scratch) as mart:
            purged = purge.enforce(fresh, mart, scratch / MART)
        unseen.begin(setup, fresh)
        former = _set_aside(setup, clock.now())
        for each in kept.backups(setup.state):
            kept.keep_backup(fresh, Path(each.path), now=each.made_at, pair=each.pair, generation=each.generation)
        _copy_to(fresh, state_file)
        fresh.close()
        _put(scratch / MART, mart_file, former)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return former, purged


def _put(new: Path, target: Path, former: Path) -> None:
    """A mart in the present one's place, which is kept. There is one at any moment: killed, the same command goes on from it."""
    if target.exists():
        try:
            os.link(target, former / new.name)
        except OSError:  # a file system without links
            shutil.copyfile(target, former / new.name)
            (former / new.name).chmod(0o600)
    log = target.with_name(f"{target.name}.wal")
    if log.exists():
        log.rename(former / log.name)
    new.replace(target)


def _checked(scratch: Path) -> State:
    try:
        state = open_state(StateSection.model_validate({"path": STATE}), scratch)
        with _mart_in(scratch) as mart:
            pair.take_copies(state, mart)
        kept.forget_lease(state)  # what a restore put aside was held by that restore
    except MartError as problem:
        raise MartError(
            f"the backup is not a pair: {problem}", hint="take both files from the same backup"
        ) from problem
    except StateError as problem:
        raise StateError(f"the backup cannot be used: {problem}", hint="take another one") from problem
    return state


def _mart_in(scratch: Path) -> AbstractContextManager[Mart]:
    return open_mart(MartSection.model_validate({"path": MART}), scratch)


def _set_aside(setup: Setup, now: datetime) -> Path:
    former = setup.directory.resolve() / f"before-restore-{now:%Y%m%d-%H%M%S}"  # a purge may come from another folder
    while former.exists():  # one that was killed a moment ago
        former = former.with_name(f"{former.name}-again")
    former.mkdir(mode=0o700)
    _begin(setup, former, setup.state.note("pair"), 0)
    _copy_to(setup.state, former / STATE)
    (former / purge.UNFINISHED).unlink()
    return former


def _files(setup: Setup) -> tuple[Path, Path]:
    database = setup.state.engine.url.database
    assert database is not None
    return Path(database), setup.mart_file


def dialect(state: State) -> str:
    """What the state is on: sqlite, postgresql."""
    return state.engine.dialect.name


def _check_sqlite(setup: Setup) -> None:
    if dialect(setup.state) != "sqlite":
        raise ConnectorError(
            "the state is on a database server, whose backup is that server's own",
            hint="stop the service, dump that database, and copy the mart's file beside it",
        )
