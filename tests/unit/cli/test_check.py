"""What `check` ends with, and how it counts what it could not ask."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from connector.cli import prepare
from connector.doctor import Checked
from connector.errors import AuthError, ConnectorError, QuotaExhausted
from connector.model import Check, Finding

WRONG = Checked("crm", "CRM", Check("crm", "somebody", 1, 10, 0.0, ()), (Finding("error", "no field", "make it"),))


def _unasked(error: ConnectorError) -> Checked:
    return Checked("other", "Other", None, (), error)


def _ended(monkeypatch: pytest.MonkeyPatch, *checked: Checked) -> int:
    monkeypatch.setattr(prepare, "open_house", lambda _: (None, SimpleNamespace()))
    monkeypatch.setattr(prepare, "_check_all", lambda *_: list(checked))
    monkeypatch.setattr(prepare.doctor, "left_behind", lambda _: [])
    try:
        prepare.check()
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
