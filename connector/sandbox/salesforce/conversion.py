"""Converting a lead, and merging records of one type.

SOAP API Developer Guide, "convertLead()", "merge()": the lead becomes a contact of an account (with an opportunity unless that is
declined) and is frozen; of a merge the losers go to the recycle bin with `MasterRecordId`, and their children to the winner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.seeding import ADMINISTRATOR_ID
from connector.sandbox.salesforce.writing import Author, create, delete, live_row, update

CONVERTED_STATUS = "Closed - Converted"
MERGEABLE = ("Account", "Contact", "Lead")
MOST_LOSERS = 2

_CARRIED = ("FirstName", "LastName", "Salutation", "Title", "Email", "Phone", "MobilePhone", "LeadSource", "OwnerId")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is wanted of a conversion: records that are there already, who owns what is new, and the opportunity's name."""

    status: str = CONVERTED_STATUS
    account: str | None = None
    contact: str | None = None
    owner: str | None = None
    with_opportunity: bool = False
    opportunity_name: str | None = None


def convert_lead(org: Org, author: Author, native: str, wanted: Conversion) -> dict[str, str | None]:
    """Gives the ids of the contact, the account and the opportunity; raises RefusedError."""
    row = live_row(org, org.object("Lead"), native)
    if row["IsConverted"]:
        raise RefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    if wanted.status != CONVERTED_STATUS:
        raise RefusedError("INVALID_STATUS", f"invalid convertedStatus: {wanted.status[:80]}")
    owner = wanted.owner or (row["OwnerId"] if str(row["OwnerId"]).startswith("005") else ADMINISTRATOR_ID)
    account = _account(org, author, row, wanted, owner)
    if wanted.contact is not None:
        contact = live_row(org, org.object("Contact"), wanted.contact)["Id"]
    else:
        values = {name: row[name] for name in _CARRIED if row.get(name) is not None} | {"OwnerId": owner}
        contact = create(org, author, org.object("Contact"), {**values, "AccountId": account})
    opportunity = None
    if wanted.with_opportunity:
        name = wanted.opportunity_name or row["Company"]
        opportunity = _opportunity(org, author, {"Name": name, "AccountId": account, "OwnerId": owner}, contact)
    now = org.now_text()
    org.database.execute(
        "UPDATE sf_Lead SET IsConverted = 1, Status = ?, ConvertedDate = ?, ConvertedAccountId = ?, "
        "ConvertedContactId = ?, ConvertedOpportunityId = ?, LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ? "
        "WHERE Id = ?",
        (CONVERTED_STATUS, now[:10], account, contact, opportunity, now, author.access.user_id, now, native),
    )
    _follow_contact(org, native, contact, now)
    return {"contact": contact, "account": account, "opportunity": opportunity}


def _account(org: Org, author: Author, row: Mapping[str, Any], wanted: Conversion, owner: str) -> str:
    if wanted.account is not None:
        return str(live_row(org, org.object("Account"), wanted.account)["Id"])
    known = org.database.execute(
        "SELECT Id FROM sf_Account WHERE Name = ? AND IsDeleted = 0 ORDER BY Id", (row["Company"],)
    ).fetchone()
    if known is not None:
        return str(known["Id"])
    return create(org, author, org.object("Account"), {"Name": row["Company"], "OwnerId": owner})


def _opportunity(org: Org, author: Author, values: Mapping[str, Any], contact: str) -> str:
    closes = (org.now() + timedelta(days=90)).date().isoformat()
    made = create(org, author, org.object("Opportunity"), {**values, "StageName": "Prospecting", "CloseDate": closes})
    role = {"OpportunityId": made, "ContactId": contact, "IsPrimary": True}
    create(org, author, org.object("OpportunityContactRole"), role)
    return made


def _follow_contact(org: Org, native: str, contact: str, now: str) -> None:
    """Activities and campaign members of a converted lead go on with its contact."""
    org.database.execute(
        "UPDATE sf_CampaignMember SET ContactId = ?, LeadOrContactId = ?, Type = 'Contact', SystemModstamp = ? WHERE LeadId = ?",
        (contact, contact, now, native),
    )
    org.database.execute("UPDATE sf_Task SET WhoId = ?, SystemModstamp = ? WHERE WhoId = ?", (contact, now, native))
    org.database.execute("UPDATE sf_Event SET WhoId = ?, SystemModstamp = ? WHERE WhoId = ?", (contact, now, native))
    for table in ("sf_TaskRelation", "sf_EventRelation", "sf_EmailMessageRelation"):
        org.database.execute(
            f"UPDATE {table} SET RelationId = ?, SystemModstamp = ? WHERE RelationId = ?", (contact, now, native)
        )


def merge(
    org: Org, author: Author, one: SObject, winner: str, losers: Sequence[str], values: Mapping[str, Any] | None = None
) -> list[str]:
    """Merge records into another of their type; gives the ids of the children that moved. Raises RefusedError."""
    if one.name not in MERGEABLE:
        raise RefusedError("INVALID_OPERATION", f"entity type {one.name} does not support merge")
    if not 0 < len(losers) <= MOST_LOSERS or winner in losers:
        raise RefusedError("INVALID_OPERATION", f"A record is merged with one or {MOST_LOSERS} others")
    live_row(org, one, winner)
    moved: list[str] = []
    for loser in losers:
        live_row(org, one, loser)
        moved += _move_children(org, one, winner, loser)
        delete(org, author, one, loser)
        org.database.execute(f"UPDATE {one.table} SET MasterRecordId = ? WHERE Id = ?", (winner, loser))
    if values:
        update(org, author, one, winner, values)
    now = org.now_text()
    org.database.execute(
        f"UPDATE {one.table} SET LastModifiedDate = ?, SystemModstamp = ? WHERE Id = ?", (now, now, winner)
    )
    return moved


def _move_children(org: Org, one: SObject, winner: str, loser: str) -> list[str]:
    moved: list[str] = []
    for child, reference in org.schema.children_of(one.name):
        if reference.name == "MasterRecordId":
            continue
        rows = org.database.execute(
            f'UPDATE {child.table} SET "{reference.name}" = ?, SystemModstamp = ? WHERE "{reference.name}" = ? RETURNING Id',
            (winner, org.now_text(), loser),
        ).fetchall()
        moved += [row["Id"] for row in rows]
    return moved
