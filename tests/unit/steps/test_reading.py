"""Whatever becomes of a thread that reads, the pull hears of its end: it would wait for ever."""

from __future__ import annotations

import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from connector.errors import Busy, ConnectorError
from connector.model import Page
from connector.sources.salesforce import STREAMS
from connector.steps import pull
from connector.tables import PAGE

BUSY = Busy("the store is in use")


def end_of(inbox: pull._Inbox) -> Any:
    """The last message of a read of two pages of two streams, neither of which is complete."""

    pages = iter([Page(stream, PAGE.empty_table(), None, done=False) for stream in STREAMS[:2]])
    system: Any = SimpleNamespace(name="crm", calls=lambda: 7)
    setup: Any = SimpleNamespace(systems={"crm": None}, state=None)
    moment: Any = SimpleNamespace(run=1)
    opened: Any = None
    groups = partial(pull._read_groups, setup, system, pages, opened, moment, inbox, is_stopping=lambda: False)
    pull._read(system, inbox, groups, calls_before=4)
    end: pull._Read = inbox.get_nowait()
    assert end.calls == 3
    return end


@pytest.mark.parametrize("problem", [BUSY, KeyError("odd")])
def test_a_read_that_cannot_begin_ends_with_its_failure(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    def load(_: Any) -> Any:
        raise problem

    monkeypatch.setattr(pull.suppressing, "load", load)
    assert isinstance(end_of(pull._Inbox()).failure, ConnectorError)


def test_a_read_whose_last_pages_cannot_be_mapped_ends_with_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("odd")

    for module, name in (
        (pull.suppressing, "load"),
        (pull.quarantine, "records_set_aside"),
        (pull.settlement, "in_doubt"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(pull, "_map", broken)
    assert "unexpected KeyError" in str(end_of(pull._Inbox()).failure)


def test_a_thread_that_reads_ends_when_what_it_reads_cannot_be_stored() -> None:
    inbox, ended = pull._Inbox(), []
    inbox.put(pull._Read("crm"))  # is being stored

    def hand_over() -> None:
        try:
            pull._hand_over(pull._Read("crm"), inbox)
        except ConnectorError as problem:
            ended.append(str(problem))

    reader = threading.Thread(target=hand_over, daemon=True)
    reader.start()
    inbox.abandon()
    reader.join(timeout=60)
    assert ended == ["what is read cannot be stored"]
