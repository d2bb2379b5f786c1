"""What a refused row means for its change, by Salesforce's error code, whichever API told it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connector.log import redact
from connector.model import Change, Outcome, Result
from connector.sources.salesforce_rest import PERMISSION_HINT

#: Our own code for a row that an answer says nothing of.
NO_RESULT = "NO_RESULT"
MAX_QUOTED = 3  # longer values of ours are taken out of messages

#: Results and hints by the error codes of rows (SOAP API Developer Guide, "StatusCode").
_BY_RESULT: Sequence[tuple[Result, str, str]] = (
    (
        Result.RETRY,
        "",
        "UNABLE_TO_LOCK_ROW UNABLE_TO_LOCK_RECORD API_TEMPORARILY_UNAVAILABLE SERVER_UNAVAILABLE TOO_MANY_APEX_REQUESTS"
        " QUERY_TIMEOUT REQUEST_RUNNING_TOO_LONG UNKNOWN_EXCEPTION ALL_OR_NONE_OPERATION_ROLLED_BACK PROCESSING_HALTED",
    ),
    (
        Result.WAIT,
        "a quota of the org is used up; it goes again when it is not",
        "REQUEST_LIMIT_EXCEEDED LIMIT_EXCEEDED",
    ),
    (Result.STOP, "the org's data storage is full: free some or buy more", "STORAGE_LIMIT_EXCEEDED"),
    (
        Result.CONFLICT,
        "the record was merged, converted or deleted; it is read again and planned anew",
        "ENTITY_IS_DELETED INVALID_CROSS_REFERENCE_KEY CANNOT_UPDATE_CONVERTED_LEAD MALFORMED_ID NOT_FOUND",
    ),
    (
        Result.REJECTED,
        "the field does not take this value: mend the mapping or the field",
        "STRING_TOO_LONG NUMBER_OUTSIDE_VALID_RANGE INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST INVALID_FIELD"
        " INVALID_TYPE_ON_FIELD_IN_RECORD REQUIRED_FIELD_MISSING JSON_PARSER_ERROR INVALID_EMAIL_ADDRESS"
        " FIELD_INTEGRITY_EXCEPTION DUPLICATE_VALUE",
    ),
    (
        Result.REJECTED,
        PERMISSION_HINT,
        "INVALID_FIELD_FOR_INSERT_UPDATE INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY",
    ),
    (
        Result.REJECTED,
        "a rule or permission of the org forbids it: show it to the org's administrator",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION FIELD_FILTER_VALIDATION_EXCEPTION CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
        " CANNOT_EXECUTE_FLOW_TRIGGER FLOW_EXCEPTION DUPLICATES_DETECTED ENTITY_IS_LOCKED TRANSFER_REQUIRES_READ"
        " INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    ),
    (
        Result.REJECTED,
        "the owner is inactive: give the record to somebody who is not, and a task goes to them with the next sync; or make the user"
        " active again, and it goes once users are read, which is once a day",
        "INACTIVE_OWNER_OR_USER",
    ),
)
OUTCOMES: Mapping[str, tuple[Result, str]] = {
    code: (result, hint) for result, hint, codes in _BY_RESULT for code in codes.split()
}


def outcome_of(code: str, message: str) -> tuple[Result, str]:
    """What a row's error means, with a hint. A trigger that got no lock is tried again; an unknown code is not."""
    if code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" and "UNABLE_TO_LOCK_ROW" in message:
        return Result.RETRY, ""
    return OUTCOMES.get(code, (Result.REJECTED, ""))


def outcome(
    change: Change,
    result: Result,
    values: Iterable[Any],
    *,
    native_id: str | None = None,
    code: str = "",
    message: str = "",
    hint: str = "",
    request_id: str = "",
    fields: tuple[str, ...] = (),
) -> Outcome:
    """An outcome without the `values` that were sent: the vendor quotes what it refuses."""
    if not message:
        return Outcome(change.key, result, native_id, code, "", hint, request_id, fields=fields)
    for value in values:
        if isinstance(value, str) and len(value) > MAX_QUOTED:
            message = message.replace(value, "***")
    return Outcome(change.key, result, native_id, code, redact(message), hint, request_id, fields=fields)
