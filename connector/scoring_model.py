"""`[scoring.<model>]`: the rules and grades of a scoring model, and what can be wrong with them.

`connector.scoring` computes with them; docs/scoring.md explains them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Set
from typing import Annotated

from pydantic import Field, field_validator

from connector import rules
from connector.errors import Problem
from connector.section import Section, Wrong

FIT_SCOPE = rules.scope(rules.GOLDEN)
EVENT_SCOPE = rules.scope(rules.HAPPENED, properties=rules.PROPERTIES, keys=rules.KEYS)

Points = Annotated[float, Field(ge=-10_000, le=10_000)]  # 10,000 points a million times over still fit into an int64


class FitRule(Section):
    """One entry of `fit`: points while a condition over `person.*` and `account.*` holds."""

    when: str = Field(description="condition over person.* and account.*")
    points: Points = Field(description="points while it holds; may be negative")
    text: str = Field("", description="how the reason reads; made from the condition when empty")
    name: str = Field(
        "", pattern=r"^[\w-]*$", description="a name that stays when the rule changes; made from it when empty"
    )

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, value: str) -> str:
        return rules.checked(value, FIT_SCOPE)

    @property
    def id(self) -> str:
        """The rule's name in every table."""
        return self.name or _id(self.when)

    @property
    def words(self) -> str:
        """How the reason reads, on one line."""
        return _line(self.text or rules.compile_condition(self.when, FIT_SCOPE).words)

    @property
    def fields(self) -> tuple[str, ...]:
        """The golden fields that the condition reads (`person.title`), each once."""
        return tuple(dict.fromkeys(field.name for field in rules.compile_condition(self.when, FIT_SCOPE).fields))


class EngagementRule(Section):
    """One entry of `engagement`: points for every activity of a kind, with ageing and caps."""

    on: str = Field(description="kind of activity")
    where: str = Field(
        "", description="condition over activity.*, record.* and the activity's properties, such as form.name"
    )
    points: Points = Field(description="points of one activity; may be negative")
    half_life_days: float | None = Field(
        None, ge=0.1, le=3_650, description="days after which half of the points are left"
    )
    cap: float | None = Field(
        None, gt=0, le=1_000_000, description="most points (or least, for negative ones) that it gives"
    )
    cap_per_day: int | None = Field(
        None, gt=0, description="activities of one UTC day that count; more share their points"
    )
    text: str = Field(
        "", description="how the reason reads, with the day after it; made from kind and condition when empty"
    )
    name: str = Field(
        "", pattern=r"^[\w-]*$", description="a name that stays when the rule changes; made from it when empty"
    )

    @field_validator("on")
    @classmethod
    def _is_a_kind(cls, value: str) -> str:
        if value not in rules.ACTIVITY_KINDS:
            what = f'unknown kind of activity "{value}"'
            raise Wrong((what, rules.did_you_mean(value, rules.ACTIVITY_KINDS)))
        return value

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, value: str) -> str:
        return rules.checked(value, EVENT_SCOPE) if value else value

    @property
    def id(self) -> str:
        """The rule's name in every table."""
        return self.name or _id(f"{self.on} {self.where}")

    @property
    def words(self) -> str:
        """How the reason reads, on one line, without the day."""
        kind = self.on.replace("_", " ")
        made = f"{kind} ({rules.compile_condition(self.where, EVENT_SCOPE).words})" if self.where else kind
        return _line(self.text or made)


Rule = FitRule | EngagementRule


class ScoringModel(Section):
    """`[scoring.<model>]`: rules and grades."""

    fit: tuple[FitRule, ...] = Field((), description="rules over what a person and an account are")
    engagement: tuple[EngagementRule, ...] = Field((), description="rules over what a person does")
    grades: Mapping[str, float] = Field(
        {"A": 60, "B": 40, "C": 20}, description="grade -> score from which it is given"
    )
    lowest_grade: str = Field("D", description="grade of everybody below")

    @property
    def grade_names(self) -> tuple[str, ...]:
        """All grades, best first."""
        return (*sorted(self.grades, key=lambda grade: -self.grades[grade]), self.lowest_grade)


def _line(text: str) -> str:
    return " ".join(text.split())


def _id(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    return f"{slug}-{hashlib.blake2b(text.encode(), digest_size=2).hexdigest()}"


def problems(model: ScoringModel, path: str, gone: Set[str] = frozenset()) -> list[Problem]:
    """What is wrong with a model as a whole: with options that do not go together. Reads nothing.

    gone: paths of options that are wrong in themselves; nothing is concluded from their absence.
    """
    found: list[Problem] = []
    seen: dict[str, str] = {}
    placed: list[tuple[str, Rule]] = [(f"{path}.fit[{at}]", rule) for at, rule in enumerate(model.fit)]
    placed += [(f"{path}.engagement[{at}]", rule) for at, rule in enumerate(model.engagement)]
    for place, rule in placed:
        found += _rule_problems(rule, place)
        if gone & {f"{place}{option}" for option in ("", ".when", ".on", ".where", ".name")}:
            continue
        if rule.id in seen:
            found.append(Problem(place, f"says the same as {seen[rule.id]}", "remove one, or give it a name"))
        seen.setdefault(rule.id, place)
    if not all(map(str.strip, model.grades)):
        found.append(Problem(f"{path}.grades", "a grade has no name", "name it as the CRM is to show it"))
    if not model.lowest_grade.strip():
        found.append(Problem(f"{path}.lowest_grade", "must not be empty", "name the grade of everybody below"))
    elif model.lowest_grade in model.grades:
        found.append(Problem(f"{path}.lowest_grade", f'"{model.lowest_grade}" is one of the grades', "name another"))
    if len(set(model.grades.values())) < len(model.grades):
        found.append(Problem(f"{path}.grades", "two grades begin at the same score"))
    elif list(model.grades.values()) != sorted(model.grades.values(), reverse=True):
        found.append(Problem(f"{path}.grades", "the best grade comes first, and each begins below the one before it"))
    return found


def _rule_problems(rule: Rule, place: str) -> list[Problem]:
    if isinstance(rule, FitRule) or rule.cap_per_day is None or rule.half_life_days is None or rule.half_life_days >= 3:
        return []
    mend = "take a half-life of 3 days or more, or leave cap_per_day out"
    return [Problem(f"{place}.cap_per_day", "cannot be kept with a half-life under 3 days", mend)]
