"""The associations API (v4 and dated).

Source: https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide; that a record without links is an
error of sub-category NO_ASSOCIATIONS_FOUND in a 207 is from recorded traffic.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, records, webhooks
from connector.sandbox.hubspot.answers import NOT_FOUND, VALIDATION, Refused, RowProblem, not_found, row_error
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import (
    AssociationType,
    ObjectType,
)
from connector.sandbox.hubspot.reading import batch_inputs, envelope
from connector.sandbox.hubspot.serving import Answer, Call, json_object

READ_SIZE = 1_000
CREATE_SIZE = 2_000
ARCHIVE_SIZE = 100
LINKS_PER_PAGE = 500
"""Links of one record in one answer; HubSpot does not publish the number."""

Ends = tuple[ObjectType, ObjectType]
Wanted = tuple[str, str, Sequence[AssociationType]]
"""A link to make: from id, to id, its types."""


def _ends(call: Call) -> Ends:
    return call.catalog.types.get(call.parts["type"]), call.catalog.types.get(call.parts["to_type"])


def _shown_types(call: Call, ends: Ends, type_ids: Sequence[int]) -> list[dict[str, Any]]:
    known = {each.type_id: each for each in call.catalog.types.links(ends[0].name, ends[1].name)}
    kinds = [known[each] for each in type_ids if each in known]
    return [{"category": each.category, "typeId": each.type_id, "label": each.label} for each in kinds]


def _shown_links(
    call: Call, ends: Ends, targets: dict[int, list[int]], after: int, most: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of links, and the cursor of the next page. Dated paths write ids as text, v4 as numbers."""
    rest = [(to_id, type_ids) for to_id, type_ids in targets.items() if to_id > after]
    shown = [
        {"toObjectId": str(to_id) if call.is_dated else to_id, "associationTypes": _shown_types(call, ends, type_ids)}
        for to_id, type_ids in rest[:most]
    ]
    return shown, str(rest[most - 1][0]) if len(rest) > most else None


def batch_read(call: Call) -> Answer:
    """`POST .../batch/read`: the links of up to 1,000 records; a record with many has `paging` of its own."""
    ends = source, target = _ends(call)
    call.catalog.types.links(source.name, target.name)
    inputs = batch_inputs(json_object(call.body), READ_SIZE)
    started = iso(call.now_ms)
    after = {str(each.get("id", "")): records.as_id(each.get("after") or 0) or 0 for each in inputs}
    ids = [number for text in after if (number := records.as_id(text)) is not None]
    linked = linking.linked(call.context.database, source.name, ids, target.name)
    results: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for text, start in after.items():
        shown, following = _shown_links(call, ends, linked.get(records.as_id(text) or -1, {}), start, LINKS_PER_PAGE)
        if not shown:
            errors.append(nothing_linked(source, target, text))
            continue
        result: dict[str, Any] = {"from": {"id": text}, "to": shown}
        if following is not None:
            result["paging"] = call.paging(following)
        results.append(result)
    body = envelope(results, errors, started, iso(call.now_ms))
    return Answer(207 if errors else 200, body, len(results))


def nothing_linked(source: ObjectType, target: ObjectType, text: str) -> dict[str, Any]:
    """The error of a record that has no links to that type."""
    return {
        "status": "error",
        "category": NOT_FOUND,
        "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "message": f"No {target.singular} is associated with {source.singular} {text}.",
        "context": {
            "fromObjectId": [text],
            "fromObjectType": [source.singular],
            "toObjectType": [target.singular],
        },
    }


def live_ids(call: Call, kind: ObjectType, ids: Sequence[int]) -> dict[int, int]:
    """Which of the ids lead to a live record, and to which."""
    found = records.fetch(call.context.database, kind, list(dict.fromkeys(ids)))
    return {wanted: record.id for wanted, record in found.items() if record.archived_ms is None}


def _connect(call: Call, ends: Ends, wanted: Sequence[Wanted]) -> Answer:
    source, target = ends
    started = iso(call.now_ms)
    from_ids = live_ids(call, source, [number for row in wanted if (number := records.as_id(row[0])) is not None])
    to_ids = live_ids(call, target, [number for row in wanted if (number := records.as_id(row[1])) is not None])
    results: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    with transaction(call.context.database) as database:
        for from_text, to_text, links in wanted:
            from_id = from_ids.get(records.as_id(from_text) or -1)
            to_id = to_ids.get(records.as_id(to_text) or -1)
            if from_id is None or to_id is None:
                gone = {"fromObjectId": [from_text], "toObjectId": [to_text]}
                errors.append(row_error(RowProblem(404, NOT_FOUND, "One of the objects does not exist.", gone)))
                continue
            for link in links:
                linking.connect(database, call.catalog.types, link, from_id, to_id)
            webhooks.note_link(call, ends, (from_id, to_id), is_removed=False)
            results.append(
                {
                    "fromObjectTypeId": source.type_id,
                    "fromObjectId": from_id,
                    "toObjectTypeId": target.type_id,
                    "toObjectId": to_id,
                    "labels": [link.label for link in links if link.label],
                }
            )
        _recount(database, ends, results)
    return Answer(207 if errors else 201, envelope(results, errors, started, iso(call.now_ms)), len(results))


def _recount(database: sqlite3.Connection, ends: Ends, results: Sequence[Mapping[str, Any]]) -> None:
    for kind, side in zip(ends, ("fromObjectId", "toObjectId"), strict=True):
        linking.recount(database, [(kind.name, row[side]) for row in results])


def _named_types(call: Call, ends: Ends, given: Sequence[Any]) -> list[AssociationType]:
    known = {each.type_id: each for each in call.catalog.types.links(ends[0].name, ends[1].name)}
    ids = [records.as_id(each.get("associationTypeId")) for each in given]
    wrong = [each for each in ids if each not in known]
    if wrong or not ids:
        message = f"Invalid association types {wrong} between {ends[0].type_id} and {ends[1].type_id}"
        raise Refused(400, message, VALIDATION)
    return [known[each] for each in ids if each is not None]


def _end(given: Any) -> str:
    return str((given or {}).get("id", ""))


def batch_create(call: Call) -> Answer:
    """`POST .../batch/create`: up to 2,000 links of given types -> 201; a link that exists stays."""
    ends = _ends(call)
    inputs = batch_inputs(json_object(call.body), CREATE_SIZE)
    return _connect(
        call,
        ends,
        [
            (_end(each.get("from")), _end(each.get("to")), _named_types(call, ends, each.get("types") or ()))
            for each in inputs
        ],
    )


def batch_default(call: Call) -> Answer:
    """`POST .../batch/associate/default`: links of the ordinary type -> 200."""
    ends = _ends(call)
    link = call.catalog.types.general(ends[0].name, ends[1].name)
    inputs = batch_inputs(json_object(call.body), CREATE_SIZE)
    answer = _connect(call, ends, [(_end(each.get("from")), _end(each.get("to")), [link]) for each in inputs])
    return Answer(200 if answer.status == 201 else answer.status, answer.body, answer.records)


def batch_archive(call: Call) -> Answer:
    """`POST .../batch/archive`: every link between the pairs -> 204."""
    source, target = _ends(call)
    inputs = batch_inputs(json_object(call.body), ARCHIVE_SIZE)
    with transaction(call.context.database) as database:
        for each in inputs:
            from_id = records.as_id(_end(each.get("from")))
            others = each.get("to") or []
            for other in others if isinstance(others, list) else [others]:
                to_id = records.as_id(_end(other))
                if from_id is not None and to_id is not None:
                    linking.disconnect(database, source.name, from_id, target.name, to_id)
                    webhooks.note_link(call, (source, target), (from_id, to_id), is_removed=True)
    return Answer(204)


def batch_archive_labels(call: Call) -> Answer:
    """`POST .../batch/labels/archive`: links of the given types only -> 204."""
    ends = _ends(call)
    inputs = batch_inputs(json_object(call.body), ARCHIVE_SIZE)
    with transaction(call.context.database) as database:
        for each in inputs:
            from_id, to_id = records.as_id(_end(each.get("from"))), records.as_id(_end(each.get("to")))
            if from_id is not None and to_id is not None:
                for link in _named_types(call, ends, each.get("types") or ()):
                    linking.remove(database, link, from_id, to_id)
    return Answer(204)


def list_links(call: Call) -> Answer:
    """`GET /crm/v4/objects/{type}/{id}/associations/{to_type}`: a page of one record's links."""
    ends = source, target = _ends(call)
    call.catalog.types.links(source.name, target.name)
    limit = call.limit(LINKS_PER_PAGE, LINKS_PER_PAGE)
    from_id = _one_live(call, source, call.parts["id"])
    linked = linking.linked(call.context.database, source.name, [from_id], target.name).get(from_id, {})
    shown, following = _shown_links(call, ends, linked, records.as_id(call.one("after", "0")) or 0, limit)
    body: dict[str, Any] = {"results": shown}
    if following is not None:
        body["paging"] = call.paging(following)
    return Answer(200, body, len(shown))


def _one_live(call: Call, kind: ObjectType, text: str) -> int:
    number = records.as_id(text)
    found = live_ids(call, kind, [number]) if number is not None else {}
    if not found:
        raise not_found()
    return next(iter(found.values()))


def put_link(call: Call) -> Answer:
    """`PUT /crm/v4/objects/{type}/{id}/associations/{to_type}/{to_id}`, or `.../default/...` -> 201."""
    ends = source, target = _ends(call)
    from_id, to_id = _one_live(call, source, call.parts["id"]), _one_live(call, target, call.parts["to_id"])
    is_default = "/associations/default/" in call.path
    if not is_default and not (isinstance(call.body, list) and all(isinstance(each, dict) for each in call.body)):
        raise Refused(400, "The body must be a list of association types.")
    links = (
        [call.catalog.types.general(source.name, target.name)] if is_default else _named_types(call, ends, call.body)
    )
    answer = _connect(call, ends, [(str(from_id), str(to_id), links)])
    return Answer(200, answer.body, 1) if is_default else Answer(201, answer.body["results"][0], 1)


def delete_links(call: Call) -> Answer:
    """`DELETE /crm/v4/objects/{type}/{id}/associations/{to_type}/{to_id}` -> 204."""
    source, target = _ends(call)
    from_id, to_id = records.as_id(call.parts["id"]), records.as_id(call.parts["to_id"])
    if from_id is not None and to_id is not None:
        with transaction(call.context.database) as database:
            linking.disconnect(database, source.name, from_id, target.name, to_id)
            webhooks.note_link(call, (source, target), (from_id, to_id), is_removed=True)
    return Answer(204)
