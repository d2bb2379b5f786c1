"""What the guards and the merge are told, one kind's part of the `[identity]` section; and how they say what they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: How a type is called in a sentence, for one and for several.
WORDS: Mapping[str, tuple[str, str]] = {
    "email": ("e-mail", "e-mails"),
    "email_base": ("e-mail without its tag", "e-mails without their tags"),
    "phone": ("phone", "phones"),
    "social_id": ("social id", "social ids of one network"),
    "social_handle": ("social handle", "social handles"),
    "device": ("device", "devices"),
    "cookie": ("cookie", "cookies"),
    "crm_id": ("CRM record", "CRM records of one system"),
    "customer_number": ("customer number", "customer numbers"),
    "user_id": ("user id", "user ids"),
    "domain": ("domain", "domains"),
    "account_number": ("account number", "account numbers"),
    "account_name": ("account name", "account names"),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """Plain values of the section; the meaning of each stands in `identity.IdentitySection`.

    `kind` is person or account. `priority` lists the types, strongest first. `blocked` holds (type or "", value or
    "@domain").
    """

    kind: str
    priority: tuple[str, ...]
    hard_holders: int
    shared_names: Mapping[str, int]
    limits: Mapping[str, int]
    weak: frozenset[str]
    blocked: frozenset[tuple[str, str]]

    @property
    def exclusive(self) -> frozenset[str]:
        """The types of which a person has one at most."""
        return frozenset(each for each, limit in self.limits.items() if limit == 1)

    def not_used(self, type_: str, value: str, why: str) -> str:
        """The sentence for a piece of evidence that was refused."""
        return f"{WORDS[type_][0]} {value} not used: {why}"

    def over_limit(self, type_: str, count: int) -> str:
        """Why a limit refuses a merge."""
        return f"it would put {count} {WORDS[type_][1]} into one {self.kind} (limit {self.limits[type_]})"
