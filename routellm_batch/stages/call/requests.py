"""From rows to requests: bodies, keys and worst costs, each built once. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from routellm_batch.budget.pricing import estimate_tokens
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.core.types import Route
from routellm_batch.endpoints.calls import Request
from routellm_batch.storage.chats import turn_text
from routellm_batch.storage.prompts import Chat, Prompt


@dataclass(frozen=True, slots=True)
class Call:
    """One row to be answered."""

    row: int
    """Row in the shard."""
    route: Route
    """Where it is sent."""
    request: Request
    """What is sent first."""


def build_call(row: int, route: Route, endpoint: EndpointConfig, prompt: Prompt) -> Call:
    """Return the call of a row on a route."""
    return Call(row, route, build_request(endpoint, prompt.chat, prompt.chars))


def build_request(endpoint: EndpointConfig, chat: Chat, chars: int) -> Request:
    """Return one request.

    Its key covers the endpoint and the whole body, so another URL, model, parameter or system turn is another key.
    So does its worst cost: tools and answer formats are input tokens like any other.
    """
    content = _encoded({"model": endpoint.model, "messages": list(chat), **endpoint.params})
    key = hashlib.sha256(_encoded(["v2", endpoint.kind, endpoint.base_url]) + content).hexdigest()[:32]
    tokens = estimate_tokens(chars, len(chat)) + endpoint.expected_output_tokens
    return Request(content, key, tokens, endpoint.call_price.worst_nano(len(content), len(chat)))


def follow_up(endpoint: EndpointConfig, request: Request, answer: str, question: str) -> Request:
    """Return the request that shows a model its unusable answer and asks again."""
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    chat = [*json.loads(request.content)["messages"], *turns]
    return build_request(endpoint, chat, sum(len(turn_text(turn)) for turn in chat))


def _encoded(value: object) -> bytes:
    """Return JSON in the order it was given: that of an answer format's properties is the answer's."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
