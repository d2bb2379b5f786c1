"""A line of the log says what there is to say: no empty fields, no personal value, no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import structlog

from connector import log
from connector.log import LogSection


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _said(capsys: pytest.CaptureFixture[str], form: str, **fields: str) -> str:
    log.configure(LogSection.model_validate({"format": form}))
    log.get("alerts").warning("alert.began", **fields)
    return capsys.readouterr().err


def test_fields_that_say_nothing_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(_said(capsys, "json", kind="brake", system="", stream="", text="1 change is held"))
    assert set(said) == {"event", "kind", "text", "level", "module", "timestamp"}
    assert not re.search(r"\w+=(\s|$)", _said(capsys, "text", kind="brake", system=""))


def test_an_address_and_a_token_are_not_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = _said(capsys, "json", text="ann@acme.com was refused", token="t0p", reason="Bearer abc.def")
    assert not re.search(r"acme|t0p|abc\.def", said)
