"""The summary of a run says what went wrong, and that all is well only where it is."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from connector.cli.show_run import show_summary
from connector.errors import Interrupted, RecordRejected, SystemUnavailable
from connector.plan import Totals
from connector.state.holdings import LeftBehind
from connector.state.models import Freeze
from connector.steps.pulled import Pulled
from connector.steps.resolve import Resolved
from connector.summary import Summary

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_stream_that_could_not_be_read_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    refused = RecordRejected("the query is refused", code="BAD_REQUEST")
    summary = Summary(1, pulled=Pulled(stream_failures={("crm", "contacts"): refused}), totals=Totals())
    assert summary.exit_code == 4
    assert summary.as_json()["failures"] == {"crm contacts": "the query is refused"}
    show_summary(summary)
    said = capsys.readouterr().out
    assert "crm contacts was left out: the query is refused" in said
    assert "ours to write" not in said


def test_what_is_set_aside_already_is_no_change_of_this_run_and_not_as_it_should_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_summary(Summary(1, planned=282, enqueued=0, totals=Totals(), aside=282))
    said = capsys.readouterr().out
    assert "plan      282 waiting, held or set aside already" in said
    assert "282 changes are set aside" in said
    show_summary(Summary(1, totals=Totals(), aside=1, mends=["run `connector install crm`", "b", "c", "d"]))
    said = capsys.readouterr().out
    assert "refused by the system\n  run `connector install crm`\n  b\n  c\n  `connector quarantine`" in said
    assert "1 change is set aside" in said
    assert "ours to write" not in said
    show_summary(Summary(1, totals=Totals()), has_refused=True)
    assert "ours to write" not in capsys.readouterr().out, (
        "a saved plan of which nothing holds any more leaves all to do"
    )
    show_summary(Summary(1, totals=Totals()))
    assert "all that is ours to write is there" in capsys.readouterr().out


def test_what_is_held_is_counted_once_with_why(capsys: pytest.CaptureFixture[str]) -> None:
    show_summary(Summary(1, planned=98, enqueued=0, totals=Totals(), held=Counter({"many at once": 298})))
    said = capsys.readouterr().out
    assert "plan      98 waiting, held or set aside already\n" in said
    assert "298 changes held: many at once" in said


def test_changes_of_unknown_outcome_are_told_until_they_are_known_and_values_that_could_not_be_mapped_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_summary(Summary(1, totals=Totals(), pulled=Pulled(values_aside=86), doubtful=Counter(crm=5, other=0)))
    said = capsys.readouterr().out
    assert "crm: 5 changes are of unknown outcome" in said
    assert "86 values were set aside" in said
    assert "other" not in said
    assert "ours to write" not in said


def test_the_run_that_freezes_a_field_says_who_fights_over_it(capsys: pytest.CaptureFixture[str]) -> None:
    frozen = Freeze(
        key="crm|Contact|7|Score", system="crm", record="crm|Contact|7", field="Score", writer="Bo in crm",
        why="we write 3, Bo in crm writes 4: 3 times since 1 Nov", since_at=NOW, until_at=NOW + timedelta(days=7),
    )  # fmt: skip
    show_summary(Summary(1, totals=Totals(), frozen=[frozen]))
    said = " ".join(capsys.readouterr().out.split())
    assert "crm|Contact|7 Score is left alone until 8 Nov 00:00: we write 3, Bo in crm writes 4" in said
    assert "connector unfreeze 'crm|Contact|7'" in said
    assert "ours to write" not in said


def test_of_systems_that_were_not_read_nothing_is_said_to_be_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    gone = {"crm": SystemUnavailable("no connection")}
    show_summary(Summary(1, pulled=Pulled(calls={"crm": 0}, failures=gone), totals=Totals()))
    assert "nothing changed" not in capsys.readouterr().out
    show_summary(Summary(1, pulled=Pulled(calls={"crm": 0, "other": 1}, failures=gone), totals=Totals()))
    assert "nothing changed" in capsys.readouterr().out


def test_a_field_that_a_system_does_not_show_is_told_by_every_run_until_it_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hidden = {"crm: Contact does not show us Title": "run `connector check crm`"}
    show_summary(Summary(1, totals=Totals(), hidden=hidden))
    said = capsys.readouterr().out
    assert "! crm: Contact does not show us Title\n  run `connector check crm`" in said
    assert "ours to write" not in said


def test_a_system_that_is_not_configured_any_more_is_told_by_every_run_while_something_is_held_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = Summary(1, totals=Totals(), left_behind=[LeftBehind("old", "not configured any more", "its name")])
    show_summary(left)
    said = capsys.readouterr().out
    assert "! old: not configured any more\n  its name" in said
    assert "ours to write" not in said
    assert left.as_json()["left_behind"] == [{"system": "old", "what": "not configured any more", "mend": "its name"}]


def test_a_run_that_was_stopped_says_so_and_what_becomes_of_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = Summary(1, totals=Totals(), is_stopped=True)
    show_summary(stopped)
    said = capsys.readouterr().out
    assert "stopped; what waits goes with the next run" in said
    assert "ours to write" not in said
    assert stopped.as_json()["stopped"] is True


def test_a_run_that_was_stopped_says_nothing_of_what_it_did_not_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(1, pulled=Pulled(calls={"crm": 3}, failures={"erp": Interrupted("too fast")}), is_stopped=True)
    show_summary(summary)
    said = capsys.readouterr().out
    assert "nothing changed" not in said
    assert "erp was not read to the end: too fast" in said
    assert "left out" not in said
    assert "stopped; what waits goes with the next run\n" in said
    summary.resolved = Resolved(records=3)
    show_summary(summary)
    assert "goes with the next run, which computes what is left" in capsys.readouterr().out
    show_summary(Summary(1, pulled=Pulled(calls={"crm": 3}), totals=Totals(), is_stopped=True))
    assert "nothing changed" in capsys.readouterr().out
