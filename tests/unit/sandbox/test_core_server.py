"""The process: says where it listens, keeps its data, ends when asked, breaks connections when told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests

from connector.sandbox import InUse, Options, serving
from connector.sandbox.server import started
from tests.unit.sandbox.salesforce_org import OrgClient, org


@pytest.fixture(scope="module")
def client() -> Iterator[OrgClient]:
    with org() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "client" in request.fixturenames:
        request.getfixturevalue("client").admin("DELETE", "/faults")


def _start(data: Path, ready: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    command = [
        sys.executable,
        "-m",
        "connector.sandbox",
        "--data",
        str(data),
        "--people",
        "30",
        "--ready-file",
        str(ready),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not ready.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    return process, orjson.loads(ready.read_bytes())


def test_a_second_sandbox_on_a_folder_in_use_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = Options(data=tmp_path, people=0, ready_file=tmp_path / "ready.json")
    with serving(first):
        with pytest.raises(InUse, match="another sandbox is at work in"):
            asyncio.run(started(first).__aenter__())
        assert first.ready_file is not None
        assert first.ready_file.exists(), "who looks for the first still finds it"
    with serving(first):
        pass


def test_a_sandbox_whose_port_is_taken_makes_no_folder(tmp_path: Path) -> None:
    with serving(Options(data=tmp_path / "first", people=0)) as running:
        port = int(running.salesforce_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            asyncio.run(started(Options(data=tmp_path / "other", people=0, hubspot_port=port)).__aenter__())
    assert not (tmp_path / "other").exists()


def test_a_process_says_where_it_listens_ends_on_sigterm_and_keeps_its_data(tmp_path: Path) -> None:
    process, told = _start(tmp_path / "data", tmp_path / "first.json")
    counts = requests.get(f"{told['hubspot']}/_sandbox/counts", timeout=10).json()
    client = OrgClient(told["salesforce"], context=None)  # type: ignore[arg-type]
    client.sign_in()
    native = client.lead(LastName="Kept")
    os.kill(int(told["pid"]), signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    process, told = _start(tmp_path / "data", tmp_path / "second.json")
    try:
        again = OrgClient(told["salesforce"], context=None)  # type: ignore[arg-type]
        again.session.headers["Authorization"] = client.session.headers["Authorization"]
        assert again.field("Lead", native, "LastName") == "Kept"
        counts["salesforce"]["Lead"] += 1
        assert again.admin("GET", "/counts") == counts
        assert again.lead() > native
    finally:
        process.kill()
        process.wait()


def test_a_connection_dropped_before_leaves_nothing_and_dropped_after_leaves_the_write(client: OrgClient) -> None:
    total = client.query("SELECT COUNT() FROM Lead")["totalSize"]
    for kind, more in (("drop_before", 0), ("drop_after", 1)):
        client.fault(kind, times=1, match="POST")
        with pytest.raises(requests.ConnectionError):
            client.lead()
        assert client.query("SELECT COUNT() FROM Lead")["totalSize"] == total + more


def test_a_system_that_is_gone_takes_every_connection_down_and_the_other_lives(client: OrgClient) -> None:
    client.fault("gone")
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            client.query("SELECT Id FROM Lead")
    assert client.admin("GET", "/health")["status"] == "ok"
    hubspot = client.admin("GET", "/health")["hubspot"]
    assert requests.get(f"{hubspot}/crm/v3/objects/contacts", timeout=10).status_code == 401


def test_statuses_come_with_the_vendors_bodies(client: OrgClient) -> None:
    client.fault("status", status=503, times=1)
    down = client.raw("GET", "/limits")
    assert (down.status_code, down.text[:6]) == (503, "<html>")
    client.fault("expired_token", times=1)
    assert client.call("GET", "/limits", status=401)[0]["errorCode"] == "INVALID_SESSION_ID"
    client.fault("status", status=403, times=1)
    assert client.call("GET", "/limits", status=403)[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
    client.fault("not_json", times=1)
    assert "text/html" in client.raw("GET", "/limits").headers["Content-Type"]
    assert client.raw("GET", "/limits").status_code == 200


def test_slow_is_as_slow_as_it_says_and_answers_rightly(client: OrgClient) -> None:
    client.fault("slow", seconds=0.2, times=1)
    began = time.monotonic()
    assert client.raw("GET", "/limits").status_code == 200
    assert time.monotonic() - began >= 0.2


def test_the_clock_can_be_moved_and_the_date_header_follows(client: OrgClient) -> None:
    client.admin("POST", "/clock", {"at": "2031-05-06T07:08:09+00:00"})
    assert client.raw("GET", "/services/data").headers["Date"].startswith("Tue, 06 May 2031 07:08")
    assert client.admin("GET", "/health")["now"].startswith("2031-05-06T07:08")
    client.context.clock.shift_s = 0.0


def test_answers_are_packed_only_for_those_who_ask(client: OrgClient) -> None:
    packed = client.raw("GET", "/sobjects/Lead/describe", headers={"Accept-Encoding": "gzip"})
    plain = client.raw("GET", "/sobjects/Lead/describe", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content


def test_admin_refuses_nonsense_with_a_reason(client: OrgClient) -> None:
    assert "kind" in client.admin("POST", "/faults", {"kind": "x"}, 400)["error"]
    assert client.admin("POST", "/workflows", {"name": "x"}, 400)["error"]
    assert client.admin("POST", "/act", {"system": "salesforce", "action": "x"}, 400)["error"]
    assert client.admin("POST", "/limits", {}, 400)["error"]
    assert "enabeld" in client.admin("POST", "/limits", {"enabeld": True}, 400)["error"]
    assert client.admin("POST", "/limits", {"salesforce_calls_per_day": 7}) == {"enabled": True}, "that stays as it was"
