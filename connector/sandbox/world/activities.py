"""Moments as rows: each kind of trace where the real product keeps it, on the record of the person that the system has.

A meeting or call is logged in one system; of some the vendors' own sync wrote a copy into the other, seconds apart.
"""

from __future__ import annotations

from collections.abc import Callable

from connector.sandbox.world.mailings import SITE, Marketing, submit
from connector.sandbox.world.marks import DAY_S, day_of, hex_of, hubspot_time, salesforce_time, uuid_of
from connector.sandbox.world.model import LOGIN_EVENT, PAGE_VIEW_EVENT, Moment, Person, Row
from connector.sandbox.world.portal import ENGAGEMENT_TYPE_IDS
from connector.sandbox.world.records import Scene
from connector.sandbox.world.sharing import log_mail, mail_on_case, share

_PAGES = (
    ("/", "Harbourline"), ("/product", "Product tour"), ("/product/sensors", "Dock and pallet sensors"),
    ("/pricing", "Pricing"),
    ("/customers", "Customer stories"), ("/blog/cold-chain", "Cold chain without gaps"),
    ("/integrations/sap", "Harbourline for SAP EWM"),
    ("/careers", "Careers"),
)  # fmt: skip
_CALLS = ("Discovery call", "Follow-up call", "Call: next steps", "Check-in call")
_MEETINGS = ("Product walkthrough", "Harbourline demo", "On-site visit", "Solution workshop", "Quarterly review")
_MAILS = (
    "Your questions on dock sensors",
    "Proposal Harbourline WMS",
    "Agenda for Thursday",
    "References in your industry",
)
_TODOS = ("Send references", "Prepare quote", "Call back", "Check integration with SAP")
_CASES = (
    "Scanner loses connection",
    "User cannot sign in",
    "Wrong stock level after import",
    "Question about invoice",
    "Dock sensor offline",
)
_NOTES = ("Budget is there", "Wants references", "Decision in Q1", "Uses SAP EWM")
_TEXTS = ("Running 5 minutes late", "Quote is in your inbox", "Confirming tomorrow 10:00")
#: HubSpot's ids of the default call outcomes Connected, No answer, Left voicemail (calls API guide).
_CALL_OUTCOMES = (
    ("f240bbac-87c9-4f6e-bf70-924b57d47db7", "COMPLETED"), ("73a0d17f-1163-4015-bdd5-ec830791da20", "NO_ANSWER"),
    ("b2cf5968-551e-4856-9783-52b3da59a7d0", "COMPLETED"),
)  # fmt: skip
_SYNC_COPY_SHARE = 0.15
_COPIED = frozenset({"call", "meeting"})


def record_moments(scene: Scene, person: Person, moments: list[Moment], marketing: Marketing) -> None:
    """Write each moment into the system that would know of it; one that no system knows is lost."""
    for moment in moments:
        if moment.kind in _WEB:
            if person.hubspot_id and (moment.at >= person.hubspot_since or moment.kind == "page_view"):
                _WEB[moment.kind](scene, person, moment, marketing)
        else:
            _record_sales(scene, person, moment, marketing)
        if moment.kind in _CAMPAIGNS:
            _respond(scene, person, moment, marketing, _CAMPAIGNS[moment.kind])


def _record_sales(scene: Scene, person: Person, moment: Moment, marketing: Marketing) -> None:
    in_salesforce = (person.contact_id or person.lead_id) != "" and moment.at >= person.salesforce_since
    in_hubspot = person.hubspot_id != "" and moment.at >= person.hubspot_since
    writers = _SALESFORCE.get(moment.kind), _HUBSPOT.get(moment.kind)
    prefers_hubspot = writers[0] is None or (moment.kind not in _COPIED and scene.chance(0.25))
    if in_salesforce and writers[0] is not None and not (in_hubspot and writers[1] is not None and prefers_hubspot):
        choice = scene.rng.randrange(1 << 16)
        writers[0](scene, person, moment, choice)
        if moment.kind in _COPIED and in_hubspot and writers[1] is not None and scene.chance(_SYNC_COPY_SHARE):
            copied = Moment(moment.kind, moment.at + scene.rng.randint(0, 90))
            writers[1](scene, person, copied, choice)
    elif in_hubspot and writers[1] is not None:
        writers[1](scene, person, moment, scene.rng.randrange(1 << 16))


# ---------------------------------------------------------------------------------------------------------- Salesforce


def _activity_fields(scene: Scene, person: Person) -> Row:
    return {
        "WhoId": person.contact_id or person.lead_id,
        "WhatId": (person.opportunity_id or None) if person.contact_id else None,
        "AccountId": (person.company.salesforce_id or None) if person.contact_id else None,
        "OwnerId": scene.org.users[person.company.owner],
    }


def _task(scene: Scene, person: Person, at: int, values: Row, *, is_done: bool = True) -> str:
    created = min(at, scene.today - 1)
    return scene.org.add("Task", created, created + 60 if is_done else created, {
        **_activity_fields(scene, person), "ActivityDate": day_of(at),
        "Status": "Completed" if is_done else "Not Started",
        "Priority": "Normal", "TaskSubtype": "Task", "IsClosed": is_done, "IsArchived": False,
        "CompletedDateTime": salesforce_time(created + 60) if is_done else None, "Description": None, "CallType": None,
        "CallDurationInSeconds": None, "CallDisposition": None, **values,
    })  # fmt: skip


def _call_task(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    is_reached = choice % 10 < 7
    task_id = _task(scene, person, moment.at, {
        "Subject": _CALLS[choice % len(_CALLS)], "TaskSubtype": "Call", "Type": "Call",
        "CallType": "Inbound" if choice % 13 == 0 else "Outbound",
        "CallDurationInSeconds": 120 + choice % 1900 if is_reached else 0,
        "CallDisposition": "Connected" if is_reached else "No answer",
    })  # fmt: skip
    if choice % 11 == 0:
        share(scene, person, "Task", task_id, min(moment.at, scene.today - 1), choice)


def _mail_task(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    subject = _MAILS[choice % len(_MAILS)]
    is_reply = moment.kind == "reply"
    task_id = _task(scene, person, moment.at, {
        "Subject": f"Email: {'<< Re: ' if is_reply else '>> '}{subject}", "TaskSubtype": "Email", "Type": "Email",
        "Description": f"From: {person.work_email}" if is_reply else f"From: {scene.owner_email(person)}",
    })  # fmt: skip
    if choice % 2 == 0:
        log_mail(scene, person, task_id, min(moment.at, scene.today - 1), subject, is_reply=is_reply)


def _todo_task(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    is_done = choice % 5 != 0
    _task(
        scene,
        person,
        moment.at,
        {"Subject": _TODOS[choice % len(_TODOS)], "Priority": "High" if choice % 7 == 0 else "Normal"},
        is_done=is_done,
    )


def _sms_task(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    _task(scene, person, moment.at, {"Subject": f"SMS: {_TEXTS[choice % len(_TEXTS)]}", "Type": "Other"})


def _meeting_event(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    minutes = (30, 45, 60, 90)[choice % 4]
    created = min(moment.at - (1 + choice % 9) * DAY_S, scene.today - 3600)
    event_id = scene.org.add("Event", created, min(max(created, moment.at), scene.today), {
        **_activity_fields(scene, person), "Subject": _MEETINGS[choice % len(_MEETINGS)], "Type": "Meeting",
        "EventSubtype": "Event",
        "StartDateTime": salesforce_time(moment.at), "EndDateTime": salesforce_time(moment.at + minutes * 60),
        "ActivityDateTime": salesforce_time(moment.at), "ActivityDate": day_of(moment.at), "DurationInMinutes": minutes,
        "IsAllDayEvent": False, "IsPrivate": False, "IsArchived": False, "ShowAs": "Busy",
        "Location": ("Video call", person.company.city[0], "Harbourline, Hamburg")[choice % 3], "Description": None,
    })  # fmt: skip
    if choice % 4 == 0:
        share(scene, person, "Event", event_id, created, choice)


def _case(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    closed_at = moment.at + (1 + choice % 14) * DAY_S
    is_closed = closed_at < scene.today
    if not person.contact_id:
        return
    origin = ("Email", "Phone", "Web")[choice % 3]
    case_id = scene.org.add("Case", moment.at, closed_at if is_closed else moment.at, {
        "CaseNumber": f"{len(scene.org.rows['Case']) + 1001:08}", "ContactId": person.contact_id,
        "AccountId": person.company.salesforce_id or None,
        "Subject": _CASES[choice % len(_CASES)],
        "Status": "Closed" if is_closed else ("New", "Working", "Escalated")[choice % 3],
        "Priority": ("Medium", "Low", "High")[choice % 3], "Origin": origin,
        "Type": "Problem", "Reason": None,
        "IsClosed": is_closed, "ClosedDate": salesforce_time(closed_at) if is_closed else None,
        "OwnerId": scene.org.users[7],
        "Description": None,
    })  # fmt: skip
    if origin == "Email":
        mail_on_case(scene, person, case_id, moment.at, _CASES[choice % len(_CASES)])


def _respond(scene: Scene, person: Person, moment: Moment, marketing: Marketing, kind: str) -> None:
    """Campaign membership: the campaign of this kind nearest in time, once per person."""
    who = person.contact_id or person.lead_id
    if not who or moment.at < person.salesforce_since:
        return
    day, campaign_id = min(marketing.campaigns[kind], key=lambda one: abs(one[0] - moment.at))
    if campaign_id in person.campaigns or day >= scene.today:
        return
    join(
        scene,
        person,
        campaign_id,
        max(person.salesforce_since, min(moment.at, day)),
        max(day, moment.at),
        has_responded=True,
    )


def join(scene: Scene, person: Person, campaign_id: str, at: int, responded_at: int, *, has_responded: bool) -> None:
    """Make the person a member of a campaign in Salesforce."""
    person.campaigns.add(campaign_id)
    status = "Sent" if not has_responded else scene.rng.choices(("Responded", "Attended"), (70, 30))[0]
    scene.org.add("CampaignMember", at, min(responded_at, scene.today - 1) if has_responded else at, {
        "CampaignId": campaign_id, "LeadOrContactId": person.contact_id or person.lead_id,
        "Type": "Contact" if person.contact_id else "Lead", "Name": f"{person.given} {person.family}",
        "ContactId": person.contact_id or None,
        "LeadId": None if person.contact_id else person.lead_id,
        "Status": status, "HasResponded": has_responded,
        "FirstRespondedDate": day_of(min(responded_at, scene.today - 1)) if has_responded else None,
    })  # fmt: skip


def send_campaigns(scene: Scene, person: Person, marketing: Marketing) -> None:
    """Direct mail and outbound sequences reach people in Salesforce whether they care or not; a few answer."""
    if not (person.contact_id or person.lead_id):
        return
    for kind, rate in (("Direct Mail", 0.08), ("Email", 0.1)):
        for day, campaign_id in marketing.campaigns[kind]:
            if person.salesforce_since <= day < scene.today and scene.chance(rate):
                has_responded = scene.chance(0.06 * min(person.liveliness, 4))
                join(
                    scene, person, campaign_id, day, day + scene.rng.randint(1, 9) * DAY_S, has_responded=has_responded
                )


# ---------------------------------------------------------------------------------------------------------- HubSpot


def _engage(
    scene: Scene, person: Person, object_type: str, at: int, properties: Row, *, created_at: int | None = None
) -> None:
    created = min(at if created_at is None else created_at, scene.today - 1)
    portal = scene.portal
    object_id = portal.add(object_type, created, created, {
        "hs_timestamp": hubspot_time(at), "hubspot_owner_id": portal.owners[person.company.owner], **properties,
    })  # fmt: skip
    targets = (("contacts", person.hubspot_id), ("companies", person.company.hubspot_id), ("deals", person.deal_id))
    for target, target_id in targets:
        if target_id:
            portal.associate(object_type, object_id, target, target_id, ENGAGEMENT_TYPE_IDS[object_type, target])


def _call(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    outcome, status = _CALL_OUTCOMES[0 if choice % 10 < 7 else 1 + choice % 2]
    _engage(scene, person, "calls", moment.at, {
        "hs_call_title": _CALLS[choice % len(_CALLS)],
        "hs_call_direction": "INBOUND" if choice % 13 == 0 else "OUTBOUND",
        "hs_call_duration": str((120 + choice % 1900) * 1000) if choice % 10 < 7 else "0", "hs_call_status": status,
        "hs_call_disposition": outcome, "hs_call_to_number": person.mobile, "hs_call_body": None,
    })  # fmt: skip


def _meeting(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    minutes = (30, 45, 60, 90)[choice % 4]
    is_over = moment.at + minutes * 60 < scene.today
    outcome = ("NO_SHOW" if choice % 17 == 0 else "COMPLETED") if is_over else "SCHEDULED"
    _engage(scene, person, "meetings", moment.at, {
        "hs_meeting_title": _MEETINGS[choice % len(_MEETINGS)], "hs_meeting_start_time": hubspot_time(moment.at),
        "hs_meeting_end_time": hubspot_time(moment.at + minutes * 60), "hs_meeting_outcome": outcome,
        "hs_meeting_location": ("Video call", person.company.city[0], "Harbourline, Hamburg")[choice % 3],
        "hs_meeting_body": None,
    }, created_at=moment.at - (1 + choice % 9) * DAY_S)  # fmt: skip


def _mail(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    subject, ours = _MAILS[choice % len(_MAILS)], f"{scene.owner_email(person)}"
    is_reply = moment.kind == "reply"
    theirs = person.hubspot_email or person.work_email
    _engage(scene, person, "emails", moment.at, {
        "hs_email_subject": f"Re: {subject}" if is_reply else subject,
        "hs_email_direction": "INCOMING_EMAIL" if is_reply else "EMAIL",
        "hs_email_status": None if is_reply else "SENT", "hs_email_from_email": theirs if is_reply else ours,
        "hs_email_to_email": ours if is_reply else theirs,
        "hs_email_message_id": f"<{hex_of(scene.rng, 20)}@mail.harbourline.example>",
        "hs_email_text": None,
    })  # fmt: skip


def _note(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    _engage(
        scene,
        person,
        "notes",
        moment.at,
        {"hs_note_body": f"<p>{_NOTES[choice % len(_NOTES)]}</p>"},
    )


def _todo(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    is_done = choice % 5 != 0
    _engage(scene, person, "tasks", moment.at, {
        "hs_task_subject": _TODOS[choice % len(_TODOS)], "hs_task_body": None,
        "hs_task_type": ("TODO", "CALL", "EMAIL")[choice % 3],
        "hs_task_status": "COMPLETED" if is_done else "NOT_STARTED",
        "hs_task_priority": ("NONE", "MEDIUM", "HIGH")[choice % 3],
        "hs_task_completion_date": hubspot_time(min(moment.at + 7200, scene.today - 1)) if is_done else None,
    })  # fmt: skip


def _message(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    channel = "SMS" if moment.kind == "sms" else "LINKEDIN_MESSAGE"
    _engage(scene, person, "communications", moment.at, {
        "hs_communication_channel_type": channel, "hs_communication_logged_from": "CRM",
        "hs_communication_body": _TEXTS[choice % len(_TEXTS)],
    })  # fmt: skip


def _ticket(scene: Scene, person: Person, moment: Moment, choice: int) -> None:
    closed_at = moment.at + (1 + choice % 14) * DAY_S
    is_closed = closed_at < scene.today
    portal = scene.portal
    ticket_id = portal.add("tickets", moment.at, closed_at if is_closed else moment.at, {
        "subject": _CASES[choice % len(_CASES)], "content": None, "hs_pipeline": "0",
        "hs_pipeline_stage": "4" if is_closed else str(1 + choice % 3),
        "hs_ticket_priority": ("MEDIUM", "LOW", "HIGH")[choice % 3],
        "source_type": ("EMAIL", "PHONE", "FORM")[choice % 3],
        "closed_date": hubspot_time(closed_at) if is_closed else None, "hubspot_owner_id": portal.owners[7],
    })  # fmt: skip
    portal.associate("tickets", ticket_id, "contacts", person.hubspot_id, 16)
    if person.company.hubspot_id:
        portal.associate("tickets", ticket_id, "companies", person.company.hubspot_id, 26, 339)


def _view(scene: Scene, person: Person, moment: Moment, marketing: Marketing) -> None:
    drawn = _PAGES[min(int(scene.rng.expovariate(0.45)), len(_PAGES) - 1)]
    path, title = next((page for page in _PAGES if page[0] == moment.detail), drawn)
    _occur(scene, person, PAGE_VIEW_EVENT, moment.at, {
        "hs_url": SITE + path, "hs_title": title, "hs_referrer": scene.rng.choice(("https://www.google.com/", "", "https://www.linkedin.com/")),
        "hs_device_type": scene.rng.choice(("DESKTOP", "MOBILE")),
    })  # fmt: skip


def _login(scene: Scene, person: Person, moment: Moment, marketing: Marketing) -> None:
    _occur(
        scene,
        person,
        LOGIN_EVENT,
        moment.at,
        {"app_user_id": person.user_id, "push_device_id": person.device, "client": "web" if moment.at % 3 else "ios"},
    )


def _occur(scene: Scene, person: Person, event_type: str, at: int, properties: Row) -> None:
    scene.portal.world.events.append({
        "id": uuid_of(scene.rng), "objectType": "CONTACT", "objectId": person.hubspot_id, "eventType": event_type,
        "occurredAt": hubspot_time(at), "properties": properties,
    })  # fmt: skip


def _form(scene: Scene, person: Person, moment: Moment, marketing: Marketing) -> None:
    if person.hubspot_email:  # a form without an address identifies nobody
        submit(scene, person, moment.kind, moment.at, marketing.forms[moment.kind])


_WebWriter = Callable[[Scene, Person, Moment, Marketing], None]
_SalesWriter = Callable[[Scene, Person, Moment, int], None]

_WEB: dict[str, _WebWriter] = {
    "page_view": _view, "login": _login, "newsletter": _form, "whitepaper": _form, "webinar": _form, "demo": _form,
    "contact_us": _form,
}  # fmt: skip
_SALESFORCE: dict[str, _SalesWriter] = {
    "call": _call_task, "meeting": _meeting_event, "sales_email": _mail_task, "reply": _mail_task, "todo": _todo_task,
    "case": _case, "sms": _sms_task,
}  # fmt: skip
_HUBSPOT: dict[str, _SalesWriter] = {
    "call": _call, "meeting": _meeting, "sales_email": _mail, "reply": _mail, "note": _note, "todo": _todo,
    "sms": _message,
    "social": _message, "case": _ticket,
}  # fmt: skip
#: Moments that also make somebody a member of a Salesforce campaign.
_CAMPAIGNS = {"webinar": "Webinar", "trade_show": "Trade Show"}
