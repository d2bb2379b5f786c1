"""A parsed SOQL query to SQL: fields to columns, relationships to joins. Its conditions are in `soql_where`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.salesforce.org import Access, Org
from connector.sandbox.salesforce.refusal import (
    RefusedError,
    no_such_column,
    no_such_object,
    no_such_relationship,
)
from connector.sandbox.salesforce.schema import ADDRESS_PARTS, NUMBER_TYPES, Field, SObject
from connector.sandbox.salesforce.soql_parser import (
    AGGREGATES,
    DATE_FUNCTIONS,
    FIELD_SETS,
    Operand,
    Query,
    TypeOf,
    refused,
)

FUNCTION_TYPES = {
    **dict.fromkeys(("sum", "avg"), NUMBER_TYPES),
    "day_only": frozenset({"datetime"}),
    **dict.fromkeys(DATE_FUNCTIONS - {"day_only"}, frozenset({"date", "datetime"})),
}
"""The types of fields that a function takes, where not those that can be counted."""
MOST_STEPS = 5
"""How many parents up a path may lead (SOQL and SOSL Reference, "Understanding Relationship Query Limitations")."""
NAME_FIELDS = ("Id", "Name", "FirstName", "LastName", "Email", "Phone", "Title", "Username", "Alias")
"""What a polymorphic relationship (Who, What, Owner of a lead) offers, besides Type."""


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
    """Compiles one query for one user; `sql_*` methods give the pieces of the statement, `parameters` what they bind."""

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
        path = self.path(operand)
        if len(path) > MOST_STEPS + 1:
            raise refused(
                self.text,
                operand.at,
                "SOQL statements cannot query foreign key relationships more than "
                f"{MOST_STEPS} levels away from the root entity object.",
            )
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

    def path(self, operand: Operand) -> tuple[str, ...]:
        """The path of an operand without the name or the alias of the object that it may begin with."""
        path = operand.path
        is_own = len(path) > 1 and path[0].lower() in (self.source.name.lower(), (self.query.alias or "").lower())
        return path[1:] if is_own else path

    def _column(self, one: SObject, alias: str, name: str, at: int) -> Resolved:
        found = one.find(name)
        if found is None or not self.access.sees(one, found):
            raise refused(self.text, at, no_such_column(name, one.name), "INVALID_FIELD")
        if found.type == "address":
            pairs = ", ".join(f"'{_camel(part)}', {alias}.\"{found.parts}{part}\"" for part in ADDRESS_PARTS)
            return Resolved(f"json_object({pairs})", found)
        if found.formula is not None:
            return self._formula(one, alias, found)
        return Resolved(f'{alias}."{found.name}"', found)

    def _formula(self, one: SObject, alias: str, formula_field: Field) -> Resolved:
        """A formula is worked out when it is read, whatever the reader may see of the fields that it is made of."""
        *steps, last = str(formula_field.formula).split(".")
        for step in steps:
            reference = one.relationships[step.lower()]
            one, alias = self.join(alias, reference, reference.to[0])
        return Resolved(f'{alias}."{one.fields[last].name}"', formula_field)

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
        shape, children, names = Shape(0, self.source.name), [], []
        for item in self.query.items:
            if isinstance(item, Query):
                children.append(item)
                names.append(item.source)
            elif isinstance(item, TypeOf):
                self._add_type_of(shape, item)
                names.append(item.relationship)
            elif item.function == "fields":
                for each in self._field_set(item):
                    self.add(shape, Operand((each.name,), item.at))
                    names.append(each.name)
            elif item.function is not None:
                raise refused(self.text, item.at, "Grouped query is needed for this function")
            else:
                self.add(shape, item)
                names.append(".".join(self.path(item)))
        refuse_twice(names)
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

    def add(self, shape: Shape, operand: Operand) -> None:
        """Select one more field."""
        resolved = self.resolve(operand)
        path = self.path(operand)
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
        """Select by type, but nothing else of the same relationship (SOQL and SOSL Reference, "TYPEOF")."""
        reference = self.source.relationships.get(item.relationship.lower())
        if reference is None or len(reference.to) < 2:
            raise refused(self.text, item.at, no_such_relationship(item.relationship), "INVALID_FIELD")
        paths = (self.path(each) for each in self.query.items if isinstance(each, Operand))
        if any(len(path) > 1 and path[0].lower() == item.relationship.lower() for path in paths):
            message = f"TYPEOF cannot reference a relationship that is also in the field list: {item.relationship}"
            raise refused(self.text, item.at, message)
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
        names: list[str] = []
        expressions, numbered = [], 0
        if self.query.limit is not None and not self.query.group_by:
            message = "Non-grouped query that uses overall aggregate functions cannot also use LIMIT"
            raise refused(self.text, self.query.from_at, message)
        for item in self.query.items:
            if not isinstance(item, Operand):
                raise refused(self.text, self.query.from_at, "Aggregate query does not support nested queries")
            self.demand_grouped(item, "Field")
            name = item.alias or (item.path[-1] if item.function is None else "")
            if not name:
                name, numbered = f"expr{numbered}", numbered + 1
            if name.lower() in (other.lower() for other in names):
                raise refused(self.text, item.at, f"duplicate alias: {name}")
            names.append(name)
            expressions.append(self.sql_operand(item))
        return names, expressions

    @property
    def is_grouped(self) -> bool:
        """Whether the query has aggregates or GROUP BY."""
        items = (*self.query.items, *(one.operand for one in self.query.order_by))
        functions = {item.function for item in items if isinstance(item, Operand)}
        return bool(self.query.group_by) or bool(functions & AGGREGATES)

    def sql_operand(self, operand: Operand) -> str:
        """The SQL of a field or of a function on it."""
        resolved = self.resolve(operand)
        sql, function = resolved.sql, operand.function
        if function is None:
            return sql
        field = resolved.field
        if not (field.type in FUNCTION_TYPES[function] if function in FUNCTION_TYPES else field.is_aggregatable):
            kind = "aggregate operator" if function in AGGREGATES else "function"
            raise refused(self.text, operand.at, f"field {field.name} does not support {kind} {function.upper()}")
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

    def demand_grouped(self, operand: Operand, what: str) -> None:
        """Refuse what differs within a group."""
        groups = {self.sql_operand(one) for one in self.query.group_by}
        if operand.function not in AGGREGATES and self.sql_operand(operand) not in groups:
            name = ".".join(self.path(operand))
            raise refused(self.text, operand.at, f"{what} must be grouped or aggregated: {name}")

    # ORDER BY, GROUP BY, FROM, LIMIT

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
            if self.is_grouped:
                self.demand_grouped(one.operand, "Ordered field")
            direction = "DESC" if one.is_descending else "ASC"
            parts.append(f"{self.sql_operand(one.operand)} {direction}{_nulls(one.is_descending, one.are_nulls_first)}")
        return f" ORDER BY {', '.join(parts)}" if parts else ""

    def sql_group(self) -> str:
        """The GROUP BY clause."""
        for one in self.query.group_by:
            name, is_groupable = one.path[-1], one.function or self.resolve(one).field.is_groupable
            if not is_groupable:
                raise refused(self.text, one.at, f"field '{name}' can not be grouped in a query call", "INVALID_FIELD")
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


def refuse_twice(names: list[str]) -> None:
    """Refuse a query that selects a field twice (SOQL and SOSL Reference, "FIELDS()")."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise RefusedError("INVALID_FIELD", f"duplicate field selected: {name}")
        seen.add(name.lower())


def _nulls(is_descending: bool, are_nulls_first: bool) -> str:
    """SQLite sorts nulls as the smallest value; say it only where that differs, so that indexes still serve."""
    if are_nulls_first == is_descending:
        return " NULLS FIRST" if are_nulls_first else " NULLS LAST"
    return ""


def _camel(part: str) -> str:
    return part[0].lower() + part[1:]
