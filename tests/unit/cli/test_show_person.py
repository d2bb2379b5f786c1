"""Persons on the screen: one is told whole, several who share a value are listed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.show_person import show_few, show_persons
from connector.report import tenths
from connector.report.explain import Explained
from connector.tables import POINT

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEAD, CONTACT, OTHER, GONE = "crm|Lead|1", "crm|Contact|2", "mail|contacts|3", "mail|contacts|4"


def _told(key: str, name: str, points: int | None, **more: Any) -> Explained:
    score = None if points is None else {"score": points * POINT, "grade": "A"}
    plain: dict[str, Any] = {
        "person": {"key": key, "name": name, "title": "VP"}, "account": {"name": "Acme"}, "records": [], "identifiers": [], "evidence": [],
        "refused": [], "provenance": {}, "score": score, "lines": [], "inputs": {}, "crossing": None, "waits": [],
        "stages": [{"stage": "Buy"}] if points else [], "tasks": [], "writes": [], "others": [], "owner": "",
    }  # fmt: skip
    return Explained(**plain | more)


SCORED_AT, SCORED = datetime(2026, 11, 24, 14, 44, tzinfo=UTC), "Score  as of 24 Nov 14:44"


def _shown(capsys: pytest.CaptureFixture[str], section: str, **more: Any) -> list[str]:
    """The lines of one section of a person's screen."""
    show_few([_told("P1", "Ann Meyer", None, **more)])
    _, _, after = capsys.readouterr().out.partition(f"\n{section}\n")
    return [line.strip() for line in after.partition("\n\n")[0].splitlines()]


def test_those_who_share_a_value_are_listed_with_how_to_see_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_persons([_told("P1", "Ann [x]", 66), _told("P2", "Bob", None)])
    head, first, second, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["person", "score", "stage", "who"]
    assert first.split(maxsplit=4) == ["P1", "66.0", "A", "Buy", "Ann [x] · VP · Acme"]
    assert second.split(maxsplit=3) == ["P2", "–", "–", "Bob · VP · Acme"]
    assert last == "2 persons known by that; `connector explain P1` tells all of one"


# --------------------------------------------------------------------------------------------------------------- evidence


def test_a_name_of_any_length_takes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_persons([_told("P1", "N" * 100_000, None), _told("P2", "Ann", None)])
    assert len(capsys.readouterr().out) < 1_000


def _records(*keys: str) -> list[dict[str, Any]]:
    return [{"key": key, "system": key.split("|")[0], "object_type": key.split("|")[1]} for key in keys]


def _hop(left: str, right: str, type_: str, value: str, how: str = "") -> dict[str, Any]:
    return {"left": left, "right": right, "type": type_, "value": value, "how": how, "since": None}


def _known(type_: str, value: str, *records: str, lost: datetime | None = None, unused: str = "") -> dict[str, Any]:
    return {
        "type": type_,
        "value": value,
        "records": list(records),
        "first_seen_at": None,
        "withdrawn_at": lost,
        "unused": unused,
    }


def test_what_a_person_is_known_by_stands_once_with_who_says_it_and_why_it_joins_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    contact, lead, trace = "salesforce|Contact|1", "hubspot|contacts|2", "hubspot|visitor|3"
    cookies = [_known("cookie", f"c{number}", trace) for number in range(5)]
    known = [
        _known("email", "ann@x.example", contact, lead, trace),
        _known("email", "test@test.com", contact, unused="nobody's: on the list of what is not used"),
        _known("email_base", "ann@x.example", contact),
        _known("phone", "+4930", lead, lost=datetime(2026, 11, 3, tzinfo=UTC)),
        *cookies,
        _known("crm_id", contact, lead),
    ]
    assert _shown(capsys, "Known by", identifiers=known) == [
        "e-mail      ann@x.example         salesforce, hubspot",
        "test@test.com         salesforce  nobody's: on the list of what is not used",
        "phone       +4930                 hubspot  withdrawn 3 Nov 2026",
        "cookie      c0                    hubspot",
        "c1                    hubspot",
        "c2                    hubspot",
        "… 2 more with --json",
        "CRM record  salesforce Contact 1  hubspot",
    ]
    assert _shown(capsys, "Known by") == ["nothing"]


def test_what_a_system_did_with_two_records_is_said_in_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    hops = [
        _hop(CONTACT, LEAD, "crm_id", CONTACT, "converted from"),
        _hop(CONTACT, OTHER, "crm_id", OTHER),
        _hop(OTHER, "mail|contacts|5", "crm_id", "crm|Contact|9"),
        _hop(OTHER, "mail|visitor|75ea000c79ec83e0", "email", "ann@x.example"),
        _hop(OTHER, GONE, "judgement", "joe"),
    ]
    assert _shown(capsys, "Who", records=_records(CONTACT, LEAD, OTHER), evidence=hops) == [
        "crm Contact 2 ── converted from ── crm Lead 1",
        "crm Contact 2 ── CRM record ── mail contacts 3",
        "mail contacts 3 ── CRM record crm|Contact|9 ── mail contacts 5",
        "mail contacts 3 ── joined by joe ── mail contacts 4",
        "mail contacts 3 ── e-mail ann@x.example ── mail trace 75ea000c79ec",
    ]


def test_a_record_that_nothing_leads_to_yet_is_shown_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert _shown(capsys, "Who", records=_records(LEAD)) == ["crm Lead 1"]


def _refused(others: Sequence[tuple[str, str, str]], type_: str = "phone", value: str = "+49301") -> dict[str, Any]:
    named = [{"record": record, "name": name, "person": person} for record, name, person in others]
    return {"type": type_, "value": value, "why": "3 names share it (limit 2)", "others": named}


def test_who_was_not_joined_is_named_once_by_a_record_with_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    others = [("crm|Lead|6", "", "P2"), ("crm|Contact|7", "Tom Berg", "P2"), ("mail|contacts|8", "Ida Holm", "P3")]
    assert _shown(capsys, "Who", records=_records(LEAD), refused=[_refused(others)]) == [
        "crm Lead 1",
        'not joined: crm Contact 7 "Tom Berg", mail contacts 8 "Ida Holm" (shares phone +49301: 3 names share it (limit 2))',
    ]


def test_of_many_who_were_not_joined_three_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    others = [(f"crm|Lead|{number}", "", f"P{number}") for number in range(2, 7)]
    _, line = _shown(capsys, "Who", records=_records(LEAD), refused=[_refused(others)])
    assert line.startswith("not joined: crm Lead 2, crm Lead 3, crm Lead 4 and 2 more (shares phone")


def test_a_value_that_joined_nobody_else_is_told_as_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    _, line = _shown(capsys, "Who", records=_records(LEAD), refused=[_refused([])])
    assert line == "not used: phone +49301: 3 names share it (limit 2)"


def test_who_was_found_without_the_tag_of_the_address_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_few([_told("P1", "Ann", None, found_by="ann@x.example")])
    assert "nobody has that very address; found by ann@x.example" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------------ score


@given(st.lists(st.integers(-40 * POINT, 40 * POINT), max_size=12), st.lists(st.integers(0, 40 * POINT), max_size=12))
def test_points_in_tenths_add_up_to_the_halves_and_these_to_the_score(fit: list[int], engagement: list[int]) -> None:
    total = tenths.rounded(sum(fit) + sum(engagement))
    halves = tenths.shared_out([sum(fit), sum(engagement)], total)
    assert sum(halves) == total
    for parts, half in zip((fit, engagement), halves, strict=True):
        shown = tenths.shared_out(parts, half)
        assert sum(shown) == (half if parts else 0)
        assert all(abs(tenth * POINT // 10 - points) < POINT // 10 for tenth, points in zip(shown, parts, strict=True))


def test_the_lines_that_are_shown_add_up_to_the_score_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    points = [("fit", 45.0), ("engagement", 5.44), ("engagement", 2.03), ("engagement", 1.345), ("engagement", -0.01)]
    lines = [{"half": half, "points": round(each * POINT), "text": "x", "rule": "r"} for half, each in points]
    score = {"score": round(53.8 * POINT), "fit": 45 * POINT, "engagement": round(8.8 * POINT), "grade": "B",
             "coverage_known": 4, "coverage_of": 4, "scored_at": SCORED_AT}  # fmt: skip
    head, *shown, total = _shown(capsys, SCORED, score=score, lines=lines)
    assert head == "53.8 · grade B · fit 45.0 (4 of 4 inputs known) · engagement 8.8"
    assert [line.split()[0] for line in shown] == ["+45.0", "+5.4", "+2.0", "+1.4", "-0.0"]
    assert total == "= 53.8"


def test_a_rule_that_holds_because_a_field_is_empty_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"half": "fit", "points": -POINT, "text": "little known", "rule": "r"}]
    score: dict[str, Any] = {
        "score": -POINT,
        "fit": -POINT,
        "engagement": 0,
        "grade": "D",
        "coverage_known": 0,
        "coverage_of": 1,
    }
    score["scored_at"] = SCORED_AT
    read = {"r": [{"field": "person.phone", "value": None, "record": None}]}
    assert (
        _shown(capsys, SCORED, score=score, lines=lines, inputs=read)[1]
        == "-1.0  little known  fit: person phone empty"
    )


# ---------------------------------------------------------------------------------------------------------------- written


def _write(number: int, record: str, *, task: str = "", tries: int = 1) -> Mapping[str, Any]:
    at = NOW - timedelta(minutes=number)
    return {
        "system": "crm", "object_type": "Contact", "native_id": record, "fields": {"Score": number}, "task": task, "run": 9, "at": at,
        "how": "", "into": "", "result": "accepted", "code": "", "status": "settled", "held_because": "", "tries": [{}] * tries,
    }  # fmt: skip


def test_every_task_and_the_latest_write_to_each_record_are_shown_and_how_many_more_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    writes = [_write(number, "A") for number in range(9)]
    shown = _shown(capsys, "Written", writes=[*writes, _write(9, "B", tries=3), _write(10, "A", task="Call Ann")])
    assert [re.split("  +", line)[1] for line in shown[:-1]] == [
        "Score 0", "Score 1", "Score 2", "Score 3", "Score 9", "task “Call Ann”",
    ]  # fmt: skip
    assert shown[4].endswith("run 9, accepted, 3 tries")
    assert shown[-1] == "… 5 more with --json"


def test_where_all_is_shown_nothing_is_said_to_be_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_shown(capsys, "Written", writes=[_write(number, "A") for number in range(6)])) == 6
