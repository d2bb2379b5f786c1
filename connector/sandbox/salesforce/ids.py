"""Salesforce record ids: 15 characters that tell cases apart, and a checksum of three that makes them safe without.

Key prefixes: Salesforce Help, "Standard Field Record ID Prefix Decoder"; form: Object Reference, "ID Field Type".
"""

from __future__ import annotations

import re

KEY_PREFIXES = {
    "Account": "001", "Contact": "003", "Lead": "00Q", "Opportunity": "006", "OpportunityContactRole": "00K",
    "Task": "00T", "Event": "00U", "Campaign": "701", "CampaignMember": "00v", "Case": "500", "User": "005",
    "Group": "00G", "EmailMessage": "02s", "Organization": "00D", "Profile": "00e", "PermissionSet": "0PS",
    "PermissionSetAssignment": "0Pa", "FieldPermissions": "01k", "ObjectPermissions": "110",
    "TaskRelation": "0RT", "EventRelation": "0RE", "EmailMessageRelation": "0CZ",
}  # fmt: skip

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHAPE = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")
_INSTANCE = "5g"


def checksum(fifteen: str) -> str:
    """The three characters that follow a 15-character id (bit i of each is set when character i is upper case)."""
    blocks = (fifteen[0:5], fifteen[5:10], fifteen[10:15])
    return "".join(_CHECK[sum(1 << i for i, c in enumerate(block) if "A" <= c <= "Z")] for block in blocks)


def native_id(prefix: str, number: int) -> str:
    """The 18-character id of record `number` (0 or more) of the object with this key prefix."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = _DIGITS[rest] + digits
    fifteen = prefix + _INSTANCE + digits.rjust(10, "0")
    return fifteen + checksum(fifteen)


def number_of(native: str) -> int | None:
    """The number that `native_id` made this id of; None when it made none."""
    if native[3:5] != _INSTANCE:
        return None
    number = 0
    for digit in native[5:15]:
        number = number * 62 + _DIGITS.index(digit)
    return number


def full_id(text: object) -> str | None:
    """The 18-character form of a 15- or 18-character id; None when it is not an id."""
    if not isinstance(text, str) or not _SHAPE.fullmatch(text):
        return None
    if len(text) == 15:
        return text + checksum(text)
    return text if checksum(text[:15]) == text[15:].upper() else None
