"""Which fault a request gets, and how each fault looks on the wire. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from routellm_batch.endpoints.simulator.chat import (
    ChatRequest,
    Decision,
    completion_json,
    draws,
    error_json,
    unit,
)
from routellm_batch.endpoints.simulator.spec import FAULT_NAMES, Faults, Step

REDIRECT_TARGET = "http://redirected.invalid/v1/chat/completions"
"""A host that can't exist (RFC 2606), so that a client that follows the redirect reaches nobody."""
CLIENT_GONE = 499
"""Status in the billing log of a request that was processed but never answered."""
UNKNOWN_PROMPT = "unknown_prompt"


class Delivery(StrEnum):
    """How a body is sent."""

    WHOLE = "whole"
    """As one proper response."""
    CUT = "cut"
    """Half of the body, then the socket is closed."""
    DRIP = "drip"
    """One byte every 50 ms."""
    NEVER = "never"
    """Nothing is sent until the client leaves."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A reply, ready to send."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = Delivery.WHOLE

    @property
    def billed(self) -> bool:
        """Whether the provider charges for it: for every 200, and for work that the client did not wait for."""
        return self.status in {200, CLIENT_GONE}


class FaultPlan:
    """Chooses faults by script, then by chance; a request gets the same fault in any order of arrival."""

    def __init__(self, faults: Faults, script: Mapping[str, tuple[Step, ...]], seed: int) -> None:
        self._script = script
        self._seed = seed
        self._edges: list[tuple[float, str]] = []
        edge = 0.0
        for name in FAULT_NAMES:
            chance = getattr(faults, name)
            if chance:
                edge += chance
                self._edges.append((edge, name))

    def step(self, request_key: str, index: int, attempt: int) -> Step:
        """Return a fault's name, ``ok`` or a scripted answer.

        Args:
            request_key: names the request over its attempts.
            index: number of other requests that arrived before its first attempt.
            attempt: number of earlier attempts at this request.

        """
        if self._script:
            for name in (request_key, str(index), "*"):
                steps = self._script.get(name)
                if steps is not None and attempt < len(steps):
                    return steps[attempt]
        if self._edges:
            draw = unit(draws(self._seed, "fault", request_key, str(attempt))[0])
            for edge, name in self._edges:
                if draw < edge:
                    return name
        return "ok"


def rate_limit_wire(wait_s: float, limit: int | None = None) -> Wire:
    """Return a 429 that asks the client to wait; ``limit`` is in requests per minute."""
    wait_ms = math.ceil(wait_s * 1000)
    headers = {
        "Retry-After": str(math.ceil(wait_s)),
        "retry-after-ms": str(wait_ms),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": f"{wait_ms}ms",
        "x-ratelimit-limit-requests": str(limit or 60),
    }
    body = error_json("Rate limit reached for requests.", "requests", "rate_limit_exceeded")
    return Wire(429, body, headers=headers)


def bad_request_wire(message: str, code: str | None = None) -> Wire:
    """Return a 400 with a message and, where given, an error code."""
    return Wire(400, error_json(message, "invalid_request_error", code))


def to_wire(request: ChatRequest, decision: Decision, *, created: int, retry_after_s: float) -> Wire:
    """Return the reply to a chat; ``created`` is in Unix seconds."""
    return wire_of(
        decision, lambda: completion_json(request.model, decision, created), retry_after_s=retry_after_s
    )


def wire_of(decision: Decision, body_of: Callable[[], bytes], *, retry_after_s: float) -> Wire:
    """Return the reply for a decision; ``body_of`` makes the body of a proper one, whose usage must come last."""
    make_error = _ERRORS.get(decision.fault)
    if make_error is not None:
        return make_error(decision)
    if decision.fault == "rate_limit":
        return rate_limit_wire(retry_after_s)
    body = body_of()
    make_broken = _BROKEN.get(decision.fault)
    return Wire(200, body) if make_broken is None else make_broken(body)


def _server_error(decision: Decision) -> Wire:
    status = (500, 502, 503)[decision.chance % 3]
    return Wire(status, error_json("The server failed.", "server_error", None))


def _no_choices(body: bytes) -> Wire:
    start, end = body.index(b'"choices":') + len(b'"choices":'), body.rindex(b',"usage":')
    return Wire(200, body[:start] + b"[]" + body[end:])


_ERRORS: Mapping[str, Callable[[Decision], Wire]] = {
    "server_error": _server_error,
    "auth": lambda _: Wire(401, error_json("Incorrect API key.", "invalid_request_error", "invalid_api_key")),
    "quota": lambda _: Wire(429, error_json("No credit left.", "insufficient_quota", "insufficient_quota")),
    "bad_request": lambda _: bad_request_wire("This request can't be served.", "invalid_value"),
    "context_length": lambda _: bad_request_wire("The context is too long.", "context_length_exceeded"),
    "content_filter": lambda _: bad_request_wire("The content was filtered.", "content_filter"),
    UNKNOWN_PROMPT: lambda _: bad_request_wire("No answer to this prompt was recorded.", UNKNOWN_PROMPT),
    "redirect": lambda _: Wire(307, b"", headers={"Location": REDIRECT_TARGET}),
    "hang": lambda _: Wire(CLIENT_GONE, b"", delivery=Delivery.NEVER),
}
_BROKEN: Mapping[str, Callable[[bytes], Wire]] = {
    "truncated": lambda body: Wire(200, body, delivery=Delivery.CUT),
    "html": lambda _: Wire(200, b"<!doctype html><title>Gateway</title><p>Please wait.", "text/html"),
    "bad_json": lambda body: Wire(200, body[: len(body) // 2]),
    "wrong_shape": lambda _: Wire(200, error_json("Upstream failed.", "server_error", None)),
    "no_choices": _no_choices,
    "no_usage": lambda body: Wire(200, body[: body.rindex(b',"usage":')] + b"}"),
    "drip": lambda body: Wire(200, body, delivery=Delivery.DRIP),
}
