"""Opening the house that a configuration describes: all of it, or only the books of the service."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from connector import log
from connector.app import build
from connector.cli.ending import AT_END
from connector.cli.screen import err, escape
from connector.config import Config, load
from connector.steps.setup import Setup


def open_house(file: Path, *, needs_secrets: bool = True) -> tuple[Config, Setup]:
    """The configuration and the setup that it makes, with the log set up as it says. Raises ConfigError or StateError.

    Who talks to no system `needs_secrets` not. The state is closed as the command ends.
    """
    config = load(file, needs_secrets=needs_secrets)
    os.umask(0o077)  # the mart's engine makes its own journal, and what is made here holds personal data
    log.configure(config.log)
    setup = replace(build(config), say=lambda text: err.print(escape(text)))
    AT_END.callback(setup.state.close)
    return config, setup
