"""A TOML file and its sections one by one: secrets followed, and every problem gathered with its place and its mend."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from connector.errors import ConfigError, Problem
from connector.lines import line_of
from connector.section import Section, description_at, is_tag, mentions, options_at

_REFERENCE = re.compile(r"^(env|file|keyring):(.+)$")


def read(file: Path) -> TomlFile:
    """The file, with nothing in it looked at yet. Raises ConfigError when it cannot be read or is not TOML."""
    text = _text(file)
    try:
        return TomlFile(file, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as problem:
        line = re.search(r"line (\d+)", str(problem))
        raise ConfigError(
            [Problem("", f"is not valid TOML: {problem}", "", file.name, int(line.group(1)) if line else None)]
        ) from None


@dataclass
class TomlFile:
    """What stands in a file, and what was found wrong in it so far."""

    file: Path
    text: str
    raw: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)

    def placed(self) -> list[Problem]:
        """The problems in the order of the file, each once."""
        unique = {(problem.path, problem.what): problem for problem in self.problems}
        placed = [Problem(p.path, p.what, p.mend, self.file.name, line_of(self.text, p.path)) for p in unique.values()]
        return sorted(placed, key=lambda problem: (problem.line or 0, problem.path))

    def single(self, model: type[Section], name: str) -> Any:
        """The section that is one table, its secrets followed; see `section` for what comes of problems."""
        return self.section(model, self.resolved(model, self.table(name), name), name)

    def table(self, name: str) -> Mapping[str, Any]:
        """A table as it stands there; empty when there is none."""
        value = self.raw.get(name, {})
        if isinstance(value, Mapping):
            return value
        self.say(name, f"must be a table [{name}], is {kind_of(value)}")
        return {}

    def section(self, model: type[Section], values: Mapping[str, Any], path: str) -> Any:
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

    def named(self, model: type[Section], tables: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The sections that are named tables, by name."""
        made = {}
        for name, values in tables.items():
            if not isinstance(values, Mapping):
                self.say(f"{path}.{name}", f"must be a table [{path}.{name}], is {kind_of(values)}")
                continue
            made[name] = self.section(model, values, f"{path}.{name}")
        return made

    # ------------------------------------------------------------------------------------------------------ secrets

    def resolved(self, model: type[Section], values: Mapping[str, Any], path: str) -> dict[str, Any]:
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
                self.say(
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
                self.say(path, f"environment variable {name} is not set")
            return value or None
        if where == "file":
            try:
                return (self.file.parent / Path(name).expanduser()).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as problem:
                self.say(path, f"file {name} cannot be read ({type(problem).__name__})")
                return None
        service, _, user = name.partition("/")
        return self._from_keyring(service, user, path)

    def _from_keyring(self, service: str, user: str, path: str) -> str | None:
        import keyring
        from keyring.errors import KeyringError

        try:
            value: str | None = keyring.get_password(service, user)
        except KeyringError as problem:
            self.say(path, f"the keyring cannot be used ({type(problem).__name__})")
            return None
        if value is None:
            self.say(path, f"the keyring has nothing under {service}/{user}")
        return value

    # ------------------------------------------------------------------------------------------------------ problems

    def say(self, path: str, what: str, mend: str = "") -> None:
        """Gather a problem."""
        self.problems.append(Problem(path, what, mend))

    def unknown(self, path: str, name: str, known: Iterable[str]) -> None:
        """Gather a name that nobody knows, with the nearest one."""
        self.say(path, "unknown option", nearest(name, known))

    def _invalid(self, model: type[Section], error: ErrorDetails, path: str) -> None:
        where = path + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if not is_tag(part)
        )
        if error["type"] == "extra_forbidden":
            known = options_at(model, error["loc"][:-1])
            self.unknown(where, str(error["loc"][-1]), known)
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
        self.say(where, message)


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


def _why_unreadable(problem: OSError | UnicodeDecodeError) -> str:
    return (
        "it is not UTF-8"
        if isinstance(problem, UnicodeDecodeError)
        else (problem.strerror or "no reason given").lower()
    )


def kind_of(value: Any) -> str:
    """What a TOML value is, in words."""
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


def nearest(name: str, known: Iterable[str]) -> str:
    """The mend for a name that nobody knows: the one that was probably meant; empty when none is near."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def _is_secret(model: type[Section], key: str) -> bool:
    declared = model.model_fields.get(key)
    return declared is not None and mentions(declared.annotation, SecretStr)
