"""The associations of v3, which older clients use: a link's type is its name, and a link has an entry per type.

Source: https://developers.hubspot.com/docs/api-reference/legacy/crm/associations/associations-v3/guide
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, records, webhooks
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.association_api import CREATE_SIZE, READ_SIZE, live_ids, nothing_linked
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import AssociationType, ObjectType
from connector.sandbox.hubspot.reading import batch_inputs, envelope, missing_error
from connector.sandbox.hubspot.serving import Answer, Call, json_object

LINKS_PER_PAGE = 500


def _ends(call: Call) -> tuple[ObjectType, ObjectType]:
    source, target = call.catalog.types.get(call.parts["type"]), call.catalog.types.get(call.parts["to_type"])
    call.catalog.types.links(source.name, target.name)
    return source, target


def _entries(
    call: Call, source: ObjectType, target: ObjectType, links: Mapping[int, Sequence[int]]
) -> list[dict[str, Any]]:
    names = call.catalog.types.names(source, target)
    return [{"id": str(to_id), "type": names[each]} for to_id, type_ids in links.items() for each in type_ids]


def list_types(call: Call) -> Answer:
    """`GET /crm/v3/associations/{type}/{to_type}/types`."""
    results = [{"id": str(number), "name": name} for number, name in call.catalog.types.names(*_ends(call)).items()]
    return Answer(200, {"results": results}, len(results))


def batch_read(call: Call) -> Answer:
    """`POST /crm/v3/associations/{type}/{to_type}/batch/read` -> 200, or 207 where a record has no links."""
    source, target = _ends(call)
    started = iso(call.now_ms)
    given = list(dict.fromkeys(str(each.get("id", "")) for each in batch_inputs(json_object(call.body), READ_SIZE)))
    ids = [number for text in given if (number := records.as_id(text)) is not None]
    linked = linking.linked(call.context.database, source.name, ids, target.name)
    results, errors = [], []
    for text in given:
        links = linked.get(records.as_id(text) or -1)
        if links:
            results.append({"from": {"id": text}, "to": _entries(call, source, target, links)})
        else:
            errors.append(nothing_linked(source, target, text))
    return Answer(207 if errors else 200, envelope(results, errors, started, iso(call.now_ms)), len(results))


def _type(call: Call, source: ObjectType, target: ObjectType, given: Any) -> AssociationType:
    """The kind of link of a name or an id.

    Raises:
        Refused: 400, there is none.
    """
    names = call.catalog.types.names(source, target)
    found = [
        each
        for each in call.catalog.types.links(source.name, target.name)
        if str(given) in (names[each.type_id], str(each.type_id))
    ]
    if not found:
        raise Refused(
            400, f"{str(given)[:100]} is not a valid association type between {source.name} and {target.name}"
        )
    return found[0]


def _rows(call: Call, ends: tuple[ObjectType, ObjectType]) -> list[tuple[str, str, AssociationType]]:
    inputs = batch_inputs(json_object(call.body), CREATE_SIZE)
    return [
        (
            str((each.get("from") or {}).get("id")),
            str((each.get("to") or {}).get("id")),
            _type(call, *ends, each.get("type")),
        )
        for each in inputs
    ]


def batch_create(call: Call) -> Answer:
    """`POST .../batch/create` with `from`, `to` and `type` -> 201, or 207 where a record does not exist."""
    source, target = ends = _ends(call)
    rows = _rows(call, ends)
    started = iso(call.now_ms)
    from_ids = live_ids(call, source, [number for text, _, _ in rows if (number := records.as_id(text)) is not None])
    to_ids = live_ids(call, target, [number for _, text, _ in rows if (number := records.as_id(text)) is not None])
    results, missing = [], []
    made: list[tuple[str, int]] = []
    with transaction(call.context.database) as database:
        for from_text, to_text, link in rows:
            from_id, to_id = from_ids.get(records.as_id(from_text) or -1), to_ids.get(records.as_id(to_text) or -1)
            if from_id is None or to_id is None:
                missing.append(from_text if from_id is None else to_text)
                continue
            linking.connect(database, call.catalog.types, link, from_id, to_id)
            webhooks.note_link(call, ends, (from_id, to_id), is_removed=False)
            name = call.catalog.types.names(source, target)[link.type_id]
            results.append({"from": {"id": str(from_id)}, "to": {"id": str(to_id)}, "type": name})
            made += [(source.name, from_id), (target.name, to_id)]
        linking.recount(database, made)
    errors = [missing_error(source, missing)] if missing else []
    return Answer(207 if errors else 201, envelope(results, errors, started, iso(call.now_ms)), len(results))


def batch_archive(call: Call) -> Answer:
    """`POST .../batch/archive` with `from`, `to` and `type` -> 204."""
    ends = _ends(call)
    with transaction(call.context.database) as database:
        for from_text, to_text, link in _rows(call, ends):
            from_id, to_id = records.as_id(from_text), records.as_id(to_text)
            if from_id is not None and to_id is not None:
                linking.remove(database, link, from_id, to_id)
                webhooks.note_link(call, ends, (from_id, to_id), is_removed=True)
                linking.recount(database, [(link.from_type, from_id), (link.to_type, to_id)])
    return Answer(204)


def list_links(call: Call) -> Answer:
    """`GET /crm/v3/objects/{type}/{id}/associations/{to_type}`: a page of one record's links."""
    source, target = _ends(call)
    number = records.as_id(call.parts["id"])
    found = live_ids(call, source, [number]) if number is not None else {}
    if not found:
        raise not_found()
    [from_id] = found.values()
    limit, after = call.limit(LINKS_PER_PAGE, LINKS_PER_PAGE), records.as_id(call.one("after", "0")) or 0
    links = linking.linked(call.context.database, source.name, [from_id], target.name).get(from_id, {})
    rest = {to_id: type_ids for to_id, type_ids in links.items() if to_id > after}
    shown = dict(list(rest.items())[:limit])
    body: dict[str, Any] = {"results": _entries(call, source, target, shown)}
    if len(rest) > limit:
        body["paging"] = call.paging(str(max(shown)))
    return Answer(200, body, len(shown))


def change_link(call: Call) -> Answer:
    """`PUT` (200) or `DELETE` (204) of `/crm/v3/objects/{type}/{id}/associations/{to_type}/{to_id}/{link}`."""
    source, target = ends = _ends(call)
    link = _type(call, *ends, call.parts["link"])
    from_id, to_id = records.as_id(call.parts["id"]) or -1, records.as_id(call.parts["to_id"]) or -1
    from_ids, to_ids = live_ids(call, source, [from_id]), live_ids(call, target, [to_id])
    if call.method == "PUT" and not (from_ids and to_ids):
        raise not_found()
    with transaction(call.context.database) as database:
        if call.method == "PUT":
            from_id, to_id = from_ids[from_id], to_ids[to_id]
            linking.connect(database, call.catalog.types, link, from_id, to_id)
        else:
            linking.remove(database, link, from_id, to_id)
        webhooks.note_link(call, ends, (from_id, to_id), is_removed=call.method != "PUT")
        linking.recount(database, [(source.name, from_id), (target.name, to_id)])
    return Answer(200, {"id": str(from_id), "type": call.parts["link"]}, 1) if call.method == "PUT" else Answer(204)
