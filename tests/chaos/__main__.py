"""Chaos: a world in which everything goes wrong that can, and which must be right as soon as it is quiet.

`make chaos`, or `python -m tests.chaos --seed 7 --cycles 300`. Every choice follows from the seed; how a race ends does not. On a
violation it prints the seed, the cycle, the record and field with both values, and keeps the folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.play import Play, ViolationError


def main() -> int:
    """Play; 1 when something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="every choice follows from it")
    parser.add_argument("--cycles", type=int, default=300, help="how many times something goes wrong")
    parser.add_argument("--people", type=int, default=60, help="how large the imitated world is")
    parser.add_argument("--folder", type=Path, help="where to play; a new temporary one when not given")
    parser.add_argument("--verbose", action="store_true", help="a line for every command")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    play = Play(folder, seed=given.seed, people=given.people, is_verbose=given.verbose)
    try:
        play.whole(given.cycles)
    except ViolationError as violation:
        print(f"\nVIOLATED: seed {given.seed}, cycle {play.cycle} ({play.story})")
        print("\n".join(f"  {line}" for line in violation.lines))
        print(play.told())
        print(f"kept in {folder}")
        return 1
    print(play.told())
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
