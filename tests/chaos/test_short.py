"""Chaos, short and with one seed, so that every change meets it; the long one is `make chaos`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e import forked

_ROOT = Path(__file__).parents[2]
#: A machine that is busy with other tests is slow, not wrong.
_ENDS_WITHIN_S = 600


@pytest.mark.timeout(_ENDS_WITHIN_S + 30)
def test_a_world_in_which_everything_goes_wrong_is_right_as_soon_as_it_is_quiet(tmp_path: Path) -> None:
    """In a process of its own: it forks, and this one may have threads."""
    words = ["--seed", "5", "--cycles", "2", "--people", "20", "--folder", str(tmp_path / "chaos")]
    out, err = tmp_path / "out", tmp_path / "err"
    play = forked.start("tests.chaos.__main__", words, at=_ROOT, out=out, err=err, environment=os.environ)
    try:
        assert play.wait(_ENDS_WITHIN_S) == 0, out.read_text()[-8_000:] + err.read_text()[-4_000:]
    finally:
        play.kill()
