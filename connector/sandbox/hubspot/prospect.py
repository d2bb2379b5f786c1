"""What a prospect does: fills in a form, looks at a page, logs in, clicks in an e-mail, books a meeting.

HubSpot then keeps the submission or event, makes the contact where its e-mail is new, and moves the contact's counters.
Source: https://knowledge.hubspot.com/properties/hubspots-default-contact-properties (what the counters mean)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import orjson

from connector.sandbox.context import Context
from connector.sandbox.database import transaction
from connector.sandbox.hubspot import linking, marketing, portal_work, records
from connector.sandbox.hubspot.access import APP_USER_ID, issue_private_token
from connector.sandbox.hubspot.catalog import catalog_of
from connector.sandbox.hubspot.drafting import Draft
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import BY_NAME, CONTACTS
from connector.sandbox.hubspot.property_api import allow_unique_on_activities
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Call, Source
from connector.sandbox.hubspot.values import normalised
from connector.sandbox.hubspot.writing import save

PAGE_VIEW_EVENT = "e_visited_page"
LOGIN_EVENT = "pe4711_product_login"
SITE = "https://www.harbourline.example"

CHANGE_SOURCES: Mapping[str, Source] = {
    "submit_form": Source("FORM"),
    "page_view": Source("ANALYTICS"),
    "login": Source("ANALYTICS"),
    "email_click": Source("EMAIL"),
    "book_meeting": Source("MEETINGS"),
    "import": Source("IMPORT"),
}
"""What webhooks say of the actions; of all others, that a user did it at the screen."""

Action = Callable[[Call, Mapping[str, Any]], dict[str, Any]]


def act(context: Context, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do `payload["action"]`; answers with what was made.

    Actions of a prospect, all with `email`: `submit_form` (`form`: name or guid, `values`), `page_view` (`url`,
    `title`), `login`, `email_click` (`url`), `book_meeting` (`title`, `in_days`). Of the portal's admin: `issue_token` (`token`,
    `scopes`), `allow_unique_on_activities` (`is_allowed`), and those of `portal_work`.

    Raises:
        ValueError: no such action or form, or no e-mail.
    """
    name = str(payload.get("action"))
    action = ACTIONS.get(name)
    if action is None:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}")
    source = CHANGE_SOURCES.get(name) or Source("CRM_UI", f"userId:{int(payload.get('user') or APP_USER_ID)}")
    call = Call(context, catalog_of(context), path="", url="", parts={}, query={}, source=source)
    with transaction(context.database):
        return action(call, payload)


def _contact(call: Call, payload: Mapping[str, Any]) -> tuple[str, Record | None]:
    email = str(payload.get("email") or "").strip().lower()
    if "@" not in email:
        raise ValueError("an e-mail address is needed")
    found = records.holder(call.context.database, CONTACTS, "email", email)
    if found is None:
        return email, None
    return email, records.fetch(call.context.database, CONTACTS, [found])[found]


def _moved(call: Call, email: str, record: Record | None, changes: Mapping[str, str]) -> Record:
    """The contact with these values, made if it is new."""
    whole = dict(changes) if record is not None else {"email": email, "lifecyclestage": "lead", **changes}
    return save(call, CONTACTS, [Draft(0, record, tuple(whole), whole)])[0]


def _one_more(record: Record | None, name: str) -> str:
    return str(int(float((record.properties if record else {}).get(name, "0"))) + 1)


def _submit_form(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    email, record = _contact(call, payload)
    wanted = str(payload.get("form", ""))
    form = call.context.database.execute(
        "SELECT guid, name, body FROM hubspot_form WHERE guid = ? OR lower(name) = lower(?)", (wanted, wanted)
    ).fetchone()
    if form is None:
        names = [row["name"] for row in call.context.database.execute("SELECT name FROM hubspot_form ORDER BY name")]
        raise ValueError(f"no form {wanted!r}; there are {', '.join(names) or 'none'}")
    values = {str(name): value for name, value in (payload.get("values") or {}).items()}
    at = iso(call.now_ms)
    title = str(payload.get("title") or form["name"])
    conversion = f"{title}: {form['name']}"
    held = record.properties if record else {}
    changes = _form_changes(call, held, values)
    changes |= {
        "num_conversion_events": _one_more(record, "num_conversion_events"),
        "num_unique_conversion_events": held.get("num_unique_conversion_events") or "1",
        "recent_conversion_event_name": conversion,
        "recent_conversion_date": at,
        "first_conversion_event_name": held.get("first_conversion_event_name") or conversion,
        "first_conversion_date": held.get("first_conversion_date") or at,
    }
    saved = _moved(call, email, record, changes)
    submission = {
        "conversionId": str(uuid.uuid4()),
        "submittedAt": call.now_ms,
        "values": [
            {"name": name, "value": str(value), "objectTypeId": CONTACTS.type_id}
            for name, value in {"email": email, **values}.items()
        ],
        "pageUrl": str(payload.get("url") or orjson.loads(form["body"]).get("pageUrl") or SITE),
    }
    marketing.save_submissions(call.context.database, form["guid"], [submission])
    return {"contact_id": str(saved.id), "is_new": record is None, "form": form["guid"], "submittedAt": call.now_ms}


def _form_changes(call: Call, held: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Those values of a form that are properties of a contact and are accepted; a form does not clear anything."""
    changes: dict[str, str] = {}
    for name, value in values.items():
        definition = call.catalog.find(CONTACTS.name, name)
        if definition is None or definition.is_read_only or name in ("email", "lifecyclestage"):
            continue
        text = normalised(definition, value, held.get(name))
        if isinstance(text, str) and text:
            changes[name] = text
    return changes


def _event(call: Call, record: Record, event_type: str, properties: Mapping[str, str]) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "objectType": CONTACTS.singular,
        "objectId": str(record.id),
        "eventType": event_type,
        "occurredAt": iso(call.now_ms),
        "properties": dict(properties),
    }
    marketing.save_events(call.context.database, [event])


def _page_view(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    email, record = _contact(call, payload)
    url = str(payload.get("url") or f"{SITE}/pricing")
    at = iso(call.now_ms)
    changes = {
        "hs_analytics_num_page_views": _one_more(record, "hs_analytics_num_page_views"),
        "hs_analytics_last_timestamp": at,
        "hs_analytics_last_visit_timestamp": at,
        "hs_analytics_last_url": url,
    }
    saved = _moved(call, email, record, changes)
    _event(call, saved, PAGE_VIEW_EVENT, {"hs_url": url, "hs_page_title": str(payload.get("title") or "Pricing")})
    return {"contact_id": str(saved.id), "is_new": record is None}


def _login(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    email, record = _contact(call, payload)
    saved = _moved(call, email, record, {"hs_analytics_last_timestamp": iso(call.now_ms)})
    _event(call, saved, LOGIN_EVENT, {})
    return {"contact_id": str(saved.id), "is_new": record is None}


def _email_click(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    email, record = _contact(call, payload)
    at = iso(call.now_ms)
    changes = {
        "hs_email_open": _one_more(record, "hs_email_open"),
        "hs_email_click": _one_more(record, "hs_email_click"),
        "hs_email_last_open_date": at,
        "hs_email_last_click_date": at,
    }
    saved = _moved(call, email, record, changes)
    shared = {"created": call.now_ms, "recipient": email, "emailCampaignId": int(payload.get("campaign") or 1)}
    link = {"url": str(payload.get("url") or f"{SITE}/pricing")}
    events = [
        {"id": str(uuid.uuid4()), "type": "OPEN", "filteredEvent": False, **shared},
        {"id": str(uuid.uuid4()), "type": "CLICK", "filteredEvent": False, **shared, **link},
    ]
    marketing.save_email_events(call.context.database, events)
    return {"contact_id": str(saved.id), "is_new": record is None}


def _book_meeting(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    email, record = _contact(call, payload)
    saved = _moved(call, email, record, {"engagements_last_meeting_booked": iso(call.now_ms)})
    starts_at = call.context.clock.now() + timedelta(days=float(payload.get("in_days") or 1))
    starts = starts_at.isoformat(timespec="milliseconds")[:23] + "Z"
    meeting = {
        "hs_timestamp": starts,
        "hs_meeting_title": str(payload.get("title") or "Meeting"),
        "hs_meeting_start_time": starts,
        "hs_meeting_end_time": (starts_at + timedelta(minutes=30)).isoformat(timespec="milliseconds")[:23] + "Z",
        "hs_meeting_outcome": "SCHEDULED",
        "hs_meeting_source": "MEETINGS_PUBLIC",
    }
    [made] = save(call, BY_NAME["meetings"], [Draft(0, None, tuple(meeting), meeting)])
    linking.connect(
        call.context.database,
        call.catalog.types,
        call.catalog.types.general("meetings", CONTACTS.name),
        made.id,
        saved.id,
    )
    return {"contact_id": str(saved.id), "is_new": record is None, "meeting_id": str(made.id)}


def _issue_token(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    token, scopes = str(payload["token"]), [str(each) for each in payload.get("scopes") or ()]
    issue_private_token(call.context.database, token, scopes)
    return {"scopes": scopes}


def _allow_unique(call: Call, payload: Mapping[str, Any]) -> dict[str, Any]:
    is_allowed = bool(payload.get("is_allowed", True))
    allow_unique_on_activities(call.context, is_allowed=is_allowed)
    return {"is_allowed": is_allowed}


ACTIONS: Mapping[str, Action] = {
    "submit_form": _submit_form,
    "page_view": _page_view,
    "login": _login,
    "email_click": _email_click,
    "book_meeting": _book_meeting,
    "issue_token": _issue_token,
    "allow_unique_on_activities": _allow_unique,
    **portal_work.ACTIONS,
}
"""The actions of `POST /_sandbox/act`."""
