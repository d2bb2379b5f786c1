"""`POST /crm/v3/objects/{type}/search`: pages of at most 200, 10,000 results, live records, found after the index lag.

Source: https://developers.hubspot.com/docs/api-reference/search/guide
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from zlib import crc32

from connector.sandbox.hubspot import records
from connector.sandbox.hubspot.answers import Refused
from connector.sandbox.hubspot.filters import Condition, condition, operand, text_condition
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.reading import object_body, shown_properties
from connector.sandbox.hubspot.serving import Answer, Call, json_object

PAGE = 200
DEFAULT_PAGE = 10
MOST_RESULTS = 10_000
MOST_QUERY_CHARACTERS = 3_000
PROBLEM = "There was a problem with the request."
"""HubSpot's sentence for most of what its search cannot do, past the 10,000th result among them; it names no cause."""


def search(call: Call) -> Answer:
    """A page of the records that match, with the exact `total` and the offset of the next page in `paging.next.after`.

    Raises:
        Refused: 400, a page above 200, past the 10,000th result, more than one sort, or a filter that makes no sense.
    """
    kind = call.catalog.types.get(call.parts["type"])
    body = json_object(call.body if call.body is not None else {})
    limit, offset = _page(body)
    where = _where(call, kind, body)
    database = call.context.database
    source = records.searchable(database, kind, call.now_ms, call.lag)
    total = _total(database, database.total_changes, source, where)
    order = _order(call, kind, body, where)
    rows = database.execute(
        f"SELECT * FROM {source} WHERE id IN"
        f" (SELECT id FROM {source} WHERE {where.sql} ORDER BY {order} LIMIT ? OFFSET ?)"
        f" ORDER BY {order}",
        (*where.variables, limit, offset),
    )
    names = shown_properties(call.catalog, kind, [str(name) for name in body.get("properties") or ()])
    results = [object_body(kind, records.from_row(row), names) for row in rows]
    answer: dict[str, Any] = {"total": total, "results": results}
    if offset + len(results) < total and results:
        answer["paging"] = {"next": {"after": str(offset + len(results))}}
    return Answer(200, answer, len(results))


@lru_cache(maxsize=64)
def _total(database: sqlite3.Connection, _changes: int, source: str, where: Condition) -> int:
    """How many records match; counted again only after something in the database changed."""
    found = database.execute(f"SELECT count(*) FROM {source} WHERE {where.sql}", where.variables).fetchone()
    return int(found[0])


def _page(body: Mapping[str, Any]) -> tuple[int, int]:
    limit, offset = (
        records.as_id(body.get(name) or default) for name, default in (("limit", DEFAULT_PAGE), ("after", 0))
    )
    if limit is None or limit > PAGE:
        raise Refused(400, f"limit must be between 1 and {PAGE}")
    if offset is None:
        raise Refused(400, f"Could not read the paging cursor {str(body.get('after'))[:100]}")
    if offset + limit > MOST_RESULTS:
        raise Refused(400, PROBLEM)
    if len(str(body.get("query") or "")) > MOST_QUERY_CHARACTERS:
        raise Refused(400, f"The query is longer than {MOST_QUERY_CHARACTERS} characters.")
    return limit, offset


def _where(call: Call, kind: ObjectType, body: Mapping[str, Any]) -> Condition:
    parts = [Condition("archived_ms IS NULL"), condition(call.catalog, kind, body)]
    if body.get("query"):
        parts.append(text_condition(kind, str(body["query"])))
    sql = " AND ".join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(variable for part in parts for variable in part.variables))


def _named_sort(text: str) -> dict[str, str]:
    """A sort as the vendor's own clients give it: `name`, or `-name` for the other direction."""
    direction = "DESCENDING" if text.startswith("-") else "ASCENDING"
    return {"propertyName": text.removeprefix("-"), "direction": direction}


def _order(call: Call, kind: ObjectType, body: Mapping[str, Any], where: Condition) -> str:
    """Records of the same value come in an order that only this query has, the same on all its pages."""
    sorts = body.get("sorts") or []
    if len(sorts) > 1:
        raise Refused(400, "Only one sort is supported.")
    if not sorts:
        return "id"
    given = sorts[0] if isinstance(sorts[0], Mapping) else _named_sort(str(sorts[0]))
    subject = operand(call.catalog, kind, str(given.get("propertyName", "")))
    direction = "DESC" if str(given.get("direction", "ASCENDING")).upper() == "DESCENDING" else "ASC"
    if subject.sql == "id":
        return f"id {direction}"
    factor = 2 * crc32(repr(where).encode()) + 1
    return f"{subject.sql} {direction}, (id % 1000003) * {factor} % 4294967291, id"
