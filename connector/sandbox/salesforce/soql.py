"""Run SOQL: pages of nested records, cursors that can be read again, counts and groups.

A page has at most 2,000 rows, a client may ask for 200 or more, a cursor lives two days (REST API Developer Guide, "Query",
"Query Options Header"; help article 000386264).
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson

from connector.sandbox.salesforce.ids import native_id
from connector.sandbox.salesforce.instants import instant_text
from connector.sandbox.salesforce.org import Access, Org
from connector.sandbox.salesforce.refusal import RefusedError, no_such_relationship
from connector.sandbox.salesforce.schema import SObject
from connector.sandbox.salesforce.soql_parser import Comparison, Junction, Literal, Operand, Query, parse, refused
from connector.sandbox.salesforce.soql_sql import Compiler, Shape
from connector.sandbox.salesforce.soql_where import sql_having, sql_where

LOCATOR_PREFIX = "01g"
LOCATOR_LIFE = timedelta(days=2)
MIN_PAGE_ROWS = 200
MAX_PAGE_ROWS = 2_000
MOST_SKIPPED = 2_000
"""What OFFSET takes (SOQL and SOSL Reference, "OFFSET")."""
KEPT_LOCATORS = 16
DEEP_FROM_VERSION = 58.0
MOST_LEVELS = 4
"""How far below the root child subqueries go, from that version on; before it one level (SOQL and SOSL Reference,
"Understanding Relationship Query Limitations")."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, by which version of the API, and how large a page may be."""

    access: Access
    version: str
    page_rows: int = MAX_PAGE_ROWS

    @property
    def base(self) -> str:
        """Path of the REST API in this version."""
        return f"/services/data/v{self.version}"


class Queries:
    """Runs queries on an org and keeps the latest cursors in memory (all of them are in the database)."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._kept: OrderedDict[str, array[int]] = OrderedDict()

    def run(self, text: str, reader: Reader, *, include_deleted: bool) -> dict[str, Any]:
        """The first page of a query; raises RefusedError."""
        query = parse(text)
        if (query.offset or 0) > MOST_SKIPPED:
            raise RefusedError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MOST_SKIPPED}")
        compiler = Compiler(self._org, reader.access, text, query)
        if query.is_count:
            return self._count(compiler, include_deleted)
        if compiler.is_grouped:
            return self._groups(compiler, include_deleted)
        shape, children = compiler.shape()
        where, order = sql_where(compiler, include_deleted=include_deleted), compiler.sql_order()
        source = compiler.sql_from()
        limit = min(query.limit if query.limit is not None else reader.page_rows + 1, reader.page_rows + 1)
        rows = self._fetch(
            f"SELECT {', '.join(compiler.columns)}{source}{where}{order} LIMIT {limit} OFFSET {query.offset or 0}",
            compiler.parameters,
        )
        if len(rows) <= reader.page_rows:
            records = self._records(rows, shape, children, compiler, reader)
            return {"totalSize": len(rows), "done": True, "records": records}
        numbers = array("q")
        statement = f"SELECT t.rowid{source}{where}{order}{compiler.sql_limit()}"
        numbers.extend(row[0] for row in self._cursor().execute(statement, compiler.parameters))
        locator = self._keep(text, include_deleted, reader, numbers)
        records = self._records(rows[: reader.page_rows], shape, children, compiler, reader)
        return {
            "totalSize": len(numbers),
            "done": False,
            "nextRecordsUrl": f"{reader.base}/query/{locator}-{reader.page_rows}",
            "records": records,
        }

    def more(self, cursor: str, reader: Reader) -> dict[str, Any]:
        """The page that a `nextRecordsUrl` names; it can be read again for two days. Raises INVALID_QUERY_LOCATOR."""
        locator, _, position = cursor.partition("-")
        row = self._org.database.execute(
            "SELECT query, page_rows, created_at FROM sf_locator WHERE id = ?", (locator,)
        ).fetchone()
        oldest = instant_text(self._org.now() - LOCATOR_LIFE)
        if row is None or not position.isdigit() or row["created_at"] < oldest:
            raise RefusedError("INVALID_QUERY_LOCATOR", "invalid query locator")
        numbers = self._numbers(locator)
        start, end = int(position), int(position) + row["page_rows"]
        query = parse(row["query"])
        compiler = Compiler(self._org, reader.access, row["query"], query)
        shape, children = compiler.shape()
        joins = " ".join(compiler.joins)
        rows = self._fetch(
            f"SELECT {', '.join(compiler.columns)} FROM json_each(?) page "
            f"CROSS JOIN {compiler.source.table} t ON t.rowid = page.value {joins}",
            [orjson.dumps(list(numbers[start:end])).decode()],
        )
        page = {
            "totalSize": len(numbers),
            "done": end >= len(numbers),
            "records": self._records(rows, shape, children, compiler, reader),
        }
        if not page["done"]:
            page["nextRecordsUrl"] = f"{reader.base}/query/{locator}-{end}"
        return page

    def retrieve(self, one: SObject, ids: list[str], fields: list[str], reader: Reader) -> dict[str, dict[str, Any]]:
        """Live records by id, with these fields (none = all that the user sees); raises INVALID_FIELD."""
        names = list(dict.fromkeys(fields)) or [field.name for field in reader.access.visible(one)]
        items = tuple(Operand(tuple(name.split(".")), 0) for name in names)
        among = Comparison(Operand(("Id",), 0), "IN", tuple(Literal("string", native, 0) for native in ids))
        compiler = Compiler(self._org, reader.access, ", ".join(names), Query(items, one.name, 0, where=among))
        shape, _ = compiler.shape()
        where = sql_where(compiler, include_deleted=False) if ids else " WHERE 0"
        rows = self._fetch(f"SELECT {', '.join(compiler.columns)}{compiler.sql_from()}{where}", compiler.parameters)
        records = build_records(self._org, rows, shape, reader.base)
        return {row[0]: record for row, record in zip(rows, records, strict=True)}

    def _cursor(self) -> Any:
        cursor = self._org.database.cursor()
        cursor.row_factory = None
        return cursor

    def _fetch(self, statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._cursor().execute(statement, parameters).fetchall()
        return found

    def _count(self, compiler: Compiler, include_deleted: bool) -> dict[str, Any]:
        where = sql_where(compiler, include_deleted=include_deleted)
        inner = f"SELECT 1{compiler.sql_from()}{where}{compiler.sql_limit()}"
        total = self._fetch(f"SELECT count(*) FROM ({inner})", compiler.parameters)[0][0]
        return {"totalSize": total, "done": True, "records": []}

    def _groups(self, compiler: Compiler, include_deleted: bool) -> dict[str, Any]:
        names, expressions = compiler.grouped()
        where, group = sql_where(compiler, include_deleted=include_deleted), compiler.sql_group()
        having, order = sql_having(compiler), compiler.sql_order()
        rows = self._fetch(
            f"SELECT {', '.join(expressions)}{compiler.sql_from()}{where}{group}{having}{order}{compiler.sql_limit()}",
            compiler.parameters,
        )
        attributes = {"type": "AggregateResult"}
        records = [{"attributes": attributes, **dict(zip(names, row, strict=True))} for row in rows]
        return {"totalSize": len(records), "done": True, "records": records}

    def _keep(self, text: str, include_deleted: bool, reader: Reader, numbers: array[int]) -> str:
        database = self._org.database
        row = database.execute("SELECT coalesce(max(rowid), 0) + 1 AS number FROM sf_locator").fetchone()
        locator = native_id(LOCATOR_PREFIX, row["number"])
        database.execute(
            "INSERT INTO sf_locator (id, query, is_all, page_rows, user_id, created_at, row_numbers) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                locator,
                text,
                int(include_deleted),
                reader.page_rows,
                reader.access.user_id,
                self._org.now_text(),
                numbers.tobytes(),
            ),
        )
        self._remember(locator, numbers)
        return locator

    def _remember(self, locator: str, numbers: array[int]) -> None:
        self._kept[locator] = numbers
        self._kept.move_to_end(locator)
        if len(self._kept) > KEPT_LOCATORS:
            self._kept.popitem(last=False)

    def _numbers(self, locator: str) -> array[int]:
        numbers = self._kept.get(locator)
        if numbers is None:
            row = self._org.database.execute("SELECT row_numbers FROM sf_locator WHERE id = ?", (locator,)).fetchone()
            numbers = array("q")
            numbers.frombytes(row["row_numbers"])
        self._remember(locator, numbers)
        return numbers

    def _records(
        self, rows: list[tuple[Any, ...]], shape: Shape, children: list[Query], compiler: Compiler, reader: Reader
    ) -> list[dict[str, Any]]:
        records = build_records(self._org, rows, shape, reader.base)
        self._attach_all(records, rows, children, compiler, reader)
        return records

    def _attach_all(
        self,
        records: list[dict[str, Any]],
        rows: list[tuple[Any, ...]],
        children: list[Query],
        compiler: Compiler,
        reader: Reader,
        level: int = 1,
    ) -> None:
        most = MOST_LEVELS if float(reader.version) >= DEEP_FROM_VERSION else 1
        for child in children:
            if level > most:
                levels = f"{most} level{'s' if most > 1 else ''} away from the root entity object."
                message = f"SOQL statements cannot query aggregate relationships more than {levels}"
                raise refused(compiler.text, child.from_at, message)
            self._attach(records, [row[0] for row in rows], child, compiler, reader, level)

    def _attach(
        self,
        records: list[dict[str, Any]],
        ids: list[str],
        child: Query,
        compiler: Compiler,
        reader: Reader,
        level: int,
    ) -> None:
        """Run one child subquery for all parents of the page; no rows give null, as in the real one."""
        path = compiler.path(Operand(tuple(child.source.split(".")), child.from_at))
        found = self._org.schema.child_of(compiler.source.name, ".".join(path))
        if found is None:
            raise refused(compiler.text, child.from_at, no_such_relationship(child.source), "INVALID_FIELD")
        one, reference = found
        key = Operand((reference.name,), child.from_at)
        among = Comparison(key, "IN", tuple(Literal("string", native, child.from_at) for native in ids))
        where = among if child.where is None else Junction("AND", (among, child.where))
        query = replace(child, source=one.name, where=where)
        inner = Compiler(self._org, reader.access, compiler.text, query)
        if child.is_count or child.group_by or inner.is_grouped:
            raise refused(compiler.text, child.from_at, "only root queries support aggregate expressions")
        shape, grandchildren = inner.shape()
        is_key_wanted = any(name == reference.name for name, _ in shape.columns)
        if not is_key_wanted:
            inner.add(shape, key)
        predicate, order = sql_where(inner, include_deleted=False), inner.sql_order()
        rows = self._fetch(f"SELECT {', '.join(inner.columns)}{inner.sql_from()}{predicate}{order}", inner.parameters)
        by_parent: dict[str, list[dict[str, Any]]] = {}
        children = build_records(self._org, rows, shape, reader.base)
        self._attach_all(children, rows, grandchildren, inner, reader, level + 1)
        for record in children:
            parent = record[reference.name] if is_key_wanted else record.pop(reference.name)
            by_parent.setdefault(parent, []).append(record)
        for native, record in zip(ids, records, strict=True):
            mine = by_parent.get(native, [])[child.offset or 0 :][: child.limit]
            record[str(reference.children)] = {"totalSize": len(mine), "done": True, "records": mine} if mine else None


def build_records(org: Org, rows: list[tuple[Any, ...]], shape: Shape, base: str) -> list[dict[str, Any]]:
    """Rows of columns to records with `attributes`."""
    if shape.nested or shape.addresses:
        return [_record(org, row, shape, base) or {} for row in rows]
    names = [name for name, _ in shape.columns]
    start = shape.columns[0][1] if shape.columns else 1
    url = f"{base}/sobjects/{shape.type_name}/"
    records = []
    for row in rows:
        record: dict[str, Any] = {"attributes": {"type": shape.type_name, "url": url + row[0]}}
        record.update(zip(names, row[start:], strict=True))
        for name in shape.booleans:
            record[name] = bool(record[name])
        records.append(record)
    return records


def _record(org: Org, row: tuple[Any, ...], shape: Shape, base: str) -> dict[str, Any] | None:
    native = row[shape.id_index]
    if native is None:
        return None
    target = org.schema.of_id(native)
    actual = target.name if target is not None else "Name"
    if shape.branches is not None:
        branch = shape.branches.get(actual) or shape.branches.get("")
        return _record(org, row, branch, base) if branch is not None else None
    record: dict[str, Any] = {
        "attributes": {"type": shape.type_name or actual, "url": f"{base}/sobjects/{actual}/{native}"}
    }
    for name, index in shape.columns:
        record[name] = row[index]
    for name in shape.booleans:
        record[name] = None if record[name] is None else bool(record[name])
    for name in shape.addresses:
        parts = orjson.loads(record[name])
        record[name] = parts if any(parts.values()) else None
    for name, nested in shape.nested.items():
        record[name] = _record(org, row, nested, base)
    return record
