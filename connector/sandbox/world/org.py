"""Rows of the Salesforce org, with the native fields of a default org and the vendor's custom ones.

Picklist values are those of a new org (Salesforce object reference: Lead, Account, Opportunity, Task, Case).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from connector.sandbox.salesforce.ids import KEY_PREFIXES, native_id
from connector.sandbox.world.marks import DAY_S, day_of, salesforce_time
from connector.sandbox.world.model import Company, Person, Row
from connector.sandbox.world.spelling import country_as_written
from connector.sandbox.world.words import words

SOBJECTS = (
    "User", "Account", "Contact", "Lead", "Opportunity", "OpportunityContactRole", "Campaign", "CampaignMember", "Task",
    "Event", "Case", "TaskRelation", "EventRelation", "EmailMessage", "EmailMessageRelation",
)  # fmt: skip

LEAD_SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other", "Trade Show", "Event")

_REPRESENTATIVES = (
    ("Joe", "Diaz", "Account Executive", True), ("Marit", "Lindqvist", "Account Executive", True),
    ("Tobias", "Rehm", "Account Executive", True), ("Grace", "Okafor", "Sales Development", True),
    ("Hugo", "Marchand", "Sales Development", True), ("Anjali", "Bose", "Account Executive", True),
    ("Pia", "Sommer", "Customer Success", True), ("Declan", "Byrne", "Customer Success", True),
    ("Ruth", "Adler", "Sales Director", True), ("Viktor", "Hale", "Account Executive", False),
)  # fmt: skip


@dataclass(slots=True)
class Org:
    """The org while it is being filled. Every `add` gives the new row's id."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in SOBJECTS})
    users: list[str] = field(default_factory=list)

    def add(self, sobject: str, created_at: int, modified_at: int, values: Row) -> str:
        """Append a row with its id and audit fields."""
        rows = self.rows[sobject]
        row_id = native_id(KEY_PREFIXES[sobject], len(rows) + 1)
        modified = salesforce_time(max(modified_at, created_at))
        rows.append({
            "Id": row_id, **values, "IsDeleted": False, "CreatedDate": salesforce_time(created_at),
            "LastModifiedDate": modified,
            "SystemModstamp": modified,
        })  # fmt: skip
        return row_id


def hire(org: Org, today: int) -> None:
    """The vendor's own people, one of whom has left (inactive users still own records)."""
    created = today - 2000 * DAY_S
    for given, family, title, is_active in _REPRESENTATIVES:
        email = f"{given}.{family}@harbourline.example".lower()
        org.users.append(
            org.add("User", created, created, {
                "Username": email, "Email": email, "FirstName": given, "LastName": family, "Name": f"{given} {family}",
                "Alias": f"{given[0]}{family[:7]}".lower(), "Title": title, "IsActive": is_active,
                "UserType": "Standard",
            })
        )  # fmt: skip


def representatives() -> tuple[tuple[str, str, str, bool], ...]:
    """Given name, family name, title and whether still employed."""
    return _REPRESENTATIVES


def add_account(org: Org, rng: random.Random, company: Company, parent_id: str | None, today: int) -> str:
    """The company's Account."""
    country = words().countries[company.country]
    city, postal_code, state, _ = company.city
    kind = {"customer": "Customer - Direct", "won": "Customer - Direct"}.get(company.relation, "Prospect")
    created = company.known_since + rng.randrange(DAY_S)
    return org.add("Account", created, rng.randint(created, today), {
        "Name": company.name, "ParentId": parent_id, "Type": kind, "Industry": company.industry["salesforce"],
        "NumberOfEmployees": company.employees if rng.random() < 0.85 else None,
        "AnnualRevenue": company.employees * 190_000 if rng.random() < 0.6 else None,
        "Website": rng.choice((f"https://www.{company.domain}", f"www.{company.domain}", company.domain, None)),
        "Phone": company.switchboard, "AccountNumber": f"AC{company.number:06}", "BillingStreet": company.street,
        "BillingCity": city,
        "BillingPostalCode": postal_code, "BillingState": state or None,
        "BillingCountry": country_as_written(rng, country),
        "AccountSource": rng.choice(LEAD_SOURCES[:5]), "OwnerId": org.users[company.owner], "MasterRecordId": None,
    })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """What one Salesforce record shows of a person, already in the notation of that record (None: left empty)."""

    email: str | None
    owner_id: str
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
    hubspot_id: str | None = None
    source: str = "Web"
    customer_number: str | None = None
    user_id: str | None = None
    last_login_at: int | None = None


def _person_fields(person: Person, shown: Shown) -> Row:
    bounced = person.has_bounced and shown.email is not None
    return {
        "FirstName": person.given, "LastName": person.family, "Name": f"{person.given} {person.family}".strip(),
        "Title": shown.title,
        "Email": shown.email, "Phone": shown.phone, "MobilePhone": shown.mobile, "LeadSource": shown.source,
        "OwnerId": shown.owner_id, "HasOptedOutOfEmail": person.is_opted_out, "DoNotCall": False,
        "EmailBouncedDate": salesforce_time((shown.created_at + shown.modified_at) // 2) if bounced else None,
        "EmailBouncedReason": "550 5.1.1 mailbox unavailable" if bounced else None,
        "Web_Cookie__c": shown.cookie, "Push_Device_Id__c": shown.device, "LinkedIn__c": shown.linkedin,
        "Twitter__c": shown.twitter,
        "HubSpot_Id__c": shown.hubspot_id, "MasterRecordId": None,
    }  # fmt: skip


def add_contact(org: Org, person: Person, company: Company, shown: Shown) -> str:
    """A Contact of the company's Account."""
    city, postal_code, state, _ = company.city
    return org.add("Contact", shown.created_at, shown.modified_at, {
        **_person_fields(person, shown), "AccountId": company.salesforce_id or None,
        "Department": person.function.replace("_", " ").title(), "MailingStreet": company.street, "MailingCity": city,
        "MailingPostalCode": postal_code, "MailingState": state or None, "MailingCountry": shown.country,
        "IsEmailBounced": person.has_bounced and shown.email is not None,
        "Customer_Number__c": shown.customer_number, "User_Id__c": shown.user_id,
        "Last_Login__c": None if shown.last_login_at is None else salesforce_time(shown.last_login_at),
    })  # fmt: skip


def add_lead(org: Org, person: Person, company: Company, shown: Shown, status: str) -> str:
    """A Lead; the company is only text on it."""
    city, postal_code, state, _ = company.city
    return org.add("Lead", shown.created_at, shown.modified_at, {
        **_person_fields(person, shown), "Company": company.name, "Status": status,
        "Industry": company.industry["salesforce"],
        "NumberOfEmployees": company.employees, "Website": f"www.{company.domain}", "Street": company.street,
        "City": city,
        "PostalCode": postal_code, "State": state or None, "Country": shown.country, "IsConverted": False,
        "ConvertedDate": None,
        "ConvertedContactId": None, "ConvertedAccountId": None, "ConvertedOpportunityId": None,
    })  # fmt: skip


def convert(lead: Row, contact_id: str, account_id: str, at: int) -> None:
    """What a conversion leaves on the lead."""
    stamp = max(salesforce_time(at), lead["LastModifiedDate"])
    lead.update(
        Status="Closed - Converted", IsConverted=True, ConvertedDate=day_of(at), ConvertedContactId=contact_id,
        ConvertedAccountId=account_id, LastModifiedDate=stamp, SystemModstamp=stamp,
    )  # fmt: skip


def delete(row: Row, at: int, master_id: str | None = None) -> None:
    """Into the recycle bin; with a master, because it was merged into it."""
    stamp = max(salesforce_time(at), row["LastModifiedDate"])
    row.update(IsDeleted=True, LastModifiedDate=stamp, SystemModstamp=stamp)
    if master_id is not None:
        row["MasterRecordId"] = master_id
