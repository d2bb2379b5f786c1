"""One TOML file to sections: composed, secrets resolved by reference, every problem told at once with its place and its mend."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from connector import lifecycle, scoring, writeback
from connector.alerts import AlertsSection
from connector.errors import ConfigError, Problem
from connector.identity import IdentitySection
from connector.lifecycle import LifecycleSection, TaskSection
from connector.lines import line_of
from connector.log import LogSection
from connector.mapping import MappingSection
from connector.mart import MartSection
from connector.model import Adapter
from connector.scheduler import ScheduleSection
from connector.scoring import ScoringModel
from connector.section import Section, description_at, is_tag, mentions, options_at
from connector.sources import ADAPTERS
from connector.state import StateSection
from connector.survivorship import SurvivorshipSection
from connector.writeback import WritebackSection

DEFAULT_FILE = "connector.toml"
_REFERENCE = re.compile(r"^(env|file|keyring):(.+)$")
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

    @property
    def directory(self) -> Path:
        """Where the stores live."""
        return self.file.parent


def load(file: Path) -> Config:
    """Read and check a configuration. Raises ConfigError with every problem there is; nothing else is touched."""
    text = _text(file)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        line = re.search(r"line (\d+)", str(problem))
        raise ConfigError(
            [Problem("", f"is not valid TOML: {problem}", "", file.name, int(line.group(1)) if line else None)]
        ) from None
    reader = _Reader(file, text)
    config = reader.read(raw)
    if config is None:
        raise ConfigError(reader.placed())
    return config


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            [Problem("", "is not there", "run `connector init`, or name a file with --config", str(file))]
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(
            [
                Problem(
                    "",
                    f"cannot be read ({_why_unreadable(problem)})",
                    "name a text file in UTF-8 that you may read",
                    str(file),
                )
            ]
        ) from None


@dataclass
class _Reader:
    file: Path
    text: str
    problems: list[Problem] = field(default_factory=list)

    def read(self, raw: Mapping[str, Any]) -> Config | None:
        """The configuration, or None when there are problems."""
        known = {"systems", "mapping", *SINGLE_SECTIONS, *NAMED_SECTIONS}
        for name in raw.keys() - known:
            self._unknown(name, name, known)
        systems, adapters = self._systems(self._table(raw, "systems"))
        region, mapping = self._mapping(self._table(raw, "mapping"), raw.get("systems", {}))
        single = {
            name: self._section(model, self._resolved(model, self._table(raw, name), name), name)
            for name, model in SINGLE_SECTIONS.items()
        }
        named = {name: self._named(model, self._table(raw, name), name) for name, model in NAMED_SECTIONS.items()}
        self._check_rules(single, named)
        if single["writeback"] is not None and len(adapters) == len(raw.get("systems", {})):
            written = {name: each.capabilities for name, each in adapters.items()}
            self.problems += writeback.problems(single["writeback"], written)
        if self.problems:
            return None
        fingerprint = hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()
        values: dict[str, Any] = {**single, **named}
        return Config(self.file, systems, adapters, region, mapping, **values, fingerprint=fingerprint)

    def placed(self) -> list[Problem]:
        """The problems in the order of the file, each once."""
        unique = {(problem.path, problem.what): problem for problem in self.problems}
        placed = [Problem(p.path, p.what, p.mend, self.file.name, line_of(self.text, p.path)) for p in unique.values()]
        return sorted(placed, key=lambda problem: (problem.line or 0, problem.path))

    # ------------------------------------------------------------------------------------------------------ sections

    def _table(self, raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = raw.get(name, {})
        if isinstance(value, Mapping):
            return value
        self._say(name, f"must be a table [{name}], is {_kind(value)}")
        return {}

    def _section(self, model: type[Section], values: Mapping[str, Any], path: str) -> Any:
        """The section; after problems what is left of it without the wrong options, so that the rest is checked too."""
        try:
            return model.model_validate(values)
        except ValidationError as problem:
            for error in problem.errors():
                self._invalid(model, error, path)
            left = copy.deepcopy(dict(values))
            for error in problem.errors():
                _remove(left, error["loc"])
        with suppress(ValidationError):
            return model.model_validate(left)
        return None

    def _named(self, model: type[Section], tables: Mapping[str, Any], path: str) -> dict[str, Any]:
        made = {}
        for name, values in tables.items():
            if not isinstance(values, Mapping):
                self._say(f"{path}.{name}", f"must be a table [{path}.{name}], is {_kind(values)}")
                continue
            made[name] = self._section(model, values, f"{path}.{name}")
        return made

    def _systems(self, tables: Mapping[str, Any]) -> tuple[dict[str, Section], dict[str, Adapter]]:
        kinds = {adapter.kind: adapter for adapter in ADAPTERS}
        systems: dict[str, Section] = {}
        adapters: dict[str, Adapter] = {}
        if not tables:
            self._say("systems", "there is no system", "add a table such as [systems.salesforce]")
        for name, values in tables.items():
            path = f"systems.{name}"
            if not _NAME.match(name):
                self._say(path, "the name of a system is made of a-z, 0-9 and _, and begins with a letter")
                continue
            if not isinstance(values, Mapping):
                self._say(path, f"must be a table [{path}], is {_kind(values)}")
                continue
            kind = values.get("kind")
            if kind not in kinds:
                self._say(
                    f"{path}.kind",
                    f"must be one of {', '.join(sorted(kinds))}" + ("" if kind is None else f", is {kind!r}"),
                    _nearest(str(kind), kinds),
                )
                continue
            adapters[name] = kinds[kind]
            systems[name] = self._section(kinds[kind].options, self._resolved(kinds[kind].options, values, path), path)
        return systems, adapters

    def _mapping(
        self, tables: Mapping[str, Any], systems: Mapping[str, Any]
    ) -> tuple[str, dict[str, dict[str, MappingSection]]]:
        region = tables.get("region", "US")
        if not isinstance(region, str) or not re.fullmatch(r"[A-Z]{2}", region):
            self._say("mapping.region", 'must be a country code of two letters such as "DE"')
        made: dict[str, dict[str, MappingSection]] = {}
        for system, streams in tables.items():
            if system == "region":
                continue
            if system not in systems:
                self._unknown(f"mapping.{system}", system, systems)
                continue
            if isinstance(streams, Mapping):
                made[system] = self._named(MappingSection, streams, f"mapping.{system}")
            kinds = {adapter.kind: adapter for adapter in ADAPTERS}
            adapter = kinds.get(systems[system].get("kind"))
            known = {stream.name for stream in adapter.streams} if adapter else set()
            for stream in set(made.get(system, {})) - known if adapter else ():
                self._unknown(f"mapping.{system}.{stream}", stream, known)
        return str(region), made

    def _check_rules(self, single: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> None:
        """Conditions and templates of every table that is sound in itself, whatever else is wrong."""
        for name, model in named["scoring"].items():
            if model is not None:
                self.problems += scoring.problems(model, f"scoring.{name}")
        state, mart = single["state"], single["mart"]
        if state is not None and mart is not None and state.path == mart.path and state.url is None:
            self._say("mart.path", "is the state's path, too", "give each store a file of its own")
        stages = single["lifecycle"] or LifecycleSection.model_validate({})
        tasks = {name: task for name, task in named["tasks"].items() if task is not None}
        self.problems += lifecycle.problems(stages, tasks)
        for section in ("writeback", "lifecycle"):
            chosen = getattr(single[section], "model", None)
            if chosen is not None and named["scoring"] and chosen not in named["scoring"]:
                self._say(f"{section}.model", f"there is no [scoring.{chosen}]", _nearest(chosen, named["scoring"]))

    # ------------------------------------------------------------------------------------------------------ secrets

    def _resolved(self, model: type[Section], values: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The values with references to environment, file or keyring followed; a secret must be a reference."""
        resolved: dict[str, Any] = {}
        for key, value in values.items():
            reference = _REFERENCE.match(value) if isinstance(value, str) else None
            if reference:
                found = self._follow(reference.group(1), reference.group(2), f"{path}.{key}")
                if found is not None:
                    resolved[key] = found
                elif key in model.model_fields:
                    resolved[key] = "unresolved"
            elif isinstance(value, str) and _is_secret(model, key):
                self._say(
                    f"{path}.{key}",
                    "a secret is never written here",
                    'refer to it: "env:NAME", "file:PATH" or "keyring:SERVICE/USER"',
                )
                resolved[key] = "unresolved"
            else:
                resolved[key] = value
        return resolved

    def _follow(self, where: str, name: str, path: str) -> str | None:
        if where == "env":
            value = os.environ.get(name)
            if not value:
                self._say(path, f"environment variable {name} is not set")
            return value or None
        if where == "file":
            try:
                return (self.file.parent / Path(name).expanduser()).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as problem:
                self._say(path, f"file {name} cannot be read ({type(problem).__name__})")
                return None
        service, _, user = name.partition("/")
        return self._from_keyring(service, user, path)

    def _from_keyring(self, service: str, user: str, path: str) -> str | None:
        import keyring
        from keyring.errors import KeyringError

        try:
            value: str | None = keyring.get_password(service, user)
        except KeyringError as problem:
            self._say(path, f"the keyring cannot be used ({type(problem).__name__})")
            return None
        if value is None:
            self._say(path, f"the keyring has nothing under {service}/{user}")
        return value

    # ------------------------------------------------------------------------------------------------------ problems

    def _say(self, path: str, what: str, mend: str = "") -> None:
        self.problems.append(Problem(path, what, mend))

    def _unknown(self, path: str, name: str, known: Iterable[str]) -> None:
        self._say(path, "unknown option", _nearest(name, known))

    def _invalid(self, model: type[Section], error: ErrorDetails, path: str) -> None:
        where = path + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if not is_tag(part)
        )
        if error["type"] == "extra_forbidden":
            known = options_at(model, error["loc"][:-1])
            self._unknown(where, str(error["loc"][-1]), known)
            return
        message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if error["type"] == "missing":
            message = "is needed"
        elif error["type"] == "string_pattern_mismatch":
            message = f"is {error['input']!r}, and should be {description_at(model, error['loc'])}"
        elif error["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
            words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
            (key, limit), *_ = error.get("ctx", {}).items()
            message = f"must be {words.get(key, key)} {limit:g}, is {error['input']}"
        self._say(where, message)


def _why_unreadable(problem: OSError | UnicodeDecodeError) -> str:
    return (
        "it is not UTF-8"
        if isinstance(problem, UnicodeDecodeError)
        else (problem.strerror or "no reason given").lower()
    )


def _kind(value: Any) -> str:
    return {str: "a text", int: "a number", float: "a number", bool: "true or false", list: "a list"}.get(
        type(value), type(value).__name__
    )


def _remove(values: Any, location: tuple[int | str, ...]) -> None:
    """Take the option at this place out of nested tables, if it is there."""
    *way, last = [part for part in location if not is_tag(part)] or [""]
    for part in way:
        is_there = (isinstance(values, list) and isinstance(part, int)) or (isinstance(values, dict) and part in values)
        if not is_there:
            return
        values = values[part]
    if isinstance(values, dict):
        values.pop(last, None)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def _is_secret(model: type[Section], key: str) -> bool:
    declared = model.model_fields.get(key)
    return declared is not None and mentions(declared.annotation, SecretStr)


def fingerprint(section: Section | Mapping[str, Section]) -> str:
    """What a part of the configuration is now, to see later whether it changed. Secrets do not enter it."""
    values = (
        section.model_dump(mode="json")
        if isinstance(section, Section)
        else {k: v.model_dump(mode="json") for k, v in section.items()}
    )
    return hashlib.blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
