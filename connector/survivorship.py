"""Survivorship: which of the members' values is the golden one, field by field, and from which record it came.

Every field (or group of fields that must come from one record together) has an ordered list of rules; the smallest record
key decides in the end, so the result is total and depends on no order. An empty value never wins. Consent is no contest: the
most restrictive holds, never the most recent.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
from pydantic import Field, field_validator

from connector import identifiers, tables
from connector.expressions import built_once
from connector.section import Section, Wrong

Rule = Literal["source_priority", "verified", "most_recent", "most_frequent", "longest"]


@dataclass(frozen=True, slots=True)
class Group:
    """Fields whose values come from one record together. A record that has more of the `anchors` goes before the rules."""

    name: str
    fields: tuple[str, ...]
    anchors: tuple[str, ...]


_ADDRESS = Group("address", ("street", "postal_code", "city", "region", "country"), ("city",))
_TOGETHER: Mapping[str, tuple[Group, ...]] = {
    "person": (
        Group("email", ("email", "is_email_dead"), ("email",)),
        Group("name", ("first_name", "last_name"), ("first_name", "last_name")),
        Group("job", ("title", "seniority", "function"), ("title",)),
        _ADDRESS,
    ),
    "account": (Group("web", ("domain", "website"), ("domain",)), _ADDRESS),
}
_CONSENT = ("is_email_opted_out", "is_call_opted_out", "is_sms_opted_out")
_NOT_GOLDEN = ("is_converted",)


def _groups(kind: str) -> tuple[Group, ...]:
    together = _TOGETHER[kind]
    grouped = {field for group in together for field in group.fields}
    alone = [each for each in tables.FIELDS[kind].names if each not in (*grouped, *_CONSENT, *_NOT_GOLDEN)]
    return (*together, *(Group(each, (each,), (each,)) for each in alone))


_DEFAULT: tuple[Rule, ...] = ("most_recent", "source_priority")
_OF_THE_CRM: tuple[Rule, ...] = ("source_priority", "most_recent")
_RULES: Mapping[str, Mapping[str, tuple[Rule, ...]]] = {
    "person": {
        "email": ("verified", *_DEFAULT),
        "owner": _OF_THE_CRM,
        "account": _OF_THE_CRM,
        "source_status": _OF_THE_CRM,
        "crm_stage": _OF_THE_CRM,
        "lead_source": _OF_THE_CRM,
    },
    "account": {"owner": _OF_THE_CRM, "parent": _OF_THE_CRM, "account_type": _OF_THE_CRM},
}


class SurvivorshipSection(Section):
    """`[survivorship]`: which system counts more, and the rules of each field."""

    systems: tuple[str, ...] = Field((), description="names of systems, the most trusted first; others come after them")
    default: tuple[Rule, ...] = Field(_DEFAULT, description="the rules of a field that has none of its own, in order")
    person: dict[str, tuple[Rule, ...]] = Field(
        default_factory=dict, description="rules by field of persons, or by email, name, job, address"
    )
    account: dict[str, tuple[Rule, ...]] = Field(
        default_factory=dict, description="rules by field of accounts, or by web, address"
    )

    @field_validator("person")
    @classmethod
    def _are_person_fields(cls, value: dict[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
        return _known("person", value)

    @field_validator("account")
    @classmethod
    def _are_account_fields(cls, value: dict[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
        return _known("account", value)

    @field_validator("default")
    @classmethod
    def _asks_every_field(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if "verified" in value:
            raise ValueError('"verified" is a rule of email only')
        return value

    def rules(self, kind: str, group: str) -> tuple[Rule, ...]:
        """The rules of a field or group, in order."""
        given: Mapping[str, tuple[Rule, ...]] = self.person if kind == "person" else self.account
        return given.get(group) or _RULES[kind].get(group) or self.default


def _known(kind: str, given: dict[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
    names = [group.name for group in _groups(kind)]
    told = []
    for name, rules in given.items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            mend = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(names)}"
            told.append((f'unknown field "{name}"', mend))
        elif "verified" in rules and name != "email":
            told.append((f'{name}: "verified" is a rule of email only', ""))
    if told:
        raise Wrong(*told)
    return given


# -------------------------------------------------------------------------------------------------------- golden values


@built_once
def golden_persons(
    records: ir.Table, membership: ir.Table, accounts: ir.Table, versions: ir.Table, section: SurvivorshipSection
) -> ir.Table:
    """Golden persons (tables.PERSON) of the given person records.

    `membership` says whose they are, `accounts` in which account (`owner_id`) each account record (`key`) is that they may name,
    `versions` the rows of record_version that tell when a field changed (unknown: when its record was created).
    """
    members = _members("person", records, membership, accounts.select(account="key", account_id="owner_id"), "account")
    golden = _golden("person", members, versions, section)
    name = (ibis.coalesce(golden.first_name, "") + " " + ibis.coalesce(golden.last_name, "")).strip().nullif("")
    host = golden.email.substr(golden.email.find("@") + 1)
    is_free = host.isin(sorted(identifiers.words("free_domains")))
    return _finished(golden.mutate(name=name, email_is_free=is_free), tables.PERSON)


@built_once
def golden_accounts(
    records: ir.Table, membership: ir.Table, accounts: ir.Table, versions: ir.Table, section: SurvivorshipSection
) -> ir.Table:
    """Golden accounts (tables.ACCOUNT) of the given account records; the arguments are those of `golden_persons`."""
    members = _members("account", records, membership, accounts.select(parent="key", parent_id="owner_id"), "parent")
    members = members.mutate(parent=members.parent.nullif(members.owner_id))
    return _finished(_golden("account", members, versions, section), tables.ACCOUNT)


def _members(kind: str, records: ir.Table, membership: ir.Table, parents: ir.Table, link: str) -> ir.Table:
    """The records with their owner id, empty texts as null, and the record key in column `link` as the id it belongs to."""
    columns = [each for each in tables.FIELDS[kind].names if each not in (link, *_NOT_GOLDEN)]
    texts = {each: records[each].nullif("") for each in columns if records[each].type().is_string()}
    joined = records.mutate(**texts).inner_join(membership.select("key", "owner_id"), "key").left_join(parents, link)
    created_at = ibis.coalesce(joined.created_at, joined.modified_at)
    return joined.select("key", "owner_id", "system", *columns, created_at=created_at, **{link: joined[f"{link}_id"]})


def _golden(kind: str, members: ir.Table, versions: ir.Table, section: SurvivorshipSection) -> ir.Table:
    """One row for each owner: its golden fields, created_at, records, and provenance."""
    ranked = members.inner_join(_ranks(kind, members, versions, section), "key")
    values: dict[str, Any] = {}
    origins: dict[str, Any] = {}
    gave: dict[str, str] = {}
    for group in _groups(kind):
        is_winner = ranked[_rank(group)] == 0
        origins[_origin(group.name)] = ranked.key.max(where=is_winner)
        for field in group.fields:
            values[field] = _only(ranked[field], is_winner)
            gave[field] = _origin(group.name)
    for field in _CONSENT if kind == "person" else ():
        values[field] = ranked[field].any()
        refusing = ranked.key.min(where=ranked[field])
        gave[field] = _origin(field)
        origins[gave[field]] = ibis.coalesce(refusing, ranked.key.min(where=ranked[field].notnull()))
    golden = ranked.group_by("owner_id").aggregate(
        **values, **origins, created_at=ranked.created_at.min(), records=ranked.count()
    )
    return golden.mutate(key=golden.owner_id, provenance=_provenance(golden, gave))


def _only(column: Any, where: Any) -> Any:
    """The value of the one row that is marked."""
    return column.any(where=where) if column.type().is_boolean() else column.max(where=where)


def _ranks(kind: str, members: ir.Table, versions: ir.Table, section: SurvivorshipSection) -> ir.Table:
    """For each record (`key`) its rank in each group among the records of its owner; 0 wins.

    What the ranks are made of is put into a narrow table first: sorting that, and not the values, is five times as fast.
    """
    changed = versions.group_by("record").aggregate(
        **{_changed(group): versions.changed_at.max(where=versions.field.isin(group.fields)) for group in _groups(kind)}
    )
    dated = members.left_join(changed, members.key == changed.record).drop("record")
    columns: dict[str, Any] = {}
    for group in _groups(kind):
        columns[f"{group.name}_missing"] = _missing(dated, group)
        for rule in section.rules(kind, group.name):
            columns[_column(rule, group)] = _measure(rule, dated, group, section.systems)
    narrow = dated.select("key", "owner_id", **columns)
    ranks = {}
    for group in _groups(kind):
        rules = [narrow[_column(rule, group)] for rule in section.rules(kind, group.name)]
        order = [narrow[f"{group.name}_missing"], *(ibis.desc(each) for each in rules), narrow.key]
        ranks[_rank(group)] = ibis.row_number().over(group_by="owner_id", order_by=order)
    return narrow.select("key", **ranks)


def _missing(dated: ir.Table, group: Group) -> Any:
    """How many anchors are empty; one more where all fields are."""
    if len(group.fields) == 1:
        return dated[group.fields[0]].isnull().cast("int8")
    is_empty = ibis.and_(*(dated[each].isnull() for each in group.fields))
    return _total(each.cast("int8") for each in (is_empty, *(dated[each].isnull() for each in group.anchors))).cast(
        "int8"
    )


def _column(rule: Rule, group: Group) -> str:
    """The name of what a rule goes by; the system is the same for every group."""
    return rule if rule == "source_priority" else f"{group.name}_{rule}"


def _measure(rule: Rule, dated: ir.Table, group: Group, systems: Sequence[str]) -> Any:
    """What a rule goes by; the largest wins."""
    match rule:
        case "source_priority":
            places = [(dated.system == name, len(systems) - place) for place, name in enumerate(systems)]
            return ibis.cases(*places, else_=0).cast("int8") if places else ibis.literal(0, "int8")
        case "verified":
            return (~ibis.coalesce(dated.is_email_dead, False)).cast("int8")
        case "most_recent":
            return ibis.coalesce(dated[_changed(group)], dated.created_at)
        case "most_frequent":
            return dated.count().over(group_by=["owner_id", *(dated[each] for each in group.anchors)])
        case "longest":
            return _total(ibis.coalesce(dated[each].cast("string").length(), 0) for each in group.fields)


def _total(numbers: Iterable[Any]) -> Any:
    return functools.reduce(operator.add, numbers)


def _provenance(golden: ir.Table, gave: Mapping[str, str]) -> Any:
    """A JSON object: field -> key of the record that gave its value; `gave` names the column that holds it."""
    parts = []
    for field, origin in gave.items():
        key = golden[origin].replace("\\", "\\\\").replace('"', '\\"')
        part = ibis.literal(f',"{field}":"') + key + '"'
        parts.append(ibis.cases((golden[field].notnull(), part), else_=""))
    return (ibis.literal("{") + _joined(parts) + "}").re_replace(r"^\{,", "{")


def _finished(golden: ir.Table, schema: Any) -> ir.Table:
    """The columns of the schema, with `version` as the hash of what is golden in them."""
    hashed = [each for each in schema.names if each not in ("provenance", "version", "records")]
    parts = [_unambiguous(_text(golden[each])) for each in hashed]
    return golden.mutate(version=_joined(parts).hexdigest("md5")).select(*schema.names)


def _text(value: Any) -> Any:
    """A value as text; an instant as its seconds, which no session's time zone changes."""
    return (value.epoch_seconds() if value.type().is_timestamp() else value).cast("string")


def _unambiguous(value: Any) -> Any:
    """A text with its length before it, so that values side by side cannot be taken for others."""
    return ibis.coalesce(value.length().cast("string") + ":" + value, "-")


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0].concat(*parts[1:])


def _rank(group: Group) -> str:
    return f"rank_{group.name}"


def _changed(group: Group) -> str:
    return f"changed_{group.name}"


def _origin(name: str) -> str:
    return f"origin_{name}"
