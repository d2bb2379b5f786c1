"""What a pull could not read is known by system and object type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connector import app, config
from connector.cli import starter
from connector.errors import MissingPermission
from connector.steps.pulled import Pulled, unread
from connector.steps.setup import Setup


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    for name in ("HUBSPOT_TOKEN", "SF_CLIENT_ID", "SF_CLIENT_SECRET"):
        monkeypatch.setenv(name, "a-secret")
    file = tmp_path / "connector.toml"
    file.write_text(starter.text(["salesforce", "hubspot"], url="https://x.example", region="DE", every="15 minutes"))
    return app.build(config.load(file))


def test_a_stream_that_failed_leaves_the_records_of_its_type_unread_and_a_system_all_of_them(setup: Setup) -> None:
    systems = dict.fromkeys(setup.systems)
    problem = MissingPermission("no", hint="grant it")
    assert unread(setup, systems, Pulled()) == set()  # type: ignore[arg-type]
    some = Pulled(stream_failures={("hubspot", "contacts"): problem, ("salesforce", "tasks"): problem})
    assert unread(setup, systems, some) == {("hubspot", "contacts")}  # type: ignore[arg-type]
    known = {("salesforce", kind) for kind in ("Lead", "Contact", "Account")}
    assert unread(setup, systems, replace(some, failures={"salesforce": problem})) > known  # type: ignore[arg-type]
    assert unread(setup, {"hubspot": None}, Pulled()) > known, "one that was not connected"  # type: ignore[dict-item]
