"""A plan on the screen."""

from __future__ import annotations

from connector.cli.show_plan import brake_share
from connector.plan import Totals


def test_the_largest_share_is_told_in_values_since_a_share_of_few_holds_nothing() -> None:
    assert (
        brake_share(Totals({"score": 2, "stage": 1}, {"score": 200, "stage": 3}))
        == "1 of 3 existing values would change"
    )
    assert brake_share(Totals()) == "no existing value would change"
