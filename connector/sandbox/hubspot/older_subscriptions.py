"""Communication preferences as v3 has them: definitions, the statuses of an address, subscribe and unsubscribe.

Source: https://developers.hubspot.com/docs/api-reference/communication-preferences-v3/guide
"""

from __future__ import annotations

from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import records, subscriptions
from connector.sandbox.hubspot.answers import Refused
from connector.sandbox.hubspot.serving import Answer, Call, json_object
from connector.sandbox.hubspot.subscriptions import SUBSCRIBED, TYPES, UNSUBSCRIBED

LEGAL_BASES = (
    "LEGITIMATE_INTEREST_PQL",
    "LEGITIMATE_INTEREST_CLIENT",
    "PERFORMANCE_OF_CONTRACT",
    "CONSENT_WITH_NOTICE",
    "NON_GDPR",
    "PROCESS_AND_STORE",
    "LEGITIMATE_INTEREST_OTHER",
)


def definitions(call: Call) -> Answer:
    """`GET /communication-preferences/v3/definitions`."""
    told = subscriptions.definitions(call)
    return Answer(200, {"subscriptionDefinitions": told.body["results"]}, told.records)


def statuses(call: Call) -> Answer:
    """`GET .../status/email/{email}`: what is not refused counts as wanted only where somebody said so."""
    email = subscriptions.address(call.parts["email"])
    shown = [_shown(call, email, row) for row in subscriptions.statuses_of(call, email)]
    return Answer(200, {"recipient": email, "subscriptionStatuses": shown}, len(shown))


def subscribe(call: Call) -> Answer:
    """`POST .../subscribe`: 400 where it is so already; one who opted out comes back with a legal basis only."""
    return _set(call, SUBSCRIBED)


def unsubscribe(call: Call) -> Answer:
    """`POST .../unsubscribe`: 400 where it is so already."""
    return _set(call, UNSUBSCRIBED)


def _set(call: Call, state: str) -> Answer:
    body = json_object(call.body)
    email = subscriptions.address(str(body.get("emailAddress") or ""))
    number, basis = records.as_id(body.get("subscriptionId")), body.get("legalBasis")
    if number is None or number not in TYPES:
        raise Refused(400, f"Subscription {body.get('subscriptionId')} does not exist in this account.")
    if basis is not None and basis not in LEGAL_BASES:
        raise Refused(400, f"legalBasis {str(basis)[:100]} is none of {', '.join(LEGAL_BASES)}.")
    [before] = [row for row in subscriptions.statuses_of(call, email) if row["subscriptionId"] == number]
    if before["status"] == state:
        raise Refused(400, f"{email} is already {state.lower()} for subscription {number}.")
    if state == SUBSCRIBED and before["status"] == UNSUBSCRIBED and not basis:
        raise Refused(400, f"{email} has unsubscribed; a legalBasis is required to subscribe again.")
    with transaction(call.context.database):
        subscriptions.write(call, email, number, state, basis)
    [after] = [row for row in subscriptions.statuses_of(call, email) if row["subscriptionId"] == number]
    return Answer(200, _shown(call, email, after), 1)


def _shown(call: Call, email: str, row: dict[str, Any]) -> dict[str, Any]:
    is_wide = bool(subscriptions.wide_of(call, email))
    return {
        "id": str(row["subscriptionId"]), "name": row["subscriptionName"], "description": TYPES[row["subscriptionId"]][1],
        "status": SUBSCRIBED if row["status"] == SUBSCRIBED else "NOT_SUBSCRIBED",
        "sourceOfStatus": "PORTAL_WIDE_STATUS" if is_wide else "SUBSCRIPTION_STATUS", "legalBasis": row["legalBasis"],
    }  # fmt: skip
