"""Transforms of columns: values, and reasons for what cannot be read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from connector import tables
from connector.mapping.transforms import TRANSFORMS, usual


def transformed(name: str, texts: list[str | None], region: str = "DE") -> tuple[list[Any], list[str | None]]:
    values, reasons = TRANSFORMS[name](pa.array(texts, pa.string()), region)
    return values.to_pylist(), reasons.to_pylist() if reasons is not None else [None] * len(texts)


MOMENT = datetime(2026, 9, 1, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-01T10:30:00.000+0000",
        "2026-09-01T10:30:00Z",
        "2026-09-01T12:30:00+02:00",
        "2026-09-01 10:30:00",
        "2026-09-01T10:30",
        str(int(MOMENT.timestamp() * 1000)),
    ],
)
def test_an_instant_in_any_notation_of_a_system_is_the_same_instant(text: str) -> None:
    assert transformed("datetime", [text, None, " "]) == ([MOMENT, None, None], [None, None, None])


def test_one_impossible_date_does_not_spoil_its_column() -> None:
    values, reasons = transformed("date", ["2026-02-28", "2026-02-30", "soon", "1788258600000"])
    assert values == [date(2026, 2, 28), None, None, date(2026, 9, 1)]
    assert reasons == [None, "not a date", "not a date", None]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1200", "1200.00"),
        ("1200.5", "1200.50"),
        ("-3.005", "-3.00"),
        ("1.2e3", "1200.00"),
        ("1,200.50", "1200.50"),
        ("1.200,50 €", "1200.50"),
        ("$ 1,200", "1200.00"),
        ("1.200 €", "1200.00"),
        ("-EUR 12.000", "-12000.00"),
        ("1.200", "1.20"),
        ("0.250 €", "0.25"),
        ("KWD 1.200", "1.20"),
        ("1'200.50", "1200.50"),
        ("1,2", "1.20"),
        ("0,500", "0.50"),
        (".5", "0.50"),
        ("USD 1,200", "1200.00"),
        ("1,20,000.5", "120000.50"),
        ("1.200.300 EUR", "1200300.00"),
        ("1\u202f200,50\u00a0€", "1200.50"),
        ("CHF 1’200.", "1200.00"),
        ("Fr. 500", "500.00"),
        ("-$500", "-500.00"),
        ("$ -500", "-500.00"),
        ("−500 kr", "-500.00"),
    ],
)
def test_an_amount_in_any_notation_has_two_decimals(text: str, amount: str) -> None:
    assert transformed("money", [text]) == ([Decimal(amount)], [None])


@pytest.mark.parametrize("text", ["a lot", "12-13-14", "99999999999999999999", "1e999999999", "€", "--5", "-$-5"])
def test_what_is_no_amount_says_so(text: str) -> None:
    assert transformed("money", [text]) == ([None], ["not an amount"])


@pytest.mark.parametrize(
    "text",
    [
        "10k",
        "1.5M",
        "5 Mio",
        "5 MIO.",
        "2bn",
        "(500)",
        "3/4",
        "1.2.3",
        "1,2,3",
        "1,200,50",
        "<50",
        "50-100",
        "500+",
        "50 %",
        "ca. 50",
    ],
)
def test_a_number_is_read_as_it_was_meant_or_not_at_all(text: str) -> None:
    assert transformed("money", [text]) == ([None], ["not an amount"])
    assert transformed("integer", [text]) == ([None], ["not a whole number"])


def test_integers_come_from_text_with_and_without_decimals() -> None:
    values, reasons = transformed("integer", ["620", "620.0", "1,500", "many", "0.5"])
    assert values == [620, 620, 1500, None, None]
    assert reasons == [None, None, None, "not a whole number", "not a whole number"]


def test_yes_and_no_in_the_words_of_systems() -> None:
    values, reasons = transformed("bool", ["true", "False", "1", "no", "Ja", None, "perhaps"])
    assert values == [True, False, True, False, True, None, None]
    assert reasons[-1] == "neither yes nor no"


def test_is_set_is_true_for_any_text_but_a_word_for_no() -> None:
    assert transformed("is_set", ["2026-01-01", "false", None, "UNKNOWN_USER"])[0] == [True, False, False, True]


def test_text_is_trimmed_and_nothing_is_null() -> None:
    assert transformed("trim", ["  Ann ", "   ", None])[0] == ["Ann", None, None]


def test_short_regions_are_codes() -> None:
    assert transformed("region", ["ca", "Bayern"])[0] == ["CA", "Bayern"]


def test_every_canonical_field_has_a_transform_that_gives_its_type() -> None:
    for schema in tables.FIELDS.values():
        for field in schema:
            values, _ = TRANSFORMS[usual(field.name, field.type)](pa.array(["1"], pa.string()), "DE")
            assert values.type == field.type, field.name
