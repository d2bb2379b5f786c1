"""Before the first run: check, install, and a configuration that is broken."""

from __future__ import annotations

import re
import stat

from tests.e2e.crm import HUBSPOT_FIELDS, SALESFORCE_FIELDS
from tests.e2e.world import World

OUR_FIELDS = [
    *(f"{name}.{each}" for name in ("Lead", "Contact") for each in SALESFORCE_FIELDS),
    "Task.Task_Key__c",
    *(f"contacts.{each}" for each in HUBSPOT_FIELDS),
    "tasks.connector_task_key",
]


def _missing(world: World) -> list[str]:
    """Our fields that `check` misses."""
    told = world.house.run("check", "--json").json()
    errors = [finding["what"] for each in told for finding in each["findings"] if finding["level"] == "error"]
    return [name for name in OUR_FIELDS if any(_is_about(what, *name.split(".")) for what in errors)]


def _is_about(what: str, object_type: str, field: str) -> bool:
    return what.startswith(f"{object_type}: no ") and field in re.findall(r"\w+", what)


def test_check_names_every_missing_field_and_how_to_make_it(seeded: World) -> None:
    assert _missing(seeded) == OUR_FIELDS
    done = seeded.house.run("check")
    assert done.code == 1, str(done)
    assert [name for name in OUR_FIELDS if name.split(".")[1] not in done.out] == []
    assert done.out.count("Task_Key__c") == 1, "it is one field of Task and Event"
    assert "run `connector install salesforce`" in done.out
    assert "run `connector install hubspot`" in done.out


def test_a_plan_and_no_run_of_apply_before_the_fields_are_there(seeded: World) -> None:
    house = seeded.house
    early = house.run("apply")
    assert (early.code, house.state("SELECT count(*) FROM run")) == (2, [(0,)])
    assert "run `connector plan` first" in early.err
    told = house.run("plan", "--json").json()["unready"]
    assert [name for name in OUR_FIELDS if not any(_is_about(each["what"], *name.split(".")) for each in told)] == []
    done = house.run("plan")
    assert done.code == 0, str(done)
    assert "run `connector install hubspot`" in done.out
    assert "once the systems are ready" in done.out


def test_a_dry_install_says_what_it_would_make_and_makes_nothing(seeded: World) -> None:
    done = seeded.house.run("install", "--dry-run")
    assert done.code == 0, str(done)
    for name in OUR_FIELDS:
        assert name in done.out, str(done)
    told = seeded.house.run("install", "--json").json()
    assert [each["is_done"] for each in told] == [False, False], "a script is not asked: without --yes nothing is done"
    named = [step["what"] for each in told for step in each["steps"] if step["step"] == "create"]
    assert [name for name in OUR_FIELDS if name not in named] == []
    assert _missing(seeded) == OUR_FIELDS


def test_an_admin_is_told_where_the_key_of_tasks_is_not_unique(seeded: World) -> None:
    done = seeded.house.run("install", "--yes")
    assert done.code == 0, str(done)
    assert "unique, if the portal takes it" in done.out
    for told in (done, seeded.house.run("install", "--yes"), seeded.house.run("check")):
        assert told.code == 0, str(told)
        [line] = [line for line in told.out.splitlines() if "not unique in this portal" in line]
        assert "tasks.connector_task_key" in line


def test_a_sync_before_install_says_to_install_and_the_one_after_it_has_nothing_to_say(seeded: World) -> None:
    house = seeded.house
    early = house.run("sync")
    assert "run `connector install salesforce`" in early.out
    assert "does not show us" not in early.out
    assert house.run("install", "--yes").code == 0
    done = house.run("sync")
    assert "accepted" in done.out
    assert "!" not in done.out, str(done)


def test_after_install_check_is_content_and_a_second_install_changes_nothing(installed: World) -> None:
    assert installed.house.run("check").code == 0
    before, mark = installed.crms.look("counts"), installed.crms.mark()
    again = installed.house.run("install", "--yes")
    assert again.code == 0, str(again)
    assert "create" not in again.out, str(again)
    told = installed.house.run("install", "--yes", "--json").json()
    assert {(each["error"], each["missing"]) for each in told} == {(None, 0)}
    assert {step["step"] for each in told for step in each["steps"]} == {"exists"}
    assert installed.crms.look("counts") == before
    calls = [*installed.crms.calls_of("salesforce", mark), *installed.crms.calls_of("hubspot", mark)]
    assert calls, "the calls of the second install were not seen"
    assert [call for call in calls if call["method"] in ("PATCH", "PUT", "DELETE")] == []
    assert [call for call in calls if call["status"] == 201] == []


def test_a_broken_configuration_is_told_whole_with_its_places_and_nothing_is_touched(seeded: World) -> None:
    house, mark = seeded.house, seeded.crms.mark()
    house.edit('kind = "hubspot"', 'kind = "hubspott"')
    house.edit("half_life_days = 45", "half_life_days = -5")
    house.edit("person.email_is_free", "person.email_is_fre")
    house.edit("subject =", "subjekt =")
    house.edit('"file:salesforce_client_secret"', '"env:NOT_SET_ANYWHERE"')
    lines = house.config.read_text().splitlines()
    done = house.run("sync")
    assert done.code == 2, str(done)

    def place(text: str) -> str:
        return f"connector.toml:{1 + next(number for number, line in enumerate(lines) if text in line)}"

    expected = {
        "systems.hubspot.kind": (place('kind = "hubspott"'), '"hubspot"'),
        "scoring.default.engagement[2].half_life_days": (place("half_life_days = -5"), "-5"),
        "scoring.default.fit[4].when": (place("email_is_fre"), "person.email_is_free"),
        "tasks.call_hot_lead.subjekt": (place("subjekt"), '"subject"'),
        "systems.salesforce.client_secret": (place("NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),
    }
    for path, (where, mend) in expected.items():
        told = [line for line in done.err.splitlines() if f"  {path}  " in line]
        assert len(told) == 1, f"{path}: {done.err}"
        assert where in told[0], f"{told[0]} does not name {where}"
        assert mend in told[0], f"{told[0]} does not help with {mend}"
    assert "Nothing was read or written" in done.err
    assert not any(store.exists() for store in house.stores)
    assert seeded.crms.calls_of("salesforce", mark) == seeded.crms.calls_of("hubspot", mark) == []


def test_a_broken_configuration_leaves_stores_as_they_are(synced: World) -> None:
    before = [(store.stat().st_mtime_ns, store.read_bytes()) for store in synced.house.stores]
    synced.house.edit("rearm_below = 50", "rearm_below = 70")
    assert synced.house.run("sync").code == 2
    assert [(store.stat().st_mtime_ns, store.read_bytes()) for store in synced.house.stores] == before


def test_a_misspelt_field_of_a_system_ends_a_run_before_a_record_is_read(seeded: World) -> None:
    house, mark = seeded.house, seeded.crms.mark()
    named = '\n[mapping.hubspot.contacts.fields]\ntitle = "jobtitel"\n'
    house.config.write_text(house.config.read_text() + named)
    done = house.run("sync")
    assert done.code == 2, str(done)
    line = house.config.read_text().splitlines().index('title = "jobtitel"') + 1
    assert f"connector.toml:{line}  mapping.hubspot.contacts.fields.title" in done.err
    assert 'did you mean "jobtitle"?' in done.err
    assert "1 problem in connector.toml." in done.err
    assert [call for call in seeded.crms.calls_of("hubspot", mark) if "/properties/" not in call["path"]] == []
    assert house.state("SELECT count(*) FROM poll") == [(0,)]


def test_only_the_owner_can_read_files_that_hold_customer_data(synced: World) -> None:
    house = synced.house
    assert house.run("plan", "--save", "mine.json").code == 0
    kept = [path for path in house.directory.iterdir() if path.name != "connector.toml"]
    assert {path.name for path in kept} >= {"state.sqlite", "mart.duckdb", "mine.json"}
    open_to_others = [path.name for path in kept if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_to_others == []
