"""What every handler of the sandbox is given, and how the pieces fit.

A system's module (`salesforce`, `hubspot`) offers

- `create_tables(context)`: makes its tables where they are missing; called at every start, before `load`;
- `load(context, objects)`: fills them from the generated world; called once, in an empty data directory;
- `routes(context) -> list[web.RouteDef]`: its aiohttp routes (`async def handle(request)`), served on its own port;
- `act(context, payload) -> dict`: what a person does in that system (`POST /_sandbox/act`); ValueError if it cannot be;
- `counts(context) -> dict[str, int]`: live records by object type (`GET /_sandbox/counts`).

The server wraps the routes in one middleware that applies the request-level faults and writes the call log: a handler
must not call `CallLog.record` itself. It may set `request[COST]` (default 1), `request[BUCKET]` and
`request[RECORDS]`. Handlers first read the body (`await request.read()`), then do all their database work without an
`await`, inside `database.transaction`, so that one connection serves all requests.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from connector.sandbox.calls import CallLog
from connector.sandbox.clock import SandboxClock
from connector.sandbox.faults import Faults
from connector.sandbox.workflows import HUBSPOT, SALESFORCE, Workflows

__all__ = ["BUCKET", "COST", "HUBSPOT", "RECORDS", "SALESFORCE", "Context", "Settings", "make_context"]

#: What a handler says of its call for the log: what it costs of the quota, which limit it counts on, how many records it moved.
COST = web.RequestKey("COST", int)
BUCKET = web.RequestKey("BUCKET", str)
RECORDS = web.RequestKey("RECORDS", int)


@dataclass(slots=True)
class Settings:
    """What can be set at the start, and (by `/_sandbox/limits`) while it runs.

    Credentials are fixed and public: this is a sandbox on loopback.
    """

    are_limits_on: bool = True
    salesforce_calls_per_day: int = 100_000
    salesforce_page_rows: int = 2_000
    salesforce_session_s: float = 7_200.0
    salesforce_bulk_page_rows: int = 50_000
    salesforce_bulk_delay_s: float = 0.0
    salesforce_commit_lag_s: float = 0.0
    salesforce_chunk_s: float = 0.0
    salesforce_client_id: str = "sandbox-consumer-key"
    salesforce_client_secret: str = "sandbox-consumer-secret"  # noqa: S105
    salesforce_refresh_token: str = "sandbox-refresh-token"  # noqa: S105
    salesforce_username: str = "integration@northwind.example"
    salesforce_password: str = "sandbox-password"  # noqa: S105
    salesforce_certificate_path: str | None = None
    hubspot_access_token: str = "pat-sandbox-token"  # noqa: S105
    hubspot_client_id: str = "sandbox-client-id"
    hubspot_client_secret: str = "sandbox-client-secret"  # noqa: S105
    hubspot_refresh_token: str = "sandbox-refresh-token"  # noqa: S105
    hubspot_developer_key: str = "sandbox-developer-key"
    hubspot_webhook_retry_s: float = 60.0
    hubspot_calls_per_10_s: int = 190
    hubspot_searches_per_s: int = 5
    hubspot_calls_per_day: int = 625_000
    hubspot_oauth_calls_per_10_s: int = 110
    index_lag_s: float = 0.0
    index_lag_spread_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Context:
    """The one database, clock, fault rules, call log and workflow engine of a running sandbox.

    `parts` is where a system's module keeps what it holds in memory, under its own name.
    """

    database: sqlite3.Connection
    clock: SandboxClock
    faults: Faults
    calls: CallLog
    workflows: Workflows
    settings: Settings
    parts: dict[str, object] = field(default_factory=dict)


def make_context(database: sqlite3.Connection, settings: Settings | None = None, shift_s: float = 0.0) -> Context:
    """A context around an open database (see `database.open_database`)."""
    clock = SandboxClock(shift_s)
    return Context(
        database=database,
        clock=clock,
        faults=Faults(),
        calls=CallLog(database, clock),
        workflows=Workflows(database, clock),
        settings=settings or Settings(),
    )


class ImitatedSystem(Protocol):
    """What a system's module offers; see above for the meaning of each function."""

    def create_tables(self, context: Context) -> None: ...
    def load(self, context: Context, objects: Any) -> None: ...
    def routes(self, context: Context) -> list[web.RouteDef]: ...
    def act(self, context: Context, payload: Mapping[str, Any]) -> dict[str, Any]: ...
    def counts(self, context: Context) -> dict[str, int]: ...
