"""An embeddings endpoint on loopback, a config that uses it, and weights of a tiny router for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from aiohttp import web
from helpers.patience import MOST
from helpers.stub import _serving

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.routers.embedders.remote import RemoteEmbedder
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads
from routellm_batch.routers.outcome.router import OutcomeRouter
from routellm_batch.routers.outcome.weights import save_heads

WIDTH = 16
PRICE = Decimal("0.02")
Reply = Callable[[dict[str, Any], int], tuple[int, dict[str, str], Any]]
"""Body and number of the request → status, headers and what is sent: JSON, or bytes as they are."""


def embedder_tree(url: str, **settings: Any) -> dict[str, Any]:
    """Return the settings of a remote embedder of ``WIDTH`` numbers; None takes a key away."""
    tree = {
        "name": "remote",
        "model": "embedding-model",
        "base_url": url,
        "price": {"input": PRICE},
        "dimensions": WIDTH,
        "timeout_s": 5 * MOST,
        **settings,
    }
    return {name: value for name, value in tree.items() if value is not None}


def embedder_config(url: str, **settings: Any) -> EmbedderConfig:
    """Return the checked settings."""
    return EmbedderConfig.model_validate(embedder_tree(url, **settings))


def write_weights(folder: Path, width: int = WIDTH) -> str:
    """Write an outcome router for the remote embedder; return its folder."""
    embedder = RemoteEmbedder(embedder_config("http://127.0.0.1:9/v1", dimensions=width))
    columns, count = width + len(FEATURES), len(FEATURES)
    weight = np.random.default_rng(0).normal(size=(2, columns))
    heads = Heads(weight=weight, bias=np.zeros(2), mean=np.zeros(count), scale=np.ones(count), alpha=1.0)
    save_heads(str(folder), OutcomeRouter(heads, embedder), name="tiny", trained={}, card="# A card\n")
    return str(folder)


def embeddings_reply(vectors: Any, tokens: int | None = 7, order: Any = None) -> dict[str, Any]:
    """Return a reply with these vectors, as numbers, in another order if one is given."""
    items = [{"index": n, "embedding": list(map(float, vector))} for n, vector in enumerate(vectors)]
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return {"data": [items[n] for n in order] if order is not None else items, **usage}


@contextmanager
def embeddings_stub(reply: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve ``/v1/embeddings`` by a function; yield the base URL and the list of bodies seen."""
    seen: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append(body)
        status, headers, content = reply(body, len(seen) - 1)
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        return web.Response(status=status, headers=headers, body=sent, content_type="application/json")

    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/v1/embeddings", handle)
    with _serving(application) as url, quick_retries():
        yield url, seen


@contextmanager
def quick_retries() -> Iterator[None]:
    """Let retries wait for milliseconds."""
    with patch.multiple("routellm_batch.endpoints.embeddings", BASE_WAIT_S=0.002, MAX_WAIT_S=0.02):
        yield


def echo_vectors(body: dict[str, Any]) -> dict[str, Any]:
    """Return a reply that counts one token a text."""
    vectors = [[len(text), 1] + [0] * (WIDTH - 2) for text in body["input"]]
    return embeddings_reply(vectors, tokens=len(vectors))
