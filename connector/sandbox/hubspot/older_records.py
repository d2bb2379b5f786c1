"""Records as clients of v1 and v2 read them: contacts, companies, deals, engagements, owners. Read only.

Sources: https://legacydocs.hubspot.com/docs/methods/contacts/get_contacts, .../companies/get-all-companies,
.../deals/get-all-deals, .../engagements/get-all-engagements, .../engagements/get-recent-engagements, .../owners/get_owners
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from connector.sandbox.hubspot import linking, records
from connector.sandbox.hubspot.access import PORTAL_ID
from connector.sandbox.hubspot.answers import Refused, not_found
from connector.sandbox.hubspot.instants import parse_ms
from connector.sandbox.hubspot.object_types import BY_NAME, COMPANIES, CONTACTS, DEALS, ObjectType
from connector.sandbox.hubspot.records import Record
from connector.sandbox.hubspot.serving import Answer, Call

PAGE, NEWEST_PAGE = 250, 100
RECENT_MS = 30 * 86_400_000
MOST_RECENT = 10_000
#: Engagement type -> our object type, and the names in its metadata with the properties that they are now.
ENGAGEMENTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "NOTE": ("notes", {"body": "hs_note_body"}),
    "CALL": ("calls", {"body": "hs_call_body", "title": "hs_call_title", "status": "hs_call_status", "disposition": "hs_call_disposition",
                       "fromNumber": "hs_call_from_number", "toNumber": "hs_call_to_number", "durationMilliseconds": "hs_call_duration"}),
    "EMAIL": ("emails", {"subject": "hs_email_subject", "text": "hs_email_text", "html": "hs_email_html", "status": "hs_email_status",
                         "from": "hs_email_from_email", "to": "hs_email_to_email", "cc": "hs_email_cc_email"}),
    "MEETING": ("meetings", {"title": "hs_meeting_title", "body": "hs_meeting_body", "startTime": "hs_meeting_start_time",
                             "endTime": "hs_meeting_end_time"}),
    "TASK": ("tasks", {"subject": "hs_task_subject", "body": "hs_task_body", "status": "hs_task_status", "taskType": "hs_task_type",
                       "completionDate": "hs_task_completion_date"}),
}  # fmt: skip
_ENDS = (("contactIds", "contacts"), ("companyIds", "companies"), ("dealIds", "deals"), ("ticketIds", "tickets"))


# ------------------------------------------------------------------------------------------------ companies and deals


def list_companies(call: Call) -> Answer:
    """`GET /companies/v2/companies/paged`: by id, at most 250 a page."""
    rows, more = _by_id(call, COMPANIES, call.limit(100, PAGE), "offset")
    offset = rows[-1].id if rows else _offset(call, "offset")
    body = {"companies": [_company(call, each) for each in rows], "has-more": more, "offset": offset}
    return Answer(200, body, len(rows))


def recent_companies(call: Call) -> Answer:
    """`GET /companies/v2/companies/recent/modified`: of the last 30 days, newest first."""
    return _recent(call, COMPANIES, _company)


def get_company(call: Call) -> Answer:
    """`GET /companies/v2/companies/{id}`."""
    return Answer(200, _company(call, _one(call, COMPANIES)), 1)


def list_deals(call: Call) -> Answer:
    """`GET /deals/v1/deal/paged`, with `includeAssociations=true` who and what they are with."""
    rows, more = _by_id(call, DEALS, call.limit(100, PAGE), "offset")
    offset = rows[-1].id if rows else _offset(call, "offset")
    return Answer(200, {"deals": [_deal(call, each) for each in rows], "hasMore": more, "offset": offset}, len(rows))


def recent_deals(call: Call) -> Answer:
    """`GET /deals/v1/deal/recent/modified`: of the last 30 days, newest first."""
    return _recent(call, DEALS, _deal)


def get_deal(call: Call) -> Answer:
    """`GET /deals/v1/deal/{id}`."""
    return Answer(200, _deal(call, _one(call, DEALS)), 1)


def _company(call: Call, record: Record) -> dict[str, Any]:
    return {
        "portalId": PORTAL_ID, "companyId": record.id, "isDeleted": False, "properties": _properties(call, COMPANIES, record),
        "additionalDomains": [], "stateChanges": [], "mergeAudits": [],
    }  # fmt: skip


def _deal(call: Call, record: Record) -> dict[str, Any]:
    is_listed = "/paged" in call.path
    has_links = not is_listed or call.one("includeAssociations").lower() == "true"
    links = _links(call, DEALS, record, (("associatedVids", "contacts"), ("associatedCompanyIds", "companies")))
    return {
        "portalId": PORTAL_ID, "dealId": record.id, "isDeleted": False, "properties": _properties(call, DEALS, record),
        **({"associations": {**links, "associatedDealIds": []}} if has_links else {}), "imports": [], "stateChanges": [],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ contacts


def list_contacts(call: Call) -> Answer:
    """`GET /contacts/v1/lists/all/contacts/all`: by id, `count` of at most 100, from `vidOffset` on."""
    rows, more = _by_id(call, CONTACTS, _count(call), "vidOffset")
    offset = rows[-1].id if rows else _offset(call, "vidOffset")
    return Answer(
        200, {"contacts": [_contact(call, each) for each in rows], "has-more": more, "vid-offset": offset}, len(rows)
    )


def recent_contacts(call: Call) -> Answer:
    """`GET /contacts/v1/lists/recently_updated/contacts/recent`: newest first, before `timeOffset` and `vidOffset`."""
    count = _count(call)
    before = (_offset(call, "timeOffset") or call.now_ms + 1, _offset(call, "vidOffset"))
    rows = call.context.database.execute(
        f"SELECT * FROM {CONTACTS.table} WHERE archived_ms IS NULL AND modified_ms >= ?"
        " AND (modified_ms < ?2 OR (modified_ms = ?2 AND id < ?3)) ORDER BY modified_ms DESC, id DESC LIMIT ?",
        (call.now_ms - RECENT_MS, *before, count + 1),
    ).fetchall()
    found = [records.from_row(row) for row in rows[:count]]
    body: dict[str, Any] = {"contacts": [_contact(call, each) for each in found], "has-more": len(rows) > count}
    last = found[-1] if found else None
    body |= {"vid-offset": last.id if last else 0, "time-offset": last.modified_ms if last else 0}
    return Answer(200, body, len(found))


def get_contact(call: Call) -> Answer:
    """`GET /contacts/v1/contact/vid/{id}/profile`."""
    return Answer(200, _contact(call, _one(call, CONTACTS)), 1)


def get_contact_by_email(call: Call) -> Answer:
    """`GET /contacts/v1/contact/email/{email}/profile`."""
    held = records.holder(call.context.database, CONTACTS, "email", call.parts["email"])
    found = None if held is None else records.fetch(call.context.database, CONTACTS, [held]).get(held)
    if found is None:
        raise not_found()
    return Answer(200, _contact(call, found), 1)


def _contact(call: Call, record: Record) -> dict[str, Any]:
    email, merged = record.properties.get("email"), record.properties.get("hs_merged_object_ids")
    addresses = [email, *(record.properties.get("hs_additional_emails") or "").split(";")]
    identities = [
        {
            "type": "EMAIL",
            "value": each,
            "timestamp": record.created_ms,
            **({"is-primary": True} if each == email else {}),
        }
        for each in addresses
        if each
    ]
    return {
        "addedAt": record.created_ms, "vid": record.id, "canonical-vid": record.id,
        "merged-vids": [int(each) for each in (merged or "").split(";") if each], "portal-id": PORTAL_ID, "is-contact": True,
        "properties": _properties(call, CONTACTS, record), "form-submissions": [], "merge-audits": [],
        "identity-profiles": [
            {"vid": record.id, "saved-at-timestamp": record.created_ms, "deleted-changed-timestamp": 0, "identities": identities}
        ],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ engagements


def list_engagements(call: Call) -> Answer:
    """`GET /engagements/v1/engagements/paged`: by id, at most 250 a page."""
    limit, start = call.limit(100, PAGE), _offset(call, "offset")
    rows = _engagements(call, "id > ?", (start,), "id", limit + 1)
    shown = [_engagement(call, *each) for each in rows[:limit]]
    offset = rows[:limit][-1][1].id if shown else start
    return Answer(200, {"results": shown, "hasMore": len(rows) > limit, "offset": offset}, len(shown))


def recent_engagements(call: Call) -> Answer:
    """`GET /engagements/v1/engagements/recent/modified`: of the last 30 days, newest first, 10,000 at most."""
    count, offset, since = _count(call), _offset(call, "offset"), max(_offset(call, "since"), call.now_ms - RECENT_MS)
    if offset + count > MOST_RECENT:
        raise Refused(400, f"At most {MOST_RECENT} engagements can be read this way.")
    rows = _engagements(call, "modified_ms >= ?", (since,), "modified_ms DESC, id DESC", MOST_RECENT)
    shown = [_engagement(call, *each) for each in rows[offset : offset + count]]
    has_more = len(rows) > offset + count
    body = {"results": shown, "hasMore": has_more, "offset": offset + len(shown), "total": len(rows)}
    return Answer(200, body, len(shown))


def engagements_after(call: Call) -> Answer:
    """`GET /engagements/v1/engagements/modified/after?after={ms}`: all of those types, no cap."""
    limit, after = call.limit(100, PAGE), _offset(call, "after")
    rows = _engagements(call, "modified_ms > ?", (after,), "modified_ms, id", limit + 1)
    while len(rows) > limit and rows[limit][1].modified_ms == rows[limit - 1][1].modified_ms:
        limit += 1  # what was changed in one millisecond stays together: the next page begins after it
        rows = _engagements(call, "modified_ms > ?", (after,), "modified_ms, id", limit + 1)
    shown = rows[:limit]
    last = shown[-1][1].modified_ms if shown else after
    body = {"results": [_engagement(call, *each) for each in shown], "hasMore": len(rows) > limit, "after": last}
    return Answer(200, body, len(shown))


def get_engagement(call: Call) -> Answer:
    """`GET /engagements/v1/engagements/{id}`."""
    number = records.as_id(call.parts["id"])
    found = _engagements(call, "id = ?", (number,), "id", 1)
    if not found:
        raise not_found()
    return Answer(200, _engagement(call, *found[0]), 1)


def _engagements(call: Call, where: str, variables: Sequence[Any], order: str, limit: int) -> list[tuple[str, Record]]:
    """Live activities of all types, each with the name of its type."""
    parts = [
        f"SELECT '{name}' AS engagement, * FROM {BY_NAME[kind].table} WHERE archived_ms IS NULL AND {where}"
        for name, (kind, _) in ENGAGEMENTS.items()
    ]
    statement = f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY {order} LIMIT ?"
    rows = call.context.database.execute(statement, (*(list(variables) * len(parts)), limit))
    return [(row["engagement"], records.from_row(row)) for row in rows]


def _engagement(call: Call, name: str, record: Record) -> dict[str, Any]:
    kind, metadata = ENGAGEMENTS[name]
    held = record.properties
    owner = records.as_id(held.get("hubspot_owner_id") or "")
    told = {
        "id": record.id, "portalId": PORTAL_ID, "active": True, "createdAt": record.created_ms,
        "lastUpdated": record.modified_ms, "type": name, "timestamp": parse_ms(held.get("hs_timestamp") or "") or record.created_ms,
        **({"ownerId": owner} if owner is not None else {}),
    }  # fmt: skip
    links = _links(call, BY_NAME[kind], record, _ENDS)
    said = {name: _metadatum(name, held[key], held) for name, key in metadata.items() if held.get(key)}
    associations = {**links, "ownerIds": [owner] if owner is not None else [], "workflowIds": []}
    return {"engagement": told, "associations": associations, "attachments": [], "metadata": said}


def _metadatum(name: str, text: str, held: Mapping[str, str]) -> Any:
    """A property as the metadata of an engagement has it: times in milliseconds, addresses as objects."""
    if name in ("startTime", "endTime", "completionDate"):
        return parse_ms(text)
    if name == "durationMilliseconds":
        return int(float(text))
    if name == "from":
        names = {"firstName": held.get("hs_email_from_firstname"), "lastName": held.get("hs_email_from_lastname")}
        return {"email": text, **{key: value for key, value in names.items() if value}}
    if name in ("to", "cc"):
        return [{"email": each.strip()} for each in text.split(";") if each.strip()]
    return text


# ------------------------------------------------------------------------------------------------ owners


def list_owners(call: Call) -> Answer:
    """`GET /owners/v2/owners`: the bare list, by e-mail where asked for."""
    email = call.one("email").strip().lower()
    rows = call.context.database.execute(
        "SELECT body FROM hubspot_owner WHERE archived = 0 AND (? = '' OR email = ?) ORDER BY id", (email, email)
    )
    shown = [
        {
            "portalId": PORTAL_ID, "ownerId": int(each["id"]), "type": each["type"], "firstName": each["firstName"],
            "lastName": each["lastName"], "email": each.get("email"), "createdAt": parse_ms(each["createdAt"]),
            "updatedAt": parse_ms(each["updatedAt"]), "remoteList": [], "isActive": True, "activeUserId": each["userId"],
        }
        for each in (orjson.loads(row["body"]) for row in rows)
    ]  # fmt: skip
    return Answer(200, shown, len(shown))


# ------------------------------------------------------------------------------------------------ in common


def _count(call: Call) -> int:
    """How many of the newest; of more than a hundred come a hundred."""
    count = records.as_id(call.one("count") or 20)
    if not count:
        raise Refused(400, "count must be a number from 1 on")
    return min(count, NEWEST_PAGE)


def _offset(call: Call, name: str) -> int:
    found = records.as_id(call.one(name) or 0)
    if found is None:
        raise Refused(400, f"{name} must be a number")
    return found


def _by_id(call: Call, kind: ObjectType, limit: int, offset_name: str) -> tuple[list[Record], bool]:
    rows = call.context.database.execute(
        f"SELECT * FROM {kind.table} WHERE archived_ms IS NULL AND id > ? ORDER BY id LIMIT ?",
        (_offset(call, offset_name), limit + 1),
    ).fetchall()
    return [records.from_row(row) for row in rows[:limit]], len(rows) > limit


def _recent(call: Call, kind: ObjectType, shown: Callable[[Call, Record], dict[str, Any]]) -> Answer:
    count, offset = _count(call), _offset(call, "offset")
    since = max(_offset(call, "since"), call.now_ms - RECENT_MS)
    rows = call.context.database.execute(
        f"SELECT * FROM {kind.table} WHERE archived_ms IS NULL AND modified_ms >= ? ORDER BY modified_ms DESC, id DESC LIMIT ?",
        (since, MOST_RECENT),
    ).fetchall()
    page = [shown(call, records.from_row(row)) for row in rows[offset : offset + count]]
    body = {"results": page, "hasMore": len(rows) > offset + count, "offset": offset + len(page), "total": len(rows)}
    return Answer(200, body, len(page))


def _one(call: Call, kind: ObjectType) -> Record:
    number = records.as_id(call.parts["id"])
    found = None if number is None else records.fetch(call.context.database, kind, [number]).get(number)
    if found is None or found.archived_ms is not None:
        raise not_found()
    return found


def _properties(call: Call, kind: ObjectType, record: Record) -> dict[str, dict[str, Any]]:
    """The properties asked for (all that are set, of one record), with when and by what they were set, as far as is known."""
    wanted = [
        part for name in ("properties", "property") for text in call.query.get(name, ()) for part in text.split(",")
    ]
    is_one = not ({"paged", "modified", "all", "recent"} & set(call.path.split("/")))
    names = wanted or (list(record.properties) if is_one else list(kind.default_properties))
    return {
        name: {"value": _old(record.properties[name]), "timestamp": record.modified_ms, "source": "API", "sourceId": None, "versions": []}
        for name in names
        if record.properties.get(name)
    }  # fmt: skip


def _old(value: str) -> str:
    """Instants were milliseconds then."""
    ms = parse_ms(value) if len(value) > 10 and value[4:5] == "-" and value.endswith("Z") else None
    return value if ms is None else str(ms)


def _links(call: Call, kind: ObjectType, record: Record, ends: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    found = {}
    for name, other in ends:
        found[name] = list(linking.linked(call.context.database, kind.name, [record.id], other).get(record.id, {}))
    return found
