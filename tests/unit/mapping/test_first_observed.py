"""What a first read tells of our own fields."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pyarrow as pa

from connector import mapping, tables

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _observed(is_first: bool) -> dict[str, str | None]:
    """The score that two contacts hold, one of whom has none, by native id."""
    rows = [
        {"native_id": key, "object_type": "contacts", "modified_at": NOW, "is_deleted": False, "native": orjson.dumps(native).decode()}
        for key, native in (("1", {"email": "a@x.de", "score": 7}), ("2", {"email": "b@x.de", "score": None}))
    ]  # fmt: skip
    mapped = mapping.apply(
        pa.Table.from_pylist(rows, schema=tables.PAGE),
        mapping.load("memory", {})["contacts"],
        system="crm",
        region="DE",
        outputs=("score",),
        now=NOW,
        is_first=is_first,
    )
    return {row["native_id"]: row["value"] for row in mapped.observed.to_pylist()}


def test_an_empty_field_says_something_only_where_something_may_be_known() -> None:
    assert _observed(is_first=False) == {"1": "7", "2": None}
    assert _observed(is_first=True) == {"1": "7"}
