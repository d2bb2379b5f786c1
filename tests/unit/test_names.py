"""Names as evidence: one name in its usual spellings agrees with itself, and two names do not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from connector.matching import names


def folded(*written: str) -> list[str | None]:
    values: list[str | None] = names.fold(pa.array(written, pa.string())).to_pylist()
    return values


def contradict(one: str, other: str) -> bool:
    left, right = (each or "" for each in folded(one, other))
    assert names.contradict(left, right) == names.contradict(right, left)
    return names.contradict(left, right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jürgen Müller", "Juergen Mueller"),
        ("Jürgen Müller", "Jurgen Muller"),
        ("Max Straße", "MAX STRASSE"),
        ("Søren Holm", "Soren Holm"),
        ("Søren Holm", "Soeren Holm"),
        ("Håkon Lie", "Haakon Lie"),
        ("Łukasz Nowak", "Lukasz Nowak"),
        ("Dr. Ann Meyer", "Ann M. Meyer"),
        ("Prof. Dr. Ann Meyer", "Meyer, Ann"),
        ("Dipl.-Ing. Ann Meyer", "Frau Meyer"),
        ("Ann-Marie Meyer", "Annmarie Meyer"),
        ("Ann Marie K. Meyer", "Annmarie Meyer"),
        ("Pat O'Brien", "P. OBrien"),
    ],
)
def test_a_name_in_two_usual_spellings_agrees(one: str, other: str) -> None:
    assert not contradict(one, other)


@pytest.mark.parametrize("other", ["Tom Meyer", "Dr. Tom Meyer", "Annmarie Meyer", "Ann Mayer"])
def test_two_names_contradict_each_other(other: str) -> None:
    assert contradict("Ann Meyer", other)


def test_of_punctuation_or_a_title_alone_no_name_is_left() -> None:
    assert folded("...", "Frau", "Prof. Dr.") == [None, None, None]
