"""Persons on the screen: one is told whole, several who share a value are listed."""

from __future__ import annotations

import pytest

from connector.cli.show_person import show_persons
from connector.report.explain import Explained
from connector.tables import POINT


def _told(key: str, name: str, points: int | None) -> Explained:
    score = None if points is None else {"score": points * POINT, "grade": "A"}
    return Explained(
        person={"key": key, "name": name, "title": "VP"}, account={"name": "Acme"}, records=[], evidence=[], refused=[], provenance={},
        score=score, lines=[], inputs={}, crossing=None, waits=[], stages=[{"stage": "Buy"}] if points else [], tasks=[], writes=[],
        others=[], owner="",
    )  # fmt: skip


def test_those_who_share_a_value_are_listed_with_how_to_see_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_persons([_told("P1", "Ann [x]", 66), _told("P2", "Bob", None)])
    head, first, second, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["person", "score", "stage", "who"]
    assert first.split(maxsplit=4) == ["P1", "66.0", "A", "Buy", "Ann [x] · VP · Acme"]
    assert second.split(maxsplit=3) == ["P2", "–", "–", "Bob · VP · Acme"]
    assert last == "2 persons known by that; `connector explain P1` tells all of one"
