"""What is told about a person, and what is never told about anybody."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.crm import SECRETS
from tests.e2e.world import World

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")


def test_a_person_is_found_by_mail_phone_record_and_person_id_alike(synced: World) -> None:
    house, crms = synced.house, synced.crms
    ann = crms.look("cast")["prospect"]
    contact = next(row[2] for row in ann["records"] if row[1] == "Contact")
    phone = crms.query(f"SELECT MobilePhone FROM Contact WHERE Id = '{contact}'")[0]["MobilePhone"]
    (told,) = house.run("explain", ann["emails"][0], "--json").json()
    tagged = ann["emails"][0].replace("@", "+news@")
    for key in (ann["emails"][1], tagged, phone, f"tel:{phone}", contact, told["person"]["key"]):
        done = house.run("explain", key, "--json")
        assert done.code == 0, str(done)
        assert [each["person"]["key"] for each in done.json()] == [told["person"]["key"]], key


def test_a_score_is_the_sum_of_its_lines_and_comes_with_records_and_reasons(synced: World) -> None:
    email = synced.crms.email_of("prospect")
    done = synced.house.run("explain", email)
    assert done.code == 0, str(done)
    lines = [float(found) for found in re.findall(r"^\s+([+-]\d+\.\d)  ", done.out, re.MULTILINE)]
    total = float(re.search(r"^  = ([\d.]+)", done.out, re.MULTILINE).group(1))  # type: ignore[union-attr]
    assert len(lines) > 3
    assert total == pytest.approx(sum(lines))
    assert "salesforce Contact" in done.out
    assert "hubspot contacts" in done.out
    assert re.search(r"salesforce (Contact|Lead) \w+ ── converted (from|to) ── salesforce (Lead|Contact)", done.out)


def test_who_was_not_joined_is_named_on_both_sides(synced: World) -> None:
    cast = synced.crms.look("cast")
    for one, other in (("family_a", "family_b"), ("family_b", "family_a")):
        done = synced.house.run("explain", synced.crms.email_of(one))
        system, object_type, native_id = cast[other]["records"][0]
        said = f'not joined: {system} {object_type} {native_id} "{cast[other]["name"]}" (shares phone '
        assert done.out.count(said) == done.out.count("not joined") == 1


def test_a_shared_mailbox_is_one_reason_and_not_several(synced: World) -> None:
    [(keys,), *_] = synced.house.mart("SELECT records FROM refused WHERE type = 'email_base' ORDER BY key")
    done = synced.house.run("explain", json.loads(keys)[0].split("|")[2])
    lines = [line for line in done.out.splitlines() if "not joined" in line]
    assert len(lines) == 1, str(done)
    assert "shares e-mail info@" in lines[0]


def test_nobody_is_a_clear_answer_and_not_a_crash(synced: World) -> None:
    done = synced.house.run("explain", "nobody@nowhere.example")
    assert done.code not in (0, 2)
    assert "Traceback" not in done.err


def test_the_log_holds_no_address_and_no_secret(installed: World) -> None:
    house, crms = installed.house, installed.crms
    house.config.write_text(house.config.read_text() + '\n[log]\nlevel = "debug"\n')
    crms.tell("faults", system="hubspot", kind="reject_record", match="contacts", times=3)
    crms.tell("faults", system="salesforce", kind="status", status=503, times=1)
    done = house.run("sync")
    assert done.code == 0, str(done)
    assert _EMAIL.findall(done.err + done.out) == []
    assert [name for name, secret in SECRETS.items() if secret in done.err + done.out] == []
