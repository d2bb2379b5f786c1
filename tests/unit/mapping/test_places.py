"""Countries in any spelling."""

from __future__ import annotations

import pytest

from connector.mapping import places


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Germany", "DE"),
        ("DEUTSCHLAND", "DE"),
        ("Allemagne", "DE"),
        ("deu", "DE"),
        ("de", "DE"),
        ("USA", "US"),
        ("U.S.", "US"),
        ("United States of America", "US"),
        ("Etats Unis", "US"),
        ("uk", "GB"),
        ("England", "GB"),
        ("Österreich", "AT"),
        ("Oesterreich", "AT"),
        ("Czech Republic", "CZ"),
        ("the netherlands", "NL"),
        ("South Korea", "KR"),
        ("Korea, Republic of", "KR"),
        ("Côte d'Ivoire", "CI"),
        ("Atlantis", None),
        ("Bavaria", None),
        ("", None),
    ],
)
def test_a_country_in_any_spelling_is_its_iso_code(text: str, code: str | None) -> None:
    assert places.country(text) == code
