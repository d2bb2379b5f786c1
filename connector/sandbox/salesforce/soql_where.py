"""The WHERE clause of a SOQL query as SQL with parameters.

Where the two differ (SOQL and SOSL Reference, "Comparison Operators", "Date Formats and Date Literals"): in SOQL `!=` and
`NOT IN` hold for null, and a named date stands for a range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import named_range, read_instant
from connector.sandbox.salesforce.schema import NUMBER_TYPES, Field
from connector.sandbox.salesforce.soql_parser import AGGREGATES, Comparison, Junction, Literal, Operand, Query, refused
from connector.sandbox.salesforce.soql_sql import Compiler, Resolved

#: The type of what a function gives; numbers where it is not named.
_FUNCTION_TYPES = {"day_only": "date", "min": "same", "max": "same", "sum": "double", "avg": "double"}
_TYPE_NAMES = {"datetime": "dateTime", "reference": "id", "id": "id", "int": "integer"}


def sql_where(compiler: Compiler, *, include_deleted: bool) -> str:
    """The WHERE clause; `query` (not `queryAll`) hides deleted records and archived activities."""
    parts = []
    if not include_deleted:
        parts.append("t.IsDeleted = 0")
        if compiler.source.is_activity:
            parts.append("t.IsArchived = 0")
    if compiler.query.where is not None:
        _refuse_aggregates(compiler, compiler.query.where)
        parts.append(_condition(compiler, compiler.query.where))
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def sql_having(compiler: Compiler) -> str:
    """The HAVING clause; to be asked for after WHERE, because its parameters follow."""
    return f" HAVING {_condition(compiler, compiler.query.having)}" if compiler.query.having else ""


def _refuse_aggregates(compiler: Compiler, node: Comparison | Junction) -> None:
    if isinstance(node, Junction):
        for part in node.parts:
            _refuse_aggregates(compiler, part)
    elif node.operand.function in AGGREGATES:
        raise refused(compiler.text, node.operand.at, "Aggregate functions are not allowed in WHERE: use HAVING")


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
    column = within.resolve(item).sql
    where = sql_where(within, include_deleted=False)
    compiler.parameters += within.parameters
    inner_sql = f"SELECT {column}{within.sql_from()}{where} AND {column} IS NOT NULL"
    return f"coalesce({resolved.sql} {node.operator} ({inner_sql}), {int(node.operator == 'NOT IN')})"


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
    if operator == "LIKE":
        if value.kind != "string" or resolved.field.type in NUMBER_TYPES | {"id", "reference", "date", "datetime"}:
            raise refused(compiler.text, value.at, "invalid operator on field: LIKE", "INVALID_QUERY_FILTER_OPERATOR")
        compiler.parameters.append(value.value)
        return f"{resolved.sql} LIKE ? ESCAPE '\\'"
    if value.kind == "named":
        return _in_range(compiler, operator, resolved, value)
    compiler.parameters.append(_value(compiler, resolved.field, value))
    return f"{resolved.sql} {'IS NOT' if operator == '!=' else operator} ?"


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


def _read_string(value: Literal) -> Any:
    return value.value if value.kind == "string" else None


_READERS: dict[str, Callable[[Literal], Any]] = {
    "id": lambda value: full_id(value.value) if value.kind == "string" else None,
    "reference": lambda value: full_id(value.value) if value.kind == "string" else None,
    "boolean": lambda value: int(value.value) if value.kind == "boolean" else None,
    "datetime": lambda value: read_instant(value.value, needs_zone=True) if value.kind == "datetime" else None,
    "date": lambda value: value.value if value.kind == "date" else None,
    **dict.fromkeys(NUMBER_TYPES, lambda value: value.value if value.kind == "number" else None),
}
