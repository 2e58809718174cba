"""A simulated server that answers everything with 429 for a while, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from routellm_batch.endpoints.simulator.billing import BillingLog
from routellm_batch.endpoints.simulator.chat import NOTHING
from routellm_batch.endpoints.simulator.faults import rate_limit_wire
from routellm_batch.endpoints.simulator.model import SimulatedModel
from routellm_batch.endpoints.simulator.server import ChatServer
from routellm_batch.endpoints.simulator.spec import SimulateSpec

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextmanager
def storm_server(spec: SimulateSpec, *, after: int, seconds: float) -> Iterator[str]:
    """Serve a simulated model that refuses all for some seconds once it has had ``after`` requests; yield its URL."""
    log = BillingLog(spec.log, spec.price)
    wire = rate_limit_wire(spec.retry_after_ms / 1000)
    seen, until_s = 0, 0.0

    @web.middleware
    async def storm(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal seen, until_s
        seen += 1
        if seen == after:
            until_s = time.monotonic() + seconds
        if time.monotonic() >= until_s:
            return await handler(request)
        log.write(time.time(), request.headers["X-Request-Key"], 0, wire.status, NOTHING)
        return web.Response(status=wire.status, body=wire.body, headers=wire.headers)

    application = ChatServer(spec, SimulatedModel(spec), log).application()
    application.middlewares.append(storm)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def begin() -> int:
        await runner.setup()
        await web.TCPSite(runner, spec.host, spec.port).start()
        return int(runner.addresses[0][1])

    try:
        port = asyncio.run_coroutine_threadsafe(begin(), loop).result(30)
        yield f"http://{spec.host}:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        log.close()
