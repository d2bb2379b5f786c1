"""Who else took part, and the mails themselves: what Shared Activities and Enhanced Email add to tasks and events.

Object Reference, "TaskRelation", "EventRelation", "EmailMessage", "EmailMessageRelation": an activity names one person (`WhoId`), its
relations name all of them; a mail that was logged has a Task and an EmailMessage, whose `ActivityId` is that task. Mail that came in on
a case has no task. Only activities that several share have relations here; an org has them for every one.
"""

from __future__ import annotations

from connector.sandbox.world.marks import salesforce_time
from connector.sandbox.world.model import Person, Row
from connector.sandbox.world.records import Scene

#: EmailMessage.Status: 1 Read, 3 Sent (Object Reference).
_READ, _SENT = "1", "3"
_SUPPORT = "support@harbourline.example"
_MOST_OTHERS = 2


def share(scene: Scene, person: Person, activity: str, activity_id: str, at: int, choice: int) -> None:
    """Say that colleagues who are in Salesforce as well took part in an activity (`Task` or `Event`) of a contact."""
    others = [
        one.contact_id
        for one in person.company.people
        if one is not person and one.contact_id and one.salesforce_since <= at
    ]
    if not others or not person.contact_id:
        return
    start = choice % len(others)
    taking = [person.contact_id, *(others[start:] + others[:start])[: 1 + choice % _MOST_OTHERS]]
    what = [person.opportunity_id] if person.opportunity_id else []
    for related in (*dict.fromkeys(taking), *what):
        values: Row = {
            f"{activity}Id": activity_id, "RelationId": related, "IsWhat": related in what,
            "AccountId": person.company.salesforce_id or None,
        }  # fmt: skip
        if activity == "Event":
            values |= {"IsParent": True, "IsInvitee": False, "Status": "New"}
        scene.org.add(f"{activity}Relation", at, at, values)


def log_mail(scene: Scene, person: Person, task_id: str, at: int, subject: str, *, is_reply: bool) -> None:
    """The mail behind a task of a representative's mail."""
    ours, theirs = scene.owner_email(person), person.work_email
    parties = (theirs, ours) if is_reply else (ours, theirs)
    _mail(scene, person, at, parties, {"ActivityId": task_id, "Subject": subject, "Incoming": is_reply})


def mail_on_case(scene: Scene, person: Person, case_id: str, at: int, subject: str) -> None:
    """The mail that opened a case."""
    _mail(
        scene,
        person,
        at,
        (person.work_email, _SUPPORT),
        {"ParentId": case_id, "ActivityId": None, "Subject": subject, "Incoming": True},
    )


def _mail(scene: Scene, person: Person, at: int, parties: tuple[str, str], values: Row) -> None:
    sender, receiver = parties
    is_incoming = values["Incoming"]
    mail_id = scene.org.add("EmailMessage", at, at, {
        "ParentId": None, **values, "FromAddress": sender, "ToAddress": receiver,
        "FromName": f"{person.given} {person.family}".strip() if is_incoming else None,
        "Status": _READ if is_incoming else _SENT, "MessageDate": salesforce_time(at),
        "MessageIdentifier": f"<{at:x}.{len(scene.org.rows['EmailMessage']):x}@mail.harbourline.example>",
    })  # fmt: skip
    scene.org.add("EmailMessageRelation", at, at, {
        "EmailMessageId": mail_id, "RelationId": person.contact_id or person.lead_id,
        "RelationType": "FromAddress" if is_incoming else "ToAddress",
        "RelationObjectType": "Contact" if person.contact_id else "Lead",
        "RelationAddress": person.work_email,
    })  # fmt: skip
