"""One TOML file to all sections of the house: composed, and every problem told at once with its place and its mend."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from phonenumbers import SUPPORTED_REGIONS

from connector import lifecycle, scoring, tomlfile, writeback
from connector.channels import AlertsSection
from connector.errors import ConfigError, Problem
from connector.identity import IdentitySection
from connector.lifecycle import LifecycleSection, TaskSection
from connector.log import LogSection
from connector.mapping import MappingSection
from connector.mapping import load as mapping_of
from connector.mart import MartSection
from connector.model import Adapter
from connector.scheduler import ScheduleSection
from connector.scoring import ScoringModel
from connector.section import Section
from connector.sources import ADAPTERS
from connector.state import StateSection
from connector.survivorship import SurvivorshipSection
from connector.tomlfile import TomlFile, close_to, did_you_mean, kind_of, nearest
from connector.triggers import OWNERS
from connector.writeback import WritebackSection

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")

#: section -> its model, for the sections that are one table
SINGLE_SECTIONS: Mapping[str, type[Section]] = {
    "identity": IdentitySection,
    "survivorship": SurvivorshipSection,
    "lifecycle": LifecycleSection,
    "writeback": WritebackSection,
    "schedule": ScheduleSection,
    "state": StateSection,
    "mart": MartSection,
    "alerts": AlertsSection,
    "log": LogSection,
}
#: section -> the model of each of its named tables
NAMED_SECTIONS: Mapping[str, type[Section]] = {"scoring": ScoringModel, "tasks": TaskSection}


@dataclass(frozen=True)
class Config:
    """A valid configuration. Relative paths in it are beside its file."""

    file: Path
    systems: Mapping[str, Section]
    adapters: Mapping[str, Adapter]
    region: str
    mapping: Mapping[str, Mapping[str, MappingSection]]
    identity: IdentitySection
    survivorship: SurvivorshipSection
    lifecycle: LifecycleSection
    writeback: WritebackSection
    schedule: ScheduleSection
    state: StateSection
    mart: MartSection
    alerts: AlertsSection
    log: LogSection
    scoring: Mapping[str, ScoringModel]
    tasks: Mapping[str, TaskSection]
    fingerprint: str
    open_secrets: Mapping[str, str]  # path of a secret -> the file it stands in, that others than its owner may read
    text: str

    @property
    def directory(self) -> Path:
        """Where the stores live."""
        return self.file.parent

    def place(self, problem: Problem) -> Problem:
        """What turns out wrong with an option later, with where it stands."""
        return tomlfile.place(problem, self.file, self.text)


def load(file: Path, *, needs_secrets: bool = True) -> Config:
    """Read and check a configuration. Raises ConfigError with every problem there is; nothing else is touched.

    Who talks to no system `needs_secrets` not: then they may be missing, and none is looked at.
    """
    reader = _Reader(tomlfile.read(file, needs_secrets=needs_secrets))
    config = reader.read()
    if config is None:
        raise ConfigError(reader.toml.placed())
    return config


@dataclass
class _Reader:
    toml: TomlFile

    def read(self) -> Config | None:
        """The configuration, or None when there are problems."""
        toml = self.toml
        known = {"systems", "mapping", *SINGLE_SECTIONS, *NAMED_SECTIONS}
        for name in toml.raw.keys() - known:
            toml.unknown(name, name, known)
        tables = toml.table("systems")
        systems, adapters = self._systems(tables)
        region, mapping = self._mapping(toml.table("mapping"), tables, adapters)
        single = {
            name: toml.single(model, name, is_needed=name == "state")  # nobody does without the state
            for name, model in SINGLE_SECTIONS.items()
        }
        named = {name: toml.named(model, toml.table(name), name) for name, model in NAMED_SECTIONS.items()}
        self._check_rules(single, named)
        self._check_names(single, named["tasks"], tables, adapters)
        if single["writeback"] is not None and len(adapters) == len(tables):
            written = {name: each.capabilities for name, each in adapters.items()}
            toml.also(writeback.problems(single["writeback"], written))
            if not toml.problems:
                self._check_written(single["writeback"], mapping, adapters)
        if toml.problems:
            return None
        fingerprint = hashlib.blake2b(toml.text.encode(), digest_size=8).hexdigest()
        values: dict[str, Any] = {**single, **named}
        values |= {"fingerprint": fingerprint, "open_secrets": dict(toml.open_secrets), "text": toml.text}
        return Config(toml.file, systems, adapters, region, mapping, **values)

    def _systems(self, tables: Mapping[str, Any]) -> tuple[dict[str, Section], dict[str, Adapter]]:
        kinds = {adapter.kind: adapter for adapter in ADAPTERS}
        systems: dict[str, Section] = {}
        adapters: dict[str, Adapter] = {}
        if not tables:
            self.toml.also([Problem("systems", "there is no system", "add a table such as [systems.salesforce]")])
        for name, values in tables.items():
            path = f"systems.{name}"
            if not _NAME.match(name):
                self.toml.say(path, "the name of a system is made of a-z, 0-9 and _, and begins with a letter")
            if not isinstance(values, Mapping):
                self.toml.say(path, f"must be a table [{path}], is {kind_of(values)}")
                continue
            adapter = self._adapter(values.get("kind"), name, kinds)
            if adapter is None:
                continue
            adapters[name] = adapter
            options = self.toml.resolved(adapter.options, {**values, "kind": adapter.kind}, path)
            systems[name] = self.toml.section(adapter.options, options, path)
        return systems, adapters

    def _adapter(self, kind: Any, name: str, kinds: Mapping[str, Adapter]) -> Adapter | None:
        """What a system is; after a problem what was probably meant, so that the rest is checked too."""
        if isinstance(kind, str) and kind in kinds:
            return kinds[kind]
        meant = close_to(name if kind is None else str(kind), kinds)
        what = f"must be one of {', '.join(sorted(kinds))}" + ("" if kind is None else f", is {kind!r}")
        self.toml.say(f"systems.{name}.kind", what, did_you_mean(meant))
        return kinds.get(meant)

    def _mapping(
        self, tables: Mapping[str, Any], systems: Mapping[str, Any], adapters: Mapping[str, Adapter]
    ) -> tuple[str, dict[str, dict[str, MappingSection]]]:
        region = tables.get("region", "US")
        if not isinstance(region, str) or region not in SUPPORTED_REGIONS:
            self.toml.say("mapping.region", 'must be a country code of two letters such as "DE"')
        made: dict[str, dict[str, MappingSection]] = {}
        for system, streams in tables.items():
            if system == "region":
                continue
            if system not in systems:
                self.toml.unknown(f"mapping.{system}", system, systems)
                continue
            if not isinstance(streams, Mapping):
                self.toml.say(f"mapping.{system}", f"must be a table [mapping.{system}.STREAM], is {kind_of(streams)}")
                continue
            adapter = adapters.get(system)
            known = {stream.name for stream in adapter.streams} if adapter else streams.keys()
            for stream in streams.keys() - known:
                self.toml.unknown(f"mapping.{system}.{stream}", stream, known)
            mine = {name: values for name, values in streams.items() if name in known}
            made[system] = self.toml.named(MappingSection, mine, f"mapping.{system}")
            sound = {name: section for name, section in made[system].items() if section}
            if adapter and sound:
                self._check_mapping(adapter.kind, sound, system)
        return str(region), made

    def _check_mapping(self, kind: str, sections: Mapping[str, MappingSection], system: str) -> None:
        try:
            mapping_of(kind, sections, system=system)
        except ConfigError as problem:
            self.toml.also(problem.problems)

    def _check_written(
        self,
        section: WritebackSection,
        mapping: Mapping[str, Mapping[str, MappingSection]],
        adapters: Mapping[str, Adapter],
    ) -> None:
        """Outputs on fields by which records are known: what we write there would tell who somebody is."""
        for name, adapter in adapters.items():
            written = writeback.named(adapter.capabilities, section.fields.get(name, {}))
            for stream in mapping_of(adapter.kind, mapping.get(name, {})).values():
                read = {rule.from_.casefold() for rules in stream.identifiers.values() for rule in rules}
                for output, native in written.get(stream.object_type, {}).items():
                    if native.casefold() in read:
                        what = f'"{native}" is read to know who somebody is, and must not be written over'
                        place = f"writeback.fields.{name}.{stream.object_type}.{output}"
                        self.toml.say(place, what, "name a field that only we write")

    def _check_names(
        self,
        single: Mapping[str, Any],
        tasks: Mapping[str, TaskSection | None],
        systems: Mapping[str, Any],
        adapters: Mapping[str, Adapter],
    ) -> None:
        """Systems and streams that other tables name: one that is not there would be passed over without a word."""
        sections = {f"tasks.{name}.system": task.system for name, task in tasks.items() if task is not None}
        found = {path: name for path, name in sections.items() if name != OWNERS}
        if single["survivorship"] is not None:
            named = enumerate(single["survivorship"].systems)
            found |= {f"survivorship.systems[{number}]": name for number, name in named}
        for path, name in found.items():
            if name not in systems:
                self.toml.say(path, f"there is no [systems.{name}]", nearest(name, systems))
        streams = {f"{name}.{stream.name}" for name, adapter in adapters.items() for stream in adapter.streams}
        for name in single["schedule"].streams if single["schedule"] is not None else ():
            is_untold = name.split(".")[0] in systems.keys() - adapters.keys()  # of a kind that there is not
            if name not in streams and not is_untold:
                self.toml.say(f"schedule.streams.{name}", "there is no such stream", nearest(name, streams))

    def _check_rules(self, single: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> None:
        """What is wrong between the options of a table, or between tables, as far as each is sound in itself."""
        for name, model in named["scoring"].items():
            if model is not None:
                self.toml.also(scoring.problems(model, f"scoring.{name}", self.toml.gone))
        state, mart = single["state"], single["mart"]
        for name, store in (("state", state), ("mart", mart)):
            if store is not None and getattr(store, "url", None) is None:
                self.toml.holds(f"{name}.path", store.path)
        is_placed = not {"state.path", "mart.path"} & self.toml.gone
        if is_placed and state is not None and mart is not None and state.path == mart.path and state.url is None:
            self.toml.say("mart.path", "is the state's path, too", "give each store a file of its own")
        stages = single["lifecycle"] or LifecycleSection.model_validate({})
        tasks = {name: task for name, task in named["tasks"].items() if task is not None}
        model = named["scoring"].get(stages.model)
        is_graded = model is not None and f"scoring.{stages.model}.grades" not in self.toml.gone
        grades = model.grade_names if model is not None and is_graded else ()
        self.toml.also(lifecycle.problems(stages, tasks, grades, self.toml.gone))
        for section in ("writeback", "lifecycle"):
            chosen = getattr(single[section], "model", None)
            if chosen is not None and named["scoring"] and chosen not in named["scoring"]:
                what = f"there is no [scoring.{chosen}]"
                self.toml.also([Problem(f"{section}.model", what, nearest(chosen, named["scoring"]))])


def fingerprint(section: Section | Mapping[str, Section]) -> str:
    """What a part of the configuration is now, to see later whether it changed. Secrets do not enter it."""
    values = (
        section.model_dump(mode="json")
        if isinstance(section, Section)
        else {k: v.model_dump(mode="json") for k, v in section.items()}
    )
    return hashlib.blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
