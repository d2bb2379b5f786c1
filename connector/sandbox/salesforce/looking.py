"""How a query would run (`/query?explain=`), and what the user worked on last (`/recent`).

REST API Developer Guide, "Query Performance Feedback", "Recently Viewed Items". The sandbox keeps no record of what was viewed:
what the user wrote last stands for it.
"""

from __future__ import annotations

from typing import Any

from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.soql_parser import parse
from connector.sandbox.salesforce.soql_sql import Compiler
from connector.sandbox.salesforce.soql_where import sql_where

RECENT_OBJECTS = ("Account", "Contact", "Lead", "Opportunity", "Campaign")
MOST_RECENT = 200


def explain(call: Call, text: str) -> Answer:
    """The plan of a query, always by the table: how many records it has and how many the condition leaves."""
    query = parse(text)
    compiler = Compiler(call.org, call.access, text, query)
    if not (query.is_count or compiler.is_grouped):
        compiler.shape()
    where = sql_where(compiler, include_deleted=False)
    table = compiler.source.table
    database = call.org.database
    every = database.execute(f"SELECT count(*) AS n FROM {table}").fetchone()["n"]
    found = database.execute(f"SELECT count(*) AS n{compiler.sql_from()}{where}", compiler.parameters).fetchone()["n"]
    share = found / every if every else 0.0
    plan: dict[str, Any] = {
        "cardinality": found, "fields": [], "leadingOperationType": "TableScan", "notes": [], "relativeCost": round(max(share, 0.1), 3),
        "sobjectCardinality": every, "sobjectType": compiler.source.name,
    }  # fmt: skip
    return Answer(200, {"plans": [plan], "sourceQuery": text})


def recent(call: Call) -> Answer:
    """`GET /recent?limit=`: 200 at most."""
    text = call.query.get("limit", str(MOST_RECENT))
    if not text.isdigit() or not 0 < int(text) <= MOST_RECENT:
        raise RefusedError("INVALID_QUERY_SCOPE", f"The limit is a number from 1 to {MOST_RECENT}")
    parts = [
        f"SELECT '{name}' AS kind, Id, Name, LastModifiedDate FROM {call.org.object(name).table}"
        " WHERE IsDeleted = 0 AND LastModifiedById = ?1"
        for name in RECENT_OBJECTS
    ]
    statement = f"{' UNION ALL '.join(parts)} ORDER BY LastModifiedDate DESC, Id DESC LIMIT ?2"
    rows = call.org.database.execute(statement, (call.access.user_id, int(text)))
    records = [
        {
            "attributes": {"type": row["kind"], "url": f"{call.base}/sobjects/{row['kind']}/{row['Id']}"},
            "Id": row["Id"],
            "Name": row["Name"],
        }
        for row in rows
    ]
    return Answer(200, records, records=len(records))
