"""Whatever is sent, the org answers or refuses: nothing makes it fall over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.sandbox import salesforce
from connector.sandbox.context import make_context
from connector.sandbox.database import open_database, transaction
from connector.sandbox.salesforce.api import dispatch
from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.org import Org, org_of
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.seeding import INTEGRATION_USER_ID
from connector.sandbox.salesforce.soql import Queries

SCALARS = (
    st.none() | st.booleans() | st.integers(-10, 10**12) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
KEYS = st.sampled_from(
    ["attributes", "type", "records", "Id", "id", "LastName", "Email", "OwnerId", "Owner", "DoNotCall", "AnnualRevenue", "ids",
     "fields", "compositeRequest", "batchRequests", "method", "url", "referenceId", "body", "httpHeaders", "allOrNone", "x"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["Lead", "GET", "POST", "/services/data/v62.0/composite/sobjects", "a", "@{a.id}", "00Q5g0000000001EAA"]
)
BODIES = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25
)
FIELDS = ("Id", "LastName", "Email", "OwnerId", "Owner", "DoNotCall", "AnnualRevenue", "EmailBouncedDate")
TYPED = st.fixed_dictionaries(
    {"attributes": st.just({"type": "Lead"}) | BODIES}, optional=dict.fromkeys(FIELDS, SCALARS | WORDS | BODIES)
)
RECORDS = st.fixed_dictionaries({"records": st.lists(TYPED, max_size=4) | BODIES}, optional={"allOrNone": BODIES})
PARTS = st.fixed_dictionaries(
    {
        "method": WORDS | st.sampled_from(["GET", "PATCH", "POST"]),
        "url": WORDS | st.builds("/services/data/v62.0{}".format, st.text(max_size=6)) | st.just("v62.0/sobjects/Lead"),
        "referenceId": st.sampled_from(["a", "b", "c"]) | SCALARS,
    },
    optional={"body": RECORDS | BODIES, "httpHeaders": BODIES, "richInput": BODIES},
)
NEARLY_RIGHT = RECORDS | TYPED | st.fixed_dictionaries(
    {}, optional={name: st.lists(PARTS, max_size=4) | BODIES for name in ("compositeRequest", "batchRequests")}
    | dict.fromkeys(("ids", "fields", "allOrNone", "FullName", "Metadata", "haltOnError"), BODIES),
)  # fmt: skip
PATHS = st.sampled_from(
    ["/composite", "/composite/batch", "/composite/sobjects", "/composite/sobjects/Lead", "/sobjects/Lead", "/sobjects/Task",
     "/composite/sobjects/Contact/Customer_Number__c", "/sobjects/Contact/Customer_Number__c/7", "/sobjects/Event",
     "/tooling/sobjects/CustomField", "/metadata/deployRequest", "/sobjects/CampaignMember", "/sobjects/Opportunity"]
)  # fmt: skip
SOQL_WORDS = st.sampled_from(
    ["SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "(", ")", ",", "=", "!=", "<", "Id", "Lead", "Owner.Name", "Who.Type",
     "Task", "Tasks", "null", "TRUE", "'a'", "5", "2026-01-01", "2026-01-01T00:00:00Z", "TODAY", "LAST_N_DAYS:3", "ORDER BY", "GROUP BY",
     "LIMIT", "COUNT()", "COUNT(Id)", "FIELDS(ALL)", "TYPEOF", "WHEN", "THEN", "END", "Name", "Address", "DAY_ONLY(CreatedDate)", "+",
     "IN (SELECT COUNT() FROM Account)", "WhatId IN (SELECT Id FROM Account)", "(SELECT Id FROM Tasks)", "HAVING", "SUM(Name)",
     "ORDER BY COUNT(Id)", "USING SCOPE mine", "WITH USER_MODE", "OFFSET", "99999999999999999999"]
)  # fmt: skip


@pytest.fixture(scope="module")
def org() -> Iterator[Org]:
    context = make_context(open_database(None))
    salesforce.create_tables(context)
    salesforce.load(context, {})
    yield org_of(context)
    context.database.close()


def answered(org: Org, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Answer | None:
    """The answer, or None when it was refused."""
    call = Call(org, Queries(org), org.access(INTEGRATION_USER_ID), "62.0", method, path, query or {}, {}, body)
    with contextlib.suppress(RefusedError), transaction(org.database):
        return dispatch(call)
    return None


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.sampled_from(["POST", "PATCH"]), PATHS, BODIES | NEARLY_RIGHT)
def test_any_body_is_answered_or_refused(org: Org, method: str, path: str, body: Any) -> None:
    answer = answered(org, method, path, body)
    assert answer is None or answer.status < 500


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(SOQL_WORDS, max_size=9), st.text(max_size=5))
def test_any_query_is_answered_or_refused(org: Org, words: list[str], noise: str) -> None:
    for text in (
        " ".join(words),
        f"SELECT Id FROM Task WHERE {' '.join(words)}",
        f"SELECT {' '.join(words)} FROM Lead{noise}",
    ):
        answer = answered(org, "GET", "/query", query={"q": text})
        assert answer is None or answer.status == 200


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.text(max_size=40))
def test_a_text_that_is_stored_comes_back_trimmed_as_it_was(org: Org, text: str) -> None:
    answer = answered(org, "POST", "/sobjects/Lead", {"LastName": "a", "Company": "b", "Title": text})
    assert answer is not None
    read = answered(org, "GET", f"/sobjects/Lead/{answer.body['id']}", query={"fields": "Title"})
    assert read is not None
    assert read.body["Title"] == (text.strip() or None)
