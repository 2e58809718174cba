"""What is asked of a call and what it comes to: plain values."""

from __future__ import annotations

from dataclasses import dataclass

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import Reply, Usage


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again."""

    attempts: int
    """Failed attempts before a row is failed; 429s are not counted."""
    deadline_s: float
    """Seconds from a row's first attempt after which it is not tried again."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, built once and never changed between attempts."""

    content: bytes
    """The body, as it is sent."""
    key: str
    """Digest of endpoint and body."""
    tokens: int
    """Expected tokens, input and output, for the token rate."""
    worst_nano: int
    """The most one send can cost."""


@dataclass(frozen=True, slots=True)
class History:
    """What earlier sends of one row came to; travels with the row."""

    failures: int = 0
    """Failed attempts that count."""
    attempts: int = 0
    """Requests sent so far; ``X-Attempt`` is one more."""
    first_s: float | None = None
    """Monotonic time of the first send."""


NEW = History()


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call came to: attempts and money of this call, the row's totals in its history."""

    reply: Reply | None = None
    """The answer, if there is one."""
    error: CallError | None = None
    """What the row failed with, or what stops all calls; None where it is answered or may be called again."""
    unsent: bool = False
    """Given up before an answer because the run stops or nothing is left to pay with; to be called later."""
    attempts: int = 0
    """Requests that this call sent."""
    usage: Usage = Usage()
    """Tokens that the endpoint counted: of the answer, or of an attempt that failed after it had begun to answer."""
    cost_nano: int = 0
    """What they cost, in nano-dollars."""
    presumed_nano: int = 0
    """Worst cost of attempts of this call whose cost is unknown."""
    latency_s: float | None = None
    """Seconds from the send of the answering attempt to its last byte."""
    over_reserve: bool = False
    """The endpoint counted more than the worst case: it ignores the limit it was sent."""
    history: History = NEW
    """What all sends of the row came to."""
    again_at_s: float | None = None
    """Monotonic time from which the row may be sent again, under a new intent: its last attempt may have been billed."""
