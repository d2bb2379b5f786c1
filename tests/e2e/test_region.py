"""The country of numbers without a prefix is a setting: another one holds for what was read before, too."""

from __future__ import annotations

from pathlib import Path

from connector import clock
from connector.sources.memory_store import Store
from tests.e2e.house import House

CONFIG = """
[systems.crm]
kind = "memory"
path = "{path}"

[mapping]
region = "DE"

[scoring.default]
fit = [{{ when = "person.title is not null", points = 30 }}]
"""


def test_another_region_gives_the_numbers_that_were_read_before_their_country(tmp_path: Path) -> None:
    house, crm = House(tmp_path / "house"), tmp_path / "crm.json"
    house.directory.mkdir()
    house.config.write_text(CONFIG.format(path=crm))
    store = Store(crm)
    store.put("contacts", None, {"email": "ann@acme.example", "phone": "020 7946 0958"})
    store.save()
    asked = "SELECT r.phone, p.phone, i.value FROM person_record r, person p, identifier i WHERE i.type = 'phone'"
    for region, phone in (("DE", "+492079460958"), ("DE", "+492079460958"), ("GB", "+442079460958")):
        house.edit('region = "DE"', f'region = "{region}"')
        assert house.run("install", "--yes").code == 0
        house.sync(now=clock.now().isoformat())
        assert house.mart(asked) == [(phone, phone, phone)]
