"""What `apply` makes of native rows: records, identifiers, activities, roles, observed values, notes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from connector import mapping, tables

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
THEN = datetime(2026, 11, 20, 14, 2, tzinfo=UTC)


def page(*natives: dict[str, Any] | str, object_type: str | None = None, **header: Any) -> pa.Table:
    """Rows of natives; `id`, `is_deleted` and `merged_into` may stand in a native as `_id`, `_deleted`, `_merged_into`."""
    rows = []
    for number, native in enumerate(natives):
        own = dict(native) if isinstance(native, dict) else {}
        row = {
            "native_id": own.pop("_id", str(number)),
            "object_type": object_type,
            "created_at": THEN,
            "modified_at": own.pop("_modified_at", THEN),
            "is_deleted": own.pop("_deleted", False),
            "merged_into": own.pop("_merged_into", None),
            "native": orjson.dumps(own).decode() if isinstance(native, dict) else native,
        }
        rows.append({**row, **header})
    return pa.Table.from_pylist(rows, schema=tables.PAGE)


def applied(system: str, stream: str, *natives: dict[str, Any] | str, **options: Any) -> mapping.Mapped:
    override = options.pop("override", None)
    overrides = {stream: mapping.MappingSection.model_validate(override)} if override else {}
    return mapping.apply(
        page(*natives), mapping.load(system, overrides)[stream], system=system, region=options.get("region", "DE"),
        outputs=options.get("outputs", ()), now=NOW,
    )  # fmt: skip


def values(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def by_type(mapped: mapping.Mapped) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in mapped.identifiers.to_pylist():
        found.setdefault(row["type"], []).append(row["value"])
    return found


# -------------------------------------------------------------------------------------------------------------- people


def test_a_hubspot_contact_becomes_a_canonical_person() -> None:
    mapped = applied(
        "hubspot",
        "contacts",
        {
            "_id": "51412", "email": "Ann.Meyer@Northwind.com", "firstname": " Ann ", "lastname": "Meyer",
            "jobtitle": "VP Operations", "country": "Germany", "phone": "030 5550100", "mobilephone": "+49 171 5550100",
            "hs_email_optout": "true", "lifecyclestage": "lead", "associatedcompanyid": "9", "hubspot_owner_id": "7",
            "hs_email_hard_bounce_reason_enum": None, "hs_email_bad_address": "false", "date_of_birth": "1980-05-06",
        },
    )  # fmt: skip
    [person] = mapped.records.to_pylist()
    expected = {
        "key": "hubspot|contacts|51412", "email": "ann.meyer@northwind.com", "first_name": "Ann", "seniority": "vp",
        "function": "operations", "country": "DE", "phone": "+49305550100", "mobile": "+491715550100",
        "is_email_opted_out": True, "is_email_dead": False, "crm_stage": "lead", "account": "hubspot|companies|9",
        "owner": "7", "deleted_at": None, "ingestion": None, "run": None,
    }  # fmt: skip
    assert {name: person[name] for name in expected} == expected
    assert person["birth_date"].isoformat() == "1980-05-06"
    assert mapped.records.schema == tables.record_schema("person")
    assert mapped.quarantined.num_rows == 0


def test_every_address_is_an_identifier_with_its_weaker_form() -> None:
    mapped = applied(
        "hubspot", "contacts",
        {"email": "ann+crm@x.de", "hs_additional_emails": "Ann@x.de; ann.m@gmail.com", "phone": "030 5550100",
         "mobilephone": "+49305550100", "twitterhandle": "@Ann", "hs_linkedin_url": "https://linkedin.com/in/Ann-M"},
    )  # fmt: skip
    found = by_type(mapped)
    assert sorted(found["email"]) == ["ann+crm@x.de", "ann.m@gmail.com", "ann@x.de"]
    assert sorted(found["email_base"]) == ["ann@x.de", "annm@gmail.com"]
    assert found["phone"] == ["+49305550100"]
    assert sorted(found["social_handle"]) == ["linkedin:ann-m", "twitter:ann"]
    assert mapped.identifiers.schema == tables.stored("identifier")


def test_a_national_number_is_read_in_the_country_of_its_record() -> None:
    mapped = applied(
        "hubspot", "contacts", {"country": "UK", "phone": "0207 2213700"}, {"country": None, "phone": "030 5550100"},
        {"country": "Atlantis", "mobilephone": "0171 5550100"},
    )  # fmt: skip
    assert by_type(mapped) == {"phone": ["+442072213700", "+49305550100", "+491715550100"]}
    assert values(mapped.records, "phone", "mobile") == [
        ("+442072213700", None), ("+49305550100", None), (None, "+491715550100"),
    ]  # fmt: skip


def test_a_converted_lead_names_the_contact_that_it_became() -> None:
    mapped = applied(
        "salesforce", "leads", {"_id": "00Q1", "IsConverted": True, "ConvertedContactId": "0031", "Email": None}
    )
    assert values(mapped.records, "is_converted") == [(True,)]
    assert values(mapped.identifiers, "type", "value", "is_verified") == [("crm_id", "salesforce|Contact|0031", True)]


def test_an_id_of_another_system_is_the_key_of_its_record() -> None:
    override = {"identifiers": {"crm_id": [{"from": "HubSpot_Id__c", "of": "hubspot.contacts"}]}}
    mapped = applied("salesforce", "contacts", {"HubSpot_Id__c": "51412"}, {"HubSpot_Id__c": "n/a"}, override=override)
    assert by_type(mapped) == {"crm_id": ["hubspot|contacts|51412"]}


def test_a_deleted_row_keeps_its_header_and_names_its_survivor() -> None:
    mapped = applied("hubspot", "contacts", {"_id": "1", "email": "a@x.de", "_deleted": True, "_merged_into": "2"})
    assert values(mapped.records, "key", "merged_into", "email") == [("hubspot|contacts|1", "hubspot|contacts|2", None)]
    assert values(mapped.records, "deleted_at") == [(THEN,)]
    assert by_type(mapped) == {"crm_id": ["hubspot|contacts|2"]}


def test_a_value_that_cannot_be_read_is_set_aside_without_being_kept_and_the_record_goes_on() -> None:
    mapped = applied(
        "hubspot", "contacts", {"_id": "1", "email": "ann at x.de", "country": "Atlantis", "firstname": "Ann"}
    )
    assert values(mapped.records, "first_name", "email", "country") == [("Ann", None, None)]
    assert sorted(values(mapped.quarantined, "record", "stream", "field", "reason")) == [
        ("hubspot|contacts|1", "contacts", "country", "not a country"),
        ("hubspot|contacts|1", "contacts", "email", "not an e-mail address"),
    ]
    assert "ann at x.de" not in json.dumps(mapped.quarantined.to_pylist())
    assert mapped.quarantined.column("value_hash").null_count == 0


def test_a_record_without_an_id_or_an_object_is_refused_by_name_and_the_others_go_on() -> None:
    mapped = applied(
        "hubspot",
        "contacts",
        {"_id": None, "email": "a@x.de"},
        {"_id": "", "email": "b@x.de"},
        "[1]",
        "not json",
        {"email": "c@x.de"},
    )
    assert mapped.refused == 4
    assert sorted(values(mapped.quarantined, "field", "reason")) == [
        ("", "a record without an id"), ("", "a record without an id"),
        ("", "its native fields are not a JSON object"), ("", "its native fields are not a JSON object"),
    ]  # fmt: skip
    assert values(mapped.records, "email") == [("c@x.de",)]


def test_of_two_rows_of_a_record_the_newer_one_counts() -> None:
    later = datetime(2026, 11, 21, tzinfo=UTC)
    mapped = applied(
        "hubspot", "contacts", {"_id": "1", "city": "new", "_modified_at": later}, {"_id": "1", "city": "old"}
    )
    assert values(mapped.records, "city") == [("new",)]
    assert (mapped.filtered, mapped.superseded) == (0, 1)


def test_of_two_rows_of_an_activity_the_older_one_is_counted_as_superseded() -> None:
    mapped = applied("hubspot", "notes", {"_id": "1"}, {"_id": "1"}, {"_id": "2"})
    assert (mapped.activities.num_rows, mapped.filtered, mapped.superseded) == (2, 0, 1)


def test_a_yes_from_any_of_several_fields_is_a_yes() -> None:
    mapped = applied(
        "hubspot", "contacts", {"hs_email_bad_address": "false", "hs_email_hard_bounce_reason_enum": "UNKNOWN_USER"},
        {"hs_email_bad_address": "true"}, {"hs_email_bad_address": "false"},
    )  # fmt: skip
    assert values(mapped.records, "is_email_dead") == [(True,), (True,), (False,)]


def test_the_version_changes_with_what_is_mapped_and_with_nothing_else() -> None:
    def version(**native: Any) -> Any:
        return applied("hubspot", "contacts", native).records["version"].to_pylist()

    base = version(city="Berlin", phone="030 5550100")
    assert version(city="Berlin", phone="030 5550100", connector_score="70", hs_note="x") == base
    assert version(city=" Berlin ", phone="030 5550100") == base
    assert version(city="Bonn", phone="030 5550100") != base
    assert version(city="Berlin", phone="030 5550100", hs_additional_emails="ann@x.de") != base
    assert version(city="Berlin", phone="030 5550100", _deleted=True) != base


def test_what_our_output_fields_hold_is_observed_as_text() -> None:
    mapped = applied(
        "salesforce", "contacts", {"_id": "1", "Score__c": 41.0, "Grade__c": "B"}, {"_id": "2", "Score__c": 41.5, "Grade__c": None},
        {"_id": "3", "Score__c": 1, "_deleted": True}, outputs=("Score__c", "Grade__c", "Stage__c"),
    )  # fmt: skip
    assert sorted(values(mapped.observed, "record", "field", "value"), key=str) == [
        ("salesforce|Contact|1", "Grade__c", "B"), ("salesforce|Contact|1", "Score__c", "41"),
        ("salesforce|Contact|2", "Grade__c", None), ("salesforce|Contact|2", "Score__c", "41.5"),
    ]  # fmt: skip
    assert mapped.observed.schema == tables.OBSERVED


def test_a_trace_of_which_a_record_keeps_the_last_instant_is_an_activity() -> None:
    override = {"traces": {"logged_in": "Last_Login__c"}}
    mapped = applied(
        "salesforce",
        "contacts",
        {"_id": "1", "Last_Login__c": "2026-11-20T14:02:00.000+0000"},
        {"_id": "2"},
        override=override,
    )
    assert values(mapped.activities, "key", "kind", "happened_at", "record") == [
        ("salesforce|contacts|1/logged_in/2026-11-20T14:02:00Z|salesforce|Contact|1", "logged_in", THEN, "salesforce|Contact|1")
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------- accounts, deals, cases


def test_a_company_has_its_domains_and_its_name_as_identifiers() -> None:
    mapped = applied(
        "hubspot", "companies",
        {"name": "Northwind GmbH", "domain": "northwind.com", "website": "https://www.northwind.com/", "numberofemployees": "620",
         "annualrevenue": "1.5E7", "hs_additional_domains": "northwind.de;northwind.com"},
    )  # fmt: skip
    assert values(mapped.records, "employees", "annual_revenue") == [(620, Decimal("15000000.00"))]
    assert by_type(mapped) == {"domain": ["northwind.com", "northwind.de"], "account_name": ["northwind"]}
    assert set(mapped.identifiers["record_kind"].to_pylist()) == {"account"}


def test_a_deal_lists_the_roles_of_its_contacts() -> None:
    mapped = applied(
        "hubspot", "deals",
        {"_id": "5", "amount": "1200.5", "hs_is_closed": "true", "hs_is_closed_won": "true", "closedate": "2026-11-20T14:02:00Z",
         "associations.contacts": ["1", "2"], "associations.companies": ["9"]},
        {"_id": "6", "hs_is_closed": "false", "closedate": "2027-01-01T00:00:00Z", "associations.contacts": []},
    )  # fmt: skip
    assert values(mapped.records, "account", "amount", "is_won", "closed_at") == [
        ("hubspot|companies|9", Decimal("1200.50"), True, THEN), (None, None, None, None),
    ]  # fmt: skip
    assert values(mapped.roles, "opportunity", "person") == [
        ("hubspot|deals|5", "hubspot|contacts|1"), ("hubspot|deals|5", "hubspot|contacts|2"),
    ]  # fmt: skip
    assert mapped.roles.schema == tables.record_schema("contact_role")


def test_a_salesforce_contact_role_is_a_record_of_its_own() -> None:
    native = {"_id": "00K1", "OpportunityId": "0061", "ContactId": "0031", "Role": "Evaluator", "IsPrimary": True}
    mapped = applied("salesforce", "contact_roles", native)
    assert values(mapped.records, "opportunity", "person", "role", "is_primary") == [
        ("salesforce|Opportunity|0061", "salesforce|Contact|0031", "Evaluator", True)
    ]


def test_an_opened_case_is_an_activity_of_its_person() -> None:
    native = {"_id": "5001", "ContactId": "0031", "CreatedDate": "2026-11-20T14:02:00.000+0000", "IsClosed": False}
    mapped = applied("salesforce", "cases", native)
    assert values(mapped.records, "person", "is_closed") == [("salesforce|Contact|0031", False)]
    assert values(mapped.activities, "kind", "record", "happened_at") == [
        ("case_opened", "salesforce|Contact|0031", THEN)
    ]


def test_owners_have_a_name_made_of_its_parts() -> None:
    native = {"firstName": "Joe", "lastName": "Diaz", "email": "joe@us.com", "archived": False}
    mapped = applied("hubspot", "owners", native | {"userIdIncludingInactive": 11203})
    names = ("name", "email", "is_active", "user_id")
    assert values(mapped.records, *names) == [("Joe Diaz", "joe@us.com", True, "11203")]


# ---------------------------------------------------------------------------------------------------------- activities


@pytest.mark.parametrize(
    ("native", "kind", "channel"),
    [
        ({"TaskSubtype": "Call", "IsClosed": True}, "call_made", "phone"),
        ({"TaskSubtype": "Email", "IsClosed": True, "Subject": "Email: offer"}, "email_sent", "email"),
        ({"TaskSubtype": "Email", "IsClosed": True, "Subject": "Email: << offer"}, "email_received", "email"),
        ({"TaskSubtype": "Task", "IsClosed": True, "Subject": "SMS: hello"}, "sms_sent", "sms"),
        ({"TaskSubtype": "Task", "IsClosed": True}, "task_done", None),
    ],
)
def test_a_done_salesforce_task_is_the_activity_that_its_subtype_says(
    native: dict[str, Any], kind: str, channel: str | None
) -> None:
    mapped = applied("salesforce", "tasks", {**native, "WhoId": "0031", "WhatId": "0061"})
    assert values(mapped.activities, "kind", "channel", "record", "opportunity") == [
        (kind, channel, "salesforce|Contact|0031", "salesforce|Opportunity|0061")
    ]
    assert mapped.activities.schema == tables.ACTIVITY


def test_an_open_task_is_no_activity_and_is_counted_as_filtered() -> None:
    mapped = applied("salesforce", "tasks", {"TaskSubtype": "Call", "IsClosed": False, "WhoId": "00Q1"})
    assert (mapped.activities.num_rows, mapped.filtered) == (0, 1)


def test_a_task_that_we_made_is_filtered_as_our_own_open_or_done() -> None:
    mapped = applied(
        "salesforce", "tasks", {"IsClosed": False, "Task_Key__c": "k1", "WhoId": "00Q1", "Subject": "Call ann@example.com"},
        {"IsClosed": True, "Task_Key__c": "k2", "WhoId": "00Q1"},
    )  # fmt: skip
    assert values(mapped.activities, "task_key", "filtered_because", "subject") == [
        ("k1", "own", None),
        ("k2", "own", None),
    ], "of somebody who was purged, and is no more in any system, nothing is left but such a text"


def test_a_campaign_member_that_responded_is_a_response_at_its_own_date() -> None:
    mapped = applied(
        "salesforce", "campaign_members",
        {"ContactId": "0031", "LeadId": "00Q1", "HasResponded": True, "FirstRespondedDate": "2026-11-21", "Campaign.Name": "Fair"},
        {"ContactId": None, "LeadId": "00Q2", "HasResponded": False, "Campaign.Name": "Fair"},
    )  # fmt: skip
    assert values(mapped.activities, "kind", "record", "happened_at", "campaign") == [
        ("campaign_responded", "salesforce|Contact|0031", datetime(2026, 11, 21, tzinfo=UTC), "Fair"),
        ("campaign_sent", "salesforce|Lead|00Q2", THEN, "Fair"),
    ]


def test_an_engagement_is_an_activity_of_each_of_its_contacts_and_of_nobody_if_it_has_none() -> None:
    mapped = applied(
        "hubspot", "calls", {"_id": "1", "associations.contacts": ["1", "2"], "associations.companies": ["9"]},
        {"_id": "2", "associations.contacts": []},
    )  # fmt: skip
    assert values(mapped.activities, "key", "account") == [
        ("hubspot|calls|1|hubspot|contacts|1", "hubspot|companies|9"),
        ("hubspot|calls|1|hubspot|contacts|2", "hubspot|companies|9"),
        ("hubspot|calls|2|", None),
    ]


@pytest.mark.parametrize(
    ("outcome", "kind", "happened_at"),
    [("COMPLETED", "meeting_held", THEN), ("SCHEDULED", "meeting_booked", datetime(2026, 11, 1, tzinfo=UTC))],
)
def test_a_meeting_is_booked_when_it_was_made_and_held_when_it_began(
    outcome: str, kind: str, happened_at: datetime
) -> None:
    native = {
        "hs_meeting_outcome": outcome,
        "hs_meeting_start_time": "2026-11-20T14:02:00Z",
        "hs_createdate": "2026-11-01T00:00:00Z",
    }
    mapped = applied("hubspot", "meetings", native)
    assert values(mapped.activities, "kind", "happened_at") == [(kind, happened_at)]


def test_a_cancelled_meeting_is_no_activity() -> None:
    assert applied("hubspot", "meetings", {"hs_meeting_outcome": "CANCELED"}).filtered == 1


def test_a_trace_that_names_only_an_address_belongs_to_a_visitor_who_has_it() -> None:
    form = {
        "submittedAt": 1_763_647_320_000,
        "form.name": "Book a demo",
        "email": "Ann+form@X.de",
        "pageUrl": "https://us.com/demo",
    }
    mapped = applied("hubspot", "form_submissions", form, {**form, "email": "nonsense"}, form)
    key = tables.visitor_key("hubspot", "email", "ann+form@x.de")
    assert values(mapped.activities, "kind", "record", "subject") == [
        ("form_submitted", key, "Book a demo"), ("form_submitted", key, "Book a demo"), ("form_submitted", None, "Book a demo"),
    ]  # fmt: skip
    assert json.loads(mapped.activities["properties"][0].as_py()) == {
        "name": "Book a demo",
        "page": "https://us.com/demo",
    }
    assert values(mapped.visitors, "key", "object_type", "email") == [(key, "visitor", "ann+form@x.de")]
    assert tables.record_key("hubspot", "visitor", mapped.visitors["native_id"][0].as_py()) == key
    assert sorted(values(mapped.identifiers, "record", "type", "value")) == [
        (key, "email", "ann+form@x.de"), (key, "email_base", "ann@x.de"),
    ]  # fmt: skip
    assert values(mapped.quarantined, "field", "reason") == [("email", "not an e-mail address")]


def test_a_visitor_whom_two_links_name_began_with_the_earlier_trace() -> None:
    links = [{"from": "email", "identifier": "email"}, {"from": "referred_by", "identifier": "email"}]
    later, earlier = ({"submittedAt": int(at.timestamp() * 1000)} for at in (NOW, THEN))
    mapped = applied(
        "hubspot", "form_submissions", {**later, "email": "ann@x.de"}, {**earlier, "referred_by": "ann@x.de"},
        override={"activity": {"links": links}},
    )  # fmt: skip
    assert values(mapped.visitors, "email", "created_at") == [("ann@x.de", THEN)]


def test_clicks_of_machines_are_filtered_as_scanner_and_clicks_of_people_are_not() -> None:
    event = {
        "recipient": "ann@x.de",
        "created": 1_763_647_320_000,
        "type": "CLICK",
        "userAgent": "Mozilla/5.0",
        "filteredEvent": False,
    }
    mapped = applied(
        "hubspot", "email_events",
        {**event, "_id": "1"},
        {**event, "_id": "2", "userAgent": "Mozilla/5.0 (compatible; Acme-LinkCheck/2)"},
        {**event, "_id": "3", "filteredEvent": True},
        {**event, "_id": "4", "sentBy.created": 1_763_647_317_000},
        {**event, "_id": "5", "sentBy.created": 1_763_640_000_000},
        {**event, "_id": "6", "type": "SENT", "filteredEvent": True},
        {**event, "_id": "7", "type": "DEFERRED"},
    )  # fmt: skip
    assert sorted(values(mapped.activities, "native_id", "kind", "filtered_because")) == [
        ("1", "email_clicked", None), ("2", "email_clicked", "scanner"), ("3", "email_clicked", "scanner"),
        ("4", "email_clicked", "scanner"), ("5", "email_clicked", None), ("6", "email_sent", None),
    ]  # fmt: skip
    assert mapped.filtered == 1


def test_a_deleted_activity_says_so_even_if_its_fields_are_empty() -> None:
    mapped = applied("salesforce", "tasks", {"_id": "00T1", "_deleted": True})
    assert values(mapped.activities, "native_id", "deleted_at", "record") == [("00T1", THEN, None)]


@pytest.mark.parametrize("system", ["salesforce", "hubspot", "memory"])
def test_every_stream_maps_no_rows_and_rows_without_any_field(system: str) -> None:
    for stream, one in mapping.load(system, {}).items():
        for rows in (page(), page({}, {"_deleted": True})):
            mapped = mapping.apply(rows, one, system=system, region="", outputs=("x",), now=NOW)
            given = mapped.records.num_rows if one.kind != "activity" else mapped.activities.num_rows
            assert given + mapped.filtered + mapped.refused == rows.num_rows, stream
