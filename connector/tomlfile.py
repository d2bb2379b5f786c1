"""A TOML file and its sections one by one: secrets followed, and every problem gathered with its place and its mend."""

from __future__ import annotations

import copy
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from connector.errors import ConfigError, Problem
from connector.lines import line_of
from connector.section import Section, Wrong, description_at, mentions, options_at, relaxed

#: pydantic's names of what is wrong -> our words
_LIMITS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
_PLAIN = {"missing": "is needed", "string_too_short": "must not be empty"}
_TABLES = ("model_type", "model_attributes_type")
_SHAPES = {
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
#: What the parser of TOML says -> what that usually comes from.
_USUAL = {
    "Invalid value": 'a text stands in quotes: name = "value"',
    "Unterminated string": "a quote is not closed",
    "Illegal character": "a quote is not closed, or the line holds a character that does not show",
    "Expected '=' after a key": "each line is name = value, each table [name]",
    "Invalid statement": "each line is name = value, each table [name]",
    "Expected newline or end of document": 'a text stands in quotes, and each setting on a line of its own: name = "value"',
    "Cannot declare": "a table stands there twice: put both under one [name]",
    "Cannot mutate immutable namespace": "a table stands there twice: put both under one [name]",
    "Cannot overwrite a value": "a name stands there twice in its table: take one out",
    "Unclosed array": "a list is not closed, or a comma is missing in it",
    "Unclosed inline table": "a { is not closed, or a comma is missing in it",
    "Duplicate inline table key": "a name stands twice in the { }: take one out",
    "Expected ']'": "a table's name is not closed: [name]",
    "Unescaped '\\'": "a backslash is written twice in a text, or the text in single quotes",
}
#: A place inside a section: keys of tables and positions in lists.
Place = tuple[int | str, ...]
_REFERENCE = re.compile(r"^(env|file|keyring):(.+)$")


def read(file: Path, *, needs_secrets: bool = True) -> TomlFile:
    """The file, with nothing in it looked at yet. Raises ConfigError when it cannot be read or is not TOML."""
    text = _text(file)
    try:
        return TomlFile(file, text, tomllib.loads(text), needs_secrets)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError([_not_toml(str(problem), file, text)]) from None
    except RecursionError:
        raise ConfigError([Problem("", "is not valid TOML: it is nested too deep", "", file.name)]) from None


def place(problem: Problem, file: Path, text: str) -> Problem:
    """The problem with where in this file its option stands."""
    return replace(problem, file=file.name, line=line_of(text, problem.path))


def _not_toml(told: str, file: Path, text: str) -> Problem:
    """What the parser says, as a person would. What stands in the line is not repeated: it may be a secret."""
    found = re.search(r"line (\d+)", told)
    line = int(found.group(1)) if found else text.count("\n") + 1
    what = next((usual for said, usual in _USUAL.items() if said in told), told.partition(" (at ")[0])
    return Problem("", f"is not valid TOML: {what}", "", file.name, line)


@dataclass
class TomlFile:
    """What stands in a file, and what was found wrong in it so far."""

    file: Path
    text: str
    raw: Mapping[str, Any]
    needs_secrets: bool = True  # else a secret is not followed, and may be missing
    problems: list[Problem] = field(default_factory=list)
    unresolved: dict[str, Problem] = field(default_factory=dict)  # path -> why its reference leads nowhere
    open_secrets: dict[str, str] = field(
        default_factory=dict
    )  # path -> the file of ours that its secret stands in, and that others may read
    gone: set[str] = field(
        default_factory=set
    )  # paths of options that are wrong in themselves: nothing follows from them

    def placed(self) -> list[Problem]:
        """The problems in the order of the file, each once."""
        unique = {(problem.path, problem.what): problem for problem in self.problems}
        placed = [place(problem, self.file, self.text) for problem in unique.values()]
        return sorted(placed, key=lambda problem: (problem.line or 0, problem.path))

    def single(self, model: type[Section], name: str, *, is_needed: bool = False) -> Any:
        """The section that is one table, its secrets followed; see `section` for what comes of problems.

        is_needed: its secrets are, whatever the rest of the file is read for.
        """
        return self.section(model, self.resolved(model, self.table(name), name, is_needed=is_needed), name)

    def table(self, name: str) -> Mapping[str, Any]:
        """A table as it stands there; empty when there is none."""
        value = self.raw.get(name, {})
        if isinstance(value, Mapping):
            return value
        self.say(name, f"must be a table [{name}], is {kind_of(value)}")
        return {}

    def section(self, model: type[Section], values: Mapping[str, Any], path: str) -> Any:
        """The section; after problems what is left of it without the wrong options, so that the rest is checked too.

        What is wrong is taken out, and the rest looked at again, until nothing is: one problem hides no other.
        """
        left, gone = copy.deepcopy(dict(values)), set[Place]()
        wanted = model
        while True:
            try:
                return wanted.model_validate(left)
            except ValidationError as problem:
                errors = [(_place(left, error), error) for error in problem.errors()]
            for place, error in errors:
                if not _follows(place, error, gone):
                    self._invalid(model, error, place, path)
            places = {place for place, _ in errors}
            if () in places or places <= gone:
                return None
            for place, error in errors:
                _take_out(left, place, is_table=error["type"] in _TABLES)
            gone |= places
            self.gone |= {path + _dotted(place) for place in places}
            wanted = relaxed(model)

    def holds(self, path: str, name: str) -> None:
        """Gather what speaks against a file of ours where this option says. Folders are made below the configuration alone."""
        home, place = os.path.realpath(self.file.parent), os.path.realpath(self.file.parent / name)
        folder = os.path.dirname(place)
        if os.path.isdir(place):
            self.say(path, f"{name} is a folder", "name a file in it")
        elif place == os.path.realpath(self.file):
            self.say(path, f"{name} is the configuration itself", "name another file")
        elif not os.path.isdir(folder) and not Path(folder).is_relative_to(home):
            self.say(path, f"the folder {folder} is not there", "make it, or name another")

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

    def resolved(
        self, model: type[Section], values: Mapping[str, Any], path: str, *, is_needed: bool = False
    ) -> dict[str, Any]:
        """The values with references to environment, file or keyring followed; a secret must be a reference."""
        resolved: dict[str, Any] = {}
        is_needed = is_needed or self.needs_secrets
        for key, value in values.items():
            reference = _REFERENCE.match(value) if isinstance(value, str) else None
            if reference and not is_needed and _is_secret(model, key):
                resolved[key] = "unresolved"
            elif reference:
                found = self._follow(reference.group(1), reference.group(2), f"{path}.{key}")
                if found is None and is_needed:
                    self.problems.append(self.unresolved[f"{path}.{key}"])
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
            return self._filled(value, path, f"environment variable {name} is {'not set' if not value else 'empty'}")
        if where == "file":
            try:
                place = self.file.parent / Path(name).expanduser()
                value = place.read_text(encoding="utf-8-sig")
                if _is_open(place):
                    self.open_secrets[path] = name
            except (OSError, UnicodeDecodeError, RuntimeError) as problem:  # RuntimeError: there is no such home
                self._leads_nowhere(path, f"file {name} cannot be read ({_why_unreadable(problem)})")
                return None
            return self._filled(value, path, f"file {name} is empty")
        service, _, user = name.partition("/")
        if not (service and user):
            self._leads_nowhere(
                path, f"keyring:{name} names no {'user' if service else 'service'}", "write keyring:SERVICE/USER"
            )
            return None
        return self._from_keyring(service, user, path)

    def _from_keyring(self, service: str, user: str, path: str) -> str | None:
        import keyring
        from keyring.errors import NoKeyringError

        mend = "use env: or file: here"
        try:
            value: str | None = keyring.get_password(service, user)
        except NoKeyringError:
            self._leads_nowhere(path, "this machine has no keyring", mend)
            return None
        except Exception as problem:  # noqa: BLE001  # whatever its backend raises, and may say of what it keeps
            self._leads_nowhere(path, f"the keyring cannot be used ({type(problem).__name__})", mend)
            return None
        return self._filled(value, path, f"the keyring has nothing under {service}/{user}")

    def _filled(self, value: str | None, path: str, why_not: str) -> str | None:
        """The value without the space and line end that editors and shells leave around one; None when nothing is left."""
        value = (value or "").strip()
        if not value:
            self._leads_nowhere(path, why_not)
        return value or None

    def _leads_nowhere(self, path: str, why: str, mend: str = "") -> None:
        self.unresolved[path] = Problem(path, why, mend)

    # ------------------------------------------------------------------------------------------------------ problems

    def say(self, path: str, what: str, mend: str = "") -> None:
        """Gather a problem."""
        self.problems.append(Problem(path, what, mend))

    def also(self, problems: Iterable[Problem]) -> None:
        """Gather what is wrong with sections as a whole, less what is said of the same options already."""
        said = {problem.path for problem in self.problems}
        self.problems += [problem for problem in problems if problem.path not in said]

    def unknown(self, path: str, name: str, known: Iterable[str]) -> None:
        """Gather a name that nobody knows, with the nearest one."""
        self.say(path, "unknown option", nearest(name, known))

    def _invalid(self, model: type[Section], error: ErrorDetails, place: Place, path: str) -> None:
        where = path + _dotted(place)
        if error["type"] == "extra_forbidden":
            self.unknown(where, str(place[-1]), options_at(model, place[:-1]))
            return
        if where in self.unresolved:
            self.problems.append(self.unresolved[where])
            return
        if isinstance(own := error.get("ctx", {}).get("error"), Wrong):
            for what, mend in own.told:
                self.say(where, what, mend)
            return
        self.say(where, _in_words(model, error, place))


def _in_words(model: type[Section], error: ErrorDetails, place: Place) -> str:
    """What is wrong with an option, as a person says it."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _LIMITS:
        return f"must be {_LIMITS[kind]} {next(iter(context.values())):g}, is {given}"
    if kind in _SHAPES:
        return f"must be {_SHAPES[kind]}, is {kind_of(given)}"
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "string_pattern_mismatch":
        return f"is {given!r}, and should be {description_at(model, place)}"
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}, is {given!r}"
    return error["msg"].removeprefix("Value error, ")


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


def _is_open(file: Path) -> bool:
    """Whether a file of ours may be read by others; where secrets are handed to a service, they lie as whoever does it wants."""
    told = file.stat()
    is_handed = file.resolve().is_relative_to("/run") or file.is_symlink()
    return not is_handed and told.st_uid == os.getuid() and bool(told.st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _why_unreadable(problem: OSError | UnicodeDecodeError | RuntimeError) -> str:
    if isinstance(problem, UnicodeDecodeError):
        return "it is not UTF-8"
    return (getattr(problem, "strerror", None) or str(problem) or "no reason given").lower()


def kind_of(value: Any) -> str:
    """What a TOML value is, in words."""
    return {str: "a text", int: "a number", float: "a number", bool: "true or false", list: "a list"}.get(
        type(value), type(value).__name__
    )


def _place(values: Any, error: ErrorDetails) -> Place:
    """Where in the file an error is: the library's own path less what it says of types and of short forms."""
    place: list[int | str] = []
    for part in error["loc"]:
        is_item = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if is_item or (isinstance(values, dict) and part in values):
            values = values[part]
        elif not (error["type"] == "missing" and part == error["loc"][-1]):
            continue
        place.append(part)
    return tuple(place)


def _dotted(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _follows(place: Place, error: ErrorDetails, gone: set[Place]) -> bool:
    """Whether an error comes from an option that is gone: of a check between options it is one, or it is needed."""
    own = error.get("ctx", {}).get("error")
    return place in gone or (isinstance(own, Wrong) and any((*place, name) in gone for name in own.of))


def _take_out(values: dict[str, Any], place: Place, *, is_table: bool) -> None:
    """Take out what is at this place, if it is there: of a list of plain values all of it, a table of a list leaves its place."""
    *way, last = place
    holder: Any = values
    for part in way:
        if isinstance(holder, dict) and part not in holder:
            return
        holder = holder[part]
    if isinstance(holder, dict):
        holder.pop(last, None)
    elif isinstance(holder, list) and is_table:
        holder[int(last)] = {}
    elif way:
        _take_out(values, tuple(way), is_table=False)


def nearest(name: str, known: Iterable[str]) -> str:
    """The mend for a name that nobody knows: the one that was probably meant; empty when none is near."""
    return did_you_mean(close_to(name, known))


def close_to(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or ""."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.6)), "")


def did_you_mean(meant: str) -> str:
    """The mend that names it."""
    return f'did you mean "{meant}"?' if meant else ""


def _is_secret(model: type[Section], key: str) -> bool:
    declared = model.model_fields.get(key)
    return declared is not None and mentions(declared.annotation, SecretStr)
