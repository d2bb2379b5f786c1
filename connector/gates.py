"""What can be wrong with a list of stages: gates that are missing, that turn people round at once, that nobody passes.

The last two are looked for by trying: the conditions are evaluated at, below and above every number they are written with, by
simplifying their syntax trees. Where a condition reads text this decides nothing, and nothing is claimed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.simplify import simplify

from connector.errors import Problem
from connector.facts import GATE_SCOPE
from connector.terms import DIALECT, Type

MAX_TRIES = 200
_ASKED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)
Values = Mapping[str, float | bool]


@dataclass(frozen=True, slots=True)
class _Gate:
    """A stage with its trees; None stands for a condition that is not there."""

    name: str
    enter: exp.Expression | None
    exit: exp.Expression | None


@lru_cache
def problems(stages: tuple[tuple[str, str, str], ...], path: str) -> tuple[Problem, ...]:
    """What is wrong with stages given as (name, enter, exit), lowest first. Reads nothing.

    Kept, since a service reads its configuration again before each cycle, and the stages are nearly always the same ones.
    """
    return tuple(_problems(stages, path))


def _problems(stages: tuple[tuple[str, str, str], ...], path: str) -> Iterator[Problem]:
    if not stages:
        yield Problem(path, "there is no stage", "leave the option out for the default stages")
    seen: set[str] = set()
    is_sound = True
    for position, (name, enter, leave) in enumerate(stages):
        place = f"{path}[{position}]"
        if name.casefold() in seen:
            yield Problem(
                f"{place}.name", f'there are two stages "{name}"', "a person goes round: name each stage once"
            )
        seen.add(name.casefold())
        for option, text in (("enter", enter), ("exit", leave)):
            found = list(_gate_problems(position, option, text, place))
            is_sound = is_sound and not found
            yield from found
    if is_sound:
        gates = [_Gate(name, _tree(enter), _tree(leave)) for name, enter, leave in stages]
        yield from _unsound(gates, path)


def _gate_problems(position: int, option: str, text: str, place: str) -> Iterator[Problem]:
    if position == 0 and text:
        yield Problem(f"{place}.{option}", "the first stage takes everybody", "remove the condition")
    elif option == "enter" and not text and position:
        yield Problem(f"{place}.enter", "is missing: nobody can reach this stage", "write a condition")


def _unsound(gates: Sequence[_Gate], path: str) -> Iterator[Problem]:
    for position, gate in enumerate(gates[1:], 1):
        place = f"{path}[{position}]"
        turned = next((tried for tried in _tries(gate) if _says(gate.enter, tried) and _says(gate.exit, tried)), None)
        if turned is not None:
            what = f'stage cycle: "{gate.name}" is entered and left at once {_example(turned)}'
            yield Problem(f"{place}.exit", what, "let exit begin below enter")
        elif _is_never_entered(gate):
            yield Problem(f"{place}.enter", f'nobody can reach "{gate.name}": the condition is never true')
        else:
            higher = (other for other in gates[position + 1 :] if _is_passed_over(gate, other))
            if (other := next(higher, None)) is not None:
                what = f'nobody enters "{gate.name}": whoever could is let into "{other.name}"'
                yield Problem(f"{place}.enter", what, f'let "{other.name}" ask for more, or change the order')


def _is_never_entered(gate: _Gate) -> bool:
    answers = [_says(gate.enter, tried) for tried in _tries(gate)]
    return bool(answers) and all(answer is False for answer in answers)


def _is_passed_over(gate: _Gate, other: _Gate) -> bool:
    entering = [tried for tried in _tries(gate, other) if _says(gate.enter, tried) is not False]
    return bool(entering) and all(
        _says(other.enter, tried) is True and _says(other.exit, tried) is False for tried in entering
    )


def _example(tried: Values) -> str:
    said = [
        f"{name} {value:g}" if not isinstance(value, bool) else f"{name} {'yes' if value else 'no'}"
        for name, value in tried.items()
    ]
    return f"(for example with {', '.join(said)})" if said else ""


# ------------------------------------------------------------------------------------------------------------- trying


def _tree(text: str) -> exp.Expression | None:
    return sqlglot.parse_one(text, dialect=DIALECT) if text else None


def _tries(*gates: _Gate) -> Iterator[Values]:
    """Values for every field that the gates read: at, just below and just above the numbers it is compared with."""
    pools: dict[str, set[float | bool]] = {}
    for tree in (tree for gate in gates for tree in (gate.enter, gate.exit) if tree is not None):
        for asked in tree.find_all(*_ASKED):
            numbers = [
                float(number.this)
                for number in asked.find_all(exp.Literal)
                if not number.is_string and not _is_argument(number)
            ]
            numbers += [-number for number in numbers if asked.find(exp.Neg)]
            for name in _names(asked):
                pools.setdefault(name, set()).update(
                    near for number in numbers for near in (number - 0.5, number, number + 0.5)
                )
        for name in _names(tree):
            field = GATE_SCOPE.fields.get(name)
            if field is not None and field.type is Type.BOOL:
                pools[name] = {True, False}
    pools = {name: pool for name, pool in pools.items() if pool}
    combinations = itertools.product(*(sorted(pool) for pool in pools.values()))
    if _product(pools) > MAX_TRIES:
        return
    for values in combinations:
        yield dict(zip(pools, values, strict=True))


def _product(pools: Mapping[str, set[float | bool]]) -> int:
    total = 1
    for pool in pools.values():
        total *= len(pool)
    return total


def _is_argument(node: exp.Expression) -> bool:
    return isinstance(node.parent, exp.Anonymous)


def _names(tree: exp.Expression) -> list[str]:
    return [_name(node) for node in tree.find_all(exp.Column, exp.Anonymous)]


def _name(node: exp.Expression) -> str:
    text: str = node.sql(dialect=DIALECT)
    return text.lower()


def _says(tree: exp.Expression | None, values: Values) -> bool | None:
    """What the condition says for these values; None when they do not decide it. No condition says no."""
    if tree is None:
        return False

    def filled(node: exp.Expression) -> exp.Expression:
        is_field = isinstance(node, exp.Column | exp.Anonymous)
        return exp.convert(values[_name(node)]) if is_field and _name(node) in values else node

    answer = simplify(tree.transform(filled))
    return bool(answer.this) if isinstance(answer, exp.Boolean) else None
