"""The chat-completions wire format on the server's side: reading a request, writing a reply. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from struct import unpack
from typing import Any

from routellm_batch.budget.pricing import CHARS_PER_TOKEN
from routellm_batch.budget.tokens import chat_tokens
from routellm_batch.core.types import Usage

NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a fake model needs to know of a request."""

    model: str
    prompt: str
    """Text of the last user message."""
    input_tokens: int
    """Estimated by ``chat_tokens``."""
    max_tokens: int | None
    """The most output tokens that the request allows."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How the server replies to one request."""

    fault: str = ""
    """A name in ``FAULT_NAMES``, or ``unknown_prompt``; empty for a proper answer."""
    answer: str = ""
    finish_reason: str = "stop"
    usage: Usage = NOTHING
    """What is billed, if the reply is billed."""
    chance: int = 0
    """64 hashed bits, for choices that the fault leaves open."""


class BadRequestError(Exception):
    """An invalid request. The message goes into the reply and quotes nothing of the request."""


def draws(seed: int, *parts: str) -> tuple[int, int, int, int]:
    """Return four independent 64-bit numbers, a keyed hash of the parts."""
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=32, key=str(seed).encode()).digest()
    first, second, third, fourth = unpack("<4Q", digest)
    return first, second, third, fourth


def unit(draw: int) -> float:
    """Map a 64-bit number into the open interval (0, 1)."""
    return ((draw >> 12) + 0.5) / (1 << 52)


def text_tokens(text: str) -> int:
    """Return the tokens of a text as every fake endpoint counts them: a quarter of its characters, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def parse_body(content: bytes) -> dict[str, Any]:
    """Return the body of a request that names a model, as an object.

    Raises:
        BadRequestError: it is not such a body.

    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise BadRequestError("The body is not valid JSON.") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequestError("The body must be an object with a model.")
    return body


def parse_chat(content: bytes) -> ChatRequest:
    """Return a chat request from its body.

    Raises:
        BadRequestError: the body is not a valid chat request.

    """
    body = parse_body(content)
    if body.get("stream"):
        raise BadRequestError("Streaming is not supported.")
    if body.get("n", 1) != 1:
        raise BadRequestError("Only n = 1 is supported.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("messages must be a list with at least one message.")
    texts = [_message(message) for message in messages]
    prompt = next((text for role, text in reversed(texts) if role == "user"), texts[-1][1])
    tokens = chat_tokens("".join(text for _, text in texts), len(texts))
    return ChatRequest(body["model"], prompt, tokens, _max_tokens(body))


def _message(message: Any) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequestError("Every message must be an object with a role.")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise BadRequestError("A message's content must be text or a list of text parts.")
    return message["role"], content


def _max_tokens(body: dict[str, Any]) -> int | None:
    limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    if any(isinstance(limit, bool) or not isinstance(limit, int) or limit < 1 for limit in limits):
        raise BadRequestError("A maximum of tokens must be a whole number, 1 or more.")
    return min(limits, default=None)


def usage_json(usage: Usage) -> str:
    """Return usage as JSON, in OpenAI's form."""
    total = usage.input_tokens + usage.output_tokens
    return (
        f'{{"prompt_tokens":{usage.input_tokens},"completion_tokens":{usage.output_tokens},"total_tokens":{total},'
        f'"prompt_tokens_details":{{"cached_tokens":{usage.cached_input_tokens}}},'
        f'"completion_tokens_details":{{"reasoning_tokens":{usage.reasoning_tokens}}}}}'
    )


def completion_json(model: str, decision: Decision, created: int) -> bytes:
    """Return a chat completion as JSON; ``created`` is in Unix seconds."""
    # Formatted by hand: only two parts need a JSON encoder, and this is the server's hot path.
    return (
        f'{{"id":"chatcmpl-{decision.chance:016x}","object":"chat.completion","created":{created},'
        f'"model":{json.dumps(model)},"choices":[{{"index":0,"message":{{"role":"assistant",'
        f'"content":{json.dumps(decision.answer)},"refusal":null}},"logprobs":null,'
        f'"finish_reason":"{decision.finish_reason}"}}],"usage":{usage_json(decision.usage)}}}'
    ).encode()


def error_json(message: str, kind: str, code: str | None) -> bytes:
    """Return the body of an error as JSON, in OpenAI's form."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
