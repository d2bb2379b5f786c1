"""What can be wrong with a list of stages: gates that are missing, that turn people round at once, that nobody passes.

The last two are looked for by trying: the conditions are evaluated at, between and beyond the numbers that they are written with,
by simplifying their syntax trees. What is read in any other way decides nothing, and nothing is claimed.
"""

from __future__ import annotations

import itertools
import math
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
_ASKED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
_READ = (exp.Column, exp.Anonymous)
#: What is counted in whole numbers.
_COUNTS = ("count_of", "days_since")
#: A text that no condition is written with.
_OTHER = ""
Value = float | bool | str
Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class _Gate:
    """A stage with its trees; None stands for a condition that is not there."""

    position: int
    name: str
    enter: exp.Expression | None
    exit: exp.Expression | None


@lru_cache
def problems(
    stages: tuple[tuple[str, str, str], ...], path: str, unknown: frozenset[int] = frozenset()
) -> tuple[Problem, ...]:
    """What is wrong with stages given as (name, enter, exit), lowest first. Reads nothing.

    unknown: the positions of stages whose conditions are not known. What is found is kept, since a service reads its
    configuration again before each cycle, and the stages are nearly always the same ones.
    """
    return tuple(_problems(stages, path, unknown))


def _problems(stages: tuple[tuple[str, str, str], ...], path: str, unknown: frozenset[int]) -> Iterator[Problem]:
    if not stages:
        yield Problem(path, "there is no stage", "leave the option out for the default stages")
    seen: set[str] = set()
    for position, (name, enter, leave) in enumerate(stages):
        place = f"{path}[{position}]"
        if name and name.casefold() in seen:
            yield Problem(
                f"{place}.name", f'there are two stages "{name}"', "a person goes round: name each stage once"
            )
        seen.add(name.casefold())
        for option, text in (("enter", enter), ("exit", leave)):
            if position not in unknown:
                yield from _gate_problems(position, option, text, place)
    gates = [
        _Gate(position, name, _tree(enter), _tree(leave))
        for position, (name, enter, leave) in enumerate(stages)
        if position and position not in unknown
    ]
    yield from _unsound(gates, path)


def _gate_problems(position: int, option: str, text: str, place: str) -> Iterator[Problem]:
    if position == 0 and text:
        yield Problem(f"{place}.{option}", "the first stage takes everybody", "remove the condition")
    elif option == "enter" and not text and position:
        yield Problem(f"{place}.enter", "is missing: nobody can reach this stage", "write a condition")


def _unsound(gates: Sequence[_Gate], path: str) -> Iterator[Problem]:
    for number, gate in enumerate(gates):
        place = f"{path}[{gate.position}]"
        if _is_never(gate.exit):
            yield Problem(f"{place}.exit", f'nobody can leave "{gate.name}": the condition is never true')
        turned = next(
            (tried for tried in _tries(gate.enter, gate.exit) if _says(gate.enter, tried) and _says(gate.exit, tried)),
            None,
        )
        if turned is not None:
            what = f'stage cycle: "{gate.name}" is entered and left at once {_example(turned)}'
            yield Problem(f"{place}.exit", what, "let exit begin below enter")
        elif _is_never(gate.enter):
            yield Problem(f"{place}.enter", f'nobody can reach "{gate.name}": the condition is never true')
        else:
            higher = (other for other in gates[number + 1 :] if _is_passed_over(gate, other))
            if (other := next(higher, None)) is not None:
                what = f'nobody enters "{gate.name}": whoever could is let into "{other.name}"'
                yield Problem(f"{place}.enter", what, f'let "{other.name}" ask for more, or change the order')


def _is_never(tree: exp.Expression | None) -> bool:
    """Whether a condition that is there holds for nobody, whatever their values."""
    answers = [_says(tree, tried) for tried in _tries(tree, with_texts=True)] if tree is not None else []
    return bool(answers) and all(answer is False for answer in answers)


def _is_passed_over(gate: _Gate, other: _Gate) -> bool:
    entering = [
        tried
        for tried in _tries(gate.enter, gate.exit, other.enter, other.exit)
        if _says(gate.enter, tried) is not False
    ]
    return bool(entering) and all(
        _says(other.enter, tried) is True and _says(other.exit, tried) is False for tried in entering
    )


def _example(tried: Values) -> str:
    said = [f"{name} {_worded(value)}" for name, value in tried.items()]
    return f"(for example with {', '.join(said)})" if said else ""


def _worded(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}"


# ------------------------------------------------------------------------------------------------------------- trying


def _tree(text: str) -> exp.Expression | None:
    """The syntax tree, with `in` as the equalities that it stands for."""

    def plain(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.In):
            return node
        return exp.paren(exp.or_(*(exp.EQ(this=node.this.copy(), expression=each) for each in node.expressions)))

    return sqlglot.parse_one(text, dialect=DIALECT).transform(plain) if text else None


def _tries(*trees: exp.Expression | None, with_texts: bool = False) -> Iterator[Values]:
    """Values for every field that is only compared with what is written: of all that these tell apart, one each.

    with_texts: of fields with text, too. One condition can contradict itself by them; that two of them hold at once, such as a
    title and a low score, is what they are written for.
    """
    written: dict[str, set[Value]] = {}
    others: set[str] = set()  # what is read in any other way decides nothing
    for node in (node for tree in trees if tree is not None for node in tree.find_all(*_READ)):
        beside = _written_beside(node)
        if beside is None or (any(isinstance(each, str) for each in beside) and not with_texts):
            others.add(_name(node))
        else:
            written.setdefault(_name(node), set()).update(beside)
    pools = {name: _telling(name, values) for name, values in written.items() if name not in others}
    if math.prod(map(len, pools.values())) > MAX_TRIES:
        return
    for values in itertools.product(*pools.values()):
        yield dict(zip(pools, values, strict=True))


def _written_beside(node: exp.Expression) -> set[Value] | None:
    """What a field is compared with; None when it is read in any other way."""
    field, asked = GATE_SCOPE.fields.get(_name(node)), node.parent
    if field is not None and field.type is Type.BOOL and not isinstance(asked, exp.Coalesce):
        is_asked_for_null = isinstance(asked, exp.Is) and isinstance(asked.expression, exp.Null)
        return None if is_asked_for_null else {True, False}
    if not isinstance(asked, _ASKED):
        return None
    values = [_value(part) for part in asked.iter_expressions() if part is not node]
    if isinstance(asked, exp.EQ | exp.NEQ) and field is not None and field.type is Type.TEXT:
        return {each for each in values if each is not None} if None not in values else None
    return {float(each) for each in values} if all(isinstance(each, float) for each in values) else None  # type: ignore[arg-type]


def _value(node: exp.Expression) -> Value | None:
    """The text or number that is written there."""
    if isinstance(node, exp.Neg):
        number = _value(node.this)
        return -number if isinstance(number, float) else None
    if not isinstance(node, exp.Literal):
        return None
    return str(node.this) if node.is_string else float(node.this)


def _telling(name: str, written: set[Value]) -> list[Value]:
    """One value of each kind that what is written tells apart: at, between and beyond the numbers; each text, and another."""
    if any(isinstance(each, bool) for each in written):
        return [False, True]
    texts = sorted(each for each in written if isinstance(each, str))
    if texts:
        return [*texts, _OTHER]
    numbers = sorted(float(each) for each in written)
    if name.startswith(_COUNTS):
        return sorted({near for number in numbers for near in (number - 1, number, number + 1)})
    between = [(low + high) / 2 for low, high in itertools.pairwise(numbers)]
    return sorted({*numbers, *between, numbers[0] - 1, numbers[-1] + 1})


def _name(node: exp.Expression) -> str:
    text: str = node.sql(dialect=DIALECT)
    return text.lower()


def _says(tree: exp.Expression | None, values: Values) -> bool | None:
    """What the condition says for these values; None when they do not decide it. No condition says no."""
    if tree is None:
        return False

    def filled(node: exp.Expression) -> exp.Expression:
        is_field = isinstance(node, _READ)
        return exp.convert(values[_name(node)]) if is_field and _name(node) in values else node

    answer = simplify(tree.transform(filled))
    return bool(answer.this) if isinstance(answer, exp.Boolean) else None
