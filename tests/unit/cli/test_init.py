"""`init` asks again until an answer can be read, and says what is still to be done."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from connector import cli, tomlfile
from connector.cli import starter
from connector.errors import ConnectorError


def _init(directory: Path, answers: str, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["init", "--config", str(directory / "connector.toml"), *options], input=answers)
    return done.exit_code, done.output


def test_wrong_answers_are_asked_again_and_right_ones_are_put_in_order(tmp_path: Path) -> None:
    answers = "\n".join(
        [
            "yes",
            "not a url",
            "localhorst",
            "acme.my.salesforce.com/",
            "No",
            "germany",
            "de",
            "every fortnight",
            "every 5 minutes",
            "",
        ]
    )
    code, said = _init(tmp_path, answers)
    assert code == 0, said
    assert said.count("please") + said.count("must be a duration") == 4
    raw = tomlfile.read(tmp_path / "connector.toml").raw
    assert raw["systems"] == {"salesforce": raw["systems"]["salesforce"]}
    assert raw["systems"]["salesforce"]["url"] == "https://acme.my.salesforce.com"
    assert (raw["mapping"]["region"], raw["schedule"]["sync"]) == ("DE", "every 5 minutes")


def test_no_system_is_no_configuration(tmp_path: Path) -> None:
    assert _init(tmp_path, "n\nn\n")[0] == 1
    assert _init(tmp_path, "", "--system", "salesfroce")[0] == 2
    assert not (tmp_path / "connector.toml").exists()


def test_who_leaves_in_the_middle_is_told_that_nothing_was_written(tmp_path: Path) -> None:
    file = tmp_path / "connector.toml"
    done = CliRunner().invoke(cli.app, ["init", "--config", str(file)], input="y\n")
    assert isinstance(done.exception, ConnectorError)
    assert "nothing was written" in done.exception.hint
    assert not file.exists()


def test_an_address_that_is_still_to_be_given_is_said(tmp_path: Path) -> None:
    assert "is still https://YOUR-DOMAIN" in _init(tmp_path, "", "--yes")[1].replace("\n", " ")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://acme.lightning.force.com/lightning/page/home", "https://acme.my.salesforce.com"),
        ("acme--uat.sandbox.lightning.force.com", "https://acme--uat.sandbox.my.salesforce.com"),
        ("https://acme.my.salesforce-setup.com/lightning/setup", "https://acme.my.salesforce.com"),
        ("http://localhost:8080/", "http://localhost:8080"),
    ],
)
def test_the_address_that_a_browser_shows_is_as_good(given: str, meant: str) -> None:
    assert starter.url(given) == meant


@pytest.mark.parametrize("given", ["not an address", "http://acme.my.salesforce.com"])
def test_an_address_that_check_would_refuse_is_asked_for_again(given: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        starter.url(given)
