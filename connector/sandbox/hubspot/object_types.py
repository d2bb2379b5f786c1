"""The object types of a HubSpot portal and how their records link.

Sources: https://developers.hubspot.com/docs/guides/crm/understanding-the-crm (object type ids),
https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide (association type ids), and the constants of
HubSpot's own Python client (`hubspot.crm.AssociationType`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HUBSPOT_DEFINED = "HUBSPOT_DEFINED"


@dataclass(frozen=True, slots=True)
class ObjectType:
    """One type of CRM record: its names and times, what an answer holds unasked, and what `query` looks through."""

    name: str
    singular: str
    type_id: str
    default_properties: tuple[str, ...]
    modified_property: str = "hs_lastmodifieddate"
    created_property: str = "hs_createdate"
    required: tuple[str, ...] = ()
    searchable: tuple[str, ...] = ()
    read_scopes: tuple[str, ...] = ("crm.objects.contacts.read",)
    write_scopes: tuple[str, ...] = ("crm.objects.contacts.write",)
    schema_scope: str = "crm.schemas.contacts"
    is_custom: bool = False

    @property
    def table(self) -> str:
        """The name of the storage's table."""
        return f"hubspot_{self.name}"


def _activity(name: str, type_id: str, *searchable: str, scopes: tuple[str, ...] = ()) -> ObjectType:
    return ObjectType(
        name=name,
        singular=name.removesuffix("s"),
        type_id=type_id,
        default_properties=("hs_createdate", "hs_lastmodifieddate", "hs_object_id"),
        required=("hs_timestamp",),
        searchable=searchable,
        read_scopes=scopes or ("crm.objects.contacts.read",),
    )


CONTACTS = ObjectType(
    "contacts",
    "contact",
    "0-1",
    ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
    modified_property="lastmodifieddate",
    created_property="createdate",
    searchable=("firstname", "lastname", "email", "phone", "hs_additional_emails", "company"),
)
COMPANIES = ObjectType(
    "companies",
    "company",
    "0-2",
    ("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    created_property="createdate",
    searchable=("name", "domain", "phone", "website"),
    read_scopes=("crm.objects.companies.read",),
    write_scopes=("crm.objects.companies.write",),
    schema_scope="crm.schemas.companies",
)
DEALS = ObjectType(
    "deals",
    "deal",
    "0-3",
    (
        "amount",
        "closedate",
        "createdate",
        "dealname",
        "dealstage",
        "hs_lastmodifieddate",
        "hs_object_id",
        "pipeline",
    ),
    created_property="createdate",
    searchable=("dealname", "pipeline", "dealstage", "description", "dealtype"),
    read_scopes=("crm.objects.deals.read",),
    write_scopes=("crm.objects.deals.write",),
    schema_scope="crm.schemas.deals",
)
TICKETS = ObjectType(
    "tickets",
    "ticket",
    "0-5",
    (
        "content",
        "createdate",
        "hs_lastmodifieddate",
        "hs_object_id",
        "hs_pipeline",
        "hs_pipeline_stage",
        "hs_ticket_category",
        "hs_ticket_priority",
        "subject",
    ),
    created_property="createdate",
    required=("subject", "hs_pipeline_stage"),
    searchable=("subject", "content", "hs_pipeline_stage", "hs_ticket_category"),
    read_scopes=("tickets",),
    write_scopes=("tickets",),
    schema_scope="tickets",
)


def _further(
    name: str,
    type_id: str,
    *shown: str,
    required: tuple[str, ...] = (),
    scope: str = "",
    created: str = "hs_createdate",
) -> ObjectType:
    """A type of which the invented portal has no records. `scope` opens what is sold, else those of deals do."""
    return ObjectType(
        name=name,
        singular=name.removesuffix("s"),
        type_id=type_id,
        default_properties=tuple(sorted((*shown, created, "hs_lastmodifieddate", "hs_object_id"))),
        created_property=created,
        required=required,
        searchable=shown[:2],
        read_scopes=(scope,) if scope else ("crm.objects.deals.read",),
        write_scopes=(scope,) if scope else ("crm.objects.deals.write",),
        schema_scope=scope or "crm.schemas.deals",
    )


OBJECT_TYPES: tuple[ObjectType, ...] = (
    CONTACTS,
    COMPANIES,
    DEALS,
    TICKETS,
    _activity("tasks", "0-27", "hs_task_subject", "hs_task_body"),
    _activity("notes", "0-46", "hs_note_body"),
    _activity("calls", "0-48", "hs_call_title", "hs_call_body"),
    _activity("emails", "0-49", "hs_email_subject", scopes=("sales-email-read",)),
    _activity("meetings", "0-47", "hs_meeting_title", "hs_meeting_body"),
    _activity("communications", "0-18", "hs_communication_body"),
    _activity("postal_mail", "0-116", "hs_postal_mail_body"),
    _further(
        "products", "0-7", "name", "description", "price", required=("name",), scope="e-commerce", created="createdate"
    ),
    _further("line_items", "0-8", "name", "amount", "quantity", "price", scope="e-commerce", created="createdate"),
    _further("quotes", "0-14", "hs_title", required=("hs_title", "hs_expiration_date"), scope="e-commerce"),
    _further("leads", "0-136", "hs_lead_name", required=("hs_lead_name",)),
    _further("deal_splits", "0-72", "hs_deal_split_percentage"),
    _further("feedback_submissions", "0-19", "hs_survey_name"),
    _further("goal_targets", "0-74", "hs_goal_name"),
)

BY_NAME: Mapping[str, ObjectType] = {
    name: each for each in OBJECT_TYPES for name in (each.name, each.singular, each.type_id)
}


@dataclass(frozen=True, slots=True)
class AssociationType:
    """One directed kind of link. `reverse_id` is the same link seen from the other end."""

    from_type: str
    to_type: str
    type_id: int
    reverse_id: int
    label: str | None = None
    category: str = HUBSPOT_DEFINED

    @property
    def is_primary(self) -> bool:
        """True of the one main company of a contact, deal or ticket."""
        return self.label == "Primary" and self.category == HUBSPOT_DEFINED


def _both(
    from_type: str, to_type: str, type_id: int, reverse_id: int, label: str | None = None
) -> list[AssociationType]:
    there = AssociationType(from_type, to_type, type_id, reverse_id, label)
    if from_type == to_type:
        return [there]
    return [there, AssociationType(to_type, from_type, reverse_id, type_id, label)]


_ACTIVITY_IDS: tuple[tuple[str, int, int, int, int], ...] = (
    ("tasks", 204, 192, 216, 230),
    ("notes", 202, 190, 214, 228),
    ("calls", 194, 182, 206, 220),
    ("emails", 198, 186, 210, 224),
    ("meetings", 200, 188, 212, 226),
    ("communications", 81, 87, 85, 83),
    ("postal_mail", 453, 459, 457, 455),
)

#: Seen from the record, the number of a link is one less; of these one more.
_REVERSED_ABOVE = ("communications", "postal_mail")

ASSOCIATION_TYPES: tuple[AssociationType, ...] = (
    *_both("contacts", "companies", 1, 2, "Primary"),
    *_both("contacts", "companies", 279, 280),
    *_both("deals", "contacts", 3, 4),
    *_both("deals", "companies", 5, 6, "Primary"),
    *_both("deals", "companies", 341, 342),
    *_both("tickets", "contacts", 16, 15),
    *_both("tickets", "companies", 26, 25, "Primary"),
    *_both("tickets", "companies", 339, 340),
    *_both("tickets", "deals", 28, 27),
    *_both("deals", "line_items", 19, 20),
    *_both("deals", "quotes", 63, 64),
    *_both("quotes", "line_items", 67, 68),
    *_both("quotes", "contacts", 69, 70),
    *_both("quotes", "companies", 71, 72),
    *_both("leads", "contacts", 608, 607),
    *_both("leads", "contacts", 578, 579, "Primary contact"),
    *_both("leads", "companies", 610, 609),
    *_both("feedback_submissions", "contacts", 98, 97),
    *_both("feedback_submissions", "tickets", 100, 99),
    *_both("contacts", "contacts", 449, 449),
    *_both("companies", "companies", 450, 450),
    *_both("deals", "deals", 451, 451),
    *(
        link
        for activity, *ids in _ACTIVITY_IDS
        for target, type_id in zip(("contacts", "companies", "deals", "tickets"), ids, strict=True)
        for link in _both(activity, target, type_id, type_id + (1 if activity in _REVERSED_ABOVE else -1))
    ),
)
