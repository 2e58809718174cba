"""Running a fake endpoint: in this process until a signal, or in a child process that ends with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from routellm_batch.core.errors import ConfigError, InputError
from routellm_batch.endpoints.simulator.billing import BillingLog
from routellm_batch.endpoints.simulator.model import SimulatedModel
from routellm_batch.endpoints.simulator.replay import load_replay
from routellm_batch.endpoints.simulator.server import ChatModel, ChatServer
from routellm_batch.endpoints.simulator.settings import spec_from_json
from routellm_batch.endpoints.simulator.spec import ReplaySpec, SimulateSpec

START_S = 60.0
"""Seconds that a child may take until it listens."""
STOP_S = 5.0
"""Seconds that a child may take to end when asked to."""
_KINDS: dict[str, type[SimulateSpec | ReplaySpec]] = {"simulate": SimulateSpec, "replay": ReplaySpec}


def serve(spec: SimulateSpec | ReplaySpec) -> None:
    """Serve until SIGINT or SIGTERM; print the base URL, and nothing else, once it is up.

    Raises:
        InputError: the spec's files, log or port can't be used.

    """
    asyncio.run(_serve(spec, _say, parent=None))


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A fake endpoint in a process of its own; a context manager that stops it."""

    base_url: str
    """E.g. ``http://127.0.0.1:8101/v1``."""
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """Stop the server and wait for its end."""
        _stop(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_server(spec: SimulateSpec | ReplaySpec) -> ServerHandle:
    """Start a fake endpoint in a child process and wait until it listens.

    The child ends when this process does, however that ends, as its standard input is a pipe from here. It has a session of
    its own, so that Ctrl-C in a terminal reaches only the job, which may still need its answers.

    Raises:
        InputError: the spec's files, log or port can't be used; the message is the child's.

    """
    kind = next(name for name, known in _KINDS.items() if isinstance(spec, known))
    process = subprocess.Popen(
        [sys.executable, "-m", "routellm_batch.endpoints.simulator.serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    order = json.dumps({"kind": kind, "spec": asdict(spec)}).encode() + b"\n"
    try:
        line = _first_line(process, order, time.monotonic() + START_S)
    except BaseException:
        _stop(process)
        raise
    if not line.startswith("http://"):
        _stop(process)
        raise InputError(line or "the simulated or replay server did not start")
    return ServerHandle(line, process)


def _first_line(process: subprocess.Popen[bytes], order: bytes, until_s: float) -> str:
    """Send the order and return the child's first line; empty if it ended or took too long."""
    line = b""
    if process.stdin is None or process.stdout is None:
        return ""
    with suppress(BrokenPipeError):
        process.stdin.write(order)
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until_s - time.monotonic()))
        part = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not part:
            break
        line += part
    return line.decode().strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
        spec = spec_from_json(_KINDS[order["kind"]], order["spec"])
        asyncio.run(_serve(spec, _say, parent=sys.stdin.fileno()))
    except InputError as error:
        _say(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    child()
