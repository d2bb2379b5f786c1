"""`[mapping.<system>.<stream>]`: how native fields become canonical ones. The shipped presets have the same form.

Short forms mean the long ones: `email = "Email"` is `email = { from = ["Email"] }`, and a field that says no transform
gets the one that its canonical field usually has (see `transforms.usual`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from connector import identifiers
from connector.mapping.transforms import TRANSFORMS
from connector.section import Section

KINDS = (
    "email_sent", "email_delivered", "email_opened", "email_clicked", "email_bounced", "email_replied",
    "email_received", "unsubscribed", "form_submitted", "meeting_booked", "meeting_held", "call_made", "page_viewed", "logged_in",
    "campaign_sent", "campaign_responded", "purchased", "sms_sent", "sms_received", "note_added", "task_done",
    "case_opened", "social_message",
)  # fmt: skip

ANY_OTHER = "*"


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _from_form(value: Any) -> Any:
    """`"Email"` and `["Work", "Home"]` as `{ from = … }`; `false` takes a preset's field away."""
    if value is False:
        return {"from": ()}
    return {"from": value} if isinstance(value, str | list | tuple) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Rule(Section):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)


class FieldRule(_Rule):
    """Where a canonical field comes from: the first native field that has a value (if yes/no: yes if one says so).

    `map` gives the canonical value of a native one, whatever its case (`"*"` for all others). `record` makes a record
    key of a native id: an object type (`Account`), another system's (`hubspot.contacts`), or object types by the
    beginning of the id (`{ 003 = "Contact" }`). `join` puts several native fields together with what is between them.
    """

    from_: Names = Field((), alias="from")
    transform: Names = ()
    map: dict[str, str] = Field({})
    constant: str | int | float | bool | None = None
    record: str | dict[str, str] = ""
    join: str | None = None

    @field_validator("transform")
    @classmethod
    def _is_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in TRANSFORMS:
                raise ValueError(f"unknown transform {name!r}; there are {', '.join(sorted(TRANSFORMS))}")
        return names


Rule = Annotated[FieldRule, BeforeValidator(_from_form)]


class IdentifierRule(_Rule):
    """One native field that holds an identifier. `split` parts a list; `network` is of social ones; `of` of crm_id."""

    from_: str = Field(alias="from")
    split: str = ""
    network: str = ""
    of: str = ""
    is_verified: bool | None = None


def _identifier_rules(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple({"from": item} if isinstance(item, str) else item for item in values)


IdentifierRules = Annotated[tuple[IdentifierRule, ...], BeforeValidator(_identifier_rules)]


class LinkRule(_Rule):
    """Whom an activity belongs to: records by id (or by a list of ids), or whoever has an identifier of this type."""

    from_: str = Field(alias="from")
    record: str | dict[str, str] = ""
    identifier: str = ""

    @field_validator("identifier")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name and name not in identifiers.PERSON_TYPES:
            raise ValueError(f"unknown identifier type {name!r}; there are {', '.join(identifiers.PERSON_TYPES)}")
        return name


class KindRule(_Rule):
    """A kind of activity and when a row is one.

    Every native field of `when` has one of the values, whatever their case: `"SMS*"` is a beginning, `"*login"` an end,
    `"*"` any value and `""` no value. `happened_at` is for kinds whose instant is another than that of the others.
    """

    kind: str
    channel: str = ""
    when: dict[str, Names] = Field({})
    happened_at: Names = ()

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"unknown kind of activity {kind!r}; there are {', '.join(KINDS)}")
        return kind


class ScannerRule(_Rule):
    """Clicks and opens that a machine made: by a flag, by the user agent, or too soon after the mail was sent."""

    flag: str = ""
    user_agent: str = ""
    user_agents: tuple[str, ...] = ()
    sent_at: str = ""
    too_soon_s: int = Field(0, ge=0)


class ActivitySection(_Rule):
    """What a row of an activity stream says. Kinds are tried in order; a row that fits none is filtered."""

    kinds: tuple[KindRule, ...] = ()
    links: tuple[LinkRule, ...] = ()
    happened_at: Rule | None = None
    subject: Rule | None = None
    campaign: Rule | None = None
    amount: Rule | None = None
    account: Rule | None = None
    opportunity: Rule | None = None
    properties: dict[str, Rule] = Field({})
    task_key: str | None = None
    scanner: ScannerRule | None = None


class RoleSection(_Rule):
    """Which persons take part in an opportunity, where the opportunity itself lists them."""

    from_: str = Field(alias="from")
    record: str


class MappingSection(_Rule):
    """`[mapping.<system>.<stream>]`: overrides of the shipped mapping, field by field.

    A field replaces the preset's field; `false` removes it. Identifiers are added to the preset's, by native field; an
    empty list removes all of a type. `traces` are activities of which a record keeps only the last instant.
    """

    fields: dict[str, Rule] = Field({})
    identifiers: dict[str, IdentifierRules] = Field({})
    activity: ActivitySection | None = None
    roles: RoleSection | None = None
    traces: dict[str, str] = Field({})

    @field_validator("identifiers")
    @classmethod
    def _are_identifiers(cls, rules: dict[str, Any]) -> dict[str, Any]:
        for name in rules:
            if name not in identifiers.TYPES:
                raise ValueError(f"unknown identifier type {name!r}; there are {', '.join(identifiers.TYPES)}")
        return rules

    @field_validator("traces")
    @classmethod
    def _are_kinds(cls, traces: dict[str, str]) -> dict[str, str]:
        for kind in traces:
            if kind not in KINDS:
                raise ValueError(f"unknown kind of activity {kind!r}; there are {', '.join(KINDS)}")
        return traces
