"""What older connectors read beside records: forms, mailings, changes of subscriptions, deal pipelines, workflows. Read only.

Sources: https://legacydocs.hubspot.com/docs/methods/forms/v2/get_forms, .../email/get_campaigns_by_id, .../email/get_campaign_data,
.../email/get_subscriptions_timeline, .../deal-pipelines/get-all-deal-pipelines, .../workflows/v3/get_workflows; that these are
still asked for is from the source of a connector (tap-hubspot).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from connector.sandbox.hubspot.access import PORTAL_ID
from connector.sandbox.hubspot.account import pipelines_of
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.instants import parse_ms
from connector.sandbox.hubspot.marketing import EMAIL_EVENT_PAGE, list_email_events
from connector.sandbox.hubspot.older_subscriptions import definitions
from connector.sandbox.hubspot.records import as_id
from connector.sandbox.hubspot.serving import Answer, Call

CAMPAIGN_PAGE = 500
APP_NAME = "Batch"
_CAMPAIGN = "json_extract(body, '$.emailCampaignId')"
_FIELD_TYPES = {"email": "text", "single_line_text": "text", "multi_line_text": "textarea", "dropdown": "select"}


def list_forms(call: Call) -> Answer:
    """`GET /forms/v2/forms`: the bare list."""
    rows = call.context.database.execute("SELECT body FROM hubspot_form ORDER BY guid").fetchall()
    return Answer(200, [_form(orjson.loads(row["body"])) for row in rows], len(rows))


def get_form(call: Call) -> Answer:
    """`GET /forms/v2/forms/{guid}`."""
    row = call.context.database.execute("SELECT body FROM hubspot_form WHERE guid = ?", (call.parts["id"],)).fetchone()
    if row is None:
        raise not_found()
    return Answer(200, _form(orjson.loads(row["body"])), 1)


def _form(body: Mapping[str, Any]) -> dict[str, Any]:
    groups = [
        {
            "fields": [_field(each, order) for order, each in enumerate(group.get("fields") or ())],
            "default": True,
            "isSmartGroup": False,
        }
        for group in body["fieldGroups"]
    ]
    return {
        "portalId": PORTAL_ID, "guid": body["id"], "name": body["name"], "action": "", "method": "POST", "cssClass": "",
        "redirect": "", "submitText": "Submit", "followUpId": "", "notifyRecipients": "", "leadNurturingCampaignId": "",
        "formFieldGroups": groups, "createdAt": parse_ms(body["createdAt"]), "updatedAt": parse_ms(body["updatedAt"]),
        "deletable": True, "deletedAt": 0, "isPublished": True, "formType": body["formType"].upper(),
    }  # fmt: skip


def _field(each: Mapping[str, Any], order: int) -> dict[str, Any]:
    return {
        "name": each["name"], "label": each["label"], "type": "string",
        "fieldType": _FIELD_TYPES.get(str(each.get("fieldType")), "text"), "description": "", "groupName": "contactinformation",
        "displayOrder": order, "required": bool(each.get("required")), "selectedOptions": [], "options": [], "enabled": True,
        "hidden": bool(each.get("hidden")), "defaultValue": "", "isSmartField": False, "unselectedLabel": "", "placeholder": "",
    }  # fmt: skip


def list_campaigns(call: Call) -> Answer:
    """`GET /email/public/v1/campaigns/by-id`, and `/campaigns`: the mailings that have events, by id."""
    limit, after = call.limit(20, CAMPAIGN_PAGE), as_id(call.one("offset", "0"))
    if after is None:
        raise Refused(400, f"Could not read the offset {call.one('offset')[:100]}")
    rows = call.context.database.execute(
        f"SELECT {_CAMPAIGN} AS id, json_extract(body, '$.appId') AS app, max(created_ms) AS at FROM hubspot_email_event"
        f" WHERE {_CAMPAIGN} > ? GROUP BY id, app ORDER BY id LIMIT ?",
        (after, limit + 1),
    ).fetchall()
    shown = [{"id": row["id"], "appId": row["app"], "appName": APP_NAME, "lastUpdatedTime": row["at"]} for row in rows]
    offset = str(shown[limit - 1]["id"]) if len(rows) > limit else str(after)
    return Answer(200, {"hasMore": len(rows) > limit, "offset": offset, "campaigns": shown[:limit]}, len(shown[:limit]))


def get_campaign(call: Call) -> Answer:
    """`GET /email/public/v1/campaigns/{id}`: the mailing with the counts of its events."""
    number = as_id(call.parts["id"])
    rows = call.context.database.execute(
        f"SELECT lower(type) AS type, count(*) AS n, max(body) AS body FROM hubspot_email_event WHERE {_CAMPAIGN} = ? GROUP BY type",
        (number,),
    ).fetchall()
    if not rows:
        raise not_found()
    one = orjson.loads(rows[0]["body"])
    counters = {row["type"]: row["n"] for row in rows}
    subject = one.get("subject")
    body = {
        "appId": one["appId"], "appName": APP_NAME, "contentId": number, "counters": counters, "id": number, "name": subject,
        "numIncluded": counters.get("sent", 0), "numQueued": 0, "subType": "", "subject": subject, "type": "BATCH_EMAIL",
    }  # fmt: skip
    return Answer(200, body, 1)


def list_mailings(call: Call) -> Answer:
    """`GET /marketing-emails/v1/emails/with-statistics`: the mailings that have events, with their counts."""
    campaigns = list_campaigns(call)
    objects = []
    for each in campaigns.body["campaigns"]:
        one = get_campaign(
            Call(call.context, call.catalog, call.path, call.url, {"id": str(each["id"])}, call.query)
        ).body
        objects.append(
            {
                "id": each["id"], "name": one["name"], "subject": one["subject"], "portalId": PORTAL_ID, "state": "PUBLISHED",
                "primaryEmailCampaignId": each["id"], "created": each["lastUpdatedTime"], "updated": each["lastUpdatedTime"],
                "isPublished": True, "archived": False, "stats": {"counters": one["counters"]},
            }
        )  # fmt: skip
    page = {"total": len(objects), "limit": len(objects), "offset": 0, "objects": objects}
    return Answer(200, page, len(objects))


def list_subscription_kinds(call: Call) -> Answer:
    """`GET /email/public/v1/subscriptions`: the kinds of mail that people can subscribe to."""
    known = definitions(call).body["subscriptionDefinitions"]
    shown = [
        {
            "id": int(each["id"]), "portalId": PORTAL_ID, "name": each["name"], "description": each["description"],
            "active": each["isActive"], "internal": each["isInternal"], "order": order, "channel": "Email",
            "category": each["purpose"], "internalName": each["name"].upper().replace(" ", "_"),
        }
        for order, each in enumerate(known)
    ]  # fmt: skip
    return Answer(200, {"subscriptionDefinitions": shown}, len(shown))


def subscriptions_timeline(call: Call) -> Answer:
    """`GET /email/public/v1/subscriptions/timeline`: who changed what they want to get, newest first."""
    query = {**call.query, "eventType": ["STATUSCHANGE"], "limit": [str(call.limit(10, EMAIL_EVENT_PAGE))]}
    changes = list_email_events(Call(call.context, call.catalog, call.path, call.url, call.parts, query)).body
    timeline = [_change(each) for each in changes["events"]]
    return Answer(
        200, {"hasMore": changes["hasMore"], "offset": changes["offset"], "timeline": timeline}, len(timeline)
    )


def _change(event: Mapping[str, Any]) -> dict[str, Any]:
    change = {
        "change": event.get("portalSubscriptionStatus", "UNSUBSCRIBED"), "timestamp": event["created"],
        "source": event.get("source", "SOURCE_RECIPIENT"), "portalId": PORTAL_ID, "changeType": "PORTAL_STATUS",
        "causedByEvent": {"id": event["id"], "created": event["created"]},
    }  # fmt: skip
    return {"timestamp": event["created"], "portalId": PORTAL_ID, "recipient": event["recipient"], "changes": [change]}


def list_deal_pipelines(call: Call) -> Answer:
    """`GET /deals/v1/pipelines`: the bare list."""
    deals = Call(call.context, call.catalog, call.path, call.url, {"type": "deals"}, call.query)
    shown = [
        {
            "pipelineId": each["id"], "label": each["label"], "active": not each["archived"], "displayOrder": each["displayOrder"],
            "staticDefault": each["id"] == "default", "stages": [_stage(stage) for stage in each["stages"]],
        }
        for each in pipelines_of(deals)
    ]  # fmt: skip
    return Answer(200, shown, len(shown))


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    probability = float(stage["metadata"].get("probability") or 0)
    return {
        "stageId": stage["id"], "label": stage["label"], "probability": probability, "active": not stage["archived"],
        "displayOrder": stage["displayOrder"], "closedWon": probability == 1.0,
    }  # fmt: skip


def list_workflows(_: Call) -> Answer:
    """`GET /automation/v3/workflows`: the portal has none that the API shows."""
    return Answer(200, {"workflows": []})
