"""The settings of a fake endpoint: frozen specs, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from routellm_batch.budget.pricing import Price
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import LOOPBACK

BUILTIN = "builtin:"
BUNDLED_PROMPTS = f"{BUILTIN}prompts"
"""URI of the prompts that come with the package."""
MAX_MEAN_TOKENS = 4096
"""The longest mean answer that a simulated model can be set to."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Chance of each fault per request, 0 to 1; together at most 1."""

    rate_limit: float = 0.0
    """429 with Retry-After."""
    server_error: float = 0.0
    """500, 502 or 503."""
    hang: float = 0.0
    """No reply at all until the client leaves."""
    truncated: float = 0.0
    """200, Content-Length longer than the body, socket closed."""
    html: float = 0.0
    """200 with an HTML page."""
    auth: float = 0.0
    """401."""
    quota: float = 0.0
    """429 with code insufficient_quota."""
    bad_request: float = 0.0
    """400."""
    context_length: float = 0.0
    """400 with code context_length_exceeded."""
    content_filter: float = 0.0
    """400 with code content_filter."""
    redirect: float = 0.0
    """307 to another host."""
    empty: float = 0.0
    """200 with an answer of no characters."""
    no_choices: float = 0.0
    """200 with usage and an empty list of choices."""
    no_usage: float = 0.0
    """200 with an answer and no usage."""
    bad_json: float = 0.0
    """200, half of the JSON, with the right Content-Length for it."""
    wrong_shape: float = 0.0
    """200, JSON that is not a chat completion."""
    drip: float = 0.0
    """200, a good answer sent one byte every 50 ms."""
    overrun: float = 0.0
    """200, a longer answer than the request allowed."""

    def __post_init__(self) -> None:
        for name in FAULT_NAMES:
            _within(f"faults.{name}", getattr(self, name), 0, 1)
        if sum(getattr(self, name) for name in FAULT_NAMES) > 1 + 1e-9:
            raise ConfigError("faults", "the chances add up to more than 1")


FAULT_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Faults))

Step = str | Mapping[str, str]
"""One scripted reply: a fault's name, ``ok``, or ``{"answer": TEXT}``."""


@dataclass(frozen=True, slots=True)
class ReferenceSpec:
    """A Parquet file of prompts with right answers."""

    uri: str = BUNDLED_PROMPTS
    prompt: str = "prompt"
    answer: str = "reference"
    difficulty: str | None = "difficulty"
    """Column with values in [0, 1]; without one every prompt has difficulty 0.5."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The settings that both kinds of fake endpoint share."""

    model: str = "simulated"
    """The model listed by ``/v1/models``; a reply names the model that the request asks for."""
    host: str = LOOPBACK
    port: int = 0
    """0 for any free port."""
    latency_ms: float = 0.0
    """Time until an answer; errors are sent at once."""
    latency_per_token_ms: float = 0.0
    """Added for each output token."""
    price_input: str = "0"
    """USD per million tokens, as a decimal."""
    price_output: str = "0"
    price_cached: str | None = None
    """None where cached tokens cost as much as others."""
    log: str | None = None
    """Local file of the billing log, to which lines are appended."""

    def __post_init__(self) -> None:
        _within("port", self.port, 0, 65535)
        _within("latency_ms", self.latency_ms, 0, math.inf)
        _within("latency_per_token_ms", self.latency_per_token_ms, 0, math.inf)
        _ = self.price

    @property
    def price(self) -> Price:
        """The prices in nano-dollars.

        Raises:
            ConfigError: a price is not a valid sum of dollars.

        """
        texts = {"input": self.price_input, "output": self.price_output, "cached_input": self.price_cached}
        usd = {name: None if text is None else _usd(f"price.{name}", text) for name, text in texts.items()}
        return Price.from_usd(usd["input"] or Decimal(0), usd["output"] or Decimal(0), usd["cached_input"])


@dataclass(frozen=True, slots=True)
class SimulateSpec(ServerSpec):
    """An endpoint with a made-up model: seeded answers, seeded faults."""

    seed: int = 0
    skill: float = 0.5
    """0 to 1: the higher, the more of the reference prompts it answers right (``chance_right``)."""
    output_tokens: int = 120
    """Mean length of an answer; lengths are log-normal, never above the request's maximum."""
    cached_share: float = 0.0
    """Share of the input tokens that usage reports as cached."""
    reasoning_share: float = 0.0
    """Reasoning tokens, as a share of the answer's; they count as output."""
    faults: Faults = field(default_factory=Faults)
    script: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    """Request key, index of the request ("0" is the first to arrive) or "*" → its first replies; then chance decides."""
    reference: ReferenceSpec | None = None
    replies: Mapping[str, float] = field(default_factory=dict)
    """Last line of an answer → its weight: the verdicts of a simulated judge. Not together with ``reference``."""
    rpm: int | None = None
    """Requests per minute; those beyond get a 429."""
    burst: int | None = None
    """Requests at once within ``rpm``; by default those of one second, at least 1."""
    concurrency: int | None = None
    """Requests in progress; those beyond get a 429."""
    retry_after_ms: int = 50
    """How long a ``rate_limit`` fault asks the client to wait."""

    def __post_init__(self) -> None:
        ServerSpec.__post_init__(self)
        for name in ("skill", "cached_share", "reasoning_share"):
            _within(name, getattr(self, name), 0, 1)
        _within("output_tokens", self.output_tokens, 1, MAX_MEAN_TOKENS)
        _within("retry_after_ms", self.retry_after_ms, 0, math.inf)
        for name in ("rpm", "burst", "concurrency"):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 1, math.inf)
        for line, weight in self.replies.items():
            _within(f"replies.{line}", weight, 0, math.inf)
        if self.replies and (not any(self.replies.values()) or self.reference is not None):
            raise ConfigError("replies", "need a weight above 0, and go with no reference")
        for key, steps in self.script.items():
            for step in steps:
                _check_step(f"script.{key}", step)


@dataclass(frozen=True, slots=True)
class ReplaySpec(ServerSpec):
    """An endpoint that replays recorded answers, looked up by the last user message."""

    uri: str = ""
    """Parquet file."""
    prompt: str = "prompt"
    answer: str = "answer"
    model_column: str | None = None
    """Column of model names; where given, a request gets the answers of its own model."""
    input_tokens: str | None = None
    """Column of input tokens; without one they are estimated from the text."""
    output_tokens: str | None = None
    """The same for output tokens."""

    def __post_init__(self) -> None:
        ServerSpec.__post_init__(self)
        if not self.uri:
            raise ConfigError("uri", "names the Parquet file of recorded answers; it is missing")


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ConfigError(key, "must be a number")
    return float(value)


def _within(key: str, value: Any, low: float, high: float) -> None:
    if not low <= _number(key, value) <= high:
        limit = f"from {low} to {high}" if math.isfinite(high) else f"{low} or more"
        raise ConfigError(key, f"must be {limit}")


def _usd(key: str, text: str) -> Decimal:
    try:
        usd = Decimal(text)
        Price.from_usd(usd, usd)
    except (InvalidOperation, TypeError, ValueError):
        problem = "must be USD per million tokens, 0 or more, with at most nine decimals"
        raise ConfigError(key, problem) from None
    return usd


def _check_step(key: str, step: Step) -> None:
    if isinstance(step, Mapping):
        if step.keys() != {"answer"} or not isinstance(step["answer"], str):
            raise ConfigError(key, 'a scripted answer is written {"answer": TEXT}')
    elif step != "ok" and step not in FAULT_NAMES:
        raise ConfigError(key, f"unknown fault; there are: ok, {', '.join(FAULT_NAMES)}")
