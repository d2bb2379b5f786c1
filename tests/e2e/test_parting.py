"""Two who were one person part: neither is called on again for what already made a task, and no stay in a stage begins anew."""

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
engagement = [{{ on = "form_submitted", points = 40, half_life_days = 300 }}]

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


def test_no_second_task_and_the_same_stage_since(house: House) -> None:
    before, tasks = _crm(house)
    assert tasks == ["Call Ida"]
    assert len({contact["person_id"] for contact in before}) == 1
    store = Store(house.directory / "crm.json")
    store.load()
    second = max(store.records["contacts"])
    store.put("contacts", second, {"mobile": "+14155550912"})
    store.save()
    house.sync()
    after, tasks = _crm(house)
    assert len({contact["person_id"] for contact in after}) == 2, "they have not parted"
    assert tasks == ["Call Ida"]
    stayed = [contact for contact, former in zip(after, before, strict=True) if contact["stage"] == former["stage"]]
    assert stayed, "nobody is in the stage of before"
    assert {contact["stage_since"] for contact in stayed} == {before[0]["stage_since"]}
