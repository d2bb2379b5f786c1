"""The nouns of the invented world: what `generate` gives, and the people, companies and moments behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: The HubSpot portal that the invented vendor uses; custom behavioural events carry it in their name.
PORTAL_ID = 4711
#: Custom behavioural event of a sign-in to the vendor's product (HubSpot names them `pe<portal>_<name>`).
LOGIN_EVENT = f"pe{PORTAL_ID}_product_login"
#: Default behavioural event of a page view (HubSpot's events API).
PAGE_VIEW_EVENT = "e_visited_page"

Row = dict[str, Any]


@dataclass(slots=True)
class HubSpotWorld:
    """A HubSpot portal. `objects`: type (`contacts`) -> objects as the CRM API shows them.

    `associations` are (from type, from id, to type, to id, type id), each written once in one direction; the reverse is
    implied. `submissions` by form guid, newest last; `email_events` as the v1 events API shows them (`created` in ms);
    `events` as the v3 events API shows them. `properties` are the definitions of the custom ones, by object type.
    """

    objects: dict[str, list[Row]] = field(default_factory=dict)
    associations: list[tuple[str, str, str, str, int]] = field(default_factory=list)
    owners: list[Row] = field(default_factory=list)
    pipelines: dict[str, list[Row]] = field(default_factory=dict)
    forms: list[Row] = field(default_factory=list)
    submissions: dict[str, list[Row]] = field(default_factory=dict)
    email_events: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    properties: dict[str, list[Row]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CastMember:
    """A named person of the demo's story: `emails` are all that are hers, the one on her main record first."""

    role: str
    person: str
    name: str
    emails: tuple[str, ...]
    records: tuple[tuple[str, str, str], ...]  # (system, object type, native id)


@dataclass(slots=True)
class World:
    """Everything that was generated. `truth`: (person, system, object type, native id); `dirt`: (kind, ...)."""

    salesforce: dict[str, list[Row]]
    hubspot: HubSpotWorld
    truth: list[tuple[str, str, str, str]]
    dirt: list[tuple[str, str, str, str]]
    cast: Mapping[str, CastMember]


# ------------------------------------------------------------------------------------------------- behind the records


@dataclass(frozen=True, slots=True)
class Deal:
    """A buying process of a company, in seconds since 1970; `closed_at` of an open one is the expected close."""

    opened_at: int
    closed_at: int
    outcome: str  # won, lost or open
    amount: int
    is_renewal: bool


@dataclass(slots=True)
class Company:
    """A company that Harbourline sells to, with the ids of its rows in the two systems ("" where it has none)."""

    number: int
    name: str
    domain: str
    country: str
    city: tuple[str, str, str, str]  # name, postal code, state, dialling code
    street: str
    industry: Mapping[str, Any]
    employees: int
    switchboard: str  # E.164
    relation: str  # customer, won, lost, open or prospect
    owner: int
    known_since: int
    local_part: str  # how the company builds e-mail addresses: first.last, f.last, flast or first
    salesforce_id: str = ""
    hubspot_id: str = ""
    deals: list[Deal] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)


@dataclass(slots=True)
class Person:
    """A human being with her true identifiers; the records show some of them, in their own notation."""

    id: str
    given: str
    family: str
    company: Company
    title: str
    function: str
    seniority: str
    work_email: str
    personal_email: str
    mobile: str  # E.164
    linkedin: str  # the slug of the profile
    twitter: str
    cookie: str
    device: str
    liveliness: float  # multiplies every rate; heavy-tailed
    in_buying_group: bool = False
    is_user: bool = False
    customer_number: str = ""
    user_id: str = ""
    first_seen_at: int = 0
    former_company: Company | None = None
    former_email: str = ""
    shared_email: str = ""  # the company's mailbox, where she gives that one
    oddities: tuple[str, ...] = ()  # what makes her hard to tell apart, or together
    contact_id: str = ""  # the records that activities are logged on
    lead_id: str = ""
    salesforce_since: int = 0
    hubspot_id: str = ""
    hubspot_email: str = ""
    hubspot_since: int = 0
    opportunity_id: str = ""
    deal_id: str = ""
    campaigns: set[str] = field(default_factory=set)
    is_opted_out: bool = False
    has_bounced: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened between a person and Harbourline, before any system wrote it down.

    `detail` is the path of a page view of the story's people; "" lets it be drawn.
    """

    kind: str
    at: int
    detail: str = ""
