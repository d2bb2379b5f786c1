"""A parsed SOQL query to SQL: fields to columns, relationships to joins, conditions to predicates with parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.salesforce.ids import full_id
from connector.sandbox.salesforce.instants import named_range, read_instant
from connector.sandbox.salesforce.org import Access, Org
from connector.sandbox.salesforce.refusal import no_such_column, no_such_object, no_such_relationship
from connector.sandbox.salesforce.schema import ADDRESS_PARTS, NUMBER_TYPES, Field, SObject
from connector.sandbox.salesforce.soql_parser import (
    AGGREGATES,
    FIELD_SETS,
    Comparison,
    Junction,
    Literal,
    Operand,
    Query,
    TypeOf,
    refused,
)

NAME_FIELDS = ("Id", "Name", "FirstName", "LastName", "Email", "Phone", "Title", "Username", "Alias")
"""What a polymorphic relationship (Who, What, Owner of a lead) offers, besides Type."""

_TYPE_NAMES = {"datetime": "dateTime", "reference": "id", "id": "id", "int": "integer"}


@dataclass(slots=True)
class Shape:
    """How one row of columns becomes a record: `id_index` is the column of its Id, `columns` pairs of name and index.

    `type_name` stands in `attributes` (None = the object of the id's key prefix). `branches` are the shapes of TYPEOF by
    object name, "" being ELSE.
    """

    id_index: int
    type_name: str | None
    columns: list[tuple[str, int]] = field(default_factory=list)
    booleans: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    nested: dict[str, Shape] = field(default_factory=dict)
    branches: dict[str, Shape] | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A field path in SQL: its expression, and the field that it ends in."""

    sql: str
    field: Field


TYPE_FIELD = Field("Type", "string", 40)


class Compiler:
    """Compiles one query for one user; `sql_*` methods give the pieces of the statement."""

    def __init__(self, org: Org, access: Access, text: str, query: Query) -> None:
        self.org = org
        self.access = access
        self.text = text
        self.query = query
        source = org.schema.find(query.source)
        if source is None:
            raise refused(text, query.from_at, no_such_object(query.source).message, "INVALID_TYPE")
        self.source: SObject = source
        self.joins: list[str] = []
        self.columns: list[str] = ["t.Id"]
        self.parameters: list[Any] = []
        self._aliases: dict[tuple[str, str, str], str] = {}

    # Fields

    def resolve(self, operand: Operand) -> Resolved:
        """A field path to SQL; raises INVALID_FIELD."""
        path = operand.path
        if (len(path) > 1 and self.query.alias and path[0].lower() == self.query.alias.lower()) or (
            len(path) > 1 and path[0].lower() == self.source.name.lower()
        ):
            path = path[1:]
        current, alias = self.source, "t"
        for position, name in enumerate(path[:-1]):
            reference = current.relationships.get(name.lower())
            if reference is None or not self.access.sees(current, reference):
                raise refused(self.text, operand.at, no_such_relationship(name), "INVALID_FIELD")
            if len(reference.to) > 1:
                if position != len(path) - 2:
                    raise refused(self.text, operand.at, no_such_relationship(path[position + 1]), "INVALID_FIELD")
                return self._polymorphic(alias, reference, path[-1], operand.at)
            current, alias = self.join(alias, reference, reference.to[0])
        return self._column(current, alias, path[-1], operand.at)

    def _column(self, one: SObject, alias: str, name: str, at: int) -> Resolved:
        found = one.find(name)
        if found is None or not self.access.sees(one, found):
            raise refused(self.text, at, no_such_column(name, one.name), "INVALID_FIELD")
        if found.type == "address":
            pairs = ", ".join(f"'{_camel(part)}', {alias}.\"{found.parts}{part}\"" for part in ADDRESS_PARTS)
            return Resolved(f"json_object({pairs})", found)
        return Resolved(f'{alias}."{found.name}"', found)

    def join(self, alias: str, reference: Field, target: str) -> tuple[SObject, str]:
        """LEFT JOIN the target of a reference; gives its object and alias."""
        key = (alias, reference.name, target)
        if key not in self._aliases:
            self._aliases[key] = f"j{len(self._aliases)}"
            joined = self._aliases[key]
            table = self.org.schema.objects[target].table
            self.joins.append(f'LEFT JOIN {table} {joined} ON {joined}.Id = {alias}."{reference.name}"')
        return self.org.schema.objects[target], self._aliases[key]

    def _polymorphic(self, alias: str, reference: Field, name: str, at: int) -> Resolved:
        if name.lower() == "type":
            cases = " ".join(f"WHEN '{self.org.schema.objects[to].prefix}' THEN '{to}'" for to in reference.to)
            return Resolved(f'CASE substr({alias}."{reference.name}", 1, 3) {cases} END', TYPE_FIELD)
        wanted = next((one for one in NAME_FIELDS if one.lower() == name.lower()), None)
        if wanted is None:
            raise refused(self.text, at, no_such_column(name, "Name"), "INVALID_FIELD")
        parts, found = [], Field(wanted)
        for target in reference.to:
            target_field = self.org.schema.objects[target].find(wanted)
            if target_field is not None:
                found = target_field
                parts.append(f'{self.join(alias, reference, target)[1]}."{wanted}"')
        return Resolved(f"coalesce({', '.join(parts)})" if len(parts) > 1 else parts[0], found)

    # SELECT

    def shape(self) -> tuple[Shape, list[Query]]:
        """Columns and shape of the records, and the child subqueries."""
        shape, children = Shape(0, self.source.name), []
        for item in self.query.items:
            if isinstance(item, Query):
                children.append(item)
            elif isinstance(item, TypeOf):
                self._add_type_of(shape, item)
            elif item.function == "fields":
                for each in self._field_set(item):
                    self._add(shape, Operand((each.name,), item.at))
            elif item.function is not None:
                raise refused(self.text, item.at, "Grouped query is needed for this function")
            else:
                self._add(shape, item)
        return shape, children

    def _field_set(self, item: Operand) -> list[Field]:
        wanted = item.path[0].lower()
        if wanted not in FIELD_SETS:
            raise refused(self.text, item.at, f"Invalid FIELDS argument: {item.path[0]}")
        if wanted != "standard" and (self.query.limit is None or self.query.limit > 200):
            raise refused(
                self.text, item.at, "The SOQL FIELDS function must have a LIMIT of at most 200", "MALFORMED_QUERY"
            )
        visible = self.access.visible(self.source)
        return [each for each in visible if wanted == "all" or each.is_custom == (wanted == "custom")]

    def _add(self, shape: Shape, operand: Operand) -> None:
        resolved = self.resolve(operand)
        path = operand.path
        if len(path) > 1 and path[0].lower() in (self.source.name.lower(), (self.query.alias or "").lower()):
            path = path[1:]
        current, alias, target = self.source, "t", shape
        for name in path[:-1]:
            reference = current.relationships[name.lower()]
            is_polymorphic = len(reference.to) > 1
            relationship = str(reference.relationship)
            if relationship not in target.nested:
                self.columns.append(f'{alias}."{reference.name}"')
                shown = "Name" if is_polymorphic else reference.to[0]
                target.nested[relationship] = Shape(len(self.columns) - 1, shown)
            target = target.nested[relationship]
            if not is_polymorphic:
                current, alias = self.join(alias, reference, reference.to[0])
        self._put(target, resolved)

    def _put(self, shape: Shape, resolved: Resolved) -> None:
        name = resolved.field.name
        self.columns.append(resolved.sql)
        shape.columns.append((name, len(self.columns) - 1))
        if resolved.field.type == "boolean":
            shape.booleans.append(name)
        elif resolved.field.type == "address":
            shape.addresses.append(name)

    def _add_type_of(self, shape: Shape, item: TypeOf) -> None:
        reference = self.source.relationships.get(item.relationship.lower())
        if reference is None or len(reference.to) < 2:
            raise refused(self.text, item.at, no_such_relationship(item.relationship), "INVALID_FIELD")
        self.columns.append(f't."{reference.name}"')
        index = len(self.columns) - 1
        branches: dict[str, Shape] = {}
        for name, operands in item.branches:
            target = self.org.schema.find(name)
            if target is None or target.name not in reference.to:
                raise refused(self.text, item.at, no_such_object(name).message, "INVALID_TYPE")
            branches[target.name] = Shape(index, target.name)
            alias = self.join("t", reference, target.name)[1]
            for operand in operands:
                self._put(branches[target.name], self._column(target, alias, operand.path[-1], operand.at))
        if item.otherwise:
            branches[""] = Shape(index, "Name")
            for operand in item.otherwise:
                self._put(branches[""], self._polymorphic("t", reference, operand.path[-1], operand.at))
        shape.nested[str(reference.relationship)] = Shape(index, None, branches=branches)

    def grouped(self) -> tuple[list[str], list[str]]:
        """Names and expressions of an aggregate query."""
        names, expressions, numbered = [], [], 0
        for item in self.query.items:
            if not isinstance(item, Operand):
                raise refused(self.text, self.query.from_at, "Aggregate query does not support nested queries")
            name = item.alias or (item.path[-1] if item.function is None else "")
            if not name:
                name, numbered = f"expr{numbered}", numbered + 1
            names.append(name)
            expressions.append(self.sql_operand(item))
        return names, expressions

    @property
    def is_grouped(self) -> bool:
        """Whether the query has aggregates or GROUP BY."""
        functions = {item.function for item in self.query.items if isinstance(item, Operand)}
        return bool(self.query.group_by) or bool(functions & AGGREGATES)

    def sql_operand(self, operand: Operand) -> str:
        """The SQL of a field or of a function on it."""
        sql = self.resolve(operand).sql
        function = operand.function
        if function is None:
            return sql
        if function == "count_distinct":
            return f"count(DISTINCT {sql})"
        if function in AGGREGATES:
            return f"{function}({sql})"
        return {
            "day_only": f"substr({sql}, 1, 10)",
            "calendar_year": f"CAST(substr({sql}, 1, 4) AS INTEGER)",
            "calendar_month": f"CAST(substr({sql}, 6, 2) AS INTEGER)",
            "day_in_month": f"CAST(substr({sql}, 9, 2) AS INTEGER)",
        }[function]

    # WHERE and ORDER BY

    def sql_where(self, include_deleted: bool) -> str:
        """The WHERE clause; `query` (not `queryAll`) hides deleted records and archived activities."""
        parts = []
        if not include_deleted:
            parts.append("t.IsDeleted = 0")
            if self.source.is_activity:
                parts.append("t.IsArchived = 0")
        if self.query.where is not None:
            parts.append(self._condition(self.query.where))
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _condition(self, node: Comparison | Junction) -> str:
        if isinstance(node, Comparison):
            return self._comparison(node)
        if node.operator == "NOT":
            return f"NOT coalesce({self._condition(node.parts[0])}, 0)"
        return "(" + f" {node.operator} ".join(self._condition(part) for part in node.parts) + ")"

    def _comparison(self, node: Comparison) -> str:
        resolved = self.resolve(node.operand)
        name = resolved.field.name
        if not resolved.field.is_filterable:
            raise refused(
                self.text,
                node.operand.at,
                f"field '{name}' can not be filtered in a query call",
                "INVALID_FIELD",
            )
        if node.operand.function is not None:
            sql = self.sql_operand(node.operand)
            as_date = Field(name, "date" if node.operand.function == "day_only" else "int")
            resolved = Resolved(sql, as_date)
        if isinstance(node.value, Query):
            return self._semi_join(node, resolved, node.value)
        if isinstance(node.value, tuple):
            return self._membership(node.operator, resolved, node.value)
        return self._simple(node.operator, resolved, node.value)

    def _semi_join(self, node: Comparison, resolved: Resolved, inner: Query) -> str:
        compiler = Compiler(self.org, self.access, self.text, inner)
        item = inner.items[0]
        if len(inner.items) != 1 or not isinstance(item, Operand):
            raise refused(self.text, inner.from_at, "semi join sub-selects take exactly one field")
        column = compiler.resolve(item).sql
        where = compiler.sql_where(include_deleted=False)
        joins = " ".join(compiler.joins)
        self.parameters += compiler.parameters
        inner_sql = f"SELECT {column} FROM {compiler.source.table} t {joins}{where} "
        not_null = f"{'AND' if where else 'WHERE'} {column} IS NOT NULL"
        return f"coalesce({resolved.sql} {node.operator} ({inner_sql}{not_null}), {int(node.operator == 'NOT IN')})"

    def _membership(self, operator: str, resolved: Resolved, values: tuple[Literal, ...]) -> str:
        wanted = [self._value(resolved.field, value) for value in values if value.kind != "null"]
        has_null = any(value.kind == "null" for value in values)
        self.parameters += wanted
        inside = f"{resolved.sql} IN ({', '.join('?' * len(wanted))})"
        if has_null:
            inside = f"({inside} OR {resolved.sql} IS NULL)"
        return inside if operator == "IN" else f"NOT coalesce({inside}, 0)"

    def _simple(self, operator: str, resolved: Resolved, value: Literal) -> str:
        if value.kind == "null":
            if operator not in ("=", "!="):
                raise refused(self.text, value.at, f"invalid operator on null: {operator}")
            return f"{resolved.sql} IS {'NOT ' if operator == '!=' else ''}NULL"
        if operator == "LIKE":
            if value.kind != "string" or resolved.field.type in NUMBER_TYPES | {"id", "reference", "date", "datetime"}:
                raise refused(self.text, value.at, "invalid operator on field: LIKE", "INVALID_QUERY_FILTER_OPERATOR")
            self.parameters.append(value.value)
            return f"{resolved.sql} LIKE ? ESCAPE '\\'"
        if value.kind == "named":
            return self._in_range(operator, resolved, value)
        self.parameters.append(self._value(resolved.field, value))
        return f"{resolved.sql} {'IS NOT' if operator == '!=' else operator} ?"

    def _in_range(self, operator: str, resolved: Resolved, value: Literal) -> str:
        bounds = named_range(value.value, self.org.now().date())
        if bounds is None:
            raise refused(self.text, value.at, f"unexpected token: '{value.value}'")
        if resolved.field.type not in ("date", "datetime"):
            raise self._wrong_type(resolved.field, value)
        suffix = "T00:00:00.000+0000" if resolved.field.type == "datetime" else ""
        start, end = (f"{bound.isoformat()}{suffix}" for bound in bounds)
        if operator in ("=", "!="):
            self.parameters += [start, end]
            inside = f"({resolved.sql} >= ? AND {resolved.sql} < ?)"
            return inside if operator == "=" else f"NOT coalesce({inside}, 0)"
        compare, bound = {"<": ("<", start), "<=": ("<", end), ">": (">=", end), ">=": (">=", start)}[operator]
        self.parameters.append(bound)
        return f"{resolved.sql} {compare} ?"

    def _value(self, target: Field, value: Literal) -> Any:
        read = _READERS.get(target.type, _read_string)
        found = read(value)
        if found is not None:
            return found
        if target.type in ("id", "reference") and value.kind == "string":
            raise refused(self.text, value.at, f"invalid ID field: {value.value}", "INVALID_QUERY_FILTER_OPERATOR")
        raise self._wrong_type(target, value)

    def _wrong_type(self, target: Field, value: Literal) -> Exception:
        kind = _TYPE_NAMES.get(target.type, "string" if target.type not in _READERS else target.type)
        is_quoted = kind in ("string", "id")
        return refused(
            self.text,
            value.at,
            f"value of filter criterion for field '{target.name}' must be of type {kind} and should "
            f"{'' if is_quoted else 'not '}be enclosed in quotes",
            "INVALID_FIELD",
        )

    def sql_order(self) -> str:
        """The ORDER BY clause; nulls come first unless NULLS LAST is asked for."""
        parts = []
        for one in self.query.order_by:
            resolved = self.resolve(one.operand)
            if not resolved.field.is_filterable:
                name = resolved.field.name
                raise refused(
                    self.text, one.operand.at, f"field '{name}' can not be sorted in a query call", "INVALID_FIELD"
                )
            direction = "DESC" if one.is_descending else "ASC"
            parts.append(f"{self.sql_operand(one.operand)} {direction}{_nulls(one.is_descending, one.are_nulls_first)}")
        return f" ORDER BY {', '.join(parts)}" if parts else ""

    def sql_group(self) -> str:
        """The GROUP BY clause."""
        parts = [self.sql_operand(one) for one in self.query.group_by]
        return f" GROUP BY {', '.join(parts)}" if parts else ""

    def sql_from(self) -> str:
        """FROM with the joins that were needed; ask for it last."""
        return f" FROM {self.source.table} t {' '.join(self.joins)}"

    def sql_limit(self) -> str:
        """LIMIT and OFFSET of the query itself."""
        if self.query.limit is None and self.query.offset is None:
            return ""
        limit = -1 if self.query.limit is None else self.query.limit
        return f" LIMIT {limit} OFFSET {self.query.offset or 0}"


def _nulls(is_descending: bool, are_nulls_first: bool) -> str:
    """SQLite sorts nulls as the smallest value; say it only where that differs, so that indexes still serve."""
    if are_nulls_first == is_descending:
        return " NULLS FIRST" if are_nulls_first else " NULLS LAST"
    return ""


def _camel(part: str) -> str:
    return part[0].lower() + part[1:]


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
