"""Writing records, one by one and in batches.

What a batch does with a bad row: without an `objectWriteTraceId` on every row it refuses all of them; with one on each,
the good rows are written and the bad ones listed (207). Ids that no record has never stop the others.
Source: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide and recorded traffic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from connector.sandbox.context import HUBSPOT
from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, records, webhooks
from connector.sandbox.hubspot.access import APP_USER_ID
from connector.sandbox.hubspot.answers import Refused, RowProblem, not_found, row_error, row_refused
from connector.sandbox.hubspot.derived import derived
from connector.sandbox.hubspot.drafting import Draft, Drafts, draft, refuse_faulty, refuse_taken
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.reading import (
    BATCH_SIZE,
    batch_ids,
    batch_inputs,
    demand_unique,
    envelope,
    find_many,
    find_one,
    missing_error,
    object_body,
    shuffled,
)
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Answer, Call, json_object

UPDATED_BY = "hs_updated_by_user_id"


def save(call: Call, kind: ObjectType, drafts: Sequence[Draft], *, user_id: int = APP_USER_ID) -> list[Record]:
    """Write the drafts, with what the portal's workflows add; the records in their order. To call in a transaction.

    A draft that changes no value leaves its record as it is, the modified date too. `user_id` is who writes.
    """
    context = call.context
    is_watched = context.workflows.watches(HUBSPOT, kind.name)
    saved: dict[int, Record] = {}
    order: list[int] = []
    written: dict[int, Record] = {}
    for each in drafts:
        old = each.record and saved.get(each.record.id, each.record)
        record_id = old.id if old else records.next_id(context.database)
        before = old.properties if old else {}
        changes: dict[str, Any] = dict(each.changes)
        if is_watched:
            changes |= context.workflows.on_update(HUBSPOT, kind.name, str(record_id), before, changes)
        changes |= derived(context.database, kind, before, changes, call.now_ms)
        properties = {name: text for name, text in (before | changes).items() if text}
        order.append(record_id)
        if old is not None and properties == old.properties:
            saved[record_id] = old
            continue
        properties[UPDATED_BY] = str(user_id)
        modified_ms = max(call.now_ms, old.modified_ms if old else 0)
        created_ms = old.created_ms if old else call.now_ms
        saved[record_id] = written[record_id] = records.stamped(kind, record_id, properties, created_ms, modified_ms)
    records.write(context.database, call.catalog, kind, list(written.values()), now_ms=call.now_ms, lag=call.lag)
    old_ones = {each.record.id: each.record.properties for each in drafts if each.record is not None}
    for record in written.values():
        webhooks.note_written(call, kind, record.id, old_ones.get(record.id, {}), record.properties)
    for each, record_id in zip(drafts, order, strict=True):
        for link, to_id in each.links:
            linking.connect(context.database, call.catalog.types, link, record_id, to_id)
            webhooks.note_link(call, (kind, call.catalog.types.get(link.to_type)), (record_id, to_id), is_removed=False)
    linking.recount(context.database, [(t, i) for each in drafts for link, i in each.links for t in [link.to_type]])
    return [saved[record_id] for record_id in order]


def _written_body(kind: ObjectType, each: Draft, record: Record) -> dict[str, Any]:
    """The Object of a write's answer: what was sent, as it is stored now, and the id and times."""
    names = dict.fromkeys([*each.sent, kind.created_property, kind.modified_property, "hs_object_id"])
    body = object_body(kind, record, list(names))
    if each.trace is not None:
        body["objectWriteTraceId"] = each.trace
    return body


def create_object(call: Call) -> Answer:
    """`POST /crm/v3/objects/{type}` -> 201."""
    return _write_one(call, call.catalog.types.get(call.parts["type"]), None, 201)


def update_object(call: Call) -> Answer:
    """`PATCH /crm/v3/objects/{type}/{id}` -> 200; `idProperty` names a unique property."""
    kind = call.catalog.types.get(call.parts["type"])
    record = find_one(call, kind, call.parts["id"], call.one("idProperty"))
    if record is None or record.archived_ms is not None:
        raise not_found()
    return _write_one(call, kind, record, 200)


def _write_one(call: Call, kind: ObjectType, record: Record | None, status: int) -> Answer:
    given = json_object(call.body)
    with transaction(call.context.database):
        made = draft(call, kind, 0, given, record)
        if isinstance(made, RowProblem):
            raise row_refused(made)
        drafts = Drafts(ready=[made])
        refuse_taken(call, kind, drafts, [given], names_id=True)
        problems = drafts.problems | refuse_faulty(call, kind, drafts, [given])
        if problems:
            raise row_refused(problems[0])
        [saved] = save(call, kind, [made])
    return Answer(status, _written_body(kind, made, saved), 1)


def batch_create(call: Call) -> Answer:
    """`POST .../batch/create` -> 201 or 207."""
    kind = call.catalog.types.get(call.parts["type"])
    inputs = batch_inputs(json_object(call.body), BATCH_SIZE)
    return _write_batch(call, kind, inputs, dict.fromkeys(range(len(inputs))), status=201)


def batch_update(call: Call) -> Answer:
    """`POST .../batch/update` -> 200 or 207. An id that is no number, without `idProperty`, silently changes nothing."""
    kind = call.catalog.types.get(call.parts["type"])
    inputs = batch_inputs(json_object(call.body), BATCH_SIZE)
    found = _targets(call, kind, inputs)
    missing = [
        str(each.get("id"))
        for index, each in enumerate(inputs)
        if index not in found and (each.get("idProperty") or records.as_id(each.get("id")) is not None)
    ]
    return _write_batch(call, kind, inputs, found, missing=missing)


def batch_upsert(call: Call) -> Answer:
    """`POST .../batch/upsert` -> 200 or 207; rows need an `idProperty`, say whether they are `new`, and link nothing."""
    kind = call.catalog.types.get(call.parts["type"])
    inputs = batch_inputs(json_object(call.body), BATCH_SIZE)
    if not all(each.get("idProperty") for each in inputs):
        raise Refused(400, "idProperty is required to upsert.")
    found = _targets(call, kind, inputs)
    rows: list[dict[str, Any]] = []
    for index, each in enumerate(inputs):
        key = {} if index in found else {each["idProperty"]: each.get("id")}
        rows.append({**each, "properties": key | dict(each.get("properties") or {}), "associations": []})
    targets = {index: found.get(index) for index in range(len(inputs))}
    return _write_batch(call, kind, rows, targets, tells_new=True)


def _targets(call: Call, kind: ObjectType, inputs: Sequence[Mapping[str, Any]]) -> dict[int, Record]:
    """The live record that each row means.

    Raises:
        Refused: 400, an id twice, or an `idProperty` that does not identify records.
    """
    counted = Counter(records.unique_form(str(each.get("idProperty")), str(each.get("id", ""))) for each in inputs)
    twice = [text for text, count in counted.items() if count > 1]
    if twice:
        message = f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique"
        raise Refused(400, message, context={"ids": twice})
    by_property: dict[str, dict[str, int]] = {}
    for index, each in enumerate(inputs):
        by_property.setdefault(str(each.get("idProperty") or ""), {})[str(each.get("id", ""))] = index
    found: dict[int, Record] = {}
    for id_property, rows in by_property.items():
        if id_property:
            demand_unique(call, kind, id_property, "update/upsert")
        for text, record in find_many(call, kind, list(rows), id_property).items():
            if record.archived_ms is None:
                found[rows[text]] = record
    return found


def _write_batch(
    call: Call,
    kind: ObjectType,
    inputs: Sequence[Mapping[str, Any]],
    targets: Mapping[int, Record | None],
    *,
    missing: Sequence[str] = (),
    status: int = 200,
    tells_new: bool = False,
) -> Answer:
    started = iso(call.now_ms)
    if not inputs:
        return Answer(200, envelope([], [], started, started))
    traces = {each.get("objectWriteTraceId") for each in inputs}
    is_traced = None not in traces and len(traces) == len(inputs)
    with transaction(call.context.database):
        drafts = Drafts()
        for index, record in targets.items():
            made = draft(call, kind, index, inputs[index], record)
            if isinstance(made, RowProblem):
                drafts.problems[index] = made
            else:
                drafts.ready.append(made)
        refuse_taken(call, kind, drafts, inputs, names_id=is_traced)
        if drafts.problems and not is_traced:
            raise row_refused(_worst(list(drafts.problems.values())))
        refused = drafts.problems | refuse_faulty(call, kind, drafts, inputs)
        saved = save(call, kind, drafts.ready)
    by_id = {record.id: (each, record) for each, record in zip(drafts.ready, saved, strict=True)}
    results = []
    for record_id in shuffled(list(by_id)):
        each, record = by_id[record_id]
        body = _written_body(kind, each, record)
        if tells_new:
            body["new"] = each.record is None
        results.append(body)
    errors = [row_error(problem) for _, problem in sorted(refused.items())]
    errors += [missing_error(kind, list(missing))] if missing else []
    return Answer(207 if errors else status, envelope(results, errors, started, iso(call.now_ms)), len(results))


def _worst(problems: Sequence[RowProblem]) -> RowProblem:
    """What refuses the whole request: all wrong values together, or else the first problem."""
    values = tuple(value for problem in problems for value in problem.values)
    first = problems[0]
    return RowProblem(400, first.category, first.message, {}, values) if values else first


def archive(call: Call, kind: ObjectType, found: Sequence[Record]) -> None:
    """Put records into the archive, without their links and unique values. Call it inside a transaction."""
    live = [record for record in found if record.archived_ms is None]
    gone = [
        Record(record.id, record.properties, record.created_ms, call.now_ms, archived_ms=call.now_ms) for record in live
    ]
    records.write(call.context.database, call.catalog, kind, gone, now_ms=call.now_ms)
    for record in gone:
        linking.put_aside(call.context.database, kind.name, record.id)
        webhooks.note(call, kind, "deletion", {"objectId": record.id, "changeFlag": "DELETED"})


def archive_object(call: Call) -> Answer:
    """`DELETE /crm/v3/objects/{type}/{id}` -> 204, also when there is no such record."""
    kind = call.catalog.types.get(call.parts["type"])
    record = find_one(call, kind, call.parts["id"], "")
    with transaction(call.context.database):
        archive(call, kind, [record] if record is not None else [])
    return Answer(204)


def batch_archive(call: Call) -> Answer:
    """`POST .../batch/archive` -> 204."""
    kind = call.catalog.types.get(call.parts["type"])
    given = batch_ids(json_object(call.body), BATCH_SIZE)
    found = {record.id: record for record in find_many(call, kind, given, "").values()}
    with transaction(call.context.database):
        archive(call, kind, list(found.values()))
    return Answer(204, None, len(found))
