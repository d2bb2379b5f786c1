"""A misspelt native field is told before the first pull with it, and costs no call afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connector import mapping
from connector.errors import ConfigError, SystemUnavailable
from connector.model import FieldSchema, ObjectSchema
from connector.sources.salesforce import SALESFORCE
from connector.state import State, StateSection, open_state
from connector.steps import named
from connector.steps.setup import Connected


class _Crm:
    """A system that shows the fields of contacts, and counts how often it is asked for them."""

    def __init__(self, *fields: str) -> None:
        self.fields, self.asked, self.is_away = set(fields), 0, False

    def describe(self, object_types: Sequence[str]) -> dict[str, ObjectSchema]:
        self.asked += 1
        if self.is_away:
            raise SystemUnavailable("away")
        schema = {name: FieldSchema(name, "text") for name in self.fields}
        return {each: ObjectSchema(each, schema) for each in object_types if each == "Contact"}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(StateSection(), tmp_path)


def check(state: State, crm: _Crm, outputs: dict[str, str] | None = None, readings: Any = None, **fields: str) -> None:
    section = mapping.MappingSection.model_validate({"fields": fields})
    mappings = mapping.load("salesforce", {"contacts": section})
    connected = Connected(
        "crm", SALESFORCE, SALESFORCE.capabilities, lambda: None, mappings, {"Contact": outputs or {}}
    )  # type: ignore[arg-type]
    setup: Any = SimpleNamespace(state=state, systems={"crm": connected})
    system: Any = SimpleNamespace(source=crm)
    named.check(setup, {"crm": system}, {} if readings is None else readings)


def test_a_field_that_is_not_shown_is_told_with_the_nearest_name_until_it_is_mended(state: State) -> None:
    crm = _Crm("Title", "City__c")
    for _ in range(2):
        with pytest.raises(ConfigError) as raised:
            check(state, crm, title="Titel", city="City__c")
        (problem,) = raised.value.problems
        assert problem.path == "mapping.crm.contacts.fields.title"
        assert problem.mend.startswith('did you mean "Title"? If the name is right, ')
        assert raised.value.exit_code == 2
    check(state, crm, title="Title", city="City__c")


def test_names_that_were_looked_up_are_not_asked_for_again_and_may_be_hidden_later(state: State) -> None:
    crm = _Crm("Title", "City__c")
    check(state, crm, title="Title")
    check(state, crm, title="Title")
    assert crm.asked == 1
    crm.fields.discard("Title")
    check(state, crm, title="Title", city="City__c")
    assert crm.asked == 2
    check(state, crm)
    with pytest.raises(ConfigError):  # named anew
        check(state, crm, title="Title")


def test_the_presets_fields_and_those_that_install_makes_are_asked_of_nobody(state: State) -> None:
    crm = _Crm()
    check(state, crm)
    check(state, crm, {"score": "Score__c"}, city="Score__c")
    assert crm.asked == 0


def test_a_system_that_does_not_answer_is_no_fault_of_the_mapping_and_is_asked_the_next_time(state: State) -> None:
    crm = _Crm("Title")
    crm.is_away = True
    check(state, crm, title="Titel")
    crm.is_away = False
    with pytest.raises(ConfigError):
        check(state, crm, title="Titel")


def test_where_descriptions_come_with_what_is_read_the_reading_begins_first_and_loses_nothing(state: State) -> None:
    crm, seen = _Crm("Title"), []

    def reading() -> Iterator[int]:
        seen.append(crm.asked)
        yield from range(3)

    readings: dict[str, Iterator[int]] = {"crm": reading()}
    check(state, crm, title="Title", readings=readings)
    assert (seen, crm.asked) == ([0], 1)
    assert list(readings["crm"]) == [0, 1, 2]
    readings = {"crm": reading()}
    check(state, crm, title="Title", readings=readings)
    assert seen == [0], "without a new name it begins when it is wanted"


def test_a_reading_that_cannot_begin_says_so_when_it_is_wanted(state: State) -> None:
    def reading() -> Iterator[int]:
        raise SystemUnavailable("away")
        yield 1

    def nothing() -> Iterator[int]:
        yield from ()

    readings: dict[str, Iterator[int]] = {"crm": reading()}
    check(state, _Crm("Title"), title="Title", readings=readings)
    with pytest.raises(SystemUnavailable):
        next(readings["crm"])
    readings = {"crm": nothing()}
    check(state, _Crm("Name"), title="Name", readings=readings)
    assert list(readings["crm"]) == []
