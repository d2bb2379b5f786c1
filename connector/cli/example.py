"""config.example.toml and the tables of docs/configuration.md, made from the models of the sections.

`python -m connector.cli.example` writes both into a checkout (`make docs`); a test fails when they are not what this makes.
In the example an option that is needed, or that has a default, stands as it is; one that is empty by default, and all of what
a newcomer leaves alone, is commented out by a `#` without a space behind it, with a value that would be valid.
"""

from __future__ import annotations

import json
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from connector.budget import Quota
from connector.config import NAMED_SECTIONS, SINGLE_SECTIONS
from connector.mapping.section import ActivitySection, MappingSection, RoleSection, ScannerRule
from connector.model import Adapter
from connector.ownership import Fights
from connector.plan import Brakes
from connector.section import Section, in_words
from connector.sources import ADAPTERS

EXAMPLE = "config.example.toml"
TABLES = "docs/configuration.md"
BEGIN, END = "<!-- options: made by `make docs` -->", "<!-- end of options -->"
_COMMENT_AT = 44
_WIDTH = 120


@dataclass(frozen=True)
class Shown:
    """A table of the example: its path, its model, and whether it is more than a suggestion."""

    path: str
    model: type[Section]
    is_live: bool = True


#: The named tables of the example, by section.
_NAMES: Mapping[str, str] = {"scoring": "default", "tasks": "call_hot_lead"}
_OF_MAPPING: tuple[Shown, ...] = (
    Shown("mapping.salesforce.contacts", MappingSection, False),
    Shown("mapping.salesforce.tasks.activity", ActivitySection, False),
    Shown("mapping.hubspot.email_events.activity.scanner", ScannerRule, False),
    Shown("mapping.hubspot.deals.roles", RoleSection, False),
)
#: Where an option that is a table of its own is shown.
_APART: Mapping[type[Section], str] = {
    **{shown.model: shown.path for shown in _OF_MAPPING},
    Brakes: "writeback.brakes",
    Fights: "writeback.fights",
    Quota: "{path}.quota",
}

#: Values of options that have no default, as TOML.
_VALUES: Mapping[str, str] = {
    "systems.salesforce.kind": '"salesforce"',
    "systems.salesforce.url": '"https://acme.my.salesforce.com"',
    "systems.salesforce.client_id": '"env:SF_CLIENT_ID"',
    "systems.salesforce.client_secret": '"env:SF_CLIENT_SECRET"',
    "systems.salesforce.username": '"sync@acme.com"',
    "systems.salesforce.private_key": '"file:server.key"',
    "systems.salesforce.refresh_token": '"env:SF_REFRESH_TOKEN"',
    "systems.salesforce.quota.calls_per_day": "20_000",
    "systems.hubspot.quota.calls_per_day": "20_000",
    "systems.salesforce.login_url": '"https://login.salesforce.com"',
    "systems.hubspot.token": '"env:HUBSPOT_TOKEN"',
    "systems.hubspot.client_id": '"env:HUBSPOT_CLIENT_ID"',
    "systems.hubspot.client_secret": '"env:HUBSPOT_CLIENT_SECRET"',
    "systems.hubspot.refresh_token": '"env:HUBSPOT_REFRESH_TOKEN"',
    "systems.hubspot.portal_id": "4711",
    "systems.memory.path": '"records.json"',
    "mapping.salesforce.contacts.fields": '{ title = "Job_Title__c", street = false }',
    "mapping.salesforce.contacts.identifiers": '{ crm_id = [{ from = "HubSpot_Id__c", of = "hubspot.contacts" }] }',
    "mapping.salesforce.contacts.traces": '{ logged_in = "Last_Login__c" }',
    "mapping.salesforce.tasks.activity.kinds": '[{ kind = "call_made", channel = "phone", when = { TaskSubtype = "Call" } }]',
    "mapping.salesforce.tasks.activity.links": '[{ from = "WhoId", record = { 003 = "Contact", 00Q = "Lead" } }]',
    "mapping.salesforce.tasks.activity.happened_at": '{ from = "CompletedDateTime", transform = "datetime" }',
    "mapping.salesforce.tasks.activity.subject": '"Subject"',
    "mapping.salesforce.tasks.activity.campaign": '{ from = "WhatId", record = { 701 = "Campaign" } }',
    "mapping.salesforce.tasks.activity.amount": '{ from = "Amount__c", transform = "money" }',
    "mapping.salesforce.tasks.activity.account": '{ from = "AccountId", record = "Account" }',
    "mapping.salesforce.tasks.activity.opportunity": '{ from = "WhatId", record = { 006 = "Opportunity" } }',
    "mapping.salesforce.tasks.activity.properties": '{ region = "Region__c" }',
    "mapping.salesforce.tasks.activity.task_key": '"Task_Key__c"',
    "mapping.hubspot.email_events.activity.scanner.flag": '"filteredEvent"',
    "mapping.hubspot.email_events.activity.scanner.user_agent": '"userAgent"',
    "mapping.hubspot.email_events.activity.scanner.user_agents": '["mail-?gateway", "headless"]',
    "mapping.hubspot.email_events.activity.scanner.sent_at": '"sentBy.created"',
    "mapping.hubspot.deals.roles.from": '"associations.contacts"',
    "mapping.hubspot.deals.roles.record": '"contacts"',
    "survivorship.systems": '["salesforce", "hubspot"]',
    "survivorship.person": '{ phone = ["source_priority", "most_recent"] }',
    "survivorship.account": '{ industry = ["source_priority"] }',
    "identity.shared_names": "{ phone = 3 }",
    "identity.limits": "{ email = 8, customer_number = 1 }",
    "identity.blocked": '["reception@acme.com", "phone:+493055500", "@acme.com"]',
    "scoring.default.fit": "[{ when = \"person.seniority in ('vp', 'c_level')\", points = 20, text = \"VP or above\" }]",
    "scoring.default.engagement": '[{ on = "form_submitted", points = 25, half_life_days = 30, cap = 50, text = "form" }]',
    "tasks.call_hot_lead.when": '"score crosses 60"',
    "tasks.call_hot_lead.rearm_below": "50",
    "tasks.call_hot_lead.subject": '"Call {{ person.first_name or person.name }}: {{ reasons[0].text }}"',
    "tasks.call_hot_lead.owner": '"005000000000001AAA"',
    "writeback.systems": '["salesforce"]',
    "writeback.fields": '{ salesforce = { Lead = { score = "Lead_Score__c", reasons = "" } } }',
    "writeback.ownership": '{ stage = "defer", "salesforce.grade" = "fill" }',
    "schedule.streams": '{ "hubspot.form_submissions" = "5 minutes" }',
    "state.url": '"env:CONNECTOR_STATE_URL"',
    "mart.threads": "4",
    "alerts.webhook": '"env:CONNECTOR_WEBHOOK"',
    "alerts.email_to": '["ops@acme.com"]',
    "alerts.email_from": '"connector@acme.com"',
    "alerts.smtp_host": '"smtp.acme.com"',
    "alerts.smtp_user": '"connector"',
    "alerts.smtp_password": '"env:SMTP_PASSWORD"',
}  # fmt: skip
#: Options without a default that the example gives all the same, because something of their kind is needed.
GIVEN = (
    "systems.salesforce.client_secret",
    "systems.hubspot.token",
    "scoring.default.fit",
    "scoring.default.engagement",
)


def shown() -> tuple[Shown, ...]:
    """All tables of the example, in its order."""
    systems = [part for each in ADAPTERS for part in _system(each)]
    single = {name: Shown(name, model) for name, model in SINGLE_SECTIONS.items()}
    named = {name: Shown(f"{name}.{_NAMES[name]}", model) for name, model in NAMED_SECTIONS.items()}
    tables = {**single, **named}
    first = ("identity", "survivorship", "scoring", "lifecycle", "tasks", "writeback")
    ordered = [tables[name] for name in (*first, *(each for each in tables if each not in first))]
    at = ordered.index(tables["writeback"]) + 1
    return (
        *systems,
        *_OF_MAPPING,
        *ordered[:at],
        Shown("writeback.brakes", Brakes),
        Shown("writeback.fights", Fights),
        *ordered[at:],
    )


def _system(adapter: Adapter) -> list[Shown]:
    own = Shown(f"systems.{adapter.kind}", adapter.options, adapter.kind != "memory")
    return [own, Shown(f"{own.path}.quota", Quota, own.is_live)][: 1 + ("quota" in adapter.options.model_fields)]


def options(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The options of a model by the names they have in the file."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field


# ------------------------------------------------------------------------------------------------------- the example


def example() -> str:
    """The text of config.example.toml."""
    blocks = [_HEAD]
    noted: set[type[Section]] = set()
    for each in shown():
        if each.path == _OF_MAPPING[0].path:
            blocks.append(_MAPPING)
        blocks.append("\n".join(_table(each, noted)))
    return "\n\n".join(blocks) + "\n"


_HEAD = """\
# Every option of every section, with its default. Nobody needs this whole file: `connector init` writes a short one.
#
# A value after `#` without a space is a suggestion: the option is empty, or another, by default. Durations are written
# "30 seconds", "15 minutes", "2 days". Secrets are only referred to: "env:NAME", "file:PATH" or "keyring:SERVICE/USER".
# What the sections mean: docs/configuration.md. Conditions: docs/rules.md. Mapping: docs/mapping.md."""

_MAPPING = """\
# What a native field means here. The shipped mapping of each system is right for most; name only what differs.
[mapping]
region = "US"                               # country (two letters) whose phone numbers are written without a prefix"""


def _table(each: Shown, noted: set[type[Section]]) -> Iterator[str]:
    off = "" if each.is_live else "#"
    for line in (each.model.__doc__ or "").strip().split("\n\n")[0].splitlines():
        yield f"# {line.strip()}"
    yield f"{off}[{each.path}]"
    for name, field in options(each.model):
        apart = _APART.get(_section_in(field.annotation)) if _is_one(field.annotation) else None
        if apart:
            yield f"# {name}: {_said(field)}; see [{apart.format(path=each.path)}]"
        else:
            yield from _assignment(each, name, field, noted)


def _assignment(each: Shown, name: str, field: FieldInfo, noted: set[type[Section]]) -> Iterator[str]:
    path = f"{each.path}.{name}"
    value, default = _VALUES.get(path), default_of(field)
    is_off = not each.is_live or (value is not None and not field.is_required() and path not in GIVEN)
    written = toml(default, at_line=True) if value is None and default is not None else _VALUES[path]
    differs = value is not None and not field.is_required() and (default or path in GIVEN)
    note = _said(field) + (f"; default: {_told(default)}" if differs else "")
    line = f"{'#' if is_off else ''}{name} = {written}"
    entry = _section_in(field.annotation)
    if entry is None and len(line) < _COMMENT_AT and _COMMENT_AT + len(note) < _WIDTH + 20:
        yield f"{line:<{_COMMENT_AT}}# {note}"
        return
    yield from (
        f"# {part}" for part in textwrap.wrap(note + (". Keys:" if entry and entry not in noted else ""), _WIDTH - 2)
    )
    if entry is not None and entry not in noted:
        noted.add(entry)
        yield from _keys(entry)
    yield line


def _keys(entry: type[Section]) -> Iterator[str]:
    """What the keys mean, where an option is an entry, or a list or table of entries."""
    for name, inner in options(entry):
        default = default_of(inner)
        yield f"#     {name:<16}{_said(inner)}" + (f"; default: {_told(default)}" if default else "")


def default_of(field: FieldInfo) -> Any:
    """The default in plain values; None when there is none."""
    value = field.get_default(call_default_factory=True)
    return None if value is PydanticUndefined else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {
            name: _plain(part) for name, part in value.model_dump(by_alias=True).items() if part not in ("", None, ())
        }
    if isinstance(value, timedelta):
        return in_words(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


def toml(value: Any, *, at_line: bool = False) -> str:
    """A plain value as TOML writes it; over several lines where it stands `at_line` and is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {toml(part)}" for name, part in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return _list(value, at_line)
    if isinstance(value, str) and at_line and "\n" in value:
        return f"'''\n{value}'''"
    return json.dumps(value, ensure_ascii=False)


def _list(values: list[Any], at_line: bool) -> str:
    parts = [toml(part) for part in values]
    one_line = f"[{', '.join(parts)}]"
    if not at_line or len(one_line) < _WIDTH - 20:
        return one_line
    lines = (
        [f"{part}," for part in parts]
        if isinstance(values[0], dict)
        else textwrap.wrap(", ".join(parts) + ",", _WIDTH - 4)
    )
    return "[\n" + "".join(f"  {line}\n" for line in lines) + "]"


def _told(default: Any) -> str:
    return "none" if default in (None, "", [], {}) else toml(default)


def _said(field: FieldInfo) -> str:
    text = (field.description or "").rstrip(".")
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    if len(choices) > 1 and not all(str(choice) in text for choice in choices):
        text += ": " + ", ".join(choices[:-1]) + f" or {choices[-1]}"
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part)) is not None), None)


def _is_one(annotation: Any) -> bool:
    """Whether the option is one section (or none), rather than a list or table of them."""
    parts = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    return any(isinstance(part, type) and issubclass(part, Section) for part in parts)


# -------------------------------------------------------------------------------------------------------- the tables


def tables() -> str:
    """The tables of docs/configuration.md, one for each section."""
    blocks = []
    seen: list[type[Section]] = []
    for each in shown():
        blocks.append(_rows(f"`[{_general(each.path)}]`", each.model))
        for _, field in options(each.model):
            entry = None if _is_one(field.annotation) else _section_in(field.annotation)
            if entry is not None and entry not in seen:
                seen.append(entry)
                blocks.append(_rows(f"an entry of {_entry_of(each, entry)}", entry))
    return "\n\n".join(blocks)


def _entry_of(each: Shown, entry: type[Section]) -> str:
    names = [name for name, field in options(each.model) if _section_in(field.annotation) is entry]
    return ", ".join(f"`{name}`" for name in names) + f" in `[{_general(each.path)}]`"


def _general(path: str) -> str:
    """The path with the names that one chooses in pointed brackets."""
    parts = path.split(".")
    if parts[0] == "mapping":
        return ".".join(["mapping", "<system>", "<stream>", *parts[3:]])
    return f"{parts[0]}.<name>" if parts[0] in NAMED_SECTIONS else path


def _rows(title: str, model: type[Section]) -> str:
    lines = [f"### {title[:1].upper()}{title[1:]}", "", "| option | value | default | meaning |", "|---|---|---|---|"]
    for name, field in options(model):
        default = "*needed*" if field.is_required() else _cell(_code(default_of(field)))
        lines.append(f"| `{name}` | {_cell(kind_of(field.annotation))} | {default} | {_cell(_said(field))} |")
    return "\n".join(lines)


def _code(default: Any) -> str:
    return "" if default in (None, "", [], {}) else f"`{toml(default)}`".replace("\n", " ").replace("[   ", "[")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_KINDS: Mapping[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", timedelta: "duration",
    SecretStr: "reference",
}  # fmt: skip


def kind_of(annotation: Any) -> str:
    """What kind of value an option takes, in words."""
    if annotation in _KINDS:
        return _KINDS[annotation]
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind_of(parts[0])
    if origin is typing.Literal:
        return " or ".join(toml(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind_of(part) for part in parts if part is not type(None)))
    if origin is tuple:
        return "list"
    return "table"


# ------------------------------------------------------------------------------------------------------- the files


def with_tables(page: str) -> str:
    """The page with its tables made anew. Raises ValueError when it has no place for them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main() -> None:
    """Write both into the checkout that is the present directory."""
    Path(EXAMPLE).write_text(example(), encoding="utf-8")
    page = Path(TABLES)
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
