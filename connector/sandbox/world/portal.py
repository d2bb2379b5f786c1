"""Objects of the HubSpot portal, with the internal names and option values that a new portal ships with.

Association type ids are HubSpot's own (CRM API, "association type id values"): contact to company 279 and 1 (primary),
deal to contact 3, deal to company 341 and 5 (primary), ticket to contact 16, ticket to company 339 and 26 (primary).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from connector.sandbox.world.marks import DAY_S, hubspot_time
from connector.sandbox.world.model import Company, HubSpotWorld, Person, Row
from connector.sandbox.world.org import representatives
from connector.sandbox.world.spelling import country_as_written
from connector.sandbox.world.words import words

#: (engagement type, associated type) -> association type id
ENGAGEMENT_TYPE_IDS = {
    ("tasks", "contacts"): 204, ("tasks", "companies"): 192, ("tasks", "deals"): 216,
    ("notes", "contacts"): 202, ("notes", "companies"): 190, ("notes", "deals"): 214,
    ("calls", "contacts"): 194, ("calls", "companies"): 182, ("calls", "deals"): 206,
    ("emails", "contacts"): 198, ("emails", "companies"): 186, ("emails", "deals"): 210,
    ("meetings", "contacts"): 200, ("meetings", "companies"): 188, ("meetings", "deals"): 212,
    ("communications", "contacts"): 81, ("communications", "companies"): 87, ("communications", "deals"): 85,
}  # fmt: skip

#: First id of each type, apart from each other as in a portal that has been used for years.
_FIRST_IDS = {
    "contacts": 51_400, "companies": 9_100_000_000, "deals": 17_300_000_000, "tickets": 2_400_000_000,
    "calls": 41_000_000_000,
    "emails": 42_000_000_000, "meetings": 43_000_000_000, "notes": 44_000_000_000, "tasks": 45_000_000_000,
    "communications": 46_000_000_000,
}  # fmt: skip
OBJECT_TYPES = tuple(_FIRST_IDS)


@dataclass(slots=True)
class Portal:
    """The portal while it is being filled. `add` gives the new object's id."""

    world: HubSpotWorld = field(default_factory=lambda: HubSpotWorld(objects={name: [] for name in OBJECT_TYPES}))
    owners: list[str] = field(default_factory=list)
    last_ids: dict[str, int] = field(default_factory=lambda: dict(_FIRST_IDS))

    def next_id(self, object_type: str) -> str:
        """An id that was never given before; ids have gaps."""
        self.last_ids[object_type] += 1 + self.last_ids[object_type] % 3
        return str(self.last_ids[object_type])

    def add(self, object_type: str, created_at: int, modified_at: int, properties: Row) -> str:
        """Append an object with its id and times."""
        object_id = self.next_id(object_type)
        created, modified = hubspot_time(created_at), hubspot_time(max(modified_at, created_at))
        # contacts are the one type with the older names of the two dates
        dates = (
            ("createdate", "lastmodifieddate")
            if object_type == "contacts"
            else ("hs_createdate", "hs_lastmodifieddate")
        )
        properties = {"hs_object_id": object_id, dates[0]: created, dates[1]: modified, **properties}
        if object_type in ("companies", "deals", "tickets"):
            properties["createdate"] = properties.pop("hs_createdate")
        self.world.objects[object_type].append(
            {"id": object_id, "properties": properties, "createdAt": created, "updatedAt": modified, "archived": False}
        )
        return object_id

    def associate(self, from_type: str, from_id: str, to_type: str, to_id: str, *type_ids: int) -> None:
        """Link two objects under each of these type ids."""
        for type_id in type_ids:
            self.world.associations.append((from_type, from_id, to_type, to_id, type_id))


def hire(portal: Portal, today: int) -> None:
    """The same people as in Salesforce, as owners."""
    created = hubspot_time(today - 2000 * DAY_S)
    for number, (given, family, _, is_active) in enumerate(representatives()):
        portal.owners.append(str(64_492_900 + number * 17))
        portal.world.owners.append({
            "id": portal.owners[-1], "email": f"{given}.{family}@harbourline.example".lower(), "firstName": given,
            "lastName": family,
            "userId": 11_200 + number, "userIdIncludingInactive": 11_200 + number, "type": "PERSON",
            "createdAt": created,
            "updatedAt": created, "archived": not is_active,
        })  # fmt: skip


def add_company(portal: Portal, rng: random.Random, company: Company, parent_id: str | None, today: int) -> str:
    """The company's own object."""
    country = words().countries[company.country]
    city, postal_code, state, _ = company.city
    stage = {"customer": "customer", "won": "customer", "lost": "opportunity", "open": "opportunity"}.get(
        company.relation, "lead"
    )
    created = company.known_since + rng.randrange(DAY_S)
    return portal.add("companies", created, rng.randint(created, today), {
        "name": company.name if rng.random() < 0.7 else company.name.rsplit(" ", 1)[0],
        "domain": company.domain if rng.random() < 0.95 else None, "website": f"https://www.{company.domain}",
        "phone": company.switchboard,
        "industry": company.industry["hubspot"],
        "numberofemployees": str(company.employees) if rng.random() < 0.8 else None,
        "annualrevenue": str(company.employees * 190_000) if rng.random() < 0.4 else None, "address": company.street,
        "city": city,
        "zip": postal_code, "state": state or None, "country": country_as_written(rng, country),
        "lifecyclestage": stage, "hs_parent_company_id": parent_id,
        "hubspot_owner_id": portal.owners[company.owner],
    })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filled:
    """What one HubSpot contact shows of a person, in the notation of that contact (None: left empty)."""

    email: str | None
    lifecycle_stage: str
    created_at: int
    modified_at: int
    phone: str | None = None
    mobile: str | None = None
    title: str | None = None
    country: str | None = None
    linkedin: str | None = None
    twitter: str | None = None
    cookie: str | None = None
    device: str | None = None
    owner_id: str | None = None
    additional_emails: str | None = None
    merged_ids: str | None = None
    language: str | None = None
    lead_status: str | None = None
    traffic_source: str | None = None
    is_named: bool = True


def add_contact(portal: Portal, person: Person, company: Company, filled: Filled) -> str:
    """A contact, associated with its company where HubSpot has one (primary and unlabelled, as the UI does it)."""
    contact_id = portal.add("contacts", filled.created_at, filled.modified_at, {
        "email": filled.email, "firstname": person.given if filled.is_named else None,
        "lastname": person.family if filled.is_named else None, "jobtitle": filled.title, "company": company.name,
        "phone": filled.phone, "mobilephone": filled.mobile, "city": company.city[0], "zip": company.city[1],
        "country": filled.country,
        "lifecyclestage": filled.lifecycle_stage, "hs_lead_status": filled.lead_status, "hs_language": filled.language,
        "hs_analytics_source": filled.traffic_source, "hubspot_owner_id": filled.owner_id,
        "hs_email_optout": "true" if person.is_opted_out else None,
        "hs_email_bounce": "1" if person.has_bounced else None,
        "hs_email_bad_address": "true" if person.has_bounced else None,
        "hs_email_hard_bounce_reason_enum": "UNKNOWN_USER" if person.has_bounced else None,
        "hs_linkedin_url": filled.linkedin, "twitterhandle": filled.twitter,
        "hs_additional_emails": filled.additional_emails,
        "hs_merged_object_ids": filled.merged_ids, "associatedcompanyid": company.hubspot_id or None,
        "web_cookie": filled.cookie, "push_device_id": filled.device, "customer_number": person.customer_number or None,
        "app_user_id": person.user_id or None,
    })  # fmt: skip
    if company.hubspot_id:
        portal.associate("contacts", contact_id, "companies", company.hubspot_id, 1, 279)
    return contact_id


def archive(portal_object: Row, at: int) -> None:
    """Into the portal's recycle bin."""
    stamp = max(hubspot_time(at), portal_object["updatedAt"])
    portal_object.update(archived=True, archivedAt=stamp, updatedAt=stamp)
