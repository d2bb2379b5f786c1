"""Pipelines and their stages made, changed and removed. Those of contacts follow from the lifecycle property.

Source: https://developers.hubspot.com/docs/api-reference/crm-pipelines-v3/guide
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import account
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.serving import Answer, Call, json_object

WITH_PIPELINES = ("deals", "tickets")
CHANGEABLE = ("label", "displayOrder", "metadata")
_FIRST_ID = 70_000_001


def create_pipeline(call: Call) -> Answer:
    """`POST /crm/v3/pipelines/{type}` with `label`, `displayOrder` and at least one stage -> 201."""
    kind, given = _kind(call), json_object(call.body)
    _demand(given, "label", "displayOrder", "stages")
    if any(each["label"] == given["label"] for each in account.pipelines_of(call)):
        raise Refused(409, f"A pipeline labelled {str(given['label'])[:100]} exists already.", "CONFLICT")
    number = _next_id(call)
    stages = [_stage(call, kind, each, str(number + 1 + at)) for at, each in enumerate(given["stages"])]
    body = account.pipeline_body(str(number), str(given["label"]), stages)
    body |= {"displayOrder": given["displayOrder"], **_times(call)}
    return Answer(201, _kept(call, kind, body), 1)


def update_pipeline(call: Call) -> Answer:
    """`PATCH .../{id}`: label and order. `PUT` replaces the stages, too."""
    kind, given = _kind(call), json_object(call.body)
    body = account.pipeline_of(call) | {name: given[name] for name in ("label", "displayOrder") if name in given}
    if call.method == "PUT":
        _demand(given, "label", "displayOrder", "stages")
        number = _next_id(call)
        body["stages"] = [_stage(call, kind, each, str(number + at)) for at, each in enumerate(given["stages"])]
    return Answer(200, _kept(call, kind, body | {"updatedAt": iso(call.now_ms)}), 1)


def delete_pipeline(call: Call) -> Answer:
    """`DELETE .../{id}` -> 204; with `validateReferencesBeforeDelete=true` not while a record is in it."""
    kind, body = _kind(call), account.pipeline_of(call)
    if call.one("validateReferencesBeforeDelete").lower() == "true":
        _demand_unused(call, kind, "pipeline" if kind.name == "deals" else "hs_pipeline", body["id"])
    with transaction(call.context.database) as database:
        database.execute("DELETE FROM hubspot_pipeline WHERE object_type = ? AND id = ?", (kind.name, body["id"]))
    return Answer(204)


def get_stage(call: Call) -> Answer:
    """`GET .../{id}/stages/{stage}`."""
    return Answer(200, _found(account.pipeline_of(call), call.parts["stage"]), 1)


def create_stage(call: Call) -> Answer:
    """`POST .../{id}/stages` with `label`, `displayOrder`, `metadata` -> 201."""
    kind, body = _kind(call), account.pipeline_of(call)
    stage = _stage(call, kind, json_object(call.body), str(_next_id(call)))
    _kept(call, kind, body | {"stages": [*body["stages"], stage]})
    return Answer(201, stage, 1)


def update_stage(call: Call) -> Answer:
    """`PATCH` and `PUT .../{id}/stages/{stage}`."""
    kind, body, given = _kind(call), account.pipeline_of(call), json_object(call.body)
    stage = _found(body, call.parts["stage"])
    changed = stage | {name: given[name] for name in CHANGEABLE if name in given} | {"updatedAt": iso(call.now_ms)}
    _demand_metadata(kind, changed["metadata"])
    _kept(call, kind, body | {"stages": [changed if each is stage else each for each in body["stages"]]})
    return Answer(200, changed, 1)


def delete_stage(call: Call) -> Answer:
    """`DELETE .../{id}/stages/{stage}` -> 204."""
    kind, body = _kind(call), account.pipeline_of(call)
    stage = _found(body, call.parts["stage"])
    _kept(call, kind, body | {"stages": [each for each in body["stages"] if each is not stage]})
    return Answer(204)


def _kind(call: Call) -> ObjectType:
    kind = call.catalog.types.get(call.parts["type"])
    if kind.name not in WITH_PIPELINES:
        raise Refused(400, f"The pipelines of {kind.name} cannot be changed.")
    return kind


def _demand(given: Mapping[str, Any], *names: str) -> None:
    lacking = [name for name in names if given.get(name) in (None, "", [])]
    if lacking:
        raise Refused(400, f"Some required fields were not set: [{', '.join(lacking)}]", context={"fields": lacking})


def _stage(call: Call, kind: ObjectType, given: Mapping[str, Any], number: str) -> dict[str, Any]:
    _demand(given, "label", "displayOrder")
    metadata = dict(given.get("metadata") or {})
    _demand_metadata(kind, metadata)
    if kind.name == "deals":
        metadata.setdefault("isClosed", str(float(metadata["probability"]) in (0.0, 1.0)).lower())
    named = {"id": number, "label": str(given["label"]), "displayOrder": given["displayOrder"]}
    return {**named, "metadata": metadata, "archived": False, **_times(call)}


def _demand_metadata(kind: ObjectType, metadata: Mapping[str, Any]) -> None:
    if kind.name == "tickets":
        is_right = metadata.get("ticketState", "OPEN") in ("OPEN", "CLOSED")
    else:
        text = str(metadata.get("probability") or "")
        is_right = text.replace(".", "", 1).isdigit() and 0 <= float(text) <= 1
    if not is_right:
        raise Refused(400, "metadata needs a probability between 0.0 and 1.0, or a ticketState OPEN or CLOSED.")


def _demand_unused(call: Call, kind: ObjectType, name: str, value: str) -> None:
    statement = f"SELECT id FROM {kind.table} WHERE archived_ms IS NULL AND json_extract(properties, '$.{name}') = ?"
    used = [str(row["id"]) for row in call.context.database.execute(f"{statement} LIMIT 10", (value,))]
    if used:
        raise Refused(
            400, "The pipeline is in use.", sub_category="PipelineError.STAGE_ID_IN_USE", context={"id": used}
        )


def _found(body: Mapping[str, Any], stage_id: str) -> dict[str, Any]:
    found: Sequence[dict[str, Any]] = [each for each in body["stages"] if each["id"] == stage_id]
    if not found:
        raise not_found()
    return found[0]


def _times(call: Call) -> dict[str, str]:
    return {"createdAt": iso(call.now_ms), "updatedAt": iso(call.now_ms)}


def _next_id(call: Call) -> int:
    """Above the ids of all pipelines and stages that were made here."""
    rows = call.context.database.execute(
        "SELECT id FROM hubspot_pipeline UNION ALL"
        " SELECT json_extract(value, '$.id') FROM hubspot_pipeline, json_each(body, '$.stages')"
    )
    return max([_FIRST_ID - 1, *(int(row[0]) for row in rows if str(row[0]).isdigit())]) + 1


def _kept(call: Call, kind: ObjectType, body: dict[str, Any]) -> dict[str, Any]:
    with transaction(call.context.database) as database:
        account.save_pipelines(database, kind.name, [body])
    return body
