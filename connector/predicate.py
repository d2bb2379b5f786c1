"""From an SQL syntax tree to a checked term: one walk that refuses every node that is not listed here.

`connector.rules` is the door to this; docs/rules.md lists what is allowed.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ibis
from sqlglot import exp

from connector.terms import (
    DIALECT,
    ConditionError,
    Fact,
    Field,
    Scope,
    Term,
    Type,
    constant,
    did_you_mean,
    each,
    fact_words,
    field_words,
    flag_words,
    made_like,
    moment,
    negated,
    read,
    search_words,
    sql,
)

MAX_WINDOW_DAYS = 3_650
_INT64 = 2**63
_STAGE = "write what the stage stands for; a task may say: stage becomes 'Buy'"
_SEE = "see docs/rules.md for what is allowed"

_COMPARISONS: Mapping[type[exp.Expression], tuple[Callable[[Any, Any], Any], str]] = {
    exp.EQ: (operator.eq, "is"),
    exp.NEQ: (operator.ne, "is not"),
    exp.GT: (operator.gt, "above"),
    exp.GTE: (operator.ge, "at least"),
    exp.LT: (operator.lt, "below"),
    exp.LTE: (operator.le, "at most"),
}
_WEIGHING: tuple[type[exp.Expression], ...] = (*_COMPARISONS, exp.Between, exp.In)
_ARITHMETIC: Mapping[type[exp.Expression], tuple[Callable[[Any, Any], Any], str]] = {
    exp.Add: (operator.add, "+"),
    exp.Sub: (operator.sub, "-"),
    exp.Mul: (operator.mul, "*"),
    exp.Div: (lambda left, right: left / right.nullif(0), "/"),
}
_FUNCTIONS: Mapping[type[exp.Expression], tuple[str, Type, Type, Callable[[Any], Any]]] = {
    exp.Lower: ("", Type.TEXT, Type.TEXT, lambda value: value.lower()),
    exp.Upper: ("", Type.TEXT, Type.TEXT, lambda value: value.upper()),
    exp.Trim: ("", Type.TEXT, Type.TEXT, lambda value: value.strip()),
    exp.Length: ("length of ", Type.TEXT, Type.NUMBER, lambda value: value.length()),
    exp.Abs: ("size of ", Type.NUMBER, Type.NUMBER, lambda value: value.abs()),
}
_SEARCHES: Mapping[type[exp.Expression], Callable[[Any, str], Any]] = {
    exp.Like: lambda value, pattern: value.like(pattern),
    exp.ILike: lambda value, pattern: value.ilike(pattern),
    exp.Contains: lambda value, part: value.contains(part),
    exp.StartsWith: lambda value, part: value.startswith(part),
}
_FUNCTION_NAMES = (
    "lower",
    "upper",
    "trim",
    "length",
    "abs",
    "coalesce",
    "contains",
    "starts_with",
    "count_of",
    "days_since",
)
#: What the parser hangs on allowed nodes; anything else that is set (escape, symmetric, a subquery) is refused.
_ARGS = frozenset(
    {"this", "expression", "expressions", "low", "high", "negate", "is_string", "to", "typed", "safe", "_type"}
)


class Compiler:
    """One walk over the tree: checks every node, and gathers what the condition uses."""

    def __init__(self, known: Scope) -> None:
        self.known = known
        self.fields: list[Field] = []
        self.facts: list[Fact] = []
        self.numbers: list[float] = []
        self.compared: list[tuple[str, str]] = []

    def term(self, node: exp.Expression) -> Term:
        """The typed term of a node. Raises ConditionError."""
        make = next((make for kinds, make in _NODES if isinstance(node, kinds)), None)
        extra = [name for name, value in node.args.items() if value and name not in _ARGS]
        if make is None or (extra and not isinstance(node, exp.Column)):
            mend = "write is null or is not null" if isinstance(node, exp.Null) else _SEE
            raise ConditionError(f"`{sql(node)}` is not allowed in a condition", mend)
        return make(self, node)

    def condition(self, node: exp.Expression) -> Term:
        """The term of a node that must be true or false. Raises ConditionError."""
        term = self.term(node)
        if term.type is not Type.BOOL:
            raise ConditionError(f"`{sql(node)}` is {term.type}, not a condition", "compare it with something")
        return replace(term, words=flag_words(term.name), name="") if term.name else term

    def paren(self, node: exp.Paren) -> Term:
        inner = self.term(node.this)
        return replace(inner, words=f"({inner.words})") if isinstance(node.this, exp.Or) else inner

    # ------------------------------------------------------------------------------------------------------- leaves

    def column(self, node: exp.Column) -> Term:
        name = ".".join(part.name.lower() for part in node.parts)
        prefix, _, key = name.partition(".")
        if key and prefix in self.known.properties:
            found = Field(name, Type.PROPERTY, "activity_properties", key=key)
        elif name in self.known.fields:
            found = self.known.fields[name]
        elif name == "stage":
            raise ConditionError("a condition cannot read the stage, which is decided from it", _STAGE)
        else:
            raise ConditionError(f'unknown field "{name}"', self._nearest(name))
        if found.is_fading and not _is_plain(node):
            mend = f"such as {name} >= 40: of nothing else is known when time alone changes it"
            raise ConditionError(f"{name} must be compared with a number, as it is", mend)
        self.fields.append(found)
        return Term(found.type, lambda table: read(found, table), field_words(name), name=name)

    def _nearest(self, name: str) -> str:
        key, names = name.rpartition(".")[2], list(self.known.fields)
        bare = {other.rpartition(".")[2]: other for other in reversed(names)}
        near = [bare[key]] if key in bare else difflib.get_close_matches(name, names, 1)
        near = near or [bare[similar] for similar in difflib.get_close_matches(key, bare, 1, 0.75)]
        near = near or difflib.get_close_matches(name, [f"{prefix}.{key}" for prefix in self.known.properties], 1)
        if near:
            return f'did you mean "{near[0]}"?'
        return "there are " + ", ".join(sorted({other.partition(".")[0] + ".…" * ("." in other) for other in names}))

    def literal(self, node: exp.Literal) -> Term:
        if node.is_string:
            return constant(Type.TEXT, node.this, str(node.this))
        value = int(node.this) if node.this.isdigit() else float(node.this)
        if abs(value) >= _INT64:
            raise ConditionError(f"the number {node.this} is too large")
        self.numbers.append(value)
        return constant(Type.NUMBER, value, f"{value:,}")

    def negative(self, node: exp.Neg) -> Term:
        value = self._typed(node, node.this, Type.NUMBER)
        if not isinstance(value.literal, int | float):
            return Term(Type.NUMBER, lambda table: -value.build(table), f"-{value.words}")
        self.numbers.append(-value.literal)
        return constant(Type.NUMBER, -value.literal, f"-{value.words}")

    def boolean(self, node: exp.Boolean) -> Term:
        return constant(Type.BOOL, bool(node.this), "yes" if node.this else "no")

    def cast(self, node: exp.Cast) -> Term:
        to = node.to.sql(dialect=DIALECT).lower()
        if to not in ("date", "timestamp", "timestamptz") or not node.this.is_string:
            raise ConditionError(
                f"`{sql(node)}` is not allowed in a condition", "only dates such as date '2026-01-01' are"
            )
        return moment(node.this.this, Type.DATE if to == "date" else Type.INSTANT)

    def fact(self, node: exp.Anonymous) -> Term:
        name, arguments = node.name.lower(), node.expressions
        if name not in ("count_of", "days_since"):
            raise ConditionError(f"unknown function {name}()", did_you_mean(name, _FUNCTION_NAMES, suffix="()"))
        if not self.known.kinds:
            raise ConditionError(f"{name}() cannot be used here", "it is for stages and tasks")
        if not arguments or not arguments[0].is_string:
            raise ConditionError(f"{name}() needs a kind of activity", f"such as {name}('form_submitted')")
        kind = arguments[0].this
        if kind not in self.known.kinds:
            raise ConditionError(f'unknown kind of activity "{kind}"', did_you_mean(kind, self.known.kinds))
        fact = Fact(kind, _window(name, arguments[1:]))
        if fact.days is None and not _is_compared_with_literals(node):
            raise ConditionError("days_since() must be compared with a number", f"such as days_since('{kind}') < 30")
        self.facts.append(fact)
        return Term(Type.NUMBER, lambda table: table[fact.column], fact_words(fact))

    # -------------------------------------------------------------------------------------------------------- logic

    def junction(self, node: exp.And | exp.Or) -> Term:
        left, right = each(self.condition, node.left, node.right)
        combine, word = (operator.and_, "and") if isinstance(node, exp.And) else (operator.or_, "or")
        return Term(
            Type.BOOL,
            lambda table: combine(left.build(table), right.build(table)),
            f"{left.words} {word} {right.words}",
        )

    def negation(self, node: exp.Not) -> Term:
        return negated(self.condition(node.this))

    def comparison(self, node: exp.Binary) -> Term:
        compare, word = _COMPARISONS[type(node)]
        left, right = self._alike(node, *each(self.term, node.left, node.right))
        if left.type is Type.BOOL and not isinstance(node, exp.EQ | exp.NEQ):
            raise ConditionError(f"`{sql(node)}`: a yes or no has no order", "compare it with = or <>")
        if isinstance(node, exp.EQ | exp.NEQ):
            self._note(left, right)
            self._note(right, left)
        return Term(
            Type.BOOL,
            lambda table: compare(left.build(table), right.build(table)),
            f"{left.words} {word} {right.words}",
        )

    def between(self, node: exp.Between) -> Term:
        value, low, high = each(self.term, node.this, node.args["low"], node.args["high"])
        value, low = self._alike(node, value, low)
        value, high = self._alike(node, value, high)
        words = f"{value.words} between {low.words} and {high.words}"
        return Term(Type.BOOL, lambda table: value.build(table).between(low.build(table), high.build(table)), words)

    def membership(self, node: exp.In) -> Term:
        value, *options = each(self.term, node.this, *node.expressions)
        if not options or any(option.literal is None for option in options):
            raise ConditionError(f"`{sql(node)}`: in needs a list of values, such as in ('a', 'b')")
        typed = []
        for option in options:
            value, alike = self._alike(node, value, option)
            typed.append(alike)
            self._note(value, alike)
        words = f"{value.words} is {' or '.join(option.words for option in typed)}"
        return Term(Type.BOOL, lambda table: value.build(table).isin([option.build(table) for option in typed]), words)

    def search(self, node: exp.Expression) -> Term:
        find = _SEARCHES[type(node)]
        value, pattern = self._typed(node, node.this, Type.TEXT), self.term(node.expression)
        text = pattern.literal
        if not isinstance(text, str):
            raise ConditionError(f"`{sql(node)}`: what to search for must be a text in quotes")
        term = Term(
            Type.BOOL, lambda table: find(value.build(table), text), f"{value.words} {search_words(type(node), text)}"
        )
        return negated(term) if node.args.get("negate") else term

    def is_(self, node: exp.Is) -> Term:
        value, right, is_negated = self.term(node.this), node.expression, bool(node.args.get("negate"))
        if isinstance(right, exp.Null):
            if is_negated:
                return Term(Type.BOOL, lambda table: value.build(table).notnull(), f"{value.words} is known")
            return Term(Type.BOOL, lambda table: value.build(table).isnull(), f"{value.words} is unknown")
        if not isinstance(right, exp.Boolean) or value.type is not Type.BOOL:
            raise ConditionError(f"`{sql(node)}` is not allowed in a condition", "is null, is true and is false are")
        wanted, words = bool(right.this), f"{value.words} is {'yes' if right.this else 'no'}"
        term = Term(Type.BOOL, lambda table: (value.build(table) == wanted).fill_null(False), words)
        return negated(term) if is_negated else term

    def _note(self, field: Term, text: Term) -> None:
        if field.name and isinstance(text.literal, str):
            self.compared.append((field.name, text.literal))

    # ------------------------------------------------------------------------------------------------------- values

    def arithmetic(self, node: exp.Binary) -> Term:
        combine, word = _ARITHMETIC[type(node)]
        left, right = each(lambda part: self._typed(node, part, Type.NUMBER), node.left, node.right)
        return Term(
            Type.NUMBER,
            lambda table: combine(left.build(table), right.build(table)),
            f"{left.words} {word} {right.words}",
        )

    def function(self, node: exp.Func) -> Term:
        words, takes, gives, call = _FUNCTIONS[type(node)]
        value = self._typed(node, node.this, takes)
        return Term(gives, lambda table: call(value.build(table)), f"{words}{value.words}")

    def coalesce(self, node: exp.Coalesce) -> Term:
        first, *others = each(self.term, node.this, *node.expressions)
        rest: list[Term] = []
        for part in others:
            first, typed = self._alike(node, first, part)
            rest.append(typed)
        return Term(
            first.type,
            lambda table: ibis.coalesce(first.build(table), *(part.build(table) for part in rest)),
            first.words,
        )

    def _typed(self, node: exp.Expression, part: exp.Expression, wanted: Type) -> Term:
        term = self.term(part)
        made = term if term.type is wanted else made_like(term, wanted)
        if made is None:
            raise ConditionError(f"`{sql(node)}`: {sql(part)} is {term.type}, and must be {wanted}")
        return made

    def _alike(self, node: exp.Expression, left: Term, right: Term) -> tuple[Term, Term]:
        """Both sides of a comparison with one type, or an error that names both."""
        if left.type is right.type:
            return left, right
        if (made := made_like(left, right.type)) is not None:
            return made, right
        if (made := made_like(right, left.type)) is not None:
            return left, made
        mend = "write the number without quotes" if right.literal is not None and left.type is Type.NUMBER else ""
        if left.type is Type.TEXT and right.literal is not None:
            mend = "write the text in quotes"
        raise ConditionError(f"`{sql(node)}` compares {left.type} with {right.type}", mend)


_NODES: tuple[tuple[Any, Callable[[Compiler, Any], Term]], ...] = (
    (exp.Paren, Compiler.paren),
    (exp.Column, Compiler.column),
    (exp.Literal, Compiler.literal),
    (exp.Boolean, Compiler.boolean),
    (exp.Cast, Compiler.cast),
    (exp.Neg, Compiler.negative),
    (exp.Anonymous, Compiler.fact),
    ((exp.And, exp.Or), Compiler.junction),
    (exp.Not, Compiler.negation),
    (tuple(_COMPARISONS), Compiler.comparison),
    (exp.Between, Compiler.between),
    (exp.In, Compiler.membership),
    (tuple(_SEARCHES), Compiler.search),
    (exp.Is, Compiler.is_),
    (tuple(_ARITHMETIC), Compiler.arithmetic),
    (tuple(_FUNCTIONS), Compiler.function),
    (exp.Coalesce, Compiler.coalesce),
)


def _window(name: str, arguments: Sequence[exp.Expression]) -> int | None:
    if name == "days_since":
        if arguments:
            raise ConditionError("days_since() takes a kind of activity and nothing else")
        return None
    if not arguments:
        return 0
    days = str(arguments[0].this)
    if (
        len(arguments) > 1
        or not isinstance(arguments[0], exp.Literal)
        or arguments[0].is_string
        or not days.isdigit()
        or not 0 < int(days) <= MAX_WINDOW_DAYS
    ):
        raise ConditionError(f"the window of count_of() must be 1 to {MAX_WINDOW_DAYS:,} whole days")
    return int(days)


def _is_compared_with_literals(node: exp.Expression) -> bool:
    is_compared = isinstance(node.parent, (*_COMPARISONS, exp.Between, exp.In, exp.Is))
    others = [part for part in (node.parent.iter_expressions() if is_compared else ()) if part is not node]
    return is_compared and all(isinstance(part, exp.Literal | exp.Null) for part in others)


def _is_plain(node: exp.Expression) -> bool:
    """Whether what is compared is the value itself, or what stands in for it, and with nothing but what is written there."""
    while isinstance(node.parent, exp.Paren | exp.Coalesce):
        node = node.parent
    asked = node.parent
    if isinstance(asked, _WEIGHING):
        return all(_is_written(part) for part in asked.iter_expressions() if part is not node)
    return not isinstance(asked, (*_ARITHMETIC, *_FUNCTIONS, exp.Neg))


def _is_written(node: exp.Expression) -> bool:
    while isinstance(node, exp.Paren | exp.Neg):
        node = node.this
    return isinstance(node, exp.Literal | exp.Boolean | exp.Null)
