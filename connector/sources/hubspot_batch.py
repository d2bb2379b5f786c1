"""Writing fields with batch/update, and reading back what became of them.

What HubSpot does, and what follows (sections "Batch" of its CRM documentation, and issues of its client libraries):

- At most 100 inputs, no id twice: changes of one record travel as one input, and each still gets its outcome (if the
  input is refused, each is sent alone).
- 207 means that some rows failed; each error names its rows by id or by the `objectWriteTraceId` that we sent.
- Values are held against the property definitions first (`hubspot_values`). A refusal of the whole (400) is narrowed down
  by halves.
- A lifecycle stage does not move backward: such a write is accepted and changes nothing. Cleared in a request before, it
  can be set (HubSpot community "Update lifecycle stage using API"); a batch has no order. Only where configured.
- 200 is no proof (hubspot-api-nodejs issues 26 and 548): rows may be missing and values unchanged, such as a lifecycle
  stage moved backward. So the returned values are compared with those sent, and what is not returned is read.
- Results come in any order. An update whose answer was lost is looked up, not repeated: a workflow would run twice, and
  somebody's edit since be written over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from connector.errors import ConnectorError, MissingPermission, ProtocolError, RecordRejected, SystemUnavailable
from connector.model import Change, Found, Outcome, Result, Value
from connector.sources.hubspot_client import GONE, Api, Json, named, results, told
from connector.sources.hubspot_properties import field_schema
from connector.sources.hubspot_search import instant_ms
from connector.sources.hubspot_values import LIFECYCLE, Definitions, dated, goes_back, refusal

BATCH_SIZE = 100
SILENT_NO_OP = "SILENT_NO_OP"
IS_GONE = "the record is gone or was merged into another"
MISSING_SCOPES = "MISSING_SCOPES"

#: What a row's error means, by its category. Any other is a refusal.
RESULT_OF: Mapping[str, Result] = {
    "OBJECT_NOT_FOUND": Result.CONFLICT,
    "RATE_LIMITS": Result.RETRY,
    "RATE_LIMIT": Result.RETRY,
    "LOCKED": Result.RETRY,
    "INTERNAL_ERROR": Result.UNKNOWN,
}


def native_value(value: Value) -> str:
    """A value as HubSpot takes it: text; numbers as plain decimals, booleans as true and false, nothing as ""."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)).normalize(), "f")
    return str(value)


def is_same(sent: str, held: str | None) -> bool:
    """Whether a returned value is the one sent, in whichever notation: 66 or 66.0, instants as text or milliseconds."""
    if sent == held:
        return True
    shown = (held or "").strip()
    if sent.strip() == shown:
        return True
    if not sent or not shown:
        return False
    try:
        return Decimal(sent) == Decimal(shown)
    except InvalidOperation:
        stamp = instant_ms(sent)
        return stamp is not None and stamp == instant_ms(shown)


def by_object(changes: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    """The changes of fields, by object type."""
    fields = [change for change in changes if change.task is None]
    for object_type in dict.fromkeys(change.object_type for change in fields):
        yield object_type, [change for change in fields if change.object_type == object_type]


def update(
    api: Api, object_type: str, changes: Sequence[Change], definitions: Definitions, *, moves_back: bool = False
) -> Iterator[Outcome]:
    """Deliver changes of fields of one object type; `moves_back` lets lifecycle stages go backward.

    Raises AuthError and QuotaExhausted for what was not sent.
    """
    known: Mapping[str, Json] | None = None
    try:
        known = definitions.of(object_type)
    except SystemUnavailable as error:
        yield from (unread(change, "properties", error) for change in changes)
        return
    except (MissingPermission, RecordRejected):
        known = None  # they may be hidden from us and writable all the same: HubSpot judges the values
    sound, stages = list(changes), dict[str, tuple[str, str]]()
    if known is not None:
        wrong = _refusals(changes, known)
        if wrong and definitions.is_old(object_type):
            definitions.forget()
            known = definitions.of(object_type)
            wrong = _refusals(changes, known)
        yield from wrong.values()
        sound = [dated(change, known) for change in changes if change.key not in wrong]
        back = [change for change in sound if moves_back and goes_back(change, known)]
        _set_lifecycle(api, object_type, {change.native_id: "" for change in back})
        stages = {change.key: (change.native_id, native_value(change.before[LIFECYCLE])) for change in back}
    if sound:
        to_put_back: dict[str, str] = {}
        for outcome in _sent(api, object_type, sound):
            if outcome.result is Result.REJECTED and outcome.key in stages:
                record_id, before = stages[outcome.key]
                to_put_back[record_id] = before
            yield outcome
        _set_lifecycle(api, object_type, to_put_back)


def _refusals(changes: Sequence[Change], known: Mapping[str, Json]) -> dict[str, Outcome]:
    """The outcomes of the changes that the portal would not take, by key."""
    names = {name for each in changes for name in each.fields if name in known}
    fields = {name: field_schema(known[name]) for name in names}
    return {each.key: told for each in changes if (told := refusal(each, _texts(each), fields)) is not None}


def _set_lifecycle(api: Api, object_type: str, stages: Mapping[str, str]) -> None:
    """Set the lifecycle stage of records by their ids: "" is the first of the two steps of a move backward, and where the
    second is refused, the stage that was there is put back. Where the first fails, the second changes nothing, as it tells.
    """
    inputs = [{"id": each, "properties": {LIFECYCLE: to}, "objectWriteTraceId": each} for each, to in stages.items()]
    if inputs:
        with suppress(SystemUnavailable, MissingPermission, RecordRejected):
            api.batch(object_type, "update", {"inputs": inputs})


def _sent(api: Api, object_type: str, changes: Sequence[Change]) -> Iterator[Outcome]:
    todo = [list(changes)]
    while todo:
        part = todo.pop()
        try:
            answer = api.batch(object_type, "update", {"inputs": _inputs(part)})
            rows = results(answer)
        except RecordRejected as error:
            halves = _halves(part)
            todo += halves
            if not halves:
                yield from (failed(change, error) for change in part)
        except (SystemUnavailable, MissingPermission, ProtocolError) as error:
            yield from (failed(change, error) for change in part)
        else:
            outcomes = list(_settled(api, object_type, part, rows, answer.get("errors") or ()))
            alone = _to_send_alone(part, {outcome.key: outcome for outcome in outcomes})
            todo += _without_company(alone)
            again = {change.key for change in alone}
            yield from (outcome for outcome in outcomes if outcome.key not in again)


def _halves(part: Sequence[Change]) -> list[list[Change]]:
    """Two parts of what was refused as a whole, the changes of one record together; of one record alone each by itself."""
    records = list(dict.fromkeys(change.native_id for change in part))
    if len(records) == 1:
        return _without_company(part) if len(part) > 1 else []
    first = set(records[: len(records) // 2])
    return [
        [change for change in part if change.native_id in first],
        [change for change in part if change.native_id not in first],
    ]


def _to_send_alone(part: Sequence[Change], outcomes: Mapping[str, Outcome]) -> list[Change]:
    """Changes that were refused in one input with others of their record: only alone does it show which one is bad."""
    companions = Counter(change.native_id for change in part)
    return [
        change
        for change in part
        if companions[change.native_id] > 1
        and outcomes[change.key].result is Result.REJECTED
        and outcomes[change.key].code != SILENT_NO_OP
    ]


def _without_company(changes: Sequence[Change]) -> list[list[Change]]:
    """The changes in parts that hold no record twice."""
    parts: list[dict[str, Change]] = []
    for change in changes:
        free = next((part for part in parts if change.native_id not in part), None)
        if free is None:
            free = {}
            parts.append(free)
        free[change.native_id] = change
    return [list(part.values()) for part in parts]


def failed(change: Change, error: ConnectorError) -> Outcome:
    """The outcome of a change whose request failed as a whole."""
    result = Result.REJECTED
    if isinstance(error, SystemUnavailable):
        result = Result.UNKNOWN if error.sent else Result.RETRY
    elif isinstance(error, ProtocolError):
        result = Result.UNKNOWN
    code = error.code if isinstance(error, RecordRejected) else ""
    if isinstance(error, MissingPermission):
        code = MISSING_SCOPES
    fields = error.fields if isinstance(error, RecordRejected) else ()
    return Outcome(change.key, result, None, code, str(error), error.hint, error.request_id, fields=fields)


def unread(change: Change, what: str, error: ConnectorError) -> Outcome:
    """The outcome of a change that was not sent, since what decides how it is sent could not be read."""
    if isinstance(error, SystemUnavailable):
        return Outcome(change.key, Result.RETRY, message=f"could not read the {what}: {error}", hint=error.hint)
    return failed(change, error)


def refused(change: Change, error: Json) -> Outcome:
    """The outcome of a change from the error of its row in a 207 answer."""
    category = str(error.get("category") or "")
    inner = error.get("errors") or ()
    code = str(inner[0].get("code") or category) if inner and isinstance(inner[0], dict) else category
    taken_by = ", ".join(str(each) for each in (error.get("context") or {}).get("existingId") or ())
    return Outcome(
        change.key,
        RESULT_OF.get(category, Result.REJECTED),
        code=code,
        message=str(error.get("message") or code),
        hint=f"record {taken_by} has this value, which is unique: merge the two, or correct one" if taken_by else "",
        fields=named(error),
    )


def errors_by_row(errors: Sequence[Json]) -> dict[str, Json]:
    """The errors of a 207 answer by the row they speak of: its id, or the trace id that it was sent with."""
    found: dict[str, Json] = {}
    for error in errors:
        context = error.get("context") or {}
        for row in (*(context.get("objectWriteTraceId") or ()), *(context.get("ids") or ())):
            found.setdefault(str(row), error)
    return found


def _texts(change: Change) -> dict[str, str]:
    return {name: native_value(value) for name, value in change.fields.items()}


def _inputs(changes: Sequence[Change]) -> list[Json]:
    merged: dict[str, dict[str, str]] = {}
    for change in changes:
        merged.setdefault(change.native_id, {}).update(_texts(change))
    return [
        {"id": record_id, "properties": values, "objectWriteTraceId": record_id} for record_id, values in merged.items()
    ]


def _settled(
    api: Api, object_type: str, changes: Sequence[Change], rows: Sequence[Any], errors: Sequence[Json]
) -> Iterator[Outcome]:
    returned = {str(row["id"]): row["properties"] for row in rows if isinstance(row, dict) and row.get("properties")}
    of_row = errors_by_row(errors)
    unconfirmed: list[Change] = []
    for change in changes:
        if change.native_id in of_row:
            yield refused(change, of_row[change.native_id])
        elif returned.get(change.native_id, {}).keys() >= change.fields.keys():
            yield _compared(change, returned[change.native_id])
        else:
            unconfirmed.append(change)
    if unconfirmed:
        nameless = [error for error in errors if not errors_by_row([error])]
        yield from _confirmed(api, object_type, unconfirmed, nameless)


def _confirmed(api: Api, object_type: str, changes: Sequence[Change], nameless: Sequence[Json]) -> Iterator[Outcome]:
    """Outcomes of changes that the answer did not speak of, from what the system holds now; `nameless` are the errors that
    tell no row, so that one of them is the cause where a value is not there."""
    try:
        found = find(api, object_type, changes)
    except ConnectorError as error:
        for change in changes:
            yield Outcome(change.key, Result.UNKNOWN, message=f"not confirmed by the answer, nor readable: {error}")
        return
    for change, held in zip(changes, found, strict=True):
        if held.values is None:
            yield Outcome(
                change.key,
                Result.CONFLICT,
                code=GONE,
                message=IS_GONE,
                hint="it is read again with the next pull",
            )
        else:
            told = _compared(change, held.values)
            yield refused(change, nameless[0]) if nameless and told.result is Result.REJECTED else told


def _compared(change: Change, held: Mapping[str, Any]) -> Outcome:
    unlike = [name for name, value in change.fields.items() if not is_same(native_value(value), held.get(name))]
    if not unlike:
        return Outcome(change.key, Result.ACCEPTED)
    return Outcome(
        change.key,
        Result.REJECTED,
        code=SILENT_NO_OP,
        message=f"HubSpot accepted the call and did not change {', '.join(sorted(unlike))}",
        hint="a lifecycle stage moves backward only with `lifecycle_backward = true`, and a workflow or a rule of the portal may set"
        " a value back",
        fields=tuple(unlike),
    )


def find(api: Api, object_type: str, changes: Sequence[Change]) -> list[Found]:
    """What the system holds for changes of fields of one object type; a merged or deleted record holds nothing."""
    names = sorted({name for change in changes for name in change.fields})
    held = read(api, object_type, [change.native_id for change in changes], names)
    return [
        Found(
            change.key,
            values=None
            if change.native_id not in held
            else {name: held[change.native_id].get(name) for name in change.fields},
        )
        for change in changes
    ]


def read(
    api: Api, object_type: str, ids: Sequence[str], properties: Sequence[str], id_property: str | None = None
) -> dict[str, Json]:
    """Properties of records by their ids, or by a unique property; those that are gone are absent. Raises Untold where one is
    not told for another reason."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Json] = {}
    for start in range(0, len(wanted), BATCH_SIZE):
        body: Json = {
            "inputs": [{"id": each} for each in wanted[start : start + BATCH_SIZE]],
            "properties": list(properties),
        }
        if id_property is not None:
            body["idProperty"] = id_property
        for row in told(api.batch(object_type, "read", body), object_type):
            key = row["properties"].get(id_property) if id_property is not None else row["id"]
            found[str(key)] = row["properties"] | {"hs_object_id": str(row["id"])}
    return found
