"""The sandbox process: two imitated systems on two loopback ports, one event loop, one database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from connector.sandbox import admin
from connector.sandbox.context import (
    BUCKET,
    COST,
    HUBSPOT,
    RECORDS,
    SALESFORCE,
    Context,
    ImitatedSystem,
    Settings,
    make_context,
)
from connector.sandbox.database import alone_in, open_database, read_setting, transaction, write_setting
from connector.sandbox.faults import Fault, Faults, answer

HOST = "127.0.0.1"
MAX_BODY_BYTES = 160_000_000
GZIP_FROM_BYTES = 1_400
GZIP_LEVEL = 1
MAX_LINE_BYTES = 65_536
STOP_AFTER_S = 1.0
_LOOKED_EVERY_S = 0.05

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a sandbox. `data=None` keeps it in memory; port 0 takes a free one; `people=0` is an empty org.

    An existing data directory is used as it is (then `people`, `seed` and `now` have no effect). `ready_file` gets
    `{"salesforce": url, "hubspot": url, "pid": pid}` when both ports listen. `now` is the instant at which history
    ends and from which the sandbox's clock goes on (None = the present).
    """

    data: Path | None = None
    people: int = 4_000
    seed: int = 7
    salesforce_port: int = 0
    hubspot_port: int = 0
    ready_file: Path | None = None
    now: datetime | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that answers: where, and its insides for tests in the same process."""

    salesforce_url: str
    hubspot_url: str
    context: Context


def systems() -> dict[str, ImitatedSystem]:
    """The imitated systems by name."""
    from connector.sandbox import hubspot, salesforce

    return {SALESFORCE: salesforce, HUBSPOT: hubspot}


def open_context(options: Options) -> Context:
    """Open the data directory and, when it is empty, fill it with the generated world."""
    database = open_database(options.data)
    context = make_context(database, options.settings, float(read_setting(database, admin.CLOCK_SHIFT) or 0.0))
    for system in systems().values():
        system.create_tables(context)
    if read_setting(database, "people") is None:
        with transaction(database):
            if options.now is not None:
                admin.stand_at(context, options.now)
            _seed(context, options)
    return context


def _seed(context: Context, options: Options) -> None:
    from connector.sandbox import world

    database = context.database
    parts: dict[str, Any] = {SALESFORCE: {}, HUBSPOT: world.HubSpotWorld()}
    truth: list[tuple[str, str, str, str]] = []
    if options.people:
        generated = world.generate(options.people, options.seed, context.clock.now())
        parts = {SALESFORCE: generated.salesforce, HUBSPOT: generated.hubspot}
        truth = list(generated.truth)
        write_setting(
            database, admin.CAST, json.dumps({role: asdict(member) for role, member in generated.cast.items()})
        )
    for name, system in systems().items():
        system.load(context, parts[name])
    database.executemany("INSERT INTO truth (person, system, object_type, native_id) VALUES (?, ?, ?, ?)", truth)
    context.workflows.seed()
    write_setting(database, "people", str(options.people))
    write_setting(database, "seed", str(options.seed))


def application(context: Context, name: str, system: ImitatedSystem, urls: Mapping[str, str]) -> web.Application:
    """The web application of one system, with faults, call log, compression and the admin endpoints."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_finish(context), _observe(context, name)])
    app.add_routes(admin.routes(context, systems(), urls))
    app.add_routes(system.routes(context))
    return app


def _observe(context: Context, name: str) -> Any:
    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(admin.PREFIX):
            return await handler(request)
        sent = await request.text() if context.faults.looks_inside(name) else ""
        faults = context.faults.for_request(name, request.method, request.path, sent)
        refused = await _apply_before(request, faults, context.faults)
        if refused is not None:
            status = refused.status
            context.calls.record(name, request.method, request.raw_path, status, cost=0, bucket="fault")
            return refused
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as raised:
            status = raised.status
            raise
        finally:
            context.calls.record(
                name,
                request.method,
                request.raw_path,
                status,
                cost=request.get(COST, 1),
                bucket=request.get(BUCKET, ""),
                records=request.get(RECORDS, 0),
            )
        if any(fault.kind == "drop_after" for fault in faults):
            return _aborted(request)
        return response

    return observe


async def _apply_before(request: web.Request, faults: list[Fault], known: Faults) -> web.StreamResponse | None:
    for fault in faults:
        if fault.kind == "slow":
            if not await _held(request, fault, known):
                return _aborted(request)
        elif fault.kind in ("gone", "drop_before"):
            return _aborted(request)
        elif fault.kind in ("status", "expired_token", "not_json"):
            await request.read()
            given = answer(fault)
            headers = {**given.headers, "Content-Type": given.content_type}
            return web.Response(status=given.status, body=given.body.encode(), headers=headers)
    return None


async def _held(request: web.Request, fault: Fault, known: Faults) -> bool:
    """Hold a request on its way, until its time has passed or the fault is lifted; whether its sender is still there then.

    One whose sender has gone does not arrive.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + fault.seconds
    while request.transport is not None and known.is_in_force(fault) and loop.time() < until:
        await asyncio.sleep(min(_LOOKED_EVERY_S, max(until - loop.time(), 0)))
    if not known.is_in_force(fault):
        await asyncio.sleep(_LOOKED_EVERY_S)  # who ended its sender before lifting the fault finds it gone
    return request.transport is not None


def _aborted(request: web.Request) -> web.StreamResponse:
    """Reset the connection; the response that is returned never reaches anyone."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


def _finish(context: Context) -> Any:
    @web.middleware
    async def finish(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Date by the sandbox's clock; gzip when it is asked for and worth it."""
        response = await handler(request)
        response.headers["Date"] = format_datetime(context.clock.now(), usegmt=True)
        response.headers["Vary"] = "Accept-Encoding"
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            _compress(request, response, response.body)
        return response

    return finish


def _compress(request: web.Request, response: web.Response, body: bytes) -> None:
    if len(body) >= GZIP_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
        response.body = packer.compress(body) + packer.flush()
        response.headers["Content-Encoding"] = "gzip"


@asynccontextmanager
async def started(options: Options) -> AsyncIterator[Running]:
    """A sandbox that listens while the context is open, in the running event loop. Raises InUse, and OSError where a port is
    taken: then nothing was made."""
    with ExitStack() as held:
        ports = {SALESFORCE: options.salesforce_port, HUBSPOT: options.hubspot_port}
        doors = {name: held.enter_context(_door(port)) for name, port in ports.items()}
        held.enter_context(alone_in(options.data))
        async with _listening(options, doors) as running:
            yield running


def _door(port: int) -> socket.socket:
    """The port, taken; nothing is heard there yet."""
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((HOST, port))
    except OSError as error:
        door.close()
        raise OSError(error.errno, f"port {port}: {os.strerror(error.errno or 0)}") from None
    return door


@asynccontextmanager
async def _listening(options: Options, doors: Mapping[str, socket.socket]) -> AsyncIterator[Running]:
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)
    context = open_context(options)
    urls: dict[str, str] = {}
    runners = []
    try:
        for name, system in systems().items():
            app = application(context, name, system, urls)
            runner = web.AppRunner(
                app,
                access_log=None,
                shutdown_timeout=STOP_AFTER_S,
                max_line_size=MAX_LINE_BYTES,
                max_field_size=MAX_LINE_BYTES,
            )
            await runner.setup()
            runners.append(runner)
            await web.SockSite(runner, doors[name], backlog=512).start()
            urls[name] = f"http://{HOST}:{runner.addresses[0][1]}"
        if options.ready_file is not None:
            _write_ready(options.ready_file, urls)
        yield Running(urls[SALESFORCE], urls[HUBSPOT], context)
    finally:
        for runner in runners:
            await runner.cleanup()
        context.calls.flush()
        context.database.close()


def _write_ready(path: Path, urls: Mapping[str, str]) -> None:
    waiting = path.with_name(f"{path.name}.{os.getpid()}")
    waiting.write_bytes(orjson.dumps({**urls, "pid": os.getpid()}))
    waiting.replace(path)


def serve(options: Options, on_ready: Callable[[Running], None] | None = None) -> None:
    """Run a sandbox until SIGTERM or SIGINT; `on_ready` is told where it listens."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with started(options) as running:
            if on_ready is not None:
                on_ready(running)
            await stop.wait()

    asyncio.run(run())


@contextmanager
def serving(options: Options) -> Iterator[Running]:
    """A sandbox in a thread of this process, for tests; it ends with the context."""
    ready, stop = threading.Event(), threading.Event()
    found: list[Running] = []
    failed: list[BaseException] = []

    async def run() -> None:
        async with started(options) as running:
            found.append(running)
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.02)

    def target() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=target, name="sandbox", daemon=True)
    thread.start()
    ready.wait()
    if failed:
        raise failed[0]
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join()
