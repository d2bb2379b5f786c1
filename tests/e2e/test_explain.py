"""What is told about a person, and what is never told about anybody."""

from __future__ import annotations

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
    for key in (ann["emails"][1], phone, contact, told["person"]["key"]):
        done = house.run("explain", key, "--json")
        assert done.code == 0, str(done)
        assert [each["person"]["key"] for each in done.json()] == [told["person"]["key"]], key


def test_a_score_is_the_sum_of_its_lines_and_comes_with_records_and_reasons(synced: World) -> None:
    email = synced.crms.email_of("prospect")
    done = synced.house.run("explain", email)
    assert done.code == 0, str(done)
    lines = [float(found.replace("−", "-")) for found in re.findall(r"^\s+([+−]\d+\.\d)  ", done.out, re.MULTILINE)]
    total = float(re.search(r"^  = ([\d.]+)", done.out, re.MULTILINE).group(1))  # type: ignore[union-attr]
    assert len(lines) > 3
    assert total == pytest.approx(sum(lines), abs=0.05 * len(lines))
    assert "salesforce Contact" in done.out
    assert "hubspot contacts" in done.out


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
