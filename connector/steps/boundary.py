"""The boundary around one system: what nobody expected of it is contained there, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connector.errors import ConnectorError, SystemFailure
from connector.log import get

_LOG = get("pipeline")


@contextmanager
def boundary(system: str, doing: str) -> Iterator[None]:
    """Around the work for one system (`doing`: reading, writing). Raises SystemFailure for what is no error of ours."""
    try:
        yield
    except ConnectorError:
        raise
    except Exception as problem:
        _LOG.exception("run.bug", system=system, doing=doing)
        text = f"unexpected {type(problem).__name__} while {doing}"
        raise SystemFailure(text, hint="report this with the log", system=system) from problem
