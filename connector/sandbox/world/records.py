"""Which records a person left in the two systems, in which notation, and with which dirt."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from connector.sandbox.world import org, portal
from connector.sandbox.world.companies import landline_of
from connector.sandbox.world.marks import DAY_S
from connector.sandbox.world.model import Company, Person
from connector.sandbox.world.spelling import (
    country_as_written,
    handle_as_written,
    linkedin_as_written,
    mixed_case,
    phone_as_written,
    plus_address,
)
from connector.sandbox.world.words import Country, words

_LEAD_STATUSES = ("NEW", "NEW", "OPEN", "IN_PROGRESS", "ATTEMPTED_TO_CONTACT", "CONNECTED", "UNQUALIFIED", "BAD_TIMING")
_TRAFFIC_SOURCES = (
    "ORGANIC_SEARCH",
    "DIRECT_TRAFFIC",
    "EMAIL_MARKETING",
    "REFERRALS",
    "SOCIAL_MEDIA",
    "PAID_SEARCH",
    "OFFLINE",
)
_BROKEN_EMAILS = (
    "anna.berg{}@@mail.example",
    "kontakt{}(at)spedition.example",
    "siehe Visitenkarte {}",
    "{}" + "x" * 300 + "@mail.example",
    "m.huber{}@",
)


@dataclass(slots=True)
class Scene:
    """What is being filled, and the generator that decides. `today` is midnight UTC in seconds since 1970."""

    rng: random.Random
    today: int
    org: org.Org = field(default_factory=org.Org)
    portal: portal.Portal = field(default_factory=portal.Portal)
    truth: list[tuple[str, str, str, str]] = field(default_factory=list)
    dirt: list[tuple[str, str, str, str]] = field(default_factory=list)

    def note(self, person_id: str, system: str, object_type: str, native_id: str, *kinds: str) -> None:
        """Keep whose record this is, and what is wrong with it."""
        self.truth.append((person_id, system, object_type, native_id))
        self.dirt.extend((kind, system, object_type, native_id) for kind in kinds if kind)

    def owner_email(self, person: Person) -> str:
        """The address of the representative who owns the person's company."""
        return str(self.portal.world.owners[person.company.owner]["email"])

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self.rng.random() < share


def register(scene: Scene, person: Person) -> None:
    """Write the person's records into one or both systems."""
    rng = scene.rng
    weights = (74, 20, 6) if person.in_buying_group else (42, 29, 29)
    presence = rng.choices(("both", "salesforce", "hubspot"), weights)[0]
    person.is_opted_out, person.has_bounced = scene.chance(0.05), scene.chance(0.03)
    if presence != "salesforce":
        _register_in_hubspot(scene, person)
    if presence != "hubspot":
        _register_in_salesforce(scene, person)
    if person.former_company is not None:
        _register_at_former_company(scene, person, person.former_company)


# ---------------------------------------------------------------------------------------------------------- HubSpot


def _register_in_hubspot(scene: Scene, person: Person) -> None:
    rng = scene.rng
    email, kind = _hubspot_email(rng, person)
    extra, extra_kind = None, ""
    if scene.chance(0.04) and email != person.personal_email:
        extra = person.personal_email
    elif scene.chance(0.01):
        extra, extra_kind = rng.choice(_BROKEN_EMAILS).format(int(person.id[1:])), "broken_email"
    merged = scene.portal.next_id("contacts") if scene.chance(0.03) else None
    filled = _filled(scene, person, email, extra, merged)
    person.hubspot_id = portal.add_contact(scene.portal, person, person.company, filled)
    person.hubspot_email, person.hubspot_since = email or "", filled.created_at
    kinds = (kind, extra_kind, "merged" if merged else "", *_quality(person, filled))
    scene.note(person.id, "hubspot", "contacts", person.hubspot_id, *kinds)
    if email != person.personal_email and extra is None and scene.chance(0.05):
        double = _filled(scene, person, person.personal_email, None, None)
        double_id = portal.add_contact(scene.portal, person, person.company, double)
        scene.note(person.id, "hubspot", "contacts", double_id, "duplicate", "personal_email")
        if scene.chance(0.15):
            portal.archive(scene.portal.world.objects["contacts"][-1], scene.today - rng.randrange(60) * DAY_S)
            scene.dirt.append(("deleted", "hubspot", "contacts", double_id))


def _hubspot_email(rng: random.Random, person: Person) -> tuple[str | None, str]:
    kind = rng.choices(("", "personal_email", "plus_address", "missing_email"), (78, 14, 5, 3))[0]
    return {
        "": person.work_email,
        "personal_email": person.personal_email,
        "plus_address": plus_address(rng, person.work_email) if kind == "plus_address" else None,
    }.get(kind), kind


def _filled(scene: Scene, person: Person, email: str | None, extra: str | None, merged: str | None) -> portal.Filled:
    rng, country = scene.rng, words().countries[person.company.country]
    created = min(person.first_seen_at + int(rng.expovariate(1 / (12 * DAY_S))), scene.today - DAY_S)
    stage = {"customer": "customer", "won": "customer"}.get(person.company.relation)
    if stage is None:
        stage = (
            "opportunity"
            if person.in_buying_group
            else rng.choices(("subscriber", "lead", "marketingqualifiedlead"), (40, 48, 12))[0]
        )
    is_lonely = email is None or email == person.personal_email
    return portal.Filled(
        email=email,
        phone=phone_as_written(rng, country, person.mobile if scene.chance(0.4) else person.company.switchboard)
        if scene.chance(0.35)
        else None,
        mobile=phone_as_written(rng, country, person.mobile)
        if is_lonely or person.oddities or scene.chance(0.42)
        else None,
        title=person.title if scene.chance(0.72) else None,
        country=country_as_written(rng, country) if scene.chance(0.8) else None,
        linkedin=linkedin_as_written(rng, person.linkedin) if scene.chance(0.28) else None,
        twitter=handle_as_written(rng, person.twitter) if scene.chance(0.08) else None,
        cookie=person.cookie if scene.chance(0.6) else None,
        device=person.device if person.is_user and scene.chance(0.5) else None,
        lifecycle_stage=stage,
        owner_id=scene.portal.owners[person.company.owner] if scene.chance(0.7) else None,
        created_at=created,
        modified_at=rng.randint(created, scene.today),
        additional_emails=extra,
        merged_ids=merged,
        is_named=scene.chance(0.96),
        language=country.language if country.language != "nb" and scene.chance(0.4) else None,
        lead_status=rng.choice(_LEAD_STATUSES) if stage in ("lead", "marketingqualifiedlead") else None,
        traffic_source=rng.choice(_TRAFFIC_SOURCES),
    )


# ---------------------------------------------------------------------------------------------------------- Salesforce


def _register_in_salesforce(scene: Scene, person: Person) -> None:
    rng, company = scene.rng, person.company
    share = 1.0 if person.in_buying_group else 0.3 if company.relation == "prospect" else 0.85
    is_contact = company.salesforce_id != "" and scene.chance(share)
    email, kinds = _salesforce_email(scene, person)
    shown = _shown(scene, person, email)
    kinds.extend(_quality(person, shown))
    person.salesforce_since = shown.created_at
    if not is_contact:
        _add_lead(scene, person, shown, kinds)
        return
    person.contact_id = org.add_contact(scene.org, person, company, shown)
    contact = scene.org.rows["Contact"][-1]
    scene.note(person.id, "salesforce", "Contact", person.contact_id, *kinds)
    if scene.chance(0.2):
        _add_converted_lead(scene, person, shown)
    if scene.chance(0.03):
        _add_merge_loser(scene, person, "Contact")
    elif scene.chance(0.04):
        double_id = org.add_lead(
            scene.org, person, company, _shown(scene, person, person.personal_email), "Working - Contacted"
        )
        scene.note(person.id, "salesforce", "Lead", double_id, "duplicate", "personal_email")
    elif not person.in_buying_group and scene.chance(0.012):
        org.delete(contact, scene.today - rng.randrange(1, 40) * DAY_S)
        scene.dirt.append(("deleted", "salesforce", "Contact", person.contact_id))


def _add_lead(scene: Scene, person: Person, shown: org.Shown, kinds: list[str]) -> None:
    status = scene.rng.choices(("Open - Not Contacted", "Working - Contacted", "Closed - Not Converted"), (55, 30, 15))[
        0
    ]
    person.lead_id = org.add_lead(scene.org, person, person.company, shown, status)
    lead = scene.org.rows["Lead"][-1]
    scene.note(person.id, "salesforce", "Lead", person.lead_id, *kinds)
    if scene.chance(0.03):
        _add_merge_loser(scene, person, "Lead")
    elif scene.chance(0.015):
        org.delete(lead, scene.today - scene.rng.randrange(1, 40) * DAY_S)
        scene.dirt.append(("deleted", "salesforce", "Lead", person.lead_id))


def _add_converted_lead(scene: Scene, person: Person, shown: org.Shown) -> None:
    lead_id = org.add_lead(scene.org, person, person.company, shown, "Closed - Converted")
    lead = scene.org.rows["Lead"][-1]
    org.convert(
        lead,
        person.contact_id,
        person.company.salesforce_id,
        min(shown.created_at + scene.rng.randint(1, 40) * DAY_S, scene.today),
    )
    scene.note(person.id, "salesforce", "Lead", lead_id, "converted")


def _add_merge_loser(scene: Scene, person: Person, sobject: str) -> None:
    shown = _shown(scene, person, person.personal_email)
    merged_at = scene.rng.randint(shown.created_at, scene.today)
    if sobject == "Contact":
        loser_id = org.add_contact(scene.org, person, person.company, shown)
    else:
        loser_id = org.add_lead(scene.org, person, person.company, shown, "Open - Not Contacted")
    org.delete(scene.org.rows[sobject][-1], merged_at, person.contact_id if sobject == "Contact" else person.lead_id)
    scene.note(person.id, "salesforce", sobject, loser_id, "merged")


def _salesforce_email(scene: Scene, person: Person) -> tuple[str | None, list[str]]:
    if person.shared_email:
        return person.shared_email, ["shared_mailbox"]
    kind = scene.rng.choices(("", "email_case", "personal_email", "missing_email"), (74, 15, 4, 7))[0]
    email = (
        person.personal_email if kind == "personal_email" else None if kind == "missing_email" else person.work_email
    )
    return (mixed_case(scene.rng, person.work_email) if kind == "email_case" else email), [kind]


def _shown(scene: Scene, person: Person, email: str | None) -> org.Shown:
    rng, country = scene.rng, words().countries[person.company.country]
    created = min(person.first_seen_at + int(rng.expovariate(1 / (20 * DAY_S))), scene.today - DAY_S)
    is_lonely = email is None or email in (person.personal_email, person.shared_email)
    return org.Shown(
        email=email,
        phone=_desk_phone(scene, person, country),
        mobile=phone_as_written(rng, country, person.mobile)
        if is_lonely or person.oddities or scene.chance(0.58)
        else None,
        title=person.title if scene.chance(0.86) else None,
        country=country_as_written(rng, country) if scene.chance(0.85) else None,
        linkedin=linkedin_as_written(rng, person.linkedin) if scene.chance(0.24) else None,
        twitter=handle_as_written(rng, person.twitter) if scene.chance(0.07) else None,
        cookie=person.cookie if scene.chance(0.18) else None,
        device=person.device if person.is_user and scene.chance(0.3) else None,
        hubspot_id=person.hubspot_id if person.hubspot_id and scene.chance(0.35) else None,
        source=rng.choices(org.LEAD_SOURCES, (44, 10, 12, 14, 6, 8, 6))[0],
        customer_number=person.customer_number or None,
        user_id=person.user_id or None,
        last_login_at=_last_login(scene, person, created),
        owner_id=scene.org.users[person.company.owner],
        created_at=created,
        modified_at=rng.randint(created, scene.today),
    )


def _desk_phone(scene: Scene, person: Person, country: Country) -> str | None:
    kind = scene.rng.choices(("switchboard", "desk", "none"), (30, 34, 36))[0]
    if kind == "none":
        return None
    if kind == "switchboard":
        return phone_as_written(scene.rng, country, person.company.switchboard)
    extension = 1 + person.company.people.index(person) % 98 if person in person.company.people else 99
    return phone_as_written(
        scene.rng, country, landline_of(country, person.company.city[3], person.company.number, extension)
    )


def _last_login(scene: Scene, person: Person, since: int) -> int | None:
    return max(scene.today - int(scene.rng.expovariate(1 / 20) * DAY_S), since) if person.is_user else None


def _quality(person: Person, record: org.Shown | portal.Filled) -> tuple[str, ...]:
    digits = "".join(letter for letter in record.phone or "" if letter.isdigit())
    return (
        *person.oddities,
        "opted_out" if person.is_opted_out else "",
        "bounced" if person.has_bounced and record.email else "",
        "missing_title" if record.title is None else "unknown_title" if person.seniority == "unknown" else "",
        "missing_phone" if record.phone is None else "",
        "switchboard" if digits.endswith(person.company.switchboard[-6:]) else "",
    )


# ------------------------------------------------------------------------------------------------- a job before


def _register_at_former_company(scene: Scene, person: Person, former: Company) -> None:
    """The Contact that nobody updated: the old address at the old company, with the marks that stay with a person."""
    rng, country = scene.rng, words().countries[person.company.country]
    left_at = max(person.first_seen_at - rng.randint(20, 300) * DAY_S, 1)
    shown = org.Shown(
        email=person.former_email, owner_id=scene.org.users[former.owner],
        created_at=left_at - rng.randint(100, 900) * DAY_S,
        modified_at=left_at, mobile=phone_as_written(rng, country, person.mobile), title=person.title,
        linkedin=linkedin_as_written(rng, person.linkedin) if scene.chance(0.8) else None,
    )  # fmt: skip
    contact_id = org.add_contact(scene.org, person, former, shown)
    scene.note(person.id, "salesforce", "Contact", contact_id, "job_changer", "former_company")
