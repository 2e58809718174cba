"""Serving a fake endpoint: in this process until a signal, or as the child of ``process.start_server``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable

from aiohttp import web

from routellm_batch.core.errors import ConfigError, InputError
from routellm_batch.endpoints.simulator.billing import BillingLog
from routellm_batch.endpoints.simulator.model import SimulatedModel
from routellm_batch.endpoints.simulator.process import KINDS
from routellm_batch.endpoints.simulator.replay import load_replay
from routellm_batch.endpoints.simulator.server import ChatModel, ChatServer
from routellm_batch.endpoints.simulator.settings import spec_from_json
from routellm_batch.endpoints.simulator.spec import ReplaySpec, SimulateSpec


def serve(spec: SimulateSpec | ReplaySpec) -> None:
    """Serve until SIGINT or SIGTERM; print the base URL, and nothing else, once it is up.

    Raises:
        InputError: the spec's files, log or port can't be used.

    """
    asyncio.run(_serve(spec, _say, parent=None))


def _model(spec: SimulateSpec | ReplaySpec) -> ChatModel:
    if isinstance(spec, ReplaySpec):
        return load_replay(spec)
    if spec.reference is None:
        return SimulatedModel(spec)
    from routellm_batch.endpoints.simulator.tables import load_references

    return SimulatedModel(spec, load_references(spec.reference))


async def _serve(
    spec: SimulateSpec | ReplaySpec, ready: Callable[[str], None], *, parent: int | None
) -> None:
    """Serve until a signal, or until the descriptor ``parent`` is closed on the other side."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, _end_with, parent, stop)
    log = BillingLog(spec.log, spec.price)
    application = ChatServer(spec, _model(spec), log).application()
    # With handler_cancellation the server notices a client that has left, and bills its reply.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, spec.host, spec.port, backlog=4096)
        try:
            await site.start()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ConfigError("port", f"{spec.host}:{spec.port} can't be listened on ({reason})") from None
        ready(f"http://{spec.host}:{runner.addresses[0][1]}/v1")
        await stop.wait()
    finally:
        if parent is not None:
            loop.remove_reader(parent)
        await runner.cleanup()
        log.close()


def _end_with(parent: int, stop: asyncio.Event) -> None:
    if not os.read(parent, 4096):
        stop.set()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def child() -> None:
    """Run as the child of ``start_server``, which sends the spec as the first line of standard input."""
    order = json.loads(sys.stdin.buffer.readline())
    try:
        spec = spec_from_json(KINDS[order["kind"]], order["spec"])
        asyncio.run(_serve(spec, _say, parent=sys.stdin.fileno()))
    except InputError as error:
        _say(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    child()
