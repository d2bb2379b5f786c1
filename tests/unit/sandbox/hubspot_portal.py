"""An empty imitated portal on a free port, in a thread, and a client for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from aiohttp import web

from connector.sandbox import hubspot
from connector.sandbox.context import Context, Settings, make_context
from connector.sandbox.database import open_database
from connector.sandbox.server import MAX_LINE_BYTES, application

TOKEN = "pat-sandbox-token"


@dataclass
class Portal:
    """The running portal: its address, its insides, and a session that is signed in."""

    url: str
    context: Context
    session: requests.Session

    def call(self, method: str, path: str, body: Any = None, status: int | None = None, **more: Any) -> Any:
        """The parsed answer; with `status`, that status is demanded."""
        response = self.session.request(method, self.url + path, json=body, timeout=10, **more)
        if status is not None:
            assert response.status_code == status, response.text[:2000]
        return response.json() if response.content else None

    def raw(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=10, **more)

    def create(self, kind: str = "contacts", **properties: Any) -> str:
        """A new record's id."""
        return str(self.call("POST", f"/crm/v3/objects/{kind}", {"properties": properties}, 201)["id"])

    def properties(self, kind: str, record_id: str, *names: str) -> dict[str, Any]:
        found = self.call("GET", f"/crm/v3/objects/{kind}/{record_id}?properties={','.join(names)}", status=200)
        return dict(found["properties"])

    def search(self, kind: str, status: int = 200, **body: Any) -> Any:
        return self.call("POST", f"/crm/v3/objects/{kind}/search", body, status)


@contextmanager
def portal(data: Path | None = None, world: Any = None, **settings: Any) -> Iterator[Portal]:
    """A portal with rate limits off, unless `are_limits_on` says otherwise."""
    context = make_context(open_database(data), Settings(**{"are_limits_on": False, **settings}))
    hubspot.create_tables(context)
    if world is not None:
        hubspot.load(context, world)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    address: list[str] = []

    async def start() -> None:
        app = application(context, "hubspot", hubspot, {})
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, max_line_size=MAX_LINE_BYTES)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()

    def run() -> None:
        loop.create_task(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    try:
        yield Portal(address[0], context, session)
    finally:
        session.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        context.database.close()
