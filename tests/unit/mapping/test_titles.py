"""Job titles of three languages to seniority and function."""

from __future__ import annotations

import pytest

from connector.mapping import titles


@pytest.mark.parametrize(
    ("title", "seniority", "function"),
    [
        ("VP Operations", "vp", "operations"),
        ("Vice President, Sales", "vp", "sales"),
        ("C.E.O.", "c_level", "other"),
        ("Chief Information Officer", "c_level", "it"),
        ("Geschäftsführerin", "c_level", "other"),
        ("Directrice Générale", "c_level", "other"),
        ("PDG", "c_level", "other"),
        ("Leiter Einkauf", "director", "procurement"),
        ("Vertriebsleiterin", "director", "sales"),
        ("Head of Supply Chain", "director", "operations"),
        ("Directeur Marketing", "director", "marketing"),
        ("Projektleiter Logistik", "manager", "operations"),
        ("HR Manager", "manager", "hr"),
        ("Responsable des achats", "manager", "procurement"),
        ("Software Engineer", "staff", "it"),
        ("Ingénieure R&D", "staff", "engineering"),
        ("Buchhalter", "staff", "finance"),
        ("Juristin", "staff", "legal"),
        ("Werkstudent", "other", "other"),
        ("Ninja of Flow", "other", "other"),
    ],
)
def test_a_title_tells_seniority_and_function(title: str, seniority: str, function: str) -> None:
    assert (titles.seniority(title), titles.function(title)) == (seniority, function)


@pytest.mark.parametrize(
    ("title", "seniority"),
    [
        ("Executive Assistant to the CEO", "staff"),
        ("Assistant to the CEO", "staff"),
        ("Executive Assistant to the VP", "staff"),
        ("Director's assistant", "staff"),
        ("Personal Assistant", "staff"),
        ("Assistenz der Geschäftsführung", "staff"),
        ("Assistent Vorstand", "staff"),
        ("Vorstandsassistentin", "staff"),
        ("Assistante du directeur général", "staff"),
        ("Product Owner", "staff"),
        ("Senior Process Owner", "staff"),
        ("Owner", "c_level"),
        ("Chief of Staff", "director"),
        ("Chief of Staff to the CEO", "director"),
        ("Former CEO", "other"),
        ("Ex-CEO", "other"),
        ("CEO, former CFO", "c_level"),
        ("Assistant Vice President", "vp"),
        ("Assistant Director", "director"),
        ("Assistant Manager", "manager"),
        ("Marketing Assistant", "staff"),
    ],
)
def test_who_works_for_somebody_of_rank_or_had_a_rank_has_none(title: str, seniority: str) -> None:
    assert titles.seniority(title) == seniority


def test_personal_is_staff_in_german_and_not_in_english() -> None:
    assert titles.function("Personal Assistant") == "other"
    assert titles.function("Leiter Personal") == titles.function("Personalreferentin") == "hr"


@pytest.mark.parametrize("title", ["", "  ", "-", "n/a"])
def test_no_title_tells_nothing(title: str) -> None:
    assert titles.seniority(title) is None
    assert titles.function(title) is None


def test_a_word_is_not_found_inside_another() -> None:
    assert titles.function("Italian Cook") == "other"
    assert titles.seniority("Ceola Smith") == "other"


def test_what_is_given_is_always_one_of_the_declared_values() -> None:
    patterns = titles._patterns()
    assert {name for name, _ in patterns["seniority"]} <= set(titles.SENIORITIES)
    assert {name for name, _ in patterns["function"]} <= set(titles.FUNCTIONS)
