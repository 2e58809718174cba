"""The HTTP side of the fake endpoints: aiohttp on loopback around a pure model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Protocol

from aiohttp import web

from routellm_batch.endpoints.simulator.billing import BillingLog
from routellm_batch.endpoints.simulator.chat import (
    NOTHING,
    BadRequestError,
    ChatRequest,
    Decision,
    parse_chat,
)
from routellm_batch.endpoints.simulator.embeddings import embeddings_json, parse_embeddings
from routellm_batch.endpoints.simulator.faults import (
    CLIENT_GONE,
    Delivery,
    Wire,
    bad_request_wire,
    rate_limit_wire,
    to_wire,
    wire_of,
)
from routellm_batch.endpoints.simulator.limits import Arrivals, RequestLimit
from routellm_batch.endpoints.simulator.spec import ServerSpec, SimulateSpec

HANG_S = 600.0
"""Seconds that a hanging reply keeps its socket open at most."""
DRIP_S = 0.05
"""Seconds between two bytes of a dripping reply."""
MAX_BODY_BYTES = 64 * 1024 * 1024


Work = tuple[ChatRequest, Callable[[Decision], tuple[Decision, Wire]]]
"""A request as the model sees it, and a function from the model's decision to what is billed and sent."""


class ChatModel(Protocol):
    """Decides on replies; knows neither sockets nor clocks."""

    def decide(self, request: ChatRequest, request_key: str, index: int, attempt: int) -> Decision:
        """Return the reply to one request (see ``SimulatedModel.decide``)."""
        ...


class ChatServer:
    """Serves ``/v1/chat/completions`` for a model, and bills its replies.

    For a simulated model it also serves ``/v1/embeddings``, with the same limits and faults.
    """

    def __init__(
        self, spec: ServerSpec, model: ChatModel, log: BillingLog, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spec = spec
        self._model = model
        self._log = log
        self._clock = clock
        self._arrivals = Arrivals()
        self._in_progress = 0
        limits = spec if isinstance(spec, SimulateSpec) else SimulateSpec()
        self._limit = None if limits.rpm is None else RequestLimit(limits.rpm, limits.burst, clock())
        self._concurrency = limits.concurrency
        self._retry_after_s = limits.retry_after_ms / 1000

    def application(self) -> web.Application:
        """Return the application with its routes."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post("/v1/chat/completions", self._chat)
        if isinstance(self._spec, SimulateSpec):
            application.router.add_post("/v1/embeddings", self._embeddings)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/health", self._health)
        return application

    async def _health(self, _: web.Request) -> web.Response:
        return _json(200, b'{"status": "ok"}')

    async def _models(self, _: web.Request) -> web.Response:
        entry = {"id": self._spec.model, "object": "model", "created": 0, "owned_by": "routellm-batch"}
        return _json(200, json.dumps({"object": "list", "data": [entry]}).encode())

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self._chat_work)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, self._embeddings_work)

    def _chat_work(self, content: bytes) -> Work:
        chat = parse_chat(content)

        def finish(decision: Decision) -> tuple[Decision, Wire]:
            created = int(time.time())
            return decision, to_wire(chat, decision, created=created, retry_after_s=self._retry_after_s)

        return chat, finish

    def _embeddings_work(self, content: bytes) -> Work:
        embed = parse_embeddings(content)

        def finish(decision: Decision) -> tuple[Decision, Wire]:
            # For embeddings, an answer without choices is JSON of a wrong shape; other faults of answers don't apply.
            fault = "wrong_shape" if decision.fault == "no_choices" else decision.fault
            decided = replace(decision, fault=fault, usage=embed.usage)
            wire = wire_of(decided, lambda: embeddings_json(embed), retry_after_s=self._retry_after_s)
            return decided, wire

        return ChatRequest(embed.model, "", embed.usage.input_tokens, None), finish

    async def _answer(self, request: web.Request, read: Callable[[bytes], Work]) -> web.StreamResponse:
        content = await request.read()
        key = request.headers.get("X-Request-Key", "")
        attempt = _whole(request.headers.get("X-Attempt", ""))
        try:
            chat, finish = read(content)
        except BadRequestError as error:
            refusal: Wire | None = bad_request_wire(str(error))
        else:
            refusal = self._refuse()
        if refusal is not None:
            self._log.write(time.time(), key, attempt, refusal.status, NOTHING)
            return _whole_response(refusal)
        identity = key or blake2b(content, digest_size=16).hexdigest()
        decision, wire = finish(self._model.decide(chat, identity, *self._arrivals.note(identity)))
        self._in_progress += 1
        try:
            return await self._reply(request, wire, decision, key, attempt)
        finally:
            self._in_progress -= 1

    def _refuse(self) -> Wire | None:
        if self._concurrency is not None and self._in_progress >= self._concurrency:
            return rate_limit_wire(self._retry_after_s)
        if self._limit is None:
            return None
        wait_s = self._limit.take(self._clock())
        return rate_limit_wire(wait_s, self._limit.rpm) if wait_s else None

    async def _reply(
        self, request: web.Request, wire: Wire, decision: Decision, key: str, attempt: int
    ) -> web.StreamResponse:
        try:
            if wire.delivery is Delivery.NEVER:
                await asyncio.sleep(HANG_S)
            elif wire.billed and (delay_s := self._delay_s(decision)) > 0:
                await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            # The client left, or the server stops. The work is done and billed, as it is by some providers.
            self._log.write(time.time(), key, attempt, CLIENT_GONE, decision.usage)
            raise
        self._log.write(time.time(), key, attempt, wire.status, decision.usage if wire.billed else NOTHING)
        if wire.delivery is Delivery.WHOLE:
            return _whole_response(wire)
        return await _broken_response(request, wire)

    def _delay_s(self, decision: Decision) -> float:
        spec = self._spec
        return (spec.latency_ms + spec.latency_per_token_ms * decision.usage.output_tokens) / 1000


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _whole_response(wire: Wire) -> web.Response:
    return web.Response(
        status=wire.status, body=wire.body, content_type=wire.content_type, headers=wire.headers
    )


async def _broken_response(request: web.Request, wire: Wire) -> web.StreamResponse:
    """Send the part of a body that its delivery allows, then close the socket."""
    response = web.StreamResponse(status=200, headers={"Content-Type": wire.content_type})
    response.content_length = len(wire.body)
    response.force_close()
    if wire.delivery is not Delivery.NEVER:
        await response.prepare(request)
    if wire.delivery is Delivery.CUT:
        await response.write(wire.body[: len(wire.body) // 2])
    elif wire.delivery is Delivery.DRIP:
        for byte in wire.body:
            await response.write(bytes([byte]))
            await asyncio.sleep(DRIP_S)
        return response
    if request.transport is not None:
        request.transport.close()
    return response
