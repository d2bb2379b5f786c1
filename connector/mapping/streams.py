"""The mapping of each stream: the shipped preset with the admin's overrides; does the system have what it names?"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from typing import Any

from connector import tables
from connector.errors import ConfigError, Problem
from connector.mapping.section import (
    ActivitySection,
    FieldRule,
    IdentifierRule,
    LinkRule,
    MappingSection,
    RoleSection,
)
from connector.mapping.transforms import usual
from connector.model import ObjectSchema
from connector.tables import TEXT

PHONE = "phone"  # identifier type, and transform

#: Fields of an activity that a rule gives.
ACTIVITY_FIELDS = ("happened_at", "subject", "campaign", "amount", "account", "opportunity")


@dataclass(frozen=True, slots=True)
class StreamMapping:
    """How the rows of one stream become canonical. `overridden` holds the native fields that the admin named."""

    stream: str
    kind: str
    object_type: str
    fields: Mapping[str, FieldRule] = field(default_factory=dict)
    identifiers: Mapping[str, tuple[IdentifierRule, ...]] = field(default_factory=dict)
    activity: ActivitySection | None = None
    roles: RoleSection | None = None
    traces: Mapping[str, str] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()

    @property
    def native_fields(self) -> tuple[str, ...]:
        """What the source must ask for, sorted; `associations.<object type>` stands for a list of associated ids."""
        return tuple(sorted({name for name, _ in self._named()}))

    @property
    def fingerprint(self) -> str:
        """What the mapping is now: when it is another one, its stream has to be read again."""
        parts = (self.fields, self.identifiers, self.activity, self.roles, self.traces)
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @property
    def has_phones(self) -> bool:
        """Whether numbers are read from it that may stand there without their country: `[mapping] region` says which that is."""
        rules = dict(self.fields)
        links: tuple[LinkRule, ...] = ()
        if self.activity:
            named = {target: getattr(self.activity, target) for target in ACTIVITY_FIELDS}
            named |= {f"properties.{target}": rule for target, rule in self.activity.properties.items()}
            rules |= {target: rule for target, rule in named.items() if rule}
            links = self.activity.links
        are_read = (rule.from_ and PHONE in (rule.transform or (usual(name, TEXT),)) for name, rule in rules.items())
        return bool(self.identifiers.get(PHONE)) or any(are_read) or any(link.identifier == PHONE for link in links)

    def places(self, native: str) -> tuple[str, ...]:
        """Where in the mapping a native field is named (`fields.email`)."""
        return tuple(place for name, place in self._named() if name == native)

    def _named(self) -> Iterable[tuple[str, str]]:
        for target, rule in self.fields.items():
            yield from ((name, f"fields.{target}") for name in rule.from_)
        for kind, rules in self.identifiers.items():
            yield from ((rule.from_, f"identifiers.{kind}") for rule in rules)
        yield from ((name, f"traces.{kind}") for kind, name in self.traces.items())
        if self.roles:
            yield self.roles.from_, "roles"
        if self.activity:
            yield from _named_by_activity(self.activity)


def _named_by_activity(activity: ActivitySection) -> Iterable[tuple[str, str]]:
    for kind in activity.kinds:
        yield from ((name, "activity.kinds") for name in (*kind.when, *kind.happened_at))
    yield from ((link.from_, "activity.links") for link in activity.links)
    yield from ((name, "activity.unless_same") for name in activity.unless_same)
    for target in ACTIVITY_FIELDS:
        rule: FieldRule | None = getattr(activity, target)
        yield from ((name, f"activity.{target}") for name in (rule.from_ if rule else ()))
    for target, rule in activity.properties.items():
        yield from ((name, f"activity.properties.{target}") for name in rule.from_)
    if activity.task_key:
        yield activity.task_key, "activity.task_key"
    if activity.scanner:
        named = (activity.scanner.flag, activity.scanner.user_agent, activity.scanner.sent_at)
        yield from ((name, "activity.scanner") for name in named if name)


# ------------------------------------------------------------------------------------------------------------- loading


def load(kind: str, overrides: Mapping[str, MappingSection], *, system: str = "") -> Mapping[str, StreamMapping]:
    """Stream -> mapping: the preset of this kind of system with the admin's sections laid over it, field by field.

    `system` is the configured name, for the paths of problems. Raises ConfigError with all problems at once: a stream
    or a canonical field that does not exist.
    """
    presets = _preset(kind)
    place = f"mapping.{system or kind}"
    problems: list[Problem] = []
    for stream, section in overrides.items():
        if stream not in presets:
            problems.append(_unknown(f"{place}.{stream}", "unknown stream", stream, presets))
        else:
            problems += _misplaced(f"{place}.{stream}", presets[stream], section)
    if problems:
        raise ConfigError(problems)
    return {stream: _merged(preset, overrides.get(stream)) for stream, preset in presets.items()}


@lru_cache(maxsize=16)
def _preset(kind: str) -> Mapping[str, StreamMapping]:
    text = (resources.files("connector.mapping") / "presets" / f"{kind}.toml").read_text("utf-8")
    streams: dict[str, dict[str, Any]] = tomllib.loads(text)["streams"]
    mappings = {}
    for stream, data in streams.items():
        record_kind, object_type = data.pop("kind"), data.pop("object_type")
        section = MappingSection.model_validate(data)
        mappings[stream] = StreamMapping(
            stream, record_kind, object_type, section.fields, section.identifiers, section.activity, section.roles,
            section.traces,
        )  # fmt: skip
    return mappings


def _merged(preset: StreamMapping, override: MappingSection | None) -> StreamMapping:
    if override is None:
        return preset
    own = StreamMapping(
        preset.stream, preset.kind, preset.object_type, override.fields, override.identifiers, override.activity,
        override.roles, override.traces,
    )  # fmt: skip
    return replace(
        preset,
        fields={**preset.fields, **override.fields},
        identifiers=_merged_identifiers(preset.identifiers, override.identifiers),
        activity=_merged_activity(preset.activity, override.activity),
        roles=override.roles or preset.roles,
        traces={**preset.traces, **override.traces},
        overridden=frozenset(own.native_fields),
    )


def _merged_identifiers(
    preset: Mapping[str, tuple[IdentifierRule, ...]], override: Mapping[str, tuple[IdentifierRule, ...]]
) -> Mapping[str, tuple[IdentifierRule, ...]]:
    merged = dict(preset)
    for kind, rules in override.items():
        named = {rule.from_ for rule in rules}
        kept = tuple(rule for rule in preset.get(kind, ()) if rule.from_ not in named) if rules else ()
        merged[kind] = kept + rules
    return merged


def _merged_activity(preset: ActivitySection | None, override: ActivitySection | None) -> ActivitySection | None:
    if preset is None or override is None:
        return override or preset
    given = {name: getattr(override, name) for name in override.model_fields_set}
    if "properties" in given:
        given["properties"] = {**preset.properties, **override.properties}
    return preset.model_copy(update=given)


# ---------------------------------------------------------------------------------------------------------- validating


def _unknown(path: str, what: str, name: str, valid: Iterable[str]) -> Problem:
    return Problem(path, what, _nearest(name, valid))


def _nearest(name: str, valid: Iterable[str]) -> str:
    near = get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def _misplaced(place: str, preset: StreamMapping, section: MappingSection) -> list[Problem]:
    """What an override says that cannot belong to this kind of stream."""
    kind = preset.kind
    canonical = tables.FIELDS[kind].names if kind in tables.FIELDS else []
    problems = [
        _unknown(f"{place}.fields.{name}", f"no canonical field of a {kind}", name, canonical)
        for name in section.fields
        if name not in canonical
    ]
    if section.activity is not None and kind != "activity":
        problems.append(Problem(f"{place}.activity", f"{preset.stream} gives {kind} records, not activities"))
    if section.roles is not None and kind != "opportunity":
        problems.append(Problem(f"{place}.roles", f"{preset.stream} gives {kind} records, not opportunities"))
    if section.identifiers and kind not in ("person", "account"):
        problems.append(
            Problem(f"{place}.identifiers", f"{preset.stream} gives {kind} records, which have no identifiers")
        )
    return problems


def missing(mapping: StreamMapping, schema: ObjectSchema) -> tuple[str, ...]:
    """Native fields of the mapping that the system does not show; related objects (`Who.Type`) are not judged."""
    return tuple(name for name in mapping.native_fields if "." not in name and name not in schema.fields)


def validate(
    system: str, mapping: StreamMapping, schema: ObjectSchema, *, of: Collection[str] | None = None
) -> list[Problem]:
    """The admin's native fields (only some `of` them) that the system does not show, each with the nearest valid name. See `notes`
    for the preset's.

    A system shows no more of a field that is hidden from us than of one that it does not have: both are said.
    """
    return [
        Problem(
            f"mapping.{system}.{mapping.stream}.{mapping.places(name)[0]}",
            f"{mapping.object_type}.{name} does not exist or is not visible to us",
            _meant(name, schema),
        )
        for name in missing(mapping, schema)
        if name in (mapping.overridden if of is None else of)
    ]


def _meant(name: str, schema: ObjectSchema) -> str:
    near = _nearest(name, schema.fields)
    right = "if the name is right, create the field or give us read access to it"
    return f"{near} {right.capitalize()}" if near else f"correct it, or {right}"


def notes(system: str, mapping: StreamMapping, schema: ObjectSchema) -> list[Problem]:
    """Native fields of the preset that the system does not show: they are left out, which `check` says."""
    return [
        Problem(
            f"mapping.{system}.{mapping.stream}.{mapping.places(name)[0]}",
            f"{mapping.object_type}.{name} is not there or not visible to us; it is left out",
            "give us read access to it, or name another field",
        )
        for name in missing(mapping, schema)
        if name not in mapping.overridden
    ]


def available(mapping: StreamMapping, schema: ObjectSchema) -> StreamMapping:
    """The mapping without the native fields that the system does not show, so that a query names none of them."""
    absent = set(missing(mapping, schema))
    if not absent:
        return mapping
    return replace(
        mapping,
        fields={target: _without(rule, absent) for target, rule in mapping.fields.items()},
        identifiers={
            kind: tuple(rule for rule in rules if rule.from_ not in absent)
            for kind, rules in mapping.identifiers.items()
        },
        activity=_activity_without(mapping.activity, absent) if mapping.activity else None,
        traces={kind: name for kind, name in mapping.traces.items() if name not in absent},
    )


def _without(rule: FieldRule, absent: set[str]) -> FieldRule:
    return rule.model_copy(update={"from_": tuple(name for name in rule.from_ if name not in absent)})


def _activity_without(activity: ActivitySection, absent: set[str]) -> ActivitySection:
    update: dict[str, Any] = {
        target: _without(getattr(activity, target), absent) for target in ACTIVITY_FIELDS if getattr(activity, target)
    }
    update["kinds"] = tuple(
        kind.model_copy(update={"when": {name: values for name, values in kind.when.items() if name not in absent}})
        for kind in activity.kinds
        if all("" in values for name, values in kind.when.items() if name in absent)
    )
    update["links"] = tuple(link for link in activity.links if link.from_ not in absent)
    update["properties"] = {target: _without(rule, absent) for target, rule in activity.properties.items()}
    if activity.task_key in absent:
        update["task_key"] = None
    if activity.scanner:
        named = {"flag", "user_agent", "sent_at"}
        gone = {name: "" for name in named if getattr(activity.scanner, name) in absent}
        update["scanner"] = activity.scanner.model_copy(update=gone)
    return activity.model_copy(update=update)
