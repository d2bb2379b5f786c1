"""A house on both systems that is told single records instead of reading them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pyarrow as pa

from connector import app, config, mapping, tables
from connector.mart import Mart
from connector.mart.ingest import Group, ingest
from connector.model import Kind
from connector.steps.setup import Setup

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
_SYSTEMS = """
[systems.salesforce]
kind = "salesforce"
url = "https://acme.my.salesforce.com"
client_id = "env:SECRET"
client_secret = "env:SECRET"

[systems.hubspot]
kind = "hubspot"
token = "env:SECRET"
"""
_MAPPINGS = {kind: mapping.load(kind, {}) for kind in ("salesforce", "hubspot")}
_KINDS = {
    "contacts": Kind.PERSON, "companies": Kind.ACCOUNT, "deals": Kind.OPPORTUNITY, "opportunities": Kind.OPPORTUNITY,
    "contact_roles": Kind.CONTACT_ROLE,
}  # fmt: skip


@contextmanager
def opened(folder: Path, settings: str) -> Iterator[tuple[Setup, Mart]]:
    """A new house in this folder, with these settings besides its systems."""
    file = folder / "connector.toml"
    file.write_text(_SYSTEMS + settings)
    with patch.dict("os.environ", {"SECRET": "a-secret"}):
        setup = app.build(config.load(file))
        with setup.mart() as mart:
            yield setup, mart
        setup.state.close()


def tell(
    mart: Mart, system: str, stream: str, native_id: str, native: Mapping[str, Any], *, at: datetime, run: int = 1,
    is_deleted: bool = False,
) -> None:  # fmt: skip
    """One record, as this run reads it at this instant."""
    mapped_by = _MAPPINGS[system][stream]
    row = {
        "native_id": native_id, "object_type": mapped_by.object_type, "created_at": NOW, "modified_at": at,
        "is_deleted": is_deleted, "native": orjson.dumps(native).decode(),
    }  # fmt: skip
    page = pa.Table.from_pylist([row], schema=tables.PAGE)
    mapped = mapping.apply(page, mapped_by, system=system, region="DE", outputs=(), now=at)
    ingest(mart, Group(system, stream, _KINDS[stream], (mapped,), 1, 0, "c"), run=run, now=at)
