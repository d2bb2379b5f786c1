"""What `check` ends with, and how it counts what it could not ask."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from connector.cli import prepare
from connector.doctor import Checked
from connector.errors import AuthError, ConnectorError, QuotaExhausted
from connector.model import Check, Finding

WRONG = Checked("crm", "CRM", Check("crm", "somebody", 1, 10, 0.0, ()), (Finding("error", "no field", "make it"),))


def _unasked(error: ConnectorError) -> Checked:
    return Checked("other", "Other", None, (), error)


def _ended(monkeypatch: pytest.MonkeyPatch, *checked: Checked, as_json: bool = False) -> int:
    monkeypatch.setattr(prepare, "open_house", lambda _: (SimpleNamespace(open_secrets={}), SimpleNamespace()))
    monkeypatch.setattr(prepare, "_check_all", lambda *_: list(checked))
    monkeypatch.setattr(prepare.doctor, "left_behind", lambda _: [])
    try:
        prepare.check(as_json=as_json)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_system_that_waits_for_calls_hides_no_problem_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ended(monkeypatch, WRONG, _unasked(QuotaExhausted("used up"))) == 1
    assert _ended(monkeypatch, WRONG, _unasked(AuthError("refused"))) == AuthError.exit_code


def test_a_quota_that_is_used_up_is_a_warning_as_the_exit_code_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ended(monkeypatch, _unasked(QuotaExhausted("used up"))) == 0
    assert "0 problems, 1 warning" in capsys.readouterr().out


def test_a_script_is_told_what_to_do_where_a_system_could_not_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ended(monkeypatch, _unasked(AuthError("refused", hint="renew them")), as_json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["error"], told["hint"]) == ("refused", "renew them")


def test_a_system_that_is_named_twice_is_checked_once() -> None:
    setup: Any = SimpleNamespace(systems={"crm": None, "other": None})
    assert prepare._known(setup, ["crm", "crm"]) == ("crm",)
    assert prepare._known(setup, None) == ("crm", "other")
