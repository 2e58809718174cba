"""A scripted chat server on loopback, in a thread of this process; it remembers every request."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from aiohttp import web
from helpers.patience import patience

from routellm_batch.endpoints.simulator import serve
from routellm_batch.endpoints.simulator.billing import BillingLog
from routellm_batch.endpoints.simulator.model import SimulatedModel
from routellm_batch.endpoints.simulator.server import ChatServer
from routellm_batch.endpoints.simulator.spec import ReplaySpec, SimulateSpec


@dataclass(frozen=True)
class Call:
    """One request as the stub saw it."""

    number: int
    """In order of arrival, from 0."""
    body: dict[str, Any]
    raw: bytes
    headers: Mapping[str, str]
    begun_s: float
    """On the monotonic clock."""
    path: str = ""
    """With the query."""

    @property
    def prompt(self) -> str:
        """Text of the last turn."""
        return str(self.body["messages"][-1]["content"])

    @property
    def key(self) -> str:
        """The request key."""
        return self.headers["X-Request-Key"]

    @property
    def attempt(self) -> int:
        """The attempt, from 1."""
        return int(self.headers["X-Attempt"])


@dataclass(frozen=True)
class Answer:
    """What the stub replies."""

    text: str = "An answer."
    status: int = 200
    delay_s: float = 0
    input_tokens: int = 10
    output_tokens: int = 5
    finish_reason: str = "stop"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """In place of a chat completion."""
    content_type: str = "application/json"
    delivery: str = "whole"
    """whole | cut (the socket closes half-way) | drip (a byte every 20 ms) | close (no reply at all)."""

    def content(self) -> bytes:
        """Return the bytes to send."""
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps(
                {"error": {"message": "no", "type": "no", "param": None, "code": None}}
            ).encode()
        return json.dumps(
            {
                "model": "stub-model",
                "choices": [{"message": {"content": self.text}, "finish_reason": self.finish_reason}],
                "usage": {"prompt_tokens": self.input_tokens, "completion_tokens": self.output_tokens},
            }
        ).encode()


Script = Callable[[Call], Answer]


@dataclass
class Stub:
    """A running stub."""

    script: Script
    base_url: str = ""
    calls: list[Call] = field(default_factory=list)
    peak: int = 0
    """Most requests in progress at once."""
    _open: int = 0

    def prompts(self) -> list[str]:
        """Last turns, in order of arrival."""
        return [call.prompt for call in self.calls]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request as the script says."""
        raw = await request.read()
        call = Call(
            len(self.calls),
            json.loads(raw or b"{}"),
            raw,
            request.headers.copy(),
            time.monotonic(),
            request.path_qs,
        )
        self.calls.append(call)
        self._open += 1
        self.peak = max(self.peak, self._open)
        try:
            answer = self.script(call)
            await asyncio.sleep(answer.delay_s)
            return await _send(request, answer)
        finally:
            self._open -= 1


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    content = answer.content()
    if answer.delivery == "whole":
        return web.Response(
            status=answer.status, body=content, content_type=answer.content_type, headers=answer.headers
        )
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    response.content_length = len(content)
    response.force_close()
    if answer.delivery != "close":
        await response.prepare(request)
    if answer.delivery == "cut":
        await response.write(content[: len(content) // 2])
    elif answer.delivery == "drip":
        for byte in content:
            with suppress(ConnectionError):  # the client has left
                await response.write(bytes([byte]))
            await asyncio.sleep(0.02)
        return response
    if request.transport is not None:
        request.transport.close()
    return response


def answering(text: str = "An answer.", **fields: Any) -> Script:
    """Return a script that always gives one answer."""
    return lambda _: Answer(text, **fields)


def in_turn(*answers: Answer) -> Script:
    """Return a script that gives each request key these answers, attempt by attempt, and then the last for ever."""
    seen: dict[str, int] = {}

    def reply(call: Call) -> Answer:
        at = seen.get(call.key, 0)
        seen[call.key] = at + 1
        return answers[min(at, len(answers) - 1)]

    return reply


@contextmanager
def stub_server(script: Script = answering()) -> Iterator[Stub]:  # noqa: B008 - a pure function
    """Serve a script."""
    stub = Stub(script)
    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/v1/chat/completions", stub.handle)
    with _serving(application) as base_url:
        stub.base_url = base_url
        yield stub


@contextmanager
def simulated(spec: SimulateSpec) -> Iterator[str]:
    """Serve the simulated model in this process, which saves a second a test; yield its base URL."""
    log = BillingLog(spec.log, spec.price)
    try:
        with _serving(ChatServer(spec, SimulatedModel(spec), log).application()) as base_url:
            yield base_url
    finally:
        log.close()


@dataclass
class _Here:
    """Stands in for the handle of a server process."""

    base_url: str
    close: Callable[[], None]


@contextmanager
def served_here() -> Iterator[None]:
    """Serve what a job would start server processes for in this process; each saves a second."""

    def start(spec: SimulateSpec | ReplaySpec) -> _Here:
        with ExitStack() as stack:
            log = BillingLog(spec.log, spec.price)
            stack.callback(log.close)
            application = ChatServer(spec, serve._model(spec), log).application()
            base_url = stack.enter_context(_serving(application))
            return _Here(base_url, stack.pop_all().close)

    with patch("routellm_batch.endpoints.servers.start_server", start):
        yield


@contextmanager
def _serving(application: web.Application) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)

    def on_loop(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(patience(10))

    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join, patience(10))
        stack.callback(lambda: loop.call_soon_threadsafe(loop.stop))
        on_loop(runner.setup())
        stack.callback(lambda: on_loop(runner.cleanup()))
        on_loop(web.TCPSite(runner, "127.0.0.1", 0).start())
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


def interrupting(script: Script, at: int) -> Script:
    """Return a script that sends this process SIGINT, as Ctrl-C would, once: with request number ``at`` or later."""
    sent: list[int] = []

    def reply(call: Call) -> Answer:
        if call.number >= at and not sent:
            sent.append(call.number)
            os.kill(os.getpid(), signal.SIGINT)
        return script(call)

    return reply
