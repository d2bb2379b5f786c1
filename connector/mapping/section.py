"""`[mapping.<system>.<stream>]`: how native fields become canonical ones. The shipped presets have the same form.

Short forms mean the long ones: `email = "Email"` is `email = { from = ["Email"] }`, and a field that says no transform
gets the one that its canonical field usually has (see `transforms.usual`).
"""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector import identifiers
from connector.mapping.transforms import TRANSFORMS
from connector.section import Section, Wrong, one_of

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
Transform = Annotated[str, one_of(sorted(TRANSFORMS), "transform")]
ActivityKind = Annotated[str, one_of(KINDS, "kind of activity")]
IdentifierType = Annotated[str, one_of(identifiers.TYPES, "identifier type")]
PersonIdentifierType = Annotated[str, one_of(("", *identifiers.PERSON_TYPES), "identifier type")]


class FieldRule(Section):
    """Where a canonical field comes from: the first native field that has a value (if yes/no: yes if one says so).

    `map` gives the canonical value of a native one, whatever its case (`"*"` for all others). `record` makes a record
    key of a native id: an object type (`Account`), another system's (`hubspot.contacts`), or object types by the
    beginning of the id (`{ 003 = "Contact" }`). `join` puts several native fields together with what is between them.
    """

    from_: Names = Field((), alias="from", description="native fields; the first that has a value counts")
    transform: Annotated[tuple[Transform, ...], BeforeValidator(_listed)] = Field(
        (), description="transforms in order, instead of the canonical field's usual one"
    )
    map: dict[str, str] = Field(
        {}, description='native value -> canonical value, whatever its case; "*" for all others'
    )
    constant: str | int | float | bool | None = Field(None, description="the same value in every record")
    record: str | dict[str, str] = Field("", description="the value is the id of a record of this object type")
    join: str | None = Field(None, description="what stands between several native fields that are put together")

    @model_validator(mode="after")
    def _is_one_way(self) -> FieldRule:
        if self.constant is not None and (
            self.from_ or self.map or self.transform or self.record or self.join is not None
        ):
            raise Wrong(
                ("a constant is the same in every record, whatever else is written", 'remove "constant" or the rest')
            )
        return self


Rule = Annotated[FieldRule, BeforeValidator(_from_form)]


class IdentifierRule(Section):
    """One native field that holds an identifier. `split` parts a list; `network` is of social ones; `of` of crm_id."""

    from_: str = Field(alias="from", description="native field")
    split: str = Field("", description="what parts the values of a list")
    network: str = Field("", description="the social network, of social_id and social_handle")
    of: str = Field("", description="whose id it is, of crm_id: an object type, or another system's (hubspot.contacts)")
    is_verified: bool | None = Field(None, description="whether the system has verified it")


def _identifier_rules(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple({"from": item} if isinstance(item, str) else item for item in values)


IdentifierRules = Annotated[tuple[IdentifierRule, ...], BeforeValidator(_identifier_rules)]


class LinkRule(Section):
    """Whom an activity belongs to: records by id (or by a list of ids), or whoever has an identifier of this type."""

    from_: str = Field(alias="from", description="native field that names whom the activity belongs to")
    record: str | dict[str, str] = Field("", description="object type of the record whose id it holds")
    identifier: PersonIdentifierType = Field("", description="or the type of the identifier that it holds")


class KindRule(Section):
    """A kind of activity and when a row is one.

    Every native field of `when` has one of the values, whatever their case: `"SMS*"` is a beginning, `"*login"` an end,
    `"*"` any value and `""` no value. `happened_at` is for kinds whose instant is another than that of the others.
    """

    kind: ActivityKind = Field(description="kind of activity")
    channel: str = Field("", description="channel, such as email or phone")
    when: dict[str, Names] = Field({}, description="native field -> values that make a row of this kind")
    happened_at: Names = Field((), description="native field of the instant, where it is another than for other kinds")


def _is_a_pattern(pattern: str) -> str:
    """As the library understands it that will search with it."""
    if not pattern:
        raise ValueError("an empty pattern would take everybody for a machine")
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as problem:
        raise ValueError(f"{pattern!r} is no regular expression: {problem}") from problem
    return pattern


Pattern = Annotated[str, AfterValidator(_is_a_pattern)]


class ScannerRule(Section):
    """Clicks and opens that a machine made: by a flag, by the user agent, or too soon after the mail was sent."""

    flag: str = Field("", description="native field that says so")
    user_agent: str = Field("", description="native field with the user agent")
    user_agents: tuple[Pattern, ...] = Field(
        (), description="patterns (regular expressions) of user agents of machines"
    )
    sent_at: str = Field("", description="native field with the instant of sending")
    too_soon_s: int = Field(0, ge=0, description="seconds after sending within which only a machine clicks")


class ActivitySection(Section):
    """What a row of an activity stream says. Kinds are tried in order; a row that fits none is filtered."""

    kinds: tuple[KindRule, ...] = Field((), description="kinds of activity, tried in order; a row of none is filtered")
    links: tuple[LinkRule, ...] = Field((), description="whom it belongs to; the first that names somebody counts")
    unless_same: Names = Field(
        (), description="native fields; a row in which they all say the same is filtered: another stream tells it"
    )
    happened_at: Rule | None = Field(None, description="when it happened")
    subject: Rule | None = Field(None, description="subject line or title")
    campaign: Rule | None = Field(None, description="the campaign's record")
    amount: Rule | None = Field(None, description="amount of money")
    account: Rule | None = Field(None, description="the account's record")
    opportunity: Rule | None = Field(None, description="the opportunity's record")
    properties: dict[str, Rule] = Field({}, description="further values that conditions may read, such as form.name")
    task_key: str | None = Field(None, description="native field with our key, by which our own tasks are known")
    scanner: ScannerRule | None = Field(None, description="how opens and clicks of machines are told")


class RoleSection(Section):
    """Which persons take part in an opportunity, where the opportunity itself lists them."""

    from_: str = Field(alias="from", description="native field that lists the persons' ids")
    record: str = Field(description="object type of these persons")


class MappingSection(Section):
    """`[mapping.<system>.<stream>]`: overrides of the shipped mapping, field by field.

    A field replaces the preset's field; `false` removes it. Identifiers are added to the preset's, by native field; an
    empty list removes all of a type. `traces` are activities of which a record keeps only the last instant.
    """

    fields: dict[str, Rule] = Field({}, description="canonical field -> where it comes from; false takes it away")
    identifiers: dict[IdentifierType, IdentifierRules] = Field(
        {}, description="identifier type -> native fields that hold one"
    )
    activity: ActivitySection | None = Field(None, description="how a row of an activity stream is read")
    roles: RoleSection | None = Field(None, description="which persons take part, where an opportunity lists them")
    traces: dict[ActivityKind, str] = Field(
        {}, description="kind of activity -> native field that keeps its last instant only"
    )
