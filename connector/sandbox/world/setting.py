"""What the vendor's admins set up in HubSpot: pipelines with their default stages, and the custom properties."""

from __future__ import annotations

from connector.sandbox.world.marks import DAY_S, hubspot_time
from connector.sandbox.world.model import Row
from connector.sandbox.world.portal import Portal

#: Default sales pipeline (stage id, label, probability) and support pipeline (stage id, label, state) of a new portal.
DEAL_STAGES = (
    ("appointmentscheduled", "Appointment Scheduled", "0.2"), ("qualifiedtobuy", "Qualified To Buy", "0.4"),
    ("presentationscheduled", "Presentation Scheduled", "0.6"),
    ("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
    ("contractsent", "Contract Sent", "0.9"), ("closedwon", "Closed Won", "1.0"), ("closedlost", "Closed Lost", "0.0"),
)  # fmt: skip
TICKET_STAGES = (
    ("1", "New", "OPEN"),
    ("2", "Waiting on contact", "OPEN"),
    ("3", "Waiting on us", "OPEN"),
    ("4", "Closed", "CLOSED"),
)

#: Contact properties that no new portal has: traces of web and app, and the vendor's own numbers.
CUSTOM_CONTACT_PROPERTIES = (
    ("web_cookie", "Web cookie"), ("push_device_id", "Push device id"), ("customer_number", "Customer number"),
    ("app_user_id", "App user id"),
)  # fmt: skip


def set_up(portal: Portal, today: int) -> None:
    """Define pipelines and custom properties."""
    since = hubspot_time(today - 1900 * DAY_S)
    deal_stages = [
        (stage, label, {"isClosed": "true" if stage.startswith("closed") else "false", "probability": probability})
        for stage, label, probability in DEAL_STAGES
    ]
    ticket_stages = [
        (stage, label, {"isClosed": "true" if state == "CLOSED" else "false", "ticketState": state})
        for stage, label, state in TICKET_STAGES
    ]
    portal.world.pipelines = {
        "deals": [_pipeline("default", "Sales Pipeline", deal_stages, since)],
        "tickets": [_pipeline("0", "Support Pipeline", ticket_stages, since)],
    }
    portal.world.properties = {
        "contacts": [
            {
                "name": name, "label": label, "type": "string", "fieldType": "text", "groupName": "contactinformation",
                "description": "",
                "options": [], "hasUniqueValue": False, "formField": name == "web_cookie",
            }
            for name, label in CUSTOM_CONTACT_PROPERTIES
        ]
        + [
            {
                "name": "hs_email_bad_address", "label": "Invalid email address", "type": "bool",
                "fieldType": "booleancheckbox",
                "groupName": "emailinformation", "description": "", "hasUniqueValue": False, "formField": False,
                "options": [{"label": "Yes", "value": "true"}, {"label": "No", "value": "false"}],
            }
        ]
    }  # fmt: skip


def _pipeline(pipeline_id: str, label: str, stages: list[tuple[str, str, Row]], since: str) -> Row:
    return {
        "id": pipeline_id, "label": label, "displayOrder": 0, "archived": False, "createdAt": since, "updatedAt": since,
        "stages": [
            {"id": stage, "label": name, "displayOrder": order, "metadata": metadata, "archived": False,
             "createdAt": since, "updatedAt": since}
            for order, (stage, name, metadata) in enumerate(stages)
        ],
    }  # fmt: skip
