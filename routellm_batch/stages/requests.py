"""From rows to requests: bodies, keys and worst costs, each built once. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routellm_batch.config_endpoints import EndpointConfig
from routellm_batch.endpoints.outcome import Request
from routellm_batch.pricing import estimate_tokens, worst_nano
from routellm_batch.stages.rows import Chat, Prompt
from routellm_batch.types import Route


@dataclass(frozen=True, slots=True)
class Call:
    """One row to be answered."""

    row: int
    """Row in the shard."""
    route: Route
    request: Request


def build_call(row: int, route: Route, end: EndpointConfig, prompt: Prompt) -> Call:
    """Return the call of a row on a route."""
    return Call(row, route, build_request(end, prompt.chat, prompt.chars))


def build_request(end: EndpointConfig, chat: Chat, chars: int) -> Request:
    """Return one request.

    Its key covers the endpoint and the whole body, so another URL, model, parameter or system turn is another key.
    So does its worst cost: tools and answer formats are input tokens like any other.
    """
    body: Mapping[str, Any] = {"model": end.model, "messages": list(chat), **end.params}
    text = json.dumps(
        ["v1", end.kind, end.base_url, body], ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )
    canonical = text.encode("utf-8")
    key = hashlib.sha256(canonical).hexdigest()[:32]
    tokens = estimate_tokens(chars, len(chat)) + end.expected_output_tokens
    longest = end.max_output_tokens or end.expected_output_tokens
    return Request(body, key, tokens, worst_nano(end.nano_price, len(canonical), len(chat), longest))


def follow_up(end: EndpointConfig, request: Request, answer: str, question: str) -> Request:
    """Return the request that shows a model its unusable answer and asks again."""
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    chat = [*request.body["messages"], *turns]
    texts = [
        t["content"] if isinstance(t["content"], str) else json.dumps(t["content"], ensure_ascii=False)
        for t in chat
    ]
    return build_request(end, chat, sum(map(len, texts)))
