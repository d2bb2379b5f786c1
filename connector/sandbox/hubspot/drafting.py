"""Before a write: which values change, and every reason why HubSpot would refuse one.

Sources: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide (value formats, unique properties),
https://knowledge.hubspot.com/records/use-lifecycle-stages (a stage never moves backward by the API).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from connector.sandbox.context import HUBSPOT
from connector.sandbox.faults import REJECTED, ROW_LOCK
from connector.sandbox.hubspot import demands, records
from connector.sandbox.hubspot.access import PORTAL_ID
from connector.sandbox.hubspot.answers import CONFLICT, VALIDATION, Refused, RowProblem, ValueProblem
from connector.sandbox.hubspot.object_types import CONTACTS, AssociationType, ObjectType
from connector.sandbox.hubspot.portal_types import PortalTypes
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Call
from connector.sandbox.hubspot.values import normalised

FORWARD_ONLY = "lifecyclestage"
Row = Mapping[str, Any]
"""A row of a request as it was sent."""
STAGE_PROPERTIES = {"deals": ("pipeline", "dealstage"), "tickets": ("hs_pipeline", "hs_pipeline_stage")}


@dataclass(frozen=True, slots=True)
class Draft:
    """One row to write: `record` is None when it is new, `changes` maps a name to its new text ("" clears)."""

    index: int
    record: Record | None
    sent: tuple[str, ...]
    changes: Mapping[str, str]
    trace: str | None = None
    links: tuple[tuple[AssociationType, int], ...] = ()


@dataclass(slots=True)
class Drafts:
    """The rows of one request: those that can be written, and what is wrong with the others, by index."""

    ready: list[Draft] = field(default_factory=list)
    problems: dict[int, RowProblem] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def row_context(given: Row, record: Record | None = None) -> dict[str, list[str]]:
    """The `context` of a row's error: its trace id and record id as far as there are any."""
    context: dict[str, list[str]] = {}
    if record is not None:
        context["ids"] = [str(record.id)]
    if given.get("objectWriteTraceId") is not None:
        context["objectWriteTraceId"] = [str(given["objectWriteTraceId"])]
    return context


def draft(
    call: Call, kind: ObjectType, index: int, given: Mapping[str, Any], record: Record | None
) -> Draft | RowProblem:
    """One row of a request (`properties`, `associations`, `objectWriteTraceId`), checked by itself."""
    properties = given.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise Refused(400, "Invalid input JSON on line 1, column 1: Cannot deserialize value of type `properties`")
    current = record.properties if record is not None else {}
    changes, problems = _checked_values(call, kind, properties, current)
    if problems:
        return RowProblem(400, VALIDATION, "", row_context(given, record), tuple(problems))
    lacking = [name for name in kind.required if record is None and not changes.get(name)]
    if lacking:
        message = f"Error creating {kind.singular.upper()}. Some required properties were not set."
        return RowProblem(400, VALIDATION, message, row_context(given) | {"properties": lacking})
    unmet = demands.unmet(call, kind, {**current, **changes}, is_new=record is None) if "/2026-09/" in call.path else []
    if unmet:
        return RowProblem(400, VALIDATION, "", row_context(given, record), tuple(unmet))
    links = _checked_links(call.context.database, call.catalog.types, kind, given) if record is None else ()
    if isinstance(links, RowProblem):
        return links
    trace = given.get("objectWriteTraceId")
    return Draft(index, record, tuple(properties), changes, None if trace is None else str(trace), links)


def _checked_values(
    call: Call, kind: ObjectType, properties: Mapping[str, Any], current: Mapping[str, str]
) -> tuple[dict[str, str], list[ValueProblem]]:
    changes: dict[str, str] = {}
    problems: list[ValueProblem] = []
    for name, value in properties.items():
        definition = call.catalog.find(kind.name, name)
        if definition is None:
            problems.append(ValueProblem(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
            continue
        if definition.is_read_only:
            message = f'"{name}" is a read only property; its value cannot be set.'
            problems.append(ValueProblem(name, "READ_ONLY_VALUE", message))
            continue
        text = normalised(definition, value, current.get(name))
        if isinstance(text, ValueProblem):
            problems.append(text)
        elif name != FORWARD_ONLY or not _moves_backward(definition.options, current.get(name), text):
            changes[name] = text
    problems += _wrong_stage(call.context.database, kind, {**current, **changes}, changes)
    return changes, problems


def _moves_backward(options: Sequence[str], current: str | None, text: str) -> bool:
    """True where HubSpot answers success and changes nothing. Clearing is allowed."""
    return bool(text) and current in options and options.index(text) < options.index(current)


def _wrong_stage(
    database: sqlite3.Connection, kind: ObjectType, after: Mapping[str, str], changes: Mapping[str, str]
) -> list[ValueProblem]:
    names = STAGE_PROPERTIES.get(kind.name)
    if names is None or not (changes.get(names[0]) or changes.get(names[1])):
        return []
    stages = pipeline_stages(database, kind.name)
    pipeline, stage = after.get(names[0]) or next(iter(stages), ""), after.get(names[1])
    if stages and pipeline not in stages:
        return [ValueProblem(names[0], "INVALID_OPTION", f"{pipeline} is not a valid pipeline ID")]
    if stages and stage and stage not in stages[pipeline]:
        message = f"{stage} is not a valid pipeline stage ID for pipeline {pipeline}"
        return [ValueProblem(names[1], "INVALID_OPTION", message)]
    return []


def pipeline_stages(database: sqlite3.Connection, object_type: str) -> dict[str, set[str]]:
    """The stage ids of each pipeline of a type."""
    rows = database.execute("SELECT id, body FROM hubspot_pipeline WHERE object_type = ?", (object_type,))
    return {row["id"]: {stage["id"] for stage in orjson.loads(row["body"])["stages"]} for row in rows}


def _checked_links(
    database: sqlite3.Connection, types: PortalTypes, kind: ObjectType, given: Mapping[str, Any]
) -> tuple[tuple[AssociationType, int], ...] | RowProblem:
    links: list[tuple[AssociationType, int]] = []
    for association in given.get("associations") or ():
        to_id = records.as_id((association.get("to") or {}).get("id"))
        for each in association.get("types") or ():
            link = types.link(kind.name, records.as_id(each.get("associationTypeId")) or -1)
            if link is not None and each.get("associationCategory", link.category) != link.category:
                link = None
            if link is None:
                message = f"Association type {each.get('associationTypeId')} is not valid from {kind.singular}"
                return RowProblem(400, VALIDATION, message, row_context(given))
            target = records.fetch(database, types.get(link.to_type), [to_id]) if to_id is not None else {}
            if not any(record.archived_ms is None for record in target.values()):
                message = f"No {link.to_type} record with id {to_id} exists"
                return RowProblem(400, VALIDATION, message, row_context(given))
            links += [(link, record.id) for record in target.values()]
    return tuple(links)


def refuse_taken(call: Call, kind: ObjectType, drafts: Drafts, given: Sequence[Row], *, names_id: bool) -> None:
    """Moves the rows that would give a unique value to a second record from `ready` to `problems`."""
    unique = records.unique_definitions(call.catalog, kind)
    claimed: dict[tuple[str, str], int] = {}
    for each in list(drafts.ready):
        own = each.record.id if each.record is not None else -1 - each.index
        for definition in unique:
            value = each.changes.get(definition.name)
            if not value:
                continue
            form = (definition.name, records.unique_form(definition.name, value))
            holder = claimed.setdefault(form, own)
            if holder == own:
                holder = records.holder(call.context.database, kind, *form) or own
            if holder != own:
                drafts.ready.remove(each)
                drafts.problems[each.index] = _taken(
                    kind, form, holder, row_context(given[each.index], each.record), names_id=names_id
                )
                break


def _taken(
    kind: ObjectType,
    form: tuple[str, str],
    holder: int,
    context: dict[str, list[str]],
    *,
    names_id: bool,
) -> RowProblem:
    name, value = form
    if kind is CONTACTS and name == "email":
        is_told = names_id and holder > 0
        message = f"Contact already exists. Existing ID: {holder}" if is_told else "Contact already exists"
        more = {"existingId": [str(holder)]} if is_told else {}
        return RowProblem(409, CONFLICT, message, context | more)
    coordinates = f"portalId={PORTAL_ID}, objectTypeId={kind.type_id}, propertyName={name}, value={value}"
    message = f"Cannot set PropertyValueCoordinates{{{coordinates}}}. {max(holder, 0)} already has that value."
    problem = ValueProblem(name, "CONFLICTING_UNIQUE_VALUE", message)
    return RowProblem(400, VALIDATION, message, context, (problem,))


def refuse_faulty(call: Call, kind: ObjectType, drafts: Drafts, given: Sequence[Row]) -> dict[int, RowProblem]:
    """Takes the rows that a fault rule hits out of `ready`; these never refuse the other rows of a batch."""
    ids = [str(each.record.id) if each.record is not None else None for each in drafts.ready]
    hit = call.context.faults.record_errors(HUBSPOT, kind.name, ids)
    codes = {ROW_LOCK[0]: "LOCKED", REJECTED[0]: VALIDATION}
    refused: dict[int, RowProblem] = {}
    for position, (code, message) in hit.items():
        each = drafts.ready[position]
        category = codes.get(code, code)
        status = 423 if category == "LOCKED" else 400
        refused[each.index] = RowProblem(status, category, message, row_context(given[each.index], each.record))
    drafts.ready = [each for each in drafts.ready if each.index not in refused]
    return refused
