"""For all tests."""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

# As the command line does: most tests build expressions, in which a search for garbage finds none.
gc.set_threshold(50_000, *gc.get_threshold()[1:])

# What a pipe gets does not depend on the terminal of whoever runs the tests.
os.environ.pop("COLUMNS", None)

# The same examples in each run, however slow the machine is; `HYPOTHESIS_PROFILE=search` looks for others.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_sessionfinish() -> None:
    """At its end pytest searches five times for garbage that tells of a mistake as it goes: once will do, of all that a worker has."""
    gc.collect()
    gc.freeze()
