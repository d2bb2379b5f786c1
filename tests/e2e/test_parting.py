"""Two who were one person part: neither is called on again for what already made a task, no stay in a stage begins anew, and from
then on each has tasks of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.sources.memory_store import Store
from tests.e2e.house import House

CONFIG = """
[systems.crm]
kind = "memory"
path = "{crm}"

[scoring.default]
fit = [{{ when = "person.title is not null", points = 30 }}]
engagement = [{{ on = "form_submitted", points = 40, half_life_days = 300, cap = 40 }}]

[tasks.call]
when = "score crosses 60"
rearm_below = 50
subject = "Call {{{{ person.first_name }}}}"
system = "crm"
first_run_days = 30
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Ida under two addresses with one mobile number, who asked for a demo under the second: one person, one task."""
    house = House(tmp_path / "house")
    house.directory.mkdir()
    house.config.write_text(CONFIG.format(crm=house.directory / "crm.json"))
    store = Store(house.directory / "crm.json")
    both = {"first_name": "Ida", "last_name": "Split", "title": "CFO", "mobile": "+14155550911"}
    _, second = (store.put("contacts", None, {"email": f"ida@{name}.example"} | both) for name in ("one", "two"))
    form = {"kind": "form_submitted", "contact": second, "happened_at": "2026-11-20T10:00:00Z"}
    store.put("activities", None, form)
    store.save()
    assert house.run("install", "--yes").code == 0
    house.sync()
    return house


def _crm(house: House) -> tuple[list[dict[str, Any]], list[str]]:
    """The contacts, and the subjects of the tasks."""
    store = Store(house.directory / "crm.json")
    store.load()
    contacts = [record.values for _, record in sorted(store.records["contacts"].items())]
    activities = [record.values for record in store.records["activities"].values()]
    return contacts, [each["subject"] for each in activities if each.get("type") == "task"]


def _change(house: House, *which: int, **values: str | None) -> None:
    """The same new values for these contacts (0: the first), and a sync."""
    store = Store(house.directory / "crm.json")
    store.load()
    contacts = sorted(store.records["contacts"])
    for each in which:
        store.put("contacts", contacts[each], values)
    store.save()
    house.sync()


def _rise_again(house: House) -> None:
    """Everybody falls below the line, and rises over it."""
    _change(house, 0, 1, title=None)
    _change(house, 0, 1, title="CFO")


def test_no_second_task_and_the_same_stage_since(house: House) -> None:
    before, tasks = _crm(house)
    assert tasks == ["Call Ida"]
    assert len({contact["person_id"] for contact in before}) == 1
    _change(house, 1, mobile="+14155550912")
    after, tasks = _crm(house)
    assert len({contact["person_id"] for contact in after}) == 2, "they have not parted"
    assert tasks == ["Call Ida"]
    stayed = [contact for contact, former in zip(after, before, strict=True) if contact["stage"] == former["stage"]]
    assert stayed, "nobody is in the stage of before"
    assert {contact["stage_since"] for contact in stayed} == {before[0]["stage_since"]}


@pytest.fixture
def twice(house: House) -> House:
    """The house where Ida asked for a demo under her first address, too."""
    store = Store(house.directory / "crm.json")
    store.load()
    form = {"kind": "form_submitted", "contact": min(store.records["contacts"]), "happened_at": "2026-11-20T10:00:00Z"}
    store.put("activities", None, form)
    store.save()
    return house


def test_each_has_a_task_of_their_own_when_both_rise_again(twice: House) -> None:
    _change(twice, 1, mobile="+14155550912")
    assert _crm(twice)[1] == ["Call Ida"]
    _rise_again(twice)
    assert _crm(twice)[1] == ["Call Ida"] * 3
    _change(twice, 1, mobile="+14155550911")
    assert len({contact["person_id"] for contact in _crm(twice)[0]}) == 1, "they are not one again"
    assert _crm(twice)[1] == ["Call Ida"] * 3
    _rise_again(twice)
    assert _crm(twice)[1] == ["Call Ida"] * 4
    _change(twice, 1, mobile="+14155550912")
    _rise_again(twice)
    assert _crm(twice)[1] == ["Call Ida"] * 6


def test_who_is_deleted_and_comes_back_as_another_is_called_on_again_only_when_they_rise_again(twice: House) -> None:
    for is_deleted, mobile in ((True, "+14155550911"), (False, "+14155550912")):
        store = Store(twice.directory / "crm.json")
        store.load()
        store.records["contacts"][min(store.records["contacts"])].is_deleted = is_deleted
        store.save()
        _change(twice, 0, mobile=mobile)
    contacts, tasks = _crm(twice)
    assert len({contact["person_id"] for contact in contacts}) == 2, "they have not parted"
    assert tasks == ["Call Ida"]
    _rise_again(twice)
    assert _crm(twice)[1] == ["Call Ida"] * 3
