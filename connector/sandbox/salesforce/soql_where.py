"""The WHERE clause of a SOQL query as SQL with parameters.

Where the two differ (SOQL and SOSL Reference, "Comparison Operators", "Date Formats and Date Literals"): in SOQL `!=` and
`NOT IN` hold for null, and a named date stands for a range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import named_range, read_instant
from connector.sandbox.salesforce.schema import EVERYTHING, NUMBER_TYPES, TEXT_TYPES, Field
from connector.sandbox.salesforce.soql_parser import AGGREGATES, Comparison, Junction, Literal, Operand, Query, refused
from connector.sandbox.salesforce.soql_sql import Compiler, Resolved

#: The type of what a function gives; numbers where it is not named.
_FUNCTION_TYPES = {"day_only": "date", "min": "same", "max": "same", "sum": "double", "avg": "double"}
MOST_SEMI_JOINS = 2
NO_SEMI_JOIN_OF = ("Event", "Task")
"""What a semi-join takes: SOQL and SOSL Reference, "Semi-Joins with IN and Anti-Joins with NOT IN"."""
_TYPE_NAMES = {"datetime": "dateTime", "reference": "id", "id": "id", "int": "integer"}


def sql_where(compiler: Compiler, *, include_deleted: bool) -> str:
    """The WHERE clause; `query` (not `queryAll`) hides deleted records and archived activities."""
    parts = []
    if not include_deleted:
        parts.append("t.IsDeleted = 0")
        if compiler.source.is_activity:
            parts.append("t.IsArchived = 0")
    parts += _scope(compiler)
    if compiler.query.where is not None:
        for each in _comparisons(compiler.query.where):
            if each.operand.function in AGGREGATES:
                message = "Aggregate functions are not allowed in WHERE: use HAVING"
                raise refused(compiler.text, each.operand.at, message)
        _check_semi_joins(compiler, compiler.query.where)
        parts.append(_condition(compiler, compiler.query.where))
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def _scope(compiler: Compiler) -> list[str]:
    """USING SCOPE: those that the describe tells of."""
    scope = compiler.query.scope
    if scope is None or scope.text.lower() == EVERYTHING:
        return []
    if scope.text.lower() not in compiler.source.scopes:
        message = f"'{scope.text}' is not a scope of {compiler.source.name}"
        raise refused(compiler.text, scope.at, message, "INVALID_QUERY_SCOPE")
    compiler.parameters.append(compiler.access.user_id)
    return ["t.OwnerId = ?"]


def sql_having(compiler: Compiler) -> str:
    """The HAVING clause; to be asked for after WHERE, because its parameters follow."""
    if compiler.query.having is None:
        return ""
    for each in _comparisons(compiler.query.having):
        compiler.demand_grouped(each.operand, "Field")
    return f" HAVING {_condition(compiler, compiler.query.having)}"


def _comparisons(node: Comparison | Junction) -> Iterator[Comparison]:
    if isinstance(node, Comparison):
        yield node
        return
    for part in node.parts:
        yield from _comparisons(part)


def _check_semi_joins(compiler: Compiler, node: Comparison | Junction, above: str = "AND") -> None:
    """Semi-joins stand beside AND only, and there are two at most."""
    joins = [each for each in _comparisons(node) if isinstance(each.value, Query)]
    if not joins:
        return
    at = joins[0].operand.at
    if len(joins) > MOST_SEMI_JOINS:
        raise refused(compiler.text, at, f"Maximum {MOST_SEMI_JOINS} semi join sub-selects are allowed")
    if above == "OR":
        raise refused(compiler.text, at, "Semi join sub-selects are not allowed with the 'OR' operator")
    if above == "NOT":
        message = "Semi join sub-selects are only allowed at the top level WHERE expressions"
        raise refused(compiler.text, at, message)
    for part in node.parts if isinstance(node, Junction) else ():
        _check_semi_joins(compiler, part, node.operator)


def _condition(compiler: Compiler, node: Comparison | Junction) -> str:
    if isinstance(node, Comparison):
        return _comparison(compiler, node)
    if node.operator == "NOT":
        return f"NOT coalesce({_condition(compiler, node.parts[0])}, 0)"
    return "(" + f" {node.operator} ".join(_condition(compiler, part) for part in node.parts) + ")"


def _comparison(compiler: Compiler, node: Comparison) -> str:
    resolved = compiler.resolve(node.operand)
    name = resolved.field.name
    if not resolved.field.is_filterable:
        raise refused(
            compiler.text,
            node.operand.at,
            f"field '{name}' can not be filtered in a query call",
            "INVALID_FIELD",
        )
    if node.operand.function is not None:
        sql = compiler.sql_operand(node.operand)
        kind = _FUNCTION_TYPES.get(node.operand.function, "int")
        resolved = Resolved(sql, resolved.field if kind == "same" else Field(name, kind))
    if isinstance(node.value, Query):
        return _semi_join(compiler, node, resolved, node.value)
    if isinstance(node.value, tuple):
        return _membership(compiler, node.operator, resolved, node.value)
    return _simple(compiler, node.operator, resolved, node.value)


def _semi_join(compiler: Compiler, node: Comparison, resolved: Resolved, inner: Query) -> str:
    within = Compiler(compiler.org, compiler.access, compiler.text, inner)
    item = inner.items[0]
    if len(inner.items) != 1 or not isinstance(item, Operand):
        raise refused(compiler.text, inner.from_at, "semi join sub-selects take exactly one field")
    _check_keys(compiler, node.operand, within, item)
    if inner.where is not None and any(isinstance(each.value, Query) for each in _comparisons(inner.where)):
        raise refused(compiler.text, inner.from_at, "Nesting of semi join sub-selects is not supported")
    column = within.resolve(item).sql
    where = sql_where(within, include_deleted=False)
    compiler.parameters += within.parameters
    inner_sql = f"SELECT {column}{within.sql_from()}{where} AND {column} IS NOT NULL"
    return f"coalesce({resolved.sql} {node.operator} ({inner_sql}), {int(node.operator == 'NOT IN')})"


def _check_keys(compiler: Compiler, operand: Operand, within: Compiler, item: Operand) -> None:
    """A semi-join compares ids of the same kind of records, and asks another object than the query does."""
    if within.source.name in NO_SEMI_JOIN_OF:
        message = f"Entity '{within.source.name}' is not supported for semi join inner selects"
        raise refused(compiler.text, within.query.from_at, message)
    if within.source is compiler.source:
        message = "The inner and outer selects should not be on the same object type"
        raise refused(compiler.text, within.query.from_at, message)
    inner, outer = _types(within, item), _types(compiler, operand)
    if len(within.path(item)) > 1 or not (inner and outer):
        name = ".".join(item.path if outer else operand.path)
        message = f"Semi join sub-selects can only query id fields, cannot use: '{name}'"
        raise refused(compiler.text, item.at if outer else operand.at, message)
    if not inner & outer:
        message = (
            f"The selected field '{item.path[-1]}' in the subquery and the left operand field '{operand.path[-1]}' in the "
            "where expression in the outer query should point to the same object type"
        )
        raise refused(compiler.text, operand.at, message)


def _types(compiler: Compiler, operand: Operand) -> set[str]:
    """The objects that an id is of; none for what is no id."""
    target = compiler.resolve(operand).field
    if operand.function or target.type not in ("id", "reference"):
        return set()
    if target.to:
        return set(target.to)
    objects, types = compiler.org.schema.objects, {compiler.source.name}
    for step in compiler.path(operand)[:-1]:
        types = set(objects[min(types)].relationships[step.lower()].to)
    return types


def _membership(compiler: Compiler, operator: str, resolved: Resolved, values: tuple[Literal, ...]) -> str:
    wanted = [_value(compiler, resolved.field, value) for value in values if value.kind != "null"]
    has_null = any(value.kind == "null" for value in values)
    compiler.parameters += wanted
    inside = f"{resolved.sql} IN ({', '.join('?' * len(wanted))})"
    if has_null:
        inside = f"({inside} OR {resolved.sql} IS NULL)"
    return inside if operator == "IN" else f"NOT coalesce({inside}, 0)"


def _simple(compiler: Compiler, operator: str, resolved: Resolved, value: Literal) -> str:
    if value.kind == "null":
        if operator not in ("=", "!="):
            raise refused(compiler.text, value.at, f"invalid operator on null: {operator}")
        return f"{resolved.sql} IS {'NOT ' if operator == '!=' else ''}NULL"
    _check_operator(compiler, operator, resolved.field, value)
    if operator == "LIKE":
        if value.kind != "string":
            raise _wrong_type(compiler, resolved.field, value)
        compiler.parameters.append(value.value)
        return f"{resolved.sql} LIKE ? ESCAPE '\\'"
    if value.kind == "named":
        return _in_range(compiler, operator, resolved, value)
    compiler.parameters.append(_value(compiler, resolved.field, value))
    return f"{resolved.sql} {'IS NOT' if operator == '!=' else operator} ?"


def _check_operator(compiler: Compiler, operator: str, target: Field, value: Literal) -> None:
    """LIKE is for text, and a boolean has no order."""
    is_ordered = target.type != "boolean" or operator in ("=", "!=")
    if not is_ordered or (operator == "LIKE" and target.type not in TEXT_TYPES):
        kind = _TYPE_NAMES.get(target.type, target.type)
        message = f"invalid operator on {kind} field"
        raise refused(compiler.text, value.at, message, "INVALID_QUERY_FILTER_OPERATOR")


def _in_range(compiler: Compiler, operator: str, resolved: Resolved, value: Literal) -> str:
    bounds = named_range(value.value, compiler.org.now().date())
    if bounds is None:
        raise refused(compiler.text, value.at, f"unexpected token: '{value.value}'")
    if resolved.field.type not in ("date", "datetime"):
        raise _wrong_type(compiler, resolved.field, value)
    suffix = "T00:00:00.000+0000" if resolved.field.type == "datetime" else ""
    start, end = (f"{bound.isoformat()}{suffix}" for bound in bounds)
    if operator in ("=", "!="):
        compiler.parameters += [start, end]
        inside = f"({resolved.sql} >= ? AND {resolved.sql} < ?)"
        return inside if operator == "=" else f"NOT coalesce({inside}, 0)"
    compare, bound = {"<": ("<", start), "<=": ("<", end), ">": (">=", end), ">=": (">=", start)}[operator]
    compiler.parameters.append(bound)
    return f"{resolved.sql} {compare} ?"


def _value(compiler: Compiler, target: Field, value: Literal) -> Any:
    read = _READERS.get(target.type, _read_string)
    found = read(value)
    if found is not None:
        return found
    if target.type in ("id", "reference") and value.kind == "string":
        raise refused(compiler.text, value.at, f"invalid ID field: {value.value}", "INVALID_QUERY_FILTER_OPERATOR")
    raise _wrong_type(compiler, target, value)


def _wrong_type(compiler: Compiler, target: Field, value: Literal) -> Exception:
    kind = _TYPE_NAMES.get(target.type, "string" if target.type not in _READERS else target.type)
    is_quoted = kind in ("string", "id")
    return refused(
        compiler.text,
        value.at,
        f"value of filter criterion for field '{target.name}' must be of type {kind} and should "
        f"{'' if is_quoted else 'not '}be enclosed in quotes",
        "INVALID_FIELD",
    )


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _read_string(value: Literal) -> Any:
    return value.value if value.kind == "string" else None


_READERS: dict[str, Callable[[Literal], Any]] = {
    "id": lambda value: full_id(value.value) if value.kind == "string" else None,
    "reference": lambda value: full_id(value.value) if value.kind == "string" else None,
    "boolean": lambda value: int(value.value) if value.kind == "boolean" else None,
    "datetime": lambda value: read_instant(value.value, needs_zone=True) if value.kind == "datetime" else None,
    "date": lambda value: value.value if value.kind == "date" and _is_day(value.value) else None,
    **dict.fromkeys(NUMBER_TYPES, lambda value: value.value if value.kind == "number" else None),
}
