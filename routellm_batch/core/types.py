"""Frozen values that the stages pass to each other. Plain data: no I/O, no outside library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Route = Literal["strong", "weak"]
STRONG: Route = "strong"
WEAK: Route = "weak"
ROUTES: tuple[Route, Route] = (STRONG, WEAK)
EndpointName = Literal["strong", "weak", "judge"]
PartKind = Literal["image", "video", "audio", "file"]
"""What a content part of a chat holds that is no text."""
"""A key of ``endpoints`` in the config: the routes, and what else a job may call."""
JUDGE: Literal["judge"] = "judge"
CHECK: Literal["check"] = "check"
"""Another cheap model, whose answers a cascade compares with the weak one's."""
ENDPOINTS: tuple[EndpointName, ...] = (*ROUTES, JUDGE)

RowId = str | int
LOOPBACK = "127.0.0.1"
"""This machine, as simulated and replayed endpoints listen on it."""


class InvalidKind(StrEnum):
    """Why a row is not a valid row; such rows go to ``failed/`` and nowhere else."""

    NULL_PROMPT = "null_prompt"
    EMPTY_PROMPT = "empty_prompt"
    OVERSIZED_PROMPT = "oversized_prompt"
    BAD_UTF8 = "bad_utf8"
    BAD_MESSAGES = "bad_messages"
    BAD_SCORE = "bad_score"

    @staticmethod
    def of(text: str) -> str:
        """Return the kind of what ``failed/`` says of a row: its first word, without which turn is wrong and why."""
        return text.partition(":")[0]


class ErrorKind(StrEnum):
    """Why a call failed; the only thing that is ever said about a failure besides its row id."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    AUTH = "auth"
    QUOTA = "quota"
    NOT_FOUND = "not_found"
    REDIRECT = "redirect"
    BAD_REPLY = "bad_reply"
    EMPTY_ANSWER = "empty_answer"
    INVALID_LABEL = "invalid_label"
    DEADLINE = "deadline"


class Verdict(StrEnum):
    """What to do about a failed attempt."""

    RETRY = "retry"
    """Transient: try again while attempts and time last."""
    WAIT = "wait"
    """Rate limited: wait as told; neither an attempt nor an error."""
    ROW = "row"
    """This row can't be answered; the others can."""
    REFUSED = "refused"
    """This row can't be answered, or no row can: what becomes of the endpoint's other rows tells which."""
    FATAL = "fatal"
    """No row can be answered until somebody acts (bad key, no credit): stop the run."""


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """B prompts to score."""

    ids: Sequence[RowId]
    """Row ids, length B."""
    texts: Sequence[str]
    """Routing text of each row, length B: the prompt, or a chat's non-system turns joined by blank lines."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls, as the endpoint counted them; usages add."""

    input_tokens: int = 0
    """All input tokens, cached ones included."""
    cached_input_tokens: int = 0
    """Input tokens read from the provider's cache."""
    output_tokens: int = 0
    """All output tokens, reasoning ones included."""
    reasoning_tokens: int = 0
    """Output tokens spent on reasoning."""

    def __add__(self, other: Usage) -> Usage:
        """Add two usages field by field."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What an endpoint's error says for programs; never its message, which may quote the prompt."""

    status: int | None = None
    """HTTP status, or the one that the error's body names."""
    code: str | None = None
    """As the provider gave it, e.g. ``unsupported_parameter``; None where it is no identifier."""
    type: str | None = None
    """Likewise, e.g. ``invalid_request_error``."""
    param: str | None = None
    """The part of the request that is meant, e.g. ``max_tokens`` or ``messages[0].content``."""

    def __str__(self) -> str:
        """Return it as users read it: ``400 unsupported_parameter (max_tokens)``; empty where nothing is known."""
        name, param = self.code or self.type, f"({self.param})" if self.param else None
        return " ".join(part for part in (str(self.status or ""), name, param) if part)


@dataclass(frozen=True, slots=True)
class RateHint:
    """What an endpoint said of its limits (``x-ratelimit-*``); None where it said nothing."""

    limit_requests: int | None = None
    """Requests to one period."""
    limit_tokens: int | None = None
    """Tokens to one period."""
    remaining_requests: int | None = None
    """Requests that are left now."""
    remaining_tokens: int | None = None
    """Tokens that are left now."""
    reset_requests_s: float | None = None
    """Seconds until all requests of the period are back."""
    reset_tokens_s: float | None = None
    """Seconds until all tokens of the period are back."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One checked chat completion."""

    answer: str
    """The first choice's text without what the model thought before it, or its tool calls as JSON; empty where the model
    said nothing."""
    finish_reason: str | None
    """As the endpoint gave it: stop, length, content_filter, …"""
    model: str
    """The model that the endpoint says answered."""
    usage: Usage | None
    """Tokens to be paid for; None where the endpoint does not say, so that only its bill shows what the call cost."""
    rate_hint: RateHint | None = None
    """What the endpoint said of its limits, if anything."""
    failure: ErrorKind | None = None
    """Why the text is not what was asked for, though it is paid for: refused, or filtered."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One pinned input file."""

    uri: str
    """Full URI as fsspec understands it."""
    size: int
    """Bytes."""
    pin: str
    """``etag:…`` where the store has one, else ``sha256:…``."""
    row_groups: tuple[int, ...]
    """Rows in each Parquet row group."""
    columns: str = ""
    """Arrow schema, in base64, of the columns that this file spells otherwise than the data set: with another type, or
    in its path; empty where there are none."""


@dataclass(frozen=True, slots=True)
class Shard:
    """At most ``input.shard_rows`` consecutive rows of one file: the unit of retry and resume."""

    index: int
    """Position in the run, from 0."""
    file: int
    """Index into the manifest's files."""
    start: int
    """First row in that file, from 0."""
    rows: int
    """Number of rows."""

    @property
    def name(self) -> str:
        """Fixed object name, e.g. ``000012``."""
        return f"{self.index:06d}"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One listed object."""

    path: str
    """Relative to the store's root."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Done:
    """One finished task of a runner."""

    task: Any
    """What was submitted."""
    receipt: Any = None
    """What the function returned, if it returned."""
    error: BaseException | None = field(default=None)
    """What it raised, if it raised."""
