"""The account itself: details, use of the daily limit, owners, pipelines, schemas.

Sources: https://developers.hubspot.com/docs/api-reference/account-account-info-v3/guide,
https://developers.hubspot.com/docs/api-reference/crm-owners-v3/guide and
https://developers.hubspot.com/docs/api-reference/crm-pipelines-v3/guide
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import orjson

from connector.sandbox.hubspot.access import PORTAL_ID
from connector.sandbox.hubspot.answers import not_found
from connector.sandbox.hubspot.catalog import DEFAULTS_SINCE
from connector.sandbox.hubspot.instants import iso, parse_ms, to_ms
from connector.sandbox.hubspot.limits import used_today
from connector.sandbox.hubspot.object_types import ObjectType
from connector.sandbox.hubspot.records import as_id
from connector.sandbox.hubspot.serving import Answer, Call

OWNER_PAGE = 500
LIFECYCLE_PIPELINE = "contacts-lifecycle-pipeline"

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_owner (
    id INTEGER PRIMARY KEY, email TEXT, archived INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS hubspot_pipeline (
    object_type TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (object_type, id)
);
"""

_DEAL_STAGES = (
    ("appointmentscheduled", "Appointment Scheduled", "0.2"),
    ("qualifiedtobuy", "Qualified To Buy", "0.4"),
    ("presentationscheduled", "Presentation Scheduled", "0.6"),
    ("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
    ("contractsent", "Contract Sent", "0.9"),
    ("closedwon", "Closed Won", "1.0"),
    ("closedlost", "Closed Lost", "0.0"),
)
_TICKET_STAGES = (
    ("1", "New", "OPEN"),
    ("2", "Waiting on contact", "OPEN"),
    ("3", "Waiting on us", "OPEN"),
    ("4", "Closed", "CLOSED"),
)


def _stage(order: int, stage_id: str, label: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    times = {"createdAt": DEFAULTS_SINCE, "updatedAt": DEFAULTS_SINCE, "archived": False}
    return {"id": stage_id, "label": label, "displayOrder": order, "metadata": dict(metadata), **times}


def pipeline_body(pipeline_id: str, label: str, stages: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The body of a pipeline."""
    times = {"createdAt": DEFAULTS_SINCE, "updatedAt": DEFAULTS_SINCE, "archived": False}
    return {"id": pipeline_id, "label": label, "displayOrder": 0, "stages": list(stages), **times}


def default_pipelines() -> dict[str, list[dict[str, Any]]]:
    """The pipelines of a new portal, by object type."""
    deals = [
        _stage(order, name, label, {"isClosed": str(name.startswith("closed")).lower(), "probability": probability})
        for order, (name, label, probability) in enumerate(_DEAL_STAGES)
    ]
    tickets = [
        _stage(order, name, label, {"ticketState": state, "isClosed": str(state == "CLOSED").lower()})
        for order, (name, label, state) in enumerate(_TICKET_STAGES)
    ]
    return {
        "deals": [pipeline_body("default", "Sales Pipeline", deals)],
        "tickets": [pipeline_body("0", "Support Pipeline", tickets)],
    }


def save_pipelines(database: sqlite3.Connection, object_type_name: str, bodies: Iterable[Mapping[str, Any]]) -> None:
    """Write pipelines; one of the same id is replaced. What a body leaves out gets a default."""
    for body in bodies:
        stages = [
            {**_stage(order, str(stage["id"]), str(stage.get("label", stage["id"])), {}), **stage}
            for order, stage in enumerate(body.get("stages") or ())
        ]
        whole = {**pipeline_body(str(body["id"]), str(body.get("label", body["id"])), []), **body, "stages": stages}
        database.execute(
            "INSERT OR REPLACE INTO hubspot_pipeline (object_type, id, body) VALUES (?, ?, ?)",
            (object_type_name, whole["id"], orjson.dumps(whole).decode()),
        )


def save_owners(database: sqlite3.Connection, bodies: Iterable[Mapping[str, Any]]) -> None:
    """Write owners; one of the same id is replaced. What a body leaves out gets a default."""
    for body in bodies:
        number = int(body["id"])
        whole: dict[str, Any] = {
            "type": "PERSON",
            "firstName": "",
            "lastName": "",
            "userId": number,
            "userIdIncludingInactive": number,
            "createdAt": DEFAULTS_SINCE,
            "updatedAt": DEFAULTS_SINCE,
            "archived": False,
            **body,
            "id": str(number),
        }
        database.execute(
            "INSERT OR REPLACE INTO hubspot_owner (id, email, archived, body) VALUES (?, ?, ?, ?)",
            (number, str(whole.get("email", "")).lower(), bool(whole["archived"]), orjson.dumps(whole).decode()),
        )


def list_owners(call: Call) -> Answer:
    """`GET /crm/v3/owners`, by e-mail where asked for."""
    limit = call.limit(100, OWNER_PAGE)
    email = call.one("email").strip().lower()
    rows = call.context.database.execute(
        "SELECT id, body FROM hubspot_owner WHERE archived = ? AND id > ? AND (? = '' OR email = ?)"
        " ORDER BY id LIMIT ?",
        (call.one("archived").lower() == "true", as_id(call.one("after", "0")) or 0, email, email, limit + 1),
    ).fetchall()
    body: dict[str, Any] = {"results": [orjson.loads(row["body"]) for row in rows[:limit]]}
    if len(rows) > limit:
        body["paging"] = call.paging(str(rows[limit - 1]["id"]))
    return Answer(200, body, len(rows[:limit]))


def get_owner(call: Call) -> Answer:
    """`GET /crm/v3/owners/{id}`, by owner id or (`idProperty=userId`) by user id."""
    rows = call.context.database.execute("SELECT body FROM hubspot_owner").fetchall()
    key = "userId" if call.one("idProperty") == "userId" else "id"
    found = next((body for row in rows if str((body := orjson.loads(row["body"]))[key]) == call.parts["id"]), None)
    if found is None:
        raise not_found()
    return Answer(200, found, 1)


def pipelines_of(call: Call) -> list[dict[str, Any]]:
    """The pipelines of the type in the path."""
    kind = call.catalog.types.get(call.parts["type"])
    if kind.name == "contacts":
        return [_lifecycle_pipeline(call, kind)]
    rows = call.context.database.execute(
        "SELECT body FROM hubspot_pipeline WHERE object_type = ? ORDER BY rowid", (kind.name,)
    )
    return [orjson.loads(row["body"]) for row in rows]


def _lifecycle_pipeline(call: Call, kind: ObjectType) -> dict[str, Any]:
    definition = call.catalog.find(kind.name, "lifecyclestage")
    options = definition.body["options"] if definition is not None else []
    stages = [_stage(order, option["value"], option["label"], {}) for order, option in enumerate(options)]
    return pipeline_body(LIFECYCLE_PIPELINE, "Lifecycle Stage Pipeline", stages)


def list_pipelines(call: Call) -> Answer:
    """`GET /crm/v3/pipelines/{type}`."""
    results = pipelines_of(call)
    return Answer(200, {"results": results}, len(results))


def list_old_pipelines(call: Call) -> Answer:
    """`GET /crm-pipelines/v1/pipelines/{type}`, in the shape of that time: its own names, times in milliseconds."""
    kind = call.catalog.types.get(call.parts["type"])
    results = [
        {
            "pipelineId": each["id"],
            "objectType": kind.singular.upper(),
            "default": each["id"] in ("default", "0"),
            "stages": [
                {"stageId": stage["id"], **_old(stage), "metadata": stage["metadata"]} for stage in each["stages"]
            ],
            **_old(each),
        }
        for each in pipelines_of(call)
    ]
    return Answer(200, {"results": results}, len(results))


def _old(body: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: parse_ms(body[name]) for name in ("createdAt", "updatedAt")}
    return {"label": body["label"], "displayOrder": body["displayOrder"], "active": not body["archived"], **times}


def list_users(call: Call) -> Answer:
    """`GET /settings/v3/users`: those who may sign in."""
    limit = call.limit(100, 100)
    start = as_id(call.one("after", "0")) or 0
    rows = call.context.database.execute(
        "SELECT id, body FROM hubspot_owner WHERE archived = 0 AND id > ? ORDER BY id LIMIT ?", (start, limit + 1)
    ).fetchall()
    owners = [orjson.loads(row["body"]) for row in rows[:limit]]
    results = [_user(each) for each in owners]
    body: dict[str, Any] = {"results": results}
    if len(rows) > limit:
        body["paging"] = call.paging(str(owners[-1]["id"]))
    return Answer(200, body, len(results))


def get_user(call: Call) -> Answer:
    """`GET /settings/v3/users/{id}`, with `?idProperty=EMAIL` by the address."""
    name = "email" if call.one("idProperty").upper() == "EMAIL" else "userId"
    row = call.context.database.execute(
        f"SELECT body FROM hubspot_owner WHERE archived = 0 AND CAST(json_extract(body, '$.{name}') AS TEXT) = ?",
        (call.parts["id"],),
    ).fetchone()
    if row is None:
        raise not_found()
    return Answer(200, _user(orjson.loads(row["body"])), 1)


def _user(owner: dict[str, Any]) -> dict[str, Any]:
    known = {name: owner[name] for name in ("firstName", "lastName", "email")}
    return {"id": str(owner["userId"]), "superAdmin": False, "roleIds": [], **known}


def pipeline_of(call: Call) -> dict[str, Any]:
    """The pipeline in the path; 404 where there is none."""
    found = next((each for each in pipelines_of(call) if each["id"] == call.parts["id"]), None)
    if found is None:
        raise not_found()
    return found


def get_pipeline(call: Call) -> Answer:
    """`GET /crm/v3/pipelines/{type}/{id}`."""
    return Answer(200, pipeline_of(call), 1)


def list_stages(call: Call) -> Answer:
    """`GET /crm/v3/pipelines/{type}/{id}/stages`."""
    return Answer(200, {"results": pipeline_of(call)["stages"]})


def details(_: Call) -> Answer:
    """`GET /account-info/v3/details`."""
    return Answer(
        200,
        {
            "portalId": PORTAL_ID,
            "accountType": "STANDARD",
            "timeZone": "UTC",
            "companyCurrency": "EUR",
            "additionalCurrencies": [],
            "utcOffset": "+00:00",
            "utcOffsetMilliseconds": 0,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        },
    )


def daily_use(call: Call) -> Answer:
    """`GET /account-info/v3/api-usage/daily/private-apps`."""
    now = call.context.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    row = {
        "name": "private-apps-api-calls-daily",
        "usageLimit": call.context.settings.hubspot_calls_per_day,
        "currentUsage": used_today(call.context),
        "collectedAt": iso(to_ms(now)),
        "fetchStatus": "SUCCESS",
        "resetsAt": iso(to_ms(midnight)),
    }
    return Answer(200, {"results": [row]}, 1)
