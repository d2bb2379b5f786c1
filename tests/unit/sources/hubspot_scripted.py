"""A portal that answers batch calls by a script, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from connector.model import Change, Lane, Outcome, Value
from connector.sources import hubspot_batch as batch
from connector.sources.hubspot_values import Definitions

Json = dict[str, Any]

STAGES = [{"value": each, "displayOrder": place} for place, each in enumerate(("subscriber", "lead", "customer"))]
LIFECYCLE = {"name": "lifecyclestage", "type": "enumeration", "fieldType": "radio", "options": STAGES}
KNOWN: tuple[str | Json, ...] = ("score", "grade", LIFECYCLE)


class Scripted:
    """An API that answers each batch call by a function of (object type, verb, body)."""

    def __init__(self, answer: Callable[[str, str, Json], Json], known: Sequence[str | Json] = KNOWN) -> None:
        self.answer, self.known = answer, known
        self.calls: list[tuple[str, str, Json]] = []
        self.linked: dict[str, list[str]] = {}

    def batch(self, object_type: str, verb: str, body: Json) -> Json:
        self.calls.append((object_type, verb, body))
        return self.answer(object_type, verb, body)

    def properties(self, object_type: str) -> list[Json]:
        return [each if isinstance(each, dict) else {"name": each} for each in self.known]

    def associated(self, from_type: str, to_type: str, inputs: Sequence[Json]) -> Json:
        rows = [
            {"from": {"id": each["id"]}, "to": [{"toObjectId": int(task)} for task in self.linked.get(each["id"], ())]}
            for each in inputs
        ]
        return {"results": [row for row in rows if row["to"]], "errors": []}


def change(native_id: str, key: str = "", **fields: Value) -> Change:
    return Change(key or f"k{native_id}", "hubspot", "contacts", native_id, Lane.SCORE, fields=fields)


def updated(api: Scripted, *changes: Change) -> dict[str, Outcome]:
    outcomes = list(batch.update(api, "contacts", changes, Definitions(api)))  # type: ignore[arg-type]
    assert len(outcomes) == len({outcome.key for outcome in outcomes}) == len(changes)
    return {outcome.key: outcome for outcome in outcomes}


def echo(object_type: str, verb: str, body: Json) -> Json:
    """Everything written, told in reverse order."""
    return {"results": [{"id": each["id"], "properties": each.get("properties")} for each in body["inputs"][::-1]]}
