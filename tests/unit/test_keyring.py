"""A secret in the operating system's keyring, and what is said of one that is not to be had there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, NoKeyringError

from connector import config
from connector.errors import ConfigError

CONFIG = '[systems.hubspot]\nkind = "hubspot"\ntoken = "keyring:{name}"\n'


class Kept(KeyringBackend):
    """A keyring with one secret, or one that breaks."""

    priority = 1

    def __init__(self, breaks: Exception | None = None) -> None:
        super().__init__()
        self.breaks = breaks

    def get_password(self, service: str, username: str) -> str | None:
        if self.breaks:
            raise self.breaks
        return "sEcReT-token\n" if (service, username) == ("connector", "hubspot") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _former() -> Iterator[None]:
    former = keyring.get_keyring()
    yield
    keyring.set_keyring(former)


def loaded(folder: Path, name: str = "connector/hubspot", breaks: Exception | None = None) -> config.Config:
    keyring.set_keyring(Kept(breaks))
    (folder / "connector.toml").write_text(CONFIG.format(name=name))
    return config.load(folder / "connector.toml")


def test_a_secret_may_stand_in_the_keyring(tmp_path: Path) -> None:
    assert loaded(tmp_path).systems["hubspot"].token.get_secret_value() == "sEcReT-token"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "breaks", "what", "mend"),
    [
        ("connector", None, "keyring:connector names no user", "write keyring:SERVICE/USER"),
        ("/hubspot", None, "keyring:/hubspot names no service", "write keyring:SERVICE/USER"),
        ("connector/other", None, "the keyring has nothing under connector/other", ""),
        ("connector/hubspot", NoKeyringError("install one"), "this machine has no keyring", "use env: or file: here"),
        ("connector/hubspot", KeyringLocked("sEcReT"), "the keyring cannot be used (KeyringLocked)", "use env:"),
        ("connector/hubspot", RuntimeError("gone sEcReT"), "the keyring cannot be used (RuntimeError)", "use env:"),
        ("connector/hubspot", OSError("gone sEcReT"), "the keyring cannot be used (OSError)", "use env:"),
    ],
)
def test_a_keyring_that_does_not_give_it_is_a_problem_with_its_mend_and_without_its_own_words(
    tmp_path: Path, name: str, breaks: Exception | None, what: str, mend: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, name, breaks)
    (problem,) = caught.value.problems
    assert (problem.path, problem.what) == ("systems.hubspot.token", what)
    assert problem.mend.startswith(mend)
    assert "sEcReT" not in str(caught.value)
