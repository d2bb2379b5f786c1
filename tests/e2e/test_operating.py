"""What an operator does to the service: pausing a system, backing up and restoring, removing a person for good."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from connector.steps import copies
from tests.e2e.crm import differing, eventually
from tests.e2e.house import House
from tests.e2e.world import World


def _holders(house: House, email: str) -> list[str]:
    """Tables of the mart that hold this text anywhere."""
    names = [name for (name,) in house.mart("SELECT table_name FROM duckdb_tables() WHERE NOT temporary")]
    looks = (f"SELECT '{name}' WHERE EXISTS (FROM \"{name}\" t WHERE t::VARCHAR ILIKE '%{email}%')" for name in names)
    return [name for (name,) in house.mart(" UNION ALL ".join(looks))]


def _has_bytes(folder: Path, text: str) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes().lower()]


def test_a_paused_system_is_left_out_and_said_so_until_it_is_resumed(synced: World) -> None:
    house, crms = synced.house, synced.crms
    assert house.run("pause", "salesforce", "--reason", "migration").code == 0
    before = crms.mark()
    done = house.run("sync")
    assert done.code == 0, str(done)
    assert "salesforce was left out: paused" in done.out
    assert not crms.calls_of("salesforce", before)
    assert "migration" in house.run("status").out
    assert house.run("status", "--json").json()["paused"][0]["kind"] == "asked"
    assert house.run("resume", "salesforce").code == 0
    house.sync()
    assert crms.calls_of("salesforce", before)
    assert house.run("pause", "salesfroce").code == 2


def test_a_system_that_was_renamed_is_named_by_every_command_that_counts_what_is_held_of_it(pulled: World) -> None:
    house = pulled.house
    house.edit("hubspot", "marketing")
    house.edit('kind = "marketing"', 'kind = "hubspot"')
    house.edit("file:marketing_token", "file:hubspot_token")
    for verb in ("check", "plan", "status", "sync"):
        said = house.run(verb).out
        assert "rows held of it count on" in said, (verb, said)
        assert "its name again, if it was renamed" in said, (verb, said)
    told = [house.run(verb, "--json").json()["left_behind"] for verb in ("plan", "status", "sync")]
    assert [each["system"] for each in told[0]] == ["hubspot"]
    assert told == [told[0]] * 3


def test_a_purged_person_is_gone_from_everything_and_neither_a_back_fill_nor_a_restore_brings_them_back(
    synced: World,
) -> None:
    house = synced.house
    email = synced.crms.look("cast")["prospect"]["emails"][0]
    backup = house.run("backup", "copies/monday", "--json").json()
    assert backup["size_bytes"] > 0
    assert house.run("plan").code == 0
    elsewhere = house.directory.parent / "elsewhere"
    elsewhere.mkdir()
    for file in (house.directory / "copies" / "monday").iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert _holders(house, email)
    dry = house.run("purge", email, "--json").json()
    assert not dry["is_done"]
    assert _holders(house, email)
    done = house.run("purge", email, "--yes", "--json")
    assert done.code == 0, str(done)
    told = done.json()
    assert told["removed"]["mart"] == dry["removed"]["mart"]
    assert told["removed"]["mart"]["person_record"] >= 1
    receipts = list(house.directory.glob("purge-*.json"))
    assert [file.stat().st_mode & 0o777 for file in receipts] == [0o600]
    assert email not in receipts[0].read_text()
    assert not _holders(house, email)
    assert not _has_bytes(house.directory, email)
    assert house.run("explain", email).code == 1
    assert house.run("pull", "--full").code == 0
    house.sync()
    assert not _holders(house, email)
    assert "--yes" in house.run("restore", str(elsewhere)).err
    nowhere = house.run("restore", str(house.directory / "nowhere"))
    assert (nowhere.code, "--yes" in nowhere.err) == (1, False)
    assert "a folder that `connector backup` made" in nowhere.err
    restored = house.run("restore", str(elsewhere), "--yes", "--json")
    assert restored.code == 0, str(restored)
    assert restored.json()["purged_records"] == dry["records"]
    assert not _holders(house, email)
    house.sync()
    assert not _holders(house, email)
    assert house.run("purge", email, "--allow-again").code == 0
    assert house.run("pull", "--full").code == 0
    assert _holders(house, email)


def test_a_backup_made_while_a_sync_writes_goes_on_elsewhere_and_no_task_is_made_twice(synced: World) -> None:
    house, crms = synced.house, synced.crms
    crms.tell("act", action="submit_form", form="Book a demo", email=crms.email_of("prospect"), values={})
    writes = {"contains": '"method":"(POST|PATCH)","url":"[^"]*/composite/sobjects"'}
    crms.tell("faults", system="salesforce", kind="slow", **writes, seconds=60)
    running = house.start("sync")
    eventually(lambda: crms.look("faults")[0]["hits"] > 0, "nothing goes to salesforce")
    assert house.run("backup", "meanwhile").code == 0
    crms.mend()
    assert running.end().code == 0
    assert len(crms.tasks()) == 1
    other = House(house.directory.parent / "other")
    shutil.copytree(house.directory, other.directory, ignore=shutil.ignore_patterns("*.sqlite*", "*.duckdb*"))
    assert other.run("restore", str(house.directory / "meanwhile"), "--yes").code == 0
    assert other.state("SELECT count(*) FROM outbox WHERE status = 'in_flight'")[0][0] > 0
    for _ in range(2):
        other.sync()
    assert len(crms.tasks()) == 1
    assert differing(other.desired(), crms.written()) == []


def test_after_a_restore_no_task_is_made_before_every_system_was_asked_for_its_own(synced: World) -> None:
    house, crms = synced.house, synced.crms
    house.edit('when = "score crosses 60"\nrearm_below = 50', 'when = "score crosses 12"\nrearm_below = 10')
    house.sync()
    before = len(crms.tasks())
    assert house.run("backup", "before").code == 0
    email = "ida.lund@fjordkraft.example"
    crms.tell("act", action="submit_form", form="Book a demo", email=email, values={})
    house.sync()
    assert [task["system"] for task in crms.tasks()[before:]] == ["hubspot"]
    assert house.run("restore", "before", "--yes").code == 0
    values = {"LastName": "Lund", "FirstName": "Ida", "Email": email, "Company": "Fjordkraft"}  # now her tasks go here
    crms.tell("act", system="salesforce", action="create", object="Lead", values=values)
    crms.tell("faults", system="hubspot", kind="status", status=500, match="tasks/search")
    done = house.run("sync")
    assert "no task is made before those of hubspot are read" in done.out, str(done)
    assert len(crms.tasks()) == before + 1
    crms.mend()
    house.sync()
    assert len(crms.tasks()) == before + 1
    assert house.state("SELECT count(*) FROM outbox WHERE status = 'held'") == [(0,)]
    crms.tell("act", action="submit_form", form="Book a demo", email="ola.dahl@fjordkraft.example", values={})
    house.sync()
    assert len(crms.tasks()) == before + 2


def test_a_restore_that_was_killed_half_way_is_given_again_and_still_knows_who_was_purged(
    synced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, email = synced.house, synced.crms.look("cast")["prospect"]["emails"][0]
    copy = house.directory.parent / "copy"
    assert house.run("backup", str(copy)).code == 0
    assert house.run("purge", email, "--yes").code == 0

    class KilledError(BaseException):
        """As a kill: nobody handles it."""

    def killed(self: Path, *_: Path) -> Path:
        raise KilledError(self.name)

    for name in ("rename", "replace"):  # the first file that would take its place
        kept = getattr(Path, name)
        monkeypatch.setattr(
            Path,
            name,
            lambda self, target, kept=kept: (killed if self.parent.name == ".restoring" else kept)(self, target),
        )
    with pytest.raises(KilledError):
        house.run("restore", str(copy), "--yes")
    monkeypatch.undo()
    assert house.run("restore", str(copy), "--yes").code == 0
    assert not _holders(house, email)


def test_a_restored_pair_goes_on_and_one_that_is_mixed_is_refused(synced: World) -> None:
    house = synced.house
    assert house.run("backup", "one").code == 0
    assert house.run("pull").code == 0
    assert house.run("backup", "two").code == 0
    synced.crms.tell("clock", shift_s=86_400)
    house.sync("--full", now="2031-01-01T00:00:00+00:00")
    assert house.run("backup", "three").code == 0
    for mart, state in (("one", "three"), ("one", "two"), ("two", "one")):
        mixed = house.directory / f"{mart}-{state}"
        mixed.mkdir()
        for name, file in ((mart, "mart.duckdb"), (state, "state.sqlite")):
            (mixed / file).write_bytes((house.directory / name / file).read_bytes())
        done = house.run("restore", mixed.name, "--yes")
        assert done.code == 5, str(done)
        assert "not a pair" in done.err
    former = house.run("restore", "one", "--yes", "--json").json()["former"]
    assert house.run("restore", former, "--yes").code == 0, "what a restore put aside is a pair, too"
    assert house.run("restore", "one", "--yes").code == 0
    house.sync()
    assert json.loads(house.run("status", "--json").out)["runs"][0]["status"] == "done"


def test_what_cannot_be_mapped_is_listed_explained_and_released_once_it_is_mended(synced: World) -> None:
    house, crms = synced.house, synced.crms
    contact = crms.query("SELECT Id FROM Contact WHERE Email != null ORDER BY Id LIMIT 1")[0]["Id"]
    crms.tell("act", system="salesforce", action="update", id=contact, values={"Phone": "call me maybe"})
    house.sync()
    [cause] = [
        each
        for each in house.run("quarantine", "--json").json()
        if "phone" in each["where"].lower() and each["count"] == 1
    ]
    told = house.run("quarantine", "explain", str(cause["id"]))
    assert contact in told.out
    assert "call me maybe" not in told.out + house.run("quarantine").out
    again = house.run("quarantine", "retry", str(cause["id"]), "--json").json()
    assert (again["mapped"], again["released"], again["still"]) == (1, 0, 1)
    crms.tell("act", system="salesforce", action="update", id=contact, values={"Phone": "+49 30 5550188"})
    house.sync()
    assert house.run("quarantine", "explain", str(cause["id"])).code == 1


def test_a_purge_reaches_what_a_backup_that_was_killed_half_way_left(
    synced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, email = synced.house, synced.crms.look("cast")["prospect"]["emails"][0]

    class KilledError(BaseException):
        """As a kill: nobody handles it."""

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(copies.files, "copy", lambda connection, target: (target.write_text(email), killed()))
        patch.setattr(Path, "iterdir", killed)  # who is killed does not clear up
        with pytest.raises(KilledError):
            house.run("backup", "half")
    half = house.directory / "half"
    assert sorted(each.name for each in half.iterdir()) == ["mart.duckdb", "state.sqlite", "unfinished"]
    assert "was cut off" in house.run("restore", "half", "--yes").err
    assert house.run("backup", "whole").code == 0
    done = house.run("purge", email, "--yes")
    assert done.code == 0, str(done)
    assert not half.exists()
    assert not _has_bytes(house.directory, email)


def test_a_backup_for_which_there_is_no_room_leaves_nothing_behind(
    seeded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = seeded.house
    assert house.run("status").code == 0  # the state is there

    def no_room(_: object, target: Path) -> None:
        target.touch()
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(copies, "_copy_to", no_room)
        failed = house.run("backup")
    assert (failed.code, "has room" in failed.err) == (1, True), str(failed)
    assert list((house.directory / "backups").iterdir()) == []
    assert house.state("SELECT * FROM backup") == []
    assert house.run("backup").code == 0
