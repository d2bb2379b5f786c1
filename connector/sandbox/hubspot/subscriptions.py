"""Communication preferences: the kinds of marketing mail, and which of them an address wants (v4 and dated paths).

Source: https://developers.hubspot.com/docs/api-reference/communication-preferences-v4/guide
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.sandbox.database import transaction
from connector.sandbox.hubspot import records
from connector.sandbox.hubspot.answers import Refused, RowProblem, row_error
from connector.sandbox.hubspot.catalog import DEFAULTS_SINCE
from connector.sandbox.hubspot.drafting import Draft
from connector.sandbox.hubspot.instants import iso
from connector.sandbox.hubspot.object_types import CONTACTS
from connector.sandbox.hubspot.reading import batch_inputs, envelope
from connector.sandbox.hubspot.serving import Answer, Call, json_object
from connector.sandbox.hubspot.writing import save

BATCH_SIZE = 100
SUBSCRIBED, UNSUBSCRIBED, NOT_SPECIFIED = "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"
OPTED_OUT = "hs_email_optout"

TABLES = """
CREATE TABLE IF NOT EXISTS hubspot_subscription (
    email TEXT NOT NULL, subscription INTEGER NOT NULL, status TEXT NOT NULL, at_ms INTEGER NOT NULL, legal_basis TEXT,
    PRIMARY KEY (email, subscription)
) WITHOUT ROWID;
"""
#: A row of this number stands for everything at once.
ALL = 0
TYPES: Mapping[int, tuple[str, str]] = {
    4101: ("Marketing Information", "Offers and news."),
    4102: ("Customer Service Communication", "Answers to requests."),
    4103: ("One to One", "Mail of the sales team."),
}


def definitions(_: Call) -> Answer:
    """`GET .../definitions`."""
    results = [
        {
            "id": str(number), "name": name, "description": text, "purpose": "Marketing", "communicationMethod": "Email",
            "isActive": True, "isDefault": True, "isInternal": False, "createdAt": DEFAULTS_SINCE, "updatedAt": DEFAULTS_SINCE,
        }
        for number, (name, text) in TYPES.items()
    ]  # fmt: skip
    return Answer(200, {"status": "COMPLETE", "results": results}, len(results))


def statuses(call: Call) -> Answer:
    """`GET .../statuses/{email}?channel=EMAIL`: one row for each kind of mail."""
    _demand_channel(call.one("channel"))
    results = statuses_of(call, address(call.parts["email"]))
    return Answer(200, _whole(call, results), len(results))


def set_status(call: Call) -> Answer:
    """`POST .../statuses/{email}` with `subscriptionId`, `statusState` and `channel`; tells in words what it did."""
    body, email = json_object(call.body), address(call.parts["email"])
    _demand_channel(str(body.get("channel") or ""))
    number, state = records.as_id(body.get("subscriptionId")), str(body.get("statusState") or "")
    if number is None or number not in TYPES:
        raise Refused(400, f"Subscription {body.get('subscriptionId')} does not exist in this account.")
    if state not in (SUBSCRIBED, UNSUBSCRIBED, NOT_SPECIFIED):
        raise Refused(400, f"statusState {state[:100]} is none of SUBSCRIBED, UNSUBSCRIBED, NOT_SPECIFIED.")
    before = next(row for row in statuses_of(call, email) if row["subscriptionId"] == number)
    is_same = before["status"] == state
    if state == SUBSCRIBED and before["status"] == UNSUBSCRIBED and not body.get("legalBasis"):
        raise Refused(400, f"{email} has unsubscribed; a legalBasis is required to subscribe again.")
    if not is_same:
        with transaction(call.context.database):
            write(call, email, number, state, body.get("legalBasis"))
    after = next(row for row in statuses_of(call, email) if row["subscriptionId"] == number)
    reason = "NO_STATUS_CHANGE" if is_same else f"{state}_SUCCESSFULLY"
    return Answer(200, {**after, "setStatusSuccessReason": reason}, 1)


def wide_status(call: Call) -> Answer:
    """`GET .../statuses/{email}/unsubscribe-all?channel=EMAIL`: no result where the address is not opted out of everything."""
    _demand_channel(call.one("channel"))
    results = wide_of(call, address(call.parts["email"]))
    return Answer(200, _whole(call, results), len(results))


def unsubscribe_all(call: Call) -> Answer:
    """`POST .../statuses/{email}/unsubscribe-all?channel=EMAIL`."""
    _demand_channel(call.one("channel"))
    email = address(call.parts["email"])
    with transaction(call.context.database):
        _opt_out(call, email)
    results = wide_of(call, email)
    return Answer(200, _whole(call, results), len(results))


def batch_read(call: Call) -> Answer:
    """`POST .../statuses/batch/read` with up to 100 addresses."""
    return _batch(call, "statuses", statuses_of)


def batch_wide(call: Call) -> Answer:
    """`POST .../statuses/batch/unsubscribe-all/read`."""
    return _batch(call, "wideStatuses", wide_of)


def batch_unsubscribe_all(call: Call) -> Answer:
    """`POST .../statuses/batch/unsubscribe-all`: all that are addresses are opted out of everything."""

    def told(call: Call, email: str) -> list[dict[str, Any]]:
        _opt_out(call, email)
        return wide_of(call, email)

    with transaction(call.context.database):
        return _batch(call, "wideStatuses", told)


def _batch(call: Call, name: str, told: Any) -> Answer:
    _demand_channel(call.one("channel"))
    started = iso(call.now_ms)
    given = [str(each) for each in json_object(call.body).get("inputs") or ()]
    if len(given) > BATCH_SIZE:
        batch_inputs({"inputs": [{"id": each} for each in given]}, BATCH_SIZE)
    results, errors = [], []
    for text in given:
        if _is_address(text):
            results.append({"subscriberIdString": text, name: told(call, text.strip().lower())})
        else:
            problem = RowProblem(400, "VALIDATION_ERROR", f"{text[:100]} is no e-mail address.", {"ids": [text]})
            errors.append(row_error(problem))
    return Answer(207 if errors else 200, envelope(results, errors, started, iso(call.now_ms)), len(results))


def _whole(call: Call, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    at = iso(call.now_ms)
    return {"status": "COMPLETE", "results": list(results), "startedAt": at, "completedAt": at}


def _demand_channel(channel: str) -> None:
    if channel.upper() != "EMAIL":
        raise Refused(400, f"channel {channel[:100] or 'is missing'}: EMAIL is the only one.")


def _is_address(text: str) -> bool:
    return text.count("@") == 1 and "." in text.partition("@")[2]


def address(text: str) -> str:
    """An address in the form in which it is kept.

    Raises:
        Refused: 400, it is none.
    """
    if not _is_address(text):
        raise Refused(400, f"{text[:100]} is no e-mail address.")
    return text.strip().lower()


def statuses_of(call: Call, email: str) -> list[dict[str, Any]]:
    """The status of each kind of mail."""
    rows = call.context.database.execute("SELECT * FROM hubspot_subscription WHERE email = ?", (email,))
    held = {row["subscription"]: row for row in rows}
    everything = held.get(ALL)
    results = []
    for number, (name, _) in TYPES.items():
        row = everything or held.get(number)
        results.append(
            {
                "channel": "EMAIL", "subscriberIdString": email, "subscriptionId": number, "subscriptionName": name,
                "status": row["status"] if row else NOT_SPECIFIED, "source": "API" if row else "NONE",
                "timestamp": iso(row["at_ms"]) if row else None, "legalBasis": row["legal_basis"] if row else None,
            }
        )  # fmt: skip
    return results


def wide_of(call: Call, email: str) -> list[dict[str, Any]]:
    """That an address is opted out of everything; nothing where it is not."""
    row = call.context.database.execute(
        "SELECT * FROM hubspot_subscription WHERE email = ? AND subscription = ?", (email, ALL)
    ).fetchone()
    if row is None:
        return []
    said = {"channel": "EMAIL", "subscriberIdString": email, "status": UNSUBSCRIBED, "wideStatusType": "PORTAL_WIDE"}
    return [{**said, "timestamp": iso(row["at_ms"])}]


def write(call: Call, email: str, number: int, state: str, legal_basis: Any = None) -> None:
    """Keep a status; one that wants a kind of mail again is not opted out of everything any more."""
    call.context.database.execute(
        "INSERT OR REPLACE INTO hubspot_subscription (email, subscription, status, at_ms, legal_basis)"
        " VALUES (?, ?, ?, ?, ?)",
        (email, number, state, call.now_ms, legal_basis),
    )
    if number != ALL and state == SUBSCRIBED:
        call.context.database.execute(
            "DELETE FROM hubspot_subscription WHERE email = ? AND subscription = ?", (email, ALL)
        )
        _mark(call, email, "")


def _opt_out(call: Call, email: str) -> None:
    if not wide_of(call, email):
        write(call, email, ALL, UNSUBSCRIBED)
        _mark(call, email, "true")


def _mark(call: Call, email: str, text: str) -> None:
    """The contact's own property follows."""
    found = records.holder(call.context.database, CONTACTS, "email", email)
    if found is not None:
        record = records.fetch(call.context.database, CONTACTS, [found])[found]
        save(call, CONTACTS, [Draft(0, record, (OPTED_OUT,), {OPTED_OUT: text})])
