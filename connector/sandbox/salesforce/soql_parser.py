"""SOQL text to a tree. The grammar is the part of SOQL that clients of the REST API use (SOQL and SOSL Reference)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from connector.sandbox.salesforce.refusal import RefusedError

AGGREGATES = frozenset({"count", "count_distinct", "min", "max", "sum", "avg"})
DATE_FUNCTIONS = frozenset({"day_only", "calendar_year", "calendar_month", "day_in_month"})
FIELD_SETS = frozenset({"all", "standard", "custom"})

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
    | (?P<date>\d{4}-\d\d-\d\d)(?![\dT])
    | (?P<number>[+-]?\d+(?:\.\d+)?)(?![\w:])
    | (?P<named>(?:LAST|NEXT)_N_[A-Z_]+:\d+|N_[A-Z_]+_AGO:\d+)
    | (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<operator><=|>=|!=|<>|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_CONTEXT = 40
_MOST_WHOLE = 2**62
MOST_ROWS = 2**31 - 1
"""What LIMIT and OFFSET are read into."""
MOST_CHARACTERS = 100_000
"""The longest query (SOQL and SOSL Reference, "SOQL Limits")."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, text or sign, and where it stands."""

    kind: str
    text: str
    at: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind == "word" else self.text


@dataclass(frozen=True, slots=True)
class Literal:
    """A value in a condition; `kind` is string, number, boolean, null, date, datetime or named."""

    kind: str
    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Operand:
    """A field path, possibly inside a function (lower case)."""

    path: tuple[str, ...]
    at: int
    function: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class TypeOf:
    """`TYPEOF Who WHEN Contact THEN a, b ELSE c END`."""

    relationship: str
    branches: tuple[tuple[str, tuple[Operand, ...]], ...]
    otherwise: tuple[Operand, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operand operator value`; `value` is a Literal, a tuple of them (IN), or a Query (semi-join)."""

    operand: Operand
    operator: str
    value: Literal | tuple[Literal, ...] | Query


@dataclass(frozen=True, slots=True)
class Junction:
    """AND, OR (two or more parts) or NOT (one part)."""

    operator: str
    parts: tuple[Comparison | Junction, ...]


@dataclass(frozen=True, slots=True)
class Ordering:
    """One part of ORDER BY."""

    operand: Operand
    is_descending: bool
    are_nulls_first: bool


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT. `is_count` is `SELECT COUNT()`; `from_at` is the position of the object's name in the text."""

    items: tuple[Operand | TypeOf | Query, ...]
    source: str
    from_at: int
    alias: str | None = None
    is_count: bool = False
    where: Comparison | Junction | None = None
    group_by: tuple[Operand, ...] = ()
    order_by: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int | None = None
    having: Comparison | Junction | None = None
    scope: Token | None = None


def refused(text: str, at: int, message: str, code: str = "MALFORMED_QUERY") -> RefusedError:
    """An error with the place in the query marked, as the API does."""
    start = max(0, at - _CONTEXT)
    excerpt = text[start : at + _CONTEXT].replace("\n", " ")
    marker = " " * (at - start) + "^"
    row = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return RefusedError(code, f"\n{excerpt}\n{marker}\nERROR at Row:{row}:Column:{column}\n{message}")


def parse(text: str) -> Query:
    """Parse a query; raises RefusedError MALFORMED_QUERY."""
    if len(text) > MOST_CHARACTERS:
        raise RefusedError("MALFORMED_QUERY", f"SOQL statements cannot be longer than {MOST_CHARACTERS} characters")
    parser = _Parser(text)
    query = parser.query()
    parser.expect_end()
    return query


def _tokens(text: str) -> list[Token]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            while text[at].isspace():
                at += 1
            raise refused(text, at, f"unexpected token: '{text[at]}'")
        kind = str(match.lastgroup)
        found.append(Token(kind, match.group(kind), match.start(kind)))
        at = match.end()
    found.append(Token("end", "<EOF>", len(text)))
    return found


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.index = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.index]

    def take(self) -> Token:
        token = self.tokens[self.index]
        self.index += 1
        return token

    def fail(self, token: Token) -> RefusedError:
        return refused(self.text, token.at, f"unexpected token: '{token.text}'")

    def accept(self, *words: str) -> bool:
        """Take these words if they come next, in this order."""
        for offset, word in enumerate(words):
            if self.tokens[min(self.index + offset, len(self.tokens) - 1)].upper != word:
                return False
        self.index += len(words)
        return True

    def expect(self, word: str) -> Token:
        token = self.take()
        if token.upper != word:
            raise self.fail(token)
        return token

    def word(self) -> Token:
        token = self.take()
        if token.kind != "word":
            raise self.fail(token)
        return token

    def integer(self) -> int:
        token = self.take()
        if token.kind != "number" or not token.text.isdigit():
            raise self.fail(token)
        if int(token.text) > MOST_ROWS:
            raise refused(self.text, token.at, f"numeric value out of range: {token.text}")
        return int(token.text)

    def expect_end(self) -> None:
        self.accept("FOR", "VIEW")
        self.accept("FOR", "REFERENCE")
        self.accept("FOR", "UPDATE")
        if self.next.kind != "end":
            raise self.fail(self.next)

    def query(self) -> Query:
        self.expect("SELECT")
        is_count = self.accept("COUNT", "(", ")")
        items: list[Operand | TypeOf | Query] = []
        while not is_count:
            items.append(self.item())
            if not self.accept(","):
                break
        source, alias = self.source()
        scope = self.word() if self.accept("USING", "SCOPE") else None
        where = self.condition() if self.accept("WHERE") else None
        if self.accept("WITH") and not (self.accept("SECURITY_ENFORCED") or self.accept("USER_MODE")):
            raise self.fail(self.next)
        group_by = self.listed(self.operand) if not is_count and self.accept("GROUP", "BY") else ()
        having = self.condition() if group_by and self.accept("HAVING") else None
        order_by = self.listed(self.ordering) if not is_count and self.accept("ORDER", "BY") else ()
        for item in () if group_by else items:
            if isinstance(item, Operand) and item.alias and not item.function:
                raise refused(self.text, item.at, "only aggregate expressions use field aliasing")
        limit = self.integer() if self.accept("LIMIT") else None
        offset = self.integer() if self.accept("OFFSET") else None
        return Query(
            tuple(items),
            source.text,
            source.at,
            alias,
            is_count,
            where,
            group_by,
            order_by,
            limit,
            offset,
            having,
            scope,
        )

    def source(self) -> tuple[Token, str | None]:
        """The object, and its alias."""
        self.expect("FROM")
        source, alias = self.word(), None
        if self.next.kind == "word" and self.next.upper not in _CLAUSES:
            self.accept("AS")
            alias = self.word().text
        return source, alias

    def semi_join(self) -> Query:
        """A sub-select of IN: it has no groups, order or limit."""
        self.expect("SELECT")
        items = self.listed(self.operand)
        source, alias = self.source()
        where = self.condition() if self.accept("WHERE") else None
        return Query(items, source.text, source.at, alias, where=where)

    def listed(self, one: Any) -> tuple[Any, ...]:
        found = [one()]
        while self.accept(","):
            found.append(one())
        return tuple(found)

    def item(self) -> Operand | TypeOf | Query:
        if self.accept("("):
            inner = self.query()
            self.expect(")")
            return inner
        if self.next.upper == "TYPEOF":
            return self.type_of()
        operand = self.operand()
        is_alias = self.next.kind == "word" and self.tokens[self.index + 1].upper in (",", "FROM")
        if is_alias and self.next.upper != "FROM":
            return Operand(operand.path, operand.at, operand.function, self.word().text)
        return operand

    def type_of(self) -> TypeOf:
        at = self.take().at
        relationship = self.word().text
        branches = []
        while self.accept("WHEN"):
            name = self.word().text
            self.expect("THEN")
            branches.append((name, self.listed(self.operand)))
        otherwise = self.listed(self.operand) if self.accept("ELSE") else ()
        self.expect("END")
        return TypeOf(relationship, tuple(branches), otherwise, at)

    def operand(self) -> Operand:
        word = self.word()
        name = word.text.lower()
        if self.next.text != "(":
            return Operand(tuple(word.text.split(".")), word.at)
        if name not in AGGREGATES | DATE_FUNCTIONS | {"fields", "tolabel", "format"}:
            raise self.fail(self.next)
        self.expect("(")
        inner = self.word()
        self.expect(")")
        function = None if name in ("tolabel", "format") else name
        return Operand(tuple(inner.text.split(".")), inner.at, function)

    def ordering(self) -> Ordering:
        operand = self.operand()
        is_descending = self.accept("DESC")
        if not is_descending:
            self.accept("ASC")
        are_nulls_first = not self.accept("NULLS", "LAST")
        self.accept("NULLS", "FIRST")
        return Ordering(operand, is_descending, are_nulls_first)

    def condition(self) -> Comparison | Junction:
        """AND and OR may not be mixed without parentheses, as in the real one."""
        first = self.negation()
        for word in ("AND", "OR"):
            parts = [first]
            while self.accept(word):
                parts.append(self.negation())
            if len(parts) > 1:
                if self.next.upper in ("AND", "OR"):
                    raise self.fail(self.next)
                return Junction(word, tuple(parts))
        return first

    def negation(self) -> Comparison | Junction:
        if self.accept("NOT"):
            return Junction("NOT", (self.negation(),))
        if self.accept("("):
            inner = self.condition()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Comparison:
        operand = self.operand()
        if self.accept("NOT", "IN"):
            return Comparison(operand, "NOT IN", self.in_values())
        token = self.take()
        operator = "!=" if token.text == "<>" else token.upper
        if operator == "IN":
            return Comparison(operand, "IN", self.in_values())
        if operator not in ("=", "!=", "<", "<=", ">", ">=", "LIKE"):
            raise self.fail(token)
        return Comparison(operand, operator, self.literal())

    def in_values(self) -> tuple[Literal, ...] | Query:
        self.expect("(")
        values: tuple[Literal, ...] | Query
        values = self.semi_join() if self.next.upper == "SELECT" else self.listed(self.literal)
        self.expect(")")
        return values

    def literal(self) -> Literal:
        token = self.take()
        if token.kind == "string":
            return Literal("string", _unescaped(token.text[1:-1]), token.at)
        if token.kind == "number":
            number = float(token.text)
            is_whole = "." not in token.text and abs(number) < _MOST_WHOLE
            return Literal("number", int(token.text) if is_whole else number, token.at)
        if token.kind in ("date", "datetime", "named"):
            return Literal(token.kind, token.text, token.at)
        if token.kind == "word" and token.upper in ("TRUE", "FALSE"):
            return Literal("boolean", token.upper == "TRUE", token.at)
        if token.kind == "word" and token.upper == "NULL":
            return Literal("null", None, token.at)
        if token.kind == "word" and "." not in token.text:
            return Literal("named", token.upper, token.at)
        raise self.fail(token)


_CLAUSES = ("WHERE", "GROUP", "ORDER", "LIMIT", "OFFSET", "FOR", "HAVING", "WITH", "USING", "AND", "OR")


def _unescaped(text: str) -> str:
    """Unescape, keeping `\\%` and `\\_` for LIKE."""

    def one(match: re.Match[str]) -> str:
        character = match.group(1)
        return _ESCAPES.get(character.lower(), match.group(0))

    return _ESCAPE.sub(one, text)
