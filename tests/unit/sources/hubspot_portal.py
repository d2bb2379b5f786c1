"""A portal in a few lines: what the adapter's files need of HubSpot's search, list and batch answers, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from connector.sources.hubspot_records import Listing, listing
from connector.sources.hubspot_search import SEARCH_PAGE

Json = dict[str, Any]


@dataclass
class Portal:
    """Records by id: their instant of change in milliseconds. `on_call` acts between two calls, as other people do."""

    modified: dict[int, int] = field(default_factory=dict)
    archived: dict[int, int] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)  # not in the index yet
    on_call: Callable[[Portal], None] = lambda portal: None
    page: int = SEARCH_PAGE
    list_page: int = 100
    searches: list[Json] = field(default_factory=list)
    lists: int = 0
    absorbed: dict[int, int] = field(default_factory=dict)  # id that was merged away -> its survivor
    asked: list[str] = field(default_factory=list)  # ids of batch reads

    def batch(self, object_type: str, verb: str, body: Json) -> Json:
        ids = [int(each["id"]) for each in body["inputs"]]
        self.asked += [str(each) for each in ids]
        there = dict.fromkeys(self.absorbed.get(each, each) for each in ids)
        rows = [record(each, self.modified[each]) for each in there if each in self.modified]
        for row in rows:
            merged = [str(old) for old, new in self.absorbed.items() if new == int(row["id"])]
            row["properties"]["hs_merged_object_ids"] = ";".join(merged) or None
        return {"results": rows}

    def search(self, object_type: str, body: Json) -> Listing:
        if "filterGroups" not in body:
            return page_of({"total": len(self.modified), "results": []})
        self.searches.append(body)
        rows = [(ms, record_id) for record_id, ms in self.modified.items() if record_id not in self.hidden]
        for each in body["filterGroups"][0]["filters"]:
            place = 1 if each["propertyName"] == "hs_object_id" else 0
            value = int(each["value"])
            keeps = {"GTE": lambda v, w=value: v >= w, "EQ": lambda v, w=value: v == w, "GT": lambda v, w=value: v > w}
            rows = [row for row in rows if keeps[each["operator"]](row[place])]
        by_id = body["sorts"][0]["propertyName"] == "hs_object_id"
        rows.sort(key=lambda row: row[1] if by_id else row[0])
        shown = rows[: self.page]
        answer: Json = {"total": len(rows), "results": [record(record_id, ms) for ms, record_id in shown]}
        if len(rows) > self.page:
            answer["paging"] = {"next": {"after": str(self.page)}}
        self.on_call(self)
        return page_of(answer)

    def listed(
        self, object_type: str, properties: Sequence[str], after: str | None, *, is_archived: bool = False
    ) -> Listing:
        self.lists += 1
        held = self.archived if is_archived else self.modified
        ids = sorted(record_id for record_id in held if record_id > int(after or 0))
        rows = [record(record_id, held[record_id]) for record_id in ids[: self.list_page]]
        if is_archived:
            rows = [row | {"archivedAt": str(held[int(row["id"])])} for row in rows]
        answer: Json = {"results": rows}
        if len(ids) > self.list_page:
            answer["paging"] = {"next": {"after": rows[-1]["id"]}}
        self.on_call(self)
        return page_of(answer)


def page_of(answer: Json) -> Listing:
    """An answer as the client reads it."""
    return listing(orjson.dumps(answer))


def record(record_id: int, ms: int) -> Json:
    """A record as HubSpot sends it."""
    return {
        "id": str(record_id),
        "createdAt": "2025-11-04T03:44:52.657Z",
        "updatedAt": "2025-11-04T12:06:46.802Z",
        "properties": {"hs_object_id": str(record_id), "lastmodifieddate": str(ms)},
    }
