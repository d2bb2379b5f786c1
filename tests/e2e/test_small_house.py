"""An operator's commands on a house whose one system lives in a file: cut off in the middle, in another order, in another place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from connector.mart import files, open_mart
from connector.model import Change, Keep, Outcome, forget
from connector.sources.memory import MemoryTarget
from connector.sources.memory_store import Store
from connector.steps import copies
from tests.e2e.house import House

ANN = "ann@acme.example"
CONFIG = """
[systems.crm]
kind = "memory"
path = "crm.json"

[scoring.default]
fit = [{ when = "person.title is not null", points = 30 }]
engagement = [{ on = "form_submitted", points = 40, half_life_days = 30 }]

[tasks.call]
when = "score crosses 60"
rearm_below = 50
subject = "Call {{ person.first_name }}"
system = "crm"
first_run_days = 30
"""


def _filled(file: Path) -> None:
    store = Store(file)
    for name in ("ann", "bob", "cyd"):
        contact = store.put("contacts", None, {"email": f"{name}@acme.example", "first_name": name, "title": "CEO"})
        store.put(
            "activities", None, {"kind": "form_submitted", "contact": contact, "happened_at": "2026-11-20T10:00:00Z"}
        )
    store.save()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house that has synced twice: what it wrote has come back."""
    house = House(tmp_path_factory.mktemp("small") / "house")
    house.directory.mkdir()
    house.config.write_text(CONFIG.replace("crm.json", str(house.directory / "crm.json")))
    _filled(house.directory / "crm.json")
    assert house.run("install", "--yes").code == 0
    for _ in range(2):
        house.sync()
    return house.directory


@pytest.fixture
def house(made: Path, tmp_path: Path) -> House:
    """That house, for this test alone."""
    house = House(tmp_path / "house")
    shutil.copytree(made, house.directory)
    house.edit(str(made / "crm.json"), str(house.directory / "crm.json"))
    return house


def _crm(house: House) -> dict[str, Any]:
    store = Store(house.directory / "crm.json")
    store.load()
    return {kind: {key: record.values for key, record in of.items()} for kind, of in store.records.items()}


def _tasks(house: House) -> list[str]:
    return sorted(each["subject"] for each in _crm(house)["activities"].values() if each.get("type") == "task")


def _holders(house: House) -> list[str]:
    names = [name for (name,) in house.mart("SELECT table_name FROM duckdb_tables() WHERE NOT temporary")]
    return [
        name for name in names if house.mart(f"SELECT 1 FROM \"{name}\" t WHERE t::VARCHAR ILIKE '%{ANN}%' LIMIT 1")
    ]


def test_each_of_them_got_a_task(house: House) -> None:
    assert _tasks(house) == ["Call ann", "Call bob", "Call cyd"]


def test_only_the_first_pull_has_the_memory_of_appending_what_is_stored_is_merged_with_all_of_it(house: House) -> None:
    def is_storing() -> bool:
        with patch("connector.steps.setup.open_mart", wraps=open_mart) as opened:
            assert house.run("pull", "--full").code == 0
        return any(call.kwargs["is_storing"] for call in opened.call_args_list)

    assert not is_storing()
    for store in house.stores:
        store.unlink()
    assert is_storing()


class PowerCut(Exception):
    """The process ends here."""


@pytest.mark.parametrize(
    "place",
    [
        "connector.steps.purge.planfile.without",
        "connector.steps.purge.files.rewrite",
        "connector.steps.purge._write",
    ],
)
def test_a_purge_that_is_cut_off_is_ended_by_the_same_command_with_one_whole_receipt(house: House, place: str) -> None:
    assert house.run("plan").code == 0
    dry = house.run("purge", ANN, "--json").json()
    with patch(place, side_effect=PowerCut):
        assert house.run("purge", ANN, "--yes").code == 1
    assert not list(house.directory.glob("purge-*.json"))
    done = house.run("purge", ANN, "--yes", "--json")
    assert done.code == 0, str(done)
    [receipt] = [json.loads(file.read_text()) for file in house.directory.glob("purge-*.json")]
    assert receipt == {name: done.json()[name] for name in receipt}
    assert (receipt["removed"]["mart"], receipt["removed"]["state"]) == (
        dry["removed"]["mart"],
        dry["removed"]["state"],
    )
    assert receipt["hashed_identifiers"] == dry["hashed_identifiers"]
    assert house.state("SELECT count(*) FROM purge") == [(1,)]
    assert house.run("pull", "--full").code == 0
    assert not _holders(house)
    assert ANN.encode() not in b"".join(file.read_bytes() for file in house.stores)
    assert house.run("purge", ANN, "--yes").code == 1, "a purge that has ended is not ended again"


def test_a_paused_system_gets_nothing_from_a_plan_until_it_is_resumed(house: House) -> None:
    store = Store(house.directory / "crm.json")
    store.load()
    store.put("contacts", None, {"email": "dee@acme.example", "first_name": "dee", "title": "CFO"})
    store.save()
    assert house.run("pull").code == 0
    assert house.run("pause", "crm").code == 0
    looked = house.run("plan")
    assert looked.code == 0, str(looked)
    assert "crm was left out: paused" in looked.out
    applied = house.run("apply")
    assert applied.code == 0, str(applied)
    dee = next(each for each in _crm(house)["contacts"].values() if each["first_name"] == "dee")
    assert "score" not in dee
    assert house.run("resume", "crm").code == 0
    house.sync()
    dee = next(each for each in _crm(house)["contacts"].values() if each["first_name"] == "dee")
    assert dee["score"] == 30


def test_a_plan_that_names_a_field_that_is_not_ours_is_taken_without_that_record(house: House) -> None:
    store = Store(house.directory / "crm.json")
    store.load()
    for name in ("dee", "eve"):
        store.put("contacts", None, {"email": f"{name}@acme.example", "first_name": name, "title": "CFO"})
    store.save()
    assert house.run("plan").code == 0
    file = house.directory / "plan.json"
    saved = json.loads(file.read_text())
    changed = saved["changes"][0]
    changed["fields"]["first_name"] = "Mallory"
    file.write_text(json.dumps(saved))
    applied = house.run("apply")
    assert applied.code == 0, str(applied)
    strange = f"crm|contacts|{changed['native_id']}"
    assert f"{strange}: first_name is nothing that we write; left out" in applied.err
    people = {each["first_name"]: each.get("score") for each in _crm(house)["contacts"].values()}
    assert "Mallory" not in people
    assert sorted(people[name] is None for name in ("dee", "eve")) == [False, True]


def test_a_plan_after_a_brake_was_lifted_says_what_a_sync_would_write_and_apply_writes_it(house: House) -> None:
    brakes = "\n[writeback.brakes]\nmin_overwritten = 2\nmax_overwritten_share = 0.1\nmax_tasks = 0\n"
    house.config.write_text(house.config.read_text() + brakes)
    house.edit("points = 30", "points = 35")
    house.edit("[tasks.call]", "[tasks.again]")
    assert house.run("sync").code == 3
    held = house.state("SELECT key, status, run FROM outbox WHERE status = 'held' ORDER BY key")
    assert len(held) == 6
    house.edit("max_overwritten_share = 0.1\nmax_tasks = 0", "max_overwritten_share = 1.0")
    plan = house.run("plan", "--json").json()
    assert (len(plan["changes"]), plan["held"], plan["let_go"]) == (6, {}, {"crm": 0})
    assert plan["calls"]["crm"] > 0
    assert "held nothing" in " ".join(house.run("plan").out.split())
    assert house.state("SELECT key, status, run FROM outbox WHERE status = 'held' ORDER BY key") == held
    applied = house.run("apply", "--json")
    assert applied.code == 0, str(applied)
    assert applied.json()["delivered"][0]["calls"] == plan["calls"]["crm"]
    assert all(each["score"] > 70 for each in _crm(house)["contacts"].values()), "and 66 before"
    assert len(_tasks(house)) == 6
    assert house.sync()["planned"] == 0


@pytest.mark.parametrize("words", [("backup",), ("restore", "somewhere", "--yes")])
def test_a_state_on_a_database_server_is_backed_up_by_that_server(house: House, words: tuple[str, ...]) -> None:
    with patch("connector.steps.copies.dialect", return_value="postgresql"):
        done = house.run(*words)
    assert done.code == 1
    assert "whose backup is that server's own" in done.err
    assert "dump that database" in done.err
    assert not (house.directory / "backups").exists()


def test_a_backup_is_restored_into_another_folder_and_nothing_is_made_twice(house: House, tmp_path: Path) -> None:
    assert house.run("backup", "monday").code == 0
    other = House(tmp_path / "other")
    other.directory.mkdir()
    shutil.copy(house.config, other.config)
    done = other.run("restore", str(house.directory / "monday"), "--yes")
    assert done.code == 0, str(done)
    told = other.sync()
    assert (told["planned"], other.run("status", "--json").json()["runs"][0]["status"]) == (0, "done")
    assert _tasks(house) == ["Call ann", "Call bob", "Call cyd"]


def test_who_has_the_state_open_while_it_is_restored_sees_the_restored_one_and_takes_nothing_from_it(
    house: House,
) -> None:
    backups = "SELECT path FROM backup"
    assert house.run("backup", "monday").code == 0
    with closing(sqlite3.connect(house.stores[0])) as beside:
        assert len(beside.execute(backups).fetchall()) == 1
        assert house.run("restore", "monday", "--yes").code == 0
        assert len(beside.execute(backups).fetchall()) == 2
    assert len(house.state(backups)) == 2
    house.sync()


def test_a_task_that_was_made_since_the_backup_is_known_by_reading_it_wherever_its_record_is_now(house: House) -> None:
    assert house.run("backup", "monday").code == 0
    store = Store(house.directory / "crm.json")
    store.load()
    dee = store.put("contacts", None, {"email": "dee@acme.example", "first_name": "dee", "title": "CFO"})
    store.put("activities", None, {"kind": "form_submitted", "contact": dee, "happened_at": "2026-11-20T10:00:00Z"})
    store.save()
    house.sync()
    assert "Call dee" in _tasks(house)
    assert house.run("restore", "monday", "--yes").code == 0
    for _ in range(2):
        house.sync()
    assert _tasks(house).count("Call dee") == 1
    assert house.state("SELECT count(*) FROM outbox WHERE lane = 'task' AND run > 2") == [(0,)]


def test_two_who_were_merged_into_a_new_record_are_told_with_all_that_was_written_to_them(house: House) -> None:
    store = Store(house.directory / "crm.json")
    store.load()
    ann, bob = (key for key, row in store.records["contacts"].items() if row.values["first_name"] in ("ann", "bob"))
    one = store.put("contacts", None, {"email": ANN, "first_name": "ann", "title": "CEO", "is_email_opted_out": True})
    for gone in (ann, bob):
        store.delete("contacts", gone, merged_into=one)
    store.save()
    house.sync()
    for asked in (ann, bob):
        done = house.run("explain", asked)
        assert f"crm contacts {asked} was merged into crm contacts {one}" in done.out, str(done)
        for gone, name in ((ann, "ann"), (bob, "bob")):
            assert f"crm contacts {gone}, merged into crm contacts {one}  task “Call {name}”" in done.out
            assert f"crm contacts {gone}, merged into crm contacts {one}  score " in done.out
    assert f"opted out of e-mail  crm contacts {one}" in done.out
    (told,) = house.run("explain", one, "--json").json()
    assert {task["title"] for task in told["tasks"]} >= {"Call ann", "Call bob"}
    assert told["merged"] == {}
    assert house.run("explain", "nobody").code == 1


def test_an_email_of_ten_thousand_characters_is_set_aside_by_name_and_its_person_goes_on(house: House) -> None:
    endless = "e" * 10_000 + "@acme.example"
    store = Store(house.directory / "crm.json")
    store.load()
    record = store.put(
        "contacts", None, {"email": endless, "first_name": "eve", "title": "CEO", "phone": "+4930555010"}
    )
    store.save()
    told = house.sync()
    assert told["exit_code"] == 0
    assert _crm(house)["contacts"][record]["score"] == 30
    [cause] = house.run("quarantine", "--json").json()
    assert (cause["where"], cause["reason"], cause["count"]) == ("contacts email", "longer than 254 characters", 1)
    assert record in house.run("quarantine", "explain", str(cause["id"])).out
    steps = house.state("SELECT pulled, applied + unchanged + filtered + quarantined FROM run_step")
    assert all(pulled == counted for pulled, counted in steps)
    assert "eeeeeeee" not in house.run("status").out + house.stores[0].read_bytes().decode("latin-1")
    assert house.run("quarantine", "retry", str(cause["id"])).code == 0
    store.load()
    store.put("contacts", record, {"email": "eve@acme.example"})
    store.save()
    house.sync()
    assert house.run("quarantine", "--json").json() == []
    assert "eve" in house.run("explain", "eve@acme.example").out


def _is_not_heard(
    target: MemoryTarget, changes: Sequence[Change], keep: Keep = forget, write: Any = MemoryTarget.write
) -> Sequence[Outcome]:
    write(target, changes, keep)
    raise PowerCut


def _retitle(house: House, title: str) -> None:
    store = Store(house.directory / "crm.json")
    store.load()
    ann = next(key for key, each in store.records["contacts"].items() if each.values["first_name"] == "ann")
    store.put("contacts", ann, {"title": title})
    store.save()


@pytest.mark.parametrize(
    ("where", "what", "writes"),
    [
        ("connector.pipeline.deliver", lambda *_: [], 0),
        ("connector.sources.memory.MemoryTarget.write", _is_not_heard, 2),
    ],
    ids=["waits", "is in doubt, and was written"],
)
def test_what_nothing_wants_any_more_is_not_written_and_what_was_is_put_right(
    house: House, where: str, what: Callable[..., Any], writes: int
) -> None:
    def score() -> float:
        return float(next(each for each in _crm(house)["contacts"].values() if each["first_name"] == "ann")["score"])

    before, known = score(), house.state("SELECT max(id) FROM delivery")[0][0]
    _retitle(house, "")
    with patch(where, new=what):
        house.run("sync")
    assert house.state("SELECT count(*) FROM outbox WHERE status IN ('pending', 'in_flight', 'unknown')") == [(1,)]
    _retitle(house, "CEO")
    planned = [each for each in house.run("plan", "--json").json()["changes"] if each["lane"] != "task"]
    assert len(planned) == bool(writes), "what is to be put right"
    for _ in range(2):
        house.sync()
    assert score() == before
    assert house.state("SELECT count(*) FROM outbox WHERE status NOT IN ('settled', 'superseded')") == [(0,)]
    accepted = (
        "SELECT count(*) FROM delivery d JOIN outbox o ON o.id = d.outbox WHERE result = 'accepted' AND lane != 'task'"
    )
    assert house.state(f"{accepted} AND d.id > ?", known) == [(writes,)]


def _moved(house: House, name: str) -> Path:
    """The house's mart under another name, with a copy from before a migration beside it."""
    mart = house.directory / name
    (house.directory / "mart.duckdb").rename(mart)
    shutil.copyfile(mart, mart.with_name(f"{name}.before-4"))
    with house.config.open("a") as config:
        config.write(f"\n[mart]\npath = '{name}'\n")
    return mart


def _marts_that_know_her(folder: Path) -> list[str]:
    """The marts in a folder that know of her."""
    found = []
    for file in (each for each in folder.rglob("*") if "duckdb" in each.name and each.is_file()):
        with files.connect(file.resolve(), {}) as connection:
            names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
            asked = (f"SELECT 1 FROM \"{name}\" t WHERE t::VARCHAR ILIKE '%{ANN}%'" for name in names)
            if connection.execute(" UNION ALL ".join(asked)).fetchone():
                found.append(file.name)
    return sorted(found)


@pytest.mark.parametrize("name", ['the "best" mart.duckdb', "copied.duckdb", "m[a]rt*.duckdb"])
def test_a_mart_of_any_name_is_backed_up_restored_and_purged_with_its_copies(house: House, name: str) -> None:
    _moved(house, name)
    assert house.run("backup", "kept").code == 0
    done = house.run("restore", "kept", "--yes")
    assert done.code == 0, str(done)
    assert len(_marts_that_know_her(house.directory)) == 4
    done = house.run("purge", ANN, "--yes")
    assert done.code == 0, str(done)
    assert _marts_that_know_her(house.directory) == []


def test_a_mart_that_a_link_leads_to_stays_where_it_is_and_is_purged_there(house: House) -> None:
    elsewhere = house.directory.parent / "elsewhere"
    elsewhere.mkdir()
    link = house.directory / "mart.duckdb"
    link.rename(elsewhere / "large.duckdb")
    link.symlink_to("../elsewhere/large.duckdb")
    assert house.run("backup", "kept").code == 0
    assert house.run("restore", "kept", "--yes").code == 0
    assert _marts_that_know_her(elsewhere) == ["large.duckdb"]
    assert house.run("purge", ANN, "--yes").code == 0
    assert link.is_symlink()
    assert _marts_that_know_her(house.directory) == _marts_that_know_her(elsewhere) == []


def test_what_a_restore_put_aside_is_known_by_its_whole_path_as_a_purge_may_come_from_elsewhere(house: House) -> None:
    assert house.run("backup", "kept").code == 0
    restored = house.run("restore", "kept", "--yes", "--config", house.config.name)
    assert restored.code == 0, str(restored)
    assert house.state("SELECT count(*) FROM backup WHERE path NOT LIKE '/%'") == [(0,)]


def test_who_was_purged_is_in_no_restored_pair_even_if_the_restore_is_killed_as_soon_as_that_is_in_place(
    house: House,
) -> None:
    assert house.run("backup", str(house.directory.parent / "kept")).code == 0
    shutil.copytree(house.directory.parent / "kept", house.directory.parent / "elsewhere")
    assert house.run("purge", ANN, "--yes").code == 0
    with patch("connector.steps.copies._put", side_effect=_put_and_die), pytest.raises(KilledError):
        house.run("restore", str(house.directory.parent / "elsewhere"), "--yes")
    assert _marts_that_know_her(house.directory) == []
    house.sync()
    assert _marts_that_know_her(house.directory) == []


class KilledError(BaseException):
    """As a kill: nobody handles it."""


def _put_and_die(*places: Path, put: Callable[..., None] = copies._put) -> None:
    put(*places)
    raise KilledError


def test_what_killed_commands_left_is_gone_after_a_purge(house: House) -> None:
    mart, restoring, spilled = (house.directory / name for name in ("mart.duckdb", ".restoring", "mart.duckdb.tmp"))
    for folder in (restoring, spilled):
        folder.mkdir(exist_ok=True)
    left = [restoring / "mart.duckdb", spilled / "duckdb_temp_storage_DEFAULT-0.tmp"]
    left += [mart.with_name(f"mart.duckdb.before-plan{suffix}") for suffix in ("", ".wal")]
    for file in left:
        file.write_bytes(b"half of " + ANN.encode())
    done = house.run("purge", ANN, "--yes")
    assert done.code == 0, str(done)
    assert [file.name for file in left if file.exists()] == []


def _put(house: House, *contacts: dict[str, Any], at: str | None = None) -> None:
    store = Store(house.directory / "crm.json")
    store.load()
    for values in contacts:
        store.put("contacts", at, values)
    store.save()


@pytest.mark.parametrize("reading", ["pull", "plan"])
def test_a_purge_takes_what_was_read_of_a_person_since_the_last_sync_and_they_do_not_come_back(
    house: House, reading: str
) -> None:
    _put(house, {"email": ANN, "first_name": "ann", "phone": "+4930111222"}, {"email": "dee@acme.example"})
    assert house.run(reading).code == 0
    dry = house.run("purge", ANN, "--json").json()
    assert dry["records"] == 2
    done = house.run("purge", ANN, "--yes", "--json").json()
    assert done["removed"] == dry["removed"]
    assert not _holders(house)
    written = _crm(house)["contacts"]
    for _ in range(2):
        house.sync()
    assert not _holders(house)
    ann = {key for key, values in written.items() if values["email"] == ANN}
    assert {key: _crm(house)["contacts"][key] for key in ann} == {key: written[key] for key in ann}
    assert house.run("explain", "dee@acme.example").code == 0


@pytest.mark.parametrize("by", ["e-mail", "record", "person"])
def test_who_stands_only_in_what_was_read_is_purged_before_any_sync(house: House, by: str) -> None:
    ann = next(key for key, values in _crm(house)["contacts"].items() if values["email"] == ANN)
    [(person,)] = house.mart(f"SELECT owner_id FROM membership WHERE key LIKE '%|{ann}'")
    for file in house.stores:
        file.unlink()
    assert house.run("plan").code == 0
    asked = {"e-mail": ANN, "record": ann, "person": person}[by]
    done = house.run("purge", asked, "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.json()["records"] == 1
    assert not _holders(house)
    house.sync()
    assert not _holders(house)
    assert house.run("explain", "bob@acme.example").code == 0


def test_a_purge_leaves_a_record_that_was_read_to_be_somebody_elses_now_and_nothing_of_the_person_stays_with_it(
    house: House,
) -> None:
    _put(house, {"email": ANN, "last_name": "Sample"})
    house.sync()
    second = max(key for key, values in _crm(house)["contacts"].items() if values["email"] == ANN)
    _put(house, {"email": "eve@acme.example", "first_name": "eve"}, at=second)
    assert house.run("pull").code == 0
    done = house.run("purge", ANN, "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.json()["records"] == 1
    assert not _holders(house)
    house.sync()
    assert house.run("explain", "eve@acme.example").code == 0
    assert not _holders(house)
