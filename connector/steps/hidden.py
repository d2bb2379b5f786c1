"""A field that the system hides from us for a while keeps what we knew of it: a value that was not sent is not an empty one.

The stored native fields of a record are laid under those that came, before they are mapped; so its canonical columns, its identifiers
and what is mapped anew later go on saying what they said. Activities keep no native fields: known ones stay as they are until the field
is shown again, and then their stream is read whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson
import pyarrow as pa

from connector import tables
from connector.mapping.columns import joined, pc
from connector.mart import Mart
from connector.model import Page, Stream
from connector.steps.setup import Connected


def of_pages(connected: Connected, stream: Stream, pages: Sequence[Page]) -> frozenset[str]:
    """The fields that these pages came without and that the mapping reads; what we write ourselves is not among them."""
    read = set(connected.mappings[stream.name].native_fields) - _ours(connected, stream)
    return frozenset(name for page in pages for name in page.hidden if name in read)


def to_tell(connected: Connected, stream: Stream, pages: Sequence[Page]) -> tuple[str, ...]:
    """The fields that a read to the end came without. What we write ourselves is told by what writes it, with the mend that helps."""
    names = pages[-1].hidden if pages and pages[-1].done else ()
    return tuple(name for name in names if name not in _ours(connected, stream))


def _ours(connected: Connected, stream: Stream) -> set[str]:
    activity = connected.mappings[stream.name].activity
    key = {activity.task_key} if activity and activity.task_key else set()
    return {*connected.outputs.get(stream.object_type, {}).values(), *key}


def remembered(mart: Mart, system: str, stream: Stream, rows: pa.Table, hidden: Collection[str]) -> pa.Table:
    """The rows (`tables.PAGE`) with the hidden fields as the mart has them."""
    keys = joined(system, pc.fill_null(rows["object_type"], stream.object_type), rows["native_id"])
    wanted = mart.keep("seen_without", pa.table({"key": keys.unique().drop_null()}))
    table = mart.table(tables.record_table(stream.kind))
    stored = mart.arrow(table.semi_join(wanted, "key").filter(table.native.notnull()).select("key", "native"))
    former: dict[Any, Any] = dict(zip(stored["key"].to_pylist(), stored["native"].to_pylist(), strict=True))
    if not former:
        return rows
    native = [
        _laid_under(former[key], str(text), hidden) if key in former else text
        for text, key in zip(rows["native"].to_pylist(), keys.to_pylist(), strict=True)
    ]
    rows = rows.select(tables.PAGE.names)
    at = rows.schema.get_field_index("native")
    return rows.set_column(at, rows.schema.field(at), pa.array(native, tables.TEXT))


def _laid_under(former: str, text: str, hidden: Collection[str]) -> str:
    before, now = orjson.loads(former), orjson.loads(text)
    kept = {name: before[name] for name in hidden if name in before and name not in now}
    return orjson.dumps(now | kept).decode() if kept else text
