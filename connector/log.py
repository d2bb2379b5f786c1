"""Log events: a name and fields, never a personal value, never a secret.

Events are named `<step>.<what>` with the seven words of the pipeline: pull, map, resolve, score, stage, plan, deliver.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from pydantic import Field

from connector.section import Section

_EMAIL = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+\.[A-Za-z]{2,}")
_SECRET_KEYS = re.compile(r"token|secret|password|authorization|assertion|api_key", re.IGNORECASE)


class LogSection(Section):
    """`[log]`: level and form of the log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("warning", description="the least that is logged")
    format: Literal["text", "json"] = Field("text", description="text for people, json for machines")


def hashed(value: str) -> str:
    """What stands for a personal value in a log: the same for the same value, and nothing more."""
    return "#" + hashlib.blake2b(value.encode(), digest_size=6).hexdigest()


def redact(text: str) -> str:
    """The text with e-mail addresses replaced by their hashes and bearer tokens removed."""
    text = re.sub(r"(?i)(bearer|basic)\s+[\w.~+/=!-]+", r"\1 ***", text)
    return _EMAIL.sub(lambda match: hashed(match.group().lower()), text)


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def _without_empty(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value not in ("", None)}


def configure(section: LogSection) -> None:
    """Set the process's log up; to be called once, by the command line."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if section.format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_empty,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, section.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Any:
    """The logger of a module; fields are keyword arguments."""
    return structlog.get_logger(module=name)
