"""Points as they are shown: in tenths that add up, where each rounded by itself would not."""

from __future__ import annotations

from collections.abc import Sequence

from connector.tables import POINT

_TENTH = POINT // 10


def rounded(points: int) -> int:
    """Points in tenths, as the score itself is shown."""
    return round(points / _TENTH)


def shared_out(parts: Sequence[int], total: int) -> list[int]:
    """These points in tenths whose sum is `total`: what is left when all are rounded down goes to the largest remainders."""
    down = [points // _TENTH for points in parts]
    by_remainder = sorted(range(len(parts)), key=lambda place: -(parts[place] % _TENTH))
    for place in by_remainder[: max(0, total - sum(down))]:
        down[place] += 1
    return down
