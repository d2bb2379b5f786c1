"""What people and the org itself do in Salesforce, for tests and demos (`POST /_sandbox/act` with `system: salesforce`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from connector.sandbox.salesforce import auth
from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import instant_text
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.seeding import ADMINISTRATOR_ID
from connector.sandbox.salesforce.writing import Author, create, delete, live_row, update

_CARRIED = ("FirstName", "LastName", "Salutation", "Title", "Email", "Phone", "MobilePhone", "LeadSource", "OwnerId")


def act(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do `payload["action"]`; raises ValueError when it cannot be done.

    - `create` {object, values}; `update` {id, values}; `delete` {id}: as a user with all rights, without assignment rules.
      `late_s` gives the change a SystemModstamp that many seconds in the past, as a transaction that commits late;
    - `convert_lead` {id, with_opportunity?}; `merge` {winner, loser}: what only the SOAP API offers;
    - `register_certificate` {pem}: trust JWT assertions signed with its key; `expire_sessions`: end every session.
    """
    action = _ACTIONS.get(str(payload.get("action")))
    if action is None:
        raise ValueError(f"unknown action; there are {', '.join(sorted(_ACTIONS))}")
    try:
        return action(org, payload)
    except RefusedError as error:
        raise ValueError(f"{error.code}: {error.message}") from None


def _author(org: Org) -> Author:
    return Author(org.access(ADMINISTRATOR_ID), runs_assignment_rules=False)


def _object_of(org: Org, native: Any) -> tuple[SObject, str]:
    known = full_id(native)
    one = org.schema.of_id(known) if known is not None else None
    if one is None or known is None:
        raise ValueError("id names no record")
    return one, known


def _create(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one = org.object(str(payload["object"]))
    native = create(org, _author(org), one, payload["values"])
    return _stamped(org, one, native, payload)


def _update(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one, native = _object_of(org, payload["id"])
    update(org, _author(org), one, native, payload["values"])
    return _stamped(org, one, native, payload)


def _delete(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    one, native = _object_of(org, payload["id"])
    delete(org, _author(org), one, native)
    return _stamped(org, one, native, payload)


def _stamped(org: Org, one: SObject, native: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    if payload.get("late_s"):
        at = instant_text(org.now() - timedelta(seconds=float(payload["late_s"])))
        org.database.execute(f"UPDATE {one.table} SET SystemModstamp = ? WHERE Id = ?", (at, native))
    return {"id": native}


def _convert_lead(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make a contact and account of a lead, and an opportunity when `with_opportunity` is given; the lead is frozen."""
    lead, native = _object_of(org, payload["id"])
    row = live_row(org, lead, native)
    author = _author(org)
    owner = row["OwnerId"] if str(row["OwnerId"]).startswith("005") else ADMINISTRATOR_ID
    known = org.database.execute(
        "SELECT Id FROM sf_Account WHERE Name = ? AND IsDeleted = 0 ORDER BY Id", (row["Company"],)
    ).fetchone()
    account = (
        known["Id"]
        if known is not None
        else create(org, author, org.object("Account"), {"Name": row["Company"], "OwnerId": owner})
    )
    values = {name: row[name] for name in _CARRIED if row.get(name) is not None} | {"OwnerId": owner}
    contact = create(org, author, org.object("Contact"), {**values, "AccountId": account})
    opportunity = None
    if payload.get("with_opportunity"):
        closes = (org.now() + timedelta(days=90)).date().isoformat()
        opportunity = create(
            org,
            author,
            org.object("Opportunity"),
            {
                "Name": row["Company"],
                "AccountId": account,
                "StageName": "Prospecting",
                "CloseDate": closes,
                "OwnerId": owner,
            },
        )
        create(
            org,
            author,
            org.object("OpportunityContactRole"),
            {"OpportunityId": opportunity, "ContactId": contact, "IsPrimary": True},
        )
    now = org.now_text()
    org.database.execute(
        "UPDATE sf_Lead SET IsConverted = 1, Status = 'Closed - Converted', ConvertedDate = ?, ConvertedAccountId = ?, "
        "ConvertedContactId = ?, ConvertedOpportunityId = ?, LastModifiedDate = ?, SystemModstamp = ? WHERE Id = ?",
        (now[:10], account, contact, opportunity, now, now, native),
    )
    org.database.execute("UPDATE sf_Task SET WhoId = ?, SystemModstamp = ? WHERE WhoId = ?", (contact, now, native))
    org.database.execute("UPDATE sf_Event SET WhoId = ?, SystemModstamp = ? WHERE WhoId = ?", (contact, now, native))
    return {"contact": contact, "account": account, "opportunity": opportunity}


def _merge(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Merge one record into another of its type: children move, the loser goes to the recycle bin with MasterRecordId."""
    one, winner = _object_of(org, payload["winner"])
    other, loser = _object_of(org, payload["loser"])
    if one.name != other.name or "MasterRecordId" not in one.fields:
        raise ValueError("merge takes two leads, contacts or accounts")
    live_row(org, one, winner)
    live_row(org, one, loser)
    now = org.now_text()
    for child, reference in org.schema.children_of(one.name):
        if reference.name != "MasterRecordId":
            org.database.execute(
                f'UPDATE {child.table} SET "{reference.name}" = ?, SystemModstamp = ? WHERE "{reference.name}" = ?',
                (winner, now, loser),
            )
    delete(org, _author(org), one, loser)
    org.database.execute(f"UPDATE {one.table} SET MasterRecordId = ? WHERE Id = ?", (winner, loser))
    org.database.execute(
        f"UPDATE {one.table} SET LastModifiedDate = ?, SystemModstamp = ? WHERE Id = ?", (now, now, winner)
    )
    return {"id": winner}


def _register_certificate(org: Org, payload: Mapping[str, Any]) -> dict[str, Any]:
    auth.register_certificate(org, str(payload["pem"]))
    return {"registered": True}


def _expire_sessions(org: Org, _: Mapping[str, Any]) -> dict[str, Any]:
    return {"expired": auth.expire_all(org)}


_ACTIONS = {
    "create": _create,
    "update": _update,
    "delete": _delete,
    "convert_lead": _convert_lead,
    "merge": _merge,
    "register_certificate": _register_certificate,
    "expire_sessions": _expire_sessions,
}
