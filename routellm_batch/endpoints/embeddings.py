"""Embeddings over HTTP: requests side by side, each tried again while that helps, every send booked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from routellm_batch.budget.pricing import Price, cost_nano, usd_to_nano
from routellm_batch.budget.spend.embeddings import EmbeddingUse, worst_nano, worst_tokens
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.config.endpoints import shown_url
from routellm_batch.core.errors import CallError, EndpointStopError, RoutellmBatchError
from routellm_batch.core.types import ErrorKind, Usage, Verdict
from routellm_batch.endpoints.client import OpenAIEndpoint
from routellm_batch.endpoints.details import without_quotes
from routellm_batch.endpoints.meter import Meter
from routellm_batch.endpoints.usage import MAX_TOKENS

IN_FLIGHT = 8
"""Requests of one batch that are open at once."""
BASE_WAIT_S = 0.5
MAX_WAIT_S = 30.0
_ADVICE: Mapping[ErrorKind, str] = {
    ErrorKind.AUTH: "check router.embedder.api_key",
    ErrorKind.QUOTA: "no credit is left there",
    ErrorKind.NOT_FOUND: "check router.embedder.model and base_url",
    ErrorKind.BAD_REQUEST: "check router.embedder.model and dimensions, or lower its max_tokens",
    ErrorKind.CONTEXT_LENGTH: "lower router.embedder.max_tokens",
    ErrorKind.BAD_REPLY: "its replies are not embeddings",
}


async def fetch_all(
    config: EmbedderConfig, requests: Sequence[Sequence[str]], meter: Meter
) -> list[NDArray[np.float32]]:
    """Return the vectors of each request (see ``endpoints.fetch_embeddings``).

    Once a request has failed for good no other one is begun; those that are open come to their end and are booked.
    """
    vectors: dict[int, NDArray[np.float32]] = {}
    errors: list[RoutellmBatchError] = []
    waiting = iter(enumerate(requests))
    client = OpenAIEndpoint(config.base_url or "", config.api_key, connections=IN_FLIGHT, reach=config.reach)
    sender = _Sender(config, client, meter)

    async def work() -> None:
        for number, texts in waiting:
            if errors:
                return
            try:
                vectors[number] = await sender.fetch(texts)
            except RoutellmBatchError as error:
                errors.append(error)

    try:
        await asyncio.gather(*(work() for _ in range(min(IN_FLIGHT, len(requests)))))
    finally:
        await client.close()
    if errors:
        raise errors[0]
    return [vectors[number] for number in range(len(requests))]


@dataclass(frozen=True, slots=True)
class _Sender:
    """Sends requests to one endpoint."""

    config: EmbedderConfig
    """Model, price, attempts and time limit."""
    client: OpenAIEndpoint
    """What posts requests."""
    meter: Meter
    """Where what is paid is booked."""

    async def fetch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], trying ``attempts`` times.

        Raises:
            EndpointStopError: it failed for good.

        """
        body: dict[str, Any] = {
            "model": self.config.model,
            "input": list(texts),
            "encoding_format": "base64",
        }
        if self.config.dimensions is not None:
            body["dimensions"] = self.config.dimensions
        content = json.dumps(body).encode()
        key = hashlib.sha256(content).hexdigest()[:32]
        sent = 0
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.config.attempts),
            retry=retry_if_exception(_passing),
            wait=_wait_s,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    sent += 1
                    return await self._once(content, texts, {"X-Request-Key": key, "X-Attempt": str(sent)})
        except CallError as error:
            raise self._stop(error, sent, content) from None
        raise EndpointStopError("no attempt was made")  # attempts is at least 1

    async def _once(
        self, content: bytes, texts: Sequence[str], headers: Mapping[str, str]
    ) -> NDArray[np.float32]:
        tokens = [worst_tokens(len(text.encode("utf-8", "replace"))) for text in texts]
        price = usd_to_nano(self.config.price.input) if self.config.price else 0
        worst = worst_nano(price, tokens)
        model = str(self.config.model)
        self.meter.reserve(worst)
        # So it is booked if this is cancelled while it waits.
        use = EmbeddingUse(model, attempts=1, presumed_nano=worst)
        try:
            status, reply, _ = await self.client.post("/embeddings", content, headers, self.config.timeout_s)
            vectors, counted = parse_embeddings(status, reply, len(texts))
            if counted is None:
                use = EmbeddingUse(model, 1, 1, sum(tokens), 0, worst)
            else:
                cost = cost_nano(Price(price, price, 0), Usage(input_tokens=counted))
                use = EmbeddingUse(model, 1, 1, counted, cost, 0)
        except CallError as error:
            use = EmbeddingUse(model, attempts=1, presumed_nano=worst if error.maybe_billed else 0)
            raise
        finally:
            self.meter.book(worst, use)
        return vectors

    def _stop(self, error: CallError, sent: int, content: bytes) -> EndpointStopError:
        tries = f" after {sent} attempts" if sent > 1 else ""
        advice = _ADVICE.get(error.kind, "see whether it is up and within its limits")
        if error.kind is ErrorKind.AUTH and self.config.api_key:
            advice = f"{advice} ({self.config.api_key})"
        said = str(without_quotes(replace(error.detail, status=None), content)) if error.detail else ""
        told = f" It said {said}." if said else ""
        url = shown_url(self.config.base_url)
        return EndpointStopError(
            f"router.embedder: {self.config.model} at {url} failed{tries}: {error}; {advice}.{told} "
            "What is scored is kept: fix the endpoint, then run the same command again"
        )


def _passing(error: BaseException) -> bool:
    return isinstance(error, CallError) and error.verdict in {Verdict.RETRY, Verdict.WAIT}


def _wait_s(state: RetryCallState) -> float:
    """Wait as long as the endpoint asks, else exponentially with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, CallError) else None
    doubled = min(MAX_WAIT_S, BASE_WAIT_S * 2.0**state.attempt_number)
    jitter = random.uniform(0, BASE_WAIT_S)
    return doubled * random.uniform(0.5, 1) if asked is None else asked + jitter


def parse_embeddings(status: int, content: bytes, count: int) -> tuple[NDArray[np.float32], int | None]:
    """Check a 2xx body against what a list of embeddings must hold.

    Args:
        status: of the reply.
        content: its body.
        count: how many texts were sent.

    Returns:
        float32 [B, D] in the order of the texts, and the tokens to be paid for, None where the reply does not say.

    Raises:
        CallError: not these embeddings, or a number that is not finite; it may have been billed.

    """
    try:
        reply = json.loads(content)
        by_index = {item["index"]: _vector(item["embedding"]) for item in reply["data"]}
        vectors = np.stack([by_index[number] for number in range(count)])
        tokens = (reply.get("usage") or {}).get("prompt_tokens")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=status, maybe_billed=True) from None
    if len(reply["data"]) != count or vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=status, maybe_billed=True)
    known = isinstance(tokens, int) and not isinstance(tokens, bool) and 0 <= tokens <= MAX_TOKENS
    return vectors, tokens if known else None


def _vector(value: str | list[float]) -> NDArray[np.float32]:
    """Read one vector, float32 [D]: base64 of little-endian float32, or numbers from servers that don't know it."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype=np.float32)
