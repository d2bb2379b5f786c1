"""Fields that the org fills by itself when a record is written: names, closed flags, dates, members' persons."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from connector.sandbox.salesforce.instants import instant_text, parse_instant
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError

STAGES = {
    "Prospecting": (10, "Pipeline"), "Qualification": (10, "Pipeline"), "Needs Analysis": (20, "Pipeline"),
    "Value Proposition": (50, "Pipeline"), "Id. Decision Makers": (60, "Pipeline"), "Perception Analysis": (70, "Pipeline"),
    "Proposal/Price Quote": (75, "Pipeline"), "Negotiation/Review": (90, "Pipeline"), "Closed Won": (100, "Closed"),
    "Closed Lost": (0, "Omitted"),
}  # fmt: skip
"""Probability in percent and forecast category of the standard opportunity stages."""

RESPONDED = frozenset({"Responded", "Registered", "Attended", "Clicked"})


def derive(org: Org, object_name: str, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that follow from others. `row` is the record with what was written; raises RefusedError."""
    follow = _RULES.get(object_name)
    return {} if follow is None else follow(org, row, written)


def _person(_: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "FirstName" in written or "LastName" in written:
        found["Name"] = " ".join(part for part in (row.get("FirstName"), row.get("LastName")) if part)
    if "EmailBouncedDate" in written and "IsEmailBounced" in row:
        found["IsEmailBounced"] = int(row["EmailBouncedDate"] is not None)
    return found


def _task(org: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"IsHighPriority": int(row.get("Priority") == "High")}
    if "Status" in written:
        is_closed = row.get("Status") == "Completed"
        found["IsClosed"] = int(is_closed)
        found["CompletedDateTime"] = (row.get("CompletedDateTime") or org.now_text()) if is_closed else None
    return found | _account_of_person(org, row, written)


def _account_of_person(org: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    who = row.get("WhoId")
    if "WhoId" not in written or not who or not who.startswith("003"):
        return {}
    contact = org.database.execute("SELECT AccountId FROM sf_Contact WHERE Id = ?", (who,)).fetchone()
    return {"AccountId": contact["AccountId"]} if contact is not None else {}


def _event(org: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    start = (
        written.get("StartDateTime")
        or written.get("ActivityDateTime")
        or row.get("StartDateTime")
        or row.get("ActivityDateTime")
    )
    if start is None and row.get("IsAllDayEvent") and row.get("ActivityDate"):
        start = f"{row['ActivityDate']}T00:00:00.000+0000"
    minutes, end = row.get("DurationInMinutes"), row.get("EndDateTime")
    if start is None or (minutes is None and end is None and not row.get("IsAllDayEvent")):
        fields = ("ActivityDateTime", "DurationInMinutes")
        raise RefusedError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(fields)}]", fields)
    began = parse_instant(start)
    if written.get("EndDateTime"):
        ended = parse_instant(written["EndDateTime"])
    else:
        ended = began + timedelta(minutes=minutes if minutes is not None else 1440)
    if ended < began:
        raise RefusedError(
            "FIELD_INTEGRITY_EXCEPTION", "Event duration cannot be negative. Start time is after end time", ()
        )
    found = {
        "StartDateTime": start,
        "ActivityDateTime": start,
        "ActivityDate": start[:10],
        "EndDateTime": instant_text(ended),
        "DurationInMinutes": int((ended - began).total_seconds() // 60),
    }
    return found | _account_of_person(org, row, written)


def _opportunity(org: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "StageName" in written:
        stage = row["StageName"]
        probability, category = STAGES.get(stage, (50, "Pipeline"))
        found = {
            "IsClosed": int(stage in ("Closed Won", "Closed Lost")),
            "IsWon": int(stage == "Closed Won"),
            "ForecastCategory": category,
            "LastStageChangeDate": org.now_text(),
        }
        if "Probability" not in written:
            found["Probability"] = probability
    if row.get("Amount") is not None:
        found["ExpectedRevenue"] = row["Amount"] * (found.get("Probability", row.get("Probability")) or 0) / 100
    if row.get("CloseDate"):
        year, month = int(row["CloseDate"][:4]), int(row["CloseDate"][5:7])
        found |= {"FiscalYear": year, "FiscalQuarter": (month + 2) // 3}
    return found


def _case(org: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if row.get("CaseNumber") is None:
        last = org.database.execute("SELECT coalesce(max(CaseNumber), '00001000') AS last FROM sf_Case").fetchone()
        found["CaseNumber"] = f"{int(last['last']) + 1:08d}"
    if "Status" in written:
        is_closed = row["Status"] == "Closed"
        found |= {"IsClosed": int(is_closed), "ClosedDate": org.now_text() if is_closed else None}
    return found


def _campaign_member(org: Org, row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    lead, contact = row.get("LeadId"), row.get("ContactId")
    if not lead and not contact:
        raise RefusedError("REQUIRED_FIELD_MISSING", "Required fields are missing: [LeadId]", ("LeadId",))
    has_responded = row.get("Status") in RESPONDED
    found: dict[str, Any] = {"HasResponded": int(has_responded)}
    if has_responded and row.get("FirstRespondedDate") is None:
        found["FirstRespondedDate"] = org.now().date().isoformat()
    if "CampaignId" in written:
        person, table = (contact, "sf_Contact") if contact else (lead, "sf_Lead")
        duplicate = org.database.execute(
            "SELECT Id FROM sf_CampaignMember WHERE CampaignId = ? AND LeadOrContactId = ?", (row["CampaignId"], person)
        ).fetchone()
        if duplicate is not None:
            raise RefusedError("DUPLICATE_VALUE", "Already a campaign member.", ())
        known = org.database.execute(f"SELECT Name, Email FROM {table} WHERE Id = ?", (person,)).fetchone()
        found |= {"LeadOrContactId": person, "Type": "Contact" if contact else "Lead", **dict(known)}
    return found


MAX_CONTACTS = 50


def _task_relation(org: Org, row: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    return _relation(org, row, "Task")


def _event_relation(org: Org, row: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    return _relation(org, row, "Event")


def _relation(org: Org, row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """One lead or up to 50 contacts take part in an activity, each once ("Shared Activities", Salesforce Help)."""
    known = [
        each["RelationId"]
        for each in org.database.execute(
            f'SELECT RelationId FROM "sf_{kind}Relation" WHERE {kind}Id = ? AND Id IS NOT ?',
            (row[f"{kind}Id"], row.get("Id")),
        )
    ]
    new = row["RelationId"]
    people = [each for each in (*known, new) if each.startswith(("003", "00Q"))]
    if new in known:
        raise RefusedError("DUPLICATE_VALUE", f"{new} already takes part in this activity")
    if len(people) > MAX_CONTACTS or (len(people) > 1 and any(each.startswith("00Q") for each in people)):
        raise RefusedError("FIELD_INTEGRITY_EXCEPTION", f"An activity has one lead or up to {MAX_CONTACTS} contacts")
    is_what = int(not new.startswith(("003", "00Q", "005")))
    contact = org.database.execute("SELECT AccountId FROM sf_Contact WHERE Id = ?", (new,)).fetchone()
    return {"IsWhat": is_what} | ({"AccountId": contact["AccountId"]} if contact is not None else {})


_RULES = {
    "TaskRelation": _task_relation,
    "EventRelation": _event_relation,
    "Contact": _person,
    "Lead": _person,
    "User": _person,
    "Task": _task,
    "Event": _event,
    "Opportunity": _opportunity,
    "Case": _case,
    "CampaignMember": _campaign_member,
}
