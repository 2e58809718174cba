"""From rows to requests: bodies, keys and worst costs, each built once. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from routellm_batch.budget.tokens import chat_tokens
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.job import PartTokensConfig
from routellm_batch.core.types import Route
from routellm_batch.endpoints.calls import Request
from routellm_batch.storage.chats import PART_KINDS, other_parts, turn_text
from routellm_batch.storage.prompts import Chat, Prompt

USUAL = PartTokensConfig()
"""Without bounds of the config's own."""


@dataclass(frozen=True, slots=True)
class Call:
    """One row to be answered."""

    row: int
    """Row in the shard."""
    route: Route
    """Where it is sent."""
    request: Request
    """What is sent first."""


def build_call(
    row: int, route: Route, endpoint: EndpointConfig, prompt: Prompt, bounds: PartTokensConfig = USUAL
) -> Call:
    """Return the call of a row on a route."""
    return Call(row, route, build_request(endpoint, prompt.chat, prompt.tokens, bounds))


def build_request(
    endpoint: EndpointConfig, chat: Chat, tokens: int, bounds: PartTokensConfig = USUAL
) -> Request:
    """Return one request.

    Its key covers the endpoint and the whole body, so another URL, model, parameter or system turn is another key.
    So does its worst cost: tools and answer formats are input tokens like any other. Of images, audio and files it
    counts ``bounds`` in place of their bytes.

    Args:
        endpoint: that is asked.
        chat: its turns.
        tokens: that are expected of it.
        bounds: the most tokens of a part that is no text.

    """
    content = _encoded({"model": endpoint.model, "messages": list(chat), **endpoint.params})
    key = hashlib.sha256(_encoded(["v2", endpoint.kind, endpoint.base_url]) + content).hexdigest()[:32]
    most = len(content)
    for part in other_parts(chat):
        most += bounds.expected(PART_KINDS[part["type"]]) - len(_encoded(part))
    worst_nano = endpoint.call_price.worst_nano(most, len(chat))
    return Request(content, key, tokens + endpoint.expected_output_tokens, worst_nano)


def follow_up(
    endpoint: EndpointConfig,
    request: Request,
    answer: str,
    question: str,
    bounds: PartTokensConfig = USUAL,
) -> Request:
    """Return the request that shows a model its unusable answer and asks again."""
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    chat = [*json.loads(request.content)["messages"], *turns]
    parts = sum(bounds.expected(PART_KINDS[part["type"]]) for part in other_parts(chat))
    tokens = chat_tokens("".join(map(turn_text, chat)), len(chat)) + parts
    return build_request(endpoint, chat, tokens, bounds)


def _encoded(value: object) -> bytes:
    """Return JSON in the order it was given: that of an answer format's properties is the answer's."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
