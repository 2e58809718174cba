"""The embeddings wire format on the server's side, and made-up vectors, seeded by a hash of model and text. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.types import Usage
from routellm_batch.endpoints.simulator.chat import BadRequestError, parse_body, text_tokens, usage_json

WIDTH = 1536
"""Width of a vector where the request names none."""
MAX_WIDTH = 8192
MAX_INPUTS = 2048
MAX_TOKENS = 8192
"""The most tokens of a text that is accepted."""


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """A request for embeddings."""

    model: str
    texts: tuple[str, ...]
    width: int
    """Numbers in a vector."""
    packed: bool
    """Whether vectors are sent as base64 of little-endian float32, not as numbers."""

    @property
    def usage(self) -> Usage:
        """What is billed."""
        return Usage(input_tokens=sum(text_tokens(text) for text in self.texts))


def parse_embeddings(content: bytes) -> EmbeddingsRequest:
    """Return an embeddings request from its body.

    Raises:
        BadRequestError: the body is not a valid embeddings request, or has an empty or too long text.

    """
    body = parse_body(content)
    texts = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_INPUTS:
        raise BadRequestError(f"input must be a text, or a list of 1 to {MAX_INPUTS} texts.")
    if not all(isinstance(text, str) and text for text in texts):
        raise BadRequestError("Every input must be a text that is not empty.")
    if any(text_tokens(text) > MAX_TOKENS for text in texts):
        raise BadRequestError(f"An input is longer than {MAX_TOKENS} tokens.")
    return EmbeddingsRequest(body["model"], tuple(texts), _width(body), _packed(body))


def _width(body: dict[str, Any]) -> int:
    width = body.get("dimensions", WIDTH)
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= MAX_WIDTH:
        raise BadRequestError(f"dimensions must be a whole number from 1 to {MAX_WIDTH}.")
    return width


def _packed(body: dict[str, Any]) -> bool:
    kind = body.get("encoding_format", "float")
    if kind not in {"float", "base64"}:
        raise BadRequestError("encoding_format must be float or base64.")
    return bool(kind == "base64")


def vector_of(model: str, text: str, width: int) -> NDArray[np.float32]:
    """Return float32 [width] of unit length, drawn from a normal distribution that is seeded by a hash of model and text."""
    digest = blake2b(f"{model}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    drawn = np.random.default_rng(int.from_bytes(digest, "little")).standard_normal(width)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def embeddings_json(request: EmbeddingsRequest) -> bytes:
    """Return a reply as JSON in OpenAI's form, with the usage last."""
    data = []
    for index, text in enumerate(request.texts):
        vector = vector_of(request.model, text, request.width)
        packed = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        shown = packed if request.packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    return (
        f'{{"object":"list","data":{json.dumps(data)},"model":{json.dumps(request.model)},'
        f'"usage":{usage_json(request.usage)}}}'
    ).encode()
